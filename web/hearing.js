// Sound that turns with the view: a video's first-order Ambisonics (AmbiX) mixed to stereo, or filtered to two ears on
// headphones, while it plays.

import { EARS_RATE_HZ, EarsGraph, GLIDE_S, loadEars } from "./ears.js";
import { axes } from "./geometry.js";

// As in con360/sound/levels.py: two virtual cardioids, at this angle to either side.
const MICROPHONE = (75 * Math.PI) / 180;

// One context per page: browsers limit their number. Create it at the first play: sound needs a click first.
let shared;
export const audioContext = () => (shared ??= new AudioContext({ sampleRate: EARS_RATE_HZ }));

/** Gains of W, Y, Z, X for the left and for the right ear. */
export function stereoGains(view) {
  const { right, forward } = axes(view);
  return [-1, 1].map((side) => {
    const at = (i) => Math.cos(MICROPHONE) * forward[i] + side * Math.sin(MICROPHONE) * right[i];
    // AmbiX's dipoles point left, up and forward.
    return [0.5, -0.5 * at(0), 0.5 * at(1), 0.5 * at(2)];
  });
}

/** Plays the sound of one video. Until it plays Ambisonics, the browser plays its sound. */
export class Hearing {
  constructor(video) {
    this.video = video;
    this.on = this.headphones = false;
    this.view = { yaw: 0, pitch: 0 };
    video.addEventListener("play", () => this.#connect());
  }

  /** Set if the video's sound is Ambisonics; a run can report it while the file is playing. */
  set ambisonic(on) {
    if (on === this.on) return;
    this.on = on;
    if (!this.video.paused) this.#connect();
  }

  /** Switch to headphones or back. Rejects where their filters cannot be loaded; `load` brings them from elsewhere. */
  async wear(headphones, load = loadEars) {
    if (headphones) this.filters ??= await load();
    this.headphones = headphones;
    if (this.source) this.#connect();
  }

  turn(view) {
    this.view = view;
    this.ears?.turn(view);
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
    audioContext().resume();
    // A video element keeps its source node: any later file, with any channels, plays through it too.
    this.source ??= shared.createMediaElementSource(this.video);
    this.source.disconnect();
    if (!this.on) {
      this.source.connect(shared.destination);
      return;
    }
    if (this.headphones) {
      this.ears ??= new EarsGraph(shared, 1, this.filters);
      this.ears.output.connect(shared.destination);
      this.source.connect(this.ears.input);
    } else {
      if (!this.gains) this.#build();
      this.source.connect(this.splitter);
    }
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
