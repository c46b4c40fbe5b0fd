"""Pickled checkpoints to safetensors: the same tensors, a report, and no pickle that runs anything."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from published_layouts import Pieces, motion_file, write_audioldm_folder, write_sd_folder
from safetensors.torch import load_file

from con360.cli import main
from con360.errors import InputError
from con360.weights.convert import convert_file, convert_folder
from con360.weights.files import read_header, read_tensors
from con360.weights.load import load_joint_model


class Hostile:
    """A plain `pickle.load` of this makes a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return (os.mkdir, (str(self.proof),))


def hostile(path: Path, proof: Path) -> Path:
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": Hostile(proof)}, path)
    return path


def test_a_hostile_pickle_would_run_and_is_refused(tmp_path):
    proof = tmp_path / "was-run"
    path = hostile(tmp_path / "evil.ckpt", proof)
    torch.load(path, weights_only=False)
    assert proof.is_dir(), "the payload itself must work, or its absence proves nothing"
    proof.rmdir()
    for read in (read_header, read_tensors, lambda p: convert_file(p, tmp_path / "out.safetensors")):
        with pytest.raises(InputError, match=r"evil.ckpt wants to run posix.mkdir while it is read, which is refused"):
            read(path)
    bare = tmp_path / "bare.bin"
    bare.write_bytes(pickle.dumps({"w": Hostile(proof)}, protocol=2))
    with pytest.raises(InputError, match="bare.bin wants to run posix.mkdir"):
        read_header(bare)
    assert not proof.exists() and not (tmp_path / "out.safetensors").exists()


def test_a_file_keeps_names_values_and_dtypes(tmp_path):
    state = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(2).half()}
    torch.save({"epoch": 7, "state_dict": state}, tmp_path / "x.ckpt")
    report = convert_file(tmp_path / "x.ckpt", tmp_path / "deep" / "x.safetensors")
    stored = load_file(tmp_path / "deep" / "x.safetensors")
    assert all(torch.equal(stored[k], t) and stored[k].dtype == t.dtype for k, t in state.items())
    assert (report.tensors, report.dtypes) == (3, {"float16": 1, "float32": 1, "int64": 1})
    assert report.bytes_after == (tmp_path / "deep" / "x.safetensors").stat().st_size
    assert (report.shared, report.not_finite, report.kept_wide) == ((), (), ())


def test_shared_not_finite_and_too_wide_tensors_are_reported(tmp_path):
    table = torch.randn(4, 2)
    spoiled = torch.tensor([1.0, float("nan")])
    state = {"embed": table, "head": table, "row": table[1], "bad": spoiled, "huge": torch.tensor([1e6])}
    torch.save(state, tmp_path / "x.bin")
    report = convert_file(tmp_path / "x.bin", tmp_path / "x.safetensors", half=True)
    assert report.shared == (("embed", "head", "row"),)
    assert (report.not_finite, report.kept_wide) == (("bad",), ("huge",))
    stored = load_file(tmp_path / "x.safetensors")
    assert stored["huge"].dtype == torch.float32 and stored["huge"].item() == 1e6
    assert torch.equal(stored["head"], table.half()) and torch.equal(stored["row"], table[1].half())


@pytest.mark.parametrize("old_format", [False, True])
def test_headers_tell_shapes_without_tensors(tmp_path, old_format):
    torch.save({"w": torch.randn(30, 7)}, tmp_path / "w.pt", _use_new_zipfile_serialization=not old_format)
    header = read_header(tmp_path / "w.pt").tensors
    assert header["w"].is_meta and header["w"].shape == (30, 7)
    convert_file(tmp_path / "w.pt", tmp_path / "w.safetensors")
    again = read_header(tmp_path / "w.safetensors").tensors
    assert again["w"].is_meta and again["w"].shape == (30, 7) and again["w"].dtype == torch.float32


def outputs(model) -> tuple[torch.Tensor, torch.Tensor]:
    from con360.models.text import encode_captions

    text, generator = encode_captions(model, ["red disc"]), torch.Generator().manual_seed(0)
    x_v, x_a = torch.randn(1, 4, 2, 8, 8, generator=generator), torch.randn(1, 8, 8, 16, generator=generator)
    with torch.no_grad():
        return model.unet(x_v, x_a, 400, 400, text.text_v, text.text_a)


