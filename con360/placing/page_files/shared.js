// Made by tools/page_script.py from web/. Change those scripts, not this one.

// Angles and views as in con360/geometry: degrees, yaw right-positive, pitch up-positive, x right, y up, z forward, roll
// clockwise as seen from behind the camera. A map is the flat panorama: u and v in [0, 1], the upper left corner at yaw
// -180, pitch 90.

const DEG = Math.PI / 180;

const wrapYaw = (yaw) => ((((yaw + 180) % 360) + 360) % 360) - 180;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Right, up and forward axes of a camera. */
function axes({ yaw, pitch, roll = 0 }) {
  const [sy, cy, sp, cp] = [Math.sin(yaw * DEG), Math.cos(yaw * DEG), Math.sin(pitch * DEG), Math.cos(pitch * DEG)];
  const [sr, cr] = [Math.sin(roll * DEG), Math.cos(roll * DEG)];
  const [level, upright] = [[cy, 0, -sy], [-sy * sp, cp, -cy * sp]];
  return {
    right: level.map((value, i) => cr * value - sr * upright[i]),
    up: upright.map((value, i) => cr * value + sr * level[i]),
    forward: [sy * cp, sp, cy * cp],
  };
}

/** A view of a turned sphere as a view of the sphere before: the turn is a camera's, and the view is in its picture. */
function beneath(turn, view) {
  const [outer, inner] = [axes(turn), axes(view)];
  const world = ([x, y, z]) => outer.right.map((value, i) => x * value + y * outer.up[i] + z * outer.forward[i]);
  const [right, forward] = [world(inner.right), world(inner.forward)];
  const yaw = Math.atan2(forward[0], forward[2]) / DEG;
  const pitch = Math.asin(clamp(forward[1], -1, 1)) / DEG;
  const plain = axes({ yaw, pitch });
  return { ...view, yaw, pitch, roll: Math.atan2(-dot(plain.up, right), dot(plain.right, right)) / DEG };
}

/** How far a framed view reaches to the right and up, at distance 1; the field of view spans the longer side. */
function frameReach({ fov, aspect = 1 }) {
  const reach = Math.tan((fov * DEG) / 2);
  return [reach * Math.min(1, aspect), reach * Math.min(1, 1 / aspect)];
}

/** The outline of a framed view as unit vectors, clockwise from its upper left corner, the first not repeated. */
function fovOutline(view, pointsPerEdge = 64) {
  const { right, up, forward } = axes(view);
  const reach = frameReach(view);
  const corners = [[-1, 1], [1, 1], [1, -1], [-1, -1]];
  return corners.flatMap(([x, y], i) => {
    const [toX, toY] = corners[(i + 1) % 4];
    return Array.from({ length: pointsPerEdge }, (_, k) => {
      const share = k / pointsPerEdge;
      const [a, b] = [(x + share * (toX - x)) * reach[0], (y + share * (toY - y)) * reach[1]];
      const length = Math.hypot(a, b, 1);
      return [0, 1, 2].map((axis) => (a * right[axis] + b * up[axis] + forward[axis]) / length);
    });
  });
}

/** The edge of a round cap about a direction, as wide as an angle, as unit vectors. */
function capOutline(place, degrees, points = 64) {
  const { right, up, forward } = axes(place);
  const [along, across] = [Math.cos((degrees * DEG) / 2), Math.sin((degrees * DEG) / 2)];
  return Array.from({ length: points }, (_, k) => {
    const [a, b] = [Math.cos((2 * Math.PI * k) / points) * across, Math.sin((2 * Math.PI * k) / points) * across];
    return [0, 1, 2].map((axis) => a * right[axis] + b * up[axis] + along * forward[axis]);
  });
}

/** Degrees between two directions. */
function degreesBetween(a, b) {
  return Math.acos(clamp(dot(axes(a).forward, axes(b).forward), -1, 1)) / DEG;
}

/** A direction's position on the map. */
const onMap = ([x, y, z]) => [Math.atan2(x, z) / (2 * Math.PI) + 0.5, 0.5 - Math.asin(clamp(y, -1, 1)) / Math.PI];
const anglesOnMap = ({ yaw, pitch }) => [wrapYaw(yaw) / 360 + 0.5, 0.5 - pitch / 180];
const anglesAt = (u, v) => ({ yaw: wrapYaw((u - 0.5) * 360), pitch: clamp((0.5 - v) * 180, -90, 90) });

