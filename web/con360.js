// Entry point of the pack's widgets: adds them to their nodes.

import { app } from "../../scripts/app.js";
import { addCandidates } from "./candidates.js";
import { addEditor } from "./editor.js";
import { addFindings } from "./findings.js";
import { chain, el, labelChoices, loadWords, setWidget } from "./parts.js";
import { addPlayer } from "./player.js";
import { followRuns, showLast } from "./results.js";
import { addLeveller } from "./level.js";
import { addTrackEditor } from "./track_editor.js";
import { addTrackPlayer } from "./track_player.js";
import { addViewer } from "./viewer.js";

/** Old workflows lack the last widget and knew only centroids: set `choose_by` to centroid for them. */
function keepCentroids(node) {
  chain(node, "onConfigure", ({ widgets_values: saved }) => {
    if (saved && saved.length < node.widgets.length) setWidget(node, "choose_by", "centroid");
  });
}

/** Of all nodes of the pack. */
const CATEGORY = "Con360-AV";

const WIDGETS = {
  CentroidToBASD: addEditor,
  Con360ViewpointByHand: addEditor,
  Reframe360Video: addEditor,
  Con360PlaceSound: addEditor,
  Load360Video: addViewer,
  Save360Video: addViewer,
  Con360OverlayPreview: addViewer,
  Con360AmbisonicsPreview: addViewer,
  Con360Level360Video: addLeveller,
  Con360Compare: addPlayer,
  Con360CheckClip: addFindings,
  Con360BestOf: addCandidates,
  Con360TimeTrack: addTrackEditor,
  Con360TimeTrackPreview: addTrackPlayer,
  Con360Centroids: keepCentroids,
  // Former ids.
  ViewpointByHand: addEditor,
  OverlayPreview: addViewer,
};

app.registerExtension({
  name: "Con360.Widgets",
  async init() {
    document.head.append(el("link", { rel: "stylesheet", href: new URL("con360.css", import.meta.url).href }));
    followRuns();
    await loadWords();
  },
  afterConfigureGraph: showLast,
  nodeCreated(node) {
    if (node.constructor.nodeData?.category === CATEGORY) labelChoices(node);
    WIDGETS[node.comfyClass]?.(node);
  },
});
