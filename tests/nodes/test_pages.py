"""Test what the browser is sent in the user's language: help pages, templates, labels of choices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from shipped_runs import SHIPPED, read

from tools.host import Host
from tools.host.run import PACK

pytestmark = pytest.mark.standin

# Languages other than English, whose texts stand in the nodes and templates themselves.
LANGUAGES = sorted(path.name for path in (PACK / "locales").iterdir() if path.is_dir() and path.name != "en")


@pytest.fixture(scope="module")
def pages(pack: Any) -> Any:
    return pack("nodes.host.pages")


def shown(workflow: dict[str, Any], kinds: tuple[str, ...]) -> Iterator[str]:
    """Yield the titles, names and lines of notes of a workflow."""
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", [])):
        titles = [named["title"] for named in (*graph.get("groups", []), *graph["nodes"]) if "title" in named]
        for title in [*titles, *([graph["name"]] if "name" in graph else [])]:
            yield re.sub(r"^\d+ +", "", title)
        for node in graph["nodes"]:
            if node["type"] in kinds:
                yield from filter(None, node["widgets_values"][0].split("\n"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_title_and_note_of_the_templates_is_translated(pages: Any, language: str) -> None:
    texts = pages.texts_of(language)
    wanted = {text for path in SHIPPED for text in shown(read(path), pages.NOTES)}
    assert wanted - set(texts) == set(), "texts to translate"
    assert set(texts) - wanted == set(), "texts that no template has any more"
    assert [text for text, own in texts.items() if own == text] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translated_template_differs_in_its_texts_alone(pages: Any, language: str) -> None:
    texts = pages.texts_of(language)
    for path in SHIPPED:
        workflow = pages.translated(read(path), texts)
        assert not set(shown(workflow, pages.NOTES)) & set(texts), path.stem
        back = pages.translated(workflow, {own: text for text, own in texts.items()})
        # Two texts may share a translation, so titles and notes may come back as each other's.
        assert json.dumps(_without_texts(back, pages)) == json.dumps(_without_texts(read(path), pages)), path.stem


def _without_texts(workflow: dict[str, Any], pages: Any) -> dict[str, Any]:
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", [])):
        for named in (*graph.get("groups", []), *graph["nodes"], graph):
            named.pop("title", None)
            if named.get("type") in pages.NOTES:
                named["widgets_values"] = []
        graph.pop("name", None)
    return workflow


def test_a_users_own_texts_stay(pages: Any) -> None:
    workflow = {
        "groups": [{"title": "1  Results"}, {"title": "My results"}],
        "nodes": [{"type": "MarkdownNote", "widgets_values": ["Known\n\nmine"], "title": "Results"},
                  {"type": "CubemapCaption", "widgets_values": ["Known"]}],
        "definitions": {"subgraphs": [{"name": "Results", "nodes": [], "groups": [{"title": "Known"}]}]},
    }  # fmt: skip
    assert pages.translated(workflow, {"Results": "R", "Known": "K"}) == {
        "groups": [{"title": "1  R"}, {"title": "My results"}],
        "nodes": [{"type": "MarkdownNote", "widgets_values": ["K\n\nmine"], "title": "R"},
                  {"type": "CubemapCaption", "widgets_values": ["Known"]}],
        "definitions": {"subgraphs": [{"name": "R", "nodes": [], "groups": [{"title": "K"}]}]},
    }  # fmt: skip


def test_help_is_found_in_every_language_of_a_browser(pages: Any) -> None:
    docs = PACK / "web" / "docs"
    for path in sorted(docs.glob("*.md")):
        assert pages.help_page(path.stem, "en") == pages.help_page(path.stem, "de") == path
        assert pages.help_page(path.stem, "zh") == docs / path.stem / "zh.md"
    # A former id shows the page of its node.
    assert pages.help_page("ViewpointCrop", "zh") == docs / "Con360ViewpointCrop" / "zh.md"
    assert pages.help_page("NoNode", "en") is None
    assert pages.help_page("..", "README") is pages.help_page("images", "../../../README") is None


@pytest.mark.parametrize(
    ("wish", "language"),
    [("zh", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("zh-TW", "zh-TW"), ("zh-Hant-HK, en", "zh-Hant-HK"),
     ("en-GB,en;q=0.5", "en"), ("", ""), ("../zh", "../zh")],
)  # fmt: skip
def test_the_language_is_read_as_the_frontend_reads_it(pages: Any, wish: str, language: str) -> None:
    assert pages.spoken(wish) == language
    assert bool(pages.texts_of(language)) == (language == "zh")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_choice_has_a_label(host: Host, language: str) -> None:
    labels = json.loads((PACK / "locales" / language / "main.json").read_text(encoding="utf-8"))["con360Values"]
    offered = set()
    for entry in host.object_info().values():
        if entry["python_module"] == "pack":
            for inputs in entry["input"].values():
                offered |= {value for spec in inputs.values() if isinstance(spec, (list, tuple))
                            for value in (spec[0] if isinstance(spec[0], list) else _options(spec))}  # fmt: skip
    assert len(offered) > 40
    assert {value for value in offered if re.search("[A-Za-z]", value)} - set(labels) == set(), "choices to translate"


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_name_a_choice_by_its_label_and_as_stored(language: str) -> None:
    """Readers see the label, but an older frontend, the API and saved files have the value."""
    labels = json.loads((PACK / "locales" / language / "main.json").read_text(encoding="utf-8"))["con360Values"]
    differ = {value for value, label in labels.items() if label.lower() != value.lower()}
    help_pages = [path.read_text(encoding="utf-8") for path in (PACK / "web" / "docs").glob(f"*/{language}.md")]
    spans = [span for page in help_pages for span in re.findall(r"（?`[^`\n]+`", page)]
    # A value or an input in brackets follows its name.
    assert [span for span in spans if not span.startswith("（") and span[1:-1] in differ] == []
    tips = (PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8")
    assert set(re.findall(r"'([^'\n]+)'", tips)) & differ == set()


def _options(spec: Any) -> list[str]:
    return spec[1].get("options", []) if spec[0] == "COMBO" else []
