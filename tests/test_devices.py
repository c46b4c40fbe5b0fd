"""Test `auto` on simulated machines, and the error for a missing device."""

from __future__ import annotations

import importlib
from argparse import Namespace

import pytest
import torch

from con360.cli.parser import parse
from con360.devices import describe_device, devices_here, resolve_device
from con360.errors import InputError
from con360.models.precision import working_dtype
from train.devices import OneProcess
from train.prepare import device_of, make_parser

COMMANDS = (
    ["demo"], ["generate", "a.mp4", "-o", "b.mp4"], ["reframe", "a.mp4", "-o", "b.mp4"],
    ["caption", "a.mp4", "--captioner", "blip"],
)  # fmt: skip


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Return `machine(gpus, apple)`, which sets the devices that torch reports."""

    def set_up(gpus: int = 0, apple: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)

    return set_up


@pytest.mark.parametrize(
    ("gpus", "apple", "chosen"), [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda:0"), (2, True, "cuda:0")]
)
def test_auto_is_cuda_else_mps_else_the_processor(machine, gpus: int, apple: bool, chosen: str) -> None:
    machine(gpus, apple)
    assert resolve_device() == resolve_device("auto") == chosen == devices_here()[0]
    assert str(OneProcess().device) == chosen


def test_a_named_device_is_used_if_present(machine) -> None:
    machine(gpus=2, apple=True)
    names = {"cuda": "cuda:0", "cuda:1": "cuda:1", "mps": "mps", "cpu": "cpu"}
    assert {name: resolve_device(name) for name in names} == names


@pytest.mark.parametrize("name", ["cuda:2", "cuda:-1", "cuda:01", "mps", "tpu", "", "CPU"])
def test_a_missing_device_is_refused_and_the_present_ones_are_named(machine, name: str) -> None:
    machine(gpus=2)
    with pytest.raises(InputError, match=r"there is no device .* torch sees cuda:0, cuda:1, cpu\. Choose one"):
        resolve_device(name)


def test_devices_are_described_with_their_names(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(gpus=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    told = ["cuda:1 (GPU of cuda:1)", "mps", "cpu, 2 threads"]
    assert [describe_device(name) for name in ("cuda:1", "mps", "cpu")] == told


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: a[0])
def test_auto_is_the_default_of_every_command(arguments: list[str]) -> None:
    assert parse(arguments).device == "auto"


def test_preparation_on_ray_leaves_the_gpu_to_encoder_workers(machine) -> None:
    def of(*options: str) -> str:
        return device_of(make_parser().parse_args(["clips", *options]))

    machine(gpus=1)
    assert of() == "cuda:0" and of("--device", "cpu") == "cpu"
    assert of("--executor", "ray") == "cpu" and of("--executor", "ray", "--encoders", "1") == "cuda:0"
    assert of("--executor", "ray", "--device", "cuda:7") == "cuda:7", "the workers check the device themselves"
    with pytest.raises(InputError, match="there is no device 'cuda:7' here"):
        of("--device", "cuda:7")


def test_the_benchmark_takes_auto_as_well(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps = importlib.import_module("benchmarks.few_steps")
    asked: list[Namespace] = []
    monkeypatch.setattr(few_steps, "measure", lambda options: asked.append(options) or [])
    monkeypatch.setattr("sys.argv", ["few_steps"])
    machine(gpus=1)
    few_steps.main()
    assert asked[0].device == "cuda:0"


@pytest.mark.parametrize(
    ("device", "capability", "dtype"),
    [
        ("cuda:0", (9, 0), torch.bfloat16), ("cuda:0", (8, 0), torch.bfloat16), ("cuda:0", (7, 5), torch.float16),
        ("xpu", None, torch.float16), ("mps", None, torch.float32), ("cpu", None, torch.float32),
    ],
)  # fmt: skip
def test_auto_precision_on_each_kind(monkeypatch: pytest.MonkeyPatch, device: str, capability, dtype) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert working_dtype("auto", device) == dtype
