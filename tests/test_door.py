"""Test the names that `import con360` offers, and that importing stays cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from shared_data import ROOT

import con360
from con360.control import LoadedControl, extend_control, inputs
from con360.errors import InputError
from con360.records import PanoramaClip, SaliencyMaps


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, con360, con360.choices\nassert 'generate' in dir(con360)\n"
        "heavy = {'torch', 'numpy', 'av', 'cv2', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", con360.__all__)
def test_each_name_is_the_librarys_own(name: str) -> None:
    found = getattr(con360, name)
    assert found is getattr(import_module(found.__module__), name) and found.__doc__
    assert not (ROOT / "con360" / name).is_dir(), "the name hides a subpackage"


def test_editors_see_the_names_that_are_offered() -> None:
    tree = ast.parse(Path(con360.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for line in block.body if isinstance(line, ast.ImportFrom) for alias in line.names}
    assert seen == set(con360.__all__) == set(con360._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        con360.nothing  # noqa: B018


def test_the_page_documents_every_name() -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)", page, re.MULTILINE)) == set(con360.__all__)


def clip() -> PanoramaClip:
    return PanoramaClip(torch.rand(4, 3, 32, 64, generator=torch.Generator().manual_seed(1)), 8.0)


def test_conditions_read_saliency_as_the_control_was_trained() -> None:
    panorama, (_, control) = clip(), con360.load_model(device="cpu")
    assert isinstance(control, LoadedControl)
    view = con360.manual_viewpoint(30.0, 0.0, 90.0, 4)
    made = con360.make_conditions(panorama, view, control, caption="a red disc")
    assert made.saliency.method == control.saliency and made.caption.short == "a red disc"
    assert con360.make_conditions(panorama, view).saliency.method == "multi-cue"
    own = SaliencyMaps(torch.ones(4, 32, 64), "mine")
    assert con360.make_conditions(panorama, view, control, saliency=own).saliency is own


def test_conditions_hold_the_further_maps_that_a_control_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    _, control = con360.load_model(device="cpu")
    assert control is not None
    monkeypatch.setattr(inputs, "_MAP_MAKERS", {"flat": lambda panorama: torch.full((4, 32, 64), 0.5)})
    extended = replace(control, module=extend_control(control.module, maps=("flat",)))
    made = con360.make_conditions(clip(), con360.manual_viewpoint(0.0, 0.0, 90.0, 4), extended)
    assert list(made.maps) == ["flat"]


def test_a_control_that_needs_saliency_weights_asks_for_them() -> None:
    from dataclasses import replace

    _, control = con360.load_model(device="cpu")
    assert control is not None
    with pytest.raises(InputError, match="give saliency=clip_saliency"):
        con360.make_conditions(
            clip(), con360.manual_viewpoint(0.0, 0.0, 90.0, 4), replace(control, saliency="salvit360")
        )


def test_readme_shows_the_method_in_six_lines() -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    first, *lines = [line for line in example.splitlines() if line]
    assert first == "import con360" and len(lines) == 6 and "import" not in "".join(lines)
