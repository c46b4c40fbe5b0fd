"""The host itself: loads the pack as ComfyUI does, then validates, runs and caches prompts."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import graph
from .core_nodes import CORE_NODES
from .modules import InterruptProcessingException, Signals, build, installed
from .v3 import ComfyExtension, ComfyNode, HiddenHolder, LockedClass, NodeOutput, VideoFromComponents, VideoFromFile

PACK = Path(__file__).resolve().parent.parent.parent
Listener = Callable[[str, float, float], None]


class Listed(list):
    """Values of an output that is a list, or of a node that ran once for each item of one."""


@dataclass
class Run:
    """Outcome of one prompt."""

    status: Literal["done", "refused", "error", "interrupted"]
    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    outputs: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    ui: dict[str, dict[str, Any]] = field(default_factory=dict)
    complaints: dict[str, list[str]] = field(default_factory=dict)
    failed_node: str | None = None
    error: BaseException | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    previews: dict[str, list[Any]] = field(default_factory=dict)


class Host:
    """A stand-in for a ComfyUI server, with its own folders under `base`.

    Args:
        base: gets the folders that `--base-directory` has; existing files stay.
        pack: folder of the node pack.
    """

    def __init__(self, base: Path, pack: Path = PACK) -> None:
        self.base = Path(base)
        for name in ("custom_nodes", "input", "models", "output", "temp"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        self._signals = Signals()
        self._modules = build(self.base, self._signals)
        self._cache: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any] | None]] = {}
        self.module = self._import(pack)
        self.pack_classes = self._ask_for_nodes()
        core = [type(cls.__name__, (cls,), {"base": self.base}) for cls in CORE_NODES]
        self.classes = {cls.define_schema().node_id: cls for cls in (*core, *self.pack_classes)}

    # ---- loading

    def _import(self, pack: Path) -> Any:
        """Import the pack's `__init__.py` under a name made of its path, as ComfyUI does."""
        name = str(pack).replace(".", "_x_")
        for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[loaded]
        spec = importlib.util.spec_from_file_location(name, pack / "__init__.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        with installed(self._modules):
            spec.loader.exec_module(module)
        if hasattr(module, "NODE_CLASS_MAPPINGS"):
            raise TypeError("the pack has NODE_CLASS_MAPPINGS: ComfyUI would never call its comfy_entrypoint")
        return module

    def _ask_for_nodes(self) -> list[type[ComfyNode]]:
        async def ask() -> list[type[ComfyNode]]:
            extension = await self.module.comfy_entrypoint()
            if not isinstance(extension, ComfyExtension):
                raise TypeError("comfy_entrypoint must return a ComfyExtension")
            return await extension.get_node_list()

        with installed(self._modules):
            return asyncio.run(ask())

    def object_info(self) -> dict[str, Any]:
        """Describe the nodes that this host knows, as `/object_info` does."""
        with installed(self._modules):
            return {
                name: cls.define_schema().as_info("pack" if cls in self.pack_classes else "core")
                for name, cls in self.classes.items()
            }

    # ---- running

    def interrupt(self) -> None:
        """Cancel at the next interrupt point."""
        self._signals.interrupted = True

    def free(self) -> None:
        """Forget all outputs, as `/free` does."""
        self._cache.clear()

    def run(self, workflow: dict[str, Any], on_progress: Listener | None = None) -> Run:
        """Run a workflow in UI or API format; nodes whose inputs did not change are taken from the last run."""
        import torch

        info = self.object_info()
        prompt = json.loads(json.dumps(graph.to_prompt(workflow, info) if "nodes" in workflow else workflow))
        with installed(self._modules), torch.inference_mode():
            complaints = graph.check(prompt, info, self.classes)
            if complaints:
                return Run("refused", complaints=complaints)
            outputs = [key for key, node in prompt.items() if info[node["class_type"]]["output_node"]]
            if not outputs:
                raise graph.WorkflowError("the workflow has no output node, so nothing would run")
            order = graph.in_order(prompt, outputs)
            self._signals.interrupted = False
            return self._run_all(prompt, info, order, on_progress)

    def _run_all(
        self, prompt: dict[str, Any], info: dict[str, Any], order: list[str], on_progress: Listener | None
    ) -> Run:
        run, signatures = Run("done"), {}
        self._cache = {key: kept for key, kept in self._cache.items() if key in order}
        for node_id in order:
            signatures[node_id] = signature = self._signature(prompt, node_id, signatures)
            kept = self._cache.get(node_id)
            if kept is not None and kept[0] == signature:
                run.cached.append(node_id)
            else:
                self._signals.node_id = node_id
                self._signals.listener = on_progress and (lambda d, t, key=node_id: on_progress(key, d, t))
                began = time.perf_counter()
                try:
                    result = self._execute(prompt, info, node_id, run.outputs)
                except InterruptProcessingException:
                    run.status, run.failed_node = "interrupted", node_id
                    return run
                except Exception as error:  # the server shows any exception on its node and goes on living
                    run.status, run.failed_node, run.error = "error", node_id, error
                    return run
                finally:
                    run.seconds[node_id] = time.perf_counter() - began
                    run.previews[node_id], self._signals.previews = self._signals.previews, []
                self._cache[node_id] = kept = (signature, result.args, result.ui)
                run.executed.append(node_id)
            run.outputs[node_id] = kept[1]
            if kept[2]:
                run.ui[node_id] = kept[2]
        return run

    def _signature(self, prompt: dict[str, Any], node_id: str, known: dict[str, Any]) -> Any:
        """Describe all that a node's result depends on: class, constants, fingerprint, and everything upstream."""
        node = prompt[node_id]
        cls = self.classes[node["class_type"]]
        fingerprint = None
        if hasattr(cls, "fingerprint_inputs"):
            # The server passes every input and, should this raise, runs the node each time; here it is an error.
            fingerprint = cls.fingerprint_inputs(**{k: graph._constant(v) for k, v in node["inputs"].items()})
        parts = [
            (name, (known[value[0]], value[1]) if graph.is_link(value) else repr(value))
            for name, value in sorted(node["inputs"].items())
        ]
        return (node["class_type"], fingerprint, tuple(parts))

    def _execute(
        self, prompt: dict[str, Any], info: dict[str, Any], node_id: str, outputs: dict[str, tuple[Any, ...]]
    ) -> NodeOutput:
        node = prompt[node_id]
        inputs = {
            name: outputs[value[0]][value[1]] if graph.is_link(value) else value
            for name, value in node["inputs"].items()
        }
        if self.classes[node["class_type"]].define_schema().is_input_list:
            lists = {name: list(value) if isinstance(value, Listed) else [value] for name, value in inputs.items()}
            return self._execute_once(prompt, info, node_id, lists)
        runs = max((len(value) for value in inputs.values() if isinstance(value, Listed)), default=None)
        if runs is None:
            return self._execute_once(prompt, info, node_id, inputs)
        results = [self._execute_once(prompt, info, node_id, _item(inputs, i)) for i in range(runs)]
        shown = {key: [v for one in results for v in one.ui[key]] for key in results[0].ui} if results[0].ui else None
        columns = zip(*(one.args for one in results), strict=True)
        return NodeOutput(*(Listed(_flat(column)) for column in columns), ui=shown)

    def _execute_once(
        self, prompt: dict[str, Any], info: dict[str, Any], node_id: str, inputs: dict[str, Any]
    ) -> NodeOutput:
        self._signals.throw_if_interrupted()
        kind = prompt[node_id]["class_type"]
        cls = self.classes[kind]
        hidden = HiddenHolder(prompt if info[kind]["output_node"] else None)
        locked = LockedClass(cls.__name__, (cls,), {"hidden": hidden})
        result = cls.execute.__func__(locked, **inputs)
        if not isinstance(result, NodeOutput):
            raise TypeError(f"{kind} returned {type(result).__name__}; a node returns io.NodeOutput")
        expected, is_list = info[kind]["output"], info[kind]["output_is_list"]
        if len(result.args) != len(expected):
            raise TypeError(f"{kind} returned {len(result.args)} values for {len(expected)} outputs")
        for io_type, listed, value in zip(expected, is_list, result.args, strict=True):
            for one in value if listed else [value]:
                problem = wrong_value(io_type, one)
                if problem:
                    raise TypeError(f"{kind}: its {io_type} output is {problem}")
        args = [Listed(value) if listed else value for value, listed in zip(result.args, is_list, strict=True)]
        return NodeOutput(*args, ui=result.ui)


def _item(inputs: dict[str, Any], index: int) -> dict[str, Any]:
    """One of the runs over lists; the last item of a shorter list is repeated, as on the server."""
    return {
        name: value[min(index, len(value) - 1)] if isinstance(value, Listed) else value
        for name, value in inputs.items()
    }


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, Listed) else [value]


