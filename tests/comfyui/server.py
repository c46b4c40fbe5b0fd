"""A real ComfyUI, headless, on folders of its own: find, start, ask, run, interrupt, stop.

Nothing is installed or downloaded. Found at `$COMFYUI_PATH`, else at comfy-cli's `~/comfy/ComfyUI`, else where this
pack is installed. Its interpreter is `$COMFYUI_PYTHON`, else a `.venv` or `venv` in its folder, else the one that runs
this.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parent.parent.parent
BOOT_SECONDS = 300.0


def find_comfyui() -> Path | None:
    """Return the folder of a ComfyUI checkout, or None."""
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named)] if named else [Path.home() / "comfy" / "ComfyUI"]
    if PACK.parent.name == "custom_nodes":
        places.append(PACK.parent.parent)
    return next((place for place in places if (place / "main.py").is_file()), None)


def version_of(comfyui: Path) -> str:
    text = (comfyui / "comfyui_version.py").read_text(encoding="utf-8")
    return re.search(r'__version__\s*=\s*"([^"]+)"', text).group(1)


def describe_installation() -> str:
    """Describe the installation for the closing line of a test run."""
    place = find_comfyui()
    if place is None:
        return "no ComfyUI at $COMFYUI_PATH or ~/comfy/ComfyUI: the real server was NOT tested"
    return f"ComfyUI {version_of(place)} found at {place}"


def python_of(comfyui: Path) -> str:
    places = [comfyui / folder / "bin" / "python" for folder in (".venv", "venv")]
    return os.environ.get("COMFYUI_PYTHON") or next((str(p) for p in places if p.exists()), sys.executable)


@dataclass
class Outcome:
    """Outcome of a prompt, from the server's own messages."""

    prompt_id: str = ""
    status: str = ""  # success, error, interrupted, refused
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    refusal: dict[str, Any] = field(default_factory=dict)
    previews: list[bytes] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.messages if name == kind]

    @property
    def ran(self) -> list[str]:
        """Ids of nodes that were executed, not taken from the cache."""
        return [data["node"] for data in self.of("executing") if data.get("node")]


class ComfyServer:
    """A server process; a context manager.

    Args:
        base: folder for its input, output, models and the rest; the pack is linked into its custom_nodes.
        comfyui: the checkout.
        pack_name: name of the pack's folder there.
        options: further arguments of the server.
    """

    def __init__(
        self, base: Path, comfyui: Path, pack_name: str = "Con360-AV", options: Sequence[str] = ()
    ) -> None:  # fmt: skip
        self.base, self.comfyui, self.pack_name, self.options = Path(base), comfyui, pack_name, options
        self.log_path = self.base / "server.log"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> ComfyServer:
        for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        link = self.base / "custom_nodes" / self.pack_name
        if not link.exists():
            link.symlink_to(PACK, target_is_directory=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [
            python_of(self.comfyui), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", self.address.split(":")[1],
            "--base-directory", str(self.base.resolve()), "--database-url", "sqlite:///:memory:",
            "--disable-auto-launch", "--disable-api-nodes", *self.options,
        ]  # fmt: skip
        self._log = self.log_path.open("w", encoding="utf-8")
        self.process = subprocess.Popen(command, cwd=self.comfyui, stdout=self._log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"ComfyUI did not start; its log ends in:\n{self.log()[-3000:]}") from None
                time.sleep(0.3)

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    # ---- its API

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def object_info(self) -> dict[str, Any]:
        return self.get("/object_info")

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def free(self) -> None:
        self.post("/free", {"unload_models": True, "free_memory": True})

    def forget(self) -> None:
        """Drop the history and what is kept of runs."""
        self.post("/history", {"clear": True})
        self.free()

    def run(
        self, prompt: dict[str, Any], on_message: Callable[[str, dict[str, Any]], None] | None = None,
        timeout_s: float = 600.0,
    ) -> Outcome:  # fmt: skip
        """Queue a prompt in API format, follow it over the websocket, and collect its outcome.

        Args:
            on_message: called with each message's type and data; may call `interrupt`.
        """
        return asyncio.run(asyncio.wait_for(self._run(prompt, on_message), timeout_s))

    async def _run(self, prompt: dict[str, Any], on_message: Callable[[str, dict[str, Any]], None] | None) -> Outcome:
        import aiohttp

        client, outcome = uuid.uuid4().hex, Outcome()
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"ws://{self.address}/ws?clientId={client}") as socket_:
                try:
                    queued = await asyncio.to_thread(self.post, "/prompt", {"prompt": prompt, "client_id": client})
                except urllib.error.HTTPError as error:
                    return Outcome(status="refused", refusal=json.load(error))
                outcome.prompt_id = queued["prompt_id"]
                # The server runs the valid outputs and only reports errors of the others.
                outcome.refusal = queued.get("node_errors") or {}
                async for message in socket_:
                    if message.type != aiohttp.WSMsgType.TEXT:
                        outcome.previews.append(message.data)
                        continue
                    kind, data = (parsed := json.loads(message.data))["type"], parsed["data"]
                    if data.get("prompt_id") not in (None, outcome.prompt_id):
                        continue
                    outcome.messages.append((kind, data))
                    if on_message is not None:
                        await asyncio.to_thread(on_message, kind, data)
                    if kind in ("execution_success", "execution_error", "execution_interrupted"):
                        outcome.status = kind.removeprefix("execution_")
                        break
        history = await asyncio.to_thread(self._history, outcome.prompt_id)
        outcome.outputs = history.get("outputs", {})
        return outcome

    def _history(self, prompt_id: str) -> dict[str, Any]:
        # The entry is written a moment after the last message.
        for _ in range(50):
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None:
                return entry
            time.sleep(0.1)
        raise RuntimeError(f"the server has no history of prompt {prompt_id}")

    def file(self, saved: dict[str, str]) -> Path:
        """Return the path of a file that a node's UI output names."""
        return self.base / saved["type"] / saved["subfolder"] / saved["filename"]
