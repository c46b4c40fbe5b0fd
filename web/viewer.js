// Looking around in a 360° video: drag to turn, wheel to zoom.

import { FieldSound } from "./field.js";
import { Hearing } from "./hearing.js";
import { AHEAD, Sphere, changeByKey, changeByWheel, drag, turned } from "./sphere.js";
import { Transport } from "./transport.js";
import * as parts from "./parts.js";

const { el, t } = parts;
const SAMPLE = "[built-in sample]";

class Viewer {
  constructor(node) {
    this.node = node;
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
    return ["video", "eye"].map((name) => parts.widgetOf(this.node, name)?.value).concat(parts.outputOf(this.node));
  }

  update() {
    const shown = parts.outputOf(this.node);
    const [file, eye] = this.read();
    const fromFile = typeof file === "string" && file !== SAMPLE;
    // Results of a run hold only for the file that it read.
    const known = shown && shown.video === file ? shown : {};
    this.stacked = !fromFile && Boolean(shown?.panorama);
    this.part = fromFile ? eyePart(known.stereo, eye) : [0, 0, 1, 1];
    this.eye.hidden = !shown?.overlay;
    const made = shown?.panorama ?? shown?.sample;
    const url = fromFile ? parts.fileUrl(named(file)) : made && parts.fileUrl(made);
    this.hint.textContent = url ? "" : t("runToSee");
    this.transport.play.disabled = !url;
    this.hearing.ambisonic = Boolean((fromFile ? known : made)?.ambisonic);
    this.ears.hidden = !this.hearing.on;
    this.field.load(made?.field && parts.fileUrl(made.field)).catch(() => (this.hint.textContent = t("noHeadphones")));
    const lines = [known.found && describe(known.found), ...(known.notices ?? [])].filter(Boolean);
    this.facts.replaceChildren(...lines.map((line) => el("div", {}, line)));
    parts.setSource(this.video, url);
    this.draw();
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
    this.hearing.turn(this.view);
    this.field.turn(this.view);
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
    const part = this.stacked ? [0, this.overlay ? 0.5 : 0, 1, 0.5] : this.part;
    this.sphere.draw(this.video, this.view, part);
  }
}

export function addViewer(node) {
  const viewer = new Viewer(node);
  // Keep the frontend from showing its own flat preview, for which it would request a file of the sample's name:
  // `isLoading` does so in the classic canvas, `hideOutputImages` in Nodes 2.0.
  node.isLoading = true;
  node.hideOutputImages = true;
  parts.addPanel(node, "viewer_360", viewer.root);
  const gone = () => {
    viewer.transport.stop();
    viewer.hearing.stop();
    viewer.field.stop();
    viewer.sphere?.free();
  };
  parts.watch(node, () => viewer.read(), () => viewer.update(), gone);
}

/** Describe a file in one line: size, rate, length, projection, sound. */
function describe({ width, height, fps, seconds, projection, stereo, channels, layout, sample_rate_hz }) {
  const heard = { mono: t("mono"), stereo: t("stereo"), ambix: t("ambix") }[layout] ?? t("channels", { count: channels });
  return [
    `${width}×${height}`, fps && `${Number(fps.toFixed(2))} fps`, seconds && `${seconds.toFixed(1)} s`, projection,
    stereo !== "mono" && stereo, channels ? `${heard} ${sample_rate_hz / 1000} kHz` : t("silent"),
  ].filter(Boolean).join(" · ");
}

/** Parse a widget's value, such as `folder/name.mp4 [output]`, for the server's `/view`. */
export function named(value) {
  const [, path, type = "input"] = value.match(/^(.*?)(?: \[(input|output|temp)\])?$/s);
  const cut = path.lastIndexOf("/");
  return { filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(0, cut)), type };
}

/** The part of a stereo picture for the chosen eye. */
export function eyePart(stereo, eye) {
  const second = eye === "right" ? 0.5 : 0;
  if (eye === "whole") return [0, 0, 1, 1];
  if (stereo === "top-bottom") return [0, second, 1, 0.5];
  if (stereo === "left-right") return [second, 0, 0.5, 1];
  return [0, 0, 1, 1];
}
