"""Previews of a generation: its conditions drawn onto the panorama, and two clips side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from . import previews, sockets
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import Sound


class Con360OverlayPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360OverlayPreview",
            display_name="Overlay Preview",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360OverlayPreview", "heatmap", "preview saliency"),
            is_output_node=True,
            description="Draws saliency as heat, the view's outline and its BASD onto the panorama, to look around in.",
            inputs=[
                io.Image.Input("frames", tooltip="The panorama."),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames.",
                ),
                io.Int.Input("height", default=512, min=64, max=2048, step=2,
                             tooltip="Largest height in pixels; smaller frames stay as they are."),
                io.Mask.Input("saliency", optional=True, tooltip="Drawn as heat: one map per frame, or one for all."),
                sockets.Con360Basd.Input("basd", optional=True, tooltip="Drawn as an outline and lines of distance."),
                io.Audio.Input("audio", optional=True, tooltip="Played with the preview."),
            ],
            outputs=[io.Image.Output(display_name="frames", tooltip="The panorama with everything drawn in.")],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, fps: float, height: int, saliency: Tensor | None = None,
        basd: sockets.BasdRecord | None = None, audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        maps = None if saliency is None else sockets.saliency_from_mask(saliency, len(frames))
        track = None if basd is None else basd.maps.track
        plain, drawn = previews.drawn_panorama(frames, height, maps, track, runtime.progress())
        sound = None if audio is None else sockets.sound_from_audio(audio)
        preview = previews.halves_preview(plain, drawn, fps, previews.ROUND_PX, sound)
        return io.NodeOutput(sockets.image_from_frames(drawn), ui={"con360": [{"panorama": preview, "overlay": True}]})


class Con360Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360Compare",
            display_name="Con360 Compare",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360Compare", "side by side", "difference"),
            is_output_node=True,
            description="Plays the generated clip beside the real view, with the conditions, all at the same time.",
            inputs=[
                io.Video.Input("generated", tooltip="From Joint AV Sampler; any video fits."),
                io.Video.Input("real", optional=True, tooltip="From Viewpoint Crop, or a second generation."),
                io.Image.Input("frames", optional=True, tooltip="The panorama, shown below the clips."),
                io.Mask.Input("saliency", optional=True, tooltip="Drawn onto the panorama as heat."),
                sockets.Con360Basd.Input("basd", optional=True, tooltip="Drawn onto the panorama."),
            ],
            outputs=[],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, generated: Any, real: Any = None, frames: Tensor | None = None, saliency: Tensor | None = None,
        basd: sockets.BasdRecord | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        report = runtime.progress()
        total = 1 + (real is not None) + (frames is not None)
        report(0, total, "generated clip")
        clip, seconds = _clip(generated)
        shown = {"generated": clip}
        if real is not None:
            report(len(shown), total, "real view")
            shown["real"] = _clip(real)[0]
        if frames is not None:
            report(len(shown), total, "panorama")
            maps = None if saliency is None else sockets.saliency_from_mask(saliency, len(frames))
            fps, track = (len(frames) / seconds, None) if basd is None else (basd.fps, basd.maps.track)
            shown["panorama"] = previews.panorama_preview(frames, fps, previews.FLAT_PX, maps, track)
        report(total, total, "done")
        return io.NodeOutput(ui={"con360": [shown]})


def _clip(video: Any) -> tuple[dict[str, Any], float]:
    """A VIDEO's preview file, and how many seconds it lasts."""
    parts = video.get_components()
    fps = float(parts.frame_rate)
    sound: Sound | None = None if parts.audio is None else sockets.sound_from_audio(parts.audio)
    return previews.clip_preview(sockets.frames_from_image(parts.images), fps, sound), len(parts.images) / fps
