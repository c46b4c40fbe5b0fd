"""Check that the same seed gives the same clip: again, from nodes, beside others, after an interrupt."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .bad_files import command, tiny_model_folder
from .figures import Effort, Figure, timed
from .kills import digest

# Relative to a tensor's peak: a batch of two rounds differently.
BATCH_TOLERANCE = 1e-4


def figures(effort: Effort) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield _command_line_and_nodes(Path(folder))
    yield _interrupted()
    yield _batches()


def conditions() -> Any:
    from con360.pipeline import conditions_of
    from con360.saliency.predict import predict_saliency
    from con360.scenes import demo_scene
    from con360.timing import ClipSpec
    from con360.viewpoint.choose import viewpoints

    clip = demo_scene().panorama(48, ClipSpec(seconds=0.5))
    saliency = predict_saliency(clip.frames)
    return conditions_of(clip, saliency, viewpoints(saliency, clip.fps)[0])


def make(model: Any, given: Any, seed: int, on_step: Any = None) -> tuple[Any, Any]:
    from con360.pipeline import default_settings, generate

    settings = default_settings(model, steps=2, seed=seed, cfg_video=2.0, cfg_audio=2.0)
    made = generate(model, None, given, settings, seconds=0.5, on_step=on_step)
    return made.frames, made.sound.waveform


def _command_line_and_nodes(folder: Path) -> Figure:
    """Make a clip twice with `con360 generate` and once with nodes; compare what reaches the encoder."""
    import torch
    from synthetic_clips import noise, write_video

    import con360.media.writer as writer

    write_video(folder / "clip.mp4", [i / 8 for i in range(8)], sound=noise(2, 48000), size=(256, 128))
    model, made = tiny_model_folder(folder), []
    with timed("same seed, same clip, byte for byte: again, and from nodes as from the command line") as figure:
        for name in ("first.mp4", "second.mp4"):
            with patch.object(writer, "write_clip", _noting(writer.write_clip, made)):
                status, _, errors = command(
                    "generate", folder / "clip.mp4", "-o", folder / name, "--model", model, "--duration", "0.5",
                    "--steps", "2", "--seed", "7", "--cfg-video", "2", "--cfg-audio", "2", "--caption", "a red disc",
                )  # fmt: skip
            figure.expect(status == 0, errors)
        figure.expect(digest(folder / "first.mp4") == digest(folder / "second.mp4"), "the same command, another file")
        frames, waveform = _by_nodes(folder)
        same = torch.equal(frames, made[0][0]), torch.equal(waveform, made[0][1])
        figure.expect(same == (True, True), f"nodes and command line: picture, sound equal {same}")
        figure.tried = "2 commands, 1 workflow"
    return figure


def _noting(real: Any, made: list[Any]) -> Any:
    def write(path: Any, frames: Any, fps: float, sound: Any) -> None:
        made.append((frames, sound.waveform))
        return real(path, frames, fps, sound)

    return write


def _by_nodes(folder: Path) -> tuple[Any, Any]:
    import shutil

    from tiny_workflow import by_subject, tiny_workflow, write_model_files

    from tools.host import Host

    host = Host(folder / "comfy")
    write_model_files(host.base / "models")
    shutil.copy(folder / "clip.mp4", host.base / "input")
    prompt = by_subject(tiny_workflow(steps=2, seed=7))
    prompt["1"]["inputs"] |= {"video": "clip.mp4", "height": 512}
    prompt["4"]["inputs"] |= {"text": "a red disc"}
    run = host.run(prompt)
    assert run.status == "done", run.error or run.complaints
    images, audio = run.outputs["7"][:2]
    return images.movedim(-1, 1), audio["waveform"][0]


class Stopped(Exception):
    """Raised by the interrupt."""


def _interrupted() -> Figure:
    import torch
    from tiny_model import make_tiny_joint_model

    def stop(step: int, total: int, x0: Any) -> None:
        raise Stopped

    with timed("same seed, same clip after an interrupted run") as figure:
        model, given = make_tiny_joint_model(0), conditions()
        first = make(model, given, 5)
        try:
            make(model, given, 6, on_step=stop)
            figure.failures.append("the interrupt was not passed on")
        except Stopped:
            pass  # expected
        again = make(model, given, 5)
        figure.expect(all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), "another clip")
        figure.tried = "1 interrupt between two equal runs"
    return figure


def _batches() -> Figure:
    import torch
    from tiny_model import make_tiny_joint_model

    from con360.models.text import encode_captions
    from con360.protocols import Inputs
    from con360.records import AV
    from con360.sampling.joint import Given
    from con360.sampling.settings import SamplerSettings

    with timed("two clips as one batch are the two clips alone, within rounding") as figure:
        model = make_tiny_joint_model(0)
        spec, settings = model.clip_spec(0.5), SamplerSettings(steps=3, cfg_video=2.0, cfg_audio=2.0)
        g = torch.Generator().manual_seed(0)
        noise = model.latent_shapes(spec).map(lambda shape: torch.randn(2, *shape, generator=g))
        with torch.no_grad():
            text = encode_captions(model, ["", "a red disc", "a blue ring"])
        pair = AV(text.text_v, text.text_a)

        def sample(rows: slice) -> AV:
            inputs = Inputs(pair.map(lambda t: t[1:][rows]), pair.map(lambda t: t[:1]))
            return model.sample(inputs, spec, settings, given=Given(noise=noise.map(lambda x: x[rows])))

        together, worst = sample(slice(0, 2)), 0.0
        for i in (0, 1):
            for both, alone in zip(together, sample(slice(i, i + 1)), strict=True):
                worst = max(worst, float((both[i] - alone[0]).abs().max() / alone.abs().max()))
        figure.expect(worst < BATCH_TOLERANCE, f"differs by {worst:.2g} of its peak")
        figure.tried, figure.outcome = "batches of 1 and 2", f"{worst:.1g} of the peak at most"
    return figure
