"""Use ComfyUI's widgets, progress, interrupt and memory management.

Only `nodes/host` imports `folder_paths` or `comfy`. Written for ComfyUI 0.3.64 and newer.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.cli_args
import comfy.model_management as model_management
import comfy.utils
from comfy_api.v0_0_2 import io

from ...con360.errors import InputError
from ...con360.memory import TooLittleMemory
from ...con360.pace import Pace, left_in_words
from .files import shown_name

if TYPE_CHECKING:
    import torch
    from comfy.model_patcher import ModelPatcher
    from PIL.Image import Image

CATEGORY = "Con360-AV"

PANORAMA_WORDS = ("360", "vr", "panorama", "equirectangular")
SOUND_WORDS = ("ambisonic", "foa", "spatial audio")

PREVIEW_SIZE_PX = 512

# Default in `validate_inputs` of a socket: what is linked arrives as None, since it has no value yet.
ABSENT: Any = object()

log = logging.getLogger("con360")


# ---- widgets


def advanced(item: io.Input) -> io.Input:
    """Mark an input as rarely used; newer frontends fold it away.

    The mark is set afterwards, because the constructors of 0.3.64 take neither `advanced` nor `extra_dict`.
    """
    item.extra_dict = {**item.extra_dict, "advanced": True}
    return item


def search_words(*words: str) -> dict[str, list[str]]:
    """Words that find a node in the search, those of every panorama included; for `io.Schema`.

    Empty where the core, as 0.3.64, has no such field.
    """
    return _where_known(search_aliases=[*words, *PANORAMA_WORDS])


def sent_again() -> dict[str, bool]:
    """Have the server send what a node showed also when it takes the node from its cache; for `io.Schema`.

    Empty where the core is older than 0.19; there the widgets read the history.
    """
    return _where_known(has_intermediate_output=True)


def _where_known(**fields: Any) -> dict[str, Any]:
    """Those fields of `io.Schema` that this core has."""
    return {name: value for name, value in fields.items() if name in inspect.signature(io.Schema).parameters}


def is_widget(item: io.Input) -> bool:
    """Tell whether an input has a widget, and so a place among the values that a workflow stores."""
    # `get_io_type` of a combo may be its list (`words.checked`).
    return item.io_type in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def check_choice(value: str, options: Iterable[str], what: str) -> str:
    """Return a combo's value; refuse one that is not offered, which a link or `validate_inputs` lets through.

    Raises:
        InputError: names the values on offer.
    """
    options = list(options)
    if value not in options:
        offered = ", ".join(f"'{option}'" for option in options[:8]) + (", …" if len(options) > 8 else "")
        raise InputError(f"{what} '{shown_name(str(value))}' is not available; choose one of {offered}.")
    return value


def check_weights(value: str, options: Iterable[str], what: str, part: str) -> None:
    """Refuse a choice of weights that is not offered; the error says where published ones are had and belong.

    Args:
        part: key of `con360.weights.catalog.KNOWN_PARTS`.

    Raises:
        InputError: names the values on offer, and place, address, licence and size of the missing weights.
    """
    try:
        check_choice(value, options, what)
    except InputError as error:
        from ...con360.weights.catalog import advice

        raise InputError(f"{error} {advice(part)}") from None


def even(value: int, low: int, high: int) -> tuple[int, tuple[str, ...]]:
    """Take a size to the next even number, as the widget's step does: video holds no odd ones. Say so where it changes.

    Raises:
        InputError: outside `low` to `high`, which the server does not check where the number came by a link.
    """
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{value!r} pixels were asked for; choose an even number, {low} to {high}.")
    return value + value % 2, (f"{value} pixels became {value + 1}: video needs even sizes",) if value % 2 else ()


def verdict(**checks: Callable[[], object]) -> bool | str:
    """Run the check of each input for `validate_inputs`: return True, or the sentences of all `InputError`s.

    The server shows the answer under every input that `validate_inputs` names. So name one, or those that must agree,
    and leave words (`words.Words`) and ranges to the server. Each sentence of several checks begins with a name.
    """
    sentences = []
    for name, check in checks.items():
        try:
            check()
        except InputError as error:
            sentences.append(f"{name}: {error}" if len(checks) > 1 else str(error))
    return "\n".join(sentences) or True


def tell(notices: Iterable[str]) -> None:
    """Log notices, for nodes that have no place to show them."""
    for notice in notices:
        log.warning(notice)


# ---- files


def prompt_of(node: type[io.ComfyNode]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The nodes of the run as they were sent, and the workflow as the frontend saved it; None where it is not told."""
    if node.hidden is None:
        return None, None
    return node.hidden.prompt, (node.hidden.extra_pnginfo or {}).get("workflow")


def workflow_of(node: type[io.ComfyNode]) -> dict[str, str]:
    """Workflow and prompt of the run, by the names under which core's Save Video writes them into a file.

    Empty where the user started ComfyUI with `--disable-metadata`.
    """
    if comfy.cli_args.args.disable_metadata or node.hidden is None:
        return {}
    told = {**(node.hidden.extra_pnginfo or {}), "prompt": node.hidden.prompt}
    return {name: json.dumps(value) for name, value in told.items() if value is not None}


# ---- packages

# pip's names of modules, where the two differ.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow"}
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
PYPROJECT = REQUIREMENTS.with_name("pyproject.toml")


