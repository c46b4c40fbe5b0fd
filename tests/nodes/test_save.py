"""Save 360° Video's codec, quality and file name."""

from __future__ import annotations

from typing import Any

import av
import pytest
import torch

from con360.choices import QUALITIES, VIDEO_CODECS
from con360.media.info import probe
from tools.host import Host
from tools.host.modules import installed


def save_graph(prefix: str = "video/pano", **more: Any) -> dict[str, Any]:
    load = {"video": "[built-in sample]", "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto"}
    saved = {"frames": ["1", 0], "fps": 8.0, "filename_prefix": prefix, "stereo": "mono", "audio": ["1", 1], **more}
    return {
        "1": {"class_type": "Load360Video", "inputs": load},
        "2": {"class_type": "Save360Video", "inputs": saved},
    }


def test_codec_and_quality_are_chosen_and_the_viewer_gets_the_file(run: Any, host: Host) -> None:
    def saved(**more: Any) -> tuple[str, int]:
        result = run(save_graph("coded", **more))
        assert result.status == "done", (result.error, result.complaints)
        shown = result.ui["2"]["con360"][0]["saved"]
        assert (shown["stereo"], shown["ambisonic"], shown["sound"]) == ("mono", True, True)
        path = host.base / shown["type"] / shown["subfolder"] / shown["filename"]
        assert probe(path).spherical.projection == "equirectangular"
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            # The file also holds the prompt, so that sizes differ by words.
            return video.codec_context.codec_tag, sum(packet.size for packet in container.demux(video))

    made = {(codec, quality): saved(codec=codec, quality=quality) for codec in VIDEO_CODECS for quality in QUALITIES}
    for codec, tag in (("H.264", "avc1"), ("H.265", "hvc1")):
        rows = [made[codec, quality] for quality in QUALITIES]
        assert [row[0] for row in rows] == [tag] * 3
        assert rows[0][1] > rows[1][1] > rows[2][1]
    assert saved() == made["H.264", "high"]


def test_a_codec_that_this_pyav_lacks_is_told_at_submission(
    run: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack("con360.media.coders"), "_has_coder", lambda name: name == "libx264")
    result = run(save_graph(codec="H.265"))
    assert result.status == "refused" and "cannot write H.265; it has H.264." in result.complaints["2"][0]


def test_presets_name_codecs_and_channels(run: Any, host: Host) -> None:
    """The sample has first-order sound; its own mono mix stands for a narration."""

    def made(preset: str, **more: Any) -> tuple[Any, list[str]]:
        result = run(save_graph("preset", preset=preset, **more))
        assert result.status == "done", (result.error, result.complaints)
        shown = result.ui["2"]["con360"][0]
        return probe(host.base / "output" / shown["saved"]["subfolder"] / shown["saved"]["filename"]), shown

    info, shown = made("headlocked", head_locked_audio=["1", 1])
    assert (info.codec, info.audio_tracks[0].codec, info.audio_tracks[0].channels) == ("h264", "opus", 6)
    assert "preview" not in shown
    info, shown = made("third-order")
    assert any("browsers play 8 channels at most, and its sound has 16" in notice for notice in shown["notices"])
    assert shown["preview"]["ambisonic"]
    info, shown = made("master")
    assert (info.path.suffix, info.codec, info.audio_tracks[0].codec) == (".mov", "prores", "pcm_s24le")
    assert any("not every browser plays its codec, prores" in notice for notice in shown["notices"])
    preview = probe(host.base / "temp" / shown["preview"]["filename"])
    # The plain picture above the one with what is drawn into it.
    assert (preview.codec, preview.width, preview.height) == ("h264", info.width, 2 * info.height)
    refused = run(save_graph("preset", preset="quest", head_locked_audio=["1", 1]))
    assert "only the preset 'headlocked'" in str(refused.error)


def test_an_odd_picture_grows_by_a_pixel_with_a_notice(host: Host, pack: Any) -> None:
    frames = torch.rand(2, 31, 63, 3)
    with installed(host._modules):
        saved = pack("nodes.save").Save360Video.execute(frames, 8.0, "odd", "mono").ui
    (shown,) = saved["con360"]
    assert shown["notices"][0].startswith("frames of 63x31 grow to 64x32")
    info = probe(host.base / shown["saved"]["type"] / shown["saved"]["filename"])
    assert (info.width, info.height) == (64, 32)
    even, _ = pack("nodes.sockets").grown(frames)
    assert torch.equal(even[:, :31, :63], frames) and torch.equal(even[:, 31, :63], frames[:, 30])


@pytest.mark.parametrize(
    ("prefix", "wanted", "kept"),
    [
        ("%Load360Video.height%_%Load360Video.eye%", "64_auto", 0), ("%My clip.fps%", "8", 0),
        ("%Renamed.start%", "0", 0), ("%Load360Video.eye%_%Gone.eye%", "auto_%Gone.eye%", 1),
        ("%Save360Video.audio%", "%Save360Video.audio%", 1), ("%width%x%height%", "%width%x%height%", 0),
        ("%date:yyyy.MM%", "%date:yyyy.MM%", 0), ("%Load360Video.path%", "a_b_c", 0), ("100%", "100%", 0),
        ("%Load360Video.upside_down%", "true", 0),
    ],
)  # fmt: skip
def test_values_of_widgets_are_filled_into_the_name(pack: Any, prefix: str, wanted: str, kept: int) -> None:
    prompt = save_graph()
    prompt["1"]["inputs"] |= {"path": "a/b:c", "upside_down": True}
    prompt["1"]["_meta"] = {"title": "My clip"}
    prompt["3"] = {"class_type": "Load360Video", "inputs": {"start": 0.0, "height": 1}}
    workflow = {"nodes": [{"id": 3, "properties": {"Node name for S&R": "Renamed"}}]}
    name, notices = pack("nodes.host.tokens").with_values(prefix, prompt, workflow)
    assert name == wanted and len(notices) == kept


def test_a_saved_file_is_named_by_a_widget_and_says_what_it_could_not_fill_in(run: Any) -> None:
    result = run(save_graph("named/%Load360Video.height%_%Gone.x%"))
    (saved,) = result.ui["2"]["images"]
    assert saved["subfolder"] == "named" and saved["filename"].startswith("64_%Gone.x%_")
    (notice,) = result.ui["2"]["con360"][0]["notices"]
    assert notice.startswith("%Gone.x% in the file name")


def test_a_value_cannot_lead_out_of_the_output_folder(run: Any) -> None:
    prompt = save_graph("%Load360Video.eye%/../../away")
    assert run(prompt).status == "refused"
    prompt = save_graph("%CubemapCaption.text%/away")
    prompt["4"] = {"class_type": "CubemapCaption", "inputs": {"frames": ["1", 0], "text": "..", "fps": 8.0}}
    result = run(prompt)
    assert result.status == "error" and "outside" in str(result.error)
