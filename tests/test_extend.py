"""Run every block of `docs/extend.md`: a third map and a signal, from their files to a generated clip."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from shared_data import ROOT

from con360.control import encode_control, inputs
from con360.errors import InputError
from con360.records import Signal


def blocks() -> list[str]:
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory):
    """Write the files of the page, run its other blocks, and yield the names that they define."""
    names: dict[str, Any] = {"__name__": "example"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("extend"))
        patch.syspath_prepend(str(Path.cwd()))
        for table in ("_MAP_MAKERS", "_SIGNAL_MAKERS"):
            patch.setattr(inputs, table, {})
        for number, block in enumerate(blocks()):
            if named := re.match(r"# (\w+\.py)\n", block):
                Path(named[1]).write_text(block, encoding="utf-8")
            else:
                exec(compile(block, f"extend.md, block {number}", "exec"), names)  # noqa: S102
        yield names
    for name in ("motion", "loudness"):
        del sys.modules[name]


@pytest.mark.slow
def test_the_page_ends_in_a_clip_steered_by_both(page: dict[str, Any]) -> None:
    assert page["made"].frames.shape[0] == 4 and page["made"].sound.duration_s == 0.5
    config = page["trained"].module.config
    assert (config.channels, config.signals) == (("saliency", "basd", "motion"), {"loudness": 1})
    assert set(page["conditions"].maps) == {"motion"} and set(page["conditions"].signals) == {"loudness"}
    assert page["conditions"].signals["loudness"].values.max() > 0


def film(page: dict[str, Any], module: Any, **strengths: float) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    spec = page["ClipSpec"](0.5)
    return encode_control(
        module, page["conditions"], page["model"].site_shapes(spec), fps=spec.fps,
        audio_seconds=spec.latent_seconds_a, strengths=strengths,
    )  # fmt: skip


def same(a: dict[str, tuple[torch.Tensor, torch.Tensor]], b: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> bool:
    return all(torch.allclose(x, y, rtol=1e-4, atol=1e-5) for site in a for x, y in zip(a[site], b[site], strict=True))


@pytest.mark.slow
def test_before_training_the_extended_control_acts_as_the_old_one(page: dict[str, Any]) -> None:
    assert same(film(page, page["old"].module), film(page, page["control"].eval()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["motion", "loudness"])
def test_training_makes_both_take_effect(page: dict[str, Any], name: str) -> None:
    trained = page["trained"].module
    on, off = film(page, trained), film(page, trained, **{name: 0.0})
    assert any(not torch.equal(on[site][0], off[site][0]) for site in on)


@pytest.mark.slow
def test_the_file_names_what_it_reads_and_says_what_is_missing(page: dict[str, Any]) -> None:
    with safe_open(page["trained"].path, framework="pt") as file:
        assert '"motion"' in file.metadata()["config"] and "map_channels" not in file.metadata()["config"]
    bare = replace(page["conditions"], maps={}, signals={})
    for given, wanted in (
        (bare, "the map 'motion'"),
        (replace(bare, maps=page["conditions"].maps), "the signal 'loudness'"),
    ):
        with pytest.raises(InputError, match=wanted):
            film({**page, "conditions": given}, page["trained"].module)
    assert film({**page, "conditions": bare}, page["trained"].module, motion=0.0, loudness=0.0)


@pytest.mark.parametrize("register", [inputs.map_maker, inputs.signal_maker])
def test_the_methods_own_names_are_refused(register) -> None:
    with pytest.raises(InputError, match="taken by the method"):
        register("basd")(lambda clip: Signal(torch.zeros(1), 1.0))
