// The door of the pack's widgets: which node carries which.

import { app } from "../../scripts/app.js";
import { addEditor } from "./editor.js";
import { chain, el, loadWords, setWidget } from "./parts.js";
import { addPlayer } from "./player.js";
import { addViewer } from "./viewer.js";

/** A node that was saved before it had its last widget, when there were centroids alone, keeps its meaning. */
function keepCentroids(node) {
  chain(node, "onConfigure", ({ widgets_values: saved }) => {
    if (saved && saved.length < node.widgets.length) setWidget(node, "choose_by", "centroid");
  });
}

const WIDGETS = {
  CentroidToBASD: addEditor,
  ViewpointByHand: addEditor,
  Load360Video: addViewer,
  OverlayPreview: addViewer,
  Reframe360Video: addViewer,
  Con360Compare: addPlayer,
  Con360Centroids: keepCentroids,
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
