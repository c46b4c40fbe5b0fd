// Draws times as a picture: what was measured behind, and onsets and an envelope over it. Times run to the right;
// strengths from 0 and levels from -60 dB stand from the bottom up.

import { clamp } from "./geometry.js";
import { takesWheel } from "./parts.js";
import { Pen } from "./pen.js";
import { pursue } from "./sphere.js";
import { drawRuler } from "./timeline.js";
import { beatS, heightOf, levelsAt } from "./track.js";

export const [ASKED, CAME, CHOSEN] = ["#ffd600", "#4dd0e1", "#ff42a1"];
const MOTION = "#66bb6a";
/** Room around the plot, in pixels; the ruler stands below it. */
const [SIDE, TOP, RULER] = [8, 10, 18];
/** Lines of a grid stand at least so far apart. */
const GRID_PX = 6;
/** A notch of the wheel goes so far along. */
const PAN_PX = 40;
/** Shortest time that is shown. */
const LEAST_S = 0.05;
const HEAD_PX = 8;
/** Half the width and the height of a mark. */
const MARK_PX = [4, 7];
const LEVELS_DB = [-12, -24, -36, -48];

export class TrackView {
  constructor(canvas) {
    this.canvas = canvas;
    this.duration = 4;
    this.start = 0;
    this.end = 4;
  }

  /** Show a clip of another length as a whole. */
  setDuration(seconds) {
    if (seconds === this.duration) return;
    Object.assign(this, { duration: seconds, start: 0, end: seconds });
  }

  /** Show a longer or shorter time, around one that stays in its place. */
  zoom(factor, time) {
    const span = clamp((this.end - this.start) * factor, Math.min(LEAST_S, this.duration), this.duration);
    const share = (time - this.start) / (this.end - this.start);
    this.#from(time - share * span, span);
  }

  /** Bring a time into sight. */
  reveal(time) {
    if (time < this.start || time > this.end) this.#from(time - (this.end - this.start) / 2, this.end - this.start);
  }

