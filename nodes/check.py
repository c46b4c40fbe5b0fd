"""Say if a clip is really 360°, and what has to be mended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from . import panorama_source, sockets
from .host import runtime
from .load_video import identity_of

if TYPE_CHECKING:
    from torch import Tensor


class Con360CheckClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360CheckClip",
            display_name="Check 360° Clip",
            category=runtime.CATEGORY,
            **runtime.search_words(
                "Con360CheckClip", "is it 360", "validate", "inspect", "cubemap", "stereo",
                "horizon", "metadata", *runtime.SOUND_WORDS,
            ),
            is_output_node=True,
            description="Says if a clip is really 360°: shape, eyes, projection, seam, poles, horizon, movement, "
            "metadata, and what the sound's channels are; one line each, with what to mend. Needs no weights.",
            inputs=[panorama_source.file_input(), *panorama_source.inputs(), *sockets.channel_inputs()],
            outputs=[
                io.String.Output(display_name="report", tooltip="One line for each finding; Preview Any shows it."),
                io.String.Output(display_name="json", tooltip="The same for programs, with the figures behind it."),
                io.Boolean.Output(display_name="must_mend", tooltip="True where any line says mend."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, ambisonics: str | None = None, head_locked: bool | None = None) -> bool | str:
        return sockets.channels_verdict(ambisonics, head_locked)

    @classmethod
    def fingerprint_inputs(cls, video: str | None, **kwargs: Any) -> str:
        return identity_of(video)

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, video: str, clip: Any = None, frames: Tensor | None = None, audio: dict[str, Any] | None = None,
        fps: float = 8.0, ambisonics: str = "auto", head_locked: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.checking.run import check, check_clip
        from ..con360.records import PanoramaClip

        ambisonics = sockets.checked_ambisonics(ambisonics, head_locked)
        report = runtime.progress()
        report(0, 1, "checking")
        source = panorama_source.source_of(video, 0.0, 0.0, ambisonics, head_locked, clip, frames, audio, fps).panorama
        if isinstance(source, PanoramaClip):
            found = check_clip(source)
        else:
            found = check(source, ambisonics=ambisonics, head_locked=head_locked)
        report(1, 1, "checking")
        lines = [{"state": f.state, "name": f.name, "line": f.line} for f in found.findings]
        text = "\n".join((found.name, *(f"{one['state']}  {one['name']}: {one['line']}" for one in lines)))
        told = json.dumps(found.as_json(), ensure_ascii=False)
        return io.NodeOutput(text, told, found.must_mend, ui={"con360": [{"findings": lines}]})
