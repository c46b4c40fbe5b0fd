"""Build the networks of a joint model: make them from configurations, check them by headers, fill them with tensors.

A check reads no tensor. So all parts are known to fit their configurations and each other before any is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..models.connector_config import ConnectorConfig
from ..models.connectors import Connectors
from ..models.spectrum_vocoder import SpectrumVocoder, SpectrumVocoderConfig
from ..sound.mels import MEL_BANDS, SAMPLE_RATE_HZ
from . import single_file
from .connector_names import from_published_state
from .files import State, problems_of, read_header, read_json, read_tensors, short, weight_files
from .kinds import MOTION, SD15, TEXT_PREFIX, UNET_PREFIX, VAE, kind_of, other_generation, read_header_of, special_input
from .parts import Animated
from .transformers_folder import class_name

# CLIP's text model is stored under this name; transformers 5 calls its parameters without it, version 4 with it.
TEXT_MODEL = "text_model."
# Constants that old versions stored as if they were weights.
_STORED_CONSTANTS = ("position_ids", "token_type_ids")

Source = Path | Animated


@dataclass(frozen=True)
class Weights:
    """Weight files and the translation of their names to a network's.

    Args:
        files: one, or shards.
        convert: to the network's names; works on empty tensors too.
        keep: names to read.
    """

    files: tuple[Path, ...]
    convert: Callable[[State], State] = dict
    keep: Callable[[str], bool] | None = None

    def shapes(self) -> State:
        """Make empty tensors under the network's names, from the headers."""
        named = {name: t for file in self.files for name, t in read_header(file).tensors.items()}
        return self.convert({name: t for name, t in named.items() if self.keep is None or self.keep(name)})

    def tensors(self) -> State:
        return self.convert({name: t for file in self.files for name, t in read_tensors(file, self.keep).items()})


@dataclass(frozen=True)
class Network:
    """One network of a model, not yet made.

    Args:
        where: its folder or file, for messages.
        make: gives the network on the device that PyTorch's context names.
        weights: files that together fill it.
        whole: make it in memory, not on the meta device: it holds constants that no file stores.
        rename: names of the file to those of the installed library.
    """

    where: str
    make: Callable[[], nn.Module]
    weights: tuple[Weights, ...]
    whole: bool = False
    rename: Callable[[nn.Module, State], State] = lambda _, state: state

    def check(self) -> nn.Module:
        """Check that names and shapes of the weights fit; return the network without weights (on the meta device).

        Raises:
            InputError: they do not; up to three weights are named.
        """
        with torch.device("meta"):
            empty = self.make()
        self._check(empty, self._renamed(empty, [w.shapes() for w in self.weights]))
        return empty

    def load(self, empty: nn.Module, device: Any, dtype: torch.dtype) -> nn.Module:
        """Load the network with its weights, ready to run.

        Args:
            empty: the result of `check`; it is changed.

        Raises:
            InputError: a weight holds NaN or infinity, or a file is damaged.
        """
        module = self.make() if self.whole else empty
        state = self._renamed(module, [w.tensors() for w in self.weights])
        self._check(module, state)
        cast = {k: t.to(device, dtype if t.is_floating_point() else t.dtype) for k, t in state.items()}
        if self.whole:
            module.load_state_dict(cast, strict=True)
            return module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        module.load_state_dict(cast, strict=True, assign=True)
        return module.eval().requires_grad_(False)

    def _renamed(self, module: nn.Module, states: list[State]) -> State:
        return self.rename(module, {name: t for state in states for name, t in state.items()})

    def _check(self, module: nn.Module, state: State) -> None:
        problems = list(problems_of(module.state_dict(), state))
        if problems:
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise InputError(
                f"the weights in {self.where} do not fit its configuration: {'; '.join(problems[:3])}{more}."
            )


def networks_of(sources: Mapping[str, Source]) -> dict[str, Network]:
    """Prepare every network of a model.

    Args:
        sources: part (`parts.PARTS`) to its folder or file; `unet_svg` may be absent.

    Raises:
        InputError: a file is of another kind of model, or a configuration is missing or damaged.
    """
    return {part: make(sources[part]) for part, make in _MAKERS.items() if part in sources}


def check_fit(empty: Mapping[str, nn.Module]) -> None:
    """Refuse parts that do not belong together.

    Args:
        empty: part to the network that `Network.check` gave.

    Raises:
        InputError: channels, widths or rates of two parts differ; both are named.
    """
    for side, picture_or_sound in (("v", "picture"), ("a", "sound")):
        unet, latent = empty[f"unet_{side}"].config, empty[f"vae_{side}"].config.latent_channels
        if unet.in_channels != latent:
            special = special_input(unet.in_channels)
            raise InputError(
                f"the {picture_or_sound}'s U-Net takes {unet.in_channels} channels"
                f"{f' ({special})' if special else ''} and its VAE makes {latent}; choose parts of one model."
            )
    _check_text(empty)
    vocoder = empty["vocoder"].config
    if (vocoder.model_in_dim, vocoder.sampling_rate) != (MEL_BANDS, SAMPLE_RATE_HZ):
        raise InputError(
            f"vocoder/ makes {vocoder.sampling_rate} Hz sound of {vocoder.model_in_dim} mel bands; wanted "
            f"{SAMPLE_RATE_HZ} Hz of {MEL_BANDS}, as AudioLDM's does."
        )
    if "unet_svg" in empty:
        _check_connectors(empty)


