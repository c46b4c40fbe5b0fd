// Sound that turns with the view: a video's first-order Ambisonics (AmbiX) mixed to stereo while it plays.

import { axes } from "./geometry.js";

// As con360/sound/levels.py mixes it: two virtual cardioids so far to either side.
const MICROPHONE = (75 * Math.PI) / 180;
// Gains that jump would click.
const GLIDE_S = 0.02;

// One for the page: browsers keep few of them. It starts with the first play, a click, before which none may sound.
let shared;

/** Gains of W, Y, Z, X for the left and for the right ear. */
export function stereoGains(view) {
  const { right, forward } = axes(view);
  return [-1, 1].map((side) => {
    const at = (i) => Math.cos(MICROPHONE) * forward[i] + side * Math.sin(MICROPHONE) * right[i];
    // AmbiX's dipoles point to the left, up and ahead.
    return [0.5, -0.5 * at(0), 0.5 * at(1), 0.5 * at(2)];
  });
}

/** What is heard of one video. Until Ambisonics plays in it, its sound is left to the browser. */
export class Hearing {
  constructor(video) {
    this.video = video;
    this.on = false;
    this.view = { yaw: 0, pitch: 0 };
    video.addEventListener("play", () => this.#connect());
  }

  /** Whether the video's sound is Ambisonics; a run may say so of a file that plays already. */
  set ambisonic(on) {
    if (on === this.on) return;
    this.on = on;
    if (!this.video.paused) this.#connect();
  }

  turn(view) {
    this.view = view;
    if (!this.gains) return;
    stereoGains(view).forEach((row, ear) =>
      row.forEach((gain, i) => this.gains[ear][i].gain.setTargetAtTime(gain, shared.currentTime, GLIDE_S)),
    );
  }

  stop() {
    this.source?.disconnect();
  }

  #connect() {
    if (!this.on && !this.source) return;
    shared ??= new AudioContext();
    shared.resume();
    // A video has one source for good: what it plays next, in whatever channels, goes through it as well.
    this.source ??= shared.createMediaElementSource(this.video);
    this.source.disconnect();
    if (!this.on) {
      this.source.connect(shared.destination);
      return;
    }
    if (!this.gains) this.#build();
    this.source.connect(this.splitter);
    this.turn(this.view);
  }

  #build() {
    this.splitter = new ChannelSplitterNode(shared, { numberOfOutputs: 4 });
    const ears = new ChannelMergerNode(shared, { numberOfInputs: 2 });
    ears.connect(shared.destination);
    this.gains = stereoGains(this.view).map((row, ear) =>
      row.map((gain, i) => {
        const node = new GainNode(shared, { gain });
        this.splitter.connect(node, i);
        node.connect(ears, 0, ear);
        return node;
      }),
    );
  }
}
