// The clip's time as a strip: the playhead, and a tick for each keyframe that can be moved, copied and removed.

import { clamp } from "./geometry.js";
import { keyAt, snapped } from "./keyframes.js";
import { STILL_PX, claim, el, fitCanvas, offer, select, t } from "./parts.js";
import { pursue } from "./sphere.js";

const SPEEDS = [0.25, 0.5, 1, 1.5, 2];
/** Width of the playhead, as in con360.css: it keeps so far inside the strip. */
const THUMB_PX = 12;
/** Times nearer than this on the screen snap. */
const SNAP_PX = 6;
/** Where no frame rate is known, keyframes keep to so many seconds. */
const GRID_S = 0.1;
/** Seconds between numbers on the ruler, and the room for a number. */
const RULERS_S = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];
const NUMBER_PX = 44;

export class Timeline {
  /** `aim` has the keyframes, `changed` is called after each change of them, `done` after each gesture. */
  constructor(transport, aim, changed, done) {
    Object.assign(this, { transport, aim, changed, done });
    this.ruler = el("canvas", { "aria-hidden": "true" });
    this.ticks = el("div", { class: "con360-ticks" });
    this.root = el("div", { class: "con360-timeline", role: "group", "aria-label": t("timeline") },
      this.ruler, transport.slider, this.ticks);
    this.speed = select(t("speed"), (speed) => this.#play(Number(speed)));
    offer(this.speed, SPEEDS.map((speed) => [speed, `${speed}×`]), 1);
    transport.slider.addEventListener("keydown", (event) => this.#keyOnSlider(event));
    transport.slider.addEventListener("pointerdown", () => (this.scrubbing = true));
    for (const name of ["pointerup", "pointercancel"]) {
      transport.slider.addEventListener(name, () => (this.scrubbing = false));
    }
    transport.snap = (time) => this.#scrubbed(time);
    fitCanvas(this.ruler, () => this.#drawRuler());
  }

  /** Times of the grid that keyframes snap to: whole frames where the rate is known. */
  get grid() {
    return this.aim.clock.fps ? 1 / this.aim.clock.fps : GRID_S;
  }

  /** Seconds that a pixel of the screen covers. */
  get secondsPerPixel() {
    const { clientWidth: width } = this.root;
    const zoom = this.root.getBoundingClientRect().width / width;
    return this.transport.duration / Math.max(1, (width - THUMB_PX) * zoom);
  }

  /** Show the keyframes and the ruler, if they changed. */
  update() {
    const { keyframes, selected } = this.aim;
    const now = [keyframes, selected, this.transport.duration];
    if (now.every((value, i) => value === this.shown?.[i])) return;
    this.shown = now;
    const { children } = this.ticks;
    while (children.length > keyframes.length) this.ticks.lastChild.remove();
    while (children.length < keyframes.length) this.ticks.append(this.#tick());
    keyframes.forEach((frame, i) => this.#show(children[i], frame, frame === selected));
    this.#drawRuler();
  }

  // ---- ticks

  #tick() {
    const tick = el("div", { role: "slider", tabindex: 0, "aria-label": t("keyframe") });
    tick.addEventListener("pointerdown", (event) => this.#press(event, tick));
    tick.addEventListener("keydown", (event) => this.#key(event, tick));
    return tick;
  }

  #show(tick, { time, ease }, selected) {
    const { duration } = this.transport;
    const share = duration ? Math.min(1, time / duration) : 0;
    tick.className = `con360-tick con360-${ease ?? "linear"}`;
    tick.classList.toggle("con360-selected", selected);
    tick.style.left = `calc(${THUMB_PX / 2}px + (100% - ${THUMB_PX}px) * ${share})`;
    tick.title = ease ? t("keyframeAt", { time: time.toFixed(2), ease: t(ease) }) : `${time.toFixed(2)} s`;
    const spoken = { valuemin: 0, valuemax: duration, valuenow: time, valuetext: tick.title };
    for (const [name, value] of Object.entries(spoken)) tick.setAttribute(`aria-${name}`, value);
  }

  #frameOf(tick) {
    return this.aim.keyframes[[...this.ticks.children].indexOf(tick)];
  }

  #focus(time) {
    const { keyframes } = this.aim;
    this.ticks.children[keyframes.indexOf(keyAt(keyframes, time))]?.focus();
  }

  /** A click goes to the keyframe, a drag moves it, with Alt a copy of it; Shift lets it go anywhere. */
  #press(event, tick) {
    if (event.button !== 0) return;
    const [frames, frame] = [this.aim.keyframes, this.#frameOf(tick)];
    let time = frame.time;
    let dragged = false;
    const move = (moved) => {
      const pixels = moved.clientX - event.clientX;
      dragged ||= Math.abs(pixels) > STILL_PX;
      if (!dragged) return;
      time = this.#placed(frame.time + pixels * this.secondsPerPixel, frames, moved);
      this.aim.moveIn(frames, frame, time, moved.altKey);
      this.changed();
    };
    const lift = () => {
      this.#focus(time);
      if (dragged) this.done();
      else this.go(frame);
    };
    // Ticks change places while one is dragged past another, so the strip has the pointer.
    pursue(this.ticks, event, move, lift);
  }

  /** A time on the strip, snapped to other keyframes, the playhead and the grid. */
  #placed(time, frames, { shiftKey }) {
    const within = clamp(time, 0, this.transport.duration);
    if (shiftKey) return within;
    const marks = [...frames.map((frame) => frame.time), this.transport.time];
    return snapped(within, marks, SNAP_PX * this.secondsPerPixel, this.grid);
  }

  /** Go to a keyframe, and select it. */
  go(frame) {
    this.transport.seek(frame.time);
    this.aim.chosen = frame.time;
    this.changed();
  }

  #key(event, tick) {
    const frame = this.#frameOf(tick);
    const step = this.grid * (event.shiftKey ? 10 : 1);
    this.aim.chosen = frame.time;
    const actions = {
      ArrowLeft: () => this.#shift(frame, -step), ArrowRight: () => this.#shift(frame, step),
      Delete: () => this.#remove(frame), Backspace: () => this.#remove(frame),
      Enter: () => this.go(frame), " ": () => this.go(frame),
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : actions[event.key];
    if (!action && !this.copyOrPaste(event)) return;
    claim(event);
    action?.();
  }

  #keyOnSlider(event) {
    const { selected } = this.aim;
    const removes = selected && ["Delete", "Backspace"].includes(event.key);
    if (removes) this.#remove(selected);
    else if (!this.copyOrPaste(event)) return;
    claim(event);
  }

  #shift(frame, by) {
    const time = clamp(snapped(frame.time + by, [], 0, this.grid), 0, this.transport.duration);
    // The next keyframe stays where it is.
    if (this.aim.keyframes.some((other) => other !== frame && Math.abs(other.time - time) < this.grid / 2)) return;
    this.aim.moveIn(this.aim.keyframes, frame, time);
    this.done();
    this.#focus(time);
  }