def _check_text(empty: Mapping[str, nn.Module]) -> None:
    reads, text = empty["unet_v"].config.cross_attention_dim, empty["text_encoder_v"].config.hidden_size
    other = other_generation(reads if isinstance(reads, int) else None)
    if other:
        raise InputError(f"the picture's U-Net reads text {reads} wide: it is of {other}; wanted SD 1.5.")
    if reads != text:
        raise InputError(f"the picture's U-Net reads text {reads} wide, its encoder makes {text}; parts are mixed up.")
    label, clap = empty["unet_a"].config.projection_class_embeddings_input_dim, empty["text_encoder_a"].config
    if label != clap.projection_dim:
        raise InputError(
            f"the sound's U-Net reads text {label} wide, its encoder makes {clap.projection_dim}; parts are mixed up."
        )


def _check_connectors(empty: Mapping[str, nn.Module]) -> None:
    for name, unet in (("video", empty["unet_v"]), ("audio", empty["unet_a"])):
        side = empty["unet_svg"].config.side(name)
        has = (tuple(unet.config.block_out_channels), unet.config.in_channels)
        if (side.block_out_channels, side.in_channels) != has:
            raise InputError(
                f"the connectors were made for a {name} U-Net of widths {side.block_out_channels} and "
                f"{side.in_channels} channels; this one has {has[0]} and {has[1]}."
            )


# ---- one part each


def _unet_v(source: Source) -> Network:
    if isinstance(source, Animated):
        return _animated(source)
    from diffusers import UNetMotionModel

    return _from_diffusers(source, UNetMotionModel)


def _unet_a(source: Source) -> Network:
    from diffusers import UNet2DConditionModel

    return _from_diffusers(_folder(source), UNet2DConditionModel)


def _animated(source: Animated) -> Network:
    """Prepare a video U-Net of two files: the picture's model and the motion module hold every weight between them."""
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    config, weights = _picture_unet(source.unet)
    motion, motion_weights = _motion(source.motion)
    _check_motion(source, config, motion)

    def make() -> nn.Module:
        adapter = MotionAdapter.from_config(motion)
        return UNetMotionModel.from_unet2d(UNet2DConditionModel.from_config(config), adapter, load_weights=False)

    where = f"{short(source.unet)} with {short(source.motion)}"
    return Network(where, partial(_constructed, where, make), (weights, motion_weights))


def _picture_unet(source: Path) -> tuple[dict[str, Any], Weights]:
    if source.is_dir():
        return read_json(source / "config.json"), Weights(tuple(weight_files(source)))
    state = read_header_of(source, SD15, "video").tensors
    return _named(source, single_file.unet_config, state), _part_of(source, UNET_PREFIX, single_file.convert_unet)


def _motion(source: Path) -> tuple[dict[str, Any], Weights]:
    if source.is_dir():
        files = tuple(weight_files(source))
        return read_json(source / "config.json"), Weights(files, single_file.convert_motion)
    state = read_header_of(source, MOTION, "motion").tensors
    return _named(source, single_file.motion_config, state), Weights((source,), single_file.convert_motion)


def _check_motion(source: Animated, unet: Mapping[str, Any], motion: Mapping[str, Any]) -> None:
    """Compare widths before anything is made: SDXL's motion module has three levels, SD 1.5's four."""
    other = other_generation(unet.get("cross_attention_dim") if isinstance(unet.get("cross_attention_dim"), int) else 0)
    if other:
        raise InputError(f"{short(source.unet)} is a U-Net of {other}; video wants SD 1.5.")
    widths = [tuple(config.get("block_out_channels", (320, 640, 1280, 1280))) for config in (unet, motion)]
    if widths[0] != widths[1]:
        guess = ", as SDXL's" if len(widths[1]) == 3 else ""
        raise InputError(
            f"{short(source.motion)} has levels of {widths[1]} channels{guess}, and the picture's U-Net {widths[0]}; "
            f"choose a motion module for SD 1.5."
        )
    if motion.get("conv_in_channels"):
        raise InputError(f"{short(source.motion)} is a PIA adapter, which also reads a picture; choose AnimateDiff's.")


