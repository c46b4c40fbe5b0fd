"""Lay flat pictures onto a panorama, with a mask for models that paint the rest, or to put a view back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from . import sockets
from .host import runtime
from .viewpoint import PITCH, YAW

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import ViewTrack

# As the library's default, whose module imports torch.
FEATHER_DEG = 2.0
MOST_ROWS = 4096


class Con360Project(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360Project",
            display_name="Project onto 360°",
            category=runtime.CATEGORY,
            **runtime.search_words(
                "Con360Project", "perspective to equirectangular", "flat to 360", "outpaint", "outpainting", "inpaint",
                "composite", "insert", "back into 360",
            ),
            description="Lays flat pictures onto a panorama where a camera that looks there would have seen them, "
            "black or given, with feathered edges and a mask. Needs no weights.",
            inputs=[
                io.Image.Input("frames", tooltip="Flat pictures of any shape: a view that was generated, a photo."),
                io.Float.Input("yaw", **YAW, tooltip="Degrees to the right of the panorama's centre, where no "
                               "viewpoint is connected."),
                io.Float.Input("pitch", **PITCH, tooltip="Degrees upwards, where no viewpoint is connected."),
                io.Float.Input("roll", **YAW, tooltip="Degrees that the camera leans to its right, where no viewpoint "
                               "is connected."),
                io.Float.Input("fov", default=90.0, min=1.0, max=179.0, step=1.0,
                               tooltip="Field of view in degrees across the picture's longer side, where no viewpoint "
                               "is connected."),
                io.Float.Input("feather", default=FEATHER_DEG, min=0.0, max=45.0, step=0.5,
                               tooltip="Degrees over which the picture's edge fades, inside the picture."),
                io.Int.Input("height", default=0, min=0, max=MOST_ROWS, step=2,
                             tooltip="Rows of a black panorama, twice as many columns; 0 makes it as fine as the "
                             "picture. A connected panorama has its own."),
                io.Image.Input("panorama", optional=True,
                               tooltip="Equirectangular frames to lay the pictures on; without them it is black."),
                sockets.Con360Basd.Input("basd", optional=True,
                                         tooltip="A viewpoint, still or moving, in place of the angles."),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="Equirectangular frames."),
                io.Mask.Output(display_name="mask", tooltip="White where no picture lies: what is to be painted."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, yaw: float, pitch: float, roll: float, fov: float, feather: float, height: int,
        panorama: Tensor | None = None, basd: sockets.BasdRecord | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.reframing.project_frames import project_frames

        laid, mask = project_frames(
            sockets.frames_from_image(frames), _track(basd, yaw, pitch, roll, fov),
            None if panorama is None else sockets.panorama_from_image(panorama),
            height=height or None, feather_deg=feather, progress=runtime.progress(),
        )  # fmt: skip
        return io.NodeOutput(sockets.image_from_frames(laid), mask)


def _track(basd: sockets.BasdRecord | None, yaw: float, pitch: float, roll: float, fov: float) -> ViewTrack:
    from ..con360.records import View, ViewTrack

    return ViewTrack((View(yaw, pitch, fov, roll),)) if basd is None else basd.maps.track