def needs_packages(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """Wrap `execute`, which imports packages late: name a missing package and the command that installs it."""

    @functools.wraps(execute)
    def run(*args: Any, **kwargs: Any) -> io.NodeOutput:
        try:
            return execute(*args, **kwargs)
        except ImportError as error:
            module = (error.name or "").partition(".")[0]
            if not module or module == __name__.partition(".")[0]:
                raise
            raise InputError(_missing(module, error)) from error

    return run


def _missing(module: str, error: ImportError) -> str:
    name = DISTRIBUTIONS.get(module, module)
    what = f"-r {REQUIREMENTS}" if name in REQUIREMENTS.read_text(encoding="utf-8") else f"--upgrade {_wanted(name)}"
    return (
        f"this node needs the Python package {name}, which is missing or too old ({error}). Install it into ComfyUI's "
        f"Python and restart: {sys.executable} -m pip install {what}"
    )


def _wanted(name: str) -> str:
    """Return pip's argument for a package: with the library's range where it has one, for the newest may not work."""
    found = re.search(rf'^ *("{re.escape(name)}[<>=][^"]*")', PYPROJECT.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else name


# ---- progress and interrupt


def check_interrupt() -> None:
    """Raise ComfyUI's own exception when the user pressed stop; nothing in this pack catches it."""
    model_management.throw_exception_if_processing_interrupted()


@contextmanager
def cancels_inside(network: torch.nn.Module) -> Iterator[None]:
    """Let a cancel act between the layers of a network, which may take seconds each on a slow machine."""
    handles = [part.register_forward_pre_hook(lambda *_: check_interrupt()) for part in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# Shorter waits are told by the bar alone.
WORTH_TELLING_S = 3.0


class NodeProgress:
    """A progress callback for the library that fills the running node's bar; each call can cancel."""

    def __init__(self) -> None:
        self._bar, self._done = comfy.utils.ProgressBar(1), 0
        self._pace, self._told = Pace(), ""

    def __call__(self, done: int, total: int, what: str, picture: torch.Tensor | None = None) -> None:
        """`picture`, `[3, H, W]` in [0, 1], is shown on the node, and so are the seconds left once they are known."""
        check_interrupt()
        self._tell(self._pace.seconds_left(done, total, what), what)
        if done < self._done:
            # Newer cores hold back what does not move a bar on.
            self._bar = comfy.utils.ProgressBar(1)
        self._done = done
        preview = None if picture is None else ("JPEG", _pil(picture), PREVIEW_SIZE_PX)
        self._bar.update_absolute(done, max(total, 1), preview)

    def _tell(self, left_s: float | None, what: str) -> None:
        """Show the time left as the node's text; a blank takes the last one away."""
        if left_s is None or left_s < WORTH_TELLING_S:
            text = " " if self._told else ""
        else:
            text = f"{what}: {left_in_words(left_s)}"
        if text != self._told:
            self._told = text
            _show_text(text)


def _show_text(text: str) -> None:
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    running = get_executing_context()
    if running is not None:
        server = PromptServer.instance
        # A core that runs nodes in a process of their own knows no client there; then all are told.
        server.send_progress_text(text, running.node_id, sid=getattr(server, "client_id", None))


def progress() -> NodeProgress:
    """Progress of the node that runs."""
    return NodeProgress()


def _pil(picture: torch.Tensor) -> Image:
    from PIL import Image

    return Image.fromarray((picture * 255).round().byte().movedim(0, -1).cpu().numpy())


# ---- memory


def device() -> torch.device:
    """The device that ComfyUI computes on."""
    return model_management.get_torch_device()


def comfyui_dtype(precision: str) -> torch.dtype:
    """Choose the dtype that `auto`, `float32`, `float16` or `bfloat16` means on ComfyUI's device.

    The library's rule applies, so that command line and nodes make the same clip. `auto` stays float32 where ComfyUI
    has half precision switched off.
    """
    import torch

    from ...con360.models.precision import working_dtype

    if precision == "auto" and not model_management.should_use_fp16(device()):
        return torch.float32
    return working_dtype(precision, device())


def manage(networks: dict[str, torch.nn.Module]) -> ModelPatcher:
    """Put networks under ComfyUI's memory management, as one unit that `/free` and other models can unload."""
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    # ModelPatcher sets attributes such as `device` on what it holds, which diffusers' own classes refuse.
    holder = nn.ModuleDict(networks)
    return ModelPatcher(holder, device(), model_management.unet_offload_device())


@contextmanager
def gives_way() -> Iterator[None]:
    """After a final out-of-memory error, unload all models so that the next prompt can run.

    ComfyUI does so by itself for torch's own error alone.
    """
    try:
        yield
    except TooLittleMemory:
        make_room()
        raise


def make_room() -> None:
    """Unload all models from ComfyUI's device, this pack's networks as well."""
    model_management.unload_all_models()


def bring_in(*patchers: ModelPatcher) -> None:
    """Load managed networks fully onto ComfyUI's device, in one request so that they do not unload each other."""
    with outside_inference():
        model_management.load_models_gpu(list(patchers), force_full_load=True)
        for patcher in patchers:
            # The loader moves leaf layers; buffers and parameters of inner modules follow here.
            patcher.model.to(patcher.load_device)


def outside_inference() -> AbstractContextManager[None]:
    """Leave ComfyUI's inference mode: steering may differentiate through weights that were loaded outside of it."""
    import torch

    return torch.inference_mode(False)
