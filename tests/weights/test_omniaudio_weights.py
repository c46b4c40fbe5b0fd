"""Load OmniAudio: as published, converted, without its dead weights, in half, and files that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden import runs_omniaudio
from golden.store import compare
from safetensors.torch import load_file, save_file

from con360.cli import main
from con360.errors import InputError
from con360.models.flow_transformer import SIZES, FlowTransformer, FlowTransformerConfig
from con360.models.omniaudio import OmniAudio
from con360.models.oobleck import Oobleck, OobleckConfig
from con360.models.picture_features import PictureEmbedders
from con360.weights.convert import convert_file
from con360.weights.omniaudio import Facts, is_used, load_omniaudio

FACTS = runs_omniaudio.FACTS
LAST_FF = "model.model.transformer.layers.2.ff.ff.2.weight"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {name: t.contiguous() for name, t in runs_omniaudio.published_state().items()}


def write_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """As the published trainer writes it: a prefix, an averaged twin, and counters beside."""
    twin = {f"diffusion_ema.ema_model.{name}": torch.zeros_like(t) for name, t in state.items()}
    whole = {f"diffusion.{name}": t for name, t in state.items()} | twin
    torch.save({"epoch": 3, "global_step": 100, "state_dict": whole, "lr_schedulers": [{"last_epoch": 3}]}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("omniaudio") / "model.ckpt", state)


def sound_of(model: OmniAudio) -> torch.Tensor:
    """Latents of the recorded run, through the model's own doors."""
    latents, _ = runs_omniaudio.sampled_by(model, 4, 3.0)
    return latents


def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file({name: t.contiguous() for name, t in state.items()}, path)
    return path


def test_every_layout_gives_the_recorded_latents(checkpoint, state, tmp_path):
    converted = tmp_path / "converted.safetensors"
    convert_file(checkpoint, converted)
    lean = {name: t for name, t in state.items() if is_used(name) and not name.endswith((".inv_freq", "norm.beta"))}
    files = (
        checkpoint,
        converted,
        write(tmp_path / "whole.safetensors", state),
        write(tmp_path / "lean.safetensors", lean),
    )
    for path in files:
        model = load_omniaudio(path, FACTS)
        compare("omniaudio_tiny/sample/cfg3/latents", sound_of(model))
        assert model.transformer.config == runs_omniaudio.TRANSFORMER and model.vae.config == runs_omniaudio.VAE
        assert (model.name, model.trained_s, model.panorama) == (path.stem, FACTS.trained_s, "maximum")
        assert not any(p.requires_grad for p in model.transformer.parameters())


