"""Answer the browser in the user's language: help pages and shipped templates.

A frontend asks for a node's help in its own language first and complains on its console where there is none; it knows
no languages of a pack's templates. So these addresses come before the core's own, which send files as they are.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

# Not resolved: the core names a pack by its folder in custom_nodes, which may be a link.
PACK = Path(__file__).parents[2]
NOTES = ("MarkdownNote", "Note")
# These readers get English, as from the frontend: `locales/zh` is in simplified characters.
TRADITIONAL = ("zh-TW", "zh-HK", "zh-MO", "zh-Hant")
# The number of a step before a group's title.
_NUMBER = re.compile(r"^\d+ +")


def add_routes() -> None:
    """Add the addresses to the server; without a server there is nothing to do."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    server.routes.get(f"/extensions/{PACK.name}/docs/{{node}}/{{language}}.md")(_send_help)
    for path in sorted((PACK / "workflows").glob("*.json")):
        server.routes.get(f"/workflow_templates/{PACK.name}/{path.name}")(partial(_send_template, server, path))


async def _send_help(request: web.Request) -> web.StreamResponse:
    from aiohttp import web

    page = help_page(request.match_info["node"], request.match_info["language"])
    return web.FileResponse(page) if page else web.Response(status=404)


async def _send_template(server: Any, path: Path, request: web.Request) -> web.StreamResponse:
    from aiohttp import web

    settings = server.user_manager.settings.get_settings(request)
    language = spoken(settings.get("Comfy.Locale") or request.headers.get("Accept-Language", ""))
    workflow = translated(json.loads(path.read_text(encoding="utf-8")), texts_of(language))
    # The user may change the language.
    return web.json_response(workflow, headers={"Cache-Control": "no-store"})


def help_page(node: str, language: str) -> Path | None:
    """Find a node's help page in a language, else in English; None if the pack has no such node.

    A former id has the page of the node that took its place.
    """
    docs = PACK / "web" / "docs"
    own = {(path.parent.name, path.stem): path for path in docs.glob("*/*.md")}
    english = {path.stem: path for path in docs.glob("*.md")}
    pages = (own.get((name, language)) or english.get(name) for name in (node, f"Con360{node}"))
    return next(filter(None, pages), None)


def spoken(wish: str) -> str:
    """Read the language out of the frontend's setting or a browser's `Accept-Language`: `zh-CN,en;q=0.9` is `zh`."""
    tag = wish.split(",")[0].split(";")[0].strip()
    return tag if tag.startswith(TRADITIONAL) else tag.split("-")[0]


def texts_of(language: str) -> dict[str, str]:
    """Read the templates' texts in a language, by the English ones; empty for a language without."""
    found = {path.parent.name: path for path in PACK.glob("locales/*/templates.json")}
    return json.loads(found[language].read_text(encoding="utf-8")) if language in found else {}


def translated(workflow: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """Translate titles and notes of a workflow in the frontend's form, in place; a text that is not known stays.

    Args:
        workflow: as saved, subgraphs included.
        texts: translations of titles, without the number before them, and of the lines of notes.
    """
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", [])):
        for named in (*graph.get("groups", []), *graph["nodes"]):
            if "title" in named:
                named["title"] = _title(named["title"], texts)
        if "name" in graph:
            graph["name"] = _title(graph["name"], texts)
        for note in (node for node in graph["nodes"] if node["type"] in NOTES):
            note["widgets_values"][0] = "\n".join(
                texts.get(line, line) for line in note["widgets_values"][0].split("\n")
            )
    return workflow


def _title(title: str, texts: dict[str, str]) -> str:
    rest = _NUMBER.sub("", title)
    return title.removesuffix(rest) + texts.get(rest, rest)
