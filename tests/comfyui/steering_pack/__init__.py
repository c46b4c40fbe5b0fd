"""A second custom-node pack: its one node steers the next clip of the joint sampler through the model's codec.

The real server loads it beside the pack. It reaches the sampler from outside, for the sampler has no input for terms.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACK = Path(__file__).resolve().parents[3]


def _pack(name: str) -> ModuleType:
    """A module of the pack, below whatever name the server gave the pack."""
    for package, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).resolve() == PACK / "__init__.py":
            return import_module(f"{package}.{name}")
    raise RuntimeError(f"the pack at {PACK} is not loaded")


def _brighter(model: Any) -> Any:
    steer = _pack("con360.sampling.steer")

    class Brighter(steer.Term):
        def on_estimate(self, step: Any) -> Any:
            decode = model.codecs.video.decode
            towards = steer.gradient(lambda latents: decode(latents[0]).mean(), step.x0.video)
            return step.x0._replace(video=step.x0.video + towards / towards.norm())

    return Brighter()


class SteerBrighter:
    """Make the next clip brighter: a term differentiates through the VAE at every step."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": ("CON360_MODEL",)}}

    RETURN_TYPES = ("CON360_MODEL",)
    FUNCTION = "steer"
    CATEGORY = "tests"

    def steer(self, model: Any) -> tuple[Any]:
        pipeline = _pack("con360.pipeline")
        plain = pipeline.generate

        def steered(joint: Any, *given: Any, **named: Any) -> Any:
            pipeline.generate = plain
            return plain(joint, *given, terms=[_brighter(joint)], **named)

        pipeline.generate = steered
        return (model,)


NODE_CLASS_MAPPINGS = {"SteerBrighter": SteerBrighter}
