"""SOFA files: the measured head, and files that lie."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shared_data import data_path

from con360.errors import InputError
from con360.media.sofa import ears_of_sofa, read_sofa
from con360.sound.headphones import EARS_FILE, load_ears
from con360.sound.rigid_sphere import even_directions, sphere_head

h5py = pytest.importorskip("h5py", reason="no h5py: SOFA files were NOT read")
RATE = 44100
KEMAR = "hrtf/MIT_KEMAR_normal_pinna.sofa"


@pytest.fixture
def head(tmp_path: Path) -> Callable[..., Path]:
    """Write the SOFA file of a rigid sphere, with changes to its data (None leaves one out) and attributes."""

    def write(data: dict[str, Any] | None = None, count: int = 60, **attributes: str) -> Path:
        made = sphere_head(*even_directions(count), RATE)
        places = np.stack((-made.yaw_deg % 360, made.pitch_deg, np.full(count, 1.2)), 1)
        content = {
            "Data.IR": made.responses.numpy(), "SourcePosition": places, "Data.SamplingRate": np.array([float(RATE)]),
            "Data.Delay": np.zeros((1, 2)), **(data or {}),
        }  # fmt: skip
        path = tmp_path / "head.sofa"
        with h5py.File(path, "w") as file:
            said = {"Conventions": "SOFA", "SOFAConventions": "SimpleFreeFieldHRIR", "DataType": "FIR", **attributes}
            for name, value in said.items():
                file.attrs[name] = np.bytes_(value)
            for name, values in content.items():
                if values is not None:
                    file[name] = values
        return path

    return write


def test_a_head_reads_back(head: Callable[..., Path]) -> None:
    yaw, pitch = even_directions(60)
    found = read_sofa(head(ListenerShortName="a sphere"))
    assert found.rate_hz == RATE and found.source == "a sphere"
    assert torch.allclose(found.responses, sphere_head(yaw, pitch, RATE).responses)
    assert torch.allclose(found.yaw_deg, yaw) and torch.allclose(found.pitch_deg, pitch)
    ears = ears_of_sofa(head(), 1, 48000)
    assert ears.taps.shape == (2, 4, 256) and ears.rate_hz == 48000


def test_places_may_be_cartesian_and_of_several_distances(head: Callable[..., Path]) -> None:
    made = sphere_head(*even_directions(60), RATE)
    yaw, pitch = torch.deg2rad(-made.yaw_deg), torch.deg2rad(made.pitch_deg)
    near = torch.stack((yaw.cos() * pitch.cos(), yaw.sin() * pitch.cos(), pitch.sin()), 1)
    path = head({"SourcePosition": torch.cat((near, 2 * near)).numpy(),
                 "Data.IR": torch.cat((0.5 * made.responses, made.responses)).numpy()})  # fmt: skip
    with h5py.File(path, "a") as file:
        file["SourcePosition"].attrs["Type"] = np.bytes_("cartesian")
    found = read_sofa(path)
    assert torch.allclose(found.responses, made.responses)
    assert torch.allclose(found.yaw_deg, made.yaw_deg) and torch.allclose(found.pitch_deg, made.pitch_deg)


def test_receivers_in_the_other_order_are_swapped(head: Callable[..., Path]) -> None:
    ears = np.array([[[0.0], [-0.09], [0.0]], [[0.0], [0.09], [0.0]]])
    swapped = read_sofa(head({"ReceiverPosition": ears, "ListenerView": np.array([[1.0, 0.0, 0.0]])})).responses
    assert torch.equal(swapped, read_sofa(head()).responses.flip(1))


def test_delays_are_put_in_front(head: Callable[..., Path]) -> None:
    delay = np.tile([[3.0, 10.0]], (60, 1))
    moved, still = read_sofa(head({"Data.Delay": delay})), read_sofa(head())
    # What all have in common is left out: only the time between the ears counts.
    assert torch.allclose(moved.responses[:, 0, :500], still.responses[:, 0, :500], atol=1e-9)
    assert torch.allclose(moved.responses[:, 1, 7:507], still.responses[:, 1, :500], atol=1e-9)


@pytest.mark.parametrize(
    ("data", "attributes", "says"),
    [
        ({"Data.IR": None}, {}, "has no numbers Data.IR"),
        ({"Data.IR": np.zeros((60, 3, 9))}, {}, "Data.IR of 60 x 3 x 9; wanted directions x 2 ears x samples"),
        ({"Data.IR": np.zeros(60)}, {}, "Data.IR of 60;"),
        ({"Data.IR": np.full((60, 2, 9), np.nan)}, {}, "Data.IR that are not finite"),
        ({"Data.IR": np.zeros((60, 2, 9))}, {}, "responses that are silent"),
        ({"Data.IR": np.array([b"no"])}, {}, "has no numbers Data.IR"),
        ({"SourcePosition": np.zeros((59, 3))}, {}, "SourcePosition of 59 x 3 for 60 directions"),
        ({"SourcePosition": None}, {}, "has no numbers SourcePosition"),
        ({"SourcePosition": np.full((60, 3), 200.0)}, {}, "an elevation of 200 degrees"),
        ({"Data.SamplingRate": np.array([0.0])}, {}, "a sampling rate of"),
        ({"Data.SamplingRate": np.array([44100.0, 48000.0])}, {}, "wanted one, 8 to 384 kHz"),
        ({"Data.Delay": np.zeros((7, 2))}, {}, "Data.Delay of 7 x 2; wanted 1 x 2 or 60 x 2"),
        ({"Data.Delay": np.full((1, 2), -5.0)}, {}, "delays of -5 to -5 samples"),
        ({}, {"Conventions": "other"}, "is HDF5, but no SOFA file"),
        ({}, {"DataType": "TF", "SOFAConventions": "SimpleFreeFieldHRTF"}, "data of type 'TF'"),
        ({}, {"SOFAConventions": "SingleRoomDRIR"}, "of convention 'SingleRoomDRIR'"),
        ({"ListenerView": np.array([[0.0, 1.0, 0.0]])}, {}, "does not look to azimuth 0"),
        ({"ReceiverPosition": np.zeros((3, 3, 1))}, {}, "ReceiverPosition of 3 x 3 x 1; wanted 2 x 3"),
    ],
)
def test_a_file_that_lies_is_a_sentence(
    head: Callable[..., Path], data: dict[str, Any], attributes: dict[str, str], says: str
) -> None:  # fmt: skip
    with pytest.raises(InputError, match=says):
        read_sofa(head(data, **attributes))


def test_numbers_of_another_file_are_not_read(head: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(bytes(60 * 2 * 9 * 8))
    path = head({"Data.IR": None})
    with h5py.File(path, "a") as file:
        file.create_dataset(
            "Data.IR", (60, 2, 9), "f8", external=[(str(tmp_path / "other.bin"), 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(InputError, match="keeps Data.IR in another file"):
        read_sofa(path)
    path = head({"Data.IR": None})
    with h5py.File(path, "a") as file:
        file["Data.IR"] = h5py.ExternalLink(str(tmp_path / "another.sofa"), "Data.IR")
    with pytest.raises(InputError, match="has no numbers Data.IR"):
        read_sofa(path)


def test_directions_that_leave_the_sphere_out_are_a_sentence(head: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="do not go round the head"):
        ears_of_sofa(head({"SourcePosition": np.tile([[0.0, 0.0, 1.0]], (60, 1))}), 1, 48000)


def test_no_hdf5_at_all_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "head.sofa"
    path.write_bytes(b"no HDF5" * 99)
    with pytest.raises(InputError, match="cannot be read as SOFA"):
        read_sofa(path)
    with pytest.raises(InputError, match="there is no file"):
        read_sofa(tmp_path / "none.sofa")


def test_a_cut_file_is_a_sentence(head: Callable[..., Path]) -> None:
    path = head()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read as SOFA"):
        read_sofa(path)


def test_without_h5py_the_sentence_says_how_to_get_it(
    head: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    path = head()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"needs the package h5py: pip install \"con360-av\[sofa\]\""):
        read_sofa(path)


# MIT KEMAR ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_shipped_filters_are_made_again() -> None:
    from safetensors import safe_open

    from tools.ear_filters import made

    tensors, facts = made(data_path(KEMAR))
    with safe_open(EARS_FILE, framework="pt") as file:
        assert set(file.keys()) == set(tensors)
        assert file.metadata() == facts
        for name, taps in tensors.items():
            assert (file.get_tensor(name) - taps).abs().max() < 1e-6, name
    assert "Gardner" in facts["authors"] and "provided the authors are cited" in facts["grant"]


def test_the_shipped_filters_hear_as_the_head_does() -> None:
    from benchmarks.sound.ears import compare, filtered, left_is_left, measured, straight, two_cardioids

    head = read_sofa(data_path(KEMAR))
    wanted = measured(head, RATE)
    rings = {order: filtered(load_ears(order, RATE), wanted.yaw_deg) for order in (1, 2, 3)}
    third, first = (compare(rings[order], wanted) for order in (3, 1))
    assert len(wanted.yaw_deg) == 72 and all(map(left_is_left, rings.values()))
    assert third.share >= 0.95 and third.delay_us.abs().median() <= 10 and third.delay_us.abs().max() <= 30
    assert first.hole_db <= 4
    # A measure that found everything good would find today's stereo good.
    today = compare(two_cardioids(wanted.yaw_deg, RATE), wanted)
    assert today.share < 0.2 and today.delay_us.abs().median() > 300 and today.hole_db > 20
    some = wanted.at([0, 20, 50])
    placed = compare(straight(head, some.yaw_deg, RATE), some)
    assert placed.near_db.abs().max() < 1 and placed.delay_us.abs().max() < 10


def test_a_persons_own_file_gives_the_shipped_filters() -> None:
    own = ears_of_sofa(data_path(KEMAR), 1, 48000)
    assert own.source == "KEMAR, normal pinna" and (own.taps - load_ears(1, 48000).taps).abs().max() < 1e-5
