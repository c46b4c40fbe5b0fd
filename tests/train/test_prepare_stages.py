"""Prepare real files: contents of an example, records of failures, and clips that cleaning leaves out."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import data_path
from synthetic_clips import write_video
from tiny_captioners import write_blip

from benchmarks.check.base import procedural
from benchmarks.check.faults import fuma
from con360.control import fingerprint
from con360.errors import InputError
from con360.media.writer import write_clip
from con360.models.codecs import decode_frames
from con360.records import PanoramaClip, Sound, View, ViewTrack
from con360.sound.ambisonics import encode
from con360.sound.views import view_sound
from con360.viewpoint.basd import basd_maps
from con360.weights.files import read_tensors
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model
from train.examples import make_example
from train.preparation.cleaning import (
    Rejected,
    check_is_360,
    check_is_foa,
    check_match,
    check_rules,
    check_seen,
    check_speech,
    reads_captions,
    silent_share,
    sound_caption_cosine,
    speech_probability,
    static_share,
)
from train.preparation.model import load_encoders, model_facts
from train.preparation.plan import Segment, plan_segments
from train.preparation.report import counts_text, price_text, stage_costs, stages_text
from train.preparation.run import Executor, prepare
from train.preparation.settings import TRUTH, Settings
from train.preparation.sources import SourceClip, procedural_scenes, read_source
from train.preparation.stages import prepare_views
from train.prepare import main
from train.shards import count_examples, read_outcomes, read_settings, read_shards, shard_paths

ONE = Executor(shard_segments=2)


def quick(**changes) -> Settings:
    return Settings(model_facts(), **{**dict(seconds=0.5, starts_s=(0.0, 0.5), viewpoints=2, split="given"), **changes})


def quiet(line: str) -> None:
    del line


def moving_clip(path: Path, seconds: float = 1.1, level: float = 0.3, moves: bool = True) -> Path:
    """A bright disc that moves right in front of gray, and a tone."""
    count, rate = round(seconds * 8) + 1, 48000
    y, x = np.mgrid[:64, :128]
    pictures = []
    for i in range(count):
        disc = (x - 40 - 4 * i * moves) ** 2 + (y - 30) ** 2 < 64
        pictures.append(np.where(disc[..., None], [250, 220, 40], [70, 80, 90]).astype(np.uint8))
    time_s = np.arange(round(rate * count / 8)) / rate
    tone = (level * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    return write_video(path, [i / 8 for i in range(count)], sound=np.stack([tone, tone]), pictures=pictures)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two good clips, no video, a file that is not there, and a clip too short for its second start."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("one.mp4", "two.mp4"):
        moving_clip(folder / name)
    moving_clip(folder / "short.mp4", 0.5)
    (folder / "text.mp4").write_text("this is no video")
    names = ("one", "two", "short", "text", "absent")
    (folder / "clips.csv").write_text(
        "path,split,caption\n" + "".join(f"{n}.mp4,{'test' if n == 'two' else 'train'},a red disc\n" for n in names)
    )
    out = folder / "out"
    account = prepare(read_source(folder / "clips.csv"), out, quick(), ONE, say=quiet)
    return out, account


def test_each_segment_records_its_outcome_and_reason(prepared):
    out, account = prepared
    ends = {name: (o.status, o.stage) for name, o in account.outcomes.items()}
    assert ends == {
        "one.mp4@0": ("done", ""), "one.mp4@0.5": ("done", ""), "two.mp4@0": ("done", ""), "two.mp4@0.5": ("done", ""),
        "short.mp4@0": ("done", ""), "short.mp4@0.5": ("rejected", "read"), "text.mp4@0": ("failed", "read"),
        "text.mp4@0.5": ("failed", "read"), "absent.mp4@0": ("failed", "read"), "absent.mp4@0.5": ("failed", "read"),
    }  # fmt: skip
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {line["segment"] for line in lines} == {name for name, end in ends.items() if end[0] != "done"}
    reasons = {line["segment"]: line["reason"] for line in lines}
    assert "there is no file" in reasons["absent.mp4@0"] and reasons["short.mp4@0.5"].startswith("short: ")
    assert "5 done, 1 rejected, 4 failed" in counts_text(account)


def test_an_example_holds_what_its_record_says(prepared):
    out, _ = prepared
    examples = list(read_shards(out, "train", beside=("sound", "foa", "crops")))
    assert len(examples) == count_examples(out, "train") >= 3
    first = examples[0]
    spec = quick().spec
    assert first.latents_v.shape == (4, 4, 16, 16) and first.latents_v.dtype == torch.float16
    assert first.latents_a.shape == (8, spec.num_latent_rows_padded, 16)
    assert first.maps.shape == (4, 2, 64, 128) and first.maps.dtype == torch.uint8
    assert first.views.shape == (4, 3) and (first.views[:, 2] == 90).all()
    assert first.caption == "a red disc" and first.text_a.float().norm() == pytest.approx(1, abs=1e-2)
    assert first.sound.shape == (spec.num_samples,) and first.foa is None and first.sound_kind == "omni"
    assert first.crops.shape == (4, 3, 64, 64)
    assert len({e.id for e in examples}) == len(examples)
    assert not {e.video for e in examples} & {e.video for e in read_shards(out, "test")}


def test_preparation_reads_the_weights_of_encoders_alone(tmp_path, monkeypatch):
    folder = Path(shutil.copytree(model_folder(), tmp_path / "model"))
    read = []

    def recorded(path: Path, keep: object = None) -> object:
        read.append(path.parent.name)
        return read_tensors(path, keep)

    monkeypatch.setattr("con360.weights.build.read_tensors", recorded)
    facts, encoders = model_facts(folder), load_encoders(folder)
    assert sorted(read) == ["text_encoder_a", "text_encoder_v", "vae_a", "vae_v"]
    whole = load_joint_model(folder)
    assert facts.clip_spec(1.0) == whole.clip_spec(1.0) and facts.picture_size_px == whole.picture_size_px
    networks = ("vae_v", "vae_a", "text_encoder_v", "text_encoder_a")
    assert facts.fingerprint == fingerprint(*(getattr(whole, name) for name in networks))
    for name in networks:
        torch.testing.assert_close(
            getattr(encoders, name).state_dict(), getattr(whole, name).state_dict(), rtol=0, atol=0
        )
    settings = Settings(facts, seconds=0.5)
    assert "model" not in settings.identity()["facts"] and settings.spec.num_frames == 4


def test_the_view_looks_at_the_disc_and_the_latents_show_it(prepared):
    """The disc starts near column 40 of 128, at yaw -67; the decoded latents are the stored crop."""
    out, _ = prepared
    first = next(e for e in read_shards(out, "train", beside=("crops",)) if e.id == "one.mp4@0#1")
    yaw, pitch = first.views[0, :2].tolist()
    assert abs(yaw - (40 + 6 - 64) / 128 * 360) < 20 and abs(pitch - 5) < 20
    vae = load_encoders(quick().facts.model).vae_v
    with torch.no_grad():
        shown = decode_frames(vae, first.latents_v.float().transpose(0, 1))
    assert (shown - first.crops / 255).abs().mean() < 0.08
    track = ViewTrack(tuple(View(*row) for row in first.views.tolist()))
    basd = torch.nn.functional.interpolate(basd_maps(track, 256).maps[:, None], (64, 128), mode="area")[:, 0]
    assert (first.maps[:, 1].float() / 255 - basd).abs().max() < 0.02


def test_the_same_command_again_does_nothing_and_other_settings_are_refused(prepared, tmp_path):
    out, account = prepared
    before = {p: p.stat().st_mtime_ns for p in shard_paths(out, "train")}
    said: list[str] = []
    source = read_source(out.parent / "clips.csv")
    assert prepare(source, out, quick(), ONE, say=said.append).outcomes == account.outcomes
    assert "0 to do" in said[0] and {p: p.stat().st_mtime_ns for p in shard_paths(out, "train")} == before
    with pytest.raises(InputError, match="other settings: viewpoints 2, now 3"):
        prepare(source, out, quick(viewpoints=3), ONE, say=quiet)
    assert read_settings(out)["seconds"] == 0.5


def test_failed_segments_are_tried_again_when_asked(tmp_path):
    source = ([SourceClip("late.mp4", str(tmp_path / "late.mp4"), "late", "train", starts_s=(0.0,))], [])
    assert prepare(source, tmp_path / "out", quick(), ONE, say=quiet).count("failed") == 1
    moving_clip(tmp_path / "late.mp4", 0.6)
    assert prepare(source, tmp_path / "out", quick(), ONE, say=quiet).count("failed") == 1
    again = prepare(source, tmp_path / "out", quick(), ONE, retry_failed=True, say=quiet)
    assert (again.count("done"), again.count("failed"), again.doubled) == (1, 0, ())
    assert (tmp_path / "out" / "failures.jsonl").read_text() == ""


def test_one_ambisonics_setting_holds_for_all_clips(tmp_path):
    sound = encode(0.3 * torch.sin(torch.arange(48000) * 0.06), 90.0, 0.0)
    n3d = torch.cat((sound[:1], math.sqrt(3) * sound[1:], sound[:2]))
    write_video(tmp_path / "a.mov", [i / 8 for i in range(9)], sound=n3d.numpy(), layout="6 channels",
                sound_codec="pcm_f32le")  # fmt: skip
    segment = Segment(SourceClip("a.mov", str(tmp_path / "a.mov"), "a", "train"), 0.0, "train")
    foa = prepare_views(segment, quick(ambisonics="n3d", head_locked=True)).foa
    assert foa.shape == (4, 8000) and (foa[1] + foa[0]).abs().max() < 1e-4
    assert prepare_views(segment, quick()).foa is None
    assert "FuMa has" in prepare_views(segment, quick(ambisonics="fuma")).outcome.reason
    with pytest.raises(InputError, match="unknown"):
        quick(ambisonics="b")
    # Folders of earlier versions have neither setting.
    assert not {"ambisonics", "head_locked"} & quick().identity().keys()
    assert quick(ambisonics="fuma").identity()["ambisonics"] == "fuma"


def test_spatial_sound_is_kept_and_heard_towards_the_view():
    clip = SourceClip("congo", str(data_path("video/congo_eye_1024x512_h264_foa_aac_v2meta.mp4")), "congo", "train")
    work = prepare_views(Segment(clip, 0.0, "train"), quick(viewpoints=1))
    assert work.outcome is None and work.foa.shape == (4, 8000) and len(work.drafts) == 1
    draft = work.drafts[0]
    assert draft.sound_kind == "view"
    assert torch.equal(draft.sound, view_sound(Sound(work.foa, 16000, "ambix"), draft.track, 8.0).waveform[0])
    flat = prepare_views(Segment(clip, 0.0, "train"), quick(viewpoints=1, sound="omni")).drafts[0]
    assert flat.sound_kind == "omni" and torch.equal(flat.sound, work.foa[0])


def test_a_clip_without_sound_is_rejected_and_its_split_reads_as_empty(tmp_path):
    clip = SourceClip("mute", str(data_path("bad/06_video_only.mp4")), "a", "train", starts_s=(0.0,))
    account = prepare(([clip], []), tmp_path / "out", quick(), ONE, say=quiet)
    (outcome,) = account.outcomes.values()
    assert (outcome.status, outcome.stage, outcome.reason) == ("rejected", "read", "mute: the clip has no sound")
    assert list(read_shards(tmp_path / "out", "train")) == []


def test_an_unexpected_error_is_recorded_with_its_type(tmp_path):
    """A defect of a stage (here a field of view that is no number) ends the segment, not the run."""
    moving_clip(tmp_path / "c.mp4", 0.6)
    segment = Segment(SourceClip("c", str(tmp_path / "c.mp4"), "c", "train"), 0.0, "train")
    outcome = prepare_views(segment, quick(fov_deg=None)).outcome
    assert (outcome.status, outcome.stage) == ("failed", "views") and outcome.reason.startswith("TypeError: ")
    assert set(outcome.seconds) == {"read", "caption", "clean", "saliency", "views"}


def test_scenes_are_stored_as_they_are_rendered(tmp_path):
    settings = Settings(model_facts(), seconds=0.5, saliency=TRUTH, split="given")
    prepare(procedural_scenes(2, "validation"), tmp_path, settings, ONE, say=quiet)
    stored = sorted(read_shards(tmp_path, "validation", beside=("crops", "foa", "sound")), key=lambda e: e.id)
    assert [e.id for e in stored] == ["scene:validation/0@0#1", "scene:validation/1@0#1"]
    truth = make_example("validation", 1, num_frames=4, spec=settings.spec, size=64)
    assert torch.equal(stored[1].maps, (truth.maps * 255).round().byte())
    assert stored[1].caption == truth.caption and stored[1].sound_kind == "view"
    assert (stored[1].crops / 255 - truth.frames).abs().mean() < 0.02
    assert (stored[1].sound.float() - truth.waveform).abs().max() < 1e-3 and stored[1].foa.shape == (4, 8000)


def test_scenes_with_estimated_saliency_keep_their_basd():
    segment = plan_segments(procedural_scenes(1, "train")[0], Settings(model_facts(), split="given"))[0]
    true, estimated = (
        prepare_views(segment, Settings(model_facts(), seconds=0.5, saliency=name, split="given")).drafts[0].maps
        for name in (TRUTH, "training-free")
    )
    assert torch.equal(true[:, 1], estimated[:, 1]) and not torch.equal(true[:, 0], estimated[:, 0])


# Cleaning -------------------------------------------------------------------------------------------------------------


def test_static_share_of_known_frames():
    """Eight frames per second: every fourth is looked at. 5 gray levels squared is 25, above 5; 2 squared is below."""
    frames = torch.zeros(17, 3, 8, 16)
    assert static_share(frames, 8.0) == 1.0
    frames[4:] += 5 / 255
    frames[8:] += 2 / 255
    assert static_share(frames, 8.0) == pytest.approx(3 / 4)


def test_silent_share_of_known_levels():
    """-35 dBFS of RMS: a sine of amplitude 0.0252 is at it."""
    time_s = torch.arange(16000) / 16000
    tone = torch.sin(2 * math.pi * 440 * time_s)
    amplitude = 10 ** (-35 / 20) * math.sqrt(2)
    gain = torch.where(time_s < 0.7, 0.9 * amplitude, 1.1 * amplitude)
    assert silent_share(Sound((gain * tone)[None], 16000)) == pytest.approx(0.7)
    quiet_foa = encode(0.5 * amplitude * tone, 0.0, 0.0)
    assert silent_share(Sound(quiet_foa[:1], 16000)) == 1.0


@pytest.mark.parametrize(("rule", "clip"), [("static", dict(moves=False)), ("silent", dict(level=1e-3))])
def test_cleaning_is_asked_for_and_says_why(rule, clip, tmp_path):
    moving_clip(tmp_path / "c.mp4", 1.1, **clip)
    segment = Segment(SourceClip("c", str(tmp_path / "c.mp4"), "c", "train"), 0.0, "train")
    one = quick(seconds=1.0)
    assert prepare_views(segment, one).outcome is None
    outcome = prepare_views(segment, replace(one, clean=(rule,))).outcome
    assert outcome.status == "rejected" and outcome.stage == "clean" and outcome.reason.startswith(f"{rule}: ")
    other = {"static": "silent", "silent": "static"}[rule]
    assert prepare_views(segment, replace(one, clean=(other,))).outcome is None


def test_the_data_sets_filters_ask_the_check(tmp_path):
    """A flat view at 2:1 with FuMa, and the scene that it was cut from."""
    base = procedural(64)
    flat = torch.from_numpy(base.frames[:, 20:44, 40:88].copy()).movedim(-1, 1).float() / 255
    flat = torch.nn.functional.interpolate(flat, (64, 128), mode="bilinear")
    fumas = replace(base.sound, waveform=fuma(base.sound.waveform))
    check_is_360(PanoramaClip(torch.from_numpy(base.frames).movedim(-1, 1).float() / 255, 4.0))
    check_is_foa(base.sound)
    for wrong in (fumas, Sound(base.sound.waveform[:2], base.sound.sample_rate_hz)):
        with pytest.raises(Rejected, match="notfoa: "):
            check_is_foa(wrong)
    write_clip(tmp_path / "flat.mp4", flat, 4.0, fumas, panorama="mono")
    segment = Segment(SourceClip("flat", str(tmp_path / "flat.mp4"), "flat", "train"), 0.0, "train")
    for rule in ("not360", "notfoa"):
        outcome = prepare_views(segment, quick(seconds=1.0, clean=(rule,))).outcome
        assert outcome.status == "rejected" and outcome.reason.startswith(f"{rule}: ")


@pytest.mark.parametrize(("rule", "word"), [("speech", "AST|ast-finetuned"), ("match", "CLAP")])
def test_rules_that_need_a_model_say_which(rule, word):
    with pytest.raises(InputError, match=word):
        check_rules((rule,), "", "")
    check_rules(("static", "silent"), "", "")


def test_a_tiny_classifier_decides_about_speech(tmp_path):
    """The same network with its bias for "Speech" up or down: rejected, or not; without that label, refused."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    def write(bias: float, label: str) -> str:
        size = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_mel_bins=32)
        config = ASTConfig(**size, max_length=64, id2label={0: "Bird", 1: label}, label2id={"Bird": 0, label: 1})
        torch.manual_seed(0)
        model = ASTForAudioClassification(config)
        with torch.no_grad():
            model.classifier.dense.weight.zero_()
            model.classifier.dense.bias.copy_(torch.tensor([-bias, bias]))
        folder = tmp_path / f"{label}{bias}"
        model.save_pretrained(folder)
        ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
        return str(folder)

    sound = Sound(0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)), 16000)
    assert speech_probability(sound, write(2.0, "Speech")) == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-4)
    with pytest.raises(Rejected, match="speech: probability 0.88"):
        check_speech(sound, write(2.0, "Speech"))
    check_speech(sound, write(-2.0, "Speech"))
    with pytest.raises(InputError, match="no label 'Speech'"):
        check_speech(sound, write(2.0, "Whistle"))


