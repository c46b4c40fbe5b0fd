"""Sources of clips: manifests, folders, Sphere360's real lists with their traps; splits that keep videos apart."""

from __future__ import annotations

import json

import pytest
from shared_data import data_path

from con360.errors import InputError
from train.preparation.model import model_facts
from train.preparation.plan import Segment, assign_splits, plan_segments
from train.preparation.settings import Settings, split_of
from train.preparation.sources import (
    SourceClip,
    overlapping,
    procedural_scenes,
    read_source,
    read_sphere360,
    read_sphere360_lists,
    scene_number,
    video_of,
)


@pytest.fixture(scope="module")
def lists():
    return read_sphere360_lists(data_path("sphere360"))


def test_every_line_of_the_real_lists_is_accounted_for(lists):
    """103,596 lines: a clip or a problem each; 134 carry the undocumented "l"."""
    clips, problems = lists
    assert len(clips) + sum(not p.kept for p in problems) == 100_533 + 3_063
    doubles = [p.reason for p in problems if "is the clip of" in p.reason]
    assert sum("carries an 'l'" in p.reason for p in problems) + sum("l_" in reason for reason in doubles) == 134
    across = [p for p in problems if p.where.startswith("test.txt") and "is the clip of train.txt" in p.reason]
    assert (len(doubles), len(across)) == (73, 60)
    assert {len(clip.video) for clip in clips} == {11}
    assert len({clip.id for clip in clips}) == len(clips)
    assert len({(clip.video, clip.id.rsplit("_", 1)[1]) for clip in clips}) == len(clips)


def test_the_published_split_leaks_and_ours_does_not(lists):
    """72 published test videos have clips in training as well.

    For two of them every test clip is also a training clip, so these are left out as doubles. Our split shares no
    video; its shares are near 85/5/10.
    """
    clips, _ = lists
    given = assign_splits(clips, "given")
    assert overlapping(clips, given) == {("test", "train"): 70}
    ours = assign_splits(clips, "video")
    assert overlapping(clips, ours) == {}
    shares = {name: ours.count(name) / len(ours) for name in ("train", "validation", "test")}
    print({name: ours.count(name) for name in shares})
    assert 0.78 < shares["train"] < 0.92 and 0.02 < shares["validation"] < 0.1 and 0.05 < shares["test"] < 0.18


def test_the_papers_random_split_is_85_to_15_and_shares_videos(lists):
    clips, _ = lists
    splits = assign_splits(clips, "random")
    assert splits.count("train") / len(splits) == pytest.approx(0.85, abs=0.005)
    assert set(splits) == {"train", "test"}
    assert overlapping(clips, splits)[("test", "train")] > 1000


def test_a_split_does_not_depend_on_the_other_clips(lists):
    clips, _ = lists
    assert assign_splits(clips[::-1], "video")[::-1] == assign_splits(clips, "video")
    assert assign_splits(clips[::500], "video", seed=1) != assign_splits(clips[::500], "video", seed=2)


def test_lists_bad_lines_are_recorded_with_their_place(tmp_path):
    (tmp_path / "train.txt").write_text("abcdefghijk_10\nnot a line\nabc_efghijkl_7\nabc_efghijk_7\n-bcdefg_ijk_0")
    clips, problems = read_sphere360_lists(tmp_path)
    assert [(c.id, c.video) for c in clips] == [
        ("abcdefghijk_10", "abcdefghijk"), ("abc_efghijkl_7", "abc_efghijk"), ("-bcdefg_ijk_0", "-bcdefg_ijk")
    ]  # fmt: skip
    assert [(p.where, p.kept) for p in problems] == [
        ("train.txt line 2", False), ("train.txt line 3", True), ("train.txt line 4", False)
    ]  # fmt: skip
    assert "line 3" in problems[2].reason


def test_listed_clips_are_found_by_name_and_missing_ones_are_problems(tmp_path):
    media = tmp_path / "media" / "part-1"
    media.mkdir(parents=True)
    (media / "-bcdefg_ijk_0.webm").write_bytes(b"x")
    (tmp_path / "test.txt").write_text("-bcdefg_ijk_0\nabcdefghijk_10\n")
    clips, problems = read_sphere360(tmp_path, tmp_path / "media")
    assert [(c.id, c.split, c.path.endswith("/part-1/-bcdefg_ijk_0.webm")) for c in clips] == [
        ("-bcdefg_ijk_0", "test", True)
    ]
    assert [p.where for p in problems] == ["abcdefghijk_10"] and "no file" in problems[0].reason
    with pytest.raises(InputError, match="neither train.txt nor test.txt"):
        read_sphere360(media, media)


