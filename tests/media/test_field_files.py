"""Files of direction fields: what is written comes back; what is none is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from con360.errors import InputError
from con360.media.field_files import read_field, write_field
from con360.records import DirectionField


def field() -> DirectionField:
    return DirectionField(torch.rand(5, 64, 3), torch.rand(5, 64), 0.05, (0.25, 0.25, 0.5))


def test_a_field_comes_back(tmp_path: Path) -> None:
    wrote = field()
    write_field(tmp_path / "new" / "a.safetensors", wrote)
    read = read_field(tmp_path / "new" / "a.safetensors")
    assert torch.equal(read.vectors, wrote.vectors) and torch.equal(read.residual, wrote.residual)
    assert (read.row_s, read.shares) == (0.05, (0.25, 0.25, 0.5))


def test_a_field_that_cannot_be_used_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="NaN"):
        write_field(path, DirectionField(torch.full((1, 64, 3), float("nan")), torch.zeros(1, 64)))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"vectors": torch.zeros(1, 2, 3), "residual": torch.zeros(1, 2)}
    said = {"format": "con360-field", "format_version": "1", "row_s": "0.04", "shares": "[0.5, 0.25, 0.25]"}
    for metadata, message in (
        ({}, "no direction field"),
        (said | {"format_version": "2"}, "this program reads 1"),
        (said | {"shares": "[1"}, "cut or damaged"),
        (said | {"row_s": "x"}, "cut or damaged"),
        (said | {"shares": "[1, 1]"}, "cut or damaged"),
        (said | {"shares": "[1, 1, 1]"}, "whose sum is 1"),
        (said | {"row_s": "99"}, "rows of 99 s"),
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(InputError, match=message):
            read_field(path)
    save_file({"vectors": tensors["vectors"]}, path, metadata=said)
    with pytest.raises(InputError, match="cut or damaged"):
        read_field(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="cut or damaged"):
        read_field(path)
    with pytest.raises(InputError, match="no file"):
        read_field(tmp_path / "none.safetensors")
