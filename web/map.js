// The editor's flat map: the panorama, and on it a path, keyframes, an outline, numbers and a mark.

import { anglesOnMap, linesOnMap } from "./geometry.js";
import { Pen } from "./pen.js";
import { drawPart, panoramaRect, picture } from "./parts.js";

export const PINK = "#ff42a1";
const YELLOW = "#ffd600";
/** Styles of the numbers: the chosen one, others of its ranking, those of the other ranking. */
const CHOSEN = { fill: PINK, ink: "#fff", edge: "#000", radius: 9, size: 12 };
const OFFERED = { ...CHOSEN, fill: "#fff", ink: "#000" };
const OTHER = { fill: "#0009", ink: "#fff", edge: "#fff", radius: 7, size: 9 };

export class FlatMap {
  constructor(label) {
    this.canvas = picture(label);
  }

  /** Degrees that a pixel of the screen covers, before the graph's zoom. */
  get degreesPerPixel() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return 360 / Math.max(1, panoramaRect({ width, height })[2]);
  }

  /** A pointer's position on the map, and a function for its distance to a place in screen pixels. */
  pointer(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y, width, height] = panoramaRect(box);
    const [u, v] = [(event.clientX - box.left - x) / width, (event.clientY - box.top - y) / height];
    const away = (place) => {
      const [placeU, placeV] = anglesOnMap(place);
      const across = Math.abs(placeU - u);
      return Math.hypot(Math.min(across, 1 - across) * width, (placeV - v) * height);
    };
    return { u, v, away };
  }

  /** Draw the part of a video's picture that holds the panorama, and what `paint` draws on it with a pen. */
  draw(video, part, paint) {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    const [x, y, width, height] = panoramaRect(canvas);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.translate(x, y);
    if (!drawPart(context, video, part, [0, 0, width, height])) {
      context.fillStyle = "#8882";
      context.fillRect(0, 0, width, height);
    }
    drawGrid(context, width, height);
    paint(new Pen(context, width, height, canvas.width / Math.max(1, canvas.clientWidth)));
    context.restore();
  }
}

function drawGrid(context, width, height) {
  context.strokeStyle = "#8886";
  context.lineWidth = 1;
  context.beginPath();
  for (let i = 1; i < 8; i++) {
    context.moveTo((i * width) / 8, 0);
    context.lineTo((i * width) / 8, height);
  }
  for (let i = 1; i < 4; i++) {
    context.moveTo(0, (i * height) / 4);
    context.lineTo(width, (i * height) / 4);
  }
  context.stroke();
}

/** A way through directions, and the keyframes on it. */
export function drawPath(pen, directions, frames, selected) {
  pen.lines(linesOnMap(directions), YELLOW, 1.5);
  for (const frame of frames) pen.dot(anglesOnMap(frame), frame === selected ? PINK : YELLOW);
}

export const drawOutline = (pen, directions) => pen.lines(linesOnMap(directions, true), PINK, 2.5);

export function drawBadges(pen, badges) {
  for (const { place, rank, chosen, full } of badges) {
    pen.badge(anglesOnMap(place), String(rank), chosen ? CHOSEN : full ? OFFERED : OTHER);
  }
}
