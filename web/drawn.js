// What is drawn on a Time Track node: read from its widgets and its last run, and written to its widgets. It stores no
// track itself, so saving, undo, links and the API work without extra code. The grid is a property of the node.

import { clamp } from "./geometry.js";
import { isLinked, outputOf, setWidget, widgetOf } from "./parts.js";
import { LAYERS, entryAt, put, readTrack, removed, snapped, toMilliseconds, writeTrack } from "./track.js";

/** The widget that holds the track, and the value of `source` that takes it. */
export const [TRACK, DRAWN] = ["track", "what is drawn"];
export const SNAPS = ["off", "frames", "peaks", "tempo"];
export const DIVISIONS = [1, 2, 3, 4, 6, 8];
export const BPM = { min: 20, max: 400 };
const GRID = { snap: "off", bpm: 120, division: 1, beat: 0 };

/** The last copied entry of each layer, for any node. */
const copied = {};

export class Drawn {
  constructor(node) {
    this.node = node;
    this.layer = "onsets";
  }

  value(name) {
    return widgetOf(this.node, name)?.value;
  }

  get shown() {
    return outputOf(this.node) ?? {};
  }

  // ---- the track

  /** True if another node gives the text, and so only a run knows it. */
  get linked() {
    return isLinked(this.node, TRACK);
  }

  /** True if the track is found by a run, not drawn. */
  get found() {
    return this.value("source") !== DRAWN;
  }

  get text() {
    const { shown } = this;
    if (this.found) return (shown.source === this.value("source") && shown.track) || "";
    return (this.linked ? shown.track : this.value(TRACK)) ?? "";
  }

  get track() {
    const { text } = this;
    if (this.known?.text !== text) this.known = { text, track: readTrack(text) };
    return this.known.track;
  }

  /** True if a hand may change the track. One that was found only where no drawing would be lost. */
  get open() {
    const spare = !this.found || (this.text && !this.value(TRACK));
    return !this.linked && !this.track.wrong && Boolean(spare);
  }

  /** Write a track; one that was found becomes a drawing. */
  store(track) {
    const text = writeTrack(track);
    setWidget(this.node, TRACK, text);
    setWidget(this.node, "source", DRAWN);
    this.known = { text, track };
  }

  /** Seconds that can be drawn on: the clip's, and all that is drawn. */
  get seconds() {
    const { onsets, points } = this.track;
    const asked = isLinked(this.node, "duration") ? this.shown.seconds : this.value("duration");
    return Math.max(Number(asked) || 4, onsets.at(-1)?.time ?? 0, points.at(-1)?.time ?? 0);
  }

  // ---- entries

  get entries() {
    return this.track[this.layer];
  }

  get selected() {
    return this.chosen === undefined ? undefined : entryAt(this.track, this.layer, this.chosen);
  }

  choose(entry, layer = this.layer) {
    this.layer = layer;
    this.chosen = entry?.time;
  }

  /** Put an entry into the layer in use and choose it. */
  add(time, value) {
    const [track, entry] = put(this.track, this.layer, { time: toMilliseconds(time), [LAYERS[this.layer].value]: value });
    this.store(track);
    this.choose(entry);
    return entry;
  }

  /** Change an entry of a track, perhaps an older one than the stored, and choose it; with `copy` the old one stays. */
  changeIn(track, entry, change, copy) {
    const whole = { ...entry, ...change };
    const [now, made] = put(copy ? track : removed(track, this.layer, entry), this.layer, whole);
    this.store(now);
    this.choose(made);
  }

  change(change) {
    if (this.selected) this.changeIn(this.track, this.selected, change);
  }

  /** Move the chosen entry by seconds. */
  shift(seconds) {
    this.change({ time: toMilliseconds(clamp(this.selected.time + seconds, 0, this.seconds)) });
  }

  /** Change the chosen entry's strength or level by steps. */
  raise(steps, fine) {
    const { value, step, fine: small } = LAYERS[this.layer];
    this.change({ [value]: this.selected[value] + steps * (fine ? small : step) });
  }

  /** Remove the chosen entry, and choose the next one. */
  remove() {
    const { selected, entries } = this;
    const next = entries[entries.indexOf(selected) + 1] ?? entries.at(-2);
    this.store(removed(this.track, this.layer, selected));
    this.choose(next);
  }

  /** Choose the entry before or after the chosen one; without one, the nearest to a time. */
  step(by, time) {
    const { entries, selected } = this;
    const away = (entry) => Math.abs(entry.time - time);
    const nearest = entries.reduce((best, entry) => (best && away(best) <= away(entry) ? best : entry), undefined);
    this.choose(selected ? entries[clamp(entries.indexOf(selected) + by, 0, entries.length - 1)] : nearest);
  }

  /** Free the level from the chosen point to the next one, or draw it again. */
  toggleFree() {
    const { selected } = this;
    if (this.layer === "points" && selected) this.change({ free: selected.free ? undefined : 1 });
  }

  copy() {
    if (!this.selected) return false;
    copied[this.layer] = this.selected;
    return true;
  }

  paste(time) {
    const entry = copied[this.layer];
    if (!entry) return false;
    this.changeIn(this.track, entry, { time }, true);
    return true;
  }

  // ---- the grid

  /** What times snap to. */
  get grid() {
    const { properties } = this.node;
    const own = (name) => properties[`con360_${name}`] ?? GRID[name];
    const grid = Object.fromEntries(Object.keys(GRID).map((name) => [name, own(name)]));
    return { ...grid, fps: this.fps, marks: this.marks };
  }

  setGrid(change) {
    for (const [name, value] of Object.entries(change)) this.node.properties[`con360_${name}`] = value;
  }

  get fps() {
    return (isLinked(this.node, "fps") ? this.shown.fps : this.value("fps")) || 8;
  }

  /** Onsets that the last run found in the sound and the picture. */
  get marks() {
    return this.shown.found ?? [];
  }

  /** A time on the clip, brought to the grid. */
  snap(time, reach) {
    return toMilliseconds(clamp(snapped(time, { ...this.grid, reach }), 0, this.seconds));
  }
}