def test_clap_compares_the_sound_with_the_caption(tmp_path):
    """A tiny CLAP: the cosine is that of its own embeddings, and the least cosine decides."""
    folder = write_clap(tmp_path / "clap")
    sound = Sound(0.1 * torch.randn(1, 32000, generator=torch.Generator().manual_seed(1)), 16000)
    cosine = sound_caption_cosine(sound, "a red disc", folder)
    assert -1 <= cosine <= 1 and cosine != sound_caption_cosine(sound, "ring", folder)
    check_match(sound, "a red disc", folder, cosine - 0.01)
    with pytest.raises(Rejected, match="the cosine of sound and caption is"):
        check_match(sound, "a red disc", folder, cosine + 0.01)
    with pytest.raises(InputError, match="has none"):
        check_match(sound, "", folder, 0.0)


def test_an_encoder_compares_the_picture_with_the_sound():
    """One that hears how bright a picture is: its cosine decides; black and silent segments match nothing."""

    class Brightness:
        name, shared = "brightness", True

        def read_text(self, captions):
            raise AssertionError("no caption is compared")

        def read_picture(self, frames, fps):
            return torch.tensor([[float(frames.mean()), 0.8]])

        def read_sound(self, sound, rate_hz):
            return torch.tensor([[0.6, 0.8]])

    sound, bright = Sound(torch.full((1, 16000), 0.1), 16000), torch.full((4, 3, 8, 16), 0.6)
    check_seen(bright, 8.0, sound, Brightness(), 0.99)
    with pytest.raises(Rejected, match="the cosine of picture and sound is 0.760, below 0.99"):
        check_seen(bright / 0.6 * 0.2, 8.0, sound, Brightness(), 0.99)
    with pytest.raises(Rejected, match="match: a picture is black"):
        check_seen(bright * 0, 8.0, sound, Brightness(), 0.0)
    with pytest.raises(Rejected, match="match: a sound is silent"):
        check_seen(bright, 8.0, Sound(torch.zeros(1, 16000), 16000), Brightness(), 0.0)
    Brightness.shared = False
    with pytest.raises(InputError, match="two spaces"):
        check_seen(bright, 8.0, sound, Brightness(), 0.0)


