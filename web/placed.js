// Plays a mono sound from a place around the listener, who looks straight ahead, and moves it while it plays.

import { GLIDE_S } from "./ears.js";
import { axes } from "./geometry.js";
import { audioContext, stereoGains } from "./hearing.js";

// As in con360/sound/sources.py: breadth of a source, and the distance from which on it gets no louder.
export const SIZE_M = 0.3;
const NEAREST_M = 0.3;
const AHEAD = { yaw: 0, pitch: 0 };

/** Degrees that a source fills: its spread, at least its own size. */
export function breadth({ distance, spread = 0 }) {
  return Math.max(spread, (360 / Math.PI) * Math.asin(Math.min(1, SIZE_M / 2 / distance)));
}

/** Gains of W, Y, Z, X of a sound at a place: {yaw, pitch, distance, spread, gain}. */
export function sourceGains(place) {
  const [x, y, z] = axes(place).forward;
  const level = 10 ** ((place.gain ?? 0) / 20) / Math.max(NEAREST_M, place.distance);
  const narrow = (1 + Math.cos((breadth(place) * Math.PI) / 360)) / 2;
  // AmbiX's dipoles point left, up and forward.
  return [level, ...[-x, y, z].map((share) => level * narrow * share)];
}

/** Gains of a sound at a place for the left and for the right ear. */
export const earGains = (place) =>
  stereoGains(AHEAD).map((row) => sourceGains(place).reduce((sum, gain, i) => sum + gain * row[i], 0));

export class Placed {
  constructor(video) {
    this.video = video;
    this.active = false;
    video.addEventListener("play", () => this.#connect());
  }

  /** Set if the video's sound is a single source; other sound plays as it is. */
  set on(active) {
    if (active === this.active) return;
    this.active = active;
    if (!this.video.paused) this.#connect();
  }

  place(place) {
    this.gains = earGains(place);
    if (!this.ears) return;
    const now = audioContext().currentTime;
    this.gains.forEach((gain, ear) => this.ears[ear].gain.setTargetAtTime(gain, now, GLIDE_S));
  }

  stop() {
    this.source?.disconnect();
  }

  #connect() {
    if (!this.active && !this.source) return;
    const context = audioContext();
    context.resume();
    // A video element keeps its source node: any later file plays through it too.
    this.source ??= context.createMediaElementSource(this.video);
    this.source.disconnect();
    if (!this.active) {
      this.source.connect(context.destination);
      return;
    }
    if (!this.ears) this.#build(context);
    for (const ear of this.ears) this.source.connect(ear);
  }

  #build(context) {
    const both = new ChannelMergerNode(context, { numberOfInputs: 2 });
    both.connect(context.destination);
    this.ears = (this.gains ?? [1, 1]).map((gain, ear) => {
      // One channel, so that a sound that the browser makes stereo is not mixed into both inputs.
      const node = new GainNode(context, { gain, channelCount: 1, channelCountMode: "explicit" });
      node.connect(both, 0, ear);
      return node;
    });
  }
}
