"""`con360 when`, and `con360 generate --when`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_cli import con360, footage, generate, model  # noqa: F401  (fixtures)

from con360.media.timelines import read_time_track
from con360.media.writer import write_clip, write_wav
from con360.records import Sound
from con360.scenes import Performer, Scene
from con360.timing import ClipSpec

RATE = 16000


@pytest.fixture
def struck(tmp_path: Path) -> Path:
    """A sound that is struck at 0.1, 0.3, 0.7 and 1.2 s."""
    times = torch.arange(2 * RATE) / RATE
    hits = sum(torch.exp(-(times - at).clamp_min(0) / 0.05) * (times >= at) for at in (0.1, 0.3, 0.7, 1.2))
    write_wav(tmp_path / "struck.wav", Sound((0.3 * hits * torch.sin(times * 6000))[None], RATE))
    return tmp_path / "struck.wav"


# con360 when ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["track.json", "track.csv", "track.txt"])
def test_a_track_is_drafted_from_sound(con360, struck, name):  # noqa: F811
    status, out, err = con360("when", struck, "-o", name, "--duration", "1", "--start", "0.2")
    assert status == 0, err
    track = read_time_track(name, 1.0)
    assert track.onsets.times_s == pytest.approx((0.1, 0.5), abs=0.03), "at 0.3 and 0.7 s of the file; 1.2 is past"
    assert out.strip().endswith(name) and "onset      s" in out


def test_a_track_is_drafted_from_the_picture(con360, tmp_path):  # noqa: F811
    scene = Scene((Performer("red", "disc", "beep", 40.0, phase=0.25),))
    clip = scene.panorama(64, ClipSpec(2.0, fps=30.0))
    write_clip(tmp_path / "pulsing.mp4", clip.frames, 30.0, None)
    status, out, err = con360("when", "pulsing.mp4", "-o", "p.json", "--from", "picture", "--duration", "2", "--json")
    assert status == 0, err
    # Onsets of a beep, two a second, from 0.375 s on; the shape swells for 30 ms.
    assert json.loads(out)["onsets_s"] == pytest.approx((0.375, 0.875, 1.375, 1.875), abs=0.05)
    assert "17 ms, half a frame" in err and read_time_track("p.json").envelope is not None
    status, out, _ = con360(
        "when", "pulsing.mp4", "-o", "q.json", "--from", "picture", "--yaw", "40", "--duration", "1", "--json"
    )
    assert status == 0 and len(json.loads(out)["onsets_s"]) == 2
    status, _, err = con360("when", "pulsing.mp4", "-o", "r.json", "--from", "picture", "--yaw=-140", "--duration", "1")
    assert status == 2 and "nothing grows or brightens" in err and not Path("r.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-o", "t.midi"), "by its name"),
        (("-o", "t.json", "--yaw", "3"), "give --from picture"),
        (("-o", "t.json", "--from", "picture", "--yaw", "3", "--region", "1"), "exclude each other"),
        (("-o", "t.json", "--start", "9"), "silent from 9 s on"),
    ],
)
def test_wrong_options_are_named(con360, struck, arguments, says):  # noqa: F811
    status, _, err = con360("when", struck, *arguments)
    assert status == 2 and says in err and not list(Path().glob("t.*"))


# con360 generate --when -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_clip_follows_a_file(generate, struck, monkeypatch):  # noqa: F811
    Path("drawn.json").write_text('{"onsets": [{"time": 0.1}, {"time": 0.3}]}')
    Path("drawn.csv").write_text("0.1,hit\n0.3,hit\n0.9,past the end\n")
    status, out, err = generate("-o", "a.mp4", "--when", "drawn.json", "--save-latents", "a.safetensors", "--json")
    assert status == 0, err
    assert json.loads(out)["when"]["onsets"] == 2
    assert "drawn onsets are heard within 50 ms" in err, "an untrained model strikes nothing"
    status, _, err = generate("-o", "b.mp4", "--when", "drawn.csv", "--save-latents", "b.safetensors")
    assert status == 0 and "past the clip's end" in err
    seen = []
    monkeypatch.setattr(
        "con360.saliency.painting.paint_track",
        lambda maps, place, *_: seen.append((place.yaw_deg, place.pitch_deg)) or maps,
    )
    painted = ("--when-at=-30,10", "--save-latents", "c.safetensors")
    assert generate("-o", "c.mp4", "--when", struck, *painted)[0] == 0 and seen == [(-30.0, 10.0)]
    # An untrained model's sound is silence, whatever its latents.
    a, b, c = (load_file(f"{name}.safetensors")["audio"] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--when", "none.json"), "no file"),
        (("--when", "empty.json"), "empty"),
        (("--when", "broken.csv"), "line 1"),
        (("--when", "good.json", "--when-strength", "1e9"), "strength is 1000000000"),
        (("--when-strength", "0.2"), "give --when"),
        (("--when", "good.json", "--when-at", "0,100"), "pitch -90 to 90"),
    ],
)
def test_tracks_that_cannot_be_followed_are_named_before_the_work(generate, arguments, says):  # noqa: F811
    Path("empty.json").write_text("{}")
    Path("broken.csv").write_text("later,hit\n")
    Path("good.json").write_text('[{"time": 0.1}]')
    status, _, err = generate("-o", "a.mp4", *arguments)
    assert status == 2 and says in err and not Path("a.mp4").exists()
