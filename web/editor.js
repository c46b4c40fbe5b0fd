// The viewpoint editor: panorama, saliency, regions found in it, and the view's true outline or a sound's place; of a
// view also the picture that it frames. What it sets are the node's widgets, by aim.js.

import { Aim, KEYFRAMES } from "./aim.js";
import { BY_RUN, EDITED } from "./edited.js";
import { anglesAt, anglesOnMap, axes, wrapYaw } from "./geometry.js";
import { viewAt } from "./keyframes.js";
import { Lens } from "./lens.js";
import { FlatMap, PINK, drawBadges, drawOutline, drawPath } from "./map.js";
import { Panel } from "./panel.js";
import { Preview } from "./preview.js";
import { sourceOf } from "./source.js";
import { pursue } from "./sphere.js";
import { Timeline } from "./timeline.js";
import * as parts from "./parts.js";

const { el, t } = parts;
const NEAR_PX = 14;
/** Where two rankings agree, the light number is drawn this far below the full one. */
const ASIDE_PX = 17;
/** Least height of a panel with a framed picture: that of .con360-camera, and the widget's own margins. */
const CAMERA_HEIGHT = 470;
/** Points of a path on the map. */
const PATH_POINTS = 96;
/** Widgets whose changes show, and inputs that other nodes may feed. */
const WATCHED = ["choose_by", "mode", "rank", "yaw", "pitch", "fov", "roll", "aspect", "distance", "spread", "gain",
  KEYFRAMES, "video", "eye", "width", "height", "start", "duration"];
const FED = [KEYFRAMES, "clip", "frames"];

export function addEditor(node) {
  const editor = new Editor(node);
  if (parts.widgetOf(node, "video")) parts.showNoOther(node);
  parts.addPanel(node, "viewpoint_editor", editor.root, editor.kind.camera ? CAMERA_HEIGHT : undefined);
  // The text of a camera's keyframes stays in sight: it is where the path of another node is connected.
  const text = !editor.kind.camera && parts.widgetOf(node, KEYFRAMES);
  if (text) Object.assign(text, { hidden: true, computeSize: () => [0, -4] }).options.hidden = true;
  parts.watch(node, () => editor.read(), () => editor.update(), () => editor.free());
}

class Editor extends Panel {
  constructor(node) {
    super(node, EDITED[node.comfyClass].hearing);
    this.source = sourceOf(node);
    this.aim = new Aim(node, this);
    this.kind = this.aim.kind;
    this.map = new FlatMap(t(this.kind.label));
    this.canvas = this.map.canvas;
    const [turn, done] = [(change) => this.turn(change), () => this.done()];
    this.timeline = new Timeline(this.transport, this.aim, () => this.update(), done);
    if (this.kind.camera) {
      this.lens = new Lens(this.aim, turn, done);
      this.preview = new Preview(turn, done);
    }
    this.#lay();
    this.#listen();
  }

