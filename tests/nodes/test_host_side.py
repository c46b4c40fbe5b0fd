"""`nodes/host`: folders, file names from widgets, choices, identity of files."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tools.host import Host
from tools.host.modules import InterruptProcessingException

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module")
def folders(pack: Any) -> Any:
    return pack("nodes.host.folders")


@pytest.fixture(scope="module")
def files(pack: Any) -> Any:
    return pack("nodes.host.files")


@pytest.fixture(scope="module")
def runtime(pack: Any) -> Any:
    return pack("nodes.host.runtime")


@pytest.fixture(scope="module")
def refused(pack: Any) -> type[Exception]:
    return pack("con360.errors").InputError


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_model_folders_are_registered_and_a_users_own_come_first(host: Host, folders: Any) -> None:
    names = host._modules["folder_paths"].folder_names_and_paths
    default = os.path.join(str(host.base / "models"), "con360")
    assert names["con360"][0] == [default]
    assert names["con360_control"][1] == {".safetensors"}
    names["con360"] = (["/elsewhere"], set())
    folders.register_model_folders()
    folders.register_model_folders()
    assert names["con360"][0] == ["/elsewhere", default]


def test_models_are_folders_with_an_index_and_controls_are_files(host: Host, folders: Any) -> None:
    models = host.base / "models"
    put(models / "con360" / "big" / "model_index.json", "{}")
    (models / "con360" / "big" / "unet_v").mkdir()
    put(models / "con360" / "half" / "model_index.json", "{}")
    (models / "con360" / "half" / "unet").mkdir()
    put(models / "con360" / "not-a-model" / "readme.txt")
    put(models / "con360_control" / "mine.safetensors")
    put(models / "con360_control" / "mine.txt")
    assert list(folders.model_entries("con360")) == ["big"]
    assert list(folders.model_entries("con360_control")) == ["mine.safetensors"]
    combo = host.object_info()["Con360ModelLoader"]["input"]["required"]["model"][1]["options"]
    assert combo == ["con360-tiny (built in)", "big", "(parts below)"]


def test_videos_of_the_input_folder_are_offered(host: Host, files: Any) -> None:
    for name in ("b.MP4", "a.webm", "picture.png", "aa/late.mp4", "aa/deep/er.mov", ".trash/gone.mp4"):
        put(host.base / "input" / name)
    (host.base / "input" / "folder.mp4").mkdir()
    wanted = ["a.webm", "b.MP4", "aa/late.mp4", "aa/deep/er.mov"]
    assert files.input_videos() == wanted and all(files.input_file(name).is_file() for name in wanted)
    assert host.object_info()["Load360Video"]["input"]["required"]["video"][1]["options"][1:] == wanted


def test_widget_file_names_find_the_three_folders(host: Host, files: Any) -> None:
    put(host.base / "input" / "sub" / "in.mp4")
    put(host.base / "output" / "out.mp4")
    put(host.base / "temp" / "t.mp4")
    assert files.input_file("sub/in.mp4").name == "in.mp4"
    assert files.input_file("sub/in.mp4 [input]").name == "in.mp4"
    assert files.input_file("out.mp4 [output]") == Path(os.path.realpath(host.base / "output" / "out.mp4"))
    assert files.input_file("t.mp4 [temp]").parent.name == "temp"


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/hostname", "sub/../../secret.mp4", "../secret.mp4 [output]"])
def test_no_name_leads_out_of_its_folder(host: Host, files: Any, refused: type[Exception], name: str) -> None:
    put(host.base / "secret.mp4")
    with pytest.raises(refused, match="outside"):
        files.input_file(name)


def test_no_link_leads_out_of_its_folder(host: Host, files: Any, refused: type[Exception]) -> None:
    put(host.base / "secret.mp4")
    (host.base / "input" / "link.mp4").symlink_to(host.base / "secret.mp4")
    with pytest.raises(refused, match="outside"):
        files.input_file("link.mp4")


@pytest.mark.parametrize("name", ["gone.mp4", "", "sub"])
def test_missing_files_are_named(host: Host, files: Any, refused: type[Exception], name: str) -> None:
    with pytest.raises(refused, match="there is no file"):
        files.input_file(name)


def test_identity_changes_with_size_and_with_time(files: Any, tmp_path: Path) -> None:
    path = put(tmp_path / "a.bin", "one")
    first = files.identity([path])
    assert files.identity([path]) == first
    put(path, "longer")
    second = files.identity([path])
    os.utime(path, (1, 1))
    assert len({first, second, files.identity([path])}) == 3


def test_a_choice_that_is_not_offered_names_what_is(runtime: Any, refused: type[Exception]) -> None:
    runtime.check_choice("a", ["a", "b"], "the letter")
    with pytest.raises(refused, match="the letter 'c' is not available; choose one of 'a', 'b'"):
        runtime.check_choice("c", ["a", "b"], "the letter")


def test_a_verdict_is_true_or_a_sentence_and_hides_no_defect(runtime: Any, refused: type[Exception]) -> None:
    def bad_input() -> None:
        raise refused("too loud")

    assert runtime.verdict(sound=lambda: None) is True
    assert runtime.verdict(sound=bad_input) == "too loud"
    assert runtime.verdict(sound=bad_input, size=lambda: None, gain=bad_input) == "sound: too loud\ngain: too loud"
    with pytest.raises(ZeroDivisionError):
        runtime.verdict(sound=lambda: 1 / 0)


def test_progress_can_be_interrupted_at_each_call(host: Host, runtime: Any) -> None:
    seen: list[tuple[float, float]] = []
    host._signals.listener = lambda done, total: seen.append((done, total))
    report = runtime.progress()
    report(1, 4, "decoding")
    report(0, 0, "nothing to do")
    assert seen == [(1, 4), (0, 1)]
    host.interrupt()
    with pytest.raises(InterruptProcessingException):
        report(2, 4, "decoding")
    host._signals.listener = None


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("video/%date:yyyy-MM-dd%/a", "video/2026-03-09/a"), ("%date:yy-M-d_hh.mm.ss%", "26-3-9_07.05.02"),
        ("%date:h-m-s%x%date:yyyy%", "7-5-2x2026"), ("%width%_plain", "%width%_plain"),
    ],
)  # fmt: skip
def test_dates_are_filled_into_names(files: Any, name: str, wanted: str) -> None:
    assert files.dated(name, datetime(2026, 3, 9, 7, 5, 2)) == wanted


def test_managed_networks_are_held_together_and_brought_in(host: Host, runtime: Any) -> None:
    import torch

    from tools.host.modules import installed

    networks = {"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(2, 2)}
    with installed(host._modules):
        patcher = runtime.manage(networks)
        runtime.bring_in(patcher)
    assert patcher.model["b"] is networks["b"]
    assert runtime.comfyui_dtype("auto") == torch.float32
    assert runtime.comfyui_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize("capability", [(9, 0), (7, 5)])
def test_auto_precision_is_that_of_the_command_line(
    runtime: Any, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    import torch

    from con360.models.precision import working_dtype

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(runtime.model_management, "get_torch_device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(runtime.model_management, "should_use_fp16", lambda device: True)
    assert runtime.comfyui_dtype("auto") == working_dtype("auto", "cuda:0") != torch.float32
    monkeypatch.setattr(runtime.model_management, "should_use_fp16", lambda device: False)
    assert runtime.comfyui_dtype("auto") == torch.float32, "ComfyUI has half precision switched off"
