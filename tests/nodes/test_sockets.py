"""Convert ComfyUI's layouts to the library's records and back; accept or refuse values of other nodes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module")
def sockets(pack: Any) -> Any:
    return pack("nodes.sockets")


@pytest.fixture(scope="module")
def refused(pack: Any) -> type[Exception]:
    return pack("con360.errors").InputError


def test_image_and_frames_are_each_others_inverse(sockets: Any) -> None:
    image = torch.rand(5, 6, 12, 3, generator=torch.Generator().manual_seed(0))
    frames = sockets.frames_from_image(image)
    assert frames.shape == (5, 3, 6, 12)
    assert frames[4, 1, 2, 3] == image[4, 2, 3, 1]
    assert torch.equal(sockets.image_from_frames(frames), image)


def test_alpha_is_dropped_and_grey_becomes_rgb(sockets: Any) -> None:
    rgba = torch.rand(1, 2, 4, 4)
    assert torch.equal(sockets.frames_from_image(rgba), sockets.frames_from_image(rgba[..., :3]))
    assert torch.equal(sockets.frames_from_image(rgba[..., :1]), rgba[..., 0][:, None].expand(-1, 3, -1, -1))


def test_images_leave_within_range_and_as_float32(sockets: Any) -> None:
    image = sockets.image_from_frames(torch.tensor([-0.5, 0.25, 1.5], dtype=torch.float64).view(1, 3, 1, 1))
    assert image.dtype == torch.float32
    assert image.flatten().tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    "image",
    [torch.rand(2, 4, 3), torch.rand(0, 4, 8, 3), torch.rand(1, 4, 8, 2), torch.full((1, 4, 8, 3), float("nan"))],
    ids=["no batch", "no frames", "two channels", "NaN"],
)
def test_bad_images_are_refused_by_name(sockets: Any, refused: type[Exception], image: torch.Tensor) -> None:
    with pytest.raises(refused, match="the image input"):
        sockets.frames_from_image(image)


def test_a_panorama_is_brought_to_two_to_one_and_otherwise_left_alone(sockets: Any) -> None:
    exact = torch.rand(2, 8, 16, 3)
    assert torch.equal(sockets.image_from_frames(sockets.panorama_from_image(exact)), exact)
    ramp = torch.linspace(0, 1, 32)[None, None, :, None].expand(1, 18, 32, 3)
    stretched = sockets.panorama_from_image(ramp)
    assert stretched.shape == (1, 3, 16, 32)
    assert torch.allclose(stretched[0, 0, 5], ramp[0, 0, :, 0], atol=1e-5)


def test_masks_are_maps(sockets: Any) -> None:
    mask = torch.rand(3, 4, 8)
    assert torch.equal(sockets.saliency_from_mask(mask).maps, mask)
    assert torch.equal(sockets.mask_from_maps(mask), mask)


def test_one_painted_mask_is_saliency_of_every_frame(sockets: Any, caplog: pytest.LogCaptureFixture) -> None:
    painted = torch.zeros(1, 16, 32)
    painted[:, 4:8, 20:28] = 1
    maps = sockets.saliency_from_mask(painted, 5).maps
    assert maps.shape == (5, 16, 32) and torch.equal(maps[4], painted[0]) and not caplog.text
    assert sockets.saliency_from_mask(painted.expand(3, -1, -1), 5).maps.shape == (3, 16, 32)


def test_a_mask_of_another_ratio_is_stretched_with_a_notice(sockets: Any, caplog: pytest.LogCaptureFixture) -> None:
    half = torch.zeros(1, 24, 32)
    half[..., 16:] = 1
    maps = sockets.saliency_from_mask(half, 2).maps
    assert maps.shape == (2, 16, 32) and torch.allclose(maps[1], half[0, :16], atol=1e-5)
    assert "32x24; stretched to 32x16" in caplog.text
    assert sockets.saliency_from_mask(torch.rand(2, 7, 1)).maps.shape == (2, 1, 2)


def test_distances_in_pixels_are_stretched_into_a_mask(sockets: Any) -> None:
    mask = sockets.mask_from_maps(torch.tensor([[[-30.0, 0.0], [10.0, 10.0]]]))
    assert mask.flatten().tolist() == pytest.approx([0.0, 0.75, 1.0, 1.0])


def test_a_mask_does_not_share_memory_with_the_maps(sockets: Any) -> None:
    maps = torch.zeros(1, 2, 4).expand(3, -1, -1)
    sockets.mask_from_maps(maps)[0] += 1
    assert maps.sum() == 0


@pytest.mark.parametrize("mask", [torch.rand(0, 4, 8), torch.rand(8, 16), torch.full((1, 4, 8), float("inf"))])
def test_bad_masks_are_refused_by_name(sockets: Any, refused: type[Exception], mask: torch.Tensor) -> None:
    with pytest.raises(refused, match="the saliency mask"):
        sockets.saliency_from_mask(mask)


def test_audio_keeps_rate_channels_and_peaks(sockets: Any) -> None:
    waveform = torch.randn(1, 4, 480) * 2
    sound = sockets.sound_from_audio({"waveform": waveform, "sample_rate": 48000})
    assert (sound.sample_rate_hz, sound.layout) == (48000, "ambix")
    back = sockets.audio_from_sound(sound)
    assert torch.equal(back["waveform"], waveform)
    assert back["sample_rate"] == 48000


def test_a_four_channel_recording_that_is_not_ambisonic_stays_so(sockets: Any, pack: Any) -> None:
    quad = pack("con360.records").Sound(torch.zeros(4, 10), 48000, "other")
    assert sockets.sound_from_audio(sockets.audio_from_sound(quad)).layout == "other"


@pytest.mark.parametrize(
    ("count", "layout", "kept", "centre"),
    [(6, "other", 6, 2), (8, "other", 8, 2), (9, "ambix", 9, None), (16, "ambix", 16, None), (12, "other", 12, None)],
)
def test_audio_without_a_layout_gets_that_of_its_channel_count(
    sockets: Any, count: int, layout: str, kept: int, centre: int | None
) -> None:
    audio = {"waveform": torch.zeros(1, count, 10), "sample_rate": 48000}
    sound = sockets.sound_from_audio(audio)
    assert (sound.layout, sound.waveform.shape[0]) == (layout, kept)
    assert (sound.speakers.index("FC") if centre else sound.speakers) == (centre or ())
    again = sockets.sound_from_audio(sockets.audio_from_sound(sound))
    assert (again.layout, again.speakers, again.waveform.shape) == (sound.layout, sound.speakers, sound.waveform.shape)


def test_a_chosen_layout_overrides_the_audios_own(sockets: Any, refused: type[Exception]) -> None:
    audio = {"waveform": torch.ones(1, 6, 10), "sample_rate": 48000, "con360_layout": "other"}
    assert sockets.sound_from_audio(audio).layout == "other"
    sound = sockets.sound_from_audio(audio, "n3d", head_locked=True)
    assert (sound.layout, sound.waveform[:, 0].tolist()) == ("ambix", pytest.approx([1, *[3**-0.5] * 3, 1, 1]))
    with pytest.raises(refused, match="the sound has 6"):
        sockets.sound_from_audio(audio, "fuma")


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (torch.zeros(1, 1, 10, dtype=torch.int16), "integer samples"),
        (torch.zeros(1, 10), "has shape"),
        (torch.zeros(1, 1, 0), "has shape"),
        (torch.full((1, 1, 4), float("nan")), "not finite"),
    ],
    ids=["int16", "no batch", "empty", "NaN"],
)
def test_bad_audio_is_refused_by_name(
    sockets: Any, refused: type[Exception], waveform: torch.Tensor, words: str
) -> None:
    with pytest.raises(refused, match=words):
        sockets.sound_from_audio({"waveform": waveform, "sample_rate": 16000})


def test_video_carries_frames_rate_and_sound(sockets: Any) -> None:
    frames = torch.rand(16, 3, 4, 4)
    video = sockets.video_from_clip(frames, 8.0, sockets.silence(16, 8.0))
    parts = video.get_components()
    assert parts.frame_rate == Fraction(8)
    assert parts.images.shape == (16, 4, 4, 3)
    assert parts.audio["waveform"].shape == (1, 1, 32000)
    assert video.get_duration() == 2.0


def test_a_frame_rate_of_thousandths_stays_exact(sockets: Any) -> None:
    video = sockets.video_from_clip(torch.rand(2, 3, 4, 4), 30000 / 1001, sockets.silence(2, 30.0))
    assert video.get_components().frame_rate == Fraction(30000, 1001)
