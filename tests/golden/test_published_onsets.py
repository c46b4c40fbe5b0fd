"""Facts of the published onset and envelope networks beside their tensors: names, counts, shapes, losses."""

from __future__ import annotations

import pytest
import torch
from golden import runs_onsets
from golden.keys import key_digest
from golden.store import published

from con360.models.envelope_networks import Video2Rms
from con360.models.onset_network import OnsetNetwork

KEPT = published()["onsets"]
NETWORKS = {"syncfusion": OnsetNetwork, "video2rms": Video2Rms}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_names_shapes_and_counts_at_full_size(name):
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert key_digest({key: tuple(t.shape) for key, t in network.state_dict().items()}) == KEPT["keys"][name]
    assert sum(p.numel() for p in network.parameters()) == KEPT["parameters"][name]


@pytest.mark.parametrize("case", [*runs_onsets.CASES, "case_f"])
def test_shapes_inside_the_onset_network(case):
    with torch.device("meta"):
        network = OnsetNetwork()
        x = torch.empty(runs_onsets.CASES.get(case, (1, 3, 30, 112, 112)))
    seen = {}
    parts = dict(network.net["model"].named_modules()) | {"features": network.net["model"], "fc.0": network.fc[0]}
    for name in KEPT["shapes"][case]:
        parts[name].register_forward_hook(lambda _, args, out, name=name: seen.__setitem__(name, list(out.shape)))
    network(x)
    assert seen == KEPT["shapes"][case]


def test_one_frame_has_a_logit_too():
    """The published code fails on one frame."""
    assert runs_onsets.network().logits(torch.rand(1, 3, 16, 16)).shape == (1,)
