// A camera's choices below the timeline: shape, field of view, roll, and the ease of the selected keyframe.

import { EASES } from "./keyframes.js";
import { button, el, offer, select, t } from "./parts.js";

const FOVS = [60, 90, 110];

export class Lens {
  /** `turn` takes each change of the view, `done` the end of a gesture. */
  constructor(aim, turn, done) {
    this.aim = aim;
    const chosen = (change) => {
      turn(change);
      done();
    };
    this.shape = select(t("aspect"), (aspect) => {
      aim.reshape(aspect);
      done();
    });
    this.fov = select(t("fov"), (fov) => chosen({ fov: Number(fov) }));
    this.roll = el("input", { type: "range", min: -180, max: 180, step: 1, "aria-label": t("roll") });
    this.roll.addEventListener("input", () => turn({ roll: Number(this.roll.value) }));
    this.roll.addEventListener("change", done);
    this.level = button("minus", t("level"), () => chosen({ roll: 0 }));
    this.ease = select(t("ease"), (ease) => {
      aim.ease(ease);
      done();
    });
    offer(this.ease, EASES.map((ease) => [ease, t(ease)]), EASES[0]);
    this.root = el("div", { class: "con360-bar con360-lens" }, this.shape, this.fov, this.level, this.roll, this.ease);
  }

  update({ fov, roll }) {
    const { selected, shape, shapes } = this.aim;
    this.shape.hidden = !shapes.length;
    offer(this.shape, [...new Set([...shapes, shape])].map((value) => [value, value]), shape);
    const fovs = [...new Set([...FOVS, Math.round(fov)])].sort((a, b) => a - b);
    offer(this.fov, fovs.map((value) => [value, t("fovOf", { fov: value })]), Math.round(fov));
    this.roll.hidden = this.level.hidden = this.aim.value("roll") === undefined;
    this.roll.value = roll;
    this.roll.title = t("rollBy", { roll: Math.round(roll) });
    this.roll.setAttribute("aria-valuetext", this.roll.title);
    this.ease.disabled = !selected;
    this.ease.value = selected?.ease ?? EASES[0];
  }
}
