// The base of the editor and the viewer: a video with its transport, buttons for its sound and overlay, a hint over its
// picture, and lines about it.

import { Transport } from "./transport.js";
import * as parts from "./parts.js";

const { el, t } = parts;

export class Panel {
  /** `hear` makes what plays the video's sound. A panel has `draw`. */
  constructor(node, hear) {
    this.node = node;
    this.overlay = true;
    this.video = parts.video();
    this.hearing = hear(this.video);
    this.transport = new Transport(this.video, [], () => this.draw());
    this.hint = el("div", { class: "con360-hint" });
    this.facts = el("div", { class: "con360-facts" });
    this.sound = parts.button("volume-up", t("soundOff"), () => parts.toggleSound(this.video, this.sound));
    this.ears = parts.button("headphones", t("headphonesOn"), () => this.wear());
    this.eye = parts.button("eye", t("overlayOff"), () => parts.toggleOverlay(this));
    this.video.addEventListener("error", () => this.failed());
    // Browsers that know a file's sound alone play that, over no picture. Sources without a part are sounds.
    this.video.addEventListener("loadedmetadata", () => this.source.part && !this.video.videoWidth && this.failed());
  }

  /** Show the source, as sourceOf gives it, once `hearing` knows its sound. */
  show() {
    const { url, hint, lines, excerpt } = this.source;
    const why = !url ? (hint ?? "runToSee") : url === this.unplayed && "cannotPlay";
    this.hint.textContent = why ? t(why) : "";
    this.ears.hidden = !this.hearing.on;
    this.facts.replaceChildren(...lines.map((line) => el("div", {}, line)));
    parts.setSource(this.video, url);
    this.transport.setExcerpt(...excerpt);
  }

  /** The part of the video's picture that is drawn. */
  get part() {
    return (this.overlay && this.source.overlay) || this.source.part;
  }

  async wear() {
    if (!(await parts.toggleEars(this.hearing, this.ears))) this.hint.textContent = t("noHeadphones");
  }

  failed() {
    this.unplayed = this.video.dataset.url;
    if (this.unplayed) this.hint.textContent = t("cannotPlay");
  }

  free() {
    this.transport.stop();
    this.hearing.stop();
  }
}
