"""Socket types of the pack, and the only place where ComfyUI's layouts and the library's records meet.

ComfyUI: IMAGE `[B, H, W, C]`, MASK `[B, H, W]`, AUDIO `{"waveform": [B, C, N], "sample_rate": int}`.
Library: frames `[T, 3, H, W]`, maps `[T, H, W]`, `Sound`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import InputImpl, Types, io

from ..con360.errors import InputError
from ..con360.records import BasdMaps, SaliencyMaps, Sound, View
from ..con360.sound.channels import AMBISONICS, channel_meaning, check_ambisonics
from .host import runtime
from .host.words import Words

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.choices import ClipSound
    from ..con360.meaning.guide import MeaningGuideSettings
    from ..con360.meaning.guiding import Guiding
    from ..con360.protocols import MeaningEncoder
    from ..con360.records import Conditions, ViewpointClip
    from ..con360.sampling.settings import SamplerSettings
    from ..con360.sampling.when import TimeGuideSettings

Con360Basd = io.Custom("CON360_BASD")
Con360Model = io.Custom("CON360_MODEL")
Con360Control = io.Custom("CON360_CONTROL")
Con360View = io.Custom("CON360_VIEW")
Con360Omniaudio = io.Custom("CON360_OMNIAUDIO")
Con360TimeTrack = io.Custom("CON360_TIME_TRACK")
Con360Latents = io.Custom("CON360_LATENTS")
Con360Meaning = io.Custom("CON360_MEANING")
Con360Guide = io.Custom("CON360_GUIDE")

# Extra keys of an AUDIO dict that say what its channels mean; other packs ignore them.
LAYOUT_KEY, SPEAKERS_KEY = "con360_layout", "con360_speakers"
# The upload button's value: workflows that were saved before `ambisonics` was there have it in that place.
_UPLOAD_VALUE = "image"


@dataclass(frozen=True)
class BasdRecord:
    """Value of a CON360_BASD link: the maps with their track, and the frame rate of both."""

    maps: BasdMaps
    fps: float

    @property
    def first_view(self) -> View:
        return self.maps.track.views[0]


@dataclass(frozen=True)
class LatentsRecord:
    """Value of a CON360_LATENTS link: a generated clip with its latents, and how it was made.

    `held` is IMAGE and frame rate of a picture that the sound was made for: it need not pass the model's pixels.
    `hears` says what is heard of the scene's sound where its directions are known.
    """

    clip: ViewpointClip
    model: str
    conditions: Conditions
    settings: SamplerSettings
    strengths: Mapping[str, float]
    when: TimeGuideSettings
    guide: Guiding | None = None
    held: tuple[Tensor, float] | None = None
    hears: ClipSound = "omni"

    def heard(self) -> Sound:
        """The clip's sound as it is given away: heard from the view, or as the model makes it."""
        from ..con360.placing.generated import heard_of

        return heard_of(self.clip, self.hears, self.conditions.track)

    def shown(self) -> tuple[Tensor, dict[str, Any], Any, tuple[str, ...]]:
        """IMAGE, AUDIO, VIDEO, and what has to be said of the video's size."""
        image, fps = self.held or (image_from_frames(self.clip.frames), self.clip.fps)
        even, odd = grown(image)
        sound = self.heard()
        return image, audio_from_sound(sound), video_from_clip(frames_from_image(even), fps, sound), odd

    def of_model(self, model: str) -> LatentsRecord:
        """The record itself.

        Raises:
            InputError: another model made the clip, by its name.
        """
        if model != self.model:
            raise InputError(f"the latents are of '{self.model}', and '{model}' is connected; connect the same model.")
        return self


@dataclass(frozen=True)
class GuideRecord:
    """Value of a CON360_GUIDE link: how to guide, and by whom; None is the model's own encoder."""

    settings: MeaningGuideSettings
    encoder: MeaningEncoder | None


# ---- IMAGE


def frames_view(image: Tensor) -> Tensor:
    """IMAGE to frames `[T, 3, H, W]` that share its memory; an alpha channel is dropped, grey becomes RGB.

    Raises:
        InputError: not a batch of pictures.
    """
    if image.ndim != 4 or image.shape[0] == 0 or image.shape[-1] not in (1, 3, 4):
        raise InputError(f"the image input has shape {tuple(image.shape)}; wanted frames [count, height, width, 3].")
    return image[..., :3].movedim(-1, 1).expand(-1, 3, -1, -1)


