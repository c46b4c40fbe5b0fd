// The door of the pack's widgets: which node carries which.

import { app } from "../../scripts/app.js";
import { addEditor } from "./editor.js";
import { el, loadWords } from "./parts.js";
import { addPlayer } from "./player.js";
import { addViewer } from "./viewer.js";

const WIDGETS = {
  CentroidToBASD: addEditor,
  ViewpointByHand: addEditor,
  Load360Video: addViewer,
  OverlayPreview: addViewer,
  Reframe360Video: addViewer,
  Con360Compare: addPlayer,
};

app.registerExtension({
  name: "Con360.Widgets",
  async init() {
    document.head.append(el("link", { rel: "stylesheet", href: new URL("con360.css", import.meta.url).href }));
    await loadWords();
  },
  nodeCreated(node) {
    WIDGETS[node.comfyClass]?.(node);
  },
});
