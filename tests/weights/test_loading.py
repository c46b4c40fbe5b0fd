"""Joint model folders: round trip, precision, `.bin`, and every way in which a folder can be wrong."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_layouts import pickle_weights
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.models.text import encode_captions
from con360.weights.load import load_joint_model, load_part
from con360.weights.parts import PARTS
from con360.weights.save import save_joint_model

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_joint_model(make_tiny_joint_model(7), folder)
    return folder


@pytest.fixture
def folder(stored, tmp_path) -> Path:
    shutil.copytree(stored, tmp_path / "tiny")
    return tmp_path / "tiny"


def networks(model):
    names = ("unet", "vae_v", "vae_a", "vocoder", "text_encoder_v", "text_encoder_a")
    return {name: getattr(model, name) for name in names}


def test_round_trip_keeps_every_weight(stored):
    made, read = make_tiny_joint_model(7), load_joint_model(stored)
    for name, module in networks(made).items():
        again = networks(read)[name].state_dict()
        assert again.keys() == module.state_dict().keys()
        assert all(torch.equal(again[k], t) for k, t in module.state_dict().items()), name
    assert read.scheduler_v.config.prediction_type == "v_prediction" and float(read.scheduler_v.alphas_cumprod[-1]) == 0
    assert read.name == "tiny-random" and read.picture_size_px == 32 and read.metadata == made.metadata
    assert not any(p.requires_grad for module in networks(read).values() for p in module.parameters())
    a, b = (encode_captions(m, ["a red disc", ""]) for m in (made, read))
    assert torch.equal(a.text_v, b.text_v) and torch.equal(a.text_a, b.text_a)


@pytest.mark.parametrize("part", ["vae_v", "vae_a", "vocoder", "text_encoder_v", "text_encoder_a"])
def test_one_part_alone_is_the_same(stored, part):
    alone, whole = load_part(stored, part).state_dict(), getattr(make_tiny_joint_model(7), part).state_dict()
    assert alone.keys() == whole.keys() and all(torch.equal(t, whole[k]) for k, t in alone.items())
    assert len(load_part(stored, "tokenizer_v")("a red disc")["input_ids"]) == 5


def test_folder_is_in_the_published_layout(stored):
    assert sorted(p.name for p in stored.iterdir()) == sorted([*PARTS, "model_index.json"])
    assert "connector_in_video.0.2.0.norm.weight" in load_file(stored / "unet_svg" / WEIGHTS)
    assert "text_model.embeddings.token_embedding.weight" in load_file(stored / "text_encoder_v" / "model.safetensors")
    index = json.loads((stored / "model_index.json").read_text())
    assert index["unet_v"] == ["diffusers", "UNetMotionModel"] and index["tokenizer_a"][1] == "PreTrainedTokenizerFast"
    assert not [p for p in stored.parent.iterdir() if p.name.endswith(".part")]


def test_half_precision_is_stored_and_read_as_asked(tmp_path):
    made = make_tiny_joint_model(7)
    save_joint_model(made, tmp_path / "half", dtype=torch.float16)
    assert {t.dtype for t in load_file(tmp_path / "half" / "unet_v" / WEIGHTS).values()} == {torch.float16}
    read = load_joint_model(tmp_path / "half")
    weight = made.unet.unet_v.conv_in.weight
    assert read.dtype == torch.float32 and torch.equal(read.unet.unet_v.conv_in.weight, weight.half().float())
    again = load_joint_model(tmp_path / "half", dtype=torch.bfloat16)
    dtypes = {name: {p.dtype for p in module.parameters()} for name, module in networks(again).items()}
    codecs = {"vae_v", "vae_a", "vocoder"}
    assert dtypes == {name: {torch.float32 if name in codecs else torch.bfloat16} for name in dtypes}
    assert made.dtype == torch.float32


def test_bin_files_and_foreign_indices_are_read(folder):
    """As the public checkpoint is stored: pickled weights, class names that nobody has installed."""
    pickle_weights(folder)
    old = load_state(folder / "text_encoder_v" / "pytorch_model.bin")
    old["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    torch.save(old, folder / "text_encoder_v" / "pytorch_model.bin")
    for part in ("scheduler_a", "scheduler_v"):
        change_json(folder / part / "scheduler_config.json", _class_name="DDIMSchedulerRev", gamma=1.5)
    read = load_joint_model(folder)
    assert torch.equal(read.unet.unet_a.conv_in.weight, make_tiny_joint_model(7).unet.unet_a.conv_in.weight)


def load_state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_shards_are_read(folder):
    part, state = folder / "unet_a", load_file(folder / "unet_a" / WEIGHTS)
    (part / WEIGHTS).unlink()
    names = sorted(state)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in halves.items():
        save_file({k: state[k] for k in keys}, part / file)
    where = {"weight_map": {k: file for file, keys in halves.items() for k in keys}}
    (part / f"{WEIGHTS}.index.json").write_text(json.dumps(where))
    assert torch.equal(load_joint_model(folder).unet.unet_a.conv_in.weight, state["conv_in.weight"])


def test_a_model_without_connectors_is_stored_and_read_as_one(tmp_path):
    made = make_tiny_joint_model(7)
    made.unet.connectors = None
    save_joint_model(made, tmp_path / "plain")
    read = load_joint_model(tmp_path / "plain")
    assert read.unet.connectors is None and any("side by side" in notice for notice in read.notices)


def test_a_model_whose_connectors_are_lost_is_not_taken_for_one_without(folder):
    shutil.rmtree(folder / "unet_svg")
    with pytest.raises(InputError, match="lacks unet_svg"):
        load_joint_model(folder)


def test_saving_again_replaces_the_files(folder):
    other = make_tiny_joint_model(8)
    save_joint_model(replace(other, metadata={"name": "second"}), folder)
    read = load_joint_model(folder)
    assert read.name == "second" and torch.equal(read.vae_v.encoder.conv_in.weight, other.vae_v.encoder.conv_in.weight)


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_weights(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pickle-was-run"),))


def pickled(folder: Path) -> None:
    (folder / "vae_v" / WEIGHTS).unlink()
    (folder / "vae_v" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))


def weights(part: str, change, file: str = WEIGHTS):
    return lambda folder: change_weights(folder / part / file, change)


def config(part: str, file: str = "config.json", **values):
    return lambda folder: change_json(folder / part / file, **values)


def nan_at(name: str):
    return lambda state: state[name].fill_(float("nan"))


WRONG = {
    "no folder": (lambda f: shutil.rmtree(f), "there is no model folder"),
    "no index": (lambda f: (f / "model_index.json").unlink(), "model_index.json"),
    "index cut": (lambda f: (f / "model_index.json").write_text("{"), "model_index.json"),
    "index a list": (lambda f: (f / "model_index.json").write_text("[]"), "list"),
    "part missing": (lambda f: shutil.rmtree(f / "vocoder"), "vocoder"),
    "config missing": (lambda f: (f / "unet_v" / "config.json").unlink(), "unet_v/config.json"),
    "config of another": (config("unet_v", block_out_channels=[7]), "unet_v/config.json"),
    "no weights": (lambda f: (f / "unet_a" / WEIGHTS).unlink(), "unet_a/"),
    "weights cut": (lambda f: (f / "unet_a" / WEIGHTS).write_bytes(b"\0" * 100), "unet_a/diffusion_pytorch_model"),
    "pickle": (pickled, "vae_v/diffusion_pytorch_model.bin"),
    "NaN": (weights("vae_a", nan_at("encoder.conv_in.bias")), "encoder.conv_in.bias holds NaN"),
    "NaN in text": (
        weights("text_encoder_a", nan_at("text_projection.linear1.bias"), "model.safetensors"),
        "text_projection.linear1.bias holds NaN",
    ),
    "shape": (
        weights("unet_a", lambda state: state.update({"conv_in.bias": torch.zeros(3)})),
        r"conv_in.bias has shape \(3,\), wanted \(64,\)",
    ),
    "weight missing": (
        weights("unet_svg", lambda state: state.pop("connector_in_audio.1.0.0.norm.bias")),
        "sites.audio_up_0.norm.bias is missing",
    ),
    "weight unknown": (
        weights("unet_svg", lambda state: state.update({"extra.weight": torch.zeros(1)})),
        "extra.weight is unknown",
    ),
    "vocoder of another": (config("vocoder", model_in_dim=80), "vocoder/"),
    "no tokenizer": (lambda f: (f / "tokenizer_v" / "tokenizer.json").unlink(), "tokenizer_v/"),
    "tokenizer cut": (lambda f: (f / "tokenizer_v" / "tokenizer.json").write_text("{"), "tokenizer_v/"),
    "schedule": (config("scheduler_v", "scheduler_config.json", beta_schedule="steep"), "scheduler_v/"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_folder_is_named(folder, case, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    damage, says = WRONG[case]
    damage(folder)
    with pytest.raises(InputError, match=says) as caught:
        load_joint_model(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pickle-was-run").exists()


def test_loading_inside_inference_mode(stored):
    """As ComfyUI's nodes run; the model must still work outside of it."""
    with torch.inference_mode():
        inside = load_joint_model(stored)
    text = encode_captions(inside, ["a red disc"])
    assert torch.equal(text.text_a, encode_captions(load_joint_model(stored), ["a red disc"]).text_a)
    with torch.no_grad():
        out = inside.unet.forward_video(torch.zeros(1, 4, 2, 8, 8), 10, text.text_v)
    assert torch.isfinite(out).all()


def test_lengths_follow_the_model():
    model = make_tiny_joint_model(0)
    spec = model.clip_spec(4.0)
    assert (spec.num_frames, spec.num_latent_rows_padded) == (32, 104)
    assert model.latent_shapes(spec) == ((4, 32, 8, 8), (8, 104, 16))
    assert model.site_shapes(spec)["audio.up.1"] == (64, 52, 8)
    assert replace(model, metadata={}).picture_size_px == 32
    slower = replace(model, metadata={"fps": 6, "longest_s": 2})
    assert slower.clip_spec(1.0).num_frames == 6 and slower.codecs.video.fps == 6.0
    with pytest.raises(InputError, match="0.5 to 2 s"):
        slower.clip_spec(3.0)
