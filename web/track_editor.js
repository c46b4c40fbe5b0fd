// The editor of a time track: onsets and an envelope over the waveform of a sound or the motion of a picture. What it
// sets is the node's text widget, by drawn.js.

import { Clicks, silentWav } from "./clicks.js";
import { Drawn, TRACK } from "./drawn.js";
import { Hearing } from "./hearing.js";
import { Panel } from "./panel.js";
import { pursue } from "./sphere.js";
import { TrackBar } from "./track_bar.js";
import { ASKED, CAME, TrackView } from "./track_view.js";
import { LAYERS, heightOf, toMilliseconds, valueAt } from "./track.js";
import * as parts from "./parts.js";

const { el, t } = parts;
/** Heads and points are held from so far, stems from so far aside. */
const [NEAR_PX, STEM_PX] = [10, 4];
/** A hand that moves an onset in time may stray so far before its strength changes. */
const STRAY_PX = 6;
/** Times snap to a heard onset from so far. */
const SNAP_PX = 12;
const NUDGE_S = 0.01;
/** Least height of the panel: that of .con360-track, and the widget's own margins. */
const HEIGHT = 420;
const WATCHED = [TRACK, "source", "duration", "fps"];

export function addTrackEditor(node) {
  const editor = new TrackEditor(node);
  parts.addPanel(node, "track_editor", editor.root, HEIGHT);
  parts.watch(node, () => editor.read(), () => editor.update(), () => editor.free());
}

class TrackEditor extends Panel {
  constructor(node) {
    super(node, (video) => new Hearing(video));
    this.drawn = new Drawn(node);
    this.clicks = new Clicks(this.video);
    this.canvas = parts.picture(t("trackEditor"));
    this.view = new TrackView(this.canvas);
    this.bar = new TrackBar(this.drawn, this);
    this.#lay();
    this.#listen();
  }

