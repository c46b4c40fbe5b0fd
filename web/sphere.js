// Looking around inside the sphere, on any page: what drag and keys do to a view, where directions lie in the picture,
// and drawing it. A view is {yaw, pitch, fov}, in degrees.

import { axes, clamp, dot, wrapYaw } from "./geometry.js";

export const AHEAD = { yaw: 0, pitch: 0, fov: 90 };
const FOV_RANGE = [30, 120];

/** The view after a change of some of its angles. */
export function turned(view, change) {
  const { yaw, pitch, fov } = { ...view, ...change };
  return { yaw: wrapYaw(yaw), pitch: clamp(pitch, -90, 90), fov: clamp(fov, ...FOV_RANGE) };
}

/** Follow the pointer that was pressed on an element: `move` takes each event, `lifted` the last one. */
export function pursue(element, { pointerId }, move, lifted) {
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
export function drag(canvas, event, view, turn, lifted = () => {}, side = "height") {
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
export const changeByWheel = ({ fov }, event) => ({ fov: fov + 4 * Math.sign(event.deltaY) });

/** The change that a key makes; none for other keys. */
export function changeByKey({ yaw, pitch, fov }, { key, ctrlKey, metaKey, altKey }) {
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
export function placeOf(view, direction, width, height) {
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
export class Sphere {
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
