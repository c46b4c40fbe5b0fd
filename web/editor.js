// The viewpoint editor: panorama, saliency, regions found in it, and the view's true outline or a sound's place. It
// stores no values: it reads and writes the node's own widgets, so saving, undo, links and the API work without extra
// code.

import { BY_RUN, EDITED } from "./edited.js";
import { anglesAt, anglesOnMap, axes, clamp, linesOnMap, viewAt, wrapYaw } from "./geometry.js";
import { Pen } from "./pen.js";
import { Transport } from "./transport.js";
import * as parts from "./parts.js";

const { el, t } = parts;
const KEYFRAMES = "keyframes";
/** Rankings of the found regions, as values of the choice widget; the first is the default. */
const RANKINGS = ["subject", "centroid"];
const SAME_TIME_S = 0.02;
const NEAR_PX = 14;
/** A hand that clicks may move so far. */
const STILL_PX = 3;
const PINK = "#ff42a1";
/** Styles of the numbers on the map: the chosen one, others of its ranking, those of the other ranking. */
const CHOSEN = { fill: PINK, ink: "#fff", edge: "#000", radius: 9, size: 12 };
const OFFERED = { ...CHOSEN, fill: "#fff", ink: "#000" };
const OTHER = { fill: "#0009", ink: "#fff", edge: "#fff", radius: 7, size: 9 };
/** Where two rankings agree, the light number is drawn this far below the full one. */
const ASIDE_PX = 17;

export function addEditor(node) {
  const editor = new Editor(node);
  parts.addPanel(node, "viewpoint_editor", editor.root);
  const text = parts.widgetOf(node, KEYFRAMES);
  if (text) Object.assign(text, { hidden: true, computeSize: () => [0, -4] }).options.hidden = true;
  const gone = () => {
    editor.transport.stop();
    editor.hearing.stop();
  };
  parts.watch(node, () => editor.read(), () => editor.update(), gone);
}

class Editor {
  constructor(node) {
    this.node = node;
    this.kind = EDITED[node.comfyClass];
    ({ choice: this.choice, byHand: this.byHand } = this.kind);
    [this.ranking] = RANKINGS;
    this.overlay = true;
    this.video = parts.video();
    this.canvas = parts.picture(t(this.kind.label));
    this.status = el("div", { class: "con360-status", role: "status" });
    this.hint = el("div", { class: "con360-hint con360-low" });
    this.facts = el("div", { class: "con360-facts" });
    this.hearing = this.kind.hearing(this.video);
    this.transport = new Transport(this.video, [], () => this.draw());
    this.sound = parts.button("volume-up", t("soundOff"), () => parts.toggleSound(this.video, this.sound));
    this.ears = parts.button("headphones", t("headphonesOn"), () => this.wear());
    this.add = parts.button("plus-circle", t("setKeyframe"), () => this.setKeyframe());
    this.remove = parts.button("trash", t("removeKeyframe"), () => this.removeKeyframe());
    this.eye = parts.button("eye", t("overlayOff"), () => this.toggleOverlay());
    this.transport.bar.append(this.add, this.remove, this.sound, this.ears, this.eye);
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    this.root = el("div", {}, stage, this.transport.bar, this.status, this.facts);
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.sayNumber(event));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  // ---- widget values

  value(name) {
    return parts.widgetOf(this.node, name)?.value;
  }

  read() {
    const names = [this.choice, "rank", "yaw", "pitch", this.kind.third, "spread", "gain", KEYFRAMES];
    return [...names.map((name) => this.value(name)), parts.outputOf(this.node)];
  }

  /** Regions that a run found, the most salient first. */
  found(ranking) {
    return parts.outputOf(this.node)?.rankings?.[ranking] ?? [];
  }

  get otherRanking() {
    return RANKINGS.find((name) => name !== this.ranking);
  }

  get keyframes() {
    try {
      const found = JSON.parse(this.value(KEYFRAMES) || "[]").map(this.kind.whole);
      const numbers = (frame) => Object.values(frame).every(Number.isFinite);
      return found.every(numbers) ? found.sort((a, b) => a.time - b.time) : [];
    } catch {
      // Invalid text from the API or a link: the server reports the error.
      return [];
    }
  }

