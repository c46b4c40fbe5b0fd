"""Find the folder or file of each part of a joint model.

Three descriptions make a model: a folder in the published layout (`model_index.json` and one subfolder per part); a
manifest `con360-model.json` that names separately published parts; parts picked by hand, alone or over one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import read_json
from .places import INDEX, MANIFEST

PARTS = (
    "vae_a", "text_encoder_a", "tokenizer_a", "vocoder", "scheduler_a", "unet_a",
    "vae_v", "text_encoder_v", "tokenizer_v", "scheduler_v", "unet_v", "unet_svg",
)  # fmt: skip
# Keys of model_index.json that are no parts.
METADATA_KEY = "_con360"
# Parts that may be picked on their own, in words.
PICKS = {
    "video": "SD 1.5: a diffusers folder, or a checkpoint file",
    "motion": "AnimateDiff motion module for SD 1.5: a diffusers folder, or a file",
    "audio": "AudioLDM: a diffusers folder",
    "connectors": "unet_svg of an SVG folder, or the folder itself; 'none', or 'new' for untrained ones",
    "vae": "another VAE for the picture: a folder or a file",
    "tokenizer": "CLIP's vocab.json and merges.txt: a folder; a checkpoint file holds none",
}
NONE, NEW = "none", "new"

_AUDIO_PARTS = ("vae", "text_encoder", "tokenizer", "scheduler", "unet")
_FACTS = ("name", "picture_size_px", "fps", "longest_s", "defaults")
_MANIFEST_WORDS = ("joint", *_FACTS)

SIDE_BY_SIDE = (
    "this model has no connectors: picture and sound are made side by side and do not hear each other, and a control "
    "has nothing to act in"
)
UNTRAINED = "the connectors are new and untrained: until they are trained, they and a control in them change nothing"
MIXED = "the connectors were trained over other U-Nets than these; expect picture and sound to fit together poorly"


@dataclass(frozen=True)
class Animated:
    """An SD 1.5 U-Net (folder or checkpoint file) and the motion module that makes it a video U-Net."""

    unet: Path
    motion: Path


@dataclass(frozen=True)
class ModelParts:
    """Places of all parts.

    Args:
        sources: part to its folder or file; `unet_svg` is absent without connectors, `scheduler_v` where AnimateDiff's
            own schedule applies.
        new_connectors: make untrained ones.
        folder: the folder that describes the model, empty for parts picked by hand.
        name: for people and for control files.
        metadata: `name`, `picture_size_px`, `defaults` and everything else that the folder says about itself.
        notices: sentences for people about the effects of this combination.
    """

    sources: dict[str, Path | Animated]
    new_connectors: bool = False
    folder: str = ""
    name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def model_parts(model: str | Path | None, picks: Mapping[str, str | Path] | None = None) -> ModelParts:
    """Find all parts of a joint model.

    Args:
        model: a folder in the published layout, a folder with a manifest, a manifest; None for picked parts alone.
        picks: part (`PICKS`) to path; they replace those of `model`.

    Raises:
        InputError: a part is not named or does not exist, or two parts exclude each other.
    """
    picks = {name: _pick(name, value, Path.cwd()) for name, value in (picks or {}).items()}
    if model is None:
        return _compose({}, picks, {}, "", "picked parts")
    path = Path(model).expanduser()
    manifest = path if path.is_file() else path / MANIFEST
    if manifest.is_file():
        joint, own, metadata = _read_manifest(manifest)
        base = _joint_sources(joint)[0] if joint else {}
        return _compose(base, {**own, **picks}, metadata, str(manifest.parent), manifest.parent.resolve().name)
    base, metadata = _joint_sources(path)
    return _compose(base, picks, metadata, str(path), path.resolve().name)


def _read_manifest(path: Path) -> tuple[Path | None, dict[str, Path | str], dict[str, Any]]:
    values = read_json(path)
    unknown = sorted(set(values) - set(PICKS) - set(_MANIFEST_WORDS))
    if unknown:
        raise InputError(
            f"{path.name} names {', '.join(unknown)}, unknown; wanted some of {', '.join((*_MANIFEST_WORDS, *PICKS))}."
        )
    picks = {name: _pick(name, values[name], path.parent) for name in PICKS if values.get(name)}
    joint = _existing("joint", values["joint"], path.parent) if values.get("joint") else None
    return joint, picks, {k: values[k] for k in _FACTS if k in values}


def _pick(name: str, value: object, folder: Path) -> Path | str:
    if name not in PICKS:
        raise InputError(f"{name!r} is no part of a model; wanted one of {', '.join(PICKS)}.")
    if name == "connectors" and value in (NONE, NEW):
        return str(value)
    return _existing(name, value, folder)


def _existing(name: str, value: object, folder: Path) -> Path:
    if not isinstance(value, (str, Path)):
        raise InputError(f"{name} is {value!r}; wanted a path.")
    path = folder / Path(value).expanduser()
    if not path.exists():
        raise InputError(f"{name} is said to be {path}, which does not exist; {name} is {PICKS.get(name, 'a folder')}.")
    return path


def _joint_sources(folder: Path) -> tuple[dict[str, Path | Animated], dict[str, Any]]:
    """Read the parts of a folder in the published layout, and its metadata."""
    if not folder.is_dir():
        raise InputError(f"there is no model folder {folder}; give a folder that holds {INDEX} or {MANIFEST}.")
    if not (folder / INDEX).is_file():
        raise InputError(
            f"{folder} holds neither {INDEX} nor {MANIFEST}, so it is no joint model; choose the folder that does."
        )
    index = read_json(folder / INDEX)
    _refuse_single_pipeline(folder, index)
    # diffusers writes [null, null] for a missing part.
    listed = index.get("unet_svg") not in (None, [None, None])
    left_out = index.get("unet_svg") == [None, None] or not (listed or (folder / "unet_svg").is_dir())
    wanted = [part for part in PARTS if part != "unet_svg" or not left_out]
    missing = [part for part in wanted if not (folder / part).is_dir()]
    if missing:
        raise InputError(f"the model folder {folder} lacks {', '.join(missing)}; it must hold {', '.join(wanted)}.")
    return {part: folder / part for part in wanted}, dict(index.get(METADATA_KEY) or {})


def _refuse_single_pipeline(folder: Path, index: Mapping[str, Any]) -> None:
    if (folder / "unet").is_dir() and not (folder / "unet_v").is_dir():
        raise InputError(
            f"{folder.name} holds a {index.get('_class_name', 'single model')}, one half of a joint model; pick it as "
            f"{'audio' if (folder / 'vocoder').is_dir() else 'video'} and name the other parts beside it."
        )


def _compose(
    base: dict[str, Path | Animated], picks: dict[str, Path | str], metadata: dict[str, Any], folder: str, name: str
) -> ModelParts:
    sources = {**base, **_video_sources(picks), **_audio_sources(picks)}
    if "vae" in picks:
        sources["vae_v"] = Path(picks["vae"])
    if "tokenizer" in picks:
        sources["tokenizer_v"] = Path(picks["tokenizer"])
    if "motion" in picks:
        # Motion modules were trained on a schedule of their own; the picture model's does not apply.
        sources.pop("scheduler_v", None)
    connectors = picks.get("connectors")
    if connectors in (NONE, NEW):
        sources.pop("unet_svg", None)
    elif connectors is not None:
        inner = Path(connectors) / "unet_svg"
        sources["unet_svg"] = inner if inner.is_dir() else Path(connectors)
    _refuse_incomplete(sources, picks)
    notices = _notices(sources, picks, base)
    return ModelParts(sources, connectors == NEW, folder, str(metadata.get("name") or name), metadata, notices)


def _video_sources(picks: Mapping[str, Path | str]) -> dict[str, Path | Animated]:
    if "video" not in picks and "motion" not in picks:
        return {}
    for one, other in (("video", "motion"), ("motion", "video")):
        if one not in picks:
            raise InputError(f"{other} is picked without {one}; name {one} as well ({PICKS[one]}).")
    video, motion = Path(picks["video"]), Path(picks["motion"])
    if video.is_file():
        # The tokenizer stays: all SD 1.5 models share CLIP's vocabulary.
        return {"unet_v": Animated(video, motion), "vae_v": video, "text_encoder_v": video}
    _wants_subfolders("video", video, ("unet", "vae", "text_encoder", "tokenizer"))
    rest: dict[str, Path | Animated] = {f"{n}_v": video / n for n in ("vae", "text_encoder", "tokenizer")}
    return {"unet_v": Animated(video / "unet", motion), **rest}


def _audio_sources(picks: Mapping[str, Path | str]) -> dict[str, Path | Animated]:
    if "audio" not in picks:
        return {}
    audio = Path(picks["audio"])
    if audio.is_file():
        raise InputError(f"audio is the file {audio.name}; wanted the folder of AudioLDM in diffusers' layout.")
    _wants_subfolders("audio", audio, (*_AUDIO_PARTS, "vocoder"))
    return {**{f"{name}_a": audio / name for name in _AUDIO_PARTS}, "vocoder": audio / "vocoder"}


def _wants_subfolders(pick: str, folder: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        raise InputError(f"{pick} {folder} lacks {', '.join(missing)}/; wanted {PICKS[pick]}.")


def _refuse_incomplete(sources: Mapping[str, Path | Animated], picks: Mapping[str, Path | str]) -> None:
    if "unet_v" not in sources:
        raise InputError("no model for the picture is named; pick video and motion, or a joint model.")
    if "unet_a" not in sources:
        raise InputError("no model for the sound is named; pick audio, or a joint model.")
    if "tokenizer_v" not in sources:
        raise InputError(
            f"{Path(picks['video']).name} is a single file, which holds no tokenizer; pick tokenizer, a folder with "
            f"CLIP's vocab.json and merges.txt (the tokenizer/ of any SD 1.5 folder, ComfyUI's comfy/sd1_tokenizer)."
        )


def _notices(
    sources: Mapping[str, Path | Animated], picks: Mapping[str, Path | str], base: Mapping[str, Path | Animated]
) -> tuple[str, ...]:
    if picks.get("connectors") == NEW:
        return (UNTRAINED,)
    if "unet_svg" not in sources:
        return (SIDE_BY_SIDE,)
    # Connectors picked separately never match the base model's U-Nets.
    foreign = any(part in sources and sources[part] != base.get(part) for part in ("unet_v", "unet_a", "unet_svg"))
    return (MIXED,) if foreign else ()
