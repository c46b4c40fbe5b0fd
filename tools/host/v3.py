"""The V3 names that the pack uses: input and output types, `Schema`, `ComfyNode`, `NodeOutput`, `ComfyExtension`.

`as_info()` of each gives what `/object_info` shows for it.
"""

from __future__ import annotations

import types
from enum import Enum
from typing import Any


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


class UploadType(str, Enum):
    video = "video_upload"


class Socket:
    """One input or output of a node; `io_type` comes from the type that it is nested in."""

    io_type = ""


class Input(Socket):
    def __init__(self, id: str, *, optional: bool = False, tooltip: str | None = None) -> None:
        self.id, self.optional = id, optional
        self.options_shown: dict[str, Any] = _present(tooltip=tooltip)
        # The real widget types take no such argument; they show entries that are added here afterwards.
        self.extra_dict: dict[str, Any] = {}

    def get_io_type(self) -> Any:
        return self.io_type

    def as_info(self) -> list[Any]:
        return [self.get_io_type(), {**self.options_shown, **self.extra_dict}]


class Output(Socket):
    def __init__(
        self, *, display_name: str | None = None, tooltip: str | None = None, is_output_list: bool = False
    ) -> None:  # fmt: skip
        self.display_name, self.tooltip, self.is_output_list = display_name, tooltip, is_output_list


def Custom(io_type: str) -> type:
    """A socket type without a widget."""
    inner = {kind.__name__: type(kind.__name__, (kind,), {"io_type": io_type}) for kind in (Input, Output)}
    return type(io_type, (), inner)


def _widget_type(io_type: str, allowed: tuple[str, ...], fixed: dict[str, Any] | None = None) -> type:
    """A socket type with a widget whose input takes `allowed` keyword arguments."""

    class WidgetInput(Input):
        def __init__(self, id: str, *, optional: bool = False, tooltip: str | None = None, **kwargs: Any) -> None:
            super().__init__(id, optional=optional, tooltip=tooltip)
            unknown = set(kwargs) - set(allowed)
            if unknown:
                raise TypeError(f"{io_type} input '{id}': the stand-in does not know {sorted(unknown)}")
            if "force_input" in kwargs:
                kwargs["forceInput"] = kwargs.pop("force_input")
            self.options = kwargs.get("options")
            upload = kwargs.pop("upload", None)
            self.options_shown |= {**(fixed or {}), **_present(**kwargs), **({upload.value: True} if upload else {})}

    made = Custom(io_type)
    WidgetInput.io_type = io_type
    made.Input = WidgetInput
    return made


_NUMBER = ("default", "min", "max", "step")
Int = _widget_type("INT", (*_NUMBER, "control_after_generate"))
Float = _widget_type("FLOAT", _NUMBER)
String = _widget_type("STRING", ("default", "multiline", "force_input"), {"multiline": False})
Boolean = _widget_type("BOOLEAN", ("default", "label_on", "label_off"))
Combo = _widget_type("COMBO", ("default", "options", "upload"), {"multiselect": False})


class ComboOutput(Output):
    def __init__(self, *, options: list[str]) -> None:
        super().__init__()
        self.io_type = options  # as in 0.3.64


Combo.Output = ComboOutput
Image, Mask, Audio, Video = (Custom(name) for name in ("IMAGE", "MASK", "AUDIO", "VIDEO"))


class MultiType:
    """A socket that takes links of several types."""

    class Input(Input):
        def __init__(self, id: str, types: list[type], *, optional: bool = False, tooltip: str | None = None) -> None:
            super().__init__(id, optional=optional, tooltip=tooltip)
            self.io_type = ",".join(one.Input.io_type for one in types)


