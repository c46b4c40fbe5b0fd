"""Direction fields: what analysis finds, what synthesis makes of it, and what neither accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from shared_data import data_path

from con360.errors import InputError
from con360.geometry.sphere import rotation
from con360.media.reader import read_sound
from con360.records import DirectionField, Sound, SourcePoint, SourceTrack
from con360.scenes import VOICES, random_scene
from con360.sound import fields
from con360.sound.ambisonics import ambisonic_azimuth_deg, encode
from con360.sound.bands import band_centres_hz, band_weights, frame_size, joined, pieces, spectra
from con360.sound.fields import (
    analyse,
    analyse_blocks,
    field_of_track,
    re_place,
    synthesise,
    synthesise_blocks,
    turn_field,
)
from con360.sound.mels import mel_filters
from con360.sound.rotation import turn_matrices


def noise(channels: int, count: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(channels, count, generator=torch.Generator().manual_seed(seed))


def azimuths(field: DirectionField) -> torch.Tensor:
    return torch.rad2deg(torch.atan2(field.vectors[..., 0], field.vectors[..., 2]))


def some_field(rows: int = 30) -> DirectionField:
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(rows, 64, 3, generator=generator) * 0.3
    return DirectionField(vectors.clamp(-1, 1), torch.rand(rows, 64, generator=generator), 0.04, (0.5, 0.1, 0.4))


def test_bands_are_those_of_the_mels() -> None:
    """At 16 kHz each band weighs most where the mel filter of the audio models does."""
    weights = band_weights(64, 1024, 16000)
    assert (weights[:, 1:-1].argmax(0) - mel_filters()[:, 1:-1].argmax(0)).abs().max() <= 1
    assert weights.sum(1) == pytest.approx(1.0, abs=1e-6)
    assert band_centres_hz(1).tolist() == pytest.approx([1688.9], abs=0.1)


@pytest.mark.parametrize(("rate_hz", "size"), [(8000, 512), (16000, 1024), (44100, 2048), (48000, 2048), (96000, 4096)])
def test_frames_are_40_ms_or_more(rate_hz: int, size: int) -> None:
    assert frame_size(rate_hz) == size


def test_frames_add_up_to_the_sound() -> None:
    sound = noise(2, 4096)
    assert (joined(spectra(sound, 512, 256), 512) - sound[:, 256:-256]).abs().max() < 1e-6


def test_pieces_overlap_and_hold_everything_once() -> None:
    sound = torch.arange(1, 24.0)[None]
    found = list(pieces(sound.split([1, 6, 16], dim=1), 10, 3))
    assert [valid for _, valid in found] == [10, 10, 3]
    assert torch.cat([piece[:, 3 : 3 + valid] for piece, valid in found], 1).tolist() == sound.tolist()
    assert found[0][0].tolist() == [[0, 0, 0, *range(1, 14)]] and found[1][0].tolist() == [[*range(8, 24)]]
    assert found[2][0].tolist() == [[*range(18, 24), *[0] * 10]]


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_one_source_has_its_direction_in_every_band(rate_hz: int) -> None:
    field = analyse(Sound(encode(noise(1, rate_hz)[0], 50.0, 20.0), rate_hz, "ambix"))
    assert field.vectors.shape == (25, 64, 3) and field.residual.shape == (25, 64)
    assert (azimuths(field) + 50.0).abs().max() < 0.01
    assert field.vectors.norm(dim=-1) == pytest.approx(1.0, abs=1e-4) and field.residual.max() < 1e-3


def test_a_moving_source_is_followed() -> None:
    """Drawn as a track, made, read back."""
    track = SourceTrack((0.0, 2.0), (SourcePoint(-60.0, -30.0), SourcePoint(60.0, 30.0)))
    field = field_of_track(track, 2.0)
    back = analyse(synthesise(Sound(noise(1, 96000), 48000), field))
    assert (azimuths(back) - azimuths(field)).abs()[1:-1].max() < 5.0
    assert (azimuths(back) - azimuths(field)).abs().median() < 0.5


def test_scenes_come_back() -> None:
    scene = random_scene(2_000_000_000)
    truth = scene.foa()
    made = synthesise(Sound(truth.waveform[:1], 16000), analyse(truth)).waveform
    for performer in scene.performers:
        low, high = VOICES[performer.voice].band_hz
        frequency = torch.fft.rfftfreq(truth.waveform.shape[1], 1 / 16000)
        cut = [torch.fft.rfft(x) * ((frequency >= low) & (frequency < high)) for x in (truth.waveform, made)]
        (y, x), (y_made, x_made) = ([(c[0].conj() * c[k]).real.sum() for k in (1, 3)] for c in cut)
        assert torch.rad2deg(torch.atan2(y_made, x_made) - torch.atan2(y, x)).abs() < 0.5
        levels = [10 * torch.log10(c.abs().square().sum()) for c in cut]
        assert levels[0] == pytest.approx(levels[1].item(), abs=0.1)


def test_a_recording_comes_back() -> None:
    """The hang of a square, recorded without height: direction, energy of the dipoles, and no height invented."""
    truth, _ = read_sound(data_path("video_unlicensed/sph360_NdE7uYVaynQl_0.webm"), ambisonics="ambix")
    made = re_place(truth, analyse(truth)).waveform
    (y, z, x), (y_made, z_made, x_made) = ((w[:1] * w[1:]).mean(1) for w in (truth.waveform, made))
    assert torch.rad2deg(torch.atan2(y_made, x_made) - torch.atan2(y, x)).abs() < 0.5
    energies = [10 * torch.log10(w[1:].square().sum()).item() for w in (truth.waveform, made)]
    assert energies[0] == pytest.approx(energies[1], abs=0.2)
    assert not truth.waveform[2].any() and made[2].abs().max() < 1e-4


def test_diffuse_sound_stays_diffuse_and_as_loud() -> None:
    waveform = noise(4, 96000) * torch.tensor([1.0, 0.58, 0.58, 0.58])[:, None]
    made = synthesise(Sound(waveform[:1], 48000), analyse(Sound(waveform, 48000, "ambix"))).waveform
    change = 10 * torch.log10(made.square().mean(1) / waveform.square().mean(1))
    assert change.abs().max() < 0.2
    assert torch.corrcoef(made).fill_diagonal_(0.0).abs().max() < 0.05


@pytest.mark.parametrize("lengths", [[1, 479, 70000, 0, 3], [70483]])
def test_blocks_of_any_length_give_the_same(lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    sound, field = noise(4, sum(lengths)), some_field()
    whole, read = synthesise(Sound(sound[:1], 16000), field).waveform, analyse(Sound(sound, 16000, "ambix"))
    assert torch.equal(torch.cat(list(synthesise_blocks(sound[:1].split(lengths, 1), 16000, field)), 1), whole)
    blocks = analyse_blocks(sound.split(lengths, 1), 16000)
    assert torch.equal(blocks.vectors, read.vectors) and torch.equal(blocks.residual, read.residual)
    # Pieces of another length do not show either.
    monkeypatch.setattr(fields, "_SYNTHESISED_AT_ONCE_S", 0.7)
    assert (synthesise(Sound(sound[:1], 16000), field).waveform - whole).abs().max() < 1e-5


@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("count", [1, 700, 20000])
def test_fields_and_sounds_of_any_lengths_fit(rows: int, count: int) -> None:
    sound = noise(1, count)
    made = synthesise(Sound(sound, 44100), some_field(rows))
    assert made.layout == "ambix" and made.waveform.shape == (4, count) and torch.isfinite(made.waveform).all()
    assert torch.equal(made.waveform[:1], sound)


def test_the_last_row_of_a_short_field_holds() -> None:
    # So far away that the source's own size fills no angle.
    field = field_of_track(SourceTrack.still(SourcePoint(90.0, distance_m=1000.0)), 0.04)
    made = synthesise(Sound(noise(1, 20000), 16000), field).waveform
    assert (made[1] + made[0]).abs().max() < 1e-5 and made[2:].abs().max() < 1e-5


def test_silence_has_no_direction_and_a_dead_channel_stays_dead() -> None:
    waveform = noise(4, 48000)
    waveform[:, :24000], waveform[2] = 0.0, 0.0
    field = analyse(Sound(waveform, 48000, "ambix"))
    assert not field.vectors[:10].any() and not field.residual[:10].any()
    assert field.shares[1] == pytest.approx(0.0, abs=1e-6) and sum(field.shares) == pytest.approx(1.0)
    made = synthesise(Sound(waveform[:1], 48000), field).waveform
    assert made[2].abs().max() < 1e-3 * made[1].abs().max() and not made[:, :20000].any()


def test_levels_do_not_matter() -> None:
    """Neither peaks above 1 nor a whisper change a field."""
    waveform = noise(4, 16000)
    fields_found = [analyse(Sound(waveform * gain, 16000, "ambix")) for gain in (1.0, 300.0, 1e-6)]
    for other in fields_found[1:]:
        assert (other.vectors - fields_found[0].vectors).abs().max() < 1e-4
    loud = synthesise(Sound(waveform[:1] * 300.0, 16000), fields_found[0]).waveform
    quiet = synthesise(Sound(waveform[:1], 16000), fields_found[0]).waveform
    assert (loud / 300.0 - quiet).abs().max() < 1e-5


def test_sources_share_a_band_and_the_rest_is_everywhere() -> None:
    left, right = (SourceTrack.still(SourcePoint(yaw, distance_m=4.0)) for yaw in (-90.0, 90.0))
    shares = torch.zeros(2, 1, 3)
    shares[0, 0] = torch.tensor([1.0, 0.5, 0.2])
    shares[1, 0] = torch.tensor([0.0, 0.5, 0.2])
    field = field_of_track([left, right], 0.04, shares)
    own = field_of_track(left, 0.04).vectors[0, 0, 0].item()
    assert 0.99 < own < 1.0  # a source of 0.3 m at 4 m is nearly a point
    assert field.vectors[0, :, 0].tolist() == pytest.approx([own, 0.0, 0.0], abs=1e-6)
    assert field.residual[0].tolist() == pytest.approx([1 - own**2, 1.0, 1.0], abs=1e-6)
    assert field_of_track(SourceTrack.still(SourcePoint(0.0, spread_deg=360.0)), 1.0).vectors.abs().max() < 1e-6


def test_a_field_turns_as_its_sound_does() -> None:
    field = some_field()
    camera = rotation(40.0, -20.0, 75.0)
    turned = turn_field(field, 40.0, -20.0, 75.0)
    sound = Sound(noise(4, 16000), 16000, "ambix")
    of_turned = analyse(replace(sound, waveform=turn_matrices(camera) @ sound.waveform))
    assert (turn_field(analyse(sound), 40.0, -20.0, 75.0).vectors - of_turned.vectors).abs().max() < 1e-4
    assert sum(turned.shares) == pytest.approx(1.0) and turned.residual is field.residual
    source = turn_field(field_of_track(SourceTrack.still(SourcePoint(40.0)), 0.04), 40.0)
    assert ambisonic_azimuth_deg(azimuths(source)[0, 0].item()) == pytest.approx(0.0, abs=1e-3)


def test_shares_turn_with_the_dipoles() -> None:
    field = replace(some_field(), shares=(1.0, 0.0, 0.0))
    assert turn_field(field, 90.0).shares == pytest.approx((0.0, 0.0, 1.0), abs=1e-6)


def test_re_placing_keeps_w_and_the_pair() -> None:
    sound = Sound(noise(6, 8000), 48000, "ambix")
    moved = re_place(sound, field_of_track(SourceTrack.still(SourcePoint(-90.0)), 1.0))
    assert torch.equal(moved.waveform[[0, 4, 5]], sound.waveform[[0, 4, 5]])
    assert (moved.waveform[1] - moved.waveform[0]).abs().max() < 0.05


def test_what_cannot_be_used_is_said() -> None:
    field, bad = some_field(), noise(4, 100)
    bad[2, 50] = float("nan")
    for sound in (Sound(noise(1, 9), 16000), Sound(noise(6, 9), 48000, "other"), Sound(noise(4, 9), 48000, "other")):
        with pytest.raises(InputError, match="read from Ambisonics"):
            analyse(sound)
    with pytest.raises(InputError, match="NaN"):
        analyse(Sound(bad, 16000, "ambix"))
    with pytest.raises(InputError, match="NaN"):
        synthesise(Sound(bad[2:3], 16000), field)
    with pytest.raises(InputError, match="at least one sample"):
        analyse(Sound(bad[:, :0], 16000, "ambix"))
    with pytest.raises(InputError, match="blocks of 3 channels; wanted W, Y, Z, X"):
        analyse_blocks([bad[:3]], 16000)
    with pytest.raises(InputError, match="blocks of 2 channels; wanted one channel"):
        synthesise(Sound(noise(2, 100), 16000, "stereo"), field)
    with pytest.raises(InputError, match="got none"):
        field_of_track([], 1.0)
    with pytest.raises(InputError, match="0 s was asked"):
        field_of_track(SourceTrack.still(SourcePoint(0.0)), 0.0)
    with pytest.raises(InputError, match="more than there is"):
        field_of_track(SourceTrack.still(SourcePoint(0.0)), 0.04, torch.full((1, 1, 4), 1.2))
    with pytest.raises(InputError, match=r"wanted \[1, 25, B\]"):
        field_of_track(SourceTrack.still(SourcePoint(0.0)), 1.0, torch.zeros(1, 9, 64))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vectors": torch.zeros(30, 64)}, r"wanted \[R, B, 3\]"),
        ({"vectors": torch.zeros(0, 64, 3), "residual": torch.zeros(0, 64)}, "wanted"),
        ({"vectors": torch.full((30, 64, 3), 2.0)}, "longer than 2"),
        ({"vectors": torch.full((30, 64, 3), float("nan"))}, "NaN"),
        ({"residual": torch.full((30, 64), -0.1)}, "out of 0 to 16"),
        ({"row_s": 0.0}, "rows of 0 s"),
        ({"shares": (1.0, 1.0, 1.0)}, "whose sum is 1"),
    ],
)
def test_a_field_that_is_none_is_refused(change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        synthesise(Sound(noise(1, 100), 16000), replace(some_field(), **change))
