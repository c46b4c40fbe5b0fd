// Makes a track audible: a short tone at each onset while a clip plays, and a silent clip where there is none.

import { audioContext } from "./hearing.js";

const [TONE_HZ, TONE_S, LOUDEST] = [1600, 0.04, 0.35];
/** A clip that jumps further between two looks was moved by hand. */
const JUMP_S = 0.5;
const RATE_HZ = 8000;

export class Clicks {
  constructor(video) {
    this.video = video;
    this.on = true;
    this.last = 0;
  }

  /** Play the onsets that the clip has passed since the last call; `time` is its own. */
  pass(onsets, time) {
    const { last, video, on } = this;
    this.last = time;
    if (!on || video.muted || video.paused || time <= last || time - last > JUMP_S) return;
    for (const onset of onsets) if (onset.time > last && onset.time <= time) this.#play(onset.strength);
  }

  #play(strength) {
    const context = audioContext();
    context.resume();
    const now = context.currentTime;
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(LOUDEST * strength, now);
    gain.gain.exponentialRampToValueAtTime(1e-3, now + TONE_S);
    const tone = new OscillatorNode(context, { frequency: TONE_HZ });
    tone.connect(gain).connect(context.destination);
    tone.start(now);
    tone.stop(now + TONE_S);
  }
}

/** A WAV of silence of so many seconds. */
export function silentWav(seconds) {
  const count = Math.max(1, Math.round(seconds * RATE_HZ));
  const view = new DataView(new ArrayBuffer(44 + count));
  const text = (at, name) => [...name].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  // Plain samples, one channel, eight bits.
  [1, 1].forEach((value, i) => view.setUint16(20 + 2 * i, value, true));
  [RATE_HZ, RATE_HZ].forEach((value, i) => view.setUint32(24 + 4 * i, value, true));
  [1, 8].forEach((value, i) => view.setUint16(32 + 2 * i, value, true));
  text(36, "data");
  view.setUint32(40, count, true);
  new Uint8Array(view.buffer, 44).fill(128);
  return new Blob([view.buffer], { type: "audio/wav" });
}
