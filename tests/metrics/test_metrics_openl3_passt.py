"""OpenL3 and PaSST of the user: their windows, their formulas, refusals; tiny networks stand in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_judges import EMBEDDING, write_judges

from con360.errors import InputError
from con360.metrics.frechet import frechet_distance
from con360.metrics.openl3_passt import (
    PEAK,
    load_openl3,
    load_passt,
    openl3_windows,
    passt_divergence,
    passt_windows,
)
from con360.records import Sound
from con360.sound.ambisonics import encode

RATE = 32000


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return write_judges(tmp_path_factory.mktemp("networks"))


def sound(seconds: float, yaw: float = 20.0, seed: int = 0) -> Sound:
    mono = torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))
    return Sound(encode(0.1 * mono, yaw, 0.0), RATE, "ambix")


def test_windows_are_the_published_ones():
    # The first window of OpenL3 is centred on the start; one each half second until all is heard.
    assert openl3_windows(sound(10.0)).shape == (20, 48000)
    assert openl3_windows(sound(0.3)).shape == (1, 48000)
    assert not openl3_windows(sound(2.0))[0, :24000].any()
    assert [len(passt_windows(sound(seconds))) for seconds in (4.0, 10.0, 16.0, 21.0)] == [1, 1, 3, 4]
    assert passt_windows(sound(4.0)).shape == (1, 320000)
    assert float(passt_windows(sound(10.0)).abs().max()) == pytest.approx(PEAK, abs=1e-6)


def test_only_w_is_heard(networks):
    embed, classify = load_openl3(networks / "openl3.pt"), load_passt(networks / "passt.pt")
    for hear in (embed, classify):
        assert np.array_equal(hear(sound(2.0, 20.0)), hear(sound(2.0, -130.0)))
        assert not np.array_equal(hear(sound(2.0)), hear(sound(2.0, seed=1)))
    assert embed(sound(2.0)).shape == (4, 2 * EMBEDDING)
    assert classify(sound(2.0)).sum() == pytest.approx(1.0, abs=1e-5)


def test_two_equal_channels_double_the_distance_of_one(networks):
    embed = load_openl3(networks / "openl3.pt")
    first, second = (np.concatenate([embed(sound(3.0, seed=k + i)) for i in range(4)]) for k in (0, 10))
    one = frechet_distance(first[:, :EMBEDDING], second[:, :EMBEDDING])
    assert frechet_distance(first, second) == pytest.approx(2 * one, rel=1e-6) and one > 0


def test_the_divergence_is_of_generated_to_reference():
    a, b = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    expected = 0.75 * np.log(0.75 / (0.5 + 1e-6)) + 0.25 * np.log(0.25 / (0.5 + 1e-6))
    assert passt_divergence(a, b) == pytest.approx(expected)
    assert passt_divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(np.log(1e6), rel=1e-3)


def test_a_set_larger_than_its_width_has_the_same_distance():
    g = np.random.default_rng(0)
    a, b = g.normal(size=(60, 5)), 1.5 * g.normal(size=(70, 5)) + 1
    wide = np.zeros((70, 80))
    wide[:, :5] = b
    narrow = frechet_distance(a, b)
    assert frechet_distance(np.pad(a, ((0, 0), (0, 75))), wide) == pytest.approx(narrow, rel=1e-9)


def test_silence_and_strange_networks_are_refused(networks, tmp_path):
    with pytest.raises(InputError, match="silent"):
        openl3_windows(Sound(torch.zeros(4, RATE), RATE, "ambix"))
    with pytest.raises(InputError, match="8 classes; wanted 527"):
        load_passt(networks / "openl3.pt")(sound(1.0))
    (tmp_path / "x.pt").write_bytes(b"no network")
    with pytest.raises(InputError, match="TorchScript"):
        load_openl3(tmp_path / "x.pt")
