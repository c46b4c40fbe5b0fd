from __future__ import annotations

import pytest

from con360.errors import InputError
from con360.media.files import atomic_path, existing_file


def test_file_appears_when_complete(tmp_path):
    final = tmp_path / "new" / "clip.mp4"
    with atomic_path(final) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.parent == final.parent and temporary.suffix == ".mp4"
        assert not final.exists()
    assert final.read_bytes() == b"half"
    assert [p.name for p in final.parent.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_half_written_stays(tmp_path, error):
    final = tmp_path / "clip.mp4"
    final.write_bytes(b"old")
    with pytest.raises(error):
        with atomic_path(final) as temporary:
            temporary.write_bytes(b"half")
            raise error
    assert final.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_target_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        with atomic_path(tmp_path):
            raise AssertionError("not reached")
    blocker = tmp_path / "file"
    blocker.write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be made"):
        with atomic_path(blocker / "clip.mp4"):
            raise AssertionError("not reached")


def test_existing_file_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.mp4").write_bytes(b"x")
    assert existing_file("-x.mp4") == tmp_path / "-x.mp4"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.mp4", "no file"),
        ("folder", "is a folder"),
        ("empty.mp4", "is empty"),
        ("a\0b", "valid file name|no file"),
    ],
)
def test_missing_input(tmp_path, name, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match=words):
        existing_file(f"{tmp_path}/{name}")
