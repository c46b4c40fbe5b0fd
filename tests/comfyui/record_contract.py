"""Record `tests/contract/object_info_<version>.json` from a real server: `python -m tests.comfyui.record_contract`.

Run it after a deliberate change of a node's interface, or for a newer ComfyUI; then review the difference.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.comfyui.server import ComfyServer, find_comfyui, version_of
from tools.host import contract


def main() -> None:
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI found; set COMFYUI_PATH")
    with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base), comfyui) as server:
        info = server.object_info()
    ours = [name for name, entry in info.items() if entry["category"] == "Con360-AV"]
    path = contract.FOLDER / f"object_info_{version_of(comfyui)}.json"
    text = json.dumps(contract.normalise(info, ours), indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{len(ours)} nodes of this pack written to {path}")


if __name__ == "__main__":
    main()
