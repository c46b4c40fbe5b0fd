"""Nodes that several shipped workflows have, wired as usual: 1 is the clip, 2 its saliency, 3 the viewpoint, 4 the
caption, 5 the model, 6 the control.
"""

from __future__ import annotations

from typing import Any

from tools.blueprints import SAMPLER_HEIGHT
from tools.workflow_form import Node, To


def load(**inputs: Any) -> Node:
    """Load a 360° clip, the sample at first."""
    return Node(1, "Load360Video", 700, height=256, **inputs)


def saliency(number: int = 2, **inputs: Any) -> Node:
    """Estimate where people look, by the way that the control knows."""
    return Node(number, "SalViT360Saliency", 200, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps"),
                control=To(6, "control"), **inputs)  # fmt: skip


def viewpoint(number: int = 3, title: str | None = None, **inputs: Any) -> Node:
    """Choose a viewpoint from the saliency."""
    return Node(number, "CentroidToBASD", 880, title, saliency=To(2, "saliency"), frames=To(1, "frames"),
                audio=To(1, "audio"), fps=To(1, "fps"), **inputs)  # fmt: skip


def caption(**inputs: Any) -> Node:
    """Caption the clip."""
    return Node(4, "CubemapCaption", 560, frames=To(1, "frames"), audio=To(1, "audio"),
                scene_caption=To(1, "caption"), fps=To(1, "fps"), **inputs)  # fmt: skip


def loaders(model: str = "con360-tiny (built in)", control: str = "built in") -> list[Node]:
    """Load a joint model and its control."""
    return [Node(5, "Con360ModelLoader", 250, model=model), Node(6, "Con360ControlLoader", 110, control=control)]


def sampler(number: int, basd: int, title: str | None = None, **inputs: Any) -> Node:
    """Generate picture and sound of the viewpoint that node `basd` chose."""
    linked = {"caption": To(4, "short"), **inputs}
    return Node(number, "JointAVSampler", SAMPLER_HEIGHT, title, model=To(5, "model"), saliency=To(2, "for_control"),
                basd=To(basd, "basd"), control=To(6, "control"), frames=To(1, "frames"), **linked)  # fmt: skip


def save(number: int, source: int, name: str, title: str) -> Node:
    """Save a node's video."""
    return Node(number, "SaveVideo", 420, title, video=To(source, "video"), filename_prefix=f"con360/{name}")


def compare(number: int, height: int = 640, **clips: To) -> Node:
    """Show clips side by side over the panorama."""
    return Node(number, "Con360Compare", height, frames=To(1, "frames"), saliency=To(2, "saliency"), **clips)
