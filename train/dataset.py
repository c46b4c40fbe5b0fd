"""Read training samples from procedural scenes or prepared shards, in order, as batches.

A sample's number in the run decides its clip and its noise, for any number of processes. A resumed run needs only the
next number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from con360.control.config import SALIENCY_AND_BASD, ControlConfig
from con360.control.inputs import make_named, normalised
from con360.errors import InputError
from con360.media.files import atomic_path
from con360.models.codecs import encode_frames, encode_mel
from con360.models.joint import JointModel
from con360.models.text import encode_captions
from con360.records import Progress, Signal
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from train.by_group import ByGroup
from train.examples import ESTIMATOR, MAP_HEIGHT, make_example, rays_of, scene_of
from train.order import Source
from train.preparation.settings import TRUTH
from train.shards import TENSORS, Prepared, Sample, group_sizes, read_group, read_settings, shard_paths


class SampleSource(Source, Protocol):
    """Read samples of the joint model."""

    def __getitem__(self, index: int) -> Sample: ...

    def describe(self) -> dict[str, Any]:
        """Describe the data for the training record; `saliency` names the method of its maps."""
        ...


class ProceduralScenes:
    """Render and encode the first `count` scenes of a split, anew for each request.

    Args:
        sound: `view` or `omni`.
        estimate_every: one in this many clips has estimated saliency, as users have; 0: none.
        control: names the maps beyond saliency and BASD, and the signals, to make; None makes none.
    """

    reads_ahead = False

    def __init__(
        self, model: JointModel, split: str, count: int, spec: ClipSpec, sound: str = "view", estimate_every: int = 3,
        control: ControlConfig | None = None,
    ) -> None:  # fmt: skip
        self.model, self.split, self.count, self.spec = model, split, count, spec
        self.sound, self.estimate_every, self.control = sound, estimate_every, control
        self.groups = [range(i, i + 1) for i in range(count)]

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()
    def __getitem__(self, index: int) -> Sample:
        model, spec = self.model, self.spec
        with_sound = self.sound == "view"
        example = make_example(
            self.split, index, num_frames=spec.num_frames, spec=spec, size=model.picture_size_px,
            with_sound=with_sound, estimated=self.estimate_every > 0 and index % self.estimate_every == 0,
        )  # fmt: skip
        waveform = example.waveform if with_sound else scene_of(self.split, index).foa(spec).waveform[0]
        text = encode_captions(model, [example.caption])
        further, signals = self._named(index)
        size = example.maps.shape[-2:]
        maps = torch.cat([example.maps, *(normalised(m, size)[:, None] for m in further.values())], dim=1)
        return Sample(
            encode_frames(model.vae_v, example.frames).transpose(0, 1).half().cpu(),
            encode_mel(model.vae_a, log_mel(waveform[None]), spec.num_latent_rows_padded)[0].half().cpu(),
            (maps * 255).round().byte(),
            torch.tensor([[v.yaw_deg, v.pitch_deg, v.fov_deg] for v in example.track.views]),
            text.text_v[0].half().cpu(),
            text.text_a[0].half().cpu(),
            example.caption,
            (*SALIENCY_AND_BASD, *further),
            signals,
        )

    def _named(self, index: int) -> tuple[dict[str, Tensor], dict[str, Signal]]:
        """Make the further maps and the signals of a scene, by name."""
        if self.control is None or self.control.names == SALIENCY_AND_BASD:
            return {}, {}
        return make_named(self.control, scene_of(self.split, index).panorama(2 * MAP_HEIGHT, self.spec))

    def describe(self) -> dict[str, Any]:
        told = {"data": "procedural scenes", "split": self.split, "clips": self.count, "sound": self.sound,
                "saliency": ESTIMATOR, "estimated_saliency_every": self.estimate_every}  # fmt: skip
        further = self.control.names[len(SALIENCY_AND_BASD) :] if self.control else ()
        return {**told, "further": list(further)} if further else told

    def identity(self) -> str:
        """Digest the request and the encoders; the result names the cache file."""
        digest = hashlib.sha256(json.dumps([self.describe(), self.spec.seconds, self.model.picture_size_px]).encode())
        encoders = (self.model.vae_v, self.model.vae_a, self.model.text_encoder_v, self.model.text_encoder_a)
        for tensor in (t for module in encoders for t in module.state_dict().values()):
            digest.update(tensor.detach().flatten()[:64].cpu().double().numpy().tobytes())
        return digest.hexdigest()[:16]


class Cached:
    """Encode another source's samples once; keep them in memory, and in a file for the next run.

    Raises:
        InputError: the source has further maps or signals, whose makers may change between runs.
    """

    reads_ahead = False

    def __init__(self, source: ProceduralScenes, folder: Path, progress: Progress | None = None) -> None:
        if "further" in source.describe():
            raise InputError("the cache holds saliency and BASD alone, and this control reads more; set cache=false.")
        self.source, self.groups = source, source.groups
        path = folder / f"{source.split}-{source.identity()}.safetensors"
        if not path.is_file():
            self._build(path, progress)
        self.tensors = load_file(path)

    def _build(self, path: Path, progress: Progress | None) -> None:
        samples = []
        for index in range(len(self.source)):
            samples.append(self.source[index])
            if progress is not None:
                progress(index + 1, len(self.source), "rendering scenes")
        with atomic_path(path) as temporary:
            stacked = {name: torch.stack([getattr(s, name) for s in samples]).contiguous() for name in TENSORS}
            save_file(stacked, temporary)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        caption = scene_of(self.source.split, index).caption().short
        return Sample(**{name: self.tensors[name][index] for name in TENSORS}, caption=caption)

    def describe(self) -> dict[str, Any]:
        return self.source.describe()


class PreparedShards(ByGroup[Prepared]):
    """Read a split of a folder made by train/prepare.py, by number.

    Raises:
        InputError: no such split, or clips whose length or picture size differs from the model's.
    """

    def __init__(self, model: JointModel, folder: str | Path, split: str, spec: ClipSpec, sound: str) -> None:
        self.folder, self.split, self.settings = Path(folder), split, read_settings(folder)
        super().__init__(shard_paths(folder, split), group_sizes, read_group)
        self.sound = sound
        self._check(model, spec)

    def _check(self, model: JointModel, spec: ClipSpec) -> None:
        first = self._read(0)[0]
        shapes = model.latent_shapes(spec)
        c, T, h, w = shapes.video
        wanted = {"latents_v": (T, c, h, w), "latents_a": shapes.audio}
        for name, shape in wanted.items():
            got = tuple(getattr(first, name).shape)
            if got != shape:
                raise InputError(
                    f"{self.folder} holds {name} of shape {got}; this model at {spec.seconds:g} s wants {shape}. "
                    f"Set `seconds` as the data was prepared, or prepare it again for this model."
                )
        if first.sound_kind != self.sound:
            raise InputError(
                f"{self.folder} was prepared with the sound {first.sound_kind!r} and the control is to learn "
                f"{self.sound!r}; set sound={first.sound_kind}, or prepare the data again."
            )

    def describe(self) -> dict[str, Any]:
        return {"data": str(self.folder), "split": self.split, "clips": len(self), "sound": self.sound,
                "saliency": self._saliency}  # fmt: skip

    @property
    def _saliency(self) -> str:
        """Method of the maps; for scenes with true saliency, the estimator that users run instead."""
        made_by = str(self.settings["saliency"])
        return ESTIMATOR if made_by == TRUTH else made_by


@dataclass(frozen=True)
class Batch:
    """Hold samples as the networks read them: float32, on one device.

    Args:
        latents_v: `[B, 4, T, h, w]`. latents_a: `[B, 8, R, 16]`. maps: `[B, T, C, H, W]` in [0, 1].
        rays: `[B, T, g, g, 3]` directions of the view.
        text_v: `[B, L, D]`. text_a: `[B, D]`.
        channels: names of the maps. signals: by name, values `[B, T, ...]`.
    """

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    rays: Tensor
    text_v: Tensor
    text_a: Tensor
    channels: tuple[str, ...] = SALIENCY_AND_BASD
    signals: Mapping[str, Signal] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all maps, then of all signals."""
        return (*self.channels, *self.signals)

    def to(self, device: torch.device) -> Batch:
        tensors = {n: t.to(device, non_blocking=True) for n, t in vars(self).items() if isinstance(t, Tensor)}
        signals = {n: replace(s, values=s.values.to(device, non_blocking=True)) for n, s in self.signals.items()}
        return replace(self, **tensors, signals=signals)


def collate(samples: Sequence[Sample], grid: int) -> Batch:
    """Stack samples as one batch; `grid` is the control's `view_grid`."""
    rows = {name: torch.stack([getattr(s, name) for s in samples]).float() for name in TENSORS}
    return Batch(
        rows["latents_v"].transpose(1, 2),
        rows["latents_a"],
        rows["maps"] / 255,
        rays_of(rows["views"], grid),
        rows["text_v"],
        rows["text_a"],
        samples[0].channels,
        {
            n: replace(s, values=torch.stack([x.signals[n].values for x in samples]))
            for n, s in samples[0].signals.items()
        },
    )
