"""Give weights that run a program when unpickled to every function that reads weights.

The payload is live: unpickled without care, in a process of its own, it creates a file. The project's readers must not
run it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .apart import apart
from .bad_files import command, tiny_model_folder
from .figures import Effort, Figure, timed


class Payload:
    """An object that pickles as a call of the system's `touch`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def figures(effort: Effort) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield _doors(Path(folder), forms=None if effort.all_files else 3 if effort.name == "quick" else 2)
        yield _others(Path(folder))


def write_hostile(folder: Path, mark: Path) -> list[Path]:
    """Write one payload in every form that a weight file may have."""
    import torch

    payload, weight = Payload(mark), torch.zeros(2)
    folder.mkdir()
    torch.save(payload, folder / "a-bare.pt")
    torch.save({"weight": weight, "x": payload}, folder / "b-legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": {"weight": weight, "more": payload}}, folder / "c-nested.ckpt")
    torch.save({"model": {"weight": weight}, "optimizer": payload}, folder / "beside.pth")
    (folder / "plain.pt").write_bytes(pickle.dumps(payload))
    shutil.copy(folder / "a-bare.pt", folder / "disguised.safetensors")
    with zipfile.ZipFile(folder / "stored.pt", "w") as archive:
        # An archive with a layout that torch does not write.
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": payload}))
        archive.writestr("archive/version", "3\n")
    return sorted(folder.iterdir())


def _doors(place: Path, forms: int | None) -> Figure:
    mark = place / "ran"
    files, good = write_hostile(place / "hostile", mark)[:forms], tiny_model_folder(place)
    with timed("a weight file that would run a program is refused by name, and does not run it") as figure:
        _prove_live(files, mark, figure)
        tried = 0
        for file in files:
            for door, call in _readers(place, good).items():
                tried += 1
                problem = _problem(call, file)
                figure.expect(not problem, f"{door} {file.name}: {problem}")
                figure.expect(not mark.exists(), f"{door} {file.name}: THE PROGRAM RAN")
                mark.unlink(missing_ok=True)
        figure.tried = f"{len(files)} forms, {tried} readings"
        figure.outcome = "all refused, nothing ran"
    return figure


def _prove_live(files: list[Path], mark: Path, figure: Figure) -> None:
    for file in files:
        apart(_unpickle, file, timeout_s=60)
        figure.expect(mark.exists(), f"{file.name}: the payload does nothing, so that refusing it proves nothing")
        mark.unlink(missing_ok=True)


def _unpickle(file: Path) -> None:
    import torch

    try:
        torch.load(file, map_location="cpu", weights_only=False)
    except Exception:  # torch may fail on what follows the payload
        with zipfile.ZipFile(file) if zipfile.is_zipfile(file) else io.BytesIO(file.read_bytes()) as archive:
            pickle.loads(archive.read("archive/data.pkl"))  # type: ignore[call-overload]


def _problem(call: Callable[[Path], Any], file: Path) -> str:
    from con360.errors import InputError

    try:
        call(file)
    except InputError as error:
        sentence = str(error)
        return "" if file.stem in sentence or "pytorch_model" in sentence or "state.pt" in sentence else sentence
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "was accepted"