  #remove(frame) {
    this.aim.remove(frame);
    this.done();
    this.#focus((this.aim.selected ?? this.aim.keyframes[0])?.time);
  }

  /** Copy with Ctrl+C, paste at the playhead with Ctrl+V; false for other keys, and where there is nothing to copy. */
  copyOrPaste({ key, ctrlKey, metaKey, shiftKey, altKey }) {
    if (!(ctrlKey || metaKey) || shiftKey || altKey) return false;
    if (key === "c") return this.aim.copy();
    if (key !== "v" || !this.aim.paste()) return false;
    this.done();
    return true;
  }

  // ---- playhead

  #scrubbed(time) {
    this.aim.chosen = undefined;
    if (!this.scrubbing) return time;
    const marks = this.aim.keyframes.map((frame) => frame.time);
    return snapped(time, marks, SNAP_PX * this.secondsPerPixel, Number(this.transport.slider.step));
  }

  #play(speed) {
    // A new file starts at the default rate.
    this.transport.lead.defaultPlaybackRate = this.transport.lead.playbackRate = speed;
  }

  #drawRuler() {
    const { ruler } = this;
    const [context, sharp] = [ruler.getContext("2d"), ruler.width / Math.max(1, ruler.clientWidth)];
    context.resetTransform();
    context.clearRect(0, 0, ruler.width, ruler.height);
    context.scale(sharp, sharp);
    context.fillStyle = getComputedStyle(this.root).color;
    const { clientWidth: width, clientHeight: height } = ruler;
    drawRuler(context, { left: THUMB_PX / 2, right: width - THUMB_PX / 2, width, height }, 0, this.transport.duration);
  }
}

/** Draw the times from `start` to `end` between `left` and `right`, with numbers up to `width`, all in pixels. */
export function drawRuler(context, { left, right, width, height }, start, end) {
  const perSecond = (right - left) / (end - start);
  if (!(perSecond > 0 && perSecond < Infinity)) return;
  const step = RULERS_S.find((seconds) => seconds * perSecond >= NUMBER_PX) ?? RULERS_S.at(-1);
  context.save();
  context.font = "10px sans-serif";
  context.textAlign = "left";
  context.textBaseline = "top";
  for (let i = Math.ceil(start / step - 1e-6); i * step <= end + 1e-6; i++) {
    const x = left + (i * step - start) * perSecond;
    context.globalAlpha = 0.4;
    context.fillRect(x, 0, 1, height * 0.4);
    context.globalAlpha = 0.8;
    const text = clock(i * step, step);
    if (x + 3 + context.measureText(text).width <= width) context.fillText(text, x + 3, 2);
  }
  context.restore();
}

/** Seconds as on a ruler of such steps: 0.05, 0.5, 12, 1:05. */
function clock(seconds, step) {
  if (seconds < 60) return seconds.toFixed(step < 0.1 ? 2 : step < 1 ? 1 : 0);
  return `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}`;
}
