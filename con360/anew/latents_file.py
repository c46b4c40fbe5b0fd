"""Keep a clip's latents in a file, to make a span of it anew later.

A safetensors file. Metadata keys: `format` ("con360-latents"), `format_version`, `model` (its name),
`model_fingerprint`, `seconds`, `seed` (empty where there is none), `settings` (JSON of `SamplerSettings`), `caption`,
`view` (JSON: yaw, pitch and field of view of the first frame, in degrees).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..control import fingerprint
from ..errors import InputError
from ..media.files import atomic_path
from ..models.system import AVSystem, Placement
from ..records import AV, MODALITIES, Conditions, DirectionField, View, ViewpointClip
from ..sampling.settings import SamplerSettings
from ..weights.files import is_finite, read_header, read_tensors

FORMAT, VERSION = "con360-latents", "1"
# Rounding of a view on its way through a file.
_SAME_DEG = 0.01


@dataclass(frozen=True)
class LatentsFile:
    """Header of a file of latents.

    Args:
        settings: as the clip was made, by the fields of `SamplerSettings`.
        view: (yaw, pitch, field of view) of the first frame, in degrees.
    """

    path: Path
    model: str
    fingerprint: str
    seconds: float
    seed: int | None
    settings: dict[str, Any]
    caption: str
    view: tuple[float, float, float]

    def check_view(self, view: View) -> None:
        """Check that the clip looks where a view looks.

        Raises:
            InputError: it does not.
        """
        asked = (view.yaw_deg, view.pitch_deg, view.fov_deg)
        if any(abs(a - b) > _SAME_DEG for a, b in zip(asked, self.view, strict=True)):
            told = ["yaw {:g}°, pitch {:g}°, field of view {:g}°".format(*map(float, v)) for v in (self.view, asked)]
            raise InputError(
                f"{self.path.name} holds a clip that looks to {told[0]}, and the view asked for to {told[1]}; ask for "
                f"the same view."
            )


def save_latents(
    path: str | Path, clip: ViewpointClip, model: AVSystem, settings: SamplerSettings, conditions: Conditions
) -> None:
    """Write a clip's latents: to a temporary name, then renamed.

    Raises:
        InputError: the clip has none.
    """
    from safetensors.torch import save_file

    if clip.latents.present() != MODALITIES:
        raise InputError("the clip has no latents to write; take one that was generated.")
    tensors = {name: clip.latents.get(name).detach().cpu().float().contiguous() for name in MODALITIES}
    view = conditions.track.views[0]
    metadata = {
        "format": FORMAT, "format_version": VERSION, "model": model.name,
        "model_fingerprint": fingerprint(*model.backbones()), "seconds": repr(round(clip.sound.duration_s, 6)),
        "seed": "" if clip.seed is None else str(clip.seed), "settings": json.dumps(asdict(settings)),
        "caption": conditions.caption.short, "view": json.dumps([view.yaw_deg, view.pitch_deg, view.fov_deg]),
    }  # fmt: skip
    if clip.directions is not None:
        tensors |= {"directions.vectors": clip.directions.vectors, "directions.residual": clip.directions.residual}
        metadata["directions"] = json.dumps({"row_s": clip.directions.row_s, "shares": clip.directions.shares})
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_latents_header(path: str | Path) -> LatentsFile:
    """Read what a file of latents says about itself, without its tensors.

    Raises:
        InputError: it cannot be read, is of another kind or of a newer version.
    """
    path = Path(path).expanduser().absolute()
    found = _metadata(path)
    try:
        seed = int(found["seed"]) if found["seed"] else None
        yaw, pitch, fov = (float(angle) for angle in json.loads(found["view"]))
        settings = dict(json.loads(found["settings"]))
        SamplerSettings(**settings)
        return LatentsFile(
            path, found["model"], found["model_fingerprint"], float(found["seconds"]), seed, settings,
            found["caption"], (yaw, pitch, fov),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"the metadata of {path.name} is damaged ({error}); write the file again.") from error


def read_latents(file: LatentsFile, model: AVSystem, placement: Placement | None = None) -> ViewpointClip:
    """Read a clip's latents and decode them.

    Args:
        model: the one that made the clip. placement: where its codecs compute; None is where they are.

    Returns:
        The clip with its seed; a clip that was redone is decoded as a whole, its joins with it.

    Raises:
        InputError: another model made it, or its tensors cannot be used.
        TooLittleMemory: decoding does not fit.
    """
    if file.fingerprint != fingerprint(*model.backbones()):
        raise InputError(
            f"{file.path.name} holds latents of '{file.model}', and '{model.name}' has other weights; take the model "
            f"that made the clip."
        )
    spec, tensors = model.clip_spec(file.seconds), read_tensors(file.path)
    latents = AV.of({name: _checked(file.path, tensors, name, model.latent_shapes(spec)) for name in MODALITIES})
    frames, sound = model.decode(latents, spec, placement=placement)
    assert frames is not None and sound is not None  # both latents are there
    directions = _directions(file.path, tensors)
    return ViewpointClip(frames, spec.fps, sound, file.seed, model.notices, latents=latents, directions=directions)


def _metadata(path: Path) -> Mapping[str, str]:
    if path.suffix != ".safetensors":
        raise InputError(f"{path.name} does not end in .safetensors; give a file that --save-latents wrote.")
    found = read_header(path).metadata
    if found.get("format") != FORMAT:
        raise InputError(f"{path.name} holds no latents of a clip; give a file that --save-latents wrote.")
    if found.get("format_version") != VERSION:
        raise InputError(
            f"{path.name} has version {found.get('format_version')!r} of latents; this program reads {VERSION}. "
            f"Update it."
        )
    return found


def _checked(path: Path, tensors: Mapping[str, Tensor], name: str, shapes: AV) -> Tensor:
    found, wanted = tensors.get(name), tuple(shapes.get(name))
    if found is None or tuple(found.shape) != wanted:
        shape = "none" if found is None else f"shape {tuple(found.shape)}"
        raise InputError(f"{path.name} has {name} latents of {shape}; wanted {wanted}. Write the file again.")
    if not is_finite(found):
        raise InputError(f"the {name} latents of {path.name} hold NaN or infinity; write the file again.")
    return found.float()


def _directions(path: Path, tensors: Mapping[str, Tensor]) -> DirectionField | None:
    from ..sound.fields import check_field

    if "directions.vectors" not in tensors:
        return None
    try:
        said = json.loads(read_header(path).metadata["directions"])
        vectors, residual = tensors["directions.vectors"], tensors["directions.residual"]
        return check_field(DirectionField(vectors, residual, float(said["row_s"]), tuple(said["shares"])))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"the directions in {path.name} are damaged ({error}); write the file again.") from error