def test_a_folder_of_clap_compares_captions_and_others_do_not(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clap"}')
    assert reads_captions(str(tmp_path))
    assert not reads_captions("built-in") and not reads_captions(f"{tmp_path}+{tmp_path}")
    with pytest.raises(InputError, match="there is no encoder"):
        check_rules(("match",), "", "nothing")


def write_clap(folder: Path) -> str:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

    bundle = Path(model_folder("con360-tiny"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(bundle / "tokenizer_a" / "tokenizer.json"), pad_token="<pad>", model_max_length=16
    )
    text = dict(vocab_size=len(tokenizer) + 8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                intermediate_size=16, max_position_embeddings=64, pad_token_id=0)  # fmt: skip
    audio = dict(patch_embeds_hidden_size=16, depths=[1, 1], num_attention_heads=[2, 2], num_hidden_layers=2,
                 hidden_size=32, num_mel_bins=64, spec_size=256, window_size=8, projection_dim=16)  # fmt: skip
    torch.manual_seed(0)
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ClapFeatureExtractor(feature_size=64, truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return str(folder)


def test_a_captioner_fills_in_for_a_missing_caption(tmp_path):
    """Tiny random models caption the faces; a clip that has a caption keeps it."""
    moving_clip(tmp_path / "c.mp4", 0.6)
    model = str(write_blip(tmp_path / "blip"))
    settings = quick(caption_model=model, caption_times=1)
    clip = SourceClip("c", str(tmp_path / "c.mp4"), "c", "train")
    work = prepare_views(Segment(clip, 0.0, "train"), settings)
    assert work.outcome is None and work.caption
    named = prepare_views(Segment(replace(clip, caption="a disc"), 0.0, "train"), settings)
    assert named.caption == "a disc"
    with pytest.raises(InputError, match="captioner folder"):
        prepare(([clip], []), tmp_path / "out", quick(caption_model=str(tmp_path / "none")), say=quiet)


# The command ----------------------------------------------------------------------------------------------------------


def test_command_prepares_scenes_and_prints_the_account(tmp_path, capsys):
    assert main(["--scenes", "1", "--split", "test", "--seconds", "0.5", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 segments planned: 1 done" in printed and "| encode |" in printed
    assert [o.status for p in shard_paths(tmp_path, "test") for o in read_outcomes(p)] == ["done"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "nothing to prepare"),
        (["/no/such/folder", "--out", "x"], "neither a folder nor a manifest"),
        (["--scenes", "1"], "--out is missing"),
        (["--scenes", "0", "--out", "x"], "1 or more"),
        (["{}", "--out", "x"], "no clip"),
        (["{}", "--saliency", "truth", "--out", "x"], "only for procedural scenes"),
        (["--scenes", "1", "--fov", "wide", "--out", "x"], "degrees, or 'box'"),
        (["--scenes", "1", "--clean", "match", "--out", "x"], "CLAP"),
    ],
)
def test_command_refuses_in_a_sentence(options, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(tmp_path) if option == "{}" else option for option in options]) == 2
    assert sentence in capsys.readouterr().err


def test_price_of_a_data_set_follows_from_the_stage_times(prepared):
    _, account = prepared
    costs = stage_costs(account.outcomes.values())
    assert [c.stage for c in costs] == ["read", "caption", "clean", "saliency", "views", "encode"]
    assert all(c.count == 5 and c.core_seconds >= 0 for c in costs) and "| saliency |" in stages_text(costs)
    fixed = [replace(c, core_seconds=1.2 if c.stage == "encode" else 0.6) for c in costs]
    text = price_text(fixed, 1e6, 100_000, nodes=8, cores=32)
    assert "300,000 segments: 350 core-hours at 4.20 core seconds" in text and "300 GB" in text
    assert "8 nodes of 32 cores: 1.4 h" in text and "250 core-hours come before" in text and "29 %" in text
