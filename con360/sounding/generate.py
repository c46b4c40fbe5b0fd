"""Generate Ambisonics of any length from features of pictures, group after group of windows.

Shape legend: C channels, N samples, Z latent channels, R latent rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..memory import TooLittleMemory
from ..models.omniaudio import OmniAudio
from ..protocols import Inputs
from ..records import AV
from ..sampling.joint import Given, StepCallback, sample_joint
from ..sampling.settings import SamplerSettings
from ..sampling.windows import FinishedRows, Group, WindowedDenoiser, groups_of
from .picture_encoder import PictureFeatures

# Rows that neighbouring windows share, at least.
OVERLAP_ROWS = 40
WINDOWS_PER_GROUP = 3


@dataclass(frozen=True)
class FieldSettings:
    """Settings of a generation.

    Args:
        steps, cfg, seed: as `SamplerSettings` has them; the published ones are 24 and 3.
        cfg_rescale: as `SamplerSettings` has it.
        overlap_rows, windows: of a group.
    """

    steps: int = 24
    cfg: float | None = 3.0
    seed: int = 0
    overlap_rows: int = OVERLAP_ROWS
    windows: int = WINDOWS_PER_GROUP
    cfg_rescale: float = 0.0

    @property
    def sampler(self) -> SamplerSettings:
        return SamplerSettings(
            steps=self.steps, cfg_video=None, cfg_audio=self.cfg, cfg_rescale=self.cfg_rescale, seed=self.seed
        )


# told(group, groups, step, steps) after each step; may raise to cancel.
Told = Callable[[int, int, int, int], None]


class FinishedGroups(Protocol):
    """Groups that an earlier run of the same clip, model and settings finished, by their number."""

    def get(self, number: int) -> Tensor | None:
        """All rows of a group, `[1, Z, r]`; None where it is not finished."""

    def put(self, number: int, rows: Tensor) -> None:
        """Keep a group that was finished just now."""


def groups_for(model: OmniAudio, seconds: float, settings: FieldSettings) -> list[Group]:
    """Groups of windows that cover a sound.

    Raises:
        InputError: as `latent_groups`.
    """
    codec = model.codec
    return groups_of(codec.rows(seconds), codec.rows(model.trained_s), settings.overlap_rows, settings.windows)


def latent_groups(
    model: OmniAudio, pictures: PictureFeatures, seconds: float, settings: FieldSettings | None = None,
    told: Told | None = None, kept: FinishedGroups | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Sample the latents of a sound as long as a video; yields the new rows `[Z, r]` of each group, in order.

    A clip as long as the model was trained on is one window, as published. The same seed gives the same rows.

    Args:
        kept: finished groups, which are taken as they are; new ones are added. None samples all.

    Raises:
        InputError: the clip is shorter than one latent row, or settings that cannot be used.
    """
    settings = settings or FieldSettings()
    groups, generator = groups_for(model, seconds, settings), settings.sampler.generator()
    finished: Tensor | None = None
    for number, group in enumerate(groups):
        # Drawn for finished groups too: the noise of later ones stays the same.
        noise = torch.randn((1, model.vae.config.latent_channels, group.stop - group.start), generator=generator)
        made = None if kept is None else kept.get(number)
        if made is None:
            tell = None if told is None else _teller(told, number, len(groups))
            made = _sample_group(model, pictures, group, finished, settings.sampler, noise, tell)
            if kept is not None:
                kept.put(number, made)
        following = groups[number + 1] if number + 1 < len(groups) else None
        finished = None if following is None or not following.shared else made[..., -following.shared :]
        yield made[0, :, group.shared :]


def _sample_group(
    model: OmniAudio, pictures: PictureFeatures, group: Group, finished: Tensor | None, settings: SamplerSettings,
    noise: Tensor, callback: StepCallback | None,
) -> Tensor:  # fmt: skip
    given, without = _features(model, pictures, group)
    schedule, terms = model.schedules.audio, []
    if finished is not None:
        held = noise[..., : finished.shape[-1]].to(finished)
        terms.append(FinishedRows(finished, held, schedule, schedule.timesteps(settings.steps)))
    try:
        latents = sample_joint(
            WindowedDenoiser(model.denoiser, group), model.schedules, Inputs(AV(audio=given), AV(audio=without)),
            AV(audio=tuple(noise.shape[1:])), settings, given=Given(noise=AV(audio=noise)), terms=terms,
            callback=callback,
        )  # fmt: skip
    except TooLittleMemory as error:
        raise TooLittleMemory(
            "memory ran out while making the sound, with guidance's passes one by one as well; compute on the cpu, "
            "with dtype bfloat16, or choose a smaller model."
        ) from error
    return latents.audio


def _features(model: OmniAudio, pictures: PictureFeatures, group: Group) -> tuple[Tensor, Tensor]:
    row_s = model.codec.seconds_per_row
    parts = [pictures.part(start * row_s, group.rows * row_s) for start in group.starts]
    pairs = [model.features(part.panorama, part.view, group.rows) for part in parts]
    given, without = (torch.stack(half)[None] for half in zip(*pairs, strict=True))
    return given, without


def _teller(told: Told, group: int, groups: int) -> StepCallback:
    return lambda step, steps, latents, x0: told(group, groups, step, steps)


def generated_blocks(
    model: OmniAudio, pictures: PictureFeatures, seconds: float, settings: FieldSettings | None = None,
    told: Told | None = None, kept: FinishedGroups | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """The same decoded: blocks `[C, n]` on the CPU, without a seam; less than a row at the end is missing.

    A group gives one block, of what needs no rows behind it; a last block gives the rest.

    Raises:
        InputError: as `latent_groups`.
    """
    with torch.no_grad():
        yield from model.codec.decode_tiles(latent_groups(model, pictures, seconds, settings, told, kept))