  /** What is set, at the current time; null if no run has found it yet. */
  get view() {
    const { third } = this.kind;
    const own = { [third]: Number(this.value(third)) };
    const mode = this.value(this.choice);
    if (this.ranked) {
      const region = this.found(mode).find(({ rank }) => rank === this.value("rank"));
      return region ? { ...this.place(region), ...own } : null;
    }
    if (this.keyed && this.keyframes.length) return viewAt(this.keyframes, this.transport.time);
    if (BY_RUN[mode]) return this.placeOfRun;
    return { yaw: Number(this.value("yaw")), pitch: Number(this.value("pitch")), ...own };
  }

  /** Where the last run placed a sound, at the current time. */
  get placeOfRun() {
    const { path = [], mode } = parts.outputOf(this.node) ?? {};
    if (!path.length || mode !== this.value(this.choice)) return null;
    const [yaw, pitch, distance] = path[this.frameOf(path)];
    return { yaw, pitch, distance };
  }

  get ranked() {
    return RANKINGS.includes(this.value(this.choice));
  }

  get keyed() {
    return this.value(this.choice) === KEYFRAMES;
  }

  get keyframeHere() {
    return this.keyframes.find((frame) => Math.abs(frame.time - this.transport.time) < SAME_TIME_S);
  }

  /** Position of a found region at the current time. */
  place({ views }) {
    const [yaw, pitch] = views[this.frameOf(views)];
    return { yaw, pitch };
  }

  /** Index of the current time in a list of values by frame; the last one holds. */
  frameOf({ length }) {
    return Math.min(Math.floor(this.transport.time * (this.panorama?.fps ?? 0) + 1e-6), length - 1);
  }

  /** The numbers on the map in drawing order; those of the ranking in use are `full`. */
  badges() {
    const numbers = (ranking) =>
      this.found(ranking).map((region) => ({ ranking, rank: region.rank, place: this.place(region) }));
    const full = numbers(this.ranking).map((badge) => ({ ...badge, full: true }));
    const { clientWidth, clientHeight } = this.canvas;
    const degrees = 360 / Math.max(1, parts.panoramaRect({ width: clientWidth, height: clientHeight })[2]);
    const hides = (a, b) => Math.hypot(wrapYaw(a.yaw - b.yaw), a.pitch - b.pitch) < ASIDE_PX * degrees;
    const light = numbers(this.otherRanking).map((badge) => {
      const under = full.find(({ place }) => hides(place, badge.place));
      if (!under) return badge;
      const aside = under.place.pitch > -60 ? -ASIDE_PX : ASIDE_PX;
      return { ...badge, place: { yaw: badge.place.yaw, pitch: under.place.pitch + aside * degrees } };
    });
    return [...light, ...full];
  }

  // ---- user actions

  setView(change) {
    const { third, range, steps } = this.kind;
    const view = { ...(this.view ?? this.ahead), ...change };
    const round = (number, per) => Math.round(number * per) / per;
    view.yaw = round(wrapYaw(view.yaw), 10);
    view.pitch = round(clamp(view.pitch, -90, 90), 10);
    view[third] = round(clamp(view[third], ...range), steps);
    if (this.keyed) this.storeKeyframes(this.withKeyframe(view));
    else {
      // Changing only the third number keeps the chosen region.
      const turned = "yaw" in change || "pitch" in change;
      if (turned) parts.setWidget(this.node, this.choice, this.byHand);
      if (turned) for (const name of ["yaw", "pitch"]) parts.setWidget(this.node, name, view[name]);
      parts.setWidget(this.node, third, view[third]);
    }
    this.update();
  }

  get ahead() {
    return { yaw: 0, pitch: 0, [this.kind.third]: Number(this.value(this.kind.third)) };
  }

  withKeyframe(view) {
    const time = this.keyframeHere?.time ?? Math.round(this.transport.time * 100) / 100;
    const others = this.keyframes.filter((frame) => frame.time !== time);
    const stored = [...others, { time, ...view }].sort((a, b) => a.time - b.time);
    return stored.map((frame) => ({ time: frame.time, ...this.kind.stored(frame) }));
  }

  storeKeyframes(frames) {
    parts.setWidget(this.node, KEYFRAMES, frames.length ? JSON.stringify(frames) : "");
  }

  setKeyframe() {
    if (!this.view) return;
    this.storeKeyframes(this.withKeyframe(this.view));
    parts.setWidget(this.node, this.choice, KEYFRAMES);
    this.done();
  }

  removeKeyframe() {
    const here = this.keyframeHere;
    if (!here) return;
    const left = this.keyframes.filter((frame) => frame !== here && frame.time !== here.time);
    if (!left.length) {
      for (const name of ["yaw", "pitch", this.kind.third]) parts.setWidget(this.node, name, here[name]);
      parts.setWidget(this.node, this.choice, this.byHand);
    }
    this.storeKeyframes(left);
    this.done();
  }

