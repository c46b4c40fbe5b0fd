// The framed view as it will be cut: flat, in its shape, with its roll. Dragging it turns the camera.

import { frameReach } from "./geometry.js";
import { Sphere, drag } from "./sphere.js";
import { el, fitCanvas, picture, t } from "./parts.js";

export class Preview {
  /** `turn` takes each change of the view while it is dragged, `done` the end of a drag. */
  constructor(turn, done) {
    this.canvas = picture(t("preview"));
    this.hint = el("div", { class: "con360-hint" });
    this.root = el("div", { class: "con360-framed" }, this.canvas, this.hint);
    this.canvas.addEventListener("pointerdown", (event) => {
      if (this.view) drag(this.canvas, event, this.view, turn, done, this.view.aspect < 1 ? "height" : "width");
    });
    fitCanvas(this.canvas, () => this.#redraw());
    new ResizeObserver(() => this.#fit()).observe(this.root);
  }

  /** Show what a view of a shape sees of the part of a video's picture that holds the panorama. */
  draw(video, part, view) {
    Object.assign(this, { video, part, view });
    this.#fit();
    this.#redraw();
  }

  /** Make the canvas as large as its shape fits into the panel. */
  #fit() {
    const { clientWidth: width, clientHeight: height } = this.root;
    const { aspect } = this.view ?? { aspect: 1 };
    const across = Math.min(width, height * aspect);
    Object.assign(this.canvas.style, { width: `${across}px`, height: `${across / aspect}px` });
  }

  #redraw() {
    const { video, view, canvas } = this;
    if (!view || video.readyState < 2 || !canvas.width) return;
    // Browsers limit the number of WebGL contexts, so create one only when there is something to show.
    this.sphere ??= new Sphere(canvas);
    if (this.sphere.gl) this.sphere.draw(video, view, this.part, frameReach(view));
    else this.hint.textContent = t("noWebgl");
  }

  free() {
    this.sphere?.free();
  }
}
