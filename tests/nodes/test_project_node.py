"""Project onto 360°, run in the stand-in: a viewpoint's picture goes back to its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tools.host import Host
from tools.host.modules import installed

pytestmark = pytest.mark.standin

LOAD = {
    "class_type": "Load360Video",
    "inputs": {"video": "[built-in sample]", "start": 0.0, "duration": 0.5, "fps": 8.0, "height": 128, "eye": "auto"},
}
PLACE = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "fov": 90.0, "feather": 2.0, "height": 0}


def test_a_crop_goes_back_into_its_panorama(host: Host) -> None:
    prompt: dict[str, Any] = {
        "1": LOAD,
        "2": {"class_type": "Con360ViewpointByHand", "inputs": {
            "frames": ["1", 0], "fps": 8.0, "yaw": 170.0, "pitch": 20.0, "fov": 90.0, "roll": 15.0,
            "mode": "still", "normalization": "minmax", "map_height": 64}},
        "3": {"class_type": "Con360ViewpointCrop", "inputs": {
            "frames": ["1", 0], "basd": ["2", 0], "size": 128, "sound": "view"}},
        "4": {"class_type": "Con360Project", "inputs": {
            **PLACE, "frames": ["3", 0], "panorama": ["1", 0], "basd": ["2", 0]}},
        "5": {"class_type": "Save360Video", "inputs": {
            "frames": ["4", 0], "fps": 8.0, "filename_prefix": "back", "stereo": "mono"}},
    }  # fmt: skip
    done = host.run(prompt)
    assert done.status == "done", done.complaints
    panorama, (laid, mask) = done.outputs["1"][0], done.outputs["4"][:2]
    assert laid.shape == panorama.shape and mask.shape == panorama.shape[:3]
    assert 255 * (laid - panorama)[mask < 1].abs().mean() < 1
    assert 255 * (panorama - panorama.mean((1, 2), True))[mask < 1].abs().mean() > 20  # its mean, for comparison
    assert torch.equal(laid[mask == 1], panorama[mask == 1])


def test_a_picture_alone_lies_on_black(host: Host, pack: Any) -> None:
    with installed(host._modules):
        node = pack("nodes.project").Con360Project
        laid, mask = node.execute(torch.full((1, 30, 40, 3), 0.5), **PLACE | {"height": 90, "pitch": -90.0}).args
        assert (
            laid.shape == (1, 90, 180, 3) and torch.allclose(laid[0, -1], torch.tensor(0.5)) and laid[0, 0].eq(0).all()
        )
        assert mask[0, -1].eq(0).all() and mask[0, 0].eq(1).all()
        with pytest.raises(Exception, match="2 pictures, 1 views, 3 panoramas do not fit"):
            node.execute(torch.rand(2, 8, 8, 3), **PLACE, panorama=torch.rand(3, 32, 64, 3))