  #from(start, span) {
    this.start = clamp(start, 0, this.duration - span);
    this.end = this.start + span;
  }

  get width() {
    return Math.max(1, this.canvas.clientWidth - 2 * SIDE);
  }

  get height() {
    return Math.max(1, this.canvas.clientHeight - TOP - RULER);
  }

  get secondsPerPixel() {
    return (this.end - this.start) / this.width;
  }

  /** A time, brought onto the clip. */
  within(time) {
    return clamp(time, 0, this.duration);
  }

  /** The share of the plot's width at a time. */
  across(time) {
    return (time - this.start) / (this.end - this.start);
  }

  /** A pointer's time, its height from 0 to 1, whether it is on the ruler, and how far off a place is in pixels. */
  pointer(event) {
    const box = this.canvas.getBoundingClientRect();
    const zoom = box.width / Math.max(1, this.canvas.clientWidth);
    const [x, y] = [(event.clientX - box.left) / zoom - SIDE, (event.clientY - box.top) / zoom - TOP];
    const away = (time, height) => Math.hypot(this.across(time) * this.width - x, (1 - height) * this.height - y);
    const aside = (time) => Math.abs(this.across(time) * this.width - x);
    const time = this.within(this.start + x * this.secondsPerPixel);
    return { time, height: clamp(1 - y / this.height, 0, 1), onRuler: y > this.height + 4, away, aside };
  }

  /** Move the playhead with the pointer that was pressed. */
  scrub(event, transport) {
    const seek = (moved) => transport.seek(this.pointer(moved).time);
    seek(event);
    pursue(this.canvas, event, seek, seek);
  }

  /** Zoom around the pointer, or with Shift or a sideways wheel go along; false where the event is for the graph. */
  wheel(event) {
    if (!takesWheel(this.canvas, event)) return false;
    const [turn, span] = [Math.sign(event.deltaX || event.deltaY), this.end - this.start];
    if (event.shiftKey || event.deltaX) this.#from(this.start + turn * PAN_PX * this.secondsPerPixel, span);
    else this.zoom(turn > 0 ? 1.25 : 0.8, this.pointer(event).time);
    return true;
  }

  /** Draw the ruler, and what `paint` draws with a pen on the plot. */
  draw(paint) {
    const { canvas, width, height } = this;
    const context = canvas.getContext("2d");
    const sharp = canvas.width / Math.max(1, canvas.clientWidth);
    context.resetTransform();
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.scale(sharp, sharp);
    context.fillStyle = "#8882";
    context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    context.fillStyle = getComputedStyle(canvas).color;
    context.translate(0, TOP + height);
    const room = { left: SIDE, right: SIDE + width, width: canvas.clientWidth, height: RULER };
    drawRuler(context, room, this.start, this.end);
    context.translate(SIDE, -height);
    context.beginPath();
    context.rect(-SIDE, -TOP, width + 2 * SIDE, height + TOP);
    context.clip();
    paint(new Pen(context, width, height, 1));
  }

  // ---- what is drawn

  /** A sound's samples as columns of [lowest, highest], evenly over `seconds`. */
  drawWave(pen, { columns, seconds }) {
    const peak = columns.reduce((most, [low, high]) => Math.max(most, -low, high), 1e-4);
    const at = (i, value) => [this.across((i / columns.length) * seconds) * pen.width,
      (0.5 - (0.48 * value) / peak) * pen.height];
    const { context } = pen;
    context.save();
    context.globalAlpha = 0.28;
    context.beginPath();
    columns.forEach(([, high], i) => context.lineTo(...at(i, high)));
    for (let i = columns.length - 1; i >= 0; i--) context.lineTo(...at(i + 1, columns[i][0]));
    context.fill();
    context.restore();
  }

  /** A curve of values in [0, 1] at a rate, the first at time `first`, from the bottom. */
  drawMotion(pen, { values, rate, first }) {
    const { context } = pen;
    const x = (i) => this.across(first + i / rate) * pen.width;
    context.save();
    context.fillStyle = MOTION;
    context.globalAlpha = 0.35;
    context.beginPath();
    context.moveTo(x(0), pen.height);
    values.forEach((value, i) => context.lineTo(x(i), (1 - value) * pen.height));
    context.lineTo(x(values.length - 1), pen.height);
    context.fill();
    context.restore();
  }

  /** Lines of frames or beats, where there is room for them; each `every`th is stronger. */
  drawGrid(pen, first, step, every = 1) {
    if (!(step / this.secondsPerPixel >= GRID_PX)) return;
    const { context } = pen;
    context.save();
    for (let i = Math.ceil((this.start - first) / step); first + i * step <= this.end; i++) {
      context.globalAlpha = i % every ? 0.12 : 0.3;
      context.fillRect(this.across(first + i * step) * pen.width, 0, 1, pen.height);
    }
    context.restore();
  }

  drawTempo(pen, tempo) {
    this.drawGrid(pen, tempo.beat, beatS(tempo), tempo.division);
  }

  /** Lines of levels with their numbers. */
  drawLevelGrid(pen) {
    const { context } = pen;
    context.save();
    context.font = "9px sans-serif";
    context.textAlign = "right";
    for (const db of LEVELS_DB) {
      const y = (1 - heightOf("points", { db })) * pen.height;
      context.globalAlpha = 0.15;
      context.fillRect(0, y, pen.width, 1);
      context.globalAlpha = 0.7;
      context.fillText(`${db} dB`, pen.width + SIDE - 2, y - 2);
    }
    context.restore();
  }

  /** Marks at the bottom, at times that things can snap to. */
  drawMarks(pen, times) {
    pen.context.save();
    pen.context.globalAlpha = 0.7;
    for (const time of times) this.#mark(pen, time, pen.height, -1);
    pen.context.restore();
  }

  /** Marks at the top with a faint line down, at times that were heard. */
  drawHeard(pen, times, colour) {
    const { context } = pen;
    context.save();
    context.fillStyle = colour;
    for (const time of times) {
      context.globalAlpha = 0.25;
      context.fillRect(this.across(time) * pen.width - 0.5, 0, 1, pen.height);
      context.globalAlpha = 1;
      this.#mark(pen, time, -TOP + 1, 1);
    }
    context.restore();
  }

  /** A triangle whose base lies at `y` and whose tip points up (-1) or down. */
  #mark({ context, width }, time, y, way) {
    const [x, [half, tall]] = [this.across(time) * width, MARK_PX];
    context.beginPath();
    context.moveTo(x - half, y);
    context.lineTo(x, y + way * tall);
    context.lineTo(x + half, y);
    context.fill();
  }

  /** Levels in dB at a rate, the first at half a step; null is free. */
  drawLevels(pen, { values, rate }, colour) {
    pen.lines(pieces(values, (i) => this.across((i + 0.5) / rate)), colour, 1.5);
  }

  /** The envelope through breakpoints, and the points themselves where they can be moved. */
  drawEnvelope(pen, points, colour, chosen, active) {
    if (!points.length) return;
    const count = Math.ceil(pen.width / 2);
    const times = Array.from({ length: count + 1 }, (_, i) => this.start + (i / count) * (this.end - this.start));
    const levels = levelsAt(points, times);
    pen.context.save();
    pen.context.globalAlpha = active ? 1 : 0.6;
    pen.lines(pieces(levels, (i) => i / count), colour, 2);
    for (const point of active ? points : []) {
      if (!this.#sees(point.time)) continue;
      pen.dot([this.across(point.time), 1 - heightOf("points", point)], point === chosen ? CHOSEN : colour, 4.5);
    }
    pen.context.restore();
  }

  /** Onsets as high as they are strong; of those on one pixel the strongest. */
  drawOnsets(pen, onsets, colour, { chosen, dim = false } = {}) {
    const shown = new Map();
    for (const onset of onsets) {
      const x = Math.round(this.across(onset.time) * pen.width);
      const there = shown.get(x);
      if (onset !== chosen && this.#sees(onset.time) && !(there?.strength >= onset.strength)) shown.set(x, onset);
    }
    const others = [...shown.values()];
    pen.context.save();
    pen.context.globalAlpha = dim ? 0.5 : 1;
    // Heads that would cover each other stay away.
    this.#stems(pen, others, colour, others.length * HEAD_PX < pen.width ? 4.5 : 0);
    if (chosen && this.#sees(chosen.time)) this.#stems(pen, [chosen], CHOSEN, 5.5);
    pen.context.restore();
  }

  #stems(pen, onsets, colour, radius) {
    const stem = (onset) => [1, 1 - heightOf("onsets", onset)].map((y) => [this.across(onset.time), y]);
    pen.lines(onsets.map(stem), colour, 1.5);
    for (const onset of radius ? onsets : []) pen.dot(stem(onset)[1], colour, radius);
  }

  #sees(time) {
    return time >= this.start - this.secondsPerPixel * SIDE && time <= this.end + this.secondsPerPixel * SIDE;
  }

  drawPlayhead(pen, time) {
    if (!this.#sees(time)) return;
    const { context } = pen;
    context.save();
    context.fillStyle = getComputedStyle(this.canvas).accentColor;
    context.fillRect(this.across(time) * pen.width - 0.75, -TOP, 1.5, pen.height + TOP);
    context.restore();
  }
}


/** The lines of levels in dB, which end where a level is null. */
function pieces(levels, across) {
  const lines = [[]];
  levels.forEach((db, i) => {
    if (db !== null) lines.at(-1).push([across(i), 1 - heightOf("points", { db })]);
    else if (lines.at(-1).length) lines.push([]);
  });
  return lines;
}
