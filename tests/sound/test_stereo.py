"""Stereo laws and their inverse; virtual microphones, intensity and energy of fields."""

from __future__ import annotations

import math

import pytest
import torch

from con360.choices import STEREO_LAWS, StereoLaw
from con360.errors import InputError
from con360.geometry.sphere import angles, directions
from con360.records import Sound
from con360.sound.ambisonics import encode, harmonics
from con360.sound.intensity import energy_vector, heard_angles_deg, intensity
from con360.sound.microphones import PATTERNS, Pattern, hear, hear_blocks, microphone, pattern_weights
from con360.sound.stereo import law_gains, law_yaw_deg, stereo_blocks, stereo_yaw_deg, to_stereo

RATE = 48000


def noise(seed: int = 0, samples: int = RATE // 2) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def from_everywhere(order: int = 1) -> torch.Tensor:
    """Twelve hundred plane waves of their own noise: a diffuse field."""
    draw = torch.Generator().manual_seed(5)
    world = torch.nn.functional.normalize(torch.randn(1200, 3, generator=draw, dtype=torch.float64), dim=1)
    return harmonics(*angles(world), order).float().T @ (0.003 * torch.randn(1200, RATE // 2, generator=draw))


# Stereo ---------------------------------------------------------------------------------------------------------------


def test_laws_are_what_they_are_named_after() -> None:
    yaw = torch.tensor([-30.0, -15.0, 0.0, 15.0, 30.0, 60.0, 165.0, 180.0], dtype=torch.float64)
    left, right = law_gains(yaw, "tangent").unbind(1)
    ratio = (right - left) / (right + left)
    assert ratio[1].item() == pytest.approx(math.tan(math.radians(-15)) / math.tan(math.radians(30)))
    # Loudspeakers stand at the ends; what is behind is as in front.
    assert ratio[[0, 4, 5]].tolist() == pytest.approx([-1, 1, 1])
    assert ratio[[6, 7]].tolist() == pytest.approx([ratio[3].item(), 0], abs=1e-12)
    power = law_gains(torch.tensor([-45.0, 0.0, 45.0]), "constant-power")
    half = 0.5**0.5
    assert power.flatten().tolist() == pytest.approx([1, 0, half, half, 0, 1], abs=1e-6)
    for law in ("tangent", "constant-power"):
        assert law_gains(yaw, law).square().sum(1).tolist() == pytest.approx([1] * 8)


@pytest.mark.parametrize(("law", "edge"), [("cardioids", 90.0), ("tangent", 30.0), ("constant-power", 45.0)])
def test_a_source_panned_by_a_law_is_read_back(law: StereoLaw, edge: float) -> None:
    yaw = torch.linspace(-edge, edge, 7, dtype=torch.float64)
    assert law_yaw_deg(*law_gains(yaw, law).unbind(1), law).tolist() == pytest.approx(yaw.tolist(), abs=1e-4)
    for one in yaw.tolist():
        stereo = to_stereo(Sound(encode(noise(), one, 0.0), RATE, "ambix"), law)
        assert stereo.layout == "stereo" and stereo.waveform.shape == (2, RATE // 2)
        assert stereo_yaw_deg(stereo, law) == pytest.approx(one, abs=1.0)
    assert math.isnan(stereo_yaw_deg(Sound(torch.zeros(2, 9), RATE, "stereo"), law))


def test_two_sources_at_once_are_panned_each() -> None:
    t = torch.arange(RATE) / RATE
    field = encode((2513.3 * t).sin(), -30.0, 0.0) + encode((18849.6 * t).sin(), 30.0, 0.0)
    spectrum = torch.fft.rfft(to_stereo(Sound(field, RATE, "ambix"), "tangent").waveform).abs()
    low, high = spectrum[:, 400], spectrum[:, 3000]
    assert low[0] > 30 * low[1] and high[1] > 30 * high[0]
    # Two microphones leave a sixth of the level on the other side.
    cardioids = torch.fft.rfft(to_stereo(Sound(field, RATE, "ambix")).waveform).abs()
    assert cardioids[0, 400] < 3 * cardioids[1, 400]


@pytest.mark.parametrize("law", STEREO_LAWS)
def test_stereo_streams_and_keeps_the_pair(law: StereoLaw) -> None:
    pair = torch.stack((noise(1), noise(2)))
    field = encode(noise(), torch.linspace(0, 90, RATE // 2), 0.0)
    whole = to_stereo(Sound(field, RATE, "ambix"), law).waveform
    blocks = stereo_blocks(torch.cat((field, pair)).split(777, dim=1), RATE, law)
    assert (torch.cat(list(blocks), 1) - pair - whole).abs().max() < 1e-5
    third = torch.cat((field, torch.ones(12, RATE // 2)))
    assert torch.equal(to_stereo(Sound(third, RATE, "ambix"), law).waveform, whole)


@pytest.mark.parametrize("law", ["tangent", "constant-power"])
def test_a_diffuse_field_keeps_its_level_on_both_sides(law: StereoLaw) -> None:
    field = from_everywhere()
    left, right = (10 * to_stereo(Sound(field, RATE, "ambix"), law).waveform.square().mean(1).log10()).tolist()
    half = 10 * field[0].square().mean().log10().item() - 3.01
    assert [left, right] == pytest.approx([half, half], abs=1.0)


def test_bad_input_of_stereo_is_a_sentence() -> None:
    with pytest.raises(InputError, match="stereo law 'vbap' is unknown; choose one of cardioids, tangent"):
        to_stereo(Sound(torch.zeros(4, 5), RATE, "ambix"), "vbap")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="this is other with 6 channels"):
        to_stereo(Sound(torch.zeros(6, 5), RATE, "other"), "tangent")
    with pytest.raises(InputError, match="this one has 1 channels"):
        stereo_yaw_deg(Sound(torch.zeros(1, 5), RATE), "tangent")
    for samples in (0, 1):
        assert to_stereo(Sound(torch.zeros(4, samples), RATE, "ambix"), "tangent").waveform.shape == (2, samples)


# Microphones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
def test_patterns_by_their_formulas(order: int) -> None:
    angle = torch.linspace(0, 180, 37, dtype=torch.float64)
    cosine = torch.deg2rad(angle).cos()
    formulas = {"omni": 0 * cosine + 1, "cardioid": ((1 + cosine) / 2) ** order, "figure-of-eight": cosine**order}
    gains = harmonics(40 + angle, torch.zeros_like(angle), order)
    for pattern in PATTERNS:
        heard = gains @ microphone(40.0, 0.0, pattern, order)
        assert heard[0].item() == pytest.approx(1)
        if pattern in formulas:
            assert (heard - formulas[pattern]).abs().max() < 1e-9
    # On-axis power over the mean of all directions: the highest that an order can have.
    weights = pattern_weights("hypercardioid", order)
    mean = (weights**2 / (2 * torch.arange(order + 1) + 1)).sum()
    assert 1 / mean.item() == pytest.approx((order + 1) ** 2)
    assert pattern_weights("hypercardioid", 1).tolist() == pytest.approx([0.25, 0.75])


def test_microphones_hear_sounds() -> None:
    sound = Sound(torch.cat((encode(noise(), 100.0, 30.0, 2), torch.ones(2, RATE // 2))), RATE, "ambix")
    behind = directions(torch.tensor(100.0), torch.tensor(30.0)) * -1
    yaw, pitch = (angle.item() for angle in angles(behind))
    assert torch.allclose(hear(sound, 100.0, 30.0, "max-re").waveform[0], noise(), atol=1e-6)
    assert hear(sound, yaw, pitch, "cardioid", 1).waveform.abs().max() < 1e-6

    def aim(times_s):
        swept = torch.from_numpy(200.0 * times_s)
        return swept, torch.full_like(swept, 30.0)

    moving = torch.cat(list(hear_blocks(sound.waveform.split(500, 1), RATE, aim, "figure-of-eight", 2)), 1)
    # At 0.5 s the axis has reached the source.
    assert moving.shape == (1, RATE // 2)
    assert float((moving[0, -100:] - noise()[-100:]).norm() / noise()[-100:].norm()) < 0.01
    assert float(moving[0, :100].norm() / noise()[:100].norm()) < 0.2


def test_bad_input_of_microphones_is_a_sentence() -> None:
    wrong: Pattern = "shotgun"  # type: ignore[assignment]
    with pytest.raises(InputError, match="'shotgun' is unknown; choose one of omni"):
        pattern_weights(wrong, 1)
    with pytest.raises(InputError, match="order 4 was asked for"):
        pattern_weights("omni", 4)
    with pytest.raises(InputError, match="Ambisonics of order 2 or more"):
        hear(Sound(torch.zeros(4, 5), RATE, "ambix"), 0.0, order=2)
    with pytest.raises(InputError, match="this is stereo with 2"):
        hear(Sound(torch.zeros(2, 5), RATE, "stereo"), 0.0)


# Intensity and energy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "length"), [(1, 0.577), (2, 0.775), (3, 0.861)])
def test_vectors_point_at_a_source_and_nowhere_in_a_diffuse_field(order: int, length: float) -> None:
    field = torch.cat((encode(noise(), -130.0, 40.0, order), torch.ones(2, RATE // 2)))
    energy = energy_vector(field)
    assert [angle.item() for angle in angles(energy)] == pytest.approx([-130, 40], abs=1e-4)
    assert energy.norm().item() == pytest.approx(length, abs=1e-3)
    yaw, pitch, diffuse = heard_angles_deg(Sound(field, RATE, "ambix"))
    assert [yaw.item(), pitch.item(), diffuse.item()] == pytest.approx([-130, 40, 0], abs=1e-4)
    around = from_everywhere(order)
    assert energy_vector(around).norm() < 0.06
    assert heard_angles_deg(Sound(around, RATE, "ambix"))[2].item() > 0.9


def test_silence_has_no_direction() -> None:
    yaw, pitch, diffuse = heard_angles_deg(Sound(torch.zeros(4, 100), RATE, "ambix"), 0.001)
    assert not yaw.any() and not pitch.any() and diffuse.tolist() == [1.0] * 3
    assert not energy_vector(torch.zeros(4, 10)).any() and intensity(torch.zeros(9, 3)).shape == (4, 3)
    for sound in (Sound(torch.zeros(1, 5), RATE), Sound(torch.zeros(4, 0), RATE, "ambix")):
        with pytest.raises(InputError, match="directions need AmbiX"):
            heard_angles_deg(sound)