/** Directions as lines on the map, each a list of [u, v], split at the seam. */
function linesOnMap(directions, closed = false) {
  const points = (closed ? [...directions, directions[0]] : directions).map(onMap);
  const lines = [];
  let line = [];
  points.forEach((point, i) => {
    const jump = i ? Math.round(point[0] - points[i - 1][0]) : 0;
    if (jump) {
      // Continue one step beyond the edge on both sides; the canvas clips it.
      line.push([point[0] - jump, point[1]]);
      lines.push(line);
      line = [[points[i - 1][0] + jump, points[i - 1][1]]];
    }
    line.push(point);
  });
  return [...lines, line];
}

/** True if a view sees a direction. */
function sees(view, direction) {
  const at = axes(direction).forward;
  const [right, up, ahead] = ["right", "up", "forward"].map((name) => dot(at, axes(view)[name]));
  const [across, upwards] = frameReach(view).map((reach) => reach * ahead);
  return ahead > 0 && Math.abs(right) <= across && Math.abs(up) <= upwards;
}

// Headphones: Ambisonics (AmbiX) of order 1 to 3 that turns with the view and reaches each ear through a filter, as
// con360/sound/headphones.py. The filters are those of MIT KEMAR (NOTICE).


// Rate of the filters, so of the context.
const EARS_RATE_HZ = 48000;
// Changing a gain at once would click.
const GLIDE_S = 0.02;
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
function turnMatrix(view, order) {
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
function readEars(buffer) {
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
async function loadEars() {
  const answer = await fetch(new URL("ears.safetensors", import.meta.url));
  if (!answer.ok) throw new Error(`ears.safetensors: ${answer.status}`);
  return readEars(await answer.arrayBuffer());
}

/** A graph from Ambisonics to two ears: connect a source of (order + 1)² channels to `input`, and `output` onwards. */
class EarsGraph {
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

// Sound that turns with the view: a video's first-order Ambisonics (AmbiX) mixed to stereo, or filtered to two ears on
// headphones, while it plays.


// As in con360/sound/levels.py: two virtual cardioids, at this angle to either side.
const MICROPHONE = (75 * Math.PI) / 180;

// One context per page: browsers limit their number. Create it at the first play: sound needs a click first.
let shared;
const audioContext = () => (shared ??= new AudioContext({ sampleRate: EARS_RATE_HZ }));

/** Gains of W, Y, Z, X for the left and for the right ear. */
function stereoGains(view) {
  const { right, forward } = axes(view);
  return [-1, 1].map((side) => {
    const at = (i) => Math.cos(MICROPHONE) * forward[i] + side * Math.sin(MICROPHONE) * right[i];
    // AmbiX's dipoles point left, up and forward.
    return [0.5, -0.5 * at(0), 0.5 * at(1), 0.5 * at(2)];
  });
}

/** Plays the sound of one video. Until it plays Ambisonics, the browser plays its sound. */
class Hearing {
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

// Looking around inside the sphere, on any page: what drag and keys do to a view, where directions lie in the picture,
// and drawing it. A view is {yaw, pitch, fov}, in degrees.


const AHEAD = { yaw: 0, pitch: 0, fov: 90 };
const FOV_RANGE = [30, 120];

/** The view after a change of some of its angles. */
function turned(view, change) {
  const { yaw, pitch, fov } = { ...view, ...change };
  return { yaw: wrapYaw(yaw), pitch: clamp(pitch, -90, 90), fov: clamp(fov, ...FOV_RANGE) };
}

/** Follow the pointer that was pressed on an element: `move` takes each event, `lifted` the last one. */
function pursue(element, { pointerId }, move, lifted) {
  const ends = ["pointerup", "pointercancel"];
  const lift = (event) => {
    element.removeEventListener("pointermove", move);
    for (const name of ends) element.removeEventListener(name, lift);
    lifted(event);
  };
  element.setPointerCapture(pointerId);
  element.addEventListener("pointermove", move);
  for (const name of ends) element.addEventListener(name, lift);
}

/** Turn a view with the pointer that was pressed on its picture, whose `side` the field of view spans. */
function drag(canvas, event, view, turn, lifted = () => {}, side = "height") {
  if (event.button !== 0) return;
  const { yaw, pitch, fov, roll = 0 } = view;
  const [degrees, angle] = [fov / canvas.getBoundingClientRect()[side], (roll * Math.PI) / 180];
  const [sr, cr] = [Math.sin(angle) * degrees, Math.cos(angle) * degrees];
  const move = ({ clientX, clientY }) => {
    const [right, down] = [clientX - event.clientX, clientY - event.clientY];
    turn({ yaw: yaw - right * cr + down * sr, pitch: pitch + right * sr + down * cr });
  };
  pursue(canvas, event, move, lifted);
}

/** The change that the wheel makes. */
const changeByWheel = ({ fov }, event) => ({ fov: fov + 4 * Math.sign(event.deltaY) });

/** The change that a key makes; none for other keys. */
function changeByKey({ yaw, pitch, fov }, { key, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey) return undefined;
  return {
    ArrowLeft: { yaw: yaw - 5 }, ArrowRight: { yaw: yaw + 5 }, ArrowUp: { pitch: pitch + 5 },
    ArrowDown: { pitch: pitch - 5 }, "+": { fov: fov - 5 }, "=": { fov: fov - 5 }, "-": { fov: fov + 5 }, Home: AHEAD,
  }[key];
}

/** How far the picture reaches to the right and up, at distance 1; the field of view spans the shorter side. */
function reachOf({ fov }, width, height) {
  const reach = Math.tan((fov * Math.PI) / 360);
  return [reach * Math.max(1, width / height), reach * Math.max(1, height / width)];
}

/** A direction's place in a picture of this size, in its pixels; none where the view does not see it. */
function placeOf(view, direction, width, height) {
  const { right, up, forward } = axes(view);
  const at = axes(direction).forward;
  const reach = reachOf(view, width, height);
  const ahead = dot(at, forward);
  const [x, y] = [right, up].map((axis, i) => dot(at, axis) / ahead / reach[i]);
  if (ahead <= 0 || Math.abs(x) > 1 || Math.abs(y) > 1) return undefined;
  return [((x + 1) / 2) * width, ((1 - y) / 2) * height];
}

const VERTEX = `#version 300 es
in vec2 corner;
out vec2 at;
void main() { at = corner; gl_Position = vec4(corner, 0, 1); }`;

// `part` is the piece of the picture that holds the panorama: x, y, width, height, all in [0, 1].
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform vec3 right, up, forward;
uniform vec2 reach;
uniform vec4 part;
in vec2 at;
out vec4 colour;
void main() {
  vec3 d = normalize(at.x * reach.x * right + at.y * reach.y * up + forward);
  vec2 uv = vec2(atan(d.x, d.z) / 6.28318531 + 0.5, 0.5 - asin(clamp(d.y, -1.0, 1.0)) / 3.14159265);
  vec2 edge = 0.5 / (part.zw * vec2(textureSize(picture, 0)));
  colour = texture(picture, part.xy + part.zw * clamp(uv, edge, 1.0 - edge));
}`;

/** Draws the inside of the sphere with WebGL 2. */
class Sphere {
  constructor(canvas) {
    this.gl = canvas.getContext("webgl2", { antialias: false, alpha: false });
    if (!this.gl) return;
    const { gl } = this;
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.bindAttribLocation(this.program, 0, "corner");
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const name of ["TEXTURE_WRAP_S", "TEXTURE_WRAP_T"]) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.CLAMP_TO_EDGE);
    for (const name of ["TEXTURE_MIN_FILTER", "TEXTURE_MAG_FILTER"]) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.LINEAR);
  }

  /** Draw what a view sees of the part of a picture that holds the panorama; `reach` as reachOf. */
  draw(video, view, part, reach) {
    const { gl, program } = this;
    const { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, this.fitting(video));
    const uniform = (name) => gl.getUniformLocation(program, name);
    for (const [name, axis] of Object.entries(axes(view))) gl.uniform3fv(uniform(name), axis);
    gl.uniform2f(uniform("reach"), ...(reach ?? reachOf(view, width, height)));
    gl.uniform4fv(uniform("part"), part);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** The frame, scaled down if it exceeds the graphics card's texture limit. */
  fitting(video) {
    const limit = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE);
    const scale = limit / Math.max(video.videoWidth, video.videoHeight);
    if (scale >= 1) return video;
    this.small ??= document.createElement("canvas");
    this.small.width = Math.floor(video.videoWidth * scale);
    this.small.height = Math.floor(video.videoHeight * scale);
    this.small.getContext("2d").drawImage(video, 0, 0, this.small.width, this.small.height);
    return this.small;
  }

  free() {
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
