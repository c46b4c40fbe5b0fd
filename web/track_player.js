// Plays the sound that came of a time track, and draws over it what was asked and what came.

import { Hearing } from "./hearing.js";
import { Panel } from "./panel.js";
import { ASKED, CAME, TrackView } from "./track_view.js";
import * as parts from "./parts.js";

const { el, t } = parts;
/** Least height of the panel: that of .con360-came, and the widget's own margins. */
const HEIGHT = 360;

class TrackPlayer extends Panel {
  constructor(node) {
    super(node, (video) => new Hearing(video));
    this.canvas = parts.picture(t("trackPlayer"));
    this.view = new TrackView(this.canvas);
    this.video.classList.add("con360-filmed");
    this.transport.bar.append(this.sound);
    const key = (name, colour) => {
      const patch = el("i", { class: "con360-patch", "aria-hidden": "true" });
      patch.style.background = colour;
      return el("span", {}, patch, t(name));
    };
    const legend = el("div", { class: "con360-bar" }, key("asked", ASKED), key("came", CAME));
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    this.root = el("div", { class: "con360-track con360-came" }, this.video, stage, this.transport.bar, legend,
      this.facts);
    this.canvas.addEventListener("pointerdown", (event) => event.button || this.view.scrub(event, this.transport));
    this.canvas.addEventListener("wheel", (event) => this.view.wheel(event) && this.draw(), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const go = (by) => () => this.transport.seek(this.view.within(this.transport.time + by));
    const action = { ArrowLeft: go(-0.1), ArrowRight: go(0.1), " ": () => this.transport.toggle() }[event.key];
    if (!action) return;
    parts.claim(event);
    action();
  }

  update() {
    const { clip, picture, seconds = 4, notices = [] } = parts.outputOf(this.node) ?? {};
    this.view.setDuration(seconds);
    this.source = { url: clip && parts.fileUrl(clip), hint: "runToHear", lines: notices, excerpt: [] };
    this.video.hidden = !picture;
    this.transport.play.disabled = !clip;
    this.show();
    this.draw();
  }

  draw() {
    if (!this.view) return;
    const { wave, asked, came } = parts.outputOf(this.node) ?? {};
    this.view.draw((pen) => {
      if (asked) this.#paint(pen, wave, asked, came);
      this.view.drawPlayhead(pen, this.transport.time);
    });
  }

  #paint(pen, wave, asked, came) {
    const { view } = this;
    view.drawWave(pen, wave);
    view.drawHeard(pen, came.onsets, CAME);
    view.drawLevels(pen, came.levels, CAME);
    view.drawLevels(pen, asked.levels, ASKED);
    view.drawOnsets(pen, asked.onsets, ASKED);
    view.drawLevelGrid(pen);
  }
}

export function addTrackPlayer(node) {
  const player = new TrackPlayer(node);
  parts.addPanel(node, "track_player", player.root, HEIGHT);
  parts.watch(node, () => [parts.outputOf(node)?.clip], () => player.update(), () => player.free());
}
