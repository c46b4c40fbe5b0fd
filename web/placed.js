// Plays a mono sound from a place around the listener, who looks straight ahead, and moves it while it plays.

import { EarsGraph, GLIDE_S, loadEars } from "./ears.js";
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
    this.active = this.headphones = false;
    this.at = { ...AHEAD, distance: 1 };
    video.addEventListener("play", () => this.#connect());
  }

  /** True if the video's sound is a single source; other sound plays as it is. */
  get on() {
    return this.active;
  }

  set on(active) {
    if (active === this.active) return;
    this.active = active;
    if (!this.video.paused) this.#connect();
  }

  /** Switch to headphones or back. Rejects where their filters cannot be loaded. */
  async wear(headphones, load = loadEars) {
    if (headphones) this.filters ??= await load();
    this.headphones = headphones;
    if (this.source) this.#connect();
  }

  place(place) {
    this.at = place;
    this.#glide(this.ears, earGains(place));
    this.#glide(this.field, sourceGains(place));
  }

  stop() {
    this.source?.disconnect();
  }

  #glide(nodes, gains) {
    nodes?.forEach(({ gain }, i) => gain.setTargetAtTime(gains[i], audioContext().currentTime, GLIDE_S));
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
    for (const node of this.headphones ? this.#onHeadphones(context) : this.#onLoudspeakers(context)) {
      this.source.connect(node);
    }
  }

  #onLoudspeakers(context) {
    return (this.ears ??= fan(context, earGains(this.at), context.destination));
  }

  #onHeadphones(context) {
    if (!this.field) {
      const graph = new EarsGraph(context, 1, this.filters);
      graph.output.connect(context.destination);
      this.field = fan(context, sourceGains(this.at), graph.input);
    }
    return this.field;
  }
}

/** Gains from one channel to as many, which reach a node together. */
function fan(context, gains, target) {
  const together = new ChannelMergerNode(context, { numberOfInputs: gains.length });
  together.connect(target);
  return gains.map((gain, i) => {
    // One channel, so that a sound that the browser makes stereo is not mixed into all inputs.
    const node = new GainNode(context, { gain, channelCount: 1, channelCountMode: "explicit" });
    node.connect(together, 0, i);
    return node;
  });
}
