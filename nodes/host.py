"""All that touches ComfyUI beyond a node's schema: folders, progress, interrupt, memory.

Nothing else in the pack imports `folder_paths` or `comfy`. Written for ComfyUI 0.3.64 and newer.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import comfy.model_management as model_management
import comfy.utils
import folder_paths

from ..con360.errors import InputError
from ..con360.memory import TooLittleMemory

if TYPE_CHECKING:
    import torch
    from comfy.model_patcher import ModelPatcher
    from comfy_api.v0_0_2 import io
    from PIL.Image import Image

CATEGORY = "Con360-AV"
VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg"}

# Folder key under models/ and the file suffixes that belong there; "" stands for folders.
MODELS, CONTROLS, SALIENCY, FACES = "con360", "con360_control", "con360_saliency", "con360_faces"
CAPTIONERS, LANGUAGE_MODELS = "con360_captioner", "con360_llm"
MODEL_FOLDERS = {
    MODELS: {""}, CONTROLS: {".safetensors"}, SALIENCY: {".safetensors", ".pth", ".pt"}, FACES: {".onnx"},
    CAPTIONERS: {""}, LANGUAGE_MODELS: {""},
}  # fmt: skip
# Of kinds that are folders: the file by which one is known.
MARKERS = {MODELS: "model_index.json", CAPTIONERS: "config.json", LANGUAGE_MODELS: "config.json"}
MANIFEST = "con360-model.json"
WEIGHT_SUFFIXES = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}
# Part of a joint model: model folder of its single files ("" where it has none), and what its own folder holds.
PART_PLACES = {
    "video": ("checkpoints", ("unet", "text_encoder", "tokenizer")),
    "motion": ("animatediff_models", ("config.json", "diffusion_pytorch_model.safetensors")),
    "audio": ("", ("unet", "text_encoder", "vocoder")),
    "connectors": ("", ("unet_svg",)),
    "vae": ("vae", ("config.json", "diffusion_pytorch_model.safetensors")),
}

PREVIEW_SIZE_PX = 512

MAX_NAME_BYTES = 240
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

log = logging.getLogger("con360")


# ---- folders


def register_model_folders() -> None:
    """Tell ComfyUI about models/con360 and the folders beside it, one for each key of `MODEL_FOLDERS`.

    A key that exists came from the user's extra_model_paths.yaml: its folders stay, and stay first.
    """
    for name, suffixes in MODEL_FOLDERS.items():
        default = os.path.join(folder_paths.models_dir, name)
        if name not in folder_paths.folder_names_and_paths:
            folder_paths.folder_names_and_paths[name] = ([default], set(suffixes))
        elif default not in folder_paths.folder_names_and_paths[name][0]:
            folder_paths.folder_names_and_paths[name][0].append(default)


def model_entries(name: str) -> dict[str, Path]:
    """What lies in a model folder, by the name shown in a combo; the first folder wins.

    Models are folders that hold their kind's file of `MARKERS`, the other kinds single files.
    """
    found: dict[str, Path] = {}
    for root in folder_paths.folder_names_and_paths[name][0]:
        for path in sorted(Path(root).iterdir()) if Path(root).is_dir() else ():
            marker = MARKERS.get(name)
            fits = path.suffix in MODEL_FOLDERS[name] if marker is None else (path / marker).is_file()
            # One half of a model, AudioLDM or SD 1.5, has an index too; it is offered as a part.
            half = name == MODELS and (path / "unet").is_dir()
            if fits and not half or name == MODELS and (path / MANIFEST).is_file():
                found.setdefault(path.name, path)
    return found


def part_entries(part: str) -> dict[str, Path]:
    """What may be one part of a joint model, by the name shown in a combo: "motion", "video", "audio" and so on.

    Files come from the folders where ComfyUI's users keep them, unread; folders from models/con360 and
    models/diffusers.
    """
    files, holds = PART_PLACES[part]
    found: dict[str, Path] = {}
    for path in _inside("con360", "diffusers"):
        if path.is_dir() and all((path / name).exists() for name in holds) and not _is_other_half(part, path):
            found.setdefault(path.name, path)
    for path in _inside(files) if files else ():
        if path.suffix in WEIGHT_SUFFIXES and path.is_file():
            found.setdefault(path.name, path)
    return found


def clip_tokenizer() -> Path | None:
    """CLIP's vocabulary as ComfyUI brings it: what a checkpoint file lacks."""
    folder = Path(getattr(comfy.utils, "__file__", "")).parent / "sd1_tokenizer"
    return folder if (folder / "vocab.json").is_file() else None


