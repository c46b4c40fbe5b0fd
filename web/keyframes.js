// Keyframes {time, yaw, pitch, ..., ease}: the move between them, as con360/viewpoint/keyframes.py, and what the editor
// does with them. Lists are sorted by time, and none is changed in place.

import { wrapYaw } from "./geometry.js";

export const EASES = ["linear", "smooth", "hold"];
/** Keyframes nearer than this to a time stand at it: less than a frame at 120 per second. */
export const SAME_TIME_S = 0.008;
/** Angles that go the shorter way round. */
const ROUND = ["yaw", "roll"];

const toMilliseconds = (time) => Math.round(time * 1000) / 1000;

/** The numbers of a keyframe that move. */
const numbers = (frame) => Object.keys(frame).filter((name) => name !== "time" && name !== "ease");

/** Change of a number from one keyframe to the next. */
const change = (name, a, b) => (ROUND.includes(name) ? wrapYaw(b[name] - a[name]) : b[name] - a[name]);

/** The place at a time: the first keyframe holds before its time, the last after its own. */
export function viewAt(keyframes, time) {
  const after = keyframes.findIndex((frame) => frame.time > time);
  if (after <= 0) return wrapped(keyframes[after ? keyframes.length - 1 : 0]);
  const [a, b] = [keyframes[after - 1], keyframes[after]];
  const seconds = b.time - a.time;
  const share = (time - a.time) / seconds;
  const moved = {
    hold: () => 0,
    linear: (name) => share * change(name, a, b),
    smooth: (name) => {
      const [start, end] = [after - 1, after].map((i) => speed(keyframes, i, name) * seconds);
      return cubic(share, change(name, a, b), start, end);
    },
  }[a.ease ?? "linear"];
  return wrapped(Object.fromEntries(numbers(a).map((name) => [name, a[name] + moved(name)])));
}

/** The place of a keyframe, its angles within half a turn. */
function wrapped(frame) {
  const value = (name) => (ROUND.includes(name) ? wrapYaw(frame[name]) : frame[name]);
  return Object.fromEntries(numbers(frame).map((name) => [name, value(name)]));
}

/** Speed at which a smooth move passes keyframe i: the harmonic mean of those around it, 0 where it turns back. */
function speed(keyframes, i, name) {
  const [before, here, after] = [keyframes[i - 1], keyframes[i], keyframes[i + 1]];
  if (!before || !after || before.ease !== "smooth" || here.ease !== "smooth") return 0;
  const a = change(name, before, here) / (here.time - before.time);
  const b = change(name, here, after) / (after.time - here.time);
  return a * b > 0 ? (2 * a * b) / (a + b) : 0;
}

/** Hermite's cubic from 0 to `whole`, with its slopes at share 0 and 1. */
const cubic = (share, whole, start, end) =>
  whole * share * share * (3 - 2 * share) + start * share * (1 - share) ** 2 - end * share * share * (1 - share);

/** Read a widget's text; none where it is invalid, which the server reports. `whole` fills in what a keyframe lacks. */
export function readKeyframes(text, whole) {
  try {
    const found = JSON.parse(text || "[]").map(whole);
    const fits = ({ ease = "linear", ...frame }) => EASES.includes(ease) && Object.values(frame).every(Number.isFinite);
    return found.every(fits) ? found.sort((a, b) => a.time - b.time) : [];
  } catch {
    return [];
  }
}

/** The text of keyframes; `stored` keeps what a keyframe needs. */
export const writeKeyframes = (frames, stored) =>
  frames.length ? JSON.stringify(frames.map((frame) => ({ time: frame.time, ...stored(frame) }))) : "";

/** The keyframe that stands at a time. */
export function keyAt(frames, time) {
  const away = (frame) => Math.abs(frame.time - time);
  return frames.filter((frame) => away(frame) < SAME_TIME_S).sort((a, b) => away(a) - away(b))[0];
}

export const without = (frames, frame) => frames.filter((other) => other !== frame);

/** Put a keyframe in; it replaces the one that stands at its time. */
export function put(frames, frame) {
  const time = toMilliseconds(Math.max(0, frame.time));
  return [...without(frames, keyAt(frames, time)), { ...frame, time }].sort((a, b) => a.time - b.time);
}

export const moved = (frames, frame, time) => put(without(frames, frame), { ...frame, time });

/** The nearest mark within reach of a time; without one, the nearest time of a grid. */
export function snapped(time, marks, reach, grid) {
  const away = (mark) => Math.abs(mark - time);
  const [mark] = marks.filter((one) => away(one) <= reach).sort((a, b) => away(a) - away(b));
  return toMilliseconds(mark ?? Math.round(time / grid) * grid);
}