def test_convert_leaves_out_what_is_never_used(checkpoint, state, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(["convert", str(checkpoint), str(out), "--json"]) == 0
    said = capsys.readouterr()
    (report,) = json.loads(said.out)["files"]
    dead = [name for name in state if not is_used(name)]
    assert len(report["left_out"]) == len(state) + len(dead)
    assert f"diffusion.{dead[0]}" in report["left_out"]
    assert f"{len(report['left_out'])} tensors of model.ckpt are left out" in said.err
    stored = load_file(out)
    assert stored.keys() == state.keys() - set(dead)
    assert all(torch.equal(t, state[name]) for name, t in stored.items())


def test_half_leaves_the_autoencoder_and_angles_in_float32(checkpoint, tmp_path):
    convert_file(checkpoint, tmp_path / "half.safetensors", half=True)
    for path in (checkpoint, tmp_path / "half.safetensors"):
        model = load_omniaudio(path, FACTS, dtype=torch.bfloat16)
        assert {p.dtype for p in model.vae.parameters()} == {torch.float32}
        kept = {n for n, t in model.transformer.state_dict().items() if t.dtype == torch.float32}
        assert kept == {"timestep_features.weight", "transformer.rotary_pos_emb.inv_freq"}
        assert {p.dtype for p in model.embedders.parameters()} == {model.dtype} == {torch.bfloat16}
        turns = model.transformer.transformer.rotary_pos_emb.inv_freq
        compare("omniaudio_tiny/rotary_inv_freq", turns)
        got, wanted = sound_of(model), sound_of(runs_omniaudio.model())
        assert got.dtype == torch.float32
        assert float((got - wanted).norm() / wanted.norm()) < 0.02


def test_a_codec_with_a_stem_and_other_heads(tmp_path):
    """The layout of the built-in small model: sizes from shapes, facts from its config.json."""
    vae = OobleckConfig(4, 8, (1, 2), (2, 1), 6, stem_hop=4, stem_width=3)
    net = FlowTransformerConfig(6, 64, 2, 1)
    made = OmniAudio(FlowTransformer(net), PictureEmbedders(5, 64), Oobleck(vae))
    path = write(tmp_path / "model.safetensors", runs_omniaudio.state_of(made))
    facts = {"panorama": "per_frame", "sample_rate_hz": 16000, "trained_s": 4.0, "knows": "procedural scenes"}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    model = load_omniaudio(path)
    assert (model.vae.config, model.transformer.config) == (vae, net)
    assert (model.sample_rate_hz, model.trained_s, model.panorama) == (16000, 4.0, "per_frame")


# ---- facts that no tensor tells


def test_the_trained_length_is_not_guessed(checkpoint, tmp_path, state):
    with pytest.raises(InputError, match=r"model.ckpt has 3 layers of 128, none of OmniAudio's sizes"):
        load_omniaudio(checkpoint)
    path = write(tmp_path / "model.safetensors", state)
    beside = tmp_path / "config.json"
    beside.write_text(json.dumps({"model_type": "diffusion_cond", "sample_rate": 44100, "sample_size": 35000}))
    assert load_omniaudio(path).trained_s == 35000 / 44100
    # A config.json of something else, such as the picture encoder's.
    beside.write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(InputError, match=r"config.json beside it"):
        load_omniaudio(path)
    for bad in ({"sample_rate": 0, "sample_size": 9}, {"sample_rate_hz": 16000, "trained_s": "4"},
                {"sample_rate_hz": 16000, "trained_s": 4, "panorama": "mean"}):  # fmt: skip
        beside.write_text(json.dumps(bad))
        with pytest.raises(InputError, match=r"config.json says sample_rate_hz .* wanted two positive numbers"):
            load_omniaudio(path)


@pytest.mark.parametrize("size", SIZES)
def test_the_papers_sizes_have_the_published_facts(size):
    from con360.weights.omniaudio import _facts_of

    assert _facts_of(Path("nowhere/model.ckpt"), SIZES[size]) == Facts(44100, 10.0, "maximum")


@pytest.mark.parametrize("channels", [1, 2])
def test_other_numbers_of_channels_are_refused(channels, state, tmp_path):
    other = Oobleck(replace(runs_omniaudio.VAE, channels=channels))
    changed = {f"pretransform.model.{name}": t for name, t in other.state_dict().items()}
    with pytest.raises(InputError, match=f"makes sound of {channels} channels; wanted 4, Ambisonics"):
        load_omniaudio(write(tmp_path / "m.safetensors", state | changed), FACTS)


# ---- files that are refused


def spoiled(state: dict[str, torch.Tensor], name: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    return {k: t for k, t in state.items() if k != name} | ({} if value is None else {name: value})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (LAST_FF, None, f"{LAST_FF} is missing"),
        ("model.model.foo.weight", torch.ones(2), "model.model.foo.weight is unknown"),
        (LAST_FF, torch.ones(128, 511), r"has shape \(128, 511\), wanted \(128, 512\)"),
        (LAST_FF, torch.full((128, 512), float("nan")), "holds NaN or infinity"),
        ("model.model.transformer.rotary_pos_emb.inv_freq", torch.ones(9).half(), "heads|shape|tells no sizes|does not fit"),
        ("model.model.transformer.project_in.weight", torch.ones(4), "tells no sizes"),
        ("pretransform.model.encoder.layers.1.layers.4.weight_v", None, "tells no sizes"),
        ("conditioner.conditioners.video_fov.embedder.0.weight", None, "tells no sizes"),
        ("pretransform.model.encoder.layers.0.weight_v", torch.ones(0, 4, 7), "tells no sizes"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(name, value, says, state, tmp_path):
    path = write(tmp_path / "m.safetensors", spoiled(state, name, value))
    with pytest.raises(InputError, match=says) as error:
        load_omniaudio(path, FACTS)
    assert "m.safetensors" in str(error.value)


def test_cut_files_and_other_models_are_named(checkpoint, state, tmp_path):
    whole = write(tmp_path / "whole.safetensors", state)
    for source in (checkpoint, whole):
        cut = tmp_path / f"cut{source.suffix}"
        cut.write_bytes(source.read_bytes()[:-1000])
        with pytest.raises(InputError, match=rf"cut{source.suffix} .*(cut|damaged).*get it again"):
            load_omniaudio(cut, FACTS)
    other = write(
        tmp_path / "other.safetensors", {"quant_conv.weight": torch.ones(1), "decoder.conv_in.weight": torch.ones(1)}
    )
    with pytest.raises(InputError, match="is a VAE; the OmniAudio model wants OmniAudio"):
        load_omniaudio(other)
    with pytest.raises(InputError, match="there is no weight file"):
        load_omniaudio(tmp_path / "none.ckpt")


def test_a_trainers_checkpoint_that_runs_code_is_refused(tmp_path, state):
    from pathlib import PurePosixPath

    torch.save({"state_dict": state, "hyper_parameters": PurePosixPath("x")}, tmp_path / "m.ckpt")
    with pytest.raises(InputError, match="wants to run pathlib.*which is refused"):
        load_omniaudio(tmp_path / "m.ckpt", FACTS)


def test_models_lists_it_and_its_picture_encoder(checkpoint, tmp_path, capsys):
    folder = tmp_path / "con360_omniaudio"
    (folder / "metaclip").mkdir(parents=True)
    (folder / "model.ckpt").write_bytes(checkpoint.read_bytes())
    (folder / "metaclip" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    assert main(["models", "--folder", str(tmp_path), "--json"]) == 0
    parts = {part["part"]: part for part in json.loads(capsys.readouterr().out)["parts"]}
    for key, name in (("omniaudio", "model.ckpt"), ("picture encoder", "metaclip")):
        assert [Path(found["path"]).name for found in parts[key]["found"]] == [name]
        assert "CC BY-NC 4.0" in parts[key]["licence"]
    assert "Apache-2.0" in parts["omniaudio"]["licence"]
