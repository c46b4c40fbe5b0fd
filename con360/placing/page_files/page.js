// A page to send: a 360° clip to look around in, and the clips of its views. Everything lies in the page itself.

import { readEars } from "../../../web/ears.js";
import { Hearing } from "../../../web/hearing.js";
import { AHEAD, Sphere, changeByKey, changeByWheel, drag, placeOf, turned } from "../../../web/sphere.js";

const CHUNK = 1 << 22; // characters of base64 that are read at once; a multiple of 4
const byId = (id) => document.getElementById(id);

/** The bytes of a piece of data in the page, which is then dropped from it. */
function bytesOf(id) {
  const element = byId(id);
  const text = element.textContent.trim();
  element.remove();
  const pieces = [];
  for (let at = 0; at < text.length; at += CHUNK) {
    pieces.push(Uint8Array.from(atob(text.slice(at, at + CHUNK)), (letter) => letter.charCodeAt(0)));
  }
  return pieces;
}

const addressOf = (id, type) => URL.createObjectURL(new Blob(bytesOf(id), { type }));

function button(text, action, name = "") {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", textContent: text, title: text, className: name });
  element.addEventListener("click", action);
  return element;
}

const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${Math.floor(seconds % 60).toString().padStart(2, "0")}`;

class Tour {
  constructor(facts) {
    this.facts = facts;
    this.view = AHEAD;
    this.canvas = byId("around");
    this.around = document.createElement("video");
    Object.assign(this.around, { loop: true, playsInline: true, preload: "auto" });
    this.flat = byId("flat");
    this.video = this.around;
    this.hearing = new Hearing(this.around);
    this.hearing.ambisonic = facts.ambisonic;
    this.views = facts.views.map((view) => ({ ...view, address: addressOf(view.id, view.type) }));
    this.#addViews();
    this.#listen();
    this.around.src = addressOf("clip", facts.type);
  }

  #addViews() {
    const here = (view) => () => this.enter(view);
    this.spots = this.views.filter((view) => view.yaw !== null).map((view) => ({
      view, element: button(view.caption, here(view), "spot"),
    }));
    byId("spots").append(...this.spots.map(({ element }) => element));
    this.buttons = [undefined, ...this.views].map((view) => [view, button(view ? view.caption : "All around", here(view))]);
    byId("views").append(...this.buttons.map(([, element]) => element));
    byId("views").hidden = !this.views.length;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => drag(canvas, event, this.view, (change) => this.turn(change)));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.turn(changeByWheel(this.view, event));
    }, { passive: false });
    document.addEventListener("keydown", (event) => this.key(event));
    for (const video of [this.around, this.flat]) {
      for (const name of ["play", "pause", "loadeddata", "seeked", "timeupdate"]) {
        video.addEventListener(name, () => this.show());
      }
      video.addEventListener("error", () => this.say("This browser cannot play the clip. Try a current Chrome or Edge."));
    }
    this.around.addEventListener("play", () => this.step());
    byId("play").addEventListener("click", () => this.toggle());
    byId("time").addEventListener("input", ({ target }) => (this.video.currentTime = Number(target.value)));
    byId("ahead").addEventListener("click", () => this.turn(AHEAD));
    byId("sound").addEventListener("click", () => this.mute(!this.around.muted));
    byId("headphones").addEventListener("click", () => this.wear(!this.hearing.headphones));
    byId("headphones").hidden = !this.facts.ambisonic;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  say(text) {
    byId("hint").textContent = text;
  }

  mute(muted) {
    this.around.muted = this.flat.muted = muted;
    byId("sound").setAttribute("aria-pressed", String(!muted));
  }

  async wear(headphones) {
    await this.hearing.wear(headphones, async () => {
      const pieces = bytesOf("ears");
      return readEars(await new Blob(pieces).arrayBuffer());
    });
    byId("headphones").setAttribute("aria-pressed", String(headphones));
  }

  /** Show a view's own clip, or without one the panorama, which faces the view that was left. */
  enter(view) {
    const playing = !this.video.paused;
    this.video.pause();
    if (view) {
      if (view.yaw !== null) this.turn({ yaw: view.yaw, pitch: view.pitch });
      if (this.flat.src !== view.address) this.flat.src = view.address;
      this.flat.currentTime = view.start === null ? 0 : Math.max(0, this.around.currentTime - view.start);
    }
    this.shown = view;
    this.video = view ? this.flat : this.around;
    this.flat.hidden = !view;
    this.canvas.hidden = byId("spots").hidden = byId("ahead").hidden = Boolean(view);
    byId("headphones").hidden = Boolean(view) || !this.facts.ambisonic;
    for (const [one, element] of this.buttons) element.setAttribute("aria-current", String(one === view));
    if (playing || view) this.toggle();
    this.show();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => this.say("Press Play."));
    else this.video.pause();
  }

  key(event) {
    if (event.key === "Escape" && this.shown) this.enter(undefined);
    const onButton = event.target !== document.body && event.target !== this.canvas;
    if (onButton) return;
    if (event.key === " ") this.toggle();
    const change = this.shown ? undefined : changeByKey(this.view, event);
    if (change) this.turn(change);
    if (change || event.key === " ") event.preventDefault();
  }

  turn(change) {
    this.view = turned(this.view, change);
    this.hearing.turn(this.view);
    this.draw();
  }

  fit() {
    const sharp = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(2, this.canvas.clientWidth * sharp);
    this.canvas.height = Math.max(2, this.canvas.clientHeight * sharp);
    this.draw();
  }

  step() {
    this.draw();
    if (!this.around.paused) requestAnimationFrame(() => this.step());
  }

  show() {
    const { currentTime, duration, paused, readyState } = this.video;
    byId("play").textContent = paused ? "Play" : "Pause";
    byId("time").max = duration || 1;
    byId("time").value = currentTime;
    byId("clock").textContent = `${clock(currentTime)} / ${clock(duration || 0)}`;
    if (readyState >= 2) this.say(paused && !currentTime ? "Press Play. Drag to look around." : "");
    this.draw();
  }

  draw() {
    const { canvas, around } = this;
    if (around.readyState < 2 || !canvas.clientWidth) return;
    this.sphere ??= new Sphere(canvas);
    if (!this.sphere.gl) return void this.say("This browser has no WebGL 2, which draws the inside of the sphere.");
    this.sphere.draw(around, this.view, [0, 0, 1, 1]);
    for (const { view, element } of this.spots) {
      const place = placeOf(this.view, view, canvas.clientWidth, canvas.clientHeight);
      element.hidden = !place;
      if (place) [element.style.left, element.style.top] = place.map((pixels) => `${pixels}px`);
    }
  }
}

const tour = new Tour(JSON.parse(byId("facts").textContent));
// Headphones are what the turning is for; loudspeakers are one click away.
if (tour.facts.ambisonic) tour.wear(true).catch(() => tour.say("The headphone filters cannot be read."));
