"""Saliency, caption, loaders and sampler in the stand-in, over a real but tiny and untrained joint model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import make_tiny_joint_model
from tiny_workflow import tiny_workflow as workflow
from tiny_workflow import write_model_files

from con360.weights.save import save_joint_model
from tools.host import Host
from tools.host.modules import installed

pytestmark = pytest.mark.standin


@pytest.fixture(scope="module")
def models(host: Host) -> Path:
    write_model_files(host.base / "models")
    return host.base / "models"


def result_of(done: Any) -> tuple[Any, ...]:
    assert done.status == "done", (done.failed_node, done.error, done.complaints)
    return done.outputs["7"][:4]


CROP = {"frames": ["1", 0], "basd": ["3", 0], "size": 32, "sound": "view", "audio": ["1", 1]}


def with_view_as_start(prompt: dict[str, Any]) -> dict[str, Any]:
    """The true view, cropped by node 11, on the sampler's start inputs."""
    prompt["11"] = {"class_type": "Con360ViewpointCrop", "inputs": CROP}
    prompt["7"]["inputs"] |= {"start_images": ["11", 0], "start_audio": ["11", 1]}
    return prompt


@pytest.mark.usefixtures("models")
class TestSampler:
    def test_the_whole_way_from_sample_to_file(self, host: Host, run: Any) -> None:
        import av

        done = run(workflow())
        frames, audio, video, _ = result_of(done)
        assert frames.shape == (4, 32, 32, 3)
        assert audio["waveform"].shape == (1, 1, 8000)
        assert video.get_duration() == 0.5
        saved = done.ui["8"]["images"][0]
        with av.open(str(host.base / saved["type"] / saved["subfolder"] / saved["filename"])) as container:
            assert sum(1 for _ in container.decode(video=0)) == 4
            assert container.streams.audio[0].rate == 16000

    def test_same_seed_same_clip_other_seed_another(self, run: Any) -> None:
        first, again = result_of(run(workflow())), result_of(run(workflow()))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1]["waveform"], again[1]["waveform"])
        other = result_of(run(workflow(seed=2**64 - 1)))
        assert not torch.equal(first[0], other[0])

    def test_each_control_acts_and_none_is_the_same_as_strength_zero(self, run: Any) -> None:
        whole = result_of(run(workflow()))[0]
        off = result_of(run(workflow(saliency_strength=0.0, basd_strength=0.0)))[0]
        assert torch.equal(off, result_of(run(workflow(control=False)))[0])
        for inputs in ({"saliency_strength": 0.0}, {"basd_strength": 0.0}, {"control_end": 0.5}):
            changed = result_of(run(workflow(**inputs)))[0]
            assert not torch.equal(changed, whole)
            assert not torch.equal(changed, off)

    def test_a_changed_seed_runs_the_sampler_and_what_follows_alone(self, host: Host) -> None:
        host.free()
        host.run(workflow())
        done = host.run(workflow(seed=8))
        assert done.executed == ["7", "8", "9", "10"]

    def test_cancel_stops_within_a_step(self, host: Host, run: Any) -> None:
        seen: list[tuple[str, float, float]] = []

        def stop(node: str, done: float, total: float) -> None:
            seen.append((node, done, total))
            if (node, done) == ("7", 2):
                host.interrupt()

        done = run(workflow(steps=6), stop)
        assert (done.status, done.failed_node) == ("interrupted", "7")
        assert seen[-1] == ("7", 2, 6)
        assert run(workflow()).status == "done"

    def test_steps_show_the_middle_frame_a_few_times(self, run: Any) -> None:
        done = run(workflow(steps=3))
        previews = done.previews["7"]
        assert [(kind, picture.size) for kind, picture, _ in previews] == [("JPEG", (32, 32))] * 3
        assert len(run(workflow(steps=20, cfg_video=1.0, cfg_audio=1.0)).previews["7"]) == 8
        # The last estimate is the clip itself.
        shown = torch.tensor(list(previews[-1][1].getdata())).view(32, 32, 3) / 255
        assert (shown - result_of(done)[0][2]).abs().max() < 0.01

    @pytest.mark.parametrize(("hold", "kept"), [("picture", 0), ("sound", 1)])
    def test_a_held_modality_comes_out_unchanged(self, run: Any, hold: str, kept: int) -> None:
        free = result_of(run(workflow()))
        prompt = with_view_as_start(workflow(hold=hold))
        done = run(prompt)
        held, (view, sound) = result_of(done), (done.outputs["11"][0], done.outputs["11"][1])
        pairs = ((held[0], view), (held[1]["waveform"], sound["waveform"]))
        assert [torch.allclose(a, b, atol=1e-6) for a, b in pairs] == [kept == 0, kept == 1]
        assert not torch.equal(held[1 - kept] if kept else held[1]["waveform"],
                               free[1 - kept] if kept else free[1]["waveform"])  # fmt: skip

    def test_a_held_picture_keeps_its_own_size_and_rate(self, run: Any, pack: Any) -> None:
        prompt = with_view_as_start(workflow(hold="picture"))
        prompt["11"]["inputs"] = {**CROP, "size": 96}
        done = run(prompt)
        frames, audio, video, _ = result_of(done)
        assert frames.shape == (4, 96, 96, 3) and torch.equal(frames, done.outputs["11"][0])
        assert video.get_dimensions() == (96, 96) and float(video.get_components().frame_rate) == 8.0
        # Frames at the viewpoint's own rate, another than the model's, keep it in the video.
        sampler, sockets, records = (pack(name) for name in ("nodes.sampler", "nodes.sockets", "con360.records"))
        track = records.ViewTrack((records.View(0.0),) * 15)
        basd = sockets.BasdRecord(records.BasdMaps(torch.zeros(15, 4, 8), track), 30.0)
        clip = records.ViewpointClip(torch.zeros(4, 3, 32, 32), 8.0, records.Sound(torch.zeros(1, 8000), 16000))
        images = torch.rand(15, 31, 48, 3)
        kept, fps = sampler._held(images, basd, clip)
        assert kept is images and fps == 30.0
        still, fps = sampler._held(images[:1], basd, clip)
        assert still.shape == (4, 31, 48, 3) and fps == 8.0

    def test_a_start_with_little_noise_stays_near(self, run: Any) -> None:
        view = run(with_view_as_start(workflow())).outputs["11"][0]
        near, far = (
            (result_of(run(with_view_as_start(workflow(steps=4, denoise=strength))))[0] - view).abs().mean()
            for strength in (0.25, 1.0)
        )
        assert near < far
        assert torch.equal(result_of(run(with_view_as_start(workflow())))[0], result_of(run(workflow()))[0])

    def test_sampler_and_memory_are_chosen_here(self, run: Any) -> None:
        usual = result_of(run(workflow(steps=3)))[0]
        assert torch.allclose(result_of(run(workflow(steps=3, memory="low")))[0], usual, atol=1e-4)
        assert not torch.allclose(result_of(run(workflow(steps=3, sampler="dpm++")))[0], usual, atol=1e-4)
        assert "no picture to hold" in str(run(workflow(hold="picture")).complaints)

    def test_starts_of_another_frame_rate_and_stills_fit(self, pack: Any) -> None:
        sampler, sockets, records = (pack(name) for name in ("nodes.sampler", "nodes.sockets", "con360.records"))
        record = sockets.BasdRecord(
            records.BasdMaps(torch.zeros(20, 4, 8), records.ViewTrack((records.View(0.0),) * 20)), 20.0
        )
        images = (torch.arange(20.0) / 20).view(20, 1, 1, 1).expand(20, 2, 2, 3)
        frames = sampler._start(images, None, record, 8, 8.0).frames
        assert (frames[:, 0, 0, 0] * 20).round().tolist() == [0, 2, 5, 8, 10, 12, 15, 18]
        assert sampler._start(images[3:4], None, record, 8, 8.0).frames.shape == (8, 3, 2, 2)
        assert sampler._start(None, None, record, 8, 8.0).frames is None

    @pytest.mark.parametrize("node", ["1", "2", "3", "5"])
    def test_cancel_stops_each_long_node(self, host: Host, run: Any, node: str) -> None:
        done = run(workflow(), lambda key, *_: host.interrupt() if key == node else None)
        assert (done.status, done.failed_node) == ("interrupted", node)

    def test_the_built_in_model_says_what_it_draws_except_on_the_sample(self, run: Any) -> None:
        prompt = workflow(control=False, steps=1)
        prompt["5"]["inputs"]["model"] = "con360-tiny (built in)"
        assert result_of(run(prompt))[3] == ""
        prompt["7"]["inputs"]["caption"] = "a red disc hums in front"
        assert "draws coloured shapes of 64 px, whatever the footage shows" in result_of(run(prompt))[3]

    def test_words_that_the_model_does_not_know_are_named(self, run: Any) -> None:
        assert "elephant" in result_of(run(workflow(caption="an elephant")))[3]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda w: w["7"]["inputs"].update(cfg_video=float("nan")), "cfg_video"),
            (lambda w: w["7"]["inputs"].update(control_start=0.9, control_end=0.1), "swap them"),
            (lambda w: w["3"]["inputs"].update(fov=140.0), "140"),
            (lambda w: w["3"]["inputs"].update(fps=60.0), "0.5 to 4"),
        ],
        ids=["NaN guidance", "control ends before it starts", "field of view", "too short"],
    )
    def test_impossible_requests_are_refused_in_one_sentence(
        self, run: Any, pack: Any, change: Any, words: str
    ) -> None:
        prompt = workflow()
        change(prompt)
        done = run(prompt)
        assert (done.status, done.failed_node) == ("error", "7")
        assert isinstance(done.error, pack("con360.errors").InputError)
        assert words in str(done.error)

    def test_conditions_are_resampled_to_the_models_frame_rate(self, run: Any, pack: Any) -> None:
        module, sockets, records = (pack(name) for name in ("nodes.conditions", "nodes.sockets", "con360.records"))
        mask = torch.arange(20.0).view(20, 1, 1).expand(20, 4, 8) / 20
        views = tuple(records.View(float(i)) for i in range(20))
        record = sockets.BasdRecord(records.BasdMaps(mask, records.ViewTrack(views)), 20.0)
        conditions = module.conditions_from(mask, record, "a  red\ndisc", fps=8.0)
        # 1 s at 20 fps; frame i of 8 is at i / 8 s, nearest source frame round(2.5 i).
        assert [view.yaw_deg for view in conditions.track.views] == [0, 2, 5, 8, 10, 12, 15, 18]
        assert torch.equal(conditions.saliency.maps, conditions.basd.maps)
        assert conditions.caption.short == "a red disc"

    def test_a_control_of_another_base_says_so(self, host: Host, run: Any, models: Path) -> None:
        save_joint_model(make_tiny_joint_model(3), models / "con360" / "other")
        prompt = workflow()
        prompt["5"]["inputs"]["model"] = "other"
        assert "weights differ" in result_of(run(prompt))[3]


