// A time track: when sounds begin, and how loud all sound together is. As con360/sound/time_tracks.py reads and writes
// it: {"onsets": [{"time", "strength", "label"}], "envelope": {"points": [{"time", "db", "free"}]}, "decay_s"}. Lists
// are sorted by time, and no track is changed in place.

import { clamp } from "./geometry.js";

export const FLOOR_DB = -60;
/** Longest lists, as in con360/sound. */
const [MOST_ONSETS, MOST_POINTS] = [100_000, 10_000];

/** The two lists of a track: the number that each entry has, its range, its step by a key, and what a new one lacks. */
export const LAYERS = {
  onsets: { value: "strength", low: 0, least: 0.01, high: 1, step: 0.05, fine: 0.01, fresh: { label: "" } },
  points: { value: "db", low: FLOOR_DB, least: FLOOR_DB, high: 0, step: 1, fine: 0.1, fresh: {} },
};

export const EMPTY = { onsets: [], points: [], rest: {} };

const byTime = (a, b) => a.time - b.time;
const isTime = (time) => Number.isFinite(time) && time >= 0;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
export const toMilliseconds = (time) => Math.round(time * 1000) / 1000;

/** How high an entry of a layer stands, from 0 to 1, and the value of a height. */
export const heightOf = (layer, entry) => {
  const { value, low, high } = LAYERS[layer];
  return clamp((entry[value] - low) / (high - low), 0, 1);
};
export const valueAt = (layer, height) => {
  const { low, least, high, fine } = LAYERS[layer];
  return clamp(Math.round((low + height * (high - low)) / fine) * fine, least, high);
};

// ---- text

/** Read a track. One that cannot be read is empty and has `wrong`, [key of a sentence, its values]. */
export function readTrack(text) {
  if (!text?.trim()) return EMPTY;
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    return { ...EMPTY, wrong: ["noJson", {}] };
  }
  if (Array.isArray(found)) found = { onsets: found };
  if (!isObject(found) || !isObject(found.envelope ?? {}) || "values" in found) {
    return { ...EMPTY, wrong: ["noTrack", {}] };
  }
  const { envelope, ...rest } = found;
  const [onsets, points] = [found.onsets ?? [], envelope?.points ?? []];
  delete rest.onsets;
  const wrong = wrongWith(onsets, points);
  if (wrong) return { ...EMPTY, wrong };
  const whole = ({ time, strength = 1, label = "", ...others }) => ({ time, strength, label, ...others });
  return { onsets: onsets.map(whole).sort(byTime), points: [...points].sort(byTime), rest };
}

/** Find what is wrong with two lists; nothing is undefined. */
function wrongWith(onsets, points) {
  if (!Array.isArray(onsets) || !Array.isArray(points)) return ["noTrack", {}];
  if (onsets.length > MOST_ONSETS) return ["tooMany", { count: onsets.length, most: MOST_ONSETS }];
  if (points.length > MOST_POINTS) return ["tooMany", { count: points.length, most: MOST_POINTS }];
  const onset = onsets.findIndex((one) => !isOnset(one));
  if (onset >= 0) return ["noOnset", { number: onset + 1 }];
  const times = new Set();
  const isPoint = (one) => isObject(one) && isTime(one.time) && Number.isFinite(one.db) && !times.has(one.time);
  const point = points.findIndex((one) => !isPoint(one) || !times.add(one.time));
  return point < 0 ? undefined : ["noPoint", { number: point + 1 }];
}

function isOnset(one) {
  if (!isObject(one)) return false;
  const { time, strength = 1, label = "" } = one;
  return isTime(time) && Number.isFinite(strength) && strength > 0 && strength <= 1 && typeof label === "string";
}

/** The text of a track; nothing drawn is no text. Of an onset only what differs from a plain one is written. */
export function writeTrack({ onsets, points, rest }) {
  if (!onsets.length && !points.length) return "";
  const plain = ({ time, strength, label, ...others }) => ({
    time, ...(strength === 1 ? {} : { strength }), ...(label ? { label } : {}), ...others,
  });
  const envelope = points.length ? { envelope: { points } } : {};
  return JSON.stringify({ ...(onsets.length ? { onsets: onsets.map(plain) } : {}), ...envelope, ...rest });
}

// ---- changes

const without = (list, entry) => list.filter((other) => other !== entry);

export const removed = (track, layer, entry) => ({ ...track, [layer]: without(track[layer], entry) });

/** Put an entry into a layer; it replaces one that stands at its very time. Returns the track and the entry. */
export function put(track, layer, { time, ...others }) {
  const { value, least, high, fresh } = LAYERS[layer];
  const entry = { ...fresh, ...others, time: Math.max(0, time) };
  entry[value] = clamp(Number(entry[value].toFixed(2)), least, high);
  const free = track[layer].filter((other) => other.time !== entry.time);
  return [{ ...track, [layer]: [...free, entry].sort(byTime) }, entry];
}

/** The entry at a time, or undefined. */
export const entryAt = (track, layer, time) => track[layer].find((entry) => entry.time === time);

// ---- grids

/** Where beats fall: {bpm, division, beat}, of which `beat` is the time of the first. */
export const beatS = ({ bpm, division }) => 60 / bpm / division;