  #lay() {
    this.status = el("div", { class: "con360-status", role: "status" });
    this.hint.classList.add("con360-low");
    this.add = parts.button("plus-circle", t("setKeyframe"), () => this.setKeyframe());
    this.remove = parts.button("trash", t("removeKeyframe"), () => this.removeKeyframe());
    this.fix = parts.button("map-marker", t("setViewHere"), () => this.hold());
    this.take = parts.button("file-edit", t("handOver"), () => this.handOver());
    const { bar } = this.transport;
    bar.append(this.timeline.speed, this.add, this.remove, this.sound, this.ears, this.eye);
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    const scene = el("div", { class: "con360-scene" }, stage);
    this.root = el("div", {}, scene, this.timeline.root, bar, this.status, this.facts);
    if (!this.preview) return;
    scene.append(this.preview.root);
    this.remove.after(this.fix, this.take);
    bar.after(this.lens.root);
    this.root.classList.add("con360-camera");
  }

  #listen() {
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.sayNumber(event));
    for (const canvas of [this.canvas, this.preview?.canvas].filter(Boolean)) {
      canvas.addEventListener("wheel", (event) => this.wheel(canvas, event), { passive: false });
      canvas.addEventListener("keydown", (event) => this.key(event));
    }
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  // ---- what the aim asks

  get time() {
    return this.transport.time;
  }

  get fps() {
    return this.source.fps;
  }

  // ---- user actions

  turn(change) {
    // A keyframe belongs to the time of the press, so pause. A still view can turn while the clip plays.
    if (this.aim.keyed) this.video.pause();
    this.aim.turn(change);
    this.update();
  }

  setKeyframe() {
    if (!this.aim.sight) return;
    this.aim.setKeyframe();
    this.done();
  }

  removeKeyframe() {
    const { selected } = this.aim;
    if (!selected) return;
    this.aim.remove(selected);
    this.done();
  }

  /** Set the view in sight as a still one. */
  hold() {
    this.aim.hold(this.aim.sight);
    this.done();
  }

  handOver() {
    this.aim.handOver();
    this.done();
  }

  choose(ranking, rank) {
    if (this.aim.choose(ranking, rank)) this.done();
  }

  /** Choose the same rank in the other ranking, or its first. */
  changeRanking() {
    const [rank, other] = [this.aim.value("rank"), this.aim.otherRanking];
    this.choose(other, this.aim.found(other).some((region) => region.rank === rank) ? rank : 1);
  }

  done() {
    this.update();
    parts.rememberForUndo();
  }

  /** The numbers on the map in drawing order; those of the ranking in use are `full`. */
  badges() {
    const { aim } = this;
    const isChosen = (ranking, rank) => ranking === aim.mode && rank === aim.value("rank");
    const numbers = (ranking) => aim.found(ranking).map((region) => (
      { ranking, rank: region.rank, place: aim.ofRegion(region), chosen: isChosen(ranking, region.rank) }));
    const full = numbers(aim.ranking).map((badge) => ({ ...badge, full: true }));
    const degrees = this.map.degreesPerPixel;
    const hides = (a, b) => Math.hypot(wrapYaw(a.yaw - b.yaw), a.pitch - b.pitch) < ASIDE_PX * degrees;
    const light = numbers(aim.otherRanking).map((badge) => {
      const under = full.find(({ place }) => hides(place, badge.place));
      if (!under) return badge;
      const aside = under.place.pitch > -60 ? -ASIDE_PX : ASIDE_PX;
      return { ...badge, place: { yaw: badge.place.yaw, pitch: under.place.pitch + aside * degrees } };
    });
    return [...light, ...full];
  }

  /** The number nearest to a pointer, if close enough. */
  badgeAt({ away }) {
    const near = this.badges().map((badge) => ({ ...badge, px: away(badge.place) })).filter(({ px }) => px < NEAR_PX);
    return near.sort((a, b) => a.px - b.px)[0];
  }

  /** Show the meaning of the number under the pointer as a tooltip. */
  sayNumber(event) {
    const badge = this.badgeAt(this.map.pointer(event));
    this.canvas.title = badge ? t(badge.ranking, badge) : "";
  }

  press(event) {
    if (event.button !== 0) return;
    const { aim } = this;
    const start = this.map.pointer(event);
    // What is at hand can be dragged off a number, which a mere click chooses, and off a keyframe of another time.
    const atHand = aim.place && start.away(aim.place) < NEAR_PX;
    const badge = this.badgeAt(start);
    if (badge && !atHand) return this.choose(badge.ranking, badge.rank);
    const frame = aim.keyed && !atHand && aim.keyframes.find((found) => start.away(found) < NEAR_PX);
    if (frame && frame !== aim.here) return this.timeline.go(frame);
    if (aim.keyed) this.video.pause();
    const under = anglesAt(start.u, start.v);
    // A press inside the view, or on the sound, drags it; a press outside moves it there first.
    if (!aim.place || !this.kind.holds(aim.shaped(aim.place), under)) this.turn(under);
    const from = aim.place;
    let dragged = false;
    const move = (moved) => {
      dragged ||= Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY) > parts.STILL_PX;
      if (!dragged) return;
      const now = this.map.pointer(moved);
      this.turn({ yaw: from.yaw + (now.u - start.u) * 360, pitch: from.pitch - (now.v - start.v) * 180 });
    };
    pursue(this.canvas, event, move, () => {
      if (badge && !dragged) this.choose(badge.ranking, badge.rank);
      else this.done();
    });
  }

  wheel(canvas, event) {
    if (!parts.takesWheel(canvas, event)) return;
    if (event.altKey && this.kind.camera) this.roll(2 * Math.sign(event.deltaY));
    else this.turnThird(Math.sign(event.deltaY));
    clearTimeout(this.resting);
    this.resting = setTimeout(() => parts.rememberForUndo(), 300);
  }

  /** Change the field of view, or the distance, by notches of the wheel. */
  turnThird(notches) {
    const { third, turned } = this.kind;
    this.turn({ [third]: turned((this.aim.place ?? this.aim.ahead)[third], notches) });
  }

  roll(degrees) {
    this.turn({ roll: (this.aim.place ?? this.aim.ahead).roll + degrees });
  }

  key(event) {
    const action = this.#actionOf(event);
    if (!action && !this.timeline.copyOrPaste(event)) return;
    parts.claim(event);
    action?.();
  }

  #actionOf(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
    const step = event.shiftKey ? 10 : 1;
    const { yaw, pitch } = this.aim.place ?? this.aim.ahead;
    const once = (action) => () => {
      action();
      this.done();
    };
    const actions = {
      ArrowLeft: once(() => this.turn({ yaw: yaw - step })),
      ArrowRight: once(() => this.turn({ yaw: yaw + step })),
      ArrowUp: once(() => this.turn({ pitch: pitch + step })),
      ArrowDown: once(() => this.turn({ pitch: pitch - step })),
      "+": once(() => this.turnThird(-1)),
      "=": once(() => this.turnThird(-1)),
      "-": once(() => this.turnThird(1)),
      q: this.kind.camera && once(() => this.roll(-step)),
      e: this.kind.camera && once(() => this.roll(step)),
      r: () => this.changeRanking(),
      Enter: () => this.setKeyframe(),
      Delete: () => this.removeKeyframe(),
      Backspace: () => this.removeKeyframe(),
      " ": () => this.transport.toggle(),
    };
    if (/^[1-8]$/.test(event.key)) return () => this.choose(this.aim.ranking, Number(event.key));
    // Shift makes the letters large.
    return actions[event.key] ?? actions[event.key.toLowerCase()];
  }

  // ---- display

  read() {
    const fed = FED.map((name) => parts.isLinked(this.node, name));
    return [...WATCHED.map((name) => this.aim.value(name)), ...fed, this.node.isUploading, parts.outputOf(this.node)];
  }

  update() {
    this.aim.keepRanking();
    this.source = sourceOf(this.node);
    const { url, sound, overlay } = this.source;
    this.kind.tell(this.hearing, this.source);
    this.sound.hidden = !sound;
    this.eye.hidden = !overlay;
    this.show();
    if (!url) this.transport.setFree(Math.max(4, this.aim.keyframes.at(-1)?.time ?? 0));
    if (this.preview) this.preview.root.hidden = !url;
    this.draw();
  }

  draw() {
    const { place } = this.aim;
    const shaped = place && this.aim.shaped(place);
    if (shaped) this.kind.hear(this.hearing, shaped);
    this.map.draw(this.video, this.part, (pen) => this.paint(pen, shaped));
    this.preview?.draw(this.video, this.source.part, shaped ?? this.aim.shaped(this.aim.ahead));
    this.timeline.update();
    this.lens?.update(place ?? this.aim.ahead);
    this.showStatus(place);
  }

  /** Draw on the map what is set, and what a run found. */
  paint(pen, shaped) {
    const { path, keyframes, keyed, selected } = this.aim;
    if (keyed && keyframes.length) drawPath(pen, way(keyframes), keyframes, selected);
    else if (path?.length > 1) drawPath(pen, way(path), []);
    if (shaped) drawOutline(pen, this.kind.outline(shaped));
    const mark = () => shaped && this.kind.mark(pen, anglesOnMap(shaped), PINK);
    if (!this.kind.over) mark();
    drawBadges(pen, this.badges());
    if (this.kind.over) mark();
  }

  showStatus(place) {
    const { aim } = this;
    this.remove.disabled = !aim.keyed || !aim.selected || aim.linked;
    this.add.disabled = !aim.sight || aim.linked;
    this.fix.disabled = aim.mode === this.kind.byHand;
    this.take.hidden = aim.followed.length < 2;
    const byHand = aim.keyed ? t("keyframesSet", { count: aim.keyframes.length }) : t(BY_RUN[aim.mode] ?? "byHand");
    const how = aim.ranked ? t(aim.mode, { rank: aim.value("rank") }) : byHand;
    // A run may have placed a sound at no single place.
    const known = !place && parts.outputOf(this.node)?.mode === aim.mode;
    const text = known ? how : `${how} · ${place ? t(...this.kind.words(place)) : t("notFound")}`;
    // Screen readers speak every write, so write only changes.
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  free() {
    super.free();
    this.preview?.free();
  }
}

/** The directions that keyframes lead through. */
function way(frames) {
  const [first, last] = [frames[0].time, frames.at(-1).time];
  const times = Array.from({ length: PATH_POINTS + 1 }, (_, i) => first + (i / PATH_POINTS) * (last - first));
  return times.map((time) => axes(viewAt(frames, time)).forward);
}
