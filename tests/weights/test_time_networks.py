"""Networks that tell when a picture sounds: every form of their files loads, everything else is named."""

from __future__ import annotations

import pytest
import torch
from golden.filler import fill_module
from safetensors.torch import save_file

from con360.cli import main
from con360.errors import InputError
from con360.models.envelope_networks import Video2Rms
from con360.models.onset_network import OnsetNetwork
from con360.weights.time_networks import load_onset_network, load_video2rms


class Transform:
    """An object of a trainer's, as the published checkpoint holds them."""


def lightning(path, state, **more):
    torch.save({"state_dict": {f"model.{name}": t for name, t in state.items()}, "epoch": 99, **more}, path)
    return path


@pytest.fixture(scope="module")
def onsets():
    """Random weights, for this is about names; in half precision, for speed."""
    torch.manual_seed(0)
    return {name: t.half() if t.is_floating_point() else t for name, t in OnsetNetwork().state_dict().items()}


def test_the_published_checkpoint_of_onsets_loads_once_converted(tmp_path, onsets, capsys):
    path = lightning(tmp_path / "epoch=98.ckpt", onsets, datamodule_hyper_parameters={"transform": Transform()})
    with pytest.raises(InputError, match=r"con360 convert epoch=98.ckpt epoch=98.safetensors --tensors-only"):
        load_onset_network(path)
    out = tmp_path / "con360_onsets" / "onsets.safetensors"
    assert main(["convert", str(path), str(out), "--tensors-only"]) == 0
    assert all(torch.equal(t, onsets[name].to(t)) for name, t in load_onset_network(out).state_dict().items())
    assert main(["models", "--folder", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "found     onsets: SyncFusion's onset network" in listed and "none seen" in listed


@pytest.mark.slow
def test_tensors_alone_load_as_they_are(tmp_path, onsets):
    for path in (lightning(tmp_path / "plain.ckpt", onsets), tmp_path / "bare.safetensors"):
        if path.suffix == ".safetensors":
            save_file({name: t.contiguous() for name, t in onsets.items()}, path)
        network = load_onset_network(path)
        assert not network.training and torch.equal(network.fc[2].weight, onsets["fc.2.weight"].float())


def test_files_that_do_not_fit_are_named(tmp_path, onsets):
    # Files of one value each.
    onsets = {name: t.new_zeros(()).expand(t.shape) for name, t in onsets.items()}
    small = {name: t for name, t in onsets.items() if not name.startswith("net.model.layer4")}
    for name, state, says in (
        ("cut", small, "layer4.0.conv1.0.0.weight is missing"),
        ("wide", onsets | {"fc.0.weight": torch.zeros(64, 512)}, r"fc.0.weight has shape \(64, 512\)"),
        ("other", {"fc.weight": torch.zeros(2)}, "of an unknown kind"),
        ("broken", onsets | {"fc.2.bias": torch.tensor([float("nan")])}, "fc.2.bias holds NaN"),
    ):
        with pytest.raises(InputError, match=says):
            load_onset_network(lightning(tmp_path / f"{name}.ckpt", state))
    whole = lightning(tmp_path / "whole.ckpt", onsets)
    (tmp_path / "half.ckpt").write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(InputError, match="half.ckpt cannot be read"):
        load_onset_network(tmp_path / "half.ckpt")
    with pytest.raises(InputError, match="there is no weight file"):
        load_onset_network(tmp_path / "none.ckpt")


def test_video2rms_tells_its_sizes(tmp_path):
    network = fill_module(Video2Rms(16, 12, 50), "video2rms.")
    path = lightning(tmp_path / "video2rms.pt", network.state_dict())
    loaded, x = load_video2rms(path), torch.randn(1, 12, 16)
    assert torch.equal(loaded(x), network(x)) and (loaded.features, loaded.frames) == (16, 12)
    state = network.state_dict()
    state.pop("encoder.convolutions.0.0.conv.bias")
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="tells no sizes"):
        load_video2rms(tmp_path / "cut.safetensors")
