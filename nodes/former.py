"""Nodes whose ids got the pack's prefix, under their former ids: workflows of before load and run.

Newer cores can put one node in the place of another, but leave out what no mapping names and fail over a mapped
optional input that a prompt lacks (ComfyUI pull request 13657). So the former ids stay, marked as deprecated, and
newer cores are told besides what replaces them.
"""

from __future__ import annotations

import comfy_api.v0_0_2 as api
from comfy_api.v0_0_2 import io

from .compare import Con360OverlayPreview
from .crop import Con360ViewpointCrop
from .host import runtime
from .viewpoint import Con360ViewpointByHand

RENAMED: list[type[io.ComfyNode]] = [Con360ViewpointCrop, Con360ViewpointByHand, Con360OverlayPreview]


def _former(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Make the same node under its id without the prefix."""

    class Former(node):  # type: ignore[valid-type, misc]
        @classmethod
        def define_schema(cls) -> io.Schema:
            schema = super().define_schema()
            schema.node_id, schema.is_deprecated = former_id(node), True
            schema.description = f"The former name of {schema.display_name} ({node.__name__}), kept for old workflows."
            return schema

    return Former


def former_id(node: type[io.ComfyNode]) -> str:
    return node.__name__.removeprefix("Con360")


FORMER = [_former(node) for node in RENAMED]


async def announce() -> None:
    """Tell the core what replaces the former ids, where it can be told (not 0.3.64)."""
    if not hasattr(io, "NodeReplace"):
        return
    for node in RENAMED:
        inputs = node.define_schema().inputs
        await api.ComfyAPI().node_replacement.register(
            io.NodeReplace(
                new_node_id=node.__name__, old_node_id=former_id(node),
                old_widget_ids=[item.id for item in inputs if runtime.is_widget(item)],
                input_mapping=[{"new_id": item.id, "old_id": item.id} for item in inputs],
                output_mapping=[{"new_idx": i, "old_idx": i} for i, _ in enumerate(node.define_schema().outputs)],
            )
        )  # fmt: skip
