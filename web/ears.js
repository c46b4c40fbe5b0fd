// Headphones: Ambisonics (AmbiX) of order 1 to 3 that turns with the view and reaches each ear through a filter, as
// con360/sound/headphones.py. The filters are those of MIT KEMAR (NOTICE).

import { axes } from "./geometry.js";

// Rate of the filters, so of the context.
export const EARS_RATE_HZ = 48000;
// Changing a gain at once would click.
export const GLIDE_S = 0.02;
// Gauss-Legendre nodes and weights: with eight azimuths, sums over these directions are integrals up to degree 7.
const NODES = [
  [-0.8611363115940526, 0.3478548451374538], [-0.3399810435848563, 0.6521451548625461],
  [0.3399810435848563, 0.6521451548625461], [0.8611363115940526, 0.3478548451374538],
];
const AZIMUTHS = 8;

/** Gains of the 16 channels, ACN and SN3D, of a plane wave from the direction x (front), y (left), z (up). */
function harmonics([x, y, z]) {
  const [a, b] = [Math.sqrt(5 / 8), Math.sqrt(3 / 8)];
  return [
    1, y, z, x,
    Math.sqrt(3) * x * y, Math.sqrt(3) * y * z, (3 * z * z - 1) / 2, Math.sqrt(3) * x * z,
    (Math.sqrt(3) / 2) * (x * x - y * y),
    a * y * (3 * x * x - y * y), Math.sqrt(15) * x * y * z, b * y * (5 * z * z - 1), (z * (5 * z * z - 3)) / 2,
    b * x * (5 * z * z - 1), (Math.sqrt(15) / 2) * z * (x * x - y * y), a * x * (x * x - 3 * y * y),
  ];
}

const degreeOf = (channel) => Math.floor(Math.sqrt(channel));

/** The matrix that turns Ambisonics so that what lies where the view looks comes from the front. */
export function turnMatrix(view, order) {
  const { right, up, forward } = axes(view);
  const channels = (order + 1) ** 2;
  const matrix = Array.from({ length: channels }, () => Array(channels).fill(0));
  for (const [z, weight] of NODES) {
    for (let k = 0; k < AZIMUTHS; k++) {
      const angle = (2 * Math.PI * k) / AZIMUTHS;
      const [x, y] = [Math.sqrt(1 - z * z) * Math.cos(angle), Math.sqrt(1 - z * z) * Math.sin(angle)];
      // Views count x right, y up, z forward.
      const along = (axis) => -y * axis[0] + z * axis[1] + x * axis[2];
      const [from, to] = [harmonics([x, y, z]), harmonics([along(forward), -along(right), along(up)])];
      for (let i = 0; i < channels; i++) {
        const n = degreeOf(i);
        const share = ((2 * n + 1) / 2) * (weight / AZIMUTHS) * to[i];
        for (let j = n * n; j < (n + 1) ** 2; j++) matrix[i][j] += share * from[j];
      }
    }
  }
  return matrix;
}

/** Read ears.safetensors: by order, the left ear's filter of each channel. */
export function readEars(buffer) {
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const filters = {};
  for (const order of [1, 2, 3]) {
    const { shape: [channels, length], data_offsets: [from] } = header[`order${order}.${EARS_RATE_HZ}`];
    const read = (i) => new Float32Array(buffer.slice(start + from + 4 * i * length, start + from + 4 * (i + 1) * length));
    filters[order] = Array.from({ length: channels }, (_, i) => read(i));
  }
  return filters;
}

/** The filters beside this script. */
export async function loadEars() {
  const answer = await fetch(new URL("ears.safetensors", import.meta.url));
  if (!answer.ok) throw new Error(`ears.safetensors: ${answer.status}`);
  return readEars(await answer.arrayBuffer());
}

/** A graph from Ambisonics to two ears: connect a source of (order + 1)² channels to `input`, and `output` onwards. */
export class EarsGraph {
  constructor(context, order, filters) {
    Object.assign(this, { context, order });
    const channels = (order + 1) ** 2;
    this.input = new ChannelSplitterNode(context, { numberOfOutputs: channels });
    this.output = new ChannelMergerNode(context, { numberOfInputs: 2 });
    // Both ears hear alike what points neither left nor right; what does has the other sign at the right.
    const [both, aside, other] = [1, 1, -1].map((gain) => new GainNode(context, { gain }));
    for (const ear of [0, 1]) both.connect(this.output, 0, ear);
    aside.connect(this.output, 0, 0);
    aside.connect(other).connect(this.output, 0, 1);
    const heard = filters[order].map((taps, i) => this.#filter(taps, i - degreeOf(i) * (degreeOf(i) + 1) < 0 ? aside : both));
    this.gains = turnMatrix({ yaw: 0, pitch: 0 }, order).map((row, i) => row.map((gain, j) => this.#gain(gain, i, j, heard)));
  }

  #filter(taps, ears) {
    const buffer = new AudioBuffer({ length: taps.length, numberOfChannels: 1, sampleRate: this.context.sampleRate });
    buffer.copyToChannel(taps, 0);
    const node = new ConvolverNode(this.context, {
      buffer, disableNormalization: true, channelCount: 1, channelCountMode: "explicit",
    });
    node.connect(ears);
    return node;
  }

  /** A gain from channel j of the sound to channel i of what is heard; none between degrees, which do not mix. */
  #gain(gain, i, j, heard) {
    if (degreeOf(i) !== degreeOf(j)) return undefined;
    const node = new GainNode(this.context, { gain, channelCount: 1, channelCountMode: "explicit" });
    this.input.connect(node, j);
    node.connect(heard[i]);
    return node;
  }

  /** Turn to a view, at once or gliding. */
  turn(view, glide_s = GLIDE_S) {
    turnMatrix(view, this.order).forEach((row, i) =>
      row.forEach((gain, j) => {
        const node = this.gains[i][j]?.gain;
        if (glide_s) node?.setTargetAtTime(gain, this.context.currentTime, glide_s);
        else if (node) node.value = gain;
      }),
    );
  }
}
