// Where a view, or a sound, is aimed: by the node's widgets and its last run. It stores no values itself: it reads and
// writes the node's own widgets, so saving, undo, links and the API work without extra code.

import { BY_RUN, EDITED, isAsked, ratio } from "./edited.js";
import { keyAt, moved, put, readKeyframes, viewAt, without, writeKeyframes } from "./keyframes.js";
import { isLinked, outputOf, setWidget, widgetOf } from "./parts.js";

export const KEYFRAMES = "keyframes";
/** Rankings of the found regions, as values of the choice widget; the first is the default. */
const RANKINGS = ["subject", "centroid"];

/** The last copied keyframe of each kind, for any node of that kind. */
const copied = new Map();

export class Aim {
  /** `clock` tells the clip's `time`, and the frame rate `fps` of what is listed by frame. */
  constructor(node, clock) {
    this.node = node;
    this.clock = clock;
    this.kind = EDITED[node.comfyClass];
    [this.ranking] = RANKINGS;
    this.known = {};
    this.texts = {};
  }

  value(name) {
    return widgetOf(this.node, name)?.value;
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) setWidget(this.node, name, value);
  }

  get mode() {
    return this.value(this.kind.choice);
  }

  get ranked() {
    return RANKINGS.includes(this.mode);
  }

  get keyed() {
    return this.mode === KEYFRAMES;
  }

  /** By hand, the last ranking stays in sight. */
  keepRanking() {
    if (this.ranked) this.ranking = this.mode;
  }

  get otherRanking() {
    return RANKINGS.find((name) => name !== this.ranking);
  }

  /** Regions that a run found, the most salient first. */
  found(ranking) {
    return outputOf(this.node)?.rankings?.[ranking] ?? [];
  }

  /** What widgets set besides direction. */
  get own() {
    return this.kind.own((name) => this.value(name));
  }

  get ahead() {
    return { yaw: 0, pitch: 0, ...this.own };
  }

  /** What is set, at the current time; null if no run has found it yet. */
  get place() {
    if (this.keyed && this.keyframes.length) return viewAt(this.keyframes, this.clock.time);
    if (this.ranked || BY_RUN[this.mode]) return this.path && this.onPath(this.path);
    return { ...this.own, yaw: Number(this.value("yaw")), pitch: Number(this.value("pitch")) };
  }

  /** What is in sight: of a view that no run has found yet, the view straight ahead. */
  get sight() {
    return this.place ?? (this.kind.camera ? this.ahead : null);
  }

  /** A place with what widgets add to it. */
  shaped(place) {
    return this.kind.shaped(place, (name) => this.value(name));
  }

  /** The way that a run found for the mode in use, as frequent keyframes; undefined if none has. */
  get path() {
    const shown = outputOf(this.node);
    const asked = ["rank", ...Object.keys(shown?.asked ?? {})].map((name) => this.value(name));
    const by = JSON.stringify([this.mode, asked, this.own, this.clock.fps]);
    if (this.known.shown !== shown || this.known.by !== by) this.known = { shown, by, path: this.#pathOf(shown ?? {}) };
    return this.known.path;
  }

  #pathOf(shown) {
    const region = this.ranked && this.found(this.mode).find(({ rank }) => rank === this.value("rank"));
    if (this.ranked) return region && this.#timed(region.views.map(([yaw, pitch]) => ({ yaw, pitch })), this.clock.fps);
    const found = this.kind.path(shown, (name) => this.value(name));
    return found ? this.#timed(found.places, found.fps ?? this.clock.fps) : undefined;
  }

  #timed(places, fps) {
    return places.map((place, i) => ({ time: i && i / fps, ...this.own, ...place }));
  }

  /** The place of a path at the current time; of one by frame, that of the frame in sight. */
  onPath(path) {
    const { time } = this.clock;
    if (this.kind.glides) return viewAt(path, time);
    return viewAt([path.findLast((frame) => frame.time <= time + 1e-6) ?? path[0]], time);
  }

  /** Position of a found region at the current time. */
  ofRegion({ views }) {
    const frame = Math.min(Math.floor(this.clock.time * (this.clock.fps ?? 0) + 1e-6), views.length - 1);
    const [yaw, pitch] = views[frame];
    return { yaw, pitch };
  }

  // ---- setting

  /** Change what is set: the keyframe at this time, or the widgets of a still place. */
  turn(change) {
    const place = this.kind.tidy({ ...(this.place ?? this.ahead), ...change });
    if (this.keyed) return this.#key(place);
    // Changing only the other numbers keeps the chosen region or path.
    const { yaw, pitch, ...others } = place;
    if ("yaw" in change || "pitch" in change) this.set({ [this.kind.choice]: this.kind.byHand, yaw, pitch });
    this.set(others);
  }

  /** Hold a place for the whole clip. */
  hold(place) {
    const tidy = this.kind.tidy({ ...this.ahead, ...place });
    this.set(Object.fromEntries(Object.keys(this.ahead).map((name) => [name, tidy[name]])));
    this.set({ [this.kind.choice]: this.kind.byHand });
  }

  choose(ranking, rank) {
    if (!this.found(ranking).some((region) => region.rank === rank)) return false;
    this.set({ rank, [this.kind.choice]: ranking });
    return true;
  }

  /** Shapes that pictures may have. */
  get shapes() {
    return widgetOf(this.node, "aspect")?.options?.values ?? [];
  }

  /** The shape in use: one of those, or a size in pixels. */
  get shape() {
    const [width, height] = ["width", "height"].map((name) => this.value(name));
    const aspect = this.value("aspect") ?? "1:1";
    // The shorter side is even, so it may be off by a pixel.
    const met = Math.abs(width - height * ratio(aspect)) <= Math.max(1, ratio(aspect));
    return width && height && !met ? `${width}×${height}` : aspect;
  }

  /** Choose a shape; a size in pixels keeps its longer side, the other becomes even. A side alone stays. */
  reshape(shape) {
    const sides = ["width", "height"].map((name) => this.value(name) ?? 0);
    if (!sides.every(Boolean)) return this.set({ aspect: shape });
    const [aspect, longer] = [ratio(shape), Math.max(...sides)];
    const shorter = 2 * Math.round((longer * Math.min(aspect, 1 / aspect)) / 2);
    const [width, height] = aspect < 1 ? [shorter, longer] : [longer, shorter];
    this.set({ aspect: shape, width, height });
  }

  // ---- keyframes

  /** True if the keyframes come from another node, and so only a run knows them. */
  get linked() {
    return isLinked(this.node, KEYFRAMES);
  }

  get keyframes() {
    const text = (this.linked ? outputOf(this.node)?.keyframes : this.value(KEYFRAMES)) ?? "";
    return this.#read("own", text);
  }

  /** Keyframes of a text, read once. */
  #read(which, text) {
    if (this.texts[which]?.text !== text) this.texts[which] = { text, frames: readKeyframes(text, this.kind.whole) };
    return this.texts[which].frames;
  }

  store(frames) {
    if (this.linked) return;
    this.set({ [KEYFRAMES]: writeKeyframes(frames, this.kind.stored) });
  }

  /** The keyframe at the current time. */
  get here() {
    return keyAt(this.keyframes, this.clock.time);
  }

  /** The keyframe that was chosen on the timeline, else the one at the current time. */
  get selected() {
    return (this.chosen !== undefined && keyAt(this.keyframes, this.chosen)) || this.here;
  }

  #key(place) {
    this.chosen = undefined;
    const { time } = this.clock;
    // A keyframe set on the way keeps the way's ease.
    const ease = this.keyframes.findLast((frame) => frame.time <= time)?.ease;
    this.store(put(this.keyframes, { time, ease, ...this.here, ...place }));
  }

  setKeyframe() {
    this.#key(this.kind.tidy(this.sight));
    this.set({ [this.kind.choice]: KEYFRAMES });
  }

  /** Remove a keyframe; the last one becomes a still place. */
  remove(frame) {
    const left = without(this.keyframes, frame);
    if (!left.length) this.hold(this.kind.stored(frame));
    this.store(left);
  }

  /** Give the selected keyframe another way to the next one. */
  ease(ease) {
    const { selected } = this;
    this.store(this.keyframes.map((frame) => (frame === selected ? { ...frame, ease } : frame)));
  }

  /** Move a keyframe of a list, or a copy of it, and select it; the list may be older than what is stored. */
  moveIn(frames, frame, time, copy) {
    this.chosen = time;
    this.store(copy ? put(frames, { ...frame, time }) : moved(frames, frame, time));
  }

  /** Copy the selected keyframe; false without one. */
  copy() {
    if (!this.selected) return false;
    copied.set(this.kind.third, this.selected);
    return true;
  }

  /** Put the copied keyframe at the current time; false without one. */
  paste() {
    const frame = copied.get(this.kind.third);
    if (!frame) return false;
    this.moveIn(this.keyframes, frame, this.clock.time, true);
    this.set({ [this.kind.choice]: KEYFRAMES });
    return true;
  }

  /** Keyframes of the way that the last run followed, if the widgets still ask for it and it moves. */
  get followed() {
    const { keyframes, asked } = outputOf(this.node) ?? {};
    const byRun = this.kind.camera && (this.ranked || BY_RUN[this.mode]) && !this.linked;
    const found = byRun && isAsked(asked, (name) => this.value(name));
    return found && keyframes ? this.#read("followed", keyframes) : [];
  }

  /** Turn the way that was followed into keyframes. */
  handOver() {
    this.store(this.followed.map((frame) => ({ ...frame, ...this.own })));
    this.set({ [this.kind.choice]: KEYFRAMES });
  }
}
