"""Tensors are kept under keys made of contents; the least used go first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from con360.sounding.store import Store, file_key, key_of


def test_what_was_put_is_found_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tensors = {"a": torch.randn(3, 4), "seconds": torch.tensor(9.98, dtype=torch.float64)}
    store.put("one", tensors)
    found = store.get("one")
    assert found is not None and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert store.get("two") is None and store.problem is None


def test_the_folder_stays_small_and_what_was_used_last_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, most_bytes=5200)
    for i in range(4):
        store.put(str(i), {"a": torch.zeros(300)})
        os.utime(tmp_path / f"{i}.safetensors", (i, i))
    assert store.get("0") is not None
    store.put("4", {"a": torch.zeros(300)})
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["0", "2", "3", "4"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5200
    store.put("large", {"a": torch.zeros(3000)})
    assert [path.stem for path in tmp_path.iterdir()] == ["large"], "the newest stays in any case"


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("one", {"a": torch.zeros(300)})
    whole = (tmp_path / "one.safetensors").read_bytes()
    (tmp_path / "one.safetensors").write_bytes(whole[:200])
    assert store.get("one") is None
    store.put("one", {"a": torch.ones(2)})
    assert store.get("one") is not None


def test_the_folder_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CON360_CACHE", str(tmp_path / "mine"))
    assert Store().folder == tmp_path / "mine"
    monkeypatch.delenv("CON360_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store().folder == tmp_path / ".cache" / "con360" / "sounding"


def test_keys_tell_contents_apart(tmp_path: Path) -> None:
    assert key_of("a", 1, None) == key_of("a", 1, None)
    assert len({key_of("a", 1), key_of("a", 1.5), key_of("a", "1"), key_of(("a", 1))}) == 4
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 3_000_000)
    assert file_key(tmp_path / "a") == file_key(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert file_key(tmp_path / "a") != file_key(tmp_path / "b")
