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


def test_no_server_routes_and_no_markup_from_text():
    """The pack adds no route to ComfyUI's server, and its web extension never turns text into markup."""
    python = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "nodes").rglob("*.py"))
    assert not re.search(r"PromptServer|aiohttp|add_routes|\.routes\b", python + (ROOT / "__init__.py").read_text())
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