class Schema:
    def __init__(
        self, *, node_id: str, category: str, inputs: list[Input], outputs: list[Output] | None = None,
        display_name: str | None = None, description: str = "", is_output_node: bool = False,
        is_input_list: bool = False, is_deprecated: bool = False,
    ) -> None:  # fmt: skip
        self.is_input_list, self.is_deprecated = is_input_list, is_deprecated
        self.node_id, self.display_name, self.category, self.description = node_id, display_name, category, description
        self.inputs, self.outputs, self.is_output_node = inputs, outputs or [], is_output_node
        names = [item.id for item in inputs]
        if len(set(names)) != len(names):
            raise ValueError(f"{node_id}: two inputs have the same id")

    def as_info(self, python_module: str) -> dict[str, Any]:
        """The node's entry in `/object_info`."""
        given: dict[str, dict[str, Any]] = {"required": {}}
        for item in self.inputs:
            given.setdefault("optional" if item.optional else "required", {})[item.id] = item.as_info()
        if self.is_output_node:
            given["hidden"] = {"prompt": ["PROMPT"], "extra_pnginfo": ["EXTRA_PNGINFO"]}
        return {
            "input": given,
            "input_order": {kind: list(items) for kind, items in given.items()},
            "output": [item.io_type for item in self.outputs],
            "output_is_list": [item.is_output_list for item in self.outputs],
            "output_name": [item.display_name or item.io_type for item in self.outputs],
            "output_tooltips": [item.tooltip for item in self.outputs],
            "name": self.node_id, "display_name": self.display_name, "description": self.description,
            "python_module": python_module, "category": self.category, "output_node": self.is_output_node,
            "deprecated": self.is_deprecated, "experimental": False, "api_node": False,
        }  # fmt: skip


class NodeOutput:
    def __init__(self, *args: Any, ui: dict[str, Any] | None = None) -> None:
        self.args, self.ui = args, ui


class HiddenHolder:
    """Facts of the run, of which the server tells output nodes these two."""

    def __init__(self, prompt: dict[str, Any] | None, extra_pnginfo: dict[str, Any] | None = None) -> None:
        self.prompt, self.extra_pnginfo = prompt, extra_pnginfo


class ComfyNode:
    """Base of all nodes. `validate_inputs` and `fingerprint_inputs` are optional and absent here."""

    hidden: HiddenHolder | None = None

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **kwargs: Any) -> NodeOutput:
        raise NotImplementedError


class ComfyExtension:
    async def get_node_list(self) -> list[type[ComfyNode]]:
        raise NotImplementedError


class LockedClass(type):
    """ComfyUI runs `execute` on a copy of the class that cannot be written to."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"a node must not keep state: '{name}' was set on class {cls.__name__}")


class VideoComponents:
    def __init__(self, *, images: Any, frame_rate: Any, audio: Any = None) -> None:
        self.images, self.audio, self.frame_rate = images, audio, frame_rate


class VideoFromComponents:
    def __init__(self, components: VideoComponents) -> None:
        self._components = components

    def get_components(self) -> VideoComponents:
        return self._components

    def get_dimensions(self) -> tuple[int, int]:
        return self._components.images.shape[2], self._components.images.shape[1]

    def get_duration(self) -> float:
        return float(self._components.images.shape[0] / self._components.frame_rate)


class VideoFromFile:
    """A video file as core hands it on: decoded when asked for."""

    def __init__(self, file: str) -> None:
        self._file = file

    def get_stream_source(self) -> str:
        return self._file

    def get_components(self) -> VideoComponents:
        import av
        import numpy as np
        import torch

        with av.open(self._file) as container:
            rate = container.streams.video[0].average_rate
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            audio = None
            if container.streams.audio:
                container.seek(0)
                blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
                waveform = torch.from_numpy(np.concatenate(blocks, axis=1))[None]
                audio = {"waveform": waveform, "sample_rate": container.streams.audio[0].rate}
        return VideoComponents(images=torch.from_numpy(np.stack(images)).float() / 255, frame_rate=rate, audio=audio)

    def get_dimensions(self) -> tuple[int, int]:
        import av

        with av.open(self._file) as container:
            return container.streams.video[0].width, container.streams.video[0].height


io = types.SimpleNamespace(
    ComfyNode=ComfyNode, Schema=Schema, NodeOutput=NodeOutput, Custom=Custom, UploadType=UploadType,
    Int=Int, Float=Float, String=String, Boolean=Boolean, Combo=Combo, Image=Image, Mask=Mask, Audio=Audio, Video=Video,
    MultiType=MultiType,
)  # fmt: skip
Types = types.SimpleNamespace(VideoComponents=VideoComponents)
InputImpl = types.SimpleNamespace(VideoFromComponents=VideoFromComponents, VideoFromFile=VideoFromFile)
