"""Our onset and envelope networks over their recorded inputs: each function gives {recorded name: our tensor}."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from con360.models.envelope_networks import Video2Rms
from con360.models.onset_network import OnsetNetwork, normalised

from .filler import clip_u8, fill_module, normal
from .store import published

Tensors = dict[str, Tensor]
ONSETS, ENVELOPES = "syncfusion_onset", "rms_envelope"
CASES = {"case_s": (2, 3, 5, 16, 16), "case_m": (1, 3, 8, 32, 48)}


@cache
def network() -> OnsetNetwork:
    return fill_module(OnsetNetwork(), "onset.")


def given() -> Tensors:
    made = {f"{ONSETS}/{case}/x": normal(f"when/onset/{case}", *shape) for case, shape in CASES.items()}
    return made | {f"{ENVELOPES}/video2rms/x": normal("when/video2rms/x", 2, 12, 16)}


def clip() -> Tensor:
    """Frames `[30, 3, 112, 112]` in [0, 1]."""
    facts = published()["onsets"]["clip"]
    made = clip_u8(facts["name"], facts["n"], facts["h"], facts["w"], cell=facts["cell"])
    assert zlib.crc32(made.tobytes()) == facts["crc32"]
    return torch.from_numpy(made).float() / 255


@cache
@torch.no_grad()
def forward(case: str) -> Tensors:
    """Logits, the pooled features, and of `case_s` what lies inside."""
    net, inside = network(), {}

    def note(name: str) -> Any:
        return lambda module, args, out: inside.__setitem__(f"mid/{name}", out)

    hooks = [part.register_forward_hook(note(name)) for name, part in _parts(net, case).items()]
    x = normalised(clip())[None] if case == "case_f" else given()[f"{ONSETS}/{case}/x"]
    results = {"logits": net(x), **inside}
    for hook in hooks:
        hook.remove()
    return {f"{ONSETS}/{case}/{name}": t for name, t in results.items()}


def _parts(net: OnsetNetwork, case: str) -> dict[str, nn.Module]:
    backbone = net.net["model"]
    parts: dict[str, nn.Module] = {"features": backbone}
    if case == "case_s":
        blocks = ("layer1.0", "layer1.1", "layer2.0", "layer3.0", "layer4.0", "layer4.1")
        parts |= {"stem": backbone.stem, "fc.0": net.fc[0]}
        parts |= {name: backbone.get_submodule(name) for name in blocks}
    return parts


@torch.no_grad()
def envelope() -> Tensors:
    net = fill_module(Video2Rms(16, 12, 50), "video2rms.")
    return {f"{ENVELOPES}/video2rms/out": net(given()[f"{ENVELOPES}/video2rms/x"])}
