// Shows the result beside the real view, and the panorama with its conditions, all in sync.

import { Transport } from "./transport.js";
import { OVERLAY, PLAIN } from "./source.js";
import * as parts from "./parts.js";

const { el, t } = parts;
const SOUNDS = ["generated", "real", "off"];

class Player {
  constructor(node) {
    this.node = node;
    this.overlay = true;
    this.sound = "generated";
    this.videos = { generated: parts.video(), real: parts.video(), panorama: parts.video() };
    const { generated, real, panorama } = this.videos;
    this.canvas = el("canvas", { class: "con360-picture", role: "img", "aria-label": t("panorama") });
    this.panorama = el("div", { class: "con360-stage" }, this.canvas);
    this.hint = el("div", { class: "con360-hint" });
    const figure = (video, name) => el("figure", {}, video, el("figcaption", {}, t(name)));
    this.pair = el("div", { class: "con360-pair" }, figure(generated, "generated"), figure(real, "real"), this.hint);
    this.transport = new Transport(generated, [real, panorama], () => this.draw());
    this.loud = parts.button("volume-up", "", () => this.nextSound());
    this.eye = parts.button("eye", t("overlayOff"), () => parts.toggleOverlay(this));
    this.heard = el("span", { class: "con360-clock" });
    this.transport.bar.append(this.loud, this.heard, this.eye);
    this.root = el("div", {}, this.pair, this.panorama, this.transport.bar);
    panorama.muted = true;
    this.setSound("generated");
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  update() {
    const shown = parts.outputOf(this.node) ?? {};
    for (const [name, video] of Object.entries(this.videos)) {
      parts.setSource(video, shown[name] && parts.fileUrl(shown[name]));
    }
    this.hint.textContent = shown.generated ? "" : t("runToSee");
    this.videos.real.parentElement.hidden = Boolean(shown.generated) && !shown.real;
    this.panorama.hidden = this.eye.hidden = Boolean(shown.generated) && !shown.panorama;
    this.transport.play.disabled = !shown.generated;
    if (!shown.real && this.sound === "real") this.setSound("generated");
    this.draw();
  }

  nextSound() {
    const choices = SOUNDS.filter((name) => name === "off" || this.videos[name].dataset.url);
    this.setSound(choices[(choices.indexOf(this.sound) + 1) % choices.length] ?? "off");
  }

  setSound(name) {
    this.sound = name;
    for (const clip of ["generated", "real"]) this.videos[clip].muted = clip !== name;
    this.heard.textContent = name === "off" ? "" : t(name);
    parts.setButton(this.loud, name === "off" ? "volume-off" : "volume-up", t("soundOf", { name: t(name) }));
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    parts.drawPart(context, this.videos.panorama, this.overlay ? OVERLAY : PLAIN, parts.panoramaRect(this.canvas));
  }
}

export function addPlayer(node) {
  const player = new Player(node);
  parts.addPanel(node, "compare", player.root);
  parts.watch(node, () => [parts.outputOf(node)], () => player.update(), () => player.transport.stop());
}
