// Looking around in a 360° video: drag to turn, wheel to zoom.

import { FieldSound } from "./field.js";
import { beneath } from "./geometry.js";
import { Hearing } from "./hearing.js";
import { AHEAD, Sphere, changeByKey, changeByWheel, drag, turned } from "./sphere.js";
import { sourceOf } from "./source.js";
import { Transport } from "./transport.js";
import * as parts from "./parts.js";

const { el, t } = parts;

class Viewer {
  /** `find` gives the picture of a node, as sourceOf does; it may be drawn and heard `through` turns of the sphere. */
  constructor(node, find) {
    this.node = node;
    this.find = find;
    this.view = AHEAD;
    this.overlay = true;
    this.video = parts.video();
    this.canvas = parts.picture(t("viewer"));
    this.hint = el("div", { class: "con360-hint" });
    this.hearing = new Hearing(this.video);
    this.field = new FieldSound(this.video);
    this.transport = new Transport(this.video, [], () => this.draw());
    this.sound = parts.button("volume-up", t("soundOff"), () => parts.toggleSound(this.video, this.sound));
    this.ears = parts.button("headphones", t("headphonesOn"), () => this.wear());
    this.home = parts.button("refresh", t("lookAhead"), () => this.turn(AHEAD));
    this.eye = parts.button("eye", t("overlayOff"), () => this.toggleOverlay());
    this.transport.bar.append(this.sound, this.ears, this.home, this.eye);
    this.facts = el("div", { class: "con360-facts" });
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    this.root = el("div", {}, stage, this.transport.bar, this.facts);
    this.canvas.addEventListener("pointerdown", (event) => drag(this.canvas, event, this.view, (to) => this.turn(to)));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.video.addEventListener("error", () => this.failed());
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  read() {
    return [this.find(this.node), parts.outputOf(this.node)];
  }

  update() {
    this.source = this.find(this.node);
    const { url, hint, ambisonic, made, lines, excerpt } = this.source;
    this.eye.hidden = !parts.outputOf(this.node)?.overlay;
    this.hint.textContent = url ? "" : t(hint ?? "runToSee");
    this.transport.play.disabled = !url;
    this.hearing.ambisonic = ambisonic;
    this.ears.hidden = !this.hearing.on;
    this.field.load(made?.field && parts.fileUrl(made.field)).catch(() => (this.hint.textContent = t("noHeadphones")));
    this.facts.replaceChildren(...lines.map((line) => el("div", {}, line)));
    parts.setSource(this.video, url);
    this.transport.setExcerpt(...excerpt);
    this.turn({});
  }

  /** The view in the stored picture. */
  get seen() {
    return (this.source?.through ?? []).reduceRight((view, turn) => beneath(turn, view), this.view);
  }

  failed() {
    if (this.video.dataset.url) this.hint.textContent = t("cannotPlay");
  }

  async wear() {
    if (!(await parts.toggleEars(this.hearing, this.ears))) this.hint.textContent = t("noHeadphones");
  }

  toggleOverlay() {
    this.overlay = !this.overlay;
    parts.setButton(this.eye, this.overlay ? "eye" : "eye-slash", t(this.overlay ? "overlayOff" : "overlayOn"));
    this.draw();
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
    event.preventDefault();
    event.stopPropagation();
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
    const { part, overlay } = this.source;
    this.sphere.draw(this.video, this.seen, (this.overlay && overlay) || part);
  }
}

export function addViewer(node, find = sourceOf) {
  const viewer = new Viewer(node, find);
  parts.showNoOther(node);
  parts.addPanel(node, "viewer_360", viewer.root);
  const gone = () => {
    viewer.transport.stop();
    viewer.hearing.stop();
    viewer.field.stop();
    viewer.sphere?.free();
  };
  parts.watch(node, () => viewer.read(), () => viewer.update(), gone);
}