  #lay() {
    this.status = el("div", { class: "con360-status con360-wraps", role: "status" });
    this.hint.classList.add("con360-aloft");
    this.video.classList.add("con360-filmed");
    this.add = parts.button("plus-circle", t("addEntry"), () => this.addHere());
    this.remove = parts.button("trash", t("removeEntry"), () => this.removeChosen());
    this.take = parts.button("file-edit", t("drawFound"), () => this.handOver());
    this.bell = parts.button("bell", t("clicksOff"), () => this.toggleClicks());
    this.transport.bar.append(this.add, this.remove, this.take, this.bell, this.sound);
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    this.root = el("div", { class: "con360-track" }, this.video, stage, this.transport.bar, this.bar.root,
      this.bar.entry, this.status, this.facts);
  }

  #listen() {
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("wheel", (event) => this.view.wheel(event) && this.draw(), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  // ---- user actions

  done() {
    this.refused = undefined;
    this.update();
    parts.rememberForUndo();
  }

  /** Say what is wrong with a file that was to be read. */
  refuse(wrong) {
    this.refused = wrong;
    this.#say();
  }

  addHere() {
    if (!this.drawn.open) return;
    const { layer, selected } = this.drawn;
    const usual = { onsets: 1, points: -20 }[layer];
    this.drawn.add(this.snap(this.transport.time), selected?.[LAYERS[layer].value] ?? usual);
    this.done();
  }

  removeChosen() {
    if (!this.drawn.open || !this.drawn.selected) return;
    this.drawn.remove();
    this.done();
  }

  /** Turn what a run found into a drawing. */
  handOver() {
    if (this.drawn.track.wrong) return;
    this.drawn.store(this.drawn.track);
    this.done();
  }

  toggleClicks() {
    this.clicks.on = !this.clicks.on;
    parts.setButton(this.bell, this.clicks.on ? "bell" : "bell-slash", t(this.clicks.on ? "clicksOff" : "clicksOn"));
  }

  snap(time, freely) {
    return freely ? toMilliseconds(time) : this.drawn.snap(time, SNAP_PX * this.view.secondsPerPixel);
  }

  /** The entry under a pointer, and its layer; of the layer that is not in use, only heads of onsets can be held. */
  under({ away, aside, height }) {
    const nearest = (layer, reach) => {
      const near = this.drawn.track[layer].map((entry) => [away(entry.time, heightOf(layer, entry)), entry]);
      const [px, entry] = near.reduce((best, one) => (one[0] < best[0] ? one : best), [Infinity]);
      return px < reach ? { layer, entry } : undefined;
    };
    const stem = (layer) => layer === "onsets" && this.drawn.track.onsets.find((onset) => (
      aside(onset.time) < STEM_PX && height < heightOf("onsets", onset)));
    const { layer } = this.drawn;
    const held = nearest(layer, NEAR_PX) ?? nearest("onsets", NEAR_PX);
    const entry = !held && stem(layer);
    return entry ? { layer, entry } : held;
  }

  press(event) {
    if (event.button !== 0) return;
    const start = this.view.pointer(event);
    if (start.onRuler || !this.drawn.open) return this.view.scrub(event, this.transport);
    const held = this.under(start);
    if (held) this.drawn.choose(held.entry, held.layer);
    else this.drawn.add(this.snap(start.time, event.shiftKey), valueAt(this.drawn.layer, start.height));
    this.update();
    this.drag(event, start, Boolean(held));
  }

  /** Move what was pressed: along time, and once the pointer leaves its height, in strength or level. */
  drag(event, start, held) {
    const { track, selected, layer } = this.drawn;
    const [height, { value }] = [heightOf(layer, selected), LAYERS[layer]];
    let [across, up] = [false, false];
    const move = (moved) => {
      const [x, y] = [moved.clientX - event.clientX, moved.clientY - event.clientY];
      across ||= Math.abs(x) > parts.STILL_PX;
      up ||= Math.abs(y) > STRAY_PX;
      if (!across && !up) return;
      const now = this.view.pointer(moved);
      const time = across ? this.snap(selected.time + now.time - start.time, moved.shiftKey) : selected.time;
      const level = up ? valueAt(layer, height + now.height - start.height) : selected[value];
      this.drawn.changeIn(track, selected, { time, [value]: level }, moved.altKey);
      this.update();
    };
    pursue(this.canvas, event, move, () => {
      if (!held || across || up) this.done();
    });
  }

  key(event) {
    const action = this.#actionOf(event) ?? this.#copyOrPaste(event);
    if (!action) return;
    parts.claim(event);
    action();
  }

  #actionOf({ key, shiftKey, ctrlKey, metaKey, altKey }) {
    if (ctrlKey || metaKey || altKey) return undefined;
    const seconds = shiftKey ? 1 / this.drawn.fps : NUDGE_S;
    const go = (by) => () => {
      this.drawn.step(by, this.transport.time);
      if (this.drawn.selected) this.transport.seek(this.drawn.selected.time);
      this.update();
    };
    const actions = {
      ArrowLeft: () => this.nudge(-seconds), ArrowRight: () => this.nudge(seconds),
      ArrowUp: () => this.raise(1, shiftKey), ArrowDown: () => this.raise(-1, shiftKey),
      PageUp: go(-1), ",": go(-1), PageDown: go(1), ".": go(1), Home: go(-Infinity), End: go(Infinity),
      Enter: () => this.addHere(), Delete: () => this.removeChosen(), Backspace: () => this.removeChosen(),
      e: () => this.bar.changeLayer(), f: () => this.toggleFree(), " ": () => this.transport.toggle(),
      "+": () => this.zoomBy(0.8), "=": () => this.zoomBy(0.8), "-": () => this.zoomBy(1.25),
      Escape: this.drawn.selected && (() => this.release()),
    };
    // Shift makes the letters large.
    return actions[key] ?? actions[key.toLowerCase()];
  }

  #copyOrPaste({ key, ctrlKey, metaKey, shiftKey, altKey }) {
    if (!(ctrlKey || metaKey) || shiftKey || altKey) return undefined;
    if (key === "c" && this.drawn.selected) return () => this.drawn.copy();
    if (key !== "v" || !this.drawn.open) return undefined;
    return () => this.drawn.paste(this.transport.time) && this.done();
  }

  /** Move what is chosen, or the playhead where nothing is. */
  nudge(seconds) {
    if (!this.drawn.selected) return this.transport.seek(this.view.within(this.transport.time + seconds));
    if (!this.drawn.open) return;
    this.drawn.shift(seconds);
    this.view.reveal(this.drawn.selected.time);
    this.done();
  }

  raise(steps, fine) {
    if (!this.drawn.open || !this.drawn.selected) return;
    this.drawn.raise(steps, fine);
    this.done();
  }

  toggleFree() {
    if (!this.drawn.open) return;
    this.drawn.toggleFree();
    this.done();
  }

  release() {
    this.drawn.choose(undefined);
    this.update();
  }

  zoomBy(factor) {
    this.view.zoom(factor, this.drawn.selected?.time ?? this.transport.time);
    this.draw();
  }

  // ---- display

  read() {
    const fed = [...WATCHED, "audio", "images"].map((name) => parts.isLinked(this.node, name));
    return [...WATCHED.map((name) => this.drawn.value(name)), ...fed, this.drawn.grid, this.drawn.shown.clip];
  }

  update() {
    const { drawn } = this;
    const { clip, notices = [], picture } = drawn.shown;
    this.view.setDuration(drawn.seconds);
    this.source = { url: clip ? parts.fileUrl(clip) : this.#silence(), lines: notices, excerpt: [] };
    this.show();
    const waits = ["audio", "images"].some((name) => parts.isLinked(this.node, name)) && !clip;
    const lost = drawn.found && !drawn.text;
    this.hint.textContent = waits || lost ? t("runToDraw") : drawn.text || drawn.linked ? "" : t("clickToDraw");
    this.video.hidden = !picture;
    this.sound.hidden = !clip?.sound;
    this.add.disabled = !drawn.open;
    this.remove.disabled = !drawn.open || !drawn.selected;
    this.take.hidden = !drawn.found || !drawn.text;
    this.bar.update();
    this.#say();
    this.draw();
  }

  /** A silent clip to play the onsets along, as long as the track. */
  #silence() {
    const { seconds } = this.drawn;
    if (this.silent?.seconds !== seconds) {
      this.#forget();
      this.silent = { seconds, url: URL.createObjectURL(silentWav(seconds)) };
    }
    return this.silent.url;
  }

  #forget() {
    if (this.silent) URL.revokeObjectURL(this.silent.url);
  }

  /** Say what is chosen, else what there is; screen readers speak every write, so write only changes. */
  #say() {
    const { track, selected, entries, layer, found } = this.drawn;
    const { onsets, points, wrong } = track;
    const number = entries.indexOf(selected) + 1;
    let text = t("trackHas", { onsets: onsets.length, points: points.length });
    if (found) text = `${t("trackFound")} · ${text}`;
    if (selected) {
      const { time, strength, db, label, free } = selected;
      const words = { number, count: entries.length, time: time.toFixed(3), strength, db };
      const said = [t(layer === "onsets" ? "onsetAt" : "pointAt", words), label, free && t("freeLevel")];
      text = said.filter(Boolean).join(" · ");
    }
    const [bad, stays] = this.refused ? [this.refused, "trackStays"] : [wrong, "textStays"];
    if (bad) text = `${t(...bad)} ${t(stays)}`;
    this.status.classList.toggle("con360-wrong", Boolean(bad));
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  draw() {
    // The transport may draw before the editor is laid out.
    if (!this.bar) return;
    const { track } = this.drawn;
    this.clicks.pass(track.onsets, this.transport.time);
    this.view.draw((pen) => this.#paint(pen, track));
  }

  #paint(pen, { onsets, points }) {
    const { view, drawn } = this;
    const { wave, motion } = drawn.shown;
    const { layer, selected, grid } = drawn;
    if (wave) view.drawWave(pen, wave);
    if (motion) view.drawMotion(pen, motion);
    if (grid.snap === "tempo") view.drawTempo(pen, grid);
    if (grid.snap === "frames") view.drawGrid(pen, 0, 1 / grid.fps, Math.round(grid.fps));
    if (grid.snap === "peaks") view.drawMarks(pen, grid.marks);
    if (layer === "points") view.drawLevelGrid(pen);
    const envelope = () => view.drawEnvelope(pen, points, CAME, selected, layer === "points");
    const [chosen, dim] = layer === "onsets" ? [selected, false] : [undefined, true];
    const heads = () => view.drawOnsets(pen, onsets, ASKED, { chosen, dim });
    for (const paint of dim ? [heads, envelope] : [envelope, heads]) paint();
    view.drawPlayhead(pen, this.transport.time);
  }

  free() {
    super.free();
    this.#forget();
  }
}

