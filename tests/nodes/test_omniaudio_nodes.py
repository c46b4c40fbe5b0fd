"""Ambisonics that a model makes for a 360° video, by the nodes, run in the stand-in."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import runs_omniaudio
from safetensors.torch import save_file
from tiny_ambisonics import KNOWS, RATE_HZ, TRAINED_S, write_tiny_ambisonics

from con360.media.writer import clip_stream, to_uint8
from con360.models.flow_transformer import FlowTransformer
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from tools.host import Host, Run
from tools.host.modules import InterruptProcessingException, installed
from tools.host.v3 import VideoComponents, VideoFromComponents, VideoFromFile

pytestmark = pytest.mark.standin

FOLDER = "con360_omniaudio"
SECONDS, FPS = 0.5, 8.0
SETTINGS = {"fps": FPS, "seed": 1, "steps": 2, "cfg": 2.0, "view": "front"}


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """IMAGE of half a second of the sample."""
    return demo_scene().panorama(64, ClipSpec(seconds=SECONDS)).frames.movedim(1, -1).contiguous()


@pytest.fixture(scope="module")
def tiny(host: Host) -> str:
    """The name of a small model of one's own in the model folder."""
    return write_tiny_ambisonics(host.base / "models" / FOLDER / "tiny").name


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep what one test makes from the others."""
    monkeypatch.setenv("CON360_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def node(host: Host, pack: Any, tiny: str, cache: Path) -> Any:
    """`node(video, seed=2)`: the waveform and the notices of the node with the tiny model, which keeps nothing."""
    nodes = pack("nodes.omniaudio")

    def run(video: Any, model: str = tiny, **settings: Any) -> tuple[torch.Tensor, str]:
        with installed(host._modules), torch.inference_mode():
            (loaded,) = nodes.Con360OmniAudioLoader.execute(model, "auto", "auto").args
            made = nodes.Con360VideoToAmbisonics.execute(video, **{**SETTINGS, **settings}, model=loaded)
        shutil.rmtree(cache)
        audio, notices = made.args
        assert (audio["con360_layout"], audio["waveform"].shape[:2]) == ("ambix", (1, 4))
        assert audio["waveform"].isfinite().all()
        return audio["waveform"][0], notices

    return run


def prompt(model: str, **settings: Any) -> dict[str, Any]:
    """Half a second of the sample, its sound made anew and listened to."""
    load = {"video": "[built-in sample]", "start": 0.0, "duration": SECONDS, "fps": FPS, "height": 64, "eye": "auto"}
    loader = {"model": model, "pictures": "auto", "precision": "auto"}
    make = {"video": ["1", 0], **SETTINGS, **settings, "model": ["2", 0]}
    listen = {"audio": ["3", 0], "fps": FPS, "height": 64, "frames": ["1", 0]}
    kinds = {"1": ("Load360Video", load), "2": ("Con360OmniAudioLoader", loader),
             "3": ("Con360VideoToAmbisonics", make), "4": ("Con360AmbisonicsPreview", listen)}  # fmt: skip
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in kinds.items()}


def done(result: Run) -> Run:
    assert result.status == "done", (result.failed_node, result.error, result.complaints)
    return result


def written(path: Path, frames: torch.Tensor) -> VideoFromFile:
    """A VIDEO of a file."""
    height, width = frames.shape[1:3]
    with clip_stream(path, (width, height), Fraction(1, 8), FPS, None, panorama="mono") as clip:
        for i, frame in enumerate(frames):
            clip.add_frame(to_uint8(frame.movedim(-1, 0)), i)
    return VideoFromFile(str(path))


# ---- the sound


def test_a_clip_gets_four_channels_as_long_as_its_picture(run: Any, tiny: str) -> None:
    told: list[tuple[str, float, float]] = []
    result = done(run(prompt(tiny), lambda *step: told.append(step)))
    audio, notices = result.outputs["3"]
    assert (audio["waveform"].shape, audio["sample_rate"]) == ((1, 4, round(SECONDS * RATE_HZ)), RATE_HZ)
    assert audio["con360_layout"] == "ambix" and audio["waveform"].abs().amax(-1).min() > 0
    assert notices.split("\n")[0] == f"tiny: {KNOWS}" and f"shorter than the {TRAINED_S:g} s" in notices
    # The pictures, then each step.
    assert [(d, t) for node, d, t in told if node == "3"] == [(4, 4), (1, 2), (2, 2)]
    (heard,) = result.ui["4"]["con360"]
    assert heard["panorama"]["ambisonic"]


def test_seed_settings_and_pictures_make_the_sound(node: Any, frames: Any) -> None:
    first, _ = node(frames)
    assert torch.equal(node(frames)[0], first)
    others = [node(frames, **change)[0] for change in ({"seed": 2}, {"steps": 3}, {"cfg": 1.0})]
    others += [node(1 - frames)[0]]
    assert [float((other - first).abs().max()) > 1e-5 for other in others] == [True] * 4
    louder, _ = node(frames, gain=-6.0206)
    assert torch.allclose(louder, first / 2, rtol=1e-4, atol=1e-6)


def test_without_a_loader_the_built_in_model_makes_the_sound(run: Any) -> None:
    chosen = prompt("con360-small (built in)")
    alone = json.loads(json.dumps(chosen))
    del alone["2"], alone["3"]["inputs"]["model"]
    sounds = [done(run(one)).outputs["3"][0]["waveform"] for one in (chosen, alone)]
    assert torch.equal(*sounds)


def test_a_video_is_read_from_its_file_or_as_it_is_held(node: Any, frames: Any, tmp_path: Path) -> None:
    held = VideoFromComponents(VideoComponents(images=frames, frame_rate=Fraction(8)))
    direct, _ = node(frames)
    assert torch.equal(node(held, fps=30.0)[0], direct)
    clip = written(tmp_path / "clip.mp4", frames)
    streamed, notices = node(clip, fps=30.0)
    decoded, _ = node(clip.get_components().images)
    assert "taken for a whole panorama" not in notices
    assert streamed.shape == direct.shape and torch.allclose(streamed, decoded, atol=1e-3)


class Trimmed(VideoFromFile):
    """A VIDEO as newer cores trim it."""

    def get_active_trim_window(self) -> tuple[float, float]:
        return 0.5, 0.5


def test_a_trimmed_video_gets_the_sound_of_its_part(node: Any, frames: Any, tmp_path: Path) -> None:
    written(tmp_path / "clip.mp4", torch.cat((frames.flip(2), frames)))
    trimmed, _ = node(Trimmed(str(tmp_path / "clip.mp4")))
    whole = VideoFromFile(str(tmp_path / "clip.mp4")).get_components().images
    assert trimmed.shape[1] == round(SECONDS * RATE_HZ)
    assert torch.allclose(trimmed, node(whole[4:])[0], atol=1e-3)


def test_what_is_no_whole_panorama_is_said_and_black_is_sound(node: Any) -> None:
    black, notices = node(torch.zeros(4, 36, 64, 3))
    assert black.abs().max() > 0
    assert "pictures of 64x36 are taken for a whole panorama" in notices


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (torch.rand(1, 32, 64, 3), "at 8 pictures a second the clip has 1"),
        (torch.full((4, 32, 64, 3), torch.nan), "not finite"),
        (torch.rand(4, 32, 64, 2), "wanted frames"),
    ],
)
def test_pictures_that_cannot_be_used_are_a_sentence(node: Any, video: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        node(video)


def test_the_view_may_look_at_the_most_salient(node: Any, frames: Any) -> None:
    # The sample's most salient performer stands beside the front.
    front, salient = (node(frames, view=view)[0] for view in ("front", "salient"))
    assert float((front - salient).abs().max()) > 1e-6


# ---- cancel


def test_a_cancel_acts_between_the_layers_of_a_step(host: Host, run: Any, tiny: str) -> None:
    """One step of one layer: a cancel that comes while it computes stops it before the sound is decoded."""
    told: list[tuple[float, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        _pressed_inside(host, patch)
        result = run(prompt(tiny, steps=1, seed=9), lambda key, *step: told.append(step) if key == "3" else None)
    assert (result.status, result.failed_node) == ("interrupted", "3")
    assert (1, 1) not in told
    assert done(run(prompt(tiny, steps=1, seed=9))).outputs["3"][0]["waveform"].abs().max() > 0


def _pressed_inside(host: Host, patch: pytest.MonkeyPatch) -> None:
    """Press stop when the network embeds its times, before its layers."""
    import sys

    own = sys.modules[f"{host.module.__name__}.con360.models.flow_transformer"].FlowTransformer
    assert own is not FlowTransformer
    embed = own.embed_times

    def pressed(self: Any, *args: Any) -> Any:
        embedded = embed(self, *args)
        host.interrupt()
        return embedded

    patch.setattr(own, "embed_times", pressed)


def test_after_a_run_the_network_is_as_it_was(host: Host, pack: Any) -> None:
    runtime, network = pack("nodes.host.runtime"), torch.nn.Sequential(torch.nn.Linear(2, 2))
    with installed(host._modules):
        with runtime.cancels_inside(network):
            network(torch.zeros(1, 2))
            host.interrupt()
            with pytest.raises(InterruptProcessingException):
                network(torch.zeros(1, 2))
        host.interrupt()
        network(torch.zeros(1, 2))
    host._signals.interrupted = False


# ---- the published model


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host whose model folder has OmniAudio's layout, tiny, and no picture encoder yet."""
    host = Host(tmp_path_factory.mktemp("published"))
    folder = host.base / "models" / FOLDER
    folder.mkdir()
    state = {name: t.contiguous() for name, t in runs_omniaudio.published_state().items()}
    torch.save({"state_dict": {f"diffusion.{name}": t for name, t in state.items()}}, folder / "model.ckpt")
    facts = {"model_type": "diffusion_cond", "sample_rate": 44100, "sample_size": 441000}
    (folder / "config.json").write_text(json.dumps(facts))
    return host