  choose(ranking, rank) {
    if (!this.found(ranking).some((region) => region.rank === rank)) return;
    parts.setWidget(this.node, "rank", rank);
    parts.setWidget(this.node, this.choice, ranking);
    this.done();
  }

  /** Choose the same rank in the other ranking, or its first. */
  changeRanking() {
    const rank = this.value("rank");
    this.choose(this.otherRanking, this.found(this.otherRanking).some((region) => region.rank === rank) ? rank : 1);
  }

  async wear() {
    if (!(await parts.toggleEars(this.hearing, this.ears))) this.hint.textContent = t("noHeadphones");
  }

  toggleOverlay() {
    this.overlay = !this.overlay;
    parts.setButton(this.eye, this.overlay ? "eye" : "eye-slash", t(this.overlay ? "overlayOff" : "overlayOn"));
    this.draw();
  }

  done() {
    this.update();
    parts.rememberForUndo();
  }

  /** A pointer's position on the map, and a function for its distance to a place in screen pixels. */
  pointer(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y, width, height] = parts.panoramaRect(box);
    const [u, v] = [(event.clientX - box.left - x) / width, (event.clientY - box.top - y) / height];
    const away = (place) => {
      const [placeU, placeV] = anglesOnMap(place);
      const across = Math.abs(placeU - u);
      return Math.hypot(Math.min(across, 1 - across) * width, (placeV - v) * height);
    };
    return { u, v, away };
  }

  /** True of the number of the region that is followed. */
  isChosen({ ranking, rank }) {
    return ranking === this.value(this.choice) && rank === this.value("rank");
  }

  /** The number nearest to a pointer, if close enough. */
  badgeAt({ away }) {
    const near = this.badges().map((badge) => ({ ...badge, px: away(badge.place) })).filter(({ px }) => px < NEAR_PX);
    return near.sort((a, b) => a.px - b.px)[0];
  }

  /** Show the meaning of the number under the pointer as a tooltip. */
  sayNumber(event) {
    const badge = this.badgeAt(this.pointer(event));
    this.canvas.title = badge ? t(badge.ranking, badge) : "";
  }

  press(event) {
    if (event.button !== 0) return;
    const start = this.pointer(event);
    // What is at hand can be dragged off a number, which a mere click chooses, and off a keyframe of another time.
    const atHand = this.view && start.away(this.view) < NEAR_PX;
    const badge = this.badgeAt(start);
    if (badge && !atHand) return this.choose(badge.ranking, badge.rank);
    const frame = this.keyed && !atHand && this.keyframes.find((found) => start.away(found) < NEAR_PX);
    if (frame && frame !== this.keyframeHere) return this.transport.seek(frame.time);
    // A keyframe belongs to the time of the press, so pause. A still view can turn while the clip plays.
    if (this.keyed) this.video.pause();
    const under = anglesAt(start.u, start.v);
    // A press inside the view, or on the sound, drags it; a press outside moves it there first.
    if (!this.view || !this.kind.holds(this.shaped(this.view), under)) this.setView(under);
    const from = this.view;
    let dragged = false;
    const move = (moved) => {
      dragged ||= Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY) > STILL_PX;
      if (!dragged) return;
      const now = this.pointer(moved);
      this.setView({ yaw: from.yaw + (now.u - start.u) * 360, pitch: from.pitch - (now.v - start.v) * 180 });
    };
    const lift = () => {
      this.canvas.removeEventListener("pointermove", move);
      this.canvas.removeEventListener("pointercancel", lift);
      this.canvas.removeEventListener("pointerup", lift);
      if (badge && !dragged) this.choose(badge.ranking, badge.rank);
      else this.done();
    };
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointercancel", lift);
    this.canvas.addEventListener("pointerup", lift);
  }

  wheel(event) {
    if (!parts.takesWheel(this.canvas, event)) return;
    this.turnThird(Math.sign(event.deltaY));
    clearTimeout(this.resting);
    this.resting = setTimeout(() => parts.rememberForUndo(), 300);
  }

  /** Change the field of view, or the distance, by notches of the wheel. */
  turnThird(notches) {
    const { third, turned } = this.kind;
    this.setView({ [third]: turned((this.view ?? this.ahead)[third], notches) });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 10 : 1;
    const { yaw, pitch } = this.view ?? this.ahead;
    const turn = (change) => {
      this.setView(change);
      this.done();
    };
    const zoom = (notches) => {
      this.turnThird(notches);
      this.done();
    };
    const actions = {
      ArrowLeft: () => turn({ yaw: yaw - step }),
      ArrowRight: () => turn({ yaw: yaw + step }),
      ArrowUp: () => turn({ pitch: pitch + step }),
      ArrowDown: () => turn({ pitch: pitch - step }),
      "+": () => zoom(-1),
      "=": () => zoom(-1),
      "-": () => zoom(1),
      r: () => this.changeRanking(),
      Enter: () => this.setKeyframe(),
      Delete: () => this.removeKeyframe(),
      Backspace: () => this.removeKeyframe(),
      " ": () => this.transport.toggle(),
    };
    const rank = /^[1-8]$/.test(event.key) && Number(event.key);
    const action = actions[event.key] ?? (rank && (() => this.choose(this.ranking, rank)));
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  // ---- display

  update() {
    // By hand, keep showing the last ranking.
    if (this.ranked) this.ranking = this.value(this.choice);
    this.panorama = parts.outputOf(this.node)?.panorama;
    this.kind.tell(this.hearing, this.panorama);
    const notices = parts.outputOf(this.node)?.notices ?? [];
    this.facts.replaceChildren(...notices.map((line) => el("div", {}, line)));
    this.sound.hidden = !this.panorama?.sound;
    this.ears.hidden = !this.hearing.on;
    parts.setSource(this.video, this.panorama && parts.fileUrl(this.panorama));
    if (!this.panorama) this.transport.setFree(Math.max(4, this.keyframes.at(-1)?.time ?? 0));
    this.hint.textContent = this.panorama ? "" : t("runToSee");
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    const rect = parts.panoramaRect(this.canvas);
    context.clearRect(0, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(...rect);
    context.clip();
    context.translate(rect[0], rect[1]);
    const inside = [0, 0, rect[2], rect[3]];
    if (!parts.drawHalf(context, this.video, this.overlay ? 1 : 0, inside)) {
      context.fillStyle = "#8882";
      context.fillRect(...inside);
    }
    this.drawGrid(context, rect[2], rect[3]);
    const pen = new Pen(context, rect[2], rect[3], width / Math.max(1, this.canvas.clientWidth));
    this.drawPath(pen);
    const view = this.view;
    if (view) {
      const shaped = this.shaped(view);
      this.kind.hear(this.hearing, shaped);
      pen.lines(linesOnMap(this.kind.outline(shaped), true), PINK, 2.5);
      if (!this.kind.over) this.kind.mark(pen, anglesOnMap(view), PINK);
    }
    for (const badge of this.badges()) {
      pen.badge(anglesOnMap(badge.place), String(badge.rank), this.isChosen(badge) ? CHOSEN : badge.full ? OFFERED : OTHER);
    }
    if (view && this.kind.over) this.kind.mark(pen, anglesOnMap(view), PINK);
    context.restore();
    this.showStatus(view);
  }

  /** A place with the widgets that add to it. */
  shaped(view) {
    return this.kind.shaped(view, (name) => Number(this.value(name)));
  }

  drawGrid(context, width, height) {
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

  drawPath(pen) {
    const frames = this.keyframes;
    if (!this.keyed || !frames.length) return;
    const [first, last] = [frames[0].time, frames.at(-1).time];
    const path = Array.from({ length: 97 }, (_, i) => axes(viewAt(frames, first + (i / 96) * (last - first))).forward);
    pen.lines(linesOnMap(path), "#ffd600", 1.5);
    for (const frame of frames) pen.dot(anglesOnMap(frame), frame === this.keyframeHere ? PINK : "#ffd600");
  }

  showStatus(view) {
    const here = this.keyframeHere;
    this.remove.disabled = !this.keyed || !here;
    this.add.disabled = !view;
    const mode = this.value(this.choice);
    const byHand = this.keyed ? t("keyframesSet", { count: this.keyframes.length }) : t(BY_RUN[mode] ?? "byHand");
    const how = this.ranked ? t(mode, { rank: this.value("rank") }) : byHand;
    // A run may have placed a sound at no single place.
    const known = !view && parts.outputOf(this.node)?.mode === mode;
    const text = known ? how : `${how} · ${view ? t(...this.kind.words(view)) : t("notFound")}`;
    // Screen readers speak every write, so write only changes.
    if (this.status.textContent !== text) this.status.textContent = text;
  }
}
