"""Clip lengths: the rates are stored once, every length is derived.

Source: paper section 3.2 (4 s, 8 fps, 16 kHz) and the published pipeline (mel hop 160, latents at
a quarter of the mel rate, padded for the U-Net's three halvings).
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError

MIN_SECONDS = 0.5
MAX_SECONDS = 4.0
MAX_FPS = 240.0


@dataclass(frozen=True)
class ClipSpec:
    """One clip's duration and rates, and every length that follows from them; the rates are the model's.

    Args:
        seconds: duration in [0.5, `longest_s`].
        fps: frames per second of the picture.
        sample_rate_hz: sampling rate of the sound.
        mel_hop: samples from one mel frame to the next.
        latent_stride_a: mel frames per row of the audio latent.
        latent_multiple_a: audio latent rows are padded to a multiple of this.
        longest_s: the longest clip that the model makes.

    Raises:
        InputError: the duration is outside [0.5, longest_s] seconds, or the frame rate outside (0, 240].
    """

    seconds: float = MAX_SECONDS
    fps: float = 8.0
    sample_rate_hz: int = 16000
    mel_hop: int = 160
    latent_stride_a: int = 4
    latent_multiple_a: int = 8
    longest_s: float = MAX_SECONDS

    def __post_init__(self) -> None:
        # Written so that NaN fails the check as well.
        if not MIN_SECONDS <= self.seconds <= self.longest_s:
            raise InputError(
                f"a clip of {self.seconds:g} s was asked for; the model makes {MIN_SECONDS:g} to {self.longest_s:g} s. "
                f"Choose a duration in that range, and make longer pieces from several clips."
            )
        if not 0 < self.fps <= MAX_FPS:
            raise InputError(f"{self.fps:g} frames per second were asked for; choose more than 0, up to {MAX_FPS:g}.")

    @property
    def num_frames(self) -> int:
        return max(1, round(self.seconds * self.fps))

    @property
    def num_samples(self) -> int:
        return round(self.seconds * self.sample_rate_hz)

    @property
    def num_mel(self) -> int:
        return self.num_samples // self.mel_hop

    @property
    def num_latent_rows(self) -> int:
        """Audio latent rows that hold sound, without padding."""
        return -(-self.num_mel // self.latent_stride_a)

    @property
    def num_latent_rows_padded(self) -> int:
        """Audio latent rows as sampled: all of them are generated, the surplus is cut after decoding."""
        return -(-self.num_latent_rows // self.latent_multiple_a) * self.latent_multiple_a

    @property
    def latent_seconds_a(self) -> float:
        """Time that all padded audio latent rows span, at least `seconds`."""
        return self.num_latent_rows_padded * self.latent_stride_a * self.mel_hop / self.sample_rate_hz

    def frame_times_s(self) -> tuple[float, ...]:
        """Time of each frame's start within the clip, in seconds."""
        return tuple(i / self.fps for i in range(self.num_frames))
