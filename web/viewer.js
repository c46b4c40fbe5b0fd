// Looking around in a 360° video: drag to turn, wheel to zoom.

import { FieldSound } from "./field.js";
import { axes, clamp, wrapYaw } from "./geometry.js";
import { Hearing } from "./hearing.js";
import { Transport } from "./transport.js";
import * as parts from "./parts.js";

const { el, t } = parts;
const SAMPLE = "[built-in sample]";
const FOV_RANGE = [30, 120];

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

  draw(video, view, part) {
    const { gl, program } = this;
    const { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, this.fitting(video));
    const reach = Math.tan((view.fov * Math.PI) / 360);
    const uniform = (name) => gl.getUniformLocation(program, name);
    for (const [name, axis] of Object.entries(axes(view))) gl.uniform3fv(uniform(name), axis);
    gl.uniform2f(uniform("reach"), reach * Math.max(1, width / height), reach * Math.max(1, height / width));
    gl.uniform4fv(uniform("part"), part);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** The frame, scaled down if it exceeds the graphics card's texture limit. */
  fitting(video) {
    const limit = this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE);
    const scale = limit / Math.max(video.videoWidth, video.videoHeight);
    if (scale >= 1) return video;
    this.small ??= el("canvas", {});
    this.small.width = Math.floor(video.videoWidth * scale);
    this.small.height = Math.floor(video.videoHeight * scale);
    this.small.getContext("2d").drawImage(video, 0, 0, this.small.width, this.small.height);
    return this.small;
  }

  free() {
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

class Viewer {
  constructor(node) {
    this.node = node;
    this.view = { yaw: 0, pitch: 0, fov: 90 };
    this.overlay = true;
    this.video = parts.video();
    this.canvas = parts.picture(t("viewer"));
    this.hint = el("div", { class: "con360-hint" });
    this.hearing = new Hearing(this.video);
    this.field = new FieldSound(this.video);
    this.transport = new Transport(this.video, [], () => this.draw());
    this.sound = parts.button("volume-up", t("soundOff"), () => parts.toggleSound(this.video, this.sound));
    this.ears = parts.button("headphones", t("headphonesOn"), () => this.wear());
    this.home = parts.button("refresh", t("lookAhead"), () => this.turn({ yaw: 0, pitch: 0, fov: 90 }));
    this.eye = parts.button("eye", t("overlayOff"), () => this.toggleOverlay());
    this.transport.bar.append(this.sound, this.ears, this.home, this.eye);
    this.facts = el("div", { class: "con360-facts" });
    const stage = el("div", { class: "con360-stage" }, this.canvas, this.hint);
    this.root = el("div", {}, stage, this.transport.bar, this.facts);
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.video.addEventListener("error", () => this.failed());
    parts.fitCanvas(this.canvas, () => this.draw());
  }

  read() {
    return ["video", "eye"].map((name) => parts.widgetOf(this.node, name)?.value).concat(parts.outputOf(this.node));
  }

  update() {
    const shown = parts.outputOf(this.node);
    const [file, eye] = this.read();
    const fromFile = typeof file === "string" && file !== SAMPLE;
    // Results of a run hold only for the file that it read.
    const known = shown && shown.video === file ? shown : {};
    this.stacked = !fromFile && Boolean(shown?.panorama);
    this.part = fromFile ? eyePart(known.stereo, eye) : [0, 0, 1, 1];
    this.eye.hidden = !shown?.overlay;
    const made = shown?.panorama ?? shown?.sample;
    const url = fromFile ? parts.fileUrl(named(file)) : made && parts.fileUrl(made);
    this.hint.textContent = url ? "" : t("runToSee");
    this.transport.play.disabled = !url;
    this.hearing.ambisonic = Boolean((fromFile ? known : made)?.ambisonic);
    this.ears.hidden = !this.hearing.on;
    this.field.load(made?.field && parts.fileUrl(made.field)).catch(() => (this.hint.textContent = t("noHeadphones")));
    const lines = [known.found && describe(known.found), ...(known.notices ?? [])].filter(Boolean);
    this.facts.replaceChildren(...lines.map((line) => el("div", {}, line)));
    parts.setSource(this.video, url);
    this.draw();
  }

  failed() {
    if (this.video.dataset.url) this.hint.textContent = t("cannotPlay");
  }

  async wear() {
    try {
      await this.hearing.wear(!this.hearing.headphones);
    } catch {
      this.hint.textContent = t("noHeadphones");
    }
    const worn = this.hearing.headphones;
    parts.setButton(this.ears, worn ? "desktop" : "headphones", t(worn ? "headphonesOff" : "headphonesOn"));
  }

  toggleOverlay() {
    this.overlay = !this.overlay;
    parts.setButton(this.eye, this.overlay ? "eye" : "eye-slash", t(this.overlay ? "overlayOff" : "overlayOn"));
    this.draw();
  }

  turn(change) {
    Object.assign(this.view, change);
    this.view.yaw = wrapYaw(this.view.yaw);
    this.view.pitch = clamp(this.view.pitch, -90, 90);
    this.view.fov = clamp(this.view.fov, ...FOV_RANGE);
    this.hearing.turn(this.view);
    this.field.turn(this.view);
    this.draw();
  }

  press(event) {
    if (event.button !== 0) return;
    const from = { ...this.view, x: event.clientX, y: event.clientY };
    const degrees = this.view.fov / this.canvas.getBoundingClientRect().height;
    const move = ({ clientX, clientY }) =>
      this.turn({ yaw: from.yaw - (clientX - from.x) * degrees, pitch: from.pitch + (clientY - from.y) * degrees });
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener("pointermove", move);
    const lift = () => this.canvas.removeEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, lift, { once: true });
  }

  wheel(event) {
    if (!parts.takesWheel(this.canvas, event)) return;
    this.turn({ fov: this.view.fov + 4 * Math.sign(event.deltaY) });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { yaw, pitch, fov } = this.view;
    const change = {
      ArrowLeft: { yaw: yaw - 5 }, ArrowRight: { yaw: yaw + 5 }, ArrowUp: { pitch: pitch + 5 },
      ArrowDown: { pitch: pitch - 5 }, "+": { fov: fov - 5 }, "=": { fov: fov - 5 }, "-": { fov: fov + 5 },
      Home: { yaw: 0, pitch: 0, fov: 90 },
    }[event.key];
    if (!change && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    if (change) this.turn(change);
    else this.transport.toggle();
  }

  draw() {
    if (this.video.readyState < 2 || !this.canvas.width) return;
    // Browsers limit the number of WebGL contexts, so create one only when there is something to show.
    this.sphere ??= new Sphere(this.canvas);
    if (!this.sphere.gl) {
      this.hint.textContent = t("noWebgl");
      return;
    }
    const part = this.stacked ? [0, this.overlay ? 0.5 : 0, 1, 0.5] : this.part;
    this.sphere.draw(this.video, this.view, part);
  }
}

export function addViewer(node) {
  const viewer = new Viewer(node);
  // Keep the frontend from showing its own flat preview, for which it would request a file of the sample's name:
  // `isLoading` does so in the classic canvas, `hideOutputImages` in Nodes 2.0.
  node.isLoading = true;
  node.hideOutputImages = true;
  parts.addPanel(node, "viewer_360", viewer.root);
  const gone = () => {
    viewer.transport.stop();
    viewer.hearing.stop();
    viewer.field.stop();
    viewer.sphere?.free();
  };
  parts.watch(node, () => viewer.read(), () => viewer.update(), gone);
}

/** Describe a file in one line: size, rate, length, projection, sound. */
function describe({ width, height, fps, seconds, projection, stereo, channels, layout, sample_rate_hz }) {
  const heard = { mono: t("mono"), stereo: t("stereo"), ambix: t("ambix") }[layout] ?? t("channels", { count: channels });
  return [
    `${width}×${height}`, fps && `${Number(fps.toFixed(2))} fps`, seconds && `${seconds.toFixed(1)} s`, projection,
    stereo !== "mono" && stereo, channels ? `${heard} ${sample_rate_hz / 1000} kHz` : t("silent"),
  ].filter(Boolean).join(" · ");
}

/** Parse a widget's value, such as `folder/name.mp4 [output]`, for the server's `/view`. */
export function named(value) {
  const [, path, type = "input"] = value.match(/^(.*?)(?: \[(input|output|temp)\])?$/s);
  const cut = path.lastIndexOf("/");
  return { filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(0, cut)), type };
}

/** The part of a stereo picture for the chosen eye. */
export function eyePart(stereo, eye) {
  const second = eye === "right" ? 0.5 : 0;
  if (eye === "whole") return [0, 0, 1, 1];
  if (stereo === "top-bottom") return [0, second, 1, 0.5];
  if (stereo === "left-right") return [second, 0, 0.5, 1];
  return [0, 0, 1, 1];
}
