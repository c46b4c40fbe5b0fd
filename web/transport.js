// Play, pause and time of one video, and of others that follow it.

import { button, el, setButton, t } from "./parts.js";

const DRIFT_S = 0.08;

export class Transport {
  /** `lead` sets the time, `followers` keep to it, `draw` is called for each new picture. */
  constructor(lead, followers, draw) {
    Object.assign(this, { lead, followers, draw });
    this.play = button("play", t("play"), () => this.toggle());
    this.slider = el("input", { type: "range", min: 0, step: 0.01, value: 0, "aria-label": t("time") });
    this.clock = el("span", { class: "con360-clock" });
    this.bar = el("div", { class: "con360-bar" }, this.play, this.slider, this.clock);
    this.slider.addEventListener("input", () => this.seek(this.snap(Number(this.slider.value))));
    for (const name of ["play", "pause"]) lead.addEventListener(name, () => this.#playing(name === "play"));
    for (const name of ["loadeddata", "seeked", "emptied"]) lead.addEventListener(name, () => this.#arrived());
    lead.addEventListener("loadeddata", () => this.excerpt.start && this.seek(0));
    for (const follower of followers) {
      for (const name of ["loadeddata", "seeked"]) follower.addEventListener(name, () => this.#arrived());
    }
    for (const video of [lead, ...followers]) onFrames(video, () => lead.paused && draw());
    this.free = { duration: 4, time: 0 };
    this.excerpt = { start: 0, length: Infinity };
  }

  /** Where the slider goes instead of a time; a timeline has marks. */
  snap(time) {
    return time;
  }

  /** Show only a part of the leading video, a length of 0 to its end; times count from its start. */
  setExcerpt(start = 0, seconds = 0) {
    const length = seconds || Infinity;
    if (this.excerpt.start === start && this.excerpt.length === length) return;
    this.excerpt = { start, length };
    if (this.lead.readyState) this.seek(0);
  }

  /** Length and time of a clip that is not loaded, so that times can be chosen before. */
  setFree(duration) {
    this.free = { duration, time: Math.min(this.free.time, duration) };
    this.#show();
  }

  get duration() {
    const { start, length } = this.excerpt;
    return this.lead.duration ? Math.max(0, Math.min(this.lead.duration - start, length)) : this.free.duration;
  }

  get time() {
    return this.lead.readyState ? Math.max(0, this.lead.currentTime - this.excerpt.start) : this.free.time;
  }

  seek(time) {
    this.free.time = time;
    const place = this.excerpt.start + time;
    for (const video of [this.lead, ...this.followers]) if (video.readyState) video.currentTime = place;
    this.#show();
  }

  toggle() {
    if (!this.lead.src) return;
    if (this.lead.paused) this.lead.play();
    else this.lead.pause();
  }

  stop() {
    for (const video of [this.lead, ...this.followers]) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  }

  #playing(on) {
    setButton(this.play, on ? "pause" : "play", t(on ? "pause" : "play"));
    for (const video of this.followers) if (video.src) video[on ? "play" : "pause"]();
    if (on) this.#step();
    else this.#follow();
  }

  #arrived() {
    // At the pause, followers that were seeking (looping) were skipped: align them now.
    if (this.lead.paused) this.#follow();
    this.#show();
  }

  #step() {
    if (this.lead.paused) return;
    const { currentTime } = this.lead;
    const outside = currentTime < this.excerpt.start || currentTime >= this.excerpt.start + this.excerpt.length;
    if (outside && this.duration && !this.lead.seeking) this.seek(0);
    this.#follow();
    this.#show();
    requestAnimationFrame(() => this.#step());
  }

  #follow() {
    for (const video of this.followers) {
      const late = Math.abs(video.currentTime - this.lead.currentTime);
      // When clips loop, their ends may differ by a frame.
      if (video.readyState && !video.seeking && late > DRIFT_S && this.lead.currentTime <= video.duration) {
        video.currentTime = this.lead.currentTime;
      }
    }
  }

  #show() {
    this.slider.max = this.duration;
    this.slider.value = this.time;
    this.clock.textContent = `${this.time.toFixed(1)} / ${this.duration.toFixed(1)} s`;
    this.slider.setAttribute("aria-valuetext", this.clock.textContent);
    this.draw();
  }
}

/** Call `then` for each frame that a video shows; a browser under load shows it long after the event that tells of it. */
function onFrames(video, then) {
  // Browsers without this have the events alone.
  video.requestVideoFrameCallback?.(() => {
    then();
    onFrames(video, then);
  });
}
