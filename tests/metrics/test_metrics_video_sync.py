"""Picture distances, the best-of-candidates match, I3D from a file, AV-Align."""

from __future__ import annotations

import math

import pytest
import torch

from con360.errors import InputError
from con360.metrics.sync import av_align, peaks_in_common, video_peaks_s
from con360.metrics.video import (
    codec_video_embedding,
    first_and_last_crossing,
    i3d_input,
    load_i3d,
    match_candidates,
    picture_correlation,
    picture_distance,
)
from con360.records import Sound


def test_picture_distance_is_the_rms_of_each_frame_and_then_the_mean():
    black = torch.zeros(2, 3, 8, 8)
    other = black.clone()
    other[0] = 1.0
    other[1, :, :4] = 0.6  # half of the second frame
    assert picture_distance(other, black) == pytest.approx((1.0 + 0.6 / math.sqrt(2)) / 2)
    with pytest.raises(InputError, match="one shape"):
        picture_distance(black, black[:1])


def test_picture_correlation_ignores_brightness_and_knows_the_negative():
    clip = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert picture_correlation(0.5 * clip + 0.2, clip) == pytest.approx(1.0)
    assert picture_correlation(1 - clip, clip) == pytest.approx(-1.0)
    assert picture_correlation(torch.full_like(clip, 0.5), clip) == 0.0


def test_the_right_candidate_wins_through_noise_and_shared_background():
    g = torch.Generator().manual_seed(0)
    background = 20 * torch.rand(2, 3, 16, 16, generator=g)
    candidates = background + torch.rand(12, 2, 3, 16, 16, generator=g)
    noisy = candidates[7] + 0.3 * torch.randn(2, 3, 16, 16, generator=g)
    cosines = match_candidates(noisy, candidates)
    assert int(cosines.argmax()) == 7 and cosines[7] > 0.5
    assert cosines[torch.arange(12) != 7].max() < 0.3
    assert float(match_candidates(candidates[3], candidates)[3]) == pytest.approx(1.0)
    with pytest.raises(InputError, match="two or more"):
        match_candidates(noisy, candidates[:1])


class ShapeOfInput(torch.nn.Module):
    """Stand in for I3D: the same call, and an output that tells what the input was."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        assert not rescale and not resize and return_features
        return torch.stack([x.amin((1, 2, 3, 4)), x.amax((1, 2, 3, 4)), x[:, 0, 3].mean((1, 2))], dim=1)


def test_i3d_from_a_file_reads_224_px_and_minus_one_to_one(tmp_path):
    torch.jit.script(ShapeOfInput()).save(str(tmp_path / "i3d.pt"))
    clip = torch.zeros(1, 12, 3, 32, 32)
    clip[:, 3, 0] = 1.0
    assert load_i3d(tmp_path / "i3d.pt")(clip).tolist() == [[-1.0, 1.0, 1.0]]
    assert i3d_input(clip).shape == (1, 3, 12, 224, 224)


def test_i3d_refuses_other_files_and_short_clips(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"no network")
    with pytest.raises(InputError, match="TorchScript"):
        load_i3d(tmp_path / "x.pt")
    with pytest.raises(InputError, match="10 frames"):
        i3d_input(torch.zeros(1, 8, 3, 32, 32))


def test_the_codec_embedding_tells_place_spread_and_motion_apart():
    still = torch.zeros(1, 4, 8, 8)
    still[0, :, :4, :4] = 2.0
    embedding = codec_video_embedding(still)
    assert embedding.tolist() == [2.0, 0, 0, 0] + [0.0] * 4 + [0.0]
    moving = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    assert codec_video_embedding(moving)[-1] == 1.0


def test_crossings():
    assert first_and_last_crossing([0, 0.4, 0.6, 0.9, 0.2], 0.5) == (2, 3)
    assert first_and_last_crossing([0, 0], 0.5) == (None, None)


def test_peaks_in_common_by_hand():
    # 0.5 matches 0.55; 1.0 and 2.0 match nothing: 1 of 3. A distance as large as the window is no match.
    assert peaks_in_common([0.5, 1.0], [0.55, 2.0], 0.1) == pytest.approx(1 / 3)
    assert peaks_in_common([0.5], [0.75], 0.25) == 0.0
    # One video peak serves one onset.
    assert peaks_in_common([0.49, 0.51], [0.5], 0.1) == 0.5
    assert math.isnan(peaks_in_common([], [], 0.1))


def jumping_square(jumps: tuple[int, ...], frames: int = 16) -> torch.Tensor:
    """Draw a textured square that moves 4 px into each frame of `jumps` and rests otherwise."""
    texture = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0))
    clip, x = torch.full((frames, 3, 64, 64), 0.5), 10
    for i in range(frames):
        x += 4 * (i in jumps)
        clip[i, :, 20:44, x : x + 24] = texture
    return clip


def test_motion_peaks_are_the_frames_of_the_jumps():
    assert video_peaks_s(jumping_square((4, 10)), 8.0) == (0.5, 1.25)
    with pytest.raises(InputError, match="3 frames"):
        video_peaks_s(torch.zeros(2, 3, 8, 8), 8.0)


def test_av_align_is_one_in_step_and_zero_out_of_step():
    def clicks(times_s: tuple[float, ...]) -> Sound:
        time_s = torch.arange(32000) / 16000
        gate = sum(((time_s >= t) & (time_s < t + 0.05)).float() for t in times_s)
        return Sound((0.5 * torch.sin(2 * math.pi * 1500 * time_s) * gate)[None], 16000)

    frames = jumping_square((4, 10))
    assert av_align(frames, 8.0, clicks((0.52, 1.27))) == 1.0
    assert av_align(frames, 8.0, clicks((0.9, 1.7))) == 0.0
