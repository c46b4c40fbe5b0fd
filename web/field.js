// Plays Ambisonics of order 1 to 3 on headphones beside a silent video, all its channels at their own speed, turned with
// the view. Browsers play files of more than two channels as they like, so the samples are read here.

import { EarsGraph, loadEars } from "./ears.js";
import { audioContext } from "./hearing.js";

const FLOAT_BYTES = 4;

/** Read a WAV of 32-bit floats, as con360/media/wav.py writes it: {rate, channels: [Float32Array, ...]}. */
export function readWav(bytes) {
  const view = new DataView(bytes);
  const chunks = {};
  for (let at = 12; at + 8 <= bytes.byteLength; ) {
    const name = String.fromCharCode(...new Uint8Array(bytes, at, 4));
    chunks[name] = at + 8;
    if (name === "data") break;
    at += 8 + view.getUint32(at + 4, true);
  }
  const [count, rate] = [view.getUint16(chunks["fmt "] + 2, true), view.getUint32(chunks["fmt "] + 4, true)];
  const length = Math.floor((bytes.byteLength - chunks.data) / FLOAT_BYTES / count);
  const mixed = new Float32Array(bytes.slice(chunks.data, chunks.data + length * count * FLOAT_BYTES));
  const channels = [...Array(count).keys()].map((c) => Float32Array.from({ length }, (_, i) => mixed[i * count + c]));
  return { rate, channels };
}

export class FieldSound {
  constructor(video) {
    this.video = video;
    this.view = { yaw: 0, pitch: 0 };
    for (const name of ["playing", "seeked", "volumechange"]) video.addEventListener(name, () => this.#start());
    for (const name of ["pause", "waiting", "seeking", "emptied"]) video.addEventListener(name, () => this.#halt());
  }

  /** Load the field at an address; none for no address. Rejects where field or filters cannot be loaded. */
  async load(url) {
    if (url === this.url) return;
    this.url = url;
    this.#halt();
    this.buffer = undefined;
    if (!url) return;
    const [answer, filters] = await Promise.all([fetch(url), loadEars()]);
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
    const { rate, channels } = readWav(await answer.arrayBuffer());
    // Another run may have brought another field meanwhile.
    if (url !== this.url) return;
    this.graph?.output.disconnect();
    this.graph = new EarsGraph(audioContext(), Math.sqrt(channels.length) - 1, filters);
    this.graph.output.connect(audioContext().destination);
    this.graph.turn(this.view, 0);
    this.buffer = new AudioBuffer({ length: channels[0].length, numberOfChannels: channels.length, sampleRate: rate });
    channels.forEach((samples, i) => this.buffer.copyToChannel(samples, i));
    this.#start();
  }

  turn(view) {
    this.view = view;
    this.graph?.turn(view);
  }

  stop() {
    this.#halt();
    this.graph?.output.disconnect();
  }

  #start() {
    this.#halt();
    const { video, buffer } = this;
    if (!buffer || video.paused || video.seeking || video.muted) return;
    audioContext().resume();
    this.source = new AudioBufferSourceNode(audioContext(), { buffer });
    this.source.connect(this.graph.input);
    this.source.start(0, video.currentTime);
  }

  #halt() {
    this.source?.stop();
    this.source?.disconnect();
    this.source = undefined;
  }
}