@pytest.mark.usefixtures("models")
class TestLoaders:
    def test_names_that_are_not_offered_are_refused_before_anything_runs(self, run: Any) -> None:
        for node, name in (("5", "model"), ("6", "control")):
            prompt = workflow()
            prompt[node]["inputs"][name] = "../random"
            assert "is not available; choose one of" in run(prompt).complaints[node][0]

    def test_a_changed_file_is_loaded_again(self, host: Host, models: Path) -> None:
        host.free()
        host.run(workflow())
        path = models / "con360" / "random" / "model_index.json"
        path.write_text(path.read_text() + "\n")
        assert host.run(workflow()).executed == ["5", "7", "8", "9", "10"]

    def test_a_damaged_model_names_its_file(self, run: Any, models: Path) -> None:
        save_joint_model(make_tiny_joint_model(), models / "con360" / "cut")
        weights = next((models / "con360" / "cut" / "unet_v").glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:100])
        prompt = workflow()
        prompt["5"]["inputs"]["model"] = "cut"
        assert "unet_v" in str(run(prompt).error)

    def test_precision_reaches_the_weights(self, run: Any) -> None:
        prompt = workflow()
        prompt["5"]["inputs"]["precision"] = "bfloat16"
        done = run(prompt)
        assert done.outputs["5"][0].model.dtype == torch.bfloat16
        assert result_of(done)[0].isfinite().all()

    def test_everything_that_computes_is_under_memory_management(self, run: Any) -> None:
        model = run(workflow()).outputs["5"][0]
        held = {id(part) for part in model.patcher.model.values()}
        parts = [value for value in vars(model.model).values() if isinstance(value, torch.nn.Module)]
        assert len(parts) == 6
        assert {id(part) for part in parts} == held


