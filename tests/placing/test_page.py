"""Pages to send: one file, data and texts inside, no more than 200 MB."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import ROOT
from synthetic_clips import noise, write_video

from con360.errors import InputError
from con360.media.info import probe
from con360.media.reader import read_sound
from con360.media.spherical_tags import tag_file
from con360.media.writer import write_wav
from con360.placing import page
from con360.placing.page import PageSettings, PageView, views_of_folder, write_page
from con360.placing.views import views_to_json
from con360.records import Sound, View
from tools import page_script


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    sound = noise(4, 32000) * 0.2
    return write_video(tmp_path / "clip.mp4", [i / 10 for i in range(20)], sound=sound, rate_hz=16000, layout="4.0")


def content(path: Path) -> dict[str, str]:
    """Text of each script element by its id, the module under ""."""
    text = path.read_text(encoding="utf-8")
    return {found[1] or "": found[2] for found in re.finditer(r'<script type="[^"]*"(?: id="(.*?)")?>(.*?)</script>',
            text, re.DOTALL)}  # fmt: skip


def test_the_viewers_scripts_are_the_packs() -> None:
    written = page_script.FILE.read_text(encoding="utf-8")
    assert written == page_script.joined(), "write it again: python -m tools.page_script"
    assert not re.search(r"^(import|export) ", page._script(), re.MULTILINE)


def test_the_page_holds_clip_and_views_bit_for_bit(tmp_path: Path, clip: Path) -> None:
    view = write_video(tmp_path / "view.mp4", [0.0, 0.1], size=(64, 64))
    made = write_page(clip, tmp_path / "tour.html", [PageView(view, "the drummer", 120.0, -5.0), PageView(view)])
    found = content(made.path)
    assert base64.b64decode(found["clip"]) == clip.read_bytes()
    assert base64.b64decode(found["view-1"]) == base64.b64decode(found["view-2"]) == view.read_bytes()
    facts = json.loads(found["facts"])
    assert facts["ambisonic"] and facts["type"] == "video/mp4"
    assert facts["views"][0] == {
        "id": "view-1", "type": "video/mp4", "caption": "the drummer", "yaw": 120.0, "pitch": -5.0, "start": None,
    }  # fmt: skip
    assert (facts["views"][1]["caption"], facts["views"][1]["yaw"]) == ("view", None)
    assert (made.num_bytes, made.views, made.remade) == (made.path.stat().st_size, 2, False)


def test_the_policy_allows_no_network_and_no_other_script(tmp_path: Path, clip: Path) -> None:
    text = write_page(clip, tmp_path / "tour.html").path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None and "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1] and "http" not in policy[1] and "connect-src" not in policy[1]
    assert policy[1].count("sha256-") == 2
    # Nothing names an address, but for the namespace-free page itself.
    assert not re.search(r"(?:src|href)=\"(?!data:,)", text)


@pytest.mark.parametrize("words", ["</script><script>alert(1)</script>", "<!--", '"&\u2028<b>', "a\nb"])
def test_names_and_captions_stay_text(tmp_path: Path, clip: Path, words: str) -> None:
    view = write_video(tmp_path / "view.mp4", [0.0, 0.1])
    made = write_page(clip, tmp_path / "tour.html", [PageView(view, words)], PageSettings(title=words))
    text = made.path.read_text(encoding="utf-8")
    assert json.loads(content(made.path)["facts"])["views"][0]["caption"] == words
    assert "<script>alert" not in text and "<!--" not in text and "<b>" not in text
    assert text.count("<script ") == 5


def test_a_smaller_page_is_coded_again_with_its_field(tmp_path: Path, clip: Path) -> None:
    made = write_page(clip, tmp_path / "tour.html", settings=PageSettings(size=(64, 32), start_s=0.5, duration_s=1.0))
    small = tmp_path / "small.mp4"
    small.write_bytes(base64.b64decode(content(made.path)["clip"]))
    info = probe(small)
    assert (info.width, info.height, info.duration_s) == (64, 32, pytest.approx(1.0, abs=0.01))
    assert info.audio_tracks[0].layout == "ambix" and made.remade and made.ambisonic
    assert "The clip is coded again for the page: a size or a part was asked for." in made.notices


@pytest.mark.parametrize("kind", ["eyes", "codec", "order"])
def test_what_browsers_do_not_play_is_coded_again(tmp_path: Path, kind: str) -> None:
    pictures = [np.full((64, 64 if kind == "eyes" else 128, 3), 90, np.uint8)] * 4
    options = {"codec": {"codec": "mpeg4", "clock": 1000}, "eyes": {"size": (64, 64)}, "order": {}}[kind]
    sound = noise(9, 4800) if kind == "order" else None
    codec = {"sound": sound, "sound_codec": "pcm_s16le", "layout": "9 channels"} if kind == "order" else {}
    name = "in.mov" if kind == "order" else "in.mp4"
    source = write_video(tmp_path / name, [0.0, 0.1, 0.2, 0.3], pictures=pictures, **options, **codec)
    if kind == "eyes":
        tag_file(source, panorama="top-bottom")
    made = write_page(source, tmp_path / "tour.html")
    assert made.remade
    (tmp_path / "made.mp4").write_bytes(base64.b64decode(content(made.path)["clip"]))
    info = probe(tmp_path / "made.mp4")
    assert info.codec == "h264" and info.stereo == "mono" and info.aspect == 2
    assert [track.channels for track in info.audio_tracks] == ([4] if kind == "order" else [])


def test_a_page_too_large_is_refused(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 1000)
    for settings in (PageSettings(), PageSettings(duration_s=1.0)):
        with pytest.raises(InputError, match="--size .* or --duration"):
            write_page(clip, tmp_path / "tour.html", settings=settings)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_views_of_a_folder(tmp_path: Path, clip: Path) -> None:
    views = (View(0.0), View(-120.0, 10.0))
    (tmp_path / "views.json").write_text(views_to_json(views, start_s=1.5))
    with pytest.raises(InputError, match="no file .*view-1.mp4"):
        views_of_folder(tmp_path)
    for number in (1, 2):
        write_video(tmp_path / f"view-{number}.mp4", [0.0, 0.1])
    found = views_of_folder(tmp_path)
    assert [(view.yaw_deg, view.pitch_deg, view.start_s) for view in found] == [(0, 0, 1.5), (-120, 10, 1.5)]
    assert [view.caption for view in found] == ["in front", "on the back left"]
    made = write_page(clip, tmp_path / "tour.html", found, PageSettings(start_s=1.0))
    assert json.loads(content(made.path)["facts"])["views"][0]["start"] == 0.5


def test_a_views_clip_is_heard_with_the_sound_beside_it(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "views.json").write_text(views_to_json((View(0.0), View(180.0))))
    for number in (1, 2):
        write_video(tmp_path / f"view-{number}.mp4", [i / 10 for i in range(10)])
    write_wav(tmp_path / "view-1.wav", Sound(torch.from_numpy(noise(1, 24000)), 48000))
    made = write_page(clip, tmp_path / "tour.html", views_of_folder(tmp_path))
    found = content(made.path)
    assert base64.b64decode(found["view-2"]) == (tmp_path / "view-2.mp4").read_bytes()
    (tmp_path / "heard.mp4").write_bytes(base64.b64decode(found["view-1"]))
    sound, _ = read_sound(tmp_path / "heard.mp4")
    assert sound.waveform.shape == (1, 48000) and sound.waveform[:, :20000].std() > 0.1
    assert not sound.waveform[:, 26000:].abs().max() > 1e-3


def test_bad_input_is_a_sentence_and_leaves_no_file(tmp_path: Path, clip: Path) -> None:
    odd = write_video(tmp_path / "odd.mp4", [0.0, 0.1], codec="mpeg4", clock=1000)
    for views, out, settings, words in (
        ([], "x.htm5", {}, "does not end in .html"),
        ([PageView(odd)], "x.html", {}, "its codec, mpeg4"),
        ([PageView(clip, "", 10.0)], "x.html", {}, "two finite numbers"),
        ([PageView(clip, "", float("nan"), 0.0)], "x.html", {}, "two finite numbers"),
        ([PageView(clip, "", 0.0, 95.0)], "x.html", {}, "pitch of 95"),
        ([PageView(tmp_path / "none.mp4")], "x.html", {}, "no file"),
        ([], "x.html", {"size": (63, 32)}, "even numbers"),
        ([], "x.html", {"start_s": 9.0}, "no picture at 9 s"),
        ([], "x.html", {"duration_s": -1.0}, "must be positive"),
        ([PageView(clip)] * 65, "x.html", {}, "up to 64"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            write_page(clip, tmp_path / out, views, PageSettings(**settings))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "odd.mp4"]


def test_the_pages_files_are_shipped() -> None:
    assert '"placing/page_files/*"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {path.name for path in page.FOLDER.iterdir()} == {"page.css", "page.html", "page.js", "shared.js"}
