"""The model loader's parts: the choices offered, and the model built from them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from published_layouts import write_everything
from tiny_workflow import tiny_workflow

from tools.host import Host


@pytest.fixture(scope="module")
def loaders(host: Host, pack: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made, models = tmp_path_factory.mktemp("made"), Path(host.base) / "models"
    write_everything(made)
    for source, place in (("audioldm", "con360"), ("sd", "diffusers"), ("motion", "con360")):
        (models / place).mkdir(parents=True, exist_ok=True)
        shutil.move(made / source, models / place / source)
    for source, place in (("sd.safetensors", "checkpoints"), ("mm.ckpt", "animatediff_models")):
        (models / place).mkdir(parents=True, exist_ok=True)
        shutil.move(made / source, models / place / source)
    return pack("nodes.loaders")


def test_parts_are_offered_where_users_keep_them(host: Host, loaders: Any) -> None:
    offered = host.object_info()["Con360ModelLoader"]["input"]
    assert "audioldm" not in offered["required"]["model"][1]["options"]
    optional = {name: entry[1]["options"] for name, entry in offered["optional"].items()}
    own = "(the model's own)"
    assert optional["video"] == [own, "sd", "sd.safetensors"]
    assert optional["motion"] == [own, "motion", "mm.ckpt"]
    assert optional["audio"] == [own, "audioldm"]
    assert optional["connectors"][:2] == [own, "none"]


def test_chosen_parts_make_a_clip(loaders: Any, run: Any) -> None:
    prompt = tiny_workflow(control=False)
    parts = {"video": "sd", "motion": "mm.ckpt", "audio": "audioldm"}
    prompt["5"]["inputs"] = {"model": "(parts below)", "precision": "float32", **parts}
    prompt["6"]["inputs"]["control"] = "built in"
    done = run(prompt)
    assert done.status == "done", (done.complaints, done.error)
    joint = done.outputs["5"][0].model
    assert joint.unet.connectors is None and joint.unet.unet_v.config.block_out_channels[2] == 128
    assert "side by side" in done.outputs["7"][3]


def test_another_part_is_another_fingerprint(loaders: Any) -> None:
    of, parts = loaders.Con360ModelLoader.fingerprint_inputs, {"motion": "mm.ckpt", "video": "sd", "audio": "audioldm"}
    first = of("(parts below)", precision="auto", **parts)
    assert first == of("(parts below)", precision="auto", **parts)
    assert first != of("(parts below)", precision="auto", **{**parts, "motion": "motion"})
    assert first != of("(parts below)", precision="auto", **parts, connectors="none")


def test_wrong_choices_are_named(loaders: Any) -> None:
    execute = loaders.Con360ModelLoader.execute
    for model, parts, says in (
        ("(parts below)", {"video": "sd", "motion": "mm.ckpt"}, "no model for the sound is named"),
        ("(parts below)", {"audio": "../etc"}, "audio '../etc' is not available"),
        ("con360-tiny (built in)", {"video": "sd"}, "video is picked without motion"),
    ):
        with pytest.raises(ValueError, match=says):
            execute(model, "float32", **parts)