def test_a_converted_folder_is_the_same_model(tmp_path):
    pieces = Pieces()
    picks = {"video": write_sd_folder(pieces, tmp_path / "sd"), "audio": write_audioldm_folder(tmp_path / "audio")}
    torch.save({"state_dict": motion_file(pieces)}, tmp_path / "mm.ckpt")
    pickle_weights(tmp_path / "sd")
    before = load_joint_model(None, picks={**picks, "motion": tmp_path / "mm.ckpt"})
    report = convert_folder(tmp_path / "sd", tmp_path / "sd2")
    assert sorted(f.target for f in report.files) == [
        "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    convert_folder(tmp_path / "audio", tmp_path / "audio2")
    convert_file(tmp_path / "mm.ckpt", tmp_path / "mm.safetensors")
    assert not [p for p in (tmp_path / "sd2").rglob("*") if p.suffix == ".bin"]
    after = load_joint_model(
        None, picks={"video": tmp_path / "sd2", "audio": tmp_path / "audio2", "motion": tmp_path / "mm.safetensors"}
    )
    torch.testing.assert_close(outputs(after), outputs(before))


def pickle_weights(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        name = "pytorch_model.bin" if path.name.startswith("model") else path.with_suffix(".bin").name
        torch.save(load_file(path), path.with_name(name))
        path.unlink()


def test_shards_and_their_index_are_renamed(tmp_path):
    source = tmp_path / "in" / "text_encoder"
    source.mkdir(parents=True)
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for i, name in enumerate(files):
        torch.save({f"w{i}": torch.full((2,), float(i))}, source / name)
    index = {"weight_map": {"w0": files[0], "w1": files[1]}}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (source / "notes.pkl").write_bytes(b"?")
    report = convert_folder(tmp_path / "in", tmp_path / "out")
    from con360.weights.files import weight_files

    found = weight_files(tmp_path / "out" / "text_encoder")
    assert [p.name for p in found] == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert read_tensors(found[1])["w1"].tolist() == [1.0, 1.0]
    assert report.left_out == ("text_encoder/notes.pkl",)


def test_one_hostile_file_stops_the_whole_folder(tmp_path):
    (tmp_path / "in").mkdir()
    torch.save({"w": torch.ones(1)}, tmp_path / "in" / "a.bin")
    hostile(tmp_path / "in" / "b.pt", tmp_path / "was-run")
    with pytest.raises(InputError, match="b.pt wants to run posix.mkdir"):
        convert_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_unusable_files_and_targets_are_named(tmp_path, capsys):
    torch.save({"w": torch.ones(1)}, tmp_path / "a.bin")
    torch.save([1, 2], tmp_path / "list.bin")
    torch.save({}, tmp_path / "empty.bin")
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "script.pt")
    (tmp_path / "cut.bin").write_bytes((tmp_path / "a.bin").read_bytes()[:300])
    for args, says in (
        (["a.bin", "a.bin"], "does not end in .safetensors"),
        (["list.bin", "l.safetensors"], "not a plain set of weights"),
        (["empty.bin", "e.safetensors"], "holds no tensors"),
        (["script.pt", "s.safetensors"], "script.pt cannot be read"),
        (["cut.bin", "c.safetensors"], "cut or damaged"),
        (["none.bin", "n.safetensors"], "there is no file"),
        ([".", "./inside"], "lies inside"),
    ):
        assert main(["convert", *(str(tmp_path / a) for a in args)]) == 2
        assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_command_reports(tmp_path, capsys):
    shared = torch.ones(2)
    torch.save({"w": shared, "v": shared, "n": torch.tensor([float("inf")])}, tmp_path / "a.bin")
    assert main(["convert", str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors"), "--half"]) == 0
    said = capsys.readouterr()
    assert "a.safetensors" in said.out and "float16 x 3" in said.out
    assert "w = v" in said.err and "NaN or infinity in n" in said.err
    shutil.copy(tmp_path / "a.bin", tmp_path / "b.bin")
    assert main(["convert", str(tmp_path / "b.bin"), str(tmp_path / "b.safetensors"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"][0]["shared"] == [["w", "v"]] and report["files"][0]["dtypes"] == {"float32": 3}


class Transform:
    """An object of a trainer's, as published checkpoints hold them."""

    def __init__(self) -> None:
        self.sizes = [112, 112]


class Settings(dict):
    """A dict of a trainer's own class."""


def test_objects_of_a_trainer_are_refused_and_dropped_on_demand(tmp_path):
    path, out = tmp_path / "epoch=9.ckpt", tmp_path / "epoch=9.safetensors"
    held = Settings(transform=Transform(), call=os.path.join)
    torch.save({"state_dict": {"w": torch.ones(2)}, "datamodule_hyper_parameters": held}, path)
    with pytest.raises(InputError, match=r"con360 convert epoch=9.ckpt epoch=9.safetensors --tensors-only"):
        convert_file(path, out)
    assert convert_file(path, out, tensors_only=True).tensors == 1
    assert load_file(out)["w"].tolist() == [1, 1]
    assert main(["convert", str(path), str(tmp_path / "again.safetensors"), "--tensors-only"]) == 0


def test_programs_are_refused_when_objects_are_dropped(tmp_path):
    proof = tmp_path / "was-run"
    path = hostile(tmp_path / "evil.ckpt", proof)
    with pytest.raises(InputError, match=r"evil.ckpt"):
        convert_file(path, tmp_path / "out.safetensors", tensors_only=True)
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": Evaluated(proof)}, path)
    convert_file(path, tmp_path / "out.safetensors", tensors_only=True)
    assert not proof.exists(), "a stand-in calls nothing"


class Evaluated:
    """Runs through a name that is no program of the system."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({str(self.proof)!r})",)