def test_a_folder_gives_its_clips_with_their_sidecars(tmp_path):
    for name in ("b.mp4", "a.webm", "sub/c.MOV", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.txt").write_text(" a market \n")
    (tmp_path / "b.json").write_text(json.dumps({"caption": "a river"}))
    (tmp_path / "sub" / "c.json").write_text("{")
    clips, problems = read_source(tmp_path)
    assert [(c.id, c.caption) for c in clips] == [("a.webm", "a market"), ("b.mp4", "a river"), ("sub/c.MOV", "")]
    assert [(p.where, p.kept) for p in problems] == [("sub/c.MOV", True)]


def test_manifest_columns_and_bad_lines(tmp_path):
    manifest = tmp_path / "clips.csv"
    manifest.write_text(
        "\ufeffpath,caption,video,split,starts\nx.mp4,hello,v1,test,0 1.5\n,,,,\n"
        "y.mp4,,,nowhere,\nx.mp4,,,,\nz.mp4,,,,-1\n"
    )
    clips, problems = read_source(manifest)
    assert clips == [SourceClip("x.mp4", str(tmp_path / "x.mp4"), "v1", "test", "hello", (0.0, 1.5))]
    assert [p.where for p in problems] == [f"clips.csv line {n}" for n in (3, 4, 5, 6)]
    lines = tmp_path / "clips.jsonl"
    lines.write_text('{"path": "x.mp4", "id": "one"}\n{broken\n[1]\n{"path": "x.mp4", "id": "two", "starts": [2]}\n')
    clips, problems = read_source(lines)
    assert [(c.id, c.starts_s) for c in clips] == [("one", None), ("two", (2.0,))]
    assert [p.where for p in problems] == ["clips.jsonl line 2", "clips.jsonl line 3"]
    with pytest.raises(InputError, match="neither a folder nor a manifest"):
        read_source(tmp_path / "clips.xml")
    (tmp_path / "bare.csv").write_text("file\nx.mp4\n")
    with pytest.raises(InputError, match="no column 'path'"):
        read_source(tmp_path / "bare.csv")


def test_segments_have_the_papers_starts_and_ids_that_stay():
    clips = [SourceClip("b_clip", "b", "v"), SourceClip("a", "a", "w", starts_s=(1.5, 1.5))]
    segments = plan_segments(clips, Settings(model_facts()))
    assert [s.id for s in segments] == ["b_clip@0", "b_clip@3", "b_clip@6", "a@1.5"]
    assert len({s.split for s in segments if s.clip.video == "v"}) == 1


def test_scenes_keep_the_split_of_their_seeds():
    clips, _ = procedural_scenes(2, "validation", first=5)
    assert [scene_number(clip) for clip in clips] == [("validation", 5), ("validation", 6)]
    assert [(s.id, s.split) for s in plan_segments(clips, Settings(model_facts(), split="given"))] == [
        ("scene:validation/5@0", "validation"), ("scene:validation/6@0", "validation")
    ]  # fmt: skip
    assert isinstance(plan_segments(clips, Settings(model_facts(), split="given"))[0], Segment)


@pytest.mark.parametrize(
    ("name", "video"),
    [("V_To4k9AJXc_20", "V_To4k9AJXc"), ("NdE7uYVaynQl_0.webm", "NdE7uYVaynQ"), ("holiday_3.mp4", "holiday_3.mp4")],
)
def test_video_of_a_clips_name(name, video):
    assert video_of(name) == video


def test_hash_split_fills_every_share():
    draws = [split_of(str(i), 0, (("train", 0.5), ("test", 0.5))) for i in range(400)]
    assert 150 < draws.count("train") < 250
    with pytest.raises(InputError, match="names none"):
        assign_splits([SourceClip("a", "a", "a")], "given")
    with pytest.raises(InputError, match="unknown"):
        assign_splits([SourceClip("a", "a", "a")], "half")
