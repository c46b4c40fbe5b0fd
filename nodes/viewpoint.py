"""Saliency to a viewpoint and its BASD maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import host, sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import Viewpoint

BY_CENTROID, BY_HAND = "centroid", "yaw and pitch"
MODES = ["still", "track"]
NORMALIZATIONS = ["minmax", "diagonal"]


class CentroidToBASD(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CentroidToBASD",
            display_name="Centroid→BASD",
            category=host.CATEGORY,
            description="Chooses a viewpoint, a salient region's centroid or angles by hand, and draws its signed "
            "distance map (BASD) over the panorama.",
            inputs=[
                io.Mask.Input("saliency", tooltip="Saliency over the panorama, one map per frame."),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the saliency maps.",
                ),
                io.Combo.Input(
                    "choose_by", options=[BY_CENTROID, BY_HAND],
                    tooltip="'centroid' looks at a salient region, 'yaw and pitch' where you say.",
                ),
                io.Int.Input("rank", default=1, min=1, max=8, tooltip="Which region: 1 is the most salient."),
                io.Combo.Input(
                    "mode", options=MODES,
                    tooltip="'still' keeps one view for the clip, 'track' follows the region. Used with 'centroid'.",
                ),
                io.Float.Input("yaw", default=0.0, min=-180.0, max=180.0, step=1.0,
                               tooltip="Degrees to the right of the panorama's centre. Used with 'yaw and pitch'."),
                io.Float.Input("pitch", default=0.0, min=-90.0, max=90.0, step=1.0,
                               tooltip="Degrees upwards. Used with 'yaw and pitch'."),
                io.Float.Input("fov", default=90.0, min=30.0, max=150.0, step=1.0,
                               tooltip="Field of view in degrees, across and down."),
                io.Combo.Input(
                    "normalization", options=NORMALIZATIONS,
                    tooltip="'minmax' is the Con360-AV paper's, 'diagonal' the BASD paper's.",
                ),
            ],
            outputs=[
                sockets.Con360Basd.Output(display_name="basd"),
                io.Mask.Output(display_name="preview", tooltip="The BASD maps: bright inside the view."),
                io.Float.Output(display_name="yaw", tooltip="Of the first frame, in degrees."),
                io.Float.Output(display_name="pitch", tooltip="Of the first frame, in degrees."),
                io.Float.Output(display_name="fov"),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, saliency: Tensor, fps: float, choose_by: str, rank: int, mode: str, yaw: float, pitch: float, fov: float,
        normalization: str,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.basd import basd_maps
        from ..con360.viewpoint import manual_viewpoint

        host.check_choice(choose_by, [BY_CENTROID, BY_HAND], "choose_by")
        host.check_choice(mode, MODES, "the mode")
        host.check_choice(normalization, NORMALIZATIONS, "the normalization")
        report = host.progress()
        report(0, 2, "viewpoint")
        if choose_by == BY_HAND:
            viewpoint = manual_viewpoint(yaw, pitch, fov, saliency.shape[0])
        else:
            viewpoint = _ranked(saliency, fps, rank, mode, fov)
        report(1, 2, "BASD")
        maps = basd_maps(viewpoint.track, saliency.shape[1], normalization)
        report(2, 2, "BASD")
        record = sockets.BasdRecord(maps, float(fps))
        view = record.first_view
        return io.NodeOutput(record, sockets.mask_from_maps(maps.maps), view.yaw_deg, view.pitch_deg, view.fov_deg)


def _ranked(mask: Tensor, fps: float, rank: int, mode: str, fov: float) -> Viewpoint:
    from ..con360.viewpoint import viewpoint_notices, viewpoints

    found = viewpoints(sockets.saliency_from_mask(mask), fps, fov_deg=fov, mode=mode)
    for notice in viewpoint_notices(found):
        host.log.warning(notice)
    if rank > len(found):
        raise InputError(f"viewpoint {rank} was asked for, {len(found)} found; choose a rank up to {len(found)}.")
    return found[rank - 1]