def write_encoder(folder: Path, features: int) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                              patch_size=112, projection_dim=features)  # fmt: skip
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


def test_the_published_model_and_its_picture_encoder(published: Host) -> None:
    refused = published.run(prompt("model.ckpt"))
    assert refused.status == "refused" and set(refused.complaints) == {"2"}
    assert all("there is none. MetaCLIP ViT-H/14 belongs in" in told for told in refused.complaints["2"])
    write_encoder(published.base / "models" / "clip_vision" / "metaclip", runs_omniaudio.FEATURES)
    choices = published.object_info()["Con360OmniAudioLoader"]["input"]["required"]
    assert choices["model"][1]["options"] == ["con360-small (built in)", "model.ckpt"]
    assert choices["pictures"][1]["options"] == ["auto", "metaclip"]
    result = done(published.run(prompt("model.ckpt")))
    audio, notices = result.outputs["3"]
    assert (audio["sample_rate"], audio["waveform"].shape) == (44100, (1, 4, 22050))
    assert "Sphere360" in notices
    own = published.run({**prompt("con360-small (built in)"), "2": {"class_type": "Con360OmniAudioLoader", "inputs": {
        "model": "con360-small (built in)", "pictures": "metaclip", "precision": "auto"}}})  # fmt: skip
    assert "has a picture encoder of its own" in str(own.complaints["2"])


def test_another_encoder_or_a_changed_file_is_loaded_anew(published: Host) -> None:
    write_encoder(published.base / "models" / FOLDER / "a-small-clip", 8)
    wide = prompt("model.ckpt")
    wide["2"]["inputs"]["pictures"] = "a-small-clip"
    result = published.run(wide)
    assert result.status == "error" and "gives 8 features" in str(result.error)
    tiny = write_tiny_ambisonics(published.base / "models" / FOLDER / "own")
    assert "2" in done(published.run(prompt("own"))).executed
    assert "2" in done(published.run(prompt("own"))).cached
    state = {"project.weight": torch.zeros(1)}
    save_file(state, tiny / "pictures.safetensors")
    again = published.run(prompt("own"))
    assert again.status == "error" and again.failed_node == "2", (again.status, again.error)