/** A time brought to the grid in use: the nearest frame, beat, or mark within reach; without a grid, as it is. */
export function snapped(time, { snap, fps, marks = [], reach = 0, ...tempo }) {
  const toGrid = (from, step) => from + Math.round((time - from) / step) * step;
  if (snap === "frames") return toGrid(0, 1 / fps);
  if (snap === "tempo") return toGrid(tempo.beat, beatS(tempo));
  if (snap !== "peaks") return time;
  const away = (mark) => Math.abs(mark - time);
  const nearest = marks.reduce((best, mark) => (away(mark) < away(best) ? mark : best), Infinity);
  return away(nearest) <= reach ? nearest : time;
}

// ---- the envelope between its points

/** Slopes of a monotone cubic through points (Fritsch and Carlson), as scipy's PchipInterpolator has them. */
export function slopes(points) {
  const steps = points.slice(1).map((point, i) => point.time - points[i].time);
  const secants = steps.map((step, i) => (points[i + 1].db - points[i].db) / step);
  if (secants.length < 2) return points.map(() => secants[0] ?? 0);
  const last = secants.length - 1;
  return points.map((_, i) => {
    if (i === 0) return endSlope(steps[0], steps[1], secants[0], secants[1]);
    if (i > last) return endSlope(steps[last], steps[last - 1], secants[last], secants[last - 1]);
    const [a, b] = [secants[i - 1], secants[i]];
    if (a * b <= 0) return 0;
    const [before, after] = [2 * steps[i] + steps[i - 1], steps[i] + 2 * steps[i - 1]];
    return (before + after) / (before / a + after / b);
  });
}

/** Slope at an end, from the two steps and secants next to it. */
function endSlope(step, next, secant, further) {
  const slope = ((2 * step + next) * secant - step * further) / (step + next);
  if (slope * secant <= 0) return 0;
  return secant * further <= 0 && Math.abs(slope) > 3 * Math.abs(secant) ? 3 * secant : slope;
}

/**
 * The level at each of some times, in dB; null where it is free, which is from a point that says so to the next. The
 * first and last level hold to the ends.
 */
export function levelsAt(points, times) {
  const runs = [];
  let run = { points: [], from: -Infinity, to: Infinity };
  for (const point of points) {
    if (!run.points.length) runs.push(Object.assign(run, { from: runs.length ? point.time : -Infinity }));
    run.points.push(point);
    if (!point.free) continue;
    run.to = point.time;
    run = { points: [], to: Infinity };
  }
  for (const one of runs) one.slopes = slopes(one.points);
  return times.map((time) => {
    const there = runs.find(({ from, to }) => time >= from && time <= to);
    return there ? levelIn(there, time) : null;
  });
}

/** The level of a run of points at a time within it. */
function levelIn({ points, slopes: tangents }, time) {
  const after = points.findIndex((point) => point.time > time);
  if (after <= 0) return points[after ? points.length - 1 : 0].db;
  const [a, b] = [points[after - 1], points[after]];
  const step = b.time - a.time;
  const share = (time - a.time) / step;
  const rest = 1 - share;
  return a.db * (1 + 2 * share) * rest ** 2 + b.db * (1 + 2 * rest) * share ** 2
    + step * share * rest * (tangents[after - 1] * rest - tangents[after] * share);
}

// ---- files

/** Text for a file: `csv` is SyncFusion's table of times and labels, `txt` Audacity's labels; both hold only onsets. */
export function exported(track, kind) {
  if (kind === "json") return writeTrack(track) || "{}";
  const fields = (time, label) => (kind === "csv" ? `${time},${label}` : `${time}\t${time}\t${label}`);
  // A label stands on one line, without a tab.
  const tidy = (label) => label.split(/\s+/).filter(Boolean).join(" ");
  return track.onsets.map(({ time, label }) => `${fields(time.toFixed(6), tidy(label))}\n`).join("");
}

/** Read a file's text over a track: JSON replaces all of it, other kinds its onsets. It may be wrong as `readTrack`. */
export function imported(track, text, kind) {
  if (kind === "json") return readTrack(text);
  const separator = kind === "csv" ? "," : "\t";
  const lines = text.split(/\r?\n/).map((line, i) => [line.trim(), i + 1]);
  // A label's frequencies stand on a line of their own, behind a backslash.
  const rows = lines.filter(([line]) => line && !line.startsWith("\\"));
  if (rows.length > MOST_ONSETS) return { ...EMPTY, wrong: ["tooMany", { count: rows.length, most: MOST_ONSETS }] };
  const onsets = rows.map(([line]) => onsetOf(line.split(separator), kind));
  const bad = onsets.findIndex(({ time }) => !isTime(time));
  if (bad >= 0) return { ...EMPTY, wrong: ["noLine", { number: rows[bad][1] }] };
  return { ...track, wrong: undefined, onsets: onsets.sort(byTime) };
}

function onsetOf([time, ...fields], kind) {
  const label = kind === "csv" ? fields.join(",") : fields.slice(1).join(" ");
  return { time: time.trim() ? Number(time) : NaN, strength: 1, label: label.trim() };
}