def _inside(*names: str) -> list[Path]:
    """Entries of model folders; a key that no pack registered is the folder of that name in models/."""
    roots = [
        Path(root)
        for name in names
        for root in folder_paths.folder_names_and_paths.get(name, ([os.path.join(folder_paths.models_dir, name)],))[0]
    ]
    return [path for root in roots if root.is_dir() for path in sorted(root.iterdir())]


def _is_other_half(part: str, path: Path) -> bool:
    return part == "video" and (path / "vocoder").exists()


def input_videos() -> list[str]:
    """Video files of ComfyUI's input folder, sorted."""
    folder = Path(folder_paths.get_input_directory())
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in files if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def input_file(name: str) -> Path:
    """Path of a file named by a widget: in the input folder, or `name [output]`, `name [temp]`.

    Raises:
        InputError: the file does not exist, or lies outside that folder once links are followed, or the name leads out
            of a folder on any system.
    """
    if not isinstance(name, str):
        raise InputError(f"a file is named by text, not by {_shown(repr(name))}; choose one.")
    folders = {
        " [input]": folder_paths.get_input_directory,
        " [output]": folder_paths.get_output_directory,
        " [temp]": folder_paths.get_temp_directory,
    }
    suffix = next((s for s in folders if name.endswith(s)), "")
    bare = name[: len(name) - len(suffix)]
    folder = Path(os.path.realpath(folders[suffix or " [input]"]()))
    _check_name(bare)
    path = Path(os.path.realpath(folder / bare))
    if not path.is_relative_to(folder):
        raise InputError(f"'{name}' lies outside ComfyUI's {folder.name} folder; copy the file into that folder.")
    if not path.is_file():
        raise InputError(f"there is no file '{bare}' in ComfyUI's {folder.name} folder; upload it or choose another.")
    return path


def _check_name(name: str) -> None:
    """Refuse a name from a workflow that leads out of a folder, whichever system the workflow was made for.

    Raises:
        InputError: it is absolute, names a drive, climbs, or is no name at all.
    """
    windows = PureWindowsPath(name)
    climbs = ".." in windows.parts or ".." in PurePosixPath(name).parts or name.startswith("~")
    if climbs or windows.drive or windows.root or PurePosixPath(name).is_absolute():
        raise InputError(f"'{_shown(name)}' lies outside ComfyUI's folders; give a name inside of them.")
    sizes = [len(part.encode("utf-8", "replace")) for part in windows.parts]
    # Lone surrogates cannot be part of a name.
    unspeakable = _CONTROL.search(name) or any("\ud800" <= c <= "\udfff" for c in name)
    if max(sizes, default=0) > MAX_NAME_BYTES or len(name) > 1000 or unspeakable:
        raise InputError(f"'{_shown(name)}' is no file name; give one of up to {MAX_NAME_BYTES} bytes.")


