// What the widgets share: words in the user's language, elements, files of the server, life with a node.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

let words = {};

/** Read `locales/`: the user's language over English. */
export async function loadWords() {
  const all = await (await api.fetchApi("/i18n")).json();
  const language = app.extensionManager?.setting?.get("Comfy.Locale");
  words = { ...all.en?.con360, ...all[language]?.con360 };
}

/** The text of a key, with {names} filled in. */
export const t = (key, values = {}) => (words[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** An element; text and attributes are never read as HTML. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function button(icon, label, action) {
  const element = el("button", { type: "button" }, el("i", { "aria-hidden": "true" }));
  element.addEventListener("click", action);
  setButton(element, icon, label);
  return element;
}

export function setButton(element, icon, label) {
  element.firstChild.className = `pi pi-${icon}`;
  element.title = label;
  element.setAttribute("aria-label", label);
}

/** Mute or unmute a video; the button says what a click does next. */
export function toggleSound(element, toggle) {
  element.muted = !element.muted;
  setButton(toggle, element.muted ? "volume-off" : "volume-up", t(element.muted ? "soundOn" : "soundOff"));
}

/** A canvas that takes keys, and the wheel once it has the focus. */
export const picture = (label) =>
  el("canvas", {
    tabindex: 0, role: "application", "aria-label": label, class: "con360-picture", "data-capture-wheel": "true",
  });

export function video() {
  const element = el("video", { playsinline: "", preload: "auto" });
  element.loop = true;
  return element;
}

/**
 * Whether a turn of the wheel is the element's own: after a click or Tab into it, as Nodes 2.0 does it everywhere. Else,
 * and with Ctrl (two fingers), the whole graph moves.
 */
export function takesWheel(element, event) {
  if (event.ctrlKey || document.activeElement !== element) return false;
  event.preventDefault();
  event.stopPropagation();
  return true;
}

/** Where the server streams a file: {filename, subfolder, type}. */
export const fileUrl = ({ filename, subfolder, type }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/** Another source for a video, only where it differs; none without one. */
export function setSource(element, url) {
  if (element.dataset.url === (url ?? "")) return;
  element.dataset.url = url ?? "";
  if (url) element.src = url;
  else element.removeAttribute("src");
  element.load();
}

/** Put an element on a node as a widget that is neither saved nor sent. */
export function addPanel(node, name, element) {
  element.classList.add("con360");
  // The canvas below must not pan or select while a widget is used.
  for (const type of ["pointerdown", "pointermove", "pointerup", "dblclick"]) {
    element.addEventListener(type, (event) => event.button <= 0 && event.stopPropagation());
  }
  element.append(pages(node));
  const widget = node.addDOMWidget(name, "con360", element, { serialize: false, hideOnZoom: false });
  widget.serialize = false;
  return widget;
}

export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value);
}

/** What the node's last run sent to its widgets: several where a list came in and it ran for each. */
const outputsOf = (node) => node.con360Outputs ?? app.nodeOutputs?.[node.id]?.con360 ?? [];

/** Which of them the widgets show: the last that there is, where a later run brought fewer. */
const shownOf = (node) => Math.min(node.con360Shown ?? 0, Math.max(outputsOf(node).length - 1, 0));

/** The one that is shown. */
export const outputOf = (node) => outputsOf(node)[shownOf(node)];

/** A bar to leaf through the results of a list, hidden where there is but one. */
function pages(node) {
  const count = el("output");
  const leaf = (by) => {
    const total = outputsOf(node).length;
    node.con360Shown = (shownOf(node) + by + total) % total;
  };
  const back = button("chevron-left", t("previousResult"), () => leaf(-1));
  const on = button("chevron-right", t("nextResult"), () => leaf(1));
  const bar = el("div", { class: "con360-bar con360-pages" }, back, count, on);
  bar.hidden = true;
  watch(node, () => [outputsOf(node).length, shownOf(node)], () => {
    bar.hidden = outputsOf(node).length < 2;
    count.textContent = `${shownOf(node) + 1} / ${outputsOf(node).length}`;
  });
  return bar;
}

/**
 * Call `changed` whenever what `read` returns differs, until the node is removed; `gone` then.
 *
 * Values change by typing, links, undo, loading and other extensions; only looking notices all of them.
 */
export function watch(node, read, changed, gone) {
  let before;
  const look = () => {
    const now = JSON.stringify(read());
    if (now !== before) changed();
    before = now;
  };
  const timer = setInterval(look, 200);
  chain(node, "onExecuted", (output) => {
    if (output?.con360) node.con360Outputs = output.con360;
    look();
  });
  chain(node, "onRemoved", () => {
    clearInterval(timer);
    gone?.();
  });
}

/** Run `after` behind a node's own method of that name. */
export function chain(node, name, after) {
  const own = node[name];
  node[name] = function (...given) {
    const result = own?.apply(this, given);
    after(...given);
    return result;
  };
}

/** Make the change that was just made one step of undo. */
export function rememberForUndo() {
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange();
  app.canvas.setDirty(true, true);
}

/** Keep a canvas as sharp as it is shown, and draw when its size changes. */
export function fitCanvas(canvas, draw) {
  new ResizeObserver(() => {
    const sharp = Math.max(2, window.devicePixelRatio);
    canvas.width = Math.max(2, canvas.clientWidth * sharp);
    canvas.height = Math.max(2, canvas.clientHeight * sharp);
    draw();
  }).observe(canvas);
}

/** Draw one half of a stacked panorama video: 0 plain, 1 with overlay. False where nothing is loaded yet. */
export function drawHalf(context, source, half, [x, y, width, height]) {
  if (source.readyState < 2 || !source.videoWidth) return false;
  const rows = source.videoHeight / 2;
  context.drawImage(source, 0, half * rows, source.videoWidth, rows, x, y, width, height);
  return true;
}

/** The largest 2:1 rectangle in the middle of a canvas. */
export function panoramaRect({ width, height }) {
  const shown = Math.min(width, 2 * height);
  return [(width - shown) / 2, (height - shown / 2) / 2, shown, shown / 2];
}
