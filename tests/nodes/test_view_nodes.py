"""Viewpoints by hand and along keyframes, overlays and previews, run in the stand-in."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from con360.geometry.sphere import angle_between_deg, directions
from con360.media.info import probe
from con360.media.writer import write_clip
from con360.records import SaliencyMaps, Sound, ViewTrack
from con360.sound.channels import AmbisonicTags
from con360.viewpoint.basd import basd_maps
from con360.viewpoint.choose import viewpoints
from con360.viewpoint.keyframes import keyframes_from_json, keyframes_to_json
from tools.host import Host
from tools.host.modules import installed
from tools.host.v3 import VideoComponents, VideoFromComponents

pytestmark = pytest.mark.standin

PAN = json.dumps([{"time": 0, "yaw": 170, "pitch": 0, "fov": 90}, {"time": 0.25, "yaw": -170, "pitch": 10, "fov": 60}])
LOAD = {
    "class_type": "Load360Video",
    "inputs": {"video": "[built-in sample]", "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 64, "eye": "auto"},
}
SALIENCY = {"class_type": "SalViT360Saliency", "inputs": {"frames": ["1", 0], "method": "training-free (built in)"}}


def graph(**inputs: Any) -> dict[str, Any]:
    """Sample, saliency, Centroid→BASD as node 3, an overlay behind it."""
    values = {
        "saliency": ["2", 0], "fps": 8.0, "choose_by": "centroid", "rank": 1, "mode": "still", "yaw": 0.0,
        "pitch": 0.0, "fov": 90.0, "normalization": "minmax", **inputs,
    }  # fmt: skip
    overlay = {"frames": ["1", 0], "fps": 8.0, "height": 64, "saliency": ["2", 0], "basd": ["3", 0]}
    return {
        "1": LOAD, "2": SALIENCY, "3": {"class_type": "CentroidToBASD", "inputs": values},
        "4": {"class_type": "Con360OverlayPreview", "inputs": overlay},
    }  # fmt: skip


@pytest.mark.parametrize(("height", "shown"), [(64, 64), (1024, 512)])
def test_the_overlay_is_drawn_once_and_coded_at_the_size_shown(
    host: Host, pack: Any, monkeypatch: pytest.MonkeyPatch, height: int, shown: int
) -> None:
    with installed(host._modules):
        overlay = importlib.import_module(f"{host.module.__name__}.con360.drawing.overlay")
        previews, drawn, coded, draw = pack("nodes.previews"), [], [], overlay.draw_overlay
        monkeypatch.setattr(overlay, "draw_overlay", lambda *args, **kw: drawn.append(1) or draw(*args, **kw))
        monkeypatch.setattr(previews, "clip_preview", lambda frames, *_, **__: coded.append(frames.shape) or {})
        frames = torch.rand(1, height, 2 * height, 3)
        picture = pack("nodes.compare").Con360OverlayPreview.execute(frames, 8.0, height).args[0]
    assert picture.shape == (1, height, 2 * height, 3)
    assert drawn == [1] and coded == [(1, 3, 2 * shown, 2 * shown)]


def test_a_painted_mask_steers_every_frame(host: Host, pack: Any) -> None:
    painted = torch.zeros(1, 30, 64)
    painted[:, 12:18, 46:50] = 1
    with installed(host._modules):
        node = pack("nodes.viewpoint").CentroidToBASD
        made = node.execute(
            painted, 8.0, "subject", 1, "track", 0.0, 0.0, 90.0, "minmax", torch.rand(4, 32, 64, 3)
        ).args
        overlay = pack("nodes.compare").Con360OverlayPreview.execute(
            torch.rand(4, 32, 64, 3), 8.0, 64, painted, made[0]
        )
    assert made[1].shape == (4, 32, 64) and made[2] == pytest.approx(90, abs=6)
    assert overlay.args[0].shape == (4, 32, 64, 3)


def by_hand(**inputs: Any) -> dict[str, Any]:
    values = {
        "frames": ["1", 0], "fps": 8.0, "mode": "still", "yaw": 30.0, "pitch": -10.0, "fov": 75.0,
        "normalization": "minmax", "map_height": 64, **inputs,
    }  # fmt: skip
    overlay = {"frames": ["1", 0], "fps": 8.0, "height": 64, "basd": ["3", 0]}
    return {
        "1": LOAD, "3": {"class_type": "Con360ViewpointByHand", "inputs": values},
        "4": {"class_type": "Con360OverlayPreview", "inputs": overlay},
    }  # fmt: skip


def done(run: Any, prompt: dict[str, Any]) -> Any:
    result = run(prompt)
    assert result.status == "done", (result.failed_node, result.error, result.complaints)
    return result


def views(result: Any) -> list[tuple[float, float, float]]:
    return [(v.yaw_deg, v.pitch_deg, v.fov_deg) for v in result.outputs["3"][0].maps.track.views]


def shown(result: Any, node: str) -> dict[str, Any]:
    (data,) = result.ui[node]["con360"]
    return data


def pictures(host: Host, saved: dict[str, Any]) -> np.ndarray:
    assert (saved["type"], saved["subfolder"]) == ("temp", "")
    with av.open(str(host.base / "temp" / saved["filename"])) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    "prompt", [graph(choose_by="keyframes", keyframes=PAN), by_hand(mode="keyframes", keyframes=PAN)],
    ids=["CentroidToBASD", "Con360ViewpointByHand"],
)  # fmt: skip
def test_keyframes_move_the_view_over_the_seam(run: Any, prompt: Any) -> None:
    result = done(run, prompt)
    assert views(result) == [(170, 0, 90), (-180, 5, 75), (-170, 10, 60), (-170, 10, 60)]
    assert result.outputs["3"][2:5] == (170.0, 0.0, 90.0)
    assert result.outputs["3"][5] == keyframes_to_json(keyframes_from_json(PAN))
    assert not torch.equal(result.outputs["3"][1][0], result.outputs["3"][1][2])


@pytest.mark.parametrize("make", [graph, by_hand])
def test_roll_and_shape_reach_map_crop_and_keyframes(run: Any, host: Host, pack: Any, make: Any) -> None:
    by = {"choose_by": "yaw and pitch"} if make is graph else {}
    result = done(run, make(**by, yaw=20.0, pitch=5.0, fov=80.0, roll=-30.0, aspect="16:9"))
    with installed(host._modules):
        given = (result.outputs["1"][0], result.outputs["3"][0], 64, "omni")
        own, tall = (
            pack("nodes.crop").Con360ViewpointCrop.execute(*given, **by).args for by in ({}, {"aspect": "9:16"})
        )
    assert own[0].shape[1:] == (36, 64, 3) and tall[0].shape[1:] == (64, 36, 3)
    track = result.outputs["3"][0].maps.track
    assert (track.aspect, {view.roll_deg for view in track.views}) == (16 / 9, {-30.0})
    (key,) = keyframes_from_json(result.outputs["3"][5])
    assert (key.time_s, key.view.yaw_deg, key.view.roll_deg) == (0.0, 20.0, -30.0)
    wanted = basd_maps(ViewTrack((key.view,) * len(track), 16 / 9), result.outputs["3"][1].shape[1]).maps
    assert torch.equal(result.outputs["3"][1], wanted)


def test_a_followed_subject_hands_its_path_over(run: Any) -> None:
    followed = done(run, graph(choose_by="subject", mode="track", roll=15.0)).outputs["3"]
    again = done(run, graph(choose_by="keyframes", keyframes=followed[5])).outputs["3"]
    for ours, theirs in zip(again[0].maps.track.views, followed[0].maps.track.views, strict=True):
        apart = angle_between_deg(*(directions(view.yaw_deg, view.pitch_deg) for view in (ours, theirs)))
        assert float(apart) <= 1.0 and ours.roll_deg == pytest.approx(theirs.roll_deg, abs=0.01)


def test_keyframes_come_over_a_link(run: Any) -> None:
    prompt = graph(choose_by="keyframes", keyframes=["8", 5])
    prompt["8"] = by_hand(yaw=66.0)["3"]
    prompt["8"]["inputs"]["frames"] = ["1", 0]
    assert {view.yaw_deg for view in done(run, prompt).outputs["3"][0].maps.track.views} == {66.0}


def test_another_shape_than_those_offered_is_named(run: Any) -> None:
    for prompt in (graph(aspect="7:5"), by_hand(aspect="7:5")):
        result = run(prompt)
        assert result.status == "refused" and "'7:5'" in str(result.complaints["3"])


def test_a_still_view_by_hand_needs_no_saliency(run: Any) -> None:
    result = done(run, by_hand())
    assert views(result) == [(30, -10, 75)] * 4
    assert result.outputs["3"][1].shape == (4, 64, 128)


@pytest.mark.parametrize("make", [graph, by_hand])
def test_keyframes_that_cannot_be_read_are_refused_before_anything_runs(run: Any, make: Any) -> None:
    result = run(make(keyframes='[{"time": 0}]'))
    assert result.status == "refused"
    assert "keyframe 1 is" in result.complaints["3"][0]


@pytest.mark.parametrize("prompt", [
    graph(choose_by="keyframes"), graph(choose_by="keyframes", keyframes="[]"), by_hand(mode="keyframes"),
])  # fmt: skip
def test_asking_for_keyframes_without_any_is_refused_before_anything_runs(run: Any, prompt: Any) -> None:
    result = run(prompt)
    assert result.status == "refused" and "there are no keyframes" in result.complaints["3"][0]


def test_keyframes_that_arrive_over_a_link_are_checked_when_they_run(host: Host, run: Any) -> None:
    for name in ("CentroidToBASD", "Con360ViewpointByHand", "Con360PlaceSound"):
        assert host.classes[name].validate_inputs("keyframes", None) is True


def test_frames_of_another_clip_are_refused(host: Host, run: Any) -> None:
    prompt = graph(frames=["5", 0])
    prompt["5"] = {**LOAD, "inputs": {**LOAD["inputs"], "duration": 1.0}}
    assert "there are 8 frames and 4 saliency maps" in str(run(prompt).error)


@pytest.mark.parametrize("ranking", ["subject", "centroid"])
def test_the_editor_gets_both_rankings_the_chosen_one_first(run: Any, ranking: str) -> None:
    result = done(run, graph(choose_by=ranking))
    data, maps = shown(result, "3"), SaliencyMaps(result.outputs["2"][0], "mask")
    for name in ("subject", "centroid"):
        found = [(v.rank, [[v.track.views[0].yaw_deg, v.track.views[0].pitch_deg]]) for v in
                 viewpoints(maps, 8.0, ranking=name)]  # fmt: skip
        assert [(region["rank"], region["views"]) for region in data["rankings"][name]] == found
    assert data["regions"] == data["rankings"][ranking] and data["rankings"]["subject"] != data["rankings"]["centroid"]
    assert views(result)[0][:2] == tuple(data["regions"][0]["views"][0])
    assert shown(done(run, graph(choose_by="yaw and pitch")), "3")["rankings"] == data["rankings"]


def test_the_editor_gets_centroids_and_a_picture_with_heat(host: Host, run: Any) -> None:
    result = done(run, graph(frames=["1", 0]))
    data = shown(result, "3")
    view = result.outputs["3"][0].first_view
    assert data["regions"][0]["rank"] == 1
    assert data["regions"][0]["views"] == [[view.yaw_deg, view.pitch_deg]]
    assert (data["panorama"]["frames"], data["panorama"]["fps"]) == (4, 8.0)
    film = pictures(host, data["panorama"])
    assert film.shape == (4, 128, 128, 3)
    source = (result.outputs["1"][0].numpy() * 255).round()
    assert np.abs(film[:, :64] - source).mean() < 6
    heat = result.outputs["2"][0][0]
    row, column = np.array(divmod(int(heat.argmax()), heat.shape[1])) * 64 // heat.shape[0]
    red, _, blue = film[0][64 + row, column].astype(int)
    assert red - blue > 80
    json.dumps(data)


def test_centroids_follow_a_track_and_are_listed_for_a_view_by_hand(run: Any) -> None:
    result = done(run, graph(mode="track"))
    assert len(shown(result, "3")["regions"][0]["views"]) in (1, 4)
    assert shown(result, "3")["asked"] == {"choose_by": "centroid", "rank": 1, "mode": "track"}
    assert keyframes_from_json(shown(result, "3")["keyframes"])
    assert shown(done(run, graph(choose_by="yaw and pitch")), "3")["regions"]


def test_the_overlay_is_drawn_into_the_frames_and_the_lower_half_of_its_preview(host: Host, run: Any) -> None:
    result = done(run, graph())
    (drawn,) = result.outputs["4"]
    assert drawn.shape == (4, 64, 128, 3)
    film = pictures(host, shown(result, "4")["panorama"]) / 255
    plain, above, below = result.outputs["1"][0].numpy(), film[:, :64], film[:, 64:]
    assert np.abs(above - plain).mean() < 0.03 < np.abs(below - plain).mean()
    assert np.abs(below - drawn.numpy()).mean() < 0.05


def channels(host: Host, saved: dict[str, Any]) -> int:
    with av.open(str(host.base / "temp" / saved["filename"])) as container:
        return container.streams.audio[0].codec_context.channels if container.streams.audio else 0


@pytest.mark.parametrize("prompt", [graph, by_hand])
def test_previews_keep_ambisonics_for_widgets_that_turn_it(host: Host, run: Any, prompt: Any) -> None:
    heard = prompt(audio=["1", 1])
    heard["4"]["inputs"]["audio"] = ["1", 1]
    result, silent = done(run, heard), done(run, prompt())
    for number in "34":
        saved, without = shown(result, number)["panorama"], shown(silent, number)["panorama"]
        assert (saved["sound"], saved["ambisonic"], channels(host, saved)) == (True, True, 4)
        assert (without["sound"], without["ambisonic"], channels(host, without)) == (False, False, 0)


def test_a_run_says_what_it_found_in_a_file(host: Host, run: Any) -> None:
    sound = Sound(torch.zeros(4, 16000), 16000, "ambix")
    write_clip(host.base / "input" / "found.mp4", torch.rand(8, 3, 32, 64), 8.0, sound, panorama="mono")
    prompt = by_hand()
    prompt["1"] = {**LOAD, "inputs": {**LOAD["inputs"], "video": "found.mp4", "duration": 2.0}}
    data = shown(done(run, prompt), "1")
    assert data["found"] == {
        "width": 64, "height": 32, "fps": 8.0, "seconds": 1.0, "projection": "equirectangular", "stereo": "mono",
        "channels": 4, "layout": "ambix", "sample_rate_hz": 16000,
    }  # fmt: skip
    assert (data["video"], data["ambisonic"]) == ("found.mp4", True)
    assert any("1 s" in notice or "ends" in notice for notice in data["notices"]), data["notices"]
    json.dumps(data)


def test_other_channels_are_mixed_for_the_browser(host: Host, pack: Any) -> None:
    with installed(host._modules):
        previews = pack("nodes.previews")
        for layout, number, kept in (("other", 6, 2), ("other", 12, 1), ("stereo", 2, 2), ("mono", 1, 1)):
            sound = Sound(torch.zeros(number, 8000), 16000, layout)
            saved = previews.panorama_preview(torch.rand(4, 32, 64, 3), 8.0, 32, sound=sound)
            assert (saved["ambisonic"], channels(host, saved)) == (False, kept)


def test_a_files_sound_turns_where_the_browser_gets_its_four_channels_in_order(
    host: Host, pack: Any, tmp_path: Path
) -> None:  # fmt: skip
    with installed(host._modules):
        file_facts = pack("nodes.previews").file_facts
    for sound, turns in ((Sound(torch.zeros(4, 8000), 16000, "ambix"), True),
                         (Sound(torch.zeros(2, 8000), 16000, "stereo"), False), (None, False)):  # fmt: skip
        write_clip(tmp_path / "a.mp4", torch.rand(4, 3, 32, 64), 8.0, sound)
        assert file_facts(probe(tmp_path / "a.mp4"))["ambisonic"] is turns
    write_clip(tmp_path / "a.mp4", torch.rand(4, 3, 32, 64), 8.0, Sound(torch.zeros(4, 8000), 16000, "ambix"))
    info = probe(tmp_path / "a.mp4")
    tags = AmbisonicTags(1, (0, 2, 3, 1))
    moved = replace(info, audio_tracks=(replace(info.audio_tracks[0], tags=tags),))
    assert file_facts(moved)["ambisonic"] is False
    assert [file_facts(info, word)["ambisonic"] for word in ("ambix", "n3d", "fuma", "none")] == [True] + 3 * [False]


def test_the_sample_has_a_preview_for_its_viewer_and_a_file_streams_itself(run: Any) -> None:
    assert shown(done(run, by_hand()), "1")["panorama"]["frames"] == 4


class TestCompare:
    def compare(self, pack: Any, host: Host, **given: Any) -> dict[str, Any]:
        with installed(host._modules), torch.inference_mode():
            return pack("nodes.compare").Con360Compare.execute(**given).ui["con360"][0]

    def clip(self, size: int = 33, rate: int = 11026, channels: int = 4) -> VideoFromComponents:
        audio = {"waveform": torch.zeros(1, channels, rate // 2), "sample_rate": rate}
        return VideoFromComponents(
            VideoComponents(images=torch.rand(4, size, size, 3), frame_rate=Fraction(8), audio=audio)
        )

    def test_odd_sizes_odd_rates_and_ambisonics_are_made_playable(self, pack: Any, host: Host) -> None:
        data = self.compare(pack, host, generated=self.clip())
        assert set(data) == {"generated"}
        path = Path(host.base / "temp" / data["generated"]["filename"])
        with av.open(str(path)) as container:
            assert (container.streams.video[0].width, container.streams.audio[0].rate) == (32, 12000)

    def test_the_panorama_lasts_as_long_as_the_clip(self, pack: Any, host: Host) -> None:
        frames = torch.rand(8, 64, 128, 3)
        data = self.compare(pack, host, generated=self.clip(), real=self.clip(32, 16000, 1), frames=frames)
        assert set(data) == {"generated", "real", "panorama"}
        assert data["panorama"]["fps"] == 16.0

    def test_a_clip_without_sound_is_shown(self, pack: Any, host: Host) -> None:
        silent = VideoFromComponents(VideoComponents(images=torch.rand(2, 32, 32, 3), frame_rate=Fraction(8)))
        assert self.compare(pack, host, generated=silent)["generated"]["frames"] == 2


def test_previews_of_long_clips_keep_few_frames_and_their_length(host: Host, pack: Any) -> None:
    frames = torch.zeros(1000, 16, 32, 3)
    with installed(host._modules):
        saved = pack("nodes.previews").panorama_preview(frames, 30.0, 16)
    assert saved["frames"] <= 480
    assert saved["frames"] / saved["fps"] == pytest.approx(1000 / 30, rel=0.01)


@pytest.mark.parametrize("ranking", ["subject", "centroid"])
def test_centroids_are_listed_as_centroid_to_basd_ranks_them(host: Host, pack: Any, ranking: str) -> None:
    maps = torch.zeros(4, 64, 128)
    for rows, columns in ((slice(28, 36), slice(60, 68)), (slice(20, 26), slice(100, 106))):
        maps[:, rows, columns] = 1
    with installed(host._modules):
        nodes = pack("nodes.viewpoint")
        ranks, yaws, pitches = nodes.Con360Centroids.execute(maps, 8.0, "still", 8, ranking).args
        values = {"choose_by": ranking, "mode": "still", "yaw": 0.0, "pitch": 0.0, "fov": 90.0}
        for rank, yaw, pitch in zip(ranks, yaws, pitches, strict=True):
            made = nodes.CentroidToBASD.execute(maps, 8.0, rank=rank, normalization="minmax", **values).args
            assert made[2:4] == (yaw, pitch)
        assert nodes.Con360Centroids.execute(maps, 8.0, "still", 1, ranking).args[0] == [1]
        # Nothing stands out: one view, to the front.
        assert nodes.Con360Centroids.execute(maps * 0, 8.0, "still", 3, ranking).args == ([1], [0.0], [0.0])
    assert ranks == [1, 2] and abs(yaws[0]) < 3 and yaws[1] > 90