def _shown(name: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return plain if len(plain) < 100 else plain[:99] + "…"


def temp_file(prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """A new name in ComfyUI's temp folder, and how its `/view` is asked for it."""
    name = f"{prefix}_{uuid.uuid4().hex}{suffix}"
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name, {"filename": name, "subfolder": "", "type": "temp"}


def output_file(prefix: str, suffix: str, width: int, height: int) -> tuple[Path, dict[str, str]]:
    """The next numbered name in ComfyUI's output folder, and how its `/view` is asked for it.

    Raises:
        InputError: the prefix points outside that folder, or is no name.
    """
    _check_name(prefix)
    root = Path(os.path.realpath(folder_paths.get_output_directory()))
    if not Path(os.path.realpath(root / os.path.dirname(os.path.normpath(prefix)))).is_relative_to(root):
        raise InputError(f"the file name '{prefix}' points outside ComfyUI's output folder; choose another.")
    folder, name, count, subfolder, _ = folder_paths.get_save_image_path(prefix, str(root), width, height)
    path = Path(folder) / f"{name}_{count:05}_{suffix}"
    return path, {"filename": path.name, "subfolder": subfolder, "type": "output"}


def identity(paths: Iterable[Path]) -> str:
    """Names, sizes and modification times: changes when a file does, without reading it."""
    parts = []
    for path in sorted(paths):
        status = path.stat()
        parts.append(f"{path}:{status.st_size}:{status.st_mtime_ns}")
    return "|".join(parts)


# ---- widgets


def advanced(item: io.Input) -> io.Input:
    """The same input, which newer frontends fold away with the node's rarely used ones.

    Set afterwards: the constructors of 0.3.64 take neither `advanced` nor `extra_dict`.
    """
    item.extra_dict = {**item.extra_dict, "advanced": True}
    return item


def check_choice(value: str, options: Iterable[str], what: str) -> None:
    """Refuse a combo value that is not offered; the server itself accepts any.

    Raises:
        InputError: with the values on offer.
    """
    options = list(options)
    if value not in options:
        offered = ", ".join(f"'{option}'" for option in options[:8]) + (", …" if len(options) > 8 else "")
        raise InputError(f"{what} '{_shown(str(value))}' is not available; choose one of {offered}.")


def check_weights(value: str, options: Iterable[str], what: str, part: str) -> None:
    """`check_choice` for weights: also says where the published ones belong and can be had.

    Args:
        part: key of `con360.models.known.KNOWN_PARTS`.

    Raises:
        InputError: with the values on offer, and place, address, licence and size of what is missing.
    """
    try:
        check_choice(value, options, what)
    except InputError as error:
        from ..con360.models.known import advice

        raise InputError(f"{error} {advice(part)}") from None


def verdict(check: Callable[[], object]) -> bool | str:
    """True, or the sentence of the `InputError` that `check` raises: what `validate_inputs` returns."""
    try:
        check()
    except InputError as error:
        return str(error)
    return True


# ---- packages

# What pip calls a module, where the names differ.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow"}
REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"


def needs_packages(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """For `execute`: packages are imported when a node runs; one that is missing is named, with what installs it."""

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
    what = f"-r {REQUIREMENTS}" if name in REQUIREMENTS.read_text(encoding="utf-8") else f"--upgrade {name}"
    return (
        f"this node needs the Python package {name}, which is missing or too old ({error}). Install it into ComfyUI's "
        f"Python and restart: {sys.executable} -m pip install {what}"
    )


# ---- progress and interrupt


def check_interrupt() -> None:
    """Raise ComfyUI's own exception when the user pressed stop; nothing in this pack catches it."""
    model_management.throw_exception_if_processing_interrupted()


class Report:
    """A progress callback for the library that fills the running node's bar; each call can cancel."""

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(1)

    def __call__(self, done: int, total: int, what: str, picture: torch.Tensor | None = None) -> None:
        """`picture`, `[3, H, W]` in [0, 1], is shown on the node."""
        check_interrupt()
        preview = None if picture is None else ("JPEG", _pil(picture), PREVIEW_SIZE_PX)
        self._bar.update_absolute(done, max(total, 1), preview)


def progress() -> Report:
    """A `Report` for the node that runs."""
    return Report()


def _pil(picture: torch.Tensor) -> Image:
    from PIL import Image

    return Image.fromarray((picture * 255).round().byte().movedim(0, -1).cpu().numpy())


# ---- memory


def device() -> torch.device:
    """The device that ComfyUI computes on."""
    return model_management.get_torch_device()


def working_dtype(precision: str) -> torch.dtype:
    """The dtype that `auto`, `float32`, `float16` or `bfloat16` means on ComfyUI's device.

    The library's rule, so that command line and nodes make the same clip. `auto` stays float32 where ComfyUI has half
    precision switched off.
    """
    import torch

    from ..con360.models.precision import working_dtype as library_dtype

    if precision == "auto" and not model_management.should_use_fp16(device()):
        return torch.float32
    return library_dtype(precision, device())


def manage(networks: dict[str, torch.nn.Module]) -> ModelPatcher:
    """Put networks under ComfyUI's memory management, as one unit that `/free` and other models can push out."""
    from comfy.model_patcher import ModelPatcher
    from torch import nn

    # ModelPatcher sets attributes such as `device` on what it holds, which diffusers' own classes refuse.
    holder = nn.ModuleDict(networks)
    return ModelPatcher(holder, device(), model_management.unet_offload_device())


@contextmanager
def gives_way() -> Iterator[None]:
    """Where memory ran out for good, everything on the device goes back to where it rests: the next prompt runs.

    ComfyUI does so by itself for torch's own error alone.
    """
    try:
        yield
    except TooLittleMemory:
        make_room()
        raise


def make_room() -> None:
    """Send everything that ComfyUI has on its device back to where it rests, this pack's networks as well."""
    model_management.unload_all_models()


def bring_in(*patchers: ModelPatcher) -> None:
    """Load managed networks fully onto ComfyUI's device, all in one request so that they do not push each other out."""
    model_management.load_models_gpu(list(patchers), force_full_load=True)
    for patcher in patchers:
        # The loader moves leaf layers; buffers and parameters of inner modules follow here.
        patcher.model.to(patcher.load_device)
