// Looking around in a 360° video: drag to turn, wheel to zoom.

import { FieldSound } from "./field.js";
import { beneath } from "./geometry.js";
import { Hearing } from "./hearing.js";
import { Panel } from "./panel.js";
import { AHEAD, Sphere, changeByKey, changeByWheel, drag, turned } from "./sphere.js";
import { sourceOf } from "./source.js";
import * as parts from "./parts.js";

const { el, t } = parts;

class Viewer extends Panel {
  /** `find` gives the picture of a node, as sourceOf does; it may be drawn and heard `through` turns of the sphere. */
  constructor(node, find) {
    super(node, (video) => new Hearing(video));
    this.find = find;
    this.view = AHEAD;
    this.canvas = parts.picture(t("viewer"));
    this.field = new FieldSound(this.video);
    this.home = parts.button("refresh", t("lookAhead"), () => this.turn(AHEAD));
    this.transport.bar.append(this.sound, this.ears, this.home, this.eye);
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    this.root = el("div", {}, stage, this.transport.bar, this.facts);
    this.canvas.addEventListener("pointerdown", (event) => drag(this.canvas, event, this.view, (to) => this.turn(to)));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  read() {
    return [this.find(this.node), parts.outputOf(this.node)];
  }

  update() {
    const found = this.find(this.node);
    this.source = found.instead && found.url === this.unplayed ? { ...found, ...found.instead } : found;
    const { url, ambisonic, made } = this.source;
    this.eye.hidden = !parts.outputOf(this.node)?.overlay;
    this.transport.play.disabled = !url;
    this.hearing.ambisonic = ambisonic;
    this.field.load(made?.field && parts.fileUrl(made.field)).catch(() => (this.hint.textContent = t("noHeadphones")));
    this.show();
    this.turn({});
  }

  failed() {
    super.failed();
    const { url, instead } = this.source;
    if (instead && url !== instead.url) this.update();
  }

  /** The view in the stored picture. */
  get seen() {
    return (this.source?.through ?? []).reduceRight((view, turn) => beneath(turn, view), this.view);
  }

  turn(change) {
    this.view = turned(this.view, change);
    this.hearing.turn(this.seen);
    this.field.turn(this.seen);
    this.draw();
  }

  wheel(event) {
    if (parts.takesWheel(this.canvas, event)) this.turn(changeByWheel(this.view, event));
  }

  key(event) {
    const change = changeByKey(this.view, event);
    const plays = event.key === " " && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!change && !plays) return;
    parts.claim(event);
    if (change) this.turn(change);
    else this.transport.toggle();
  }

  draw() {
    if (this.video.readyState < 2 || !this.canvas.width) return;
    // Browsers limit the number of WebGL contexts, so create one only when there is something to show.
    this.sphere ??= new Sphere(this.canvas);
    if (!this.sphere.gl) {
      this.hint.textContent = t("noWebgl");
      return;
    }
    this.sphere.draw(this.video, this.seen, this.part);
  }

  free() {
    super.free();
    this.field.stop();
    this.sphere?.free();
  }
}

export function addViewer(node, find = sourceOf) {
  const viewer = new Viewer(node, find);
  parts.showNoOther(node);
  parts.addPanel(node, "viewer_360", viewer.root);
  parts.watch(node, () => viewer.read(), () => viewer.update(), () => viewer.free());
}
