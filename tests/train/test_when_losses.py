"""Losses of networks that tell when: SyncFusion's and Video-Foley's recorded values."""

from __future__ import annotations

import pytest
import torch
from published_svg import read_json, relative_error, tensors

from con360.sound.envelopes import to_classes
from train.when.losses import blurred_labels, class_loss, near_classes, onset_loss, smoothed


@pytest.mark.parametrize("case", ["bce_a", "bce_b", "bce_c"])
def test_the_onset_loss_is_the_published_one(case):
    kept = tensors("syncfusion_metrics.safetensors")
    wanted = next(c for c in read_json("syncfusion_metrics.json")["frame_metrics"] if c["case"] == case)
    logits = kept[f"{case}/logits"].clone().requires_grad_()
    loss = onset_loss(logits, kept[f"{case}/labels"])
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-6)
    if case == "bce_a":
        loss.backward()
        assert relative_error(logits.grad, kept["bce_a/grad"]) < 1e-6


def test_frames_without_onsets_have_a_loss():
    assert onset_loss(torch.zeros(2, 30), torch.zeros(2, 30)).item() == pytest.approx(0.6931, abs=1e-4)


def test_blurred_labels_and_their_loss_are_the_published_ones():
    kept, facts = tensors("rms_envelope.safetensors"), read_json("rms_envelope.json")
    assert (blurred_labels(kept["gls/target"]) - kept["gls/labels"]).abs().max() < 1e-6
    loss = class_loss(kept["gls/logits"], kept["gls/target"]).mean().item()
    assert loss == pytest.approx(facts["gls_loss"], rel=1e-6)
    for reach, wanted in facts["tolerant_accuracy"].items():
        assert near_classes(kept["gls/near_pred"], kept["gls/target"], int(reach)).item() == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["rms4", "rms10", "rms_odd"])
def test_targets_are_smoothed_as_published(name):
    kept = tensors("rms_envelope.safetensors")
    curve = smoothed(kept[f"{name}/rms"])
    assert relative_error(curve, kept[f"{name}/filtered"]) < 1e-5
    if name == "rms4":
        assert torch.equal(to_classes(curve.float()), kept["rms4/index32"])
