"""Test the promises of SECURITY.md with few trials each; `python -m tests.reliability` makes many."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import ROOT

from reliability.__main__ import CHECKS, run_check
from reliability.figures import EFFORTS
from reliability.guards import GUARDS

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="processes apart are started by a fork server"
)
# The checks that take only seconds with few trials.
FAST = {"paths", "fuzz", "sync"}


@pytest.mark.standin
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CHECKS])
def test_promises_hold(name):
    found = run_check(name, EFFORTS["test"])
    assert found and [line for figure in found for line in figure.failures] == []
    if untried := [figure.outcome for figure in found if "NOT TRIED" in figure.outcome]:
        pytest.skip(untried[0])


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: f"{guard.check}: {guard.what}")
def test_the_text_of_every_guard_stands_once_in_its_file(guard):
    assert (ROOT / guard.file).read_text(encoding="utf-8").count(guard.text) == 1


def test_every_check_stands_in_the_security_policy():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`reliability/(\w+)`", text))
    here = {path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef figures(" in path.read_text()}
    assert named == set(CHECKS) == here
    tests = re.findall(r"`(tests/[\w/.]+\.py)`", text)
    assert tests and all((ROOT / name).is_file() for name in tests)


def test_routes_send_own_pages_alone_and_no_markup_comes_from_text():
    """One module adds addresses to ComfyUI's server, to be read alone; the web extension turns no text into markup."""
    sources = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "nodes").rglob("*.py")}
    sources |= {"pack": (ROOT / "__init__.py").read_text(encoding="utf-8")}
    asking = {name for name, text in sources.items() if re.search(r"aiohttp|\.routes\b", text)}
    assert asking == {"pages.py"}
    assert set(re.findall(r"\.routes\.(\w+)", sources["pages.py"])) == {"get"}
    scripts = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "web").rglob("*.js")}
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser"
    assert scripts and {name for name, text in scripts.items() if re.search(forbidden, text)} == set()


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=300))
def test_captions_of_any_unicode(tokenizers, text):
    from con360.caption import typed_caption

    caption = typed_caption(text)
    for tokenizer in tokenizers:
        ids = tokenizer(caption.short, truncation=True, max_length=12)["input_ids"]
        assert ids and max(ids) < len(tokenizer)


@pytest.fixture(scope="module")
def tokenizers():
    from con360.weights.find import model_folder
    from con360.weights.load import load_part

    return [load_part(model_folder(), name) for name in ("tokenizer_v", "tokenizer_a")]
