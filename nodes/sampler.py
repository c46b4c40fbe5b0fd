"""Model, control and conditions to a sounding viewpoint clip."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..con360.records import Conditions, ViewTrack
from . import host, sockets

if TYPE_CHECKING:
    from torch import Tensor

    from .loaders import ManagedControl, ManagedModel

MODEL_FPS = 8.0
MAX_SEED = 0xFFFFFFFFFFFFFFFF


class JointAVSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JointAVSampler",
            display_name="Joint AV Sampler",
            category=host.CATEGORY,
            description="Generates picture and sound of one viewpoint together, steered by caption, saliency and BASD.",
            inputs=[
                sockets.Con360Model.Input("model"),
                io.Mask.Input("saliency", tooltip="Saliency over the panorama, one map per frame."),
                sockets.Con360Basd.Input("basd", tooltip="The viewpoint, with its maps and frame rate."),
                io.String.Input("caption", default="", multiline=True, tooltip="What is seen and heard in the scene."),
                io.String.Input("negative", default="", multiline=True, tooltip="What to keep away from."),
                io.Int.Input("steps", default=12, min=1, max=200, tooltip="Denoising steps."),
                io.Int.Input(
                    "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True,
                    tooltip="The same seed and settings give the same clip.",
                ),
                io.Float.Input("cfg_video", default=5.0, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance of the picture; 1 is off."),
                io.Float.Input("cfg_audio", default=2.0, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance of the sound; 1 is off."),
                io.Float.Input("saliency_strength", default=1.0, min=0.0, max=4.0, step=0.05,
                               tooltip="How much saliency steers; 0 is off."),
                io.Float.Input("basd_strength", default=1.0, min=0.0, max=4.0, step=0.05,
                               tooltip="How much the viewpoint's BASD steers; 0 is off."),
                io.Float.Input("control_start", default=0.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Share of the steps after which control begins."),
                io.Float.Input("control_end", default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Share of the steps after which control ends."),
                sockets.Con360Control.Input("control", optional=True, tooltip="Without it, the caption alone steers."),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio"),
                io.Video.Output(display_name="video"),
                io.String.Output(display_name="notices", tooltip="Unknown words of the caption, and the like."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model: ManagedModel, saliency: Tensor, basd: sockets.BasdRecord, caption: str, negative: str, steps: int,
        seed: int, cfg_video: float, cfg_audio: float, saliency_strength: float, basd_strength: float,
        control_start: float, control_end: float, control: ManagedControl | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.pipeline import default_settings, generate

        settings = default_settings(
            model.model, steps=steps, seed=seed, cfg_video=cfg_video, cfg_audio=cfg_audio, negative_prompt=negative,
            control_start=control_start, control_end=control_end,
        )  # fmt: skip
        conditions = _conditions(saliency, basd, caption)
        host.bring_in(model.patcher, *([control.patcher] if control else []))
        clip = generate(
            model.model, control and control.control, conditions, settings,
            seconds=len(conditions.track) / MODEL_FPS, saliency_strength=saliency_strength,
            basd_strength=basd_strength, progress=host.progress(),
        )  # fmt: skip
        return io.NodeOutput(
            sockets.image_from_frames(clip.frames),
            sockets.audio_from_sound(clip.sound),
            sockets.video_from_clip(clip.frames, clip.fps, clip.sound),
            "\n".join(clip.notices),
        )


def _conditions(saliency: Tensor, basd: sockets.BasdRecord, caption: str) -> Conditions:
    """Saliency, viewpoint and caption at the model's frame rate."""
    from ..con360.caption import typed_caption

    maps, record = sockets.saliency_from_mask(saliency), basd.maps
    if basd.fps != MODEL_FPS and maps.maps.shape[0] == len(record.track):
        # The nearest frame in time, so that clips of any loader fit the model.
        count = max(1, round(len(record.track) / basd.fps * MODEL_FPS))
        index = [min(len(record.track) - 1, round(i / MODEL_FPS * basd.fps)) for i in range(count)]
        track = ViewTrack(tuple(record.track.views[i] for i in index))
        maps = replace(maps, maps=maps.maps[index])
        record = replace(record, maps=record.maps[index], track=track)
    return Conditions(maps, record, typed_caption(caption))
