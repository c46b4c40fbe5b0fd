"""The modules that a pack can import inside ComfyUI, as far as this pack does; an unknown name is an error."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import v3


class InterruptProcessingException(Exception):
    """Raised at the next interrupt point after a cancel."""


class StrictModule(types.ModuleType):
    """A module whose errors name what the stand-in lacks."""

    def __init__(self, name: str, **contents: Any) -> None:
        super().__init__(name)
        self.__dict__.update(contents, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"the stand-in has no {self.__name__}.{name}: it knows only what this pack uses. Check the name against a "
            f"real ComfyUI, then add it to tools/host."
        )


class Signals:
    """State that running nodes share with the host: the interrupt flag and the progress listener."""

    def __init__(self) -> None:
        self.interrupted = False
        self.listener: Callable[[float, float], None] | None = None
        self.previews: list[tuple[str, Any, int | None]] = []
        self.node_id = ""
        self.texts: list[tuple[str, str]] = []

    def throw_if_interrupted(self) -> None:
        if self.interrupted:
            self.interrupted = False
            raise InterruptProcessingException

    def report(self, done: float, total: float, preview: tuple[str, Any, int | None] | None = None) -> None:
        self.throw_if_interrupted()
        if preview is not None:
            kind, picture, _ = preview
            # The server writes it with Pillow, in these two formats.
            if kind not in ("JPEG", "PNG") or picture.mode not in ("RGB", "L"):
                raise TypeError(f"a preview is a (format, Pillow image, largest side), got {kind} of {picture.mode}")
            self.previews.append(preview)
        if self.listener is not None:
            self.listener(done, total)


class ModelPatcher:
    """Holds a network; on this host the device is always the CPU."""

    def __init__(self, model: Any, load_device: Any, offload_device: Any) -> None:
        # The real one writes attributes onto the network, which some classes refuse.
        model.device = offload_device
        self.model, self.load_device, self.offload_device = model, load_device, offload_device


def build(base: Path, signals: Signals) -> dict[str, types.ModuleType]:
    """Make every module, by its name in `sys.modules`; folders lie under `base` as with `--base-directory`."""
    import torch

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            self.total = self.total if total is None else total
            signals.report(min(value, self.total), self.total, preview)

    def load_models_gpu(models: list[ModelPatcher], force_full_load: bool = False) -> None:
        for patcher in models:
            patcher.model.to(patcher.load_device)

    def get_save_image_path(
        prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
    ) -> tuple[str, str, int, str, str]:  # fmt: skip
        folder = Path(output_dir) / Path(prefix).parent
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(prefix).name
        subfolder = "" if str(Path(prefix).parent) == "." else str(Path(prefix).parent)
        return str(folder), name, len(list(folder.glob(f"{name}_*"))) + 1, subfolder, prefix

    folder_paths = StrictModule(
        "folder_paths",
        models_dir=str(base / "models"),
        folder_names_and_paths={},
        get_input_directory=lambda: str(base / "input"),
        get_output_directory=lambda: str(base / "output"),
        get_temp_directory=lambda: str(base / "temp"),
        get_save_image_path=get_save_image_path,
    )
    cpu = torch.device("cpu")
    management = StrictModule(
        "comfy.model_management",
        InterruptProcessingException=InterruptProcessingException,
        throw_exception_if_processing_interrupted=signals.throw_if_interrupted,
        get_torch_device=lambda: cpu,
        unet_offload_device=lambda: cpu,
        should_use_fp16=lambda device: False,
        load_models_gpu=load_models_gpu,
        unload_all_models=lambda: None,
    )
    utils = StrictModule("comfy.utils", ProgressBar=ProgressBar)
    options = StrictModule("comfy.cli_args", args=types.SimpleNamespace(disable_metadata=False))
    patching = StrictModule("comfy.model_patcher", ModelPatcher=ModelPatcher)
    comfy = StrictModule("comfy", utils=utils, model_management=management, model_patcher=patching, cli_args=options)
    api = StrictModule(
        "comfy_api.v0_0_2", io=v3.io, ComfyExtension=v3.ComfyExtension, Types=v3.Types, InputImpl=v3.InputImpl
    )

    def send_progress_text(text: str, node_id: str, sid: str | None = None) -> None:
        signals.texts.append((node_id, text))

    routes = types.SimpleNamespace(get=lambda address: lambda answer: answer)  # nobody asks the stand-in
    told = types.SimpleNamespace(client_id=None, send_progress_text=send_progress_text, routes=routes)
    server = StrictModule("server", PromptServer=types.SimpleNamespace(instance=told))
    running = StrictModule(
        "comfy_execution.utils", get_executing_context=lambda: types.SimpleNamespace(node_id=signals.node_id)
    )
    parts = [
        server,
        running,
        StrictModule("comfy_execution", utils=running),
        folder_paths,
        management,
        utils,
        options,
        patching,
        comfy,
        api,
        StrictModule("comfy_api", v0_0_2=api),
    ]
    return {module.__name__: module for module in parts}


@contextmanager
def installed(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """Put modules into `sys.modules` for a while, then restore it."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
