"""Find a browser, drive it on a real ComfyUI, and collect the errors of its console."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfyui.server import ComfyServer

# Software rendering, so that WebGL works without a display; sound may start without a click.
FLAGS = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
SIZE = {"width": 1200, "height": 800}
SETTINGS = {
    "Comfy.TutorialCompleted": True, "Comfy.UseNewMenu": "Top", "Comfy.VueNodes.AutoScaleLayout": False,
    "Comfy.Workflow.Persist": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasMenu": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}  # fmt: skip

# Complaints that are not the pack's: a new frontend asks an older server, a fresh profile has no files, the default
# workflow looks for models, and frontend 1.27's minimap loses count of graphs when a subgraph is left.
NOT_OURS = ("/jobs", "JobsApi", "/userdata", "user.css", "favicon", "/global_subgraphs", "huggingface.co",
            "cleanup event listeners for graph")  # fmt: skip


def missing() -> str | None:
    """Name what the browser tests lack, in a sentence; None where nothing is missing."""
    if importlib.util.find_spec("playwright") is None:
        return "no Playwright (pip install playwright): the widgets were NOT tested in a browser"
    if chromium() is None:
        return "no chromium on the PATH or at $CHROMIUM: the widgets were NOT tested in a browser"
    return None


def chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def current_frontend() -> Path:
    """Return the files of the `comfyui-frontend-package` that is installed with the tests."""
    spec = importlib.util.find_spec("comfyui_frontend_package")
    return Path(spec.submodule_search_locations[0]) / "static"


@dataclass
class ComfyPage:
    """A page of the frontend."""

    page: Any
    server: ComfyServer
    name: str = ""
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def _heard(self, message: Any) -> None:
        text = f"{message.text} ({message.location.get('url')})"
        if message.type == "error" and not any(name in text for name in NOT_OURS):
            self.complaints.append(text)

    def open(self, **settings: Any) -> ComfyPage:
        """Open the frontend with these settings; its own complaints at the start are dropped."""
        self.server.post("/settings", {**SETTINGS, **settings})
        self.page.goto(f"http://{self.server.address}/", wait_until="commit")
        self.ready()
        self.complaints.clear()
        return self

    def ready(self) -> ComfyPage:
        self.page.wait_for_function(
            "() => window.app?.graph && window.app.extensions.some(e => e.name === 'Con360.Widgets') "
            "&& !document.querySelector('#splash-loader')"
        )
        self.page.wait_for_timeout(1500)
        return self

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow as the frontend opens a file."""
        self.run("async workflow => { await window.app.loadGraphData(workflow) }", workflow)
        self.drawn()

    def open_template(self, name: str) -> None:
        """Open a shipped template as the frontend's template browser does."""
        self.run(
            """async (address) => {
              const { api } = await import("/scripts/api.js");
              const workflow = await (await fetch(api.apiURL(`/workflow_templates/${address}.json`))).json();
              await window.app.loadGraphData(workflow);
            }""",
            f"{self.server.pack_name}/{name}",
        )
        self.drawn()

    def show(self, *types: str) -> None:
        """Bring nodes into the middle of the window."""
        self.run(
            """types => {
              const nodes = window.app.graph._nodes.filter((n) => types.includes(n.type));
              const canvas = window.app.canvas;
              const left = Math.min(...nodes.map((n) => n.pos[0])), top = Math.min(...nodes.map((n) => n.pos[1])) - 40;
              const right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0]));
              const bottom = Math.max(...nodes.map((n) => n.pos[1] + n.size[1]));
              const [w, h] = [canvas.canvas.clientWidth - 120, canvas.canvas.clientHeight - 120];
              canvas.ds.scale = Math.min(1.5, w / (right - left), h / (bottom - top));
              canvas.ds.offset[0] = (-(left + right) + (w + 120) / canvas.ds.scale) / 2;
              canvas.ds.offset[1] = (-(top + bottom) + (h + 120) / canvas.ds.scale) / 2;
              canvas.setDirty(true, true);
            }""",
            list(types),
        )
        self.drawn()

    def drawn(self) -> None:
        """Wait for a few redraws of the window, so that widgets lie on their nodes."""
        frame = "new Promise((done) => requestAnimationFrame(done))"
        self.run(f"async () => {{ for (let i = 0; i < 4; i++) await {frame}; }}")
        self.page.wait_for_timeout(500)

    def value(self, kind: str, name: str) -> Any:
        return self.run(
            "([kind, name]) => window.app.graph._nodes.find((n) => n.type === kind)"
            ".widgets.find((w) => w.name === name).value", [kind, name],
        )  # fmt: skip

    def set_value(self, kind: str, name: str, value: Any) -> None:
        self.run(
            "([kind, name, value]) => { const w = window.app.graph._nodes.find((n) => n.type === kind)"
            ".widgets.find((w) => w.name === name); w.value = value; w.callback?.(value) }", [kind, name, value],
        )  # fmt: skip

    def prompt(self) -> dict[str, Any]:
        """Return the prompt that would be sent to the server now, in API format."""
        return self.run("async () => (await window.app.graphToPrompt()).output")

    def queue(self, timeout_s: float = 240) -> None:
        """Run the workflow as the Run button does, and wait until the server has done it."""
        before = len(self.server.get("/history"))
        self.run("async () => { await window.app.queuePrompt(0, 1) }")
        for _ in range(int(timeout_s * 5)):
            history = self.server.get("/history")
            if len(history) > before:
                break
            self.page.wait_for_timeout(200)
        else:
            raise TimeoutError("the server did not finish the prompt")
        status = list(history.values())[-1]["status"]
        assert status["status_str"] == "success", status["messages"][-1]
        self.page.wait_for_timeout(2000)

    def panel(self, kind: str, what: str = "canvas") -> Any:
        """Find an element of a node's widget; the graph that is open has one node of the kind."""
        self.run(
            "kind => window.app.canvas.graph._nodes.find((n) => n.type === kind).widgets"
            ".find((w) => w.element?.classList.contains('con360')).element.dataset.test = kind", kind,
        )  # fmt: skip
        return self.page.locator(f"[data-test={kind}] {what}").first

    def shot(self, what: str) -> None:
        """Save a screenshot in `$CON360_SCREENSHOTS`; without it do nothing, since drawing takes long."""
        folder = os.environ.get("CON360_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{self.name}_{what}.png"))


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()