# ---- saliency and caption


def test_saliency_has_one_map_per_frame_with_maximum_one(run: Any) -> None:
    prompt = {key: node for key, node in workflow().items() if key in "12"}
    prompt["3"] = {"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}}
    prompt["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    mask, _ = run(prompt).outputs["2"]
    assert mask.shape[0] == 4
    assert mask.shape[2] == 2 * mask.shape[1]
    assert mask.amax(dim=(1, 2)).tolist() == pytest.approx([1.0] * 4)
    prompt["2"]["inputs"]["method"] = "guess"
    assert "the saliency method 'guess'" in run(prompt).complaints["2"][0]


@pytest.mark.parametrize(
    ("text", "with_scene", "with_sound", "short", "long"),
    [
        (" a blue  disc ", True, True, "a blue disc", "a blue disc"),
        ("", True, True, "a red disc hums", "a red disc hums"),
        (" ", False, False, "", "An uncaptioned 360° clip of 0.5 s with no sound"),
        ("", False, True, "", "with ambix sound"),
    ],
    ids=["typed", "scene", "plain", "plain with sound"],
)
def test_captions_are_typed_or_the_scenes_or_plain(
    host: Host, run: Any, text: str, with_scene: bool, with_sound: bool, short: str, long: str
) -> None:
    host.free()
    load = workflow()["1"]
    frames, audio, fps, scene, _ = run(
        {"1": load, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    ).outputs["1"]
    with installed(host._modules):
        result = host.classes["CubemapCaption"].execute(
            frames=frames, fps=fps, text=text, scene_caption=scene if with_scene else "",
            audio=audio if with_sound else None,
        )  # fmt: skip
    assert result.args[0].startswith(short)
    assert long in result.args[1]
    assert bool(short) == bool(result.args[0])


def test_a_term_differentiates_through_the_codec_inside_the_node(
    run: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes run in inference mode; steering needs gradients through the loaded weights."""
    pipeline, steer = pack("con360.pipeline"), pack("con360.sampling.steer")
    plain, lengths = pipeline.generate, []

    class Brighter(steer.Term):
        def __init__(self, model: Any) -> None:
            self.codec = model.codecs.video

        def on_estimate(self, step: Any) -> Any:
            towards = steer.gradient(lambda latents: self.codec.decode(latents[0]).mean(), step.x0.video)
            lengths.append(float(towards.norm()))
            return step.x0._replace(video=step.x0.video + towards / towards.norm())

    before = result_of(run(workflow(seed=5)))[0]
    monkeypatch.setattr(
        pipeline, "generate", lambda model, *given, **named: plain(model, *given, terms=[Brighter(model)], **named)
    )
    after = result_of(run(workflow(seed=5, negative="not the same prompt")))[0]
    assert lengths and all(length > 0 for length in lengths)
    assert after.mean() > before.mean()
