// Shows the clips of several seeds side by side, the best first, in sync; a click says whose sound is heard.

import { Transport } from "./transport.js";
import * as parts from "./parts.js";

const { el, t } = parts;
/** Least height of the panel. */
const HEIGHT = 300;

class Candidates {
  constructor(node) {
    this.node = node;
    this.best = parts.video();
    this.hint = el("div", { class: "con360-hint" });
    this.transport = new Transport(this.best, [], () => {});
    this.grid = el("div", { class: "con360-candidates" });
    this.root = el("div", {}, this.grid, this.hint, this.transport.bar);
  }

  update() {
    const { candidates = [] } = parts.outputOf(this.node) ?? {};
    for (const video of this.transport.followers) parts.setSource(video);
    this.videos = candidates.map((_, place) => (place ? parts.video() : this.best));
    // The lead stays: the transport listens to it.
    this.transport.followers = this.videos.slice(1);
    this.grid.replaceChildren(...candidates.map((one, place) => this.figure(one, place)));
    this.hint.textContent = candidates.length ? "" : t("runToSee");
    this.transport.play.disabled = !candidates.length;
    if (!candidates.length) parts.setSource(this.best);
    this.hear(0);
  }

  figure({ clip, text }, place) {
    const video = this.videos[place];
    parts.setSource(video, parts.fileUrl(clip));
    const label = t("candidate", { rank: place + 1, figures: text });
    const choose = el("button", { type: "button", "aria-label": t("hearCandidate", { rank: place + 1 }) }, video);
    choose.addEventListener("click", () => this.hear(place));
    return el("figure", {}, choose, el("figcaption", {}, label));
  }

  /** Let one clip be heard, and mark it. */
  hear(place) {
    for (const [i, video] of (this.videos ?? []).entries()) {
      video.muted = i !== place;
      video.closest("figure").toggleAttribute("data-heard", i === place);
    }
  }
}

export function addCandidates(node) {
  const shown = new Candidates(node);
  parts.addPanel(node, "candidates", shown.root, HEIGHT);
  parts.watch(node, () => [parts.outputOf(node)], () => shown.update(), () => shown.transport.stop());
}