def _vae(source: Source) -> Network:
    from diffusers import AutoencoderKL

    path = _path(source)
    if path.is_dir():
        return _from_diffusers(path, AutoencoderKL)
    header = read_header(path)
    if kind_of(header) == SD15 and not any(name.startswith(single_file.VAE_PREFIX) for name in header.tensors):
        raise InputError(f"{short(path)} holds no VAE; pick vae as well, a folder or file of SD 1.5's.")
    if kind_of(header) != SD15:
        header = read_header_of(path, VAE, "vae")
    config = _named(path, single_file.vae_config, header.tensors)
    prefix = single_file.VAE_PREFIX if kind_of(header) == SD15 else ""
    weights = _part_of(path, prefix, single_file.convert_vae)
    where = f"{short(path)} (VAE)"
    return Network(where, partial(_constructed, where, lambda: AutoencoderKL.from_config(config)), (weights,))


def _connectors(source: Source) -> Network:
    folder = _folder(source)
    config = ConnectorConfig.from_published(read_json(folder / "config.json"))
    weights = Weights(tuple(weight_files(folder)), partial(from_published_state, config))
    return Network(_where(folder), partial(_constructed, _config(folder), lambda: Connectors(config)), (weights,))


def _text_v(source: Source) -> Network:
    path = _path(source)
    if path.is_dir():
        return _from_transformers(path, "CLIPTextModel")
    state = read_header_of(path, SD15, "video").tensors
    config = _named(path, single_file.text_config, state)
    return _transformers_network(
        f"{short(path)} (text encoder)", "CLIPTextModel", config, _part_of(path, TEXT_PREFIX, single_file.convert_text)
    )


def _text_a(source: Source) -> Network:
    return _from_transformers(_folder(source), "ClapTextModelWithProjection")


def _vocoder(source: Source) -> Network:
    folder = _folder(source)
    make = _VOCODERS.get(class_name(read_json(folder / "config.json")), _published_vocoder)
    return make(folder)


def _published_vocoder(folder: Path) -> Network:
    return _from_transformers(folder, "SpeechT5HifiGan")


def _spectrum_vocoder(folder: Path) -> Network:
    config, weights = read_json(folder / "config.json"), Weights(tuple(weight_files(folder)))
    make = partial(_constructed, _config(folder), lambda: SpectrumVocoder(SpectrumVocoderConfig.from_dict(config)))
    return Network(_where(folder), make, (weights,))


# By the class that config.json names; folders that name none, or another, hold the published one.
_VOCODERS = {SpectrumVocoder.__name__: _spectrum_vocoder}


_MAKERS: dict[str, Callable[[Source], Network]] = {
    "unet_v": _unet_v, "unet_a": _unet_a, "unet_svg": _connectors, "vae_v": _vae, "vae_a": _vae, "vocoder": _vocoder,
    "text_encoder_v": _text_v, "text_encoder_a": _text_a,
}  # fmt: skip


# ---- shared


def _from_diffusers(folder: Path, cls: Any) -> Network:
    config = read_json(folder / "config.json")
    make = partial(_constructed, _config(folder), lambda: cls.from_config(config))
    return Network(_where(folder), make, (Weights(tuple(weight_files(folder))),))


def _from_transformers(folder: Path, cls_name: str) -> Network:
    config, weights = read_json(folder / "config.json"), Weights(tuple(weight_files(folder)))
    return _transformers_network(_where(folder), cls_name, config, weights, _config(folder))


def _transformers_network(
    where: str, cls_name: str, config: dict[str, Any], weights: Weights, blamed: str = ""
) -> Network:
    import transformers

    cls = getattr(transformers, cls_name)
    make = partial(_constructed, blamed or where, lambda: cls(cls.config_class.from_dict(config)))
    return Network(where, make, (weights,), whole=True, rename=_installed_names)


def _installed_names(module: nn.Module, state: State) -> State:
    """Rename a text encoder's weights to the names that the installed transformers uses."""
    wanted = module.state_dict()
    kept = {name: t for name, t in state.items() if name in wanted or not name.endswith(_STORED_CONSTANTS)}
    if not any(name.startswith(TEXT_MODEL) for name in wanted):
        return {name.removeprefix(TEXT_MODEL): t for name, t in kept.items()}
    return kept


def _constructed(blamed: str, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{blamed} cannot be used ({error}); it is damaged or of another model.") from error


def _named(path: Path, infer: Callable[[State], dict[str, Any]], state: State) -> dict[str, Any]:
    """Infer a configuration from a file's shapes; errors name the file."""
    try:
        return infer(state)
    except (InputError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"{short(path)}: {error}") from error


def _part_of(path: Path, prefix: str, convert: Callable[[State], State]) -> Weights:
    return Weights((path,), convert, lambda name: name.startswith(prefix))


def _where(folder: Path) -> str:
    return f"{short(folder)}/"


def _config(folder: Path) -> str:
    return short(folder / "config.json")


def _path(source: Source) -> Path:
    assert isinstance(source, Path)
    return source


def _folder(source: Source) -> Path:
    path = _path(source)
    if not path.is_dir():
        raise InputError(f"{path.name} is a file; wanted the part's folder, with config.json and weights.")
    return path
