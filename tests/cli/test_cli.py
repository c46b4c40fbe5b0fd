"""The `con360` command, run for real over a tiny untrained model."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from shared_data import ROOT, data_path
from tiny_heads import write_hearing_control
from tiny_onnx import write_face_detector
from tiny_workflow import write_model_files

from con360.cli import demo, main
from con360.devices import devices_here
from con360.drawing import figure as figures
from con360.media.info import probe
from con360.media.reader import read_panorama, read_sound
from con360.media.spherical import SphericalTags
from con360.media.writer import write_clip, write_wav
from con360.placing import generated
from con360.records import Sound, View, Viewpoint, ViewTrack
from con360.saliency.human_faces import FaceDetector
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from con360.weights.find import model_folder

SHORT = ["--duration", "0.5", "--steps", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the published layout with its own control file."""
    models = tmp_path_factory.mktemp("models")
    write_model_files(models)
    folder = models / "con360" / "random"
    shutil.copy(models / "con360_control" / "random.safetensors", folder / "control.safetensors")
    return folder


@pytest.fixture
def drawing_spoons(model: Path, tmp_path: Path) -> Path:
    """Copy the model; its folder says that it draws spoons only."""
    folder = shutil.copytree(model, tmp_path / "spoons")
    index = json.loads((folder / "model_index.json").read_text())
    index["_con360"] = {**index.get("_con360", {}), "draws": "spoons"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the sample scene, without metadata, with stereo sound."""
    path = tmp_path_factory.mktemp("footage") / "scene.mp4"
    clip = demo_scene().panorama(96, ClipSpec(2.0))
    write_clip(path, clip.frames, clip.fps, Sound(clip.sound.waveform[:2], 16000, "stereo"))
    return path


@pytest.fixture
def con360(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`con360(...)` in a folder of its own: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def generate(con360, model: Path, footage: Path):
    """`generate(...)` over the footage and the tiny model, at half a second and one step."""

    def run(*arguments: str | Path, source: str | Path = footage) -> tuple[int, str, str]:
        return con360("generate", source, "--model", model, *SHORT, *arguments)

    return run


def streams(path: Path) -> tuple[str, int, str, int, int]:
    """(picture codec, frames, sound codec, rate, channels) of a clip."""
    with av.open(str(path)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        shape = (audio.codec_context.name, audio.rate, audio.codec_context.channels)
        return video.codec_context.name, sum(1 for _ in file.decode(video)), *shape


# Output ---------------------------------------------------------------------------------------------------------------


def test_a_clip_and_its_picture(generate) -> None:
    status, out, err = generate("-o", "new/folder/view.mp4", "--conditions", "why.png", "--caption", "a red disc")
    assert status == 0, err
    assert streams(Path("new/folder/view.mp4")) == ("h264", 4, "aac", 16000, 1)
    assert read_sound("new/folder/view.mp4")[0].waveform.shape == (1, 8000)
    from PIL import Image

    with Image.open("why.png") as picture:
        assert picture.size[0] == 1680
    assert all(words in out for words in ("viewpoint 1 *", "sampling", "peak memory", "device: ", "view.mp4"))
    assert "100%" in err  # the progress bars


def test_the_sound_of_a_clip_becomes_ambisonics_too(generate) -> None:
    status, out, err = generate("-o", "view.mp4", "--field", "around.wav", "--caption", "a red disc")
    assert status == 0, err
    field, _ = read_sound("around.wav")
    assert (field.layout, field.waveform.shape, field.sample_rate_hz) == ("ambix", (4, 8000), 16000)
    assert out.splitlines()[-2:] == [str(Path("view.mp4").absolute()), str(Path("around.wav").absolute())]
    # Half a second shows no rhythm: the sound comes from everywhere, and that is said.
    assert "diffuse" in err or "everywhere" in err


@pytest.fixture(scope="module")
def hearing(model: Path) -> Path:
    """A control beside the model's that carries a head."""
    return model.parent.parent / "con360_control" / write_hearing_control(model.parent.parent)


def test_a_control_with_a_head_places_the_sound(generate, hearing: Path) -> None:
    asked = ("--control", hearing, "--caption", "a red disc", "--yaw", "90")
    status, out, err = generate("-o", "view.mp4", "--field", "around.wav", "--json", *asked)
    assert status == 0, err
    facts = json.loads(out)
    assert facts["clip"]["has_directions"] and "directions" in facts["stages_s"] and "find the place" not in err
    around, _ = read_sound("around.wav")
    left, _, front = (around.waveform[1:] * around.waveform[0]).sum(1) / around.waveform[0].square().sum()
    assert torch.hypot(left, front) > 0.2
    assert streams(Path("view.mp4"))[-1] == 1


def test_the_view_is_heard_where_a_head_places_the_scenes_sound(
    generate, hearing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noted(around: Sound, kind: str, track: ViewTrack, fps: float) -> Sound:
        asked.append(f"{kind} {track.views[0].yaw_deg:g}")
        return Sound(around.waveform[:1], around.sample_rate_hz)

    monkeypatch.setattr(generated, "heard_from", noted)
    for more in ((), ("--sound", "omni"), ("--sound", "view")):
        assert generate("-o", "view.mp4", "--control", hearing, "--yaw", "90", *more)[0] == 0
    assert asked == ["view 90", "view 90"]


@pytest.mark.parametrize("kind, channels", [("omni", 1), ("stereo", 2), ("headphones", 2)])
def test_the_clips_sound_is_rendered_as_asked(generate, hearing: Path, kind: str, channels: int) -> None:
    status, _, err = generate("-o", "view.mp4", "--sound", kind, "--conditions", "why.png", "--control", hearing)
    assert status == 0, err
    assert streams(Path("view.mp4"))[-1] == channels


def test_without_a_head_the_place_is_found_by_name(generate) -> None:
    status, _, err = generate("-o", "view.mp4", "--sound", "headphones")
    assert status == 0, err
    assert "gives no directions: 'find the place'" in err and streams(Path("view.mp4"))[-1] == 2


def test_a_narrow_models_note_is_in_the_notices_and_in_the_picture(
    generate, con360, drawing_spoons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    draw = figures.conditions_figure

    def noted(*given: Any, **options: Any) -> Any:
        drawn.extend(panel.note for panel in given[5])
        return draw(*given, **options)

    monkeypatch.setattr(figures, "conditions_figure", noted)
    status, _, err = generate("-o", "v.mp4", "--conditions", "why.png", "--model", drawing_spoons)
    assert status == 0 and "draws spoons, whatever the footage shows." in err
    assert "draws spoons, whatever the footage shows" in drawn[0] and drawn[1] == "", "only under the generated view"
    monkeypatch.setattr(demo, "SAMPLE_HEIGHT", 96)
    status, out, err = con360("demo", "--steps", "1", "--model", drawing_spoons)
    assert status == 0 and "spoons" not in out + err


def test_json_is_one_line_that_says_everything(generate) -> None:
    status, out, err = generate("-o", "view.mp4", "--json", "--seed", "5", "--viewpoint", "2")
    assert status == 0, err
    [line] = out.splitlines()
    facts = json.loads(line)
    assert facts["device"].startswith(devices_here()[0])
    assert facts["seed"] == 5 and facts["settings"]["steps"] == 1
    assert facts["view"]["rank"] == 2 and len(facts["viewpoints"]) >= 2
    chosen = facts["viewpoints"][1]
    assert facts["view"]["yaw_deg"] == pytest.approx(chosen["yaw_deg"])
    assert {"reading", "saliency", "sampling", "decoding", "writing"} <= set(facts["stages_s"])
    assert sum(facts["stages_s"].values()) == pytest.approx(facts["total_s"], rel=0.2)
    assert facts["clip"] == {
        "frames": 4, "fps": 8.0, "size_px": 32, "samples": 8000, "sample_rate_hz": 16000, "channels": 1,
        "has_directions": False,
    }  # fmt: skip
    assert any("No caption was typed" in w for w in facts["warnings"])
    assert Path(facts["output"]).samefile("view.mp4") and facts["conditions"] is None


def test_the_control_reads_the_saliency_that_it_was_trained_with(generate) -> None:
    """Viewpoints are chosen by the default maps; the control reads the older ones that its file names."""
    facts = json.loads(generate("-o", "view.mp4", "--json")[1])
    assert facts["saliency"] == "training-free"
    assert facts["viewpoints_by"] == {"saliency": "multi-cue", "choice": "subject"}
    asked = json.loads(generate("-o", "view.mp4", "--json", "--saliency", "multi-cue", "--choose-by", "centroid")[1])
    assert asked["saliency"] == "multi-cue"
    assert asked["viewpoints_by"] == {"saliency": "multi-cue", "choice": "centroid"}
    assert any("was trained with saliency by training-free" in warning for warning in asked["warnings"])
    assert asked["viewpoints"] != facts["viewpoints"]


def test_faces_are_used_where_a_detector_is_given(generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(FaceDetector, "find", lambda self, frame: looked.append(frame.shape) or ())
    detector = write_face_detector(tmp_path / "centerface.onnx")
    assert generate("-o", "view.mp4", "--faces", detector)[0] == 0 and len(looked) == 1
    assert generate("-o", "view.mp4", "--faces", "none")[0] == 0 and len(looked) == 1
    status, _, err = generate("-o", "view.mp4", "--faces", "no-such.onnx")
    assert status == 2 and "there is no file no-such.onnx" in err


def test_same_seed_same_bytes_other_seed_other_bytes(generate) -> None:
    for name, seed in (("a.mp4", "3"), ("b.mp4", "3"), ("c.mp4", "4")):
        assert generate("-o", name, "--seed", seed)[0] == 0
    a, b, c = (Path(name).read_bytes() for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert a == b
    assert a != c


def test_strength_zero_is_no_control_and_each_map_has_its_strength(generate) -> None:
    cases = {
        "none.mp4": ["--control", "none"], "zero.mp4": ["--strength", "0"], "whole.mp4": [],
        "saliency.mp4": ["--basd-strength", "0"], "late.mp4": ["--control-start", "1"],
    }  # fmt: skip
    made = {}
    for name, arguments in cases.items():
        status, _, err = generate("-o", name, *arguments)
        assert status == 0, err
        made[name] = Path(name).read_bytes()
    assert made["none.mp4"] == made["zero.mp4"] == made["late.mp4"]
    assert len({made[name] for name in ("none.mp4", "whole.mp4", "saliency.mp4")}) == 3


def test_views_by_hand_and_followed(generate) -> None:
    facts = json.loads(generate("-o", "a.mp4", "--json", "--yaw", "-200", "--pitch", "12", "--fov", "75")[1])
    assert facts["view"] == {
        "rank": 0,
        "still": True,
        "yaw_deg": 160.0,
        "pitch_deg": 12.0,
        "fov_deg": 75.0,
        "roll_deg": 0.0,
    }
    status, out, err = generate("-o", "b.mp4", "--track", "follow", "--fov", "100", "--json")
    assert status == 0, err
    assert json.loads(out)["view"]["fov_deg"] == 100.0
    assert "view by hand: yaw 0°, pitch -30°" in generate("-o", "c.mp4", "--pitch", "-30")[1]


def test_guidance_off_equals_a_scale_of_one(generate) -> None:
    for name, scale in (("off.mp4", "off"), ("one.mp4", "1"), ("two.mp4", "2")):
        assert generate("-o", name, "--cfg-video", scale, "--cfg-audio", scale)[0] == 0
    off, one, two = (Path(name).read_bytes() for name in ("off.mp4", "one.mp4", "two.mp4"))
    assert off == one != two


@pytest.mark.parametrize("name", ["-25_dash.mp4", "Ünï 全天球 (360°) & 'q'.mp4"])
def test_odd_file_names(generate, footage: Path, name: str) -> None:
    shutil.copy(footage, name)
    status, _, err = generate("-o", f"./-{name}", source=f"./{name}")
    assert status == 0, err
    assert streams(Path(f"-{name}"))[1] == 4


def test_the_error_explains_a_file_name_with_a_dash(generate, footage: Path) -> None:
    shutil.copy(footage, "-x.mp4")
    status, _, err = generate("-o", "out.mp4", source="-x.mp4")
    assert status == 2
    assert "./-x.mp4" in err


# Wrong input ----------------------------------------------------------------------------------------------------------


def headers_only(path: Path, footage: Path) -> None:
    """Write an MP4 that ends after its index: headers without frames."""
    data = footage.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[: data.index(b"mdat") + 8])


def sound_only(path: Path, _: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for part in (frame, None):
            file.mux(stream.encode(part))


BAD_FILES = {
    "missing": (lambda path, footage: None, "there is no file"),
    "a folder": (lambda path, footage: path.mkdir(), "is a folder"),
    "text": (lambda path, footage: path.write_text("not a film\n" * 500), "not a media file"),
    "empty": (lambda path, footage: path.write_bytes(b""), "is empty"),
    "no frames": (headers_only, "no frame that can be decoded"),
    "sound only": (sound_only, "no video"),
}


def assert_refused(result: tuple[int, str, str], before: set[Path]) -> str:
    """Expect exit status 2, one sentence, empty standard output and no new file; return the sentence."""
    status, out, err = result
    assert (status, out) == (2, ""), err
    lines = [line for line in err.splitlines() if line and "%" not in line and not line.startswith("note:")]
    assert len(lines) == 1 and lines[0].startswith("con360"), err
    assert set(Path().rglob("*")) == before
    return lines[0]


@pytest.mark.parametrize("kind", list(BAD_FILES))
def test_files_that_cannot_be_used(generate, footage: Path, kind: str) -> None:
    make, words = BAD_FILES[kind]
    make(Path("in.mp4"), footage)
    before = set(Path().rglob("*"))
    assert words in assert_refused(generate("-o", "out/view.mp4", "--conditions", "why.png", source="in.mp4"), before)


def test_one_frame_is_held_and_gives_a_notice(generate) -> None:
    write_clip("one.mp4", torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0)), 8.0)
    status, _, err = generate("-o", "view.mp4", source="one.mp4")
    assert status == 0, err
    assert "held for 3 of 4" in err and "no sound track" in err.lower()
    assert streams(Path("view.mp4"))[1] == 4


def test_nan_samples_are_silenced_and_give_a_notice(generate) -> None:
    from synthetic_clips import noise, write_video

    sound = noise(1, 16000)
    sound[0, 300:400] = np.nan
    write_video(Path("in.mov"), [i / 8 for i in range(8)], sound=sound, rate_hz=16000, sound_codec="pcm_f32le")
    status, _, err = generate("-o", "view.mp4", "--conditions", "why.png", source="in.mov")
    assert status == 0, err
    assert "100 samples of the sound are not numbers" in err


def test_the_sound_track_and_its_layout_can_be_chosen(generate) -> None:
    source = data_path("bad/27_two_audio_tracks_stereo_then_foa.mp4")
    for arguments, said, unsaid in (
        ([], "number 1 is used", "AmbiX"), (["--audio-track", "2"], "taken as AmbiX", "number 1"),
        (["--audio-track", "2", "--ambisonics", "ambix"], "number 2 is used", "AmbiX"),
    ):  # fmt: skip
        status, _, err = generate("-o", "view.mp4", "--start-from", "view", *arguments, source=source)
        assert status == 0, err
        assert said in err and unsaid not in err
        # Stereo has no directions for a view.
        assert ("the same for every view" in err) is (arguments == [])


def test_a_wrong_place_is_told_before_anything_is_decoded(generate, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("con360.media.reader.read_panorama", "con360.saliency.predict.predict_saliency"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("something was decoded"))
    assert "does not end in .mp4" in assert_refused(generate("-o", "view.mkv"), set())


WRONG = {
    "too short": (["--duration", "0.2"], "0.5 to 4 s"),
    "too long": (["--duration", "10"], "0.5 to 4 s"),
    "no duration": (["--duration", "nan"], "0.5 to 4 s"),
    "before the start": (["--start", "-1"], "start of -1 s"),
    "after the end": (["--start", "99"], "Choose an earlier start"),
    "no start": (["--start", "nan"], "start of nan s"),
    "steps": (["--steps", "0"], "steps is 0"),
    "steps in words": (["--steps", "many"], "a whole number is wanted, got 'many'"),
    "seed": (["--seed", "-1"], "seed is -1"),
    "cfg": (["--cfg-video", "1000"], "cfg_video is 1000"),
    "cfg in words": (["--cfg-audio", "strong"], "a number is wanted, got 'strong'"),
    "strength": (["--strength", "-1"], "--strength is -1"),
    "strength nan": (["--basd-strength", "nan"], "--basd-strength is nan"),
    "pitch": (["--pitch", "100"], "pitch of 100"),
    "yaw": (["--yaw", "nan"], "yaw is nan"),
    "fov": (["--fov", "200"], "field of view of 200"),
    "fov of the control": (["--fov", "45"], "trained on 60° to 120°"),
    "rank 0": (["--viewpoint", "0"], "ranks count from 1"),
    "rank 99": (["--viewpoint", "99"], "choose a rank up to"),
    "rank and yaw": (["--viewpoint", "1", "--yaw", "0"], "exclude each other"),
    "follow and yaw": (["--track", "follow", "--yaw", "0"], "follows a salient region"),
    "control span": (["--control-start", "0.8", "--control-end", "0.2"], "swap them"),
    "caption": (["--caption", "word " * 1000], "the caption has"),
    "device": (["--device", "tpu"], "there is no device 'tpu' here; torch sees"),
    "device 99": (["--device", "cuda:99"], "there is no device 'cuda:99' here"),
    "model": (["--model", "no-such-model"], "there is no model 'no-such-model'"),
    "control": (["--control", "no-such-file"], "there is no control file"),
    "saliency": (["--saliency", "no-such-method"], "saliency method 'no-such-method' is neither 'multi-cue'"),
    "option": (["--turbo"], "--turbo"),
    "eye": (["--eye", "third"], "third"),
    "picture's suffix": (["--conditions", "why.jpg"], "does not end in .png"),
    "field's suffix": (["--field", "around.mp4"], "does not end in .wav"),
    "sound track": (["--audio-track", "2"], "sound track 2 was asked for"),
    "sound track 0": (["--audio-track", "0"], "sound track 0 was asked for"),
    "no FuMa": (["--ambisonics", "fuma"], "FuMa has 4, 9 or 16 channels"),
    "FuMa's older name": (["--fuma"], "FuMa has 4, 9 or 16 channels"),
    "two words": (["--fuma", "--ambisonics", "n3d"], "not allowed with"),
    "no pair": (["--head-locked"], "6, 11 or 18 channels"),
    "a pair beside nothing": (["--head-locked", "--ambisonics", "none"], "leave one of them out"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_options_that_cannot_be_used(generate, case: str) -> None:
    arguments, words = WRONG[case]
    assert words in assert_refused(generate("-o", "out/view.mp4", *arguments), set())


@pytest.mark.parametrize("name, words", [("view.avi", "does not end in .mp4"), ("folder.mp4", "is a folder")])
def test_places_that_cannot_be_written_to(generate, name: str, words: str) -> None:
    Path("folder.mp4").mkdir()
    assert words in assert_refused(generate("-o", name), {Path("folder.mp4")})


def test_a_file_in_the_place_of_a_folder(generate) -> None:
    Path("taken").write_text("")
    assert "is a file" in assert_refused(generate("-o", "taken/view.mp4"), {Path("taken")})


def test_the_input_is_never_overwritten(generate, footage: Path) -> None:
    shutil.copy(footage, "in.mp4")
    os.link("in.mp4", "linked.mp4")
    Path("soft.mp4").symlink_to("in.mp4")
    before, content = set(Path().rglob("*")), Path("in.mp4").read_bytes()
    for name in ("in.mp4", "./in.mp4", "linked.mp4", "soft.mp4"):
        assert "is the input itself" in assert_refused(generate("-o", name, source="in.mp4"), before)
    assert Path("in.mp4").read_bytes() == content


def test_an_existing_clip_stays_until_the_new_one_is_complete(generate, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("view.mp4").write_bytes(b"precious")
    generate("-o", "view.mp4", "--fov", "45")
    assert Path("view.mp4").read_bytes() == b"precious"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("con360.cli.report.Bar.update", stop)
    status, out, err = generate("-o", "view.mp4")
    assert (status, out) == (130, "") and "interrupted" in err
    assert set(Path().rglob("*")) == {Path("view.mp4")} and Path("view.mp4").read_bytes() == b"precious"


def test_json_tells_of_errors_as_well(generate) -> None:
    status, out, err = generate("-o", "view.mp4", "--json", "--pitch", "100")
    assert status == 2 and json.loads(out)["exit_status"] == 2
    assert json.loads(out)["error"] in err


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_exit_status_1(model: Path, footage: Path, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); "
    code = limit + "import sys; from con360.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "generate", footage, "-o", "view.mp4", "--model", model, *SHORT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and "of that size" in done.stderr
    assert not list(tmp_path.iterdir())


# The command itself ---------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"], ["generate"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from con360.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'av', 'cv2', 'scipy', 'PIL', 'diffusers', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def beside(running: int | None, tmp_path: Path, code: str, **variables: str) -> subprocess.CompletedProcess:
    """Run code after a command that reads a count of running tasks; None stands for a system without it."""
    loadavg = tmp_path / "loadavg"
    if running:
        loadavg.write_text(f"0.00 0.00 0.00 {running}/93 17211\n")
    code = (
        "import os, sys; from pathlib import Path; from con360 import cli\n"
        f"cli.LOADAVG = Path(sys.argv[1]); cli.main(['models', '--json'])\n{code}"
    )
    ours = {name: value for name, value in environment().items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code, str(loadavg)]
    return subprocess.run(command, capture_output=True, text=True, env={**ours, **variables}, check=True)


@pytest.mark.parametrize(
    ("running", "variables", "turns"),
    [
        (1, {}, "None"),
        (2, {}, "1000"),
        (2, {"GOMP_SPINCOUNT": "7"}, "7"),
        (2, {"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
        (None, {}, "None"),
    ],
    ids=["alone", "beside others", "turns are the user's", "policy is the user's", "not Linux"],
)
def test_threads_yield_to_other_programs(
    running: int | None, variables: dict[str, str], turns: str, tmp_path: Path
) -> None:
    done = beside(running, tmp_path, "print(os.environ.get('GOMP_SPINCOUNT'))", **variables)
    assert done.stdout.splitlines()[-1] == turns


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux alone")
def test_torchs_openmp_reads_the_spin_count(tmp_path: Path) -> None:
    shown = beside(2, tmp_path, "import torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "GOMP_SPINCOUNT = '1000'" in shown


def test_help_reads_like_a_manual(con360) -> None:
    status, out, _ = con360("--help")
    assert status == 0
    for words in ("usage: con360", "commands:", "examples:", "exit status:", "generate", "demo"):
        assert words in out
    status, out, _ = con360("generate", "--help")
    for option in (
        "--viewpoint", "--yaw", "--pitch", "--fov", "--caption", "--start", "--duration", "--steps", "--seed",
        "--cfg-video", "--cfg-audio", "--control", "--strength", "--model", "--saliency", "--conditions", "--device",
        "--json",
    ):  # fmt: skip
        assert f"  {option}" in out, option
    assert max(len(line) for line in out.splitlines()) <= 90


def test_a_command_is_needed(con360) -> None:
    status, out, err = con360()
    assert (status, out) == (2, "") and "COMMAND" in err


# The demo -------------------------------------------------------------------------------------------------------------


def looking(yaw_deg: float) -> Viewpoint:
    return Viewpoint(1, None, ViewTrack.still(View(yaw_deg, 10.0), 32))


def test_the_performer_behind_is_the_one_most_opposite_the_view() -> None:
    scene = demo_scene()  # front 0, right 95, behind 178, left -88
    assert [demo.performer_behind(scene, looking(yaw)) for yaw in (0.0, 95.0, -175.0, -88.0)] == [2, 3, 0, 1]


def test_the_opposite_viewpoint_looks_the_other_way() -> None:
    view = demo.opposite_viewpoint(looking(30.0)).track.views[0]
    assert (view.yaw_deg, view.pitch_deg) == (-150.0, -10.0)


def test_demo_writes_everything_it_names(con360, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SAMPLE_HEIGHT", 96)
    status, out, err = con360("demo", "--out", "shown", "--steps", "1", "--model", model)
    assert status == 0, err
    check_demo(Path("shown"), out, size=(192, 96), files=set(demo.FILES) - {demo.HEADPHONES})


def test_demo_refuses_a_file_for_its_folder(con360) -> None:
    Path("taken").write_text("")
    assert "is a file" in assert_refused(con360("demo", "--out", "taken"), {Path("taken")})


def check_demo(folder: Path, out: str, size: tuple[int, int], files: set[str]) -> None:
    assert {path.name for path in folder.iterdir()} == files
    for name in (demo.FIRST, demo.SECOND, demo.ALONE):
        assert streams(folder / name) == ("h264", 32, "aac", 16000, 1)
        assert read_sound(folder / name)[0].waveform.shape == (1, 64000)
    assert streams(folder / demo.SAMPLE) == ("h264", 32, "aac", 16000, 4)
    assert probe(folder / demo.SAMPLE).spherical == SphericalTags("equirectangular", "mono")
    sample = read_panorama(folder / demo.SAMPLE, height=size[1])
    assert sample.frames.shape[-2:] == size[::-1]
    assert sample.sound.layout == "ambix" and sample.sound.waveform.shape == (4, 64000) and sample.notices == ()
    # The disc in front hums in W and X, not in Y: there AAC's error must lie 20 dB below the sound.
    error = (sample.sound.waveform - demo_scene().foa().waveform)[[0, 3]].square().mean(-1).sqrt()
    assert (error < 0.1 * sample.sound.waveform[[0, 3]].square().mean(-1).sqrt()).all()
    for words in (*files, "viewpoint 1 *", "viewpoint 2 *", "stage", "total", "peak memory", "Behind the camera"):
        assert words in out
    first, alone = ((folder / name).read_bytes() for name in (demo.FIRST, demo.ALONE))
    assert first != alone


@pytest.mark.slow
def test_demo_as_a_newcomer_runs_it(tmp_path: Path) -> None:
    """Run the built-in model at its own settings on a terminal.

    It may take seven times the promised minute, because tests share their processors.
    """
    assert (model_folder() / "model_index.json").is_file(), "con360/bundle is missing; it ships with the project"
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))  # a new terminal has width 0
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "con360", "demo"], cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=end,
    ) as process:  # fmt: skip
        os.close(end)
        shown = read_terminal(terminal)
        out = process.stdout.read()
    assert process.returncode == 0, shown
    assert time.monotonic() - started < 420
    check_demo(tmp_path / "con360-demo", out, size=(1024, 512), files=set(demo.FILES))
    assert streams(tmp_path / "con360-demo" / demo.HEADPHONES) == ("h264", 32, "aac", 16000, 2)
    ears = read_sound(tmp_path / "con360-demo" / demo.HEADPHONES)[0].waveform
    # Four voices at four sides are heard while the listener turns: each ear is the louder one at some time.
    left, right = ears.unfold(1, 4000, 4000).square().mean(2).sqrt()
    difference_db = 20 * (left / right).log10()
    assert difference_db.max() > 1 and difference_db.min() < -1
    for stage in ("loading the model", "saliency", "viewpoint-1: sampling", "viewpoint-2: sampling"):
        assert stage in shown


def read_terminal(terminal: int) -> str:
    """Read all that is written to a pseudo-terminal until its other end closes."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # Linux says EIO when the last writer has gone
        os.close(terminal)
    return b"".join(parts).decode("utf-8", "replace")


# Real footage ---------------------------------------------------------------------------------------------------------

REAL = {
    "1920x1080 with FOA": "video_unlicensed/sph360_V_To4k9AJXc_20.webm",
    "2:1 without sound": "video/gvr_testRoom1_1920Mono_noaudio.mp4",
    "60 fps": "video_unlicensed/omni_trans_quartet_u-Hpf2_60fps_cut2s.webm",
    "HEVC": "video/congo_eye_1280x640_hevc_aacmono.mp4",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(REAL))
def test_real_footage(con360, model: Path, kind: str) -> None:
    status, out, err = con360(
        "generate", data_path(REAL[kind]), "-o", "view.mp4", "--conditions", "why.png", "--model", model,
        "--steps", "1", "--duration", "2", "--json",
    )  # fmt: skip
    assert status == 0, err
    assert json.loads(out)["viewpoints"][0]["rank"] == 1
    assert streams(Path("view.mp4")) == ("h264", 16, "aac", 16000, 1)


def test_a_wav_is_refused_by_name(generate) -> None:
    write_wav("in.wav", Sound(torch.zeros(1, 16000), 16000))
    assert "no video" in assert_refused(generate("-o", "view.mp4", source="in.wav"), {Path("in.wav")})
