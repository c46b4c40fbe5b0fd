"""`con360 generate` from a start, with something held, and the options of precision, sampler and memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from test_cli import con360, footage, generate, model  # noqa: F401  (fixtures)

from con360.cli.clip_sound import Hearing
from con360.media.reader import read_sound, read_view
from con360.media.writer import write_clip, write_wav
from con360.records import Sound

LOOK = ["--yaw", "20", "--caption", "a red disc"]


def facts(result: tuple[int, str, str]) -> dict:
    status, out, err = result
    assert status == 0, err
    return json.loads(out)


def frames(path: str) -> torch.Tensor:
    start, _ = read_view(path, duration_s=0.5, fps=8.0, size=32)
    assert start.frames is not None
    return start.frames


def pictures(path: str) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_the_picture_of_a_file_is_held_at_its_own_size_and_rate(generate) -> None:  # noqa: F811
    write_clip(
        "flat.mp4", (torch.arange(90) / 90 + torch.arange(20).view(20, 1, 1, 1) / 40).expand(20, 3, 48, 90), 20.0
    )
    told = facts(generate("-o", "dubbed.mp4", "--json", "--start-from", "flat.mp4", "--hold", "picture", *LOOK))
    assert told["held_picture"] == {"width": 90, "height": 48, "frames": 10}
    assert pictures("dubbed.mp4").shape == (10, 48, 90, 3)
    assert np.abs(pictures("dubbed.mp4")[3].astype(float) - pictures("flat.mp4")[3]).mean() < 2
    assert read_sound("dubbed.mp4")[0].waveform.shape[1] == told["clip"]["samples"]


def test_the_view_is_a_start_and_can_be_held(generate) -> None:  # noqa: F811
    plain = facts(generate("-o", "plain.mp4", "--json", *LOOK))
    told = facts(generate("-o", "start.mp4", "--json", "--start-from", "view", "--steps", "4", *LOOK))
    assert told["settings"]["denoise_video"] == told["settings"]["denoise_audio"] == 0.6
    assert plain["settings"]["denoise_video"] == 1.0 and "start" in told["stages_s"]
    held = facts(generate("-o", "held.mp4", "--json", "--hold", "picture", *LOOK))
    assert (held["settings"]["hold"], held["settings"]["denoise_audio"]) == ("picture", 1.0)
    # The source has 96 rows of 192 pixels, the model draws 32: the file has as many per degree as the source.
    assert held["held_picture"] == {"width": 62, "height": 62, "frames": 4} and told["held_picture"] is None
    assert pictures("held.mp4").shape == (4, 62, 62, 3) and pictures("start.mp4").shape == (4, 32, 32, 3)
    true = frames("held.mp4")  # the view's own crop
    assert (frames("start.mp4") - true).abs().mean() > 0.02
    assert not torch.equal(frames("plain.mp4"), frames("start.mp4"))


def test_held_sound_of_a_file_survives_writing(generate) -> None:  # noqa: F811
    tone = torch.sin(torch.arange(12000) * 0.2)[None] * 0.3
    write_wav(Path("tone.wav"), Sound(tone, 16000))
    told = facts(generate("-o", "view.mp4", "--json", "--start-from", "tone.wav", "--hold", "sound", *LOOK))
    assert told["settings"]["hold"] == "sound"
    heard = read_sound("view.mp4", duration_s=0.5)[0].waveform[0]
    assert float(torch.corrcoef(torch.stack([heard[1000:7000], tone[0, 1000:7000]]))[0, 1]) > 0.95


def test_a_picture_missing_from_the_start_is_generated_with_a_notice(generate) -> None:  # noqa: F811
    write_wav(Path("tone.wav"), Sound(torch.zeros(1, 16000), 16000))
    told = facts(generate("-o", "view.mp4", "--json", "--start-from", "tone.wav", "--denoise", "0.5", *LOOK))
    assert any("tone.wav has no picture: it is generated from noise" in w for w in told["warnings"])
    assert (told["settings"]["denoise_video"], told["settings"]["denoise_audio"]) == (1.0, 0.5)


def test_precision_sampler_and_memory_reach_the_model(generate) -> None:  # noqa: F811
    told = facts(generate("-o", "a.mp4", "--json", "--sampler", "dpm++", "--memory", "low", "--steps", "3", *LOOK))
    assert (told["settings"]["sampler"], told["settings"]["memory"]) == ("dpm++", "low")
    facts(generate("-o", "b.mp4", "--json", "--steps", "3", *LOOK))
    facts(generate("-o", "c.mp4", "--json", "--steps", "3", "--dtype", "bfloat16", *LOOK))
    a, b, c = (frames(f"{name}.mp4") for name in "abc")
    assert not torch.equal(a, b) and not torch.equal(b, c)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--denoise", "0.5"], "needs something to start from"),
        (["--start-from", "view", "--denoise", "0"], "--denoise is 0"),
        (["--start-from", "view", "--denoise-sound", "nan"], "--denoise-sound is nan"),
        (["--start-from", "nowhere.mp4"], "nowhere.mp4"),
        (["--hold", "both"], "both"),
        (["--sampler", "euler"], "euler"),
        (["--dtype", "float16"], "float16 is for GPUs"),
        (["--memory", "none"], "none"),
    ],
)
def test_options_of_starts_that_cannot_be_used(generate, arguments, words) -> None:  # noqa: F811
    status, _, err = generate("-o", "view.mp4", *arguments)
    assert status == 2 and words in err and not Path("view.mp4").exists()


def test_a_file_without_the_held_picture_is_named(generate) -> None:  # noqa: F811
    write_wav(Path("tone.wav"), Sound(torch.zeros(1, 16000), 16000))
    status, _, err = generate("-o", "view.mp4", "--start-from", "tone.wav", "--hold", "picture")
    assert status == 2 and "tone.wav has no picture to hold" in err


def test_a_wide_start_is_cut_to_its_middle(tmp_path: Path) -> None:
    picture = torch.zeros(4, 3, 64, 192)
    picture[:, 0, :, 64:128] = 1.0
    write_clip(tmp_path / "wide.mp4", picture, 8.0, Sound(torch.zeros(1, 8000), 16000))
    start, notices = read_view(tmp_path / "wide.mp4", duration_s=0.5, fps=8.0, size=32)
    assert start.frames.shape == (4, 3, 32, 32) and notices == ()
    assert start.frames[:, 0, 4:-4, 4:-4].min() > 0.9 and start.frames[:, 1:, 4:-4, 4:-4].max() < 0.1
    longer, notices = read_view(tmp_path / "wide.mp4", duration_s=1.0, fps=8.0, size=32)
    assert len(longer.frames) == 8 and any("held" in n for n in notices)


def test_a_held_sound_is_not_turned_with_the_view() -> None:
    """A control with a head turns what was made; what was given stays, unless it is asked for."""
    control = SimpleNamespace(field_head=object(), module=SimpleNamespace(config=SimpleNamespace(sound="omni")))

    def hearing(**options: str | None) -> Hearing:
        return Hearing(SimpleNamespace(**options), control, "cpu", None)

    assert (hearing(sound=None, hold=None).kind, hearing(sound=None, hold=None).as_made) == ("view", False)
    assert hearing(sound=None, hold="sound").as_made
    assert hearing(sound="headphones", hold="sound").kind == "headphones"