def _readers(place: Path, good: Path) -> dict[str, Callable[[Path], Any]]:
    """Return every function of the project that reads weights, by name."""
    from con360.control import load_control
    from con360.saliency.salvit360 import load_salvit360
    from con360.weights.convert import convert_file
    from con360.weights.files import read_header, read_tensors
    from con360.weights.load import load_joint_model
    from con360.weights.time_networks import load_onset_network, load_picture_envelope, load_video2rms
    from train.checkpoint import read_state

    def part(*names: str) -> Callable[[Path], Any]:
        return lambda file: load_joint_model(good, picks=dict.fromkeys(names, file))

    def as_unet(file: Path) -> Any:
        model = place / f"model-{file.name}"
        if not model.exists():
            shutil.copytree(good, model)
            (model / "unet_v" / "diffusion_pytorch_model.safetensors").unlink()
            shutil.copy(file, model / "unet_v" / "diffusion_pytorch_model.bin")
        try:
            return load_joint_model(model)
        except Exception as error:
            # The error names the copy: give it the name of the original.
            raise type(error)(str(error).replace("diffusion_pytorch_model", file.stem)) from error

    def convert(file: Path, tensors_only: bool = False) -> Any:
        pickled = file if file.suffix != ".safetensors" else _renamed(file, place)
        return convert_file(pickled, place / "converted.safetensors", tensors_only=tensors_only)

    def checkpoint(file: Path) -> Any:
        folder = place / f"step-{file.stem}"
        folder.mkdir(exist_ok=True)
        shutil.copy(file, folder / "state.pt")
        return read_state(folder)

    return {
        "read_header": read_header, "read_tensors": read_tensors, "convert": convert, "control": load_control,
        "SalViT360": load_salvit360, "video and motion": part("video", "motion"), "vae": part("vae"),
        "model folder": as_unet, "training checkpoint": checkpoint,
        "convert, tensors only": lambda file: convert(file, tensors_only=True), "onsets": load_onset_network,
        "Video2RMS": load_video2rms, "envelope of pictures": load_picture_envelope,
    }  # fmt: skip


def _renamed(file: Path, place: Path) -> Path:
    return Path(shutil.copy(file, place / f"{file.stem}.pt"))


def _others(place: Path) -> Figure:
    """Try files and folders that could bring code in other ways, and the command line's exit status."""
    mark, good = place / "ran", tiny_model_folder(place)
    hostile = place / "hostile" / "a-bare.pt"
    with timed("a folder that brings code, or points outside of itself, does not run it") as figure:
        status, _, errors = command("convert", hostile, place / "out.safetensors")
        figure.expect(status == 2 and "refused" in errors and "Traceback" not in errors, f"con360 convert: {errors}")
        _custom_code(place, good, mark, figure)
        _shards_elsewhere(place, good, figure)
        yaml = place / "config.yaml"
        yaml.write_text(f"out: !!python/object/apply:os.system ['touch {mark}']\n")
        figure.expect(not _problem(_from_yaml, yaml), f"train --config: {_problem(_from_yaml, yaml)}")
        figure.expect(not mark.exists(), "the program ran")
        figure.tried, figure.outcome = "custom code, foreign shards, YAML", "refused or ignored, nothing ran"
    return figure


def _from_yaml(path: Path) -> Any:
    from train.config import from_yaml

    return from_yaml(path)


def _custom_code(place: Path, good: Path, mark: Path, figure: Figure) -> None:
    """Try a tokenizer and configurations that name Python files beside them, as transformers' remote code does."""
    from con360.errors import InputError
    from con360.weights.load import load_joint_model

    folder = place / "with-code"
    shutil.copytree(good, folder)
    for part in ("tokenizer_v", "text_encoder_v", "vocoder", "unet_v"):
        (folder / part / "evil.py").write_text(f"import os\nos.system('touch {mark}')\nclass Evil: pass\n")
        name = "tokenizer_config.json" if part.startswith("tokenizer") else "config.json"
        config = json.loads((folder / part / name).read_text())
        config["auto_map"] = {"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
        config["trust_remote_code"] = True
        (folder / part / name).write_text(json.dumps(config))
    try:
        load_joint_model(folder)
    except InputError:
        pass  # refusing such a folder is as good as reading its weights alone
    figure.expect(not mark.exists(), "a model folder's Python file ran")


def _shards_elsewhere(place: Path, good: Path, figure: Figure) -> None:
    """Try an index whose shards lie outside of the model's folder."""
    folder = place / "elsewhere"
    shutil.copytree(good, folder)
    name = "diffusion_pytorch_model.safetensors"
    shutil.move(folder / "unet_v" / name, place / "outside.safetensors")
    for shard in ("../../outside.safetensors", str(place / "outside.safetensors")):
        (folder / "unet_v" / f"{name}.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
        problem = _problem(_load, folder)
        figure.expect(problem == "" or "names" in problem, f"shard {shard}: {problem}")


def _load(folder: Path) -> Any:
    from con360.weights.load import load_joint_model

    return load_joint_model(folder)