def frames_from_image(image: Tensor) -> Tensor:
    """IMAGE to frames `[T, 3, H, W]` float32, as `frames_view` takes them.

    Raises:
        InputError: not a batch of pictures, or not finite.
    """
    frames = frames_view(image).float()
    if not frames.isfinite().all():
        raise InputError("the image input holds values that are not finite (NaN or infinity); check the node before.")
    return frames.contiguous()


def panorama_from_image(image: Tensor) -> Tensor:
    """IMAGE to equirectangular frames `[T, 3, H, 2H]`; another ratio is stretched, as the paper does."""
    return _two_to_one(frames_from_image(image))


def _two_to_one(pictures: Tensor) -> Tensor:
    """Stretch pictures `[T, C, h, w]` to `[T, C, W / 2, W]`, W being w made even."""
    import torch.nn.functional as F

    width = max(2, pictures.shape[-1] - pictures.shape[-1] % 2)
    if tuple(pictures.shape[-2:]) == (width // 2, width):
        return pictures
    return F.interpolate(pictures, (width // 2, width), mode="bilinear", antialias=True)


def image_from_frames(frames: Tensor) -> Tensor:
    """Frames `[T, 3, H, W]` to IMAGE."""
    return frames.float().clamp(0, 1).movedim(1, -1).contiguous().cpu()


# ---- MASK


def saliency_from_mask(mask: Tensor, count: int | None = None) -> SaliencyMaps:
    """MASK over the panorama to saliency maps; another ratio than 2:1 is stretched, as an IMAGE is, and logged.

    Args:
        count: number of frames. A single map, as people paint it, holds for all of them.

    Raises:
        InputError: not `[maps, height, width]`, or not finite.
    """
    if mask.ndim != 3 or 0 in mask.shape:
        raise InputError(
            f"the saliency mask has shape {tuple(mask.shape)}; wanted [frames, height, 2 x height], over the panorama."
        )
    if not mask.isfinite().all():
        raise InputError("the saliency mask holds values that are not finite (NaN or infinity); check the node before.")
    maps = _two_to_one(mask.float().clamp(0, 1)[:, None])[:, 0].clamp(0, 1)
    if maps.shape != mask.shape:
        (height, width), (rows, columns) = mask.shape[1:], maps.shape[1:]
        runtime.log.warning("the saliency mask is %dx%d; stretched to %dx%d", width, height, columns, rows)
    return SaliencyMaps(maps if count is None or len(maps) > 1 else maps.expand(count, -1, -1), "mask")


def mask_from_maps(maps: Tensor) -> Tensor:
    """Maps `[T, H, W]` to MASK, stretched to [0, 1] where they exceed it (distances in pixels do)."""
    import torch

    # A still track's maps share memory; whoever receives a MASK may write into it.
    maps = maps.float().cpu().clone(memory_format=torch.contiguous_format)
    low, high = maps.amin(), maps.amax()
    return maps if low >= 0 and high <= 1 else (maps - low) / (high - low)


# ---- AUDIO and VIDEO


def channel_inputs() -> list[io.Input]:
    """The two widgets that say what the channels of a sound are, the same on every node that asks."""
    return [
        runtime.advanced(io.Combo.Input(
            "ambisonics", options=Words(AMBISONICS, checked_ambisonics), default="auto", optional=True,
            tooltip="What 4, 9 or 16 channels are: AmbiX, N3D or FuMa, or loudspeakers ('none'). 'auto' reads the "
            "metadata and takes them for AmbiX where it says nothing.",
        )),
        runtime.advanced(io.Boolean.Input(
            "head_locked", default=False, optional=True,
            tooltip="Of 6, 11 or 18 channels the last two are a stereo pair that does not turn with the view.",
        )),
    ]  # fmt: skip


def checked_ambisonics(ambisonics: str, head_locked: bool = False) -> str:
    """Check the widgets about Ambisonics, and return the library's word.

    Raises:
        InputError: an unknown one, or one that head-locked sound contradicts.
    """
    word = "auto" if ambisonics == _UPLOAD_VALUE else ambisonics
    check_ambisonics(word, head_locked)
    return word


def channels_verdict(ambisonics: str | None, head_locked: bool | None) -> bool | str:
    """Answer `validate_inputs` about the two widgets, which must agree; None, a linked one, has no value yet."""
    return runtime.verdict(head_locked=lambda: checked_ambisonics(ambisonics or "auto", bool(head_locked)))


def sound_from_audio(audio: dict[str, Any], ambisonics: str = "auto", head_locked: bool = False) -> Sound:
    """AUDIO to `Sound`; the first item of a batch. Assumptions about its channels are logged.

    Args:
        ambisonics, head_locked: of `channel_meaning`. `auto` believes what the library's own nodes say.

    Raises:
        InputError: integer samples (ComfyUI's own video reader loses the channels of PCM sound), an
            empty or malformed waveform, values that are not finite, or channels that cannot be what was said.
    """
    import torch

    waveform, rate = audio["waveform"], int(audio["sample_rate"])
    if not waveform.is_floating_point():
        raise InputError(
            "the audio holds integer samples, which ComfyUI's own video reader leaves interleaved; load the file with "
            "Load 360 Video instead."
        )
    if waveform.ndim != 3 or 0 in waveform.shape or rate <= 0:
        raise InputError(f"the audio has shape {tuple(waveform.shape)} at {rate} Hz; wanted [1, channels, samples].")
    if not waveform.isfinite().all():
        raise InputError("the audio holds values that are not finite (NaN or infinity); check the node before.")
    first, known = waveform[0].float(), audio.get(LAYOUT_KEY)
    if known and ambisonics == "auto" and not head_locked:
        return Sound(first, rate, known, tuple(audio.get(SPEAKERS_KEY, ())))
    count = first.shape[0]
    heard = channel_meaning(count, f"{count} channels", ambisonics=ambisonics, head_locked=head_locked)
    for notice in heard.notices:
        runtime.log.info("AUDIO: %s", notice)
    if heard.picks is not None:
        first = torch.from_numpy(heard.taken(first.cpu().numpy()))
    return Sound(first, rate, heard.layout, heard.speakers)


def audio_from_sound(sound: Sound) -> dict[str, Any]:
    """`Sound` to AUDIO."""
    return {
        "waveform": sound.waveform.float()[None].cpu(),
        "sample_rate": sound.sample_rate_hz,
        LAYOUT_KEY: sound.layout,
        SPEAKERS_KEY: sound.speakers,
    }


def peak_notices(sound: Sound) -> tuple[str, ...]:
    """Say that a sound goes over full scale, which no file of integers holds; say nothing where it does not."""
    from ..con360.sound.peaks import true_peak

    peak = true_peak(sound.waveform)
    if peak <= 1:
        return ()
    over = f"{20 * math.log10(peak):.1f} dB over full scale"
    return (f"the sound peaks {over}; lower a gain, or the file that it is saved in is turned down as a whole",)


def silence(num_frames: int, fps: float, rate_hz: int = 16000) -> Sound:
    """Mono silence as long as the frames, for clips without a sound track."""
    import torch

    return Sound(torch.zeros(1, round(num_frames / fps * rate_hz)), rate_hz)


def grown(image: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Repeat the last row and column of IMAGE where its size is odd, which video cannot hold; say so."""
    import torch.nn.functional as F

    height, width = image.shape[1:3]
    if not (height % 2 or width % 2):
        return image, ()
    # IMAGE has its channels last.
    even = F.pad(image.movedim(-1, 1), (0, width % 2, 0, height % 2), mode="replicate").movedim(1, -1)
    size = f"{even.shape[2]}x{even.shape[1]}"
    return even, (f"frames of {width}x{height} grow to {size} by their last pixels: video needs even sizes",)


def video_from_clip(frames: Tensor, fps: float, sound: Sound) -> Any:
    """Frames and sound to VIDEO, as core's Create Video makes it."""
    components = Types.VideoComponents(
        images=image_from_frames(frames),
        audio=audio_from_sound(sound),
        frame_rate=Fraction(fps).limit_denominator(1001),
    )
    return InputImpl.VideoFromComponents(components)