def _wrong_pixels(value: Any, dims: int, channels: int | None) -> str | None:
    import torch

    if not isinstance(value, torch.Tensor) or value.ndim != dims or 0 in value.shape:
        return f"no tensor of {dims} dimensions"
    if value.dtype != torch.float32 or value.device.type != "cpu":
        return f"{value.dtype} on {value.device}, wanted float32 on the CPU"
    if channels is not None and value.shape[-1] != channels:
        return f"of {value.shape[-1]} channels, wanted {channels}"
    if not (value.isfinite().all() and value.min() >= 0 and value.max() <= 1):
        return "not within [0, 1]"
    return None


def _wrong_audio(value: Any) -> str | None:
    import torch

    if not isinstance(value, dict) or not {"waveform", "sample_rate"} <= set(value):
        return "no dictionary with waveform and sample_rate"
    waveform = value["waveform"]
    if not isinstance(waveform, torch.Tensor) or waveform.ndim != 3 or 0 in waveform.shape:
        return "no waveform [1, channels, samples]"
    if waveform.dtype != torch.float32 or not waveform.isfinite().all():
        return "not finite float32"
    return None if type(value["sample_rate"]) is int else "without an integer sample rate"


def wrong_value(io_type: str, value: Any) -> str | None:
    """Describe the fault of a value for its socket type; None when it fits. The real server does not look."""
    plain = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
    if io_type in plain:
        return None if type(value) is plain[io_type] else f"a {type(value).__name__}"
    if io_type == "IMAGE":
        return _wrong_pixels(value, 4, 3)
    if io_type == "MASK":
        return _wrong_pixels(value, 3, None)
    if io_type == "AUDIO":
        return _wrong_audio(value)
    if io_type == "VIDEO":
        return None if isinstance(value, VideoFromComponents | VideoFromFile) else "no video object"
    # The one socket on which nothing means something: no control.
    return "None" if value is None and io_type != "CON360_CONTROL" else None
