"""The recorded sampling run, passes one by one; and a mistake that the comparison must notice."""

from __future__ import annotations

import pytest
import torch
from golden.runs_svg import trajectory
from golden.store import compare

pytestmark = pytest.mark.slow


def test_passes_one_by_one_match_published():
    for name, ours in trajectory("gamma_none", passes_together=False).items():
        compare(name, ours)


def test_dropping_the_x0_estimate_is_seen(monkeypatch):
    """The comparison fails as it should: without self-conditioning the trajectory leaves the recorded one."""
    from con360.models.dual_unet import DualUNet

    whole = DualUNet.encode_cross
    monkeypatch.setattr(DualUNet, "encode_cross", lambda self, x_v, x_a, t_v, t_a, *_: whole(self, x_v, x_a, t_v, t_a))
    latents = trajectory.__wrapped__("gamma_none")["pipeline_tiny/gamma_none/video/latents"]
    assert torch.isfinite(latents).all()
    with pytest.raises(AssertionError, match="of its peak"):
        compare("pipeline_tiny/gamma_none/video/latents", latents)
