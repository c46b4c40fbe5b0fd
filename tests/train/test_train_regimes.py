"""Weights that each regime trains; processes, accumulation, recomputation and precision keep its result."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from first_gradients import write_first_gradients
from safetensors.torch import load_file
from shared_data import ROOT
from tiny_clips import RandomClips, make_loop, quick_config
from tiny_model import make_tiny_joint_model

from con360.control import fingerprint, load_control
from con360.errors import InputError
from con360.weights.load import load_joint_model
from con360.weights.save import save_joint_model
from train.config import from_yaml
from train.dataset import collate
from train.devices import OneProcess, make_accelerator
from train.losses import Dropout
from train.monitor import read_log
from train.train import train
from train.trainee import Draws, draw, make_trainee


def changed_parts(loop) -> set[str]:
    """Parts of the model of which any weight moved."""
    fresh = make_tiny_joint_model(0).unet.state_dict()
    state = loop.job.model.unet.state_dict()
    moved = {name.split(".")[0] for name, t in state.items() if not torch.equal(t, fresh[name])}
    control = loop.net.control
    if control is not None and any(head.linear.weight.any() for head in control.heads.values()):
        moved.add("control")
    return moved


@pytest.mark.parametrize(
    "regime, unets, moves",
    [
        ("control", "all", {"control"}),
        ("control+cmcpe", "all", {"control", "connectors"}),
        ("baseline", "all", {"connectors", "unet_v", "unet_a"}),
        ("all", "motion", {"control", "connectors", "unet_v"}),
    ],
)
def test_a_regime_moves_its_parts_and_leaves_the_others_bit_for_bit(tmp_path, regime, unets, moves):
    loop = make_loop(quick_config(tmp_path, train=regime, unets=unets, steps=1), OneProcess())
    loop.run()
    assert changed_parts(loop) == moves


def test_motion_alone_leaves_the_spatial_weights(tmp_path):
    net = make_trainee(make_tiny_joint_model(0), quick_config(tmp_path, train="baseline", unets="motion"))
    names = [name for name in net.trained() if name.startswith("unet.unet_")]
    assert names and all("motion_modules" in name for name in names)


def one_batch(loop, numbers=(0, 1)):
    batch = collate([loop.source[loop.order.clip(n)] for n in numbers], loop.job.grid)
    return batch, draw(loop.job.model, batch, numbers, loop.config.dropout, loop.config.seed)


def test_a_sample_is_noised_the_same_in_any_batch(tmp_path):
    loop = make_loop(quick_config(tmp_path), OneProcess())
    _, together = one_batch(loop, (6, 7))
    _, alone = one_batch(loop, (7,))
    assert torch.equal(together.joint.noise[0][1:], alone.joint.noise[0])
    assert torch.equal(together.joint.t[1:], alone.joint.t) and torch.equal(together.keep_named[1:], alone.keep_named)
    assert not torch.equal(together.joint.noise[0][:1], alone.joint.noise[0])


def test_everything_is_dropped_as_often_as_asked_at_batch_1(tmp_path):
    loop = make_loop(quick_config(tmp_path), OneProcess())
    batch = collate([RandomClips(1)[0]], 1)
    dropout = Dropout(text=0.1, control=0.3, x0=0.5, named={"saliency": 0.2, "basd": 0.4})
    draws = [draw(loop.job.model, batch, [n], dropout, 0) for n in range(400)]

    def dropped(values) -> float:
        return 1 - float(torch.stack([torch.as_tensor(v).float().mean() for v in values]).mean())

    assert 0.06 < dropped(d.keep_text for d in draws) < 0.15
    assert 0.23 < dropped(d.keep_control for d in draws) < 0.37
    assert 0.14 < dropped(d.keep_named[:, 0] for d in draws) < 0.26
    assert 0.33 < dropped(d.keep_named[:, 1] for d in draws) < 0.47
    for modality in (0, 1):
        assert 0.43 < dropped(d.joint.keep_x0[modality] for d in draws) < 0.57
    t, con = (torch.cat([pick(d) for d in draws]).float() for pick in (lambda d: d.joint.t, lambda d: d.joint.t_con[0]))
    assert abs(torch.corrcoef(torch.stack([t, con]))[0, 1]) < 0.15, "the connectors' timestep is their own"


@torch.no_grad()
def test_a_dropped_caption_is_the_empty_caption_without_control(tmp_path):
    loop = make_loop(quick_config(tmp_path), OneProcess())
    for head in loop.net.control.heads.values():
        torch.nn.init.normal_(head.linear.weight, std=0.5)
    batch, draws = one_batch(loop, (0,))
    keep, drop = torch.ones(1), torch.zeros(1)
    maps = torch.ones(1, 2)
    dropped = loop.net(batch, Draws(drop, keep, maps, draws.joint))
    empty = replace(batch, text_v=loop.net.empty_v, text_a=loop.net.empty_a)
    bare = loop.net(empty, Draws(keep, keep, maps, draws.joint), with_control=False)
    kept = loop.net(batch, Draws(keep, keep, maps, draws.joint))
    assert torch.equal(dropped[0], bare[0]) and torch.equal(dropped[1], bare[1])
    assert not torch.equal(dropped[0], kept[0]) and not torch.equal(dropped[1], kept[1])


def test_two_passes_of_one_clip_step_like_one_pass_of_two(tmp_path):
    ends = []
    for batch, accumulate in ((2, 1), (1, 2)):
        config = quick_config(tmp_path / str(batch), batch_size=batch, accumulate=accumulate, steps=2)
        loop = make_loop(config, OneProcess(accumulate))
        loop.run()
        ends.append((read_log(config.folder), loop.progress.samples))
    (a, samples_a), (b, samples_b) = ends
    assert samples_a == samples_b == 4
    # AdamW's first step divides gradients by their size: rounding of small ones shows in the second step.
    for x, y, close in zip(a, b, (1e-4, 2e-2), strict=True):
        for name in ("loss/picture", "loss/sound", "gradient norm"):
            assert x[name] == pytest.approx(y[name], rel=close)


def gradients(loop) -> tuple[list[torch.Tensor], int]:
    """Gradients of one batch, and bytes that the forward pass kept for the backward pass."""
    batch, draws = one_batch(loop)
    kept, weights = 0, {p.untyped_storage().data_ptr() for p in loop.net.parameters()}

    def pack(t):
        nonlocal kept
        if t.untyped_storage().data_ptr() not in weights:
            kept += t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        picture, sound = loop.net(batch, draws)
    (picture.mean() + sound.mean()).backward()
    return [p.grad for p in loop.trained.values() if p.grad is not None], kept


def test_recomputed_activations_give_the_same_gradients_from_less_memory(tmp_path):
    results = []
    for on in (False, True):
        config = quick_config(tmp_path, train="all", activation_checkpointing=on)
        results.append(gradients(make_loop(config, OneProcess())))
    (plain, kept_plain), (recomputed, kept_recomputed) = results
    assert len(plain) == len(recomputed)
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in zip(plain, recomputed, strict=True))
    assert kept_recomputed < 0.5 * kept_plain


def test_the_weekends_training_runs_in_small(tmp_path):
    """`train/weekend.yaml` over the tiny model: its regime, geometry and schedule, for one step of two clips."""
    small = dict(out=tmp_path / "control.safetensors", seconds=0.5, epochs=None, steps=1, accumulate=2, held_out=2)
    config = replace(from_yaml(ROOT / "train" / "weekend.yaml"), sample_every=0, **small)
    loop = make_loop(config, OneProcess(config.accumulate))
    assert loop.net.control.config.geometry == "view" and loop.run().step == 1
    assert changed_parts(loop) == {"control", "connectors"}


@pytest.fixture
def accelerate():
    """Accelerate keeps its state for the whole process: each test starts with none."""
    pytest.importorskip("accelerate", reason='Accelerate is not installed: pip install -e ".[train]"')
    from accelerate.state import AcceleratorState, GradientState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_without_accelerate_one_process_trains_and_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("train.devices.find_spec", lambda name: None)
    assert isinstance(make_accelerator(quick_config(tmp_path)), OneProcess)
    with pytest.raises(InputError, match=r"pip install -e"):
        make_accelerator(quick_config(tmp_path, mixed_precision="bf16"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="several processes"):
        make_accelerator(quick_config(tmp_path))


def test_accelerate_and_its_stand_in_give_the_same_numbers(tmp_path, accelerate):
    config = quick_config(tmp_path / "a", accumulate=2, steps=1)
    real, alone = make_accelerator(config), OneProcess(2)
    assert type(real).__name__ == "Accelerator"
    loops = [make_loop(config, real), make_loop(replace(config, out=tmp_path / "b" / "c.safetensors"), alone)]
    for loop in loops:
        loop.run()
    assert all(torch.equal(p, loops[1].trained[name]) for name, p in loops[0].trained.items())


def test_half_precision_leaves_the_weights_whole(tmp_path, accelerate):
    config = quick_config(tmp_path, mixed_precision="bf16", steps=1)
    loop = make_loop(config, make_accelerator(config))
    seen = []
    head = next(iter(loop.net.control.heads.values())).linear
    head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    loop.run()
    assert set(seen) == {torch.bfloat16}, "the forward pass must really run in half precision"
    assert {p.dtype for p in loop.trained.values()} == {torch.float32}
    assert head.weight.abs().max() > 0


def test_samples_with_sound_and_validation_are_shown(tmp_path):
    pytest.importorskip("tensorboard", reason='TensorBoard is not installed: pip install -e ".[train]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = quick_config(tmp_path, steps=1, sample_every=1, num_samples=1)
    loop = make_loop(config, OneProcess())
    object.__setattr__(loop.job.model, "metadata", {**loop.job.model.metadata, "defaults": {"steps": 1}})
    weights = {name: p.clone() for name, p in loop.trained.items()}
    loop.run()
    events = EventAccumulator(str(config.folder / "tensorboard")).Reload()
    tags = events.Tags()
    assert "sample 0" in tags["images"] and "sample 0" in tags["audio"]
    assert {"loss/picture", "rate", "gradient norm", "validation/sound", "clips per second"} <= set(tags["scalars"])
    assert {f"loss/picture/t{q}" for q in range(4)} & set(tags["scalars"])
    assert (config.folder / "samples" / "step-0000001-0.mp4").stat().st_size > 1000
    assert any(not torch.equal(p, weights[name]) for name, p in loop.trained.items())


def test_a_regime_that_trains_connectors_leaves_a_folder_that_loads_with_its_control(tmp_path):
    model = make_tiny_joint_model(0)
    record = train(quick_config(tmp_path, train="control+cmcpe", steps=1), model, say=lambda text: None)
    folder = tmp_path / "control" / "model"
    loaded, control = load_joint_model(folder), load_control(folder / "control.safetensors")
    assert loaded.name == "tiny-random+control+cmcpe" and control.base == loaded.name
    assert control.mismatch(loaded.name, fingerprint(loaded.unet.unet_v, loaded.unet.unet_a)) is None
    assert control.training == record == load_control(tmp_path / "control.safetensors").training
    fresh = make_tiny_joint_model(0).unet.connectors.state_dict()
    assert any(not torch.equal(t, fresh[name]) for name, t in loaded.unet.connectors.state_dict().items())


def start(script, *arguments, processes=1) -> None:
    """Run a script; without a GPU, Accelerate's `--multi_gpu` starts processes that talk over gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    several = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no",
               "--dynamo_backend", "no", "--num_processes", str(processes), "--main_process_port", port]  # fmt: skip
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, *(several if processes > 1 else []), script, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def launch(folder, *arguments, processes=1):
    """Train with the script; its log and what it made."""
    common = ["seconds=0.5", "steps=3", "warmup=2", "pool=4", "held_out=1", "log_every=1", "train=all"]
    out = folder / "control.safetensors"
    start("train/train.py", *common, *arguments, f"out={out}", processes=processes)
    return read_log(folder / "control"), load_control(out)


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_one_with_twice_the_batch(tmp_path, accelerate):
    files = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    write_first_gradients(files[0], tmp_path / "one", 2)
    start("tests/train/first_gradients.py", files[1], tmp_path / "two", 1, processes=2)
    one, two = map(load_file, files)
    assert one.keys() == two.keys() and len(one) > 500
    apart = {name: float((one[name] - two[name]).double().norm()) for name in one}
    size = {name: float(gradient.double().norm()) for name, gradient in one.items()}
    whole = math.hypot(*size.values())
    # Rounding alone: convolutions add up one sample in another order than two. Measured: 1e-4.
    assert math.hypot(*apart.values()) < 1e-3 * whole
    # Sums whose terms cancel are small, so rounding is a larger share of them.
    assert all(apart[name] < 1e-2 * size[name] + 1e-6 * whole for name in one)


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path, accelerate):
    save_joint_model(make_tiny_joint_model(0), tmp_path / "base")
    base = f"base={tmp_path / 'base'}"
    one, alone = launch(tmp_path / "one", base, "batch_size=2")
    shutil.copytree(tmp_path / "one" / "control" / "cache", tmp_path / "two" / "control" / "cache")
    two, together = launch(tmp_path / "two", base, "batch_size=1", processes=2)
    assert together.training["processes"] == 2 and alone.training["processes"] == 1
    assert together.training["samples"] == alone.training["samples"] == 6
    for a, b, close in zip(one, two, (1e-4, 2e-2, 2e-2), strict=True):
        for name in ("loss/picture", "loss/sound"):
            assert a[name] == pytest.approx(b[name], rel=close), json.dumps([a, b])
    # Compare the first step alone: Adam moves weights by the sign of their gradient, even where that is rounding.
    # PyTorch adds up a million float32 squares, in another order where they lie in one buffer: where gradients agree
    # to 4e-7, their norm was 4e-4 off the float64 sum.
    assert one[0]["gradient norm"] == pytest.approx(two[0]["gradient norm"], rel=1e-3)
