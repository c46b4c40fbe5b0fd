// Shared by the widgets: translated texts, elements, server files, hooks into a node.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

/** Width of a new node with a panel, width below which no node with a panel goes, and least height of a panel. */
const PANEL_WIDTH = 380;
const LEAST_WIDTH = 320;
const LEAST_HEIGHT = 260;
/** A hand that clicks may move so far. */
export const STILL_PX = 3;

let words = {};
/** Labels of choices in the user's language, by `value` or `input/value`; none in English. */
let labels;

/** Read `locales/`: the user's language over English. */
export async function loadWords() {
  const all = await (await api.fetchApi("/i18n")).json();
  const language = app.extensionManager?.setting?.get("Comfy.Locale");
  words = { ...all.en?.con360, ...all[language]?.con360 };
  labels = all[language]?.con360Values;
}

/** Show the choices of a node in the user's language; what is stored and sent stays. Frontend 1.27 shows them as stored. */
export function labelChoices(node) {
  if (!labels) return;
  for (const { type, name, options } of node.widgets ?? []) {
    if (type === "combo") options.getOptionLabel ??= (value) => labels[`${name}/${value}`] ?? labels[value] ?? value ?? "";
  }
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

/** Mute or unmute a video; the button's label tells what the next click does. */
export function toggleSound(element, toggle) {
  element.muted = !element.muted;
  setButton(toggle, element.muted ? "volume-off" : "volume-up", t(element.muted ? "soundOn" : "soundOff"));
}

/** Switch sound to headphones or back, as a button's next click says; false where their filters cannot be loaded. */
export async function toggleEars(hearing, toggle) {
  try {
    await hearing.wear(!hearing.headphones);
  } catch {
    return false;
  }
  const worn = hearing.headphones;
  setButton(toggle, worn ? "desktop" : "headphones", t(worn ? "headphonesOff" : "headphonesOn"));
  return true;
}

/** Show or hide what a run drew over a panel's picture; the button's label tells what the next click does. */
export function toggleOverlay(panel) {
  panel.overlay = !panel.overlay;
  setButton(panel.eye, panel.overlay ? "eye" : "eye-slash", t(panel.overlay ? "overlayOff" : "overlayOn"));
  panel.draw();
}

/** A choice between values, each with its words. */
export function select(label, action) {
  const element = el("select", { title: label, "aria-label": label });
  element.addEventListener("change", () => action(element.value));
  return element;
}

/** Offer [value, words] pairs, and choose one of the values. */
export function offer(element, options, chosen) {
  const now = JSON.stringify(options);
  if (element.dataset.options !== now) {
    element.dataset.options = now;
    element.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  }
  if (element.value !== String(chosen)) element.value = chosen;
}

/** A canvas that takes keys, and the wheel while it has the focus. */
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
 * True if a wheel event is for the element: it has the focus (by click or Tab), as everywhere in Nodes 2.0. Otherwise,
 * and with Ctrl (two fingers), the event moves the graph.
 */
export function takesWheel(element, event) {
  if (event.ctrlKey || document.activeElement !== element) return false;
  claim(event);
  return true;
}

/** Keep an event from the page and the graph. */
export function claim(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** URL from which the server streams a file: {filename, subfolder, type}. */
export const fileUrl = ({ filename, subfolder, type }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/** Set a video's source if it differs; remove it if there is none. */
export function setSource(element, url) {
  if (element.dataset.url === (url ?? "")) return;
  element.dataset.url = url ?? "";
  if (url) element.src = url;
  else element.removeAttribute("src");
  element.load();
}

/**
 * Keep the frontend from showing its own flat preview of a chosen file, for which it would request a file of the
 * sample's name: `isLoading` does so in the classic canvas, `hideOutputImages` in Nodes 2.0.
 */
export const showNoOther = (node) => Object.assign(node, { isLoading: true, hideOutputImages: true });

/** Undo and redo from a slider: the frontend leaves them to a focused input, which here has no history of its own. */
function undoOnSlider({ key, ctrlKey, metaKey, shiftKey, target }) {
  if (target.type !== "range" || !(ctrlKey || metaKey)) return;
  const command = { z: shiftKey ? "Comfy.Redo" : "Comfy.Undo", y: "Comfy.Redo" }[key.toLowerCase()];
  if (command) app.extensionManager.command.execute(command);
}

/** Put an element on a node as a widget that is neither saved nor sent. */
export function addPanel(node, name, element, leastHeight = LEAST_HEIGHT) {
  element.classList.add("con360");
  // The graph below must not pan or select while a widget is used.
  for (const type of ["pointerdown", "pointermove", "pointerup", "dblclick"]) {
    element.addEventListener(type, (event) => event.button <= 0 && event.stopPropagation());
  }
  element.addEventListener("keydown", undoOnSlider);
  element.append(pages(node));
  const getMinHeight = () => leastHeight;
  const widget = node.addDOMWidget(name, "con360", element, { serialize: false, hideOnZoom: false, getMinHeight });
  widget.serialize = false;
  keepWide(node);
  every(node, () => takeScreen(node, element));
  // A new node shows all buttons in a row; one that is loaded gets its saved size afterwards.
  node.setSize([Math.max(node.size[0], PANEL_WIDTH), Math.max(node.size[1], node.computeSize()[1])]);
  return widget;
}

/** Keep a node so wide that its panel fits: in the classic canvas, when it is loaded, and in Nodes 2.0. */
function keepWide(node) {
  const own = node.computeSize;
  node.computeSize = function (...given) {
    const size = own.apply(this, given);
    size[0] = Math.max(size[0], LEAST_WIDTH);
    return size;
  };
  chain(node, "onConfigure", () => node.setSize([Math.max(node.size[0], LEAST_WIDTH), node.size[1]]));
  every(node, () => {
    // Nodes 2.0 reads the least width of a node from its element.
    const frame = node.graph === app.canvas.graph && document.querySelector(`[data-node-id="${node.id}"]`);
    if (frame) frame.style.minWidth = node.flags.collapsed ? "" : `${LEAST_WIDTH}px`;
  });
}

/**
 * Put a panel in the place of the one that is on screen for a removed node of its number: undo makes nodes anew, and
 * Nodes 2.0 keeps the elements of the old ones.
 */
function takeScreen(node, element) {
  if (element.isConnected || node.graph !== app.canvas.graph) return;
  document.querySelector(`[data-node-id="${node.id}"] .con360`)?.replaceWith(element);
}

/** A node's widget; inside a subgraph, the one outside whose value is taken. */
export function widgetOf(node, name) {
  const own = node.widgets?.find((widget) => widget.name === name);
  return (own && outside(node, name)) ?? own;
}

/** The number that stands for a subgraph's own inputs. */
const INPUTS = -10;

/** The open workflow's graph, outside all subgraphs. */
export const rootGraph = () => app.rootGraph ?? app.graph;

/** The nodes of a graph and of its subgraphs, with the numbers under which the server runs them. */
export function numbered(graph, within = "") {
  return graph.nodes.flatMap((node) => [
    [`${within}${node.id}`, node], ...(node.subgraph ? numbered(node.subgraph, `${within}${node.id}:`) : []),
  ]);
}

/** The widget that feeds a widget from outside a subgraph. */
function outside(node, name) {
  const root = rootGraph();
  if (!node.graph || node.graph === root) return undefined;
  const slot = node.inputs.findIndex((input) => input.widget?.name === name);
  const link = slot < 0 ? null : node.getInputLink(slot);
  if (Number(link?.origin_id) !== INPUTS) return undefined;
  const [, host] = numbered(root).find(([, { subgraph }]) => subgraph === node.graph) ?? [];
  return host && widgetOf(host, node.graph.inputs[link.origin_slot].name);
}

/** True if something is connected to an input. */
export function isLinked(node, name) {
  const slot = node.findInputSlot(name);
  return slot >= 0 && node.isInputConnected(slot);
}

export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value);
}

/** Outputs that the node's last run sent to its widgets: one per item of an input list. */
const outputsOf = (node) => node.con360Outputs ?? app.nodeOutputs?.[node.id]?.con360 ?? [];

/** Index of the output shown; the last one if a later run brought fewer. */
const shownOf = (node) => Math.min(node.con360Shown ?? 0, Math.max(outputsOf(node).length - 1, 0));

/** The output shown. */
export const outputOf = (node) => outputsOf(node)[shownOf(node)];

/** A bar to page through the results of a list, hidden if there is only one. */
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
 * Call `changed` whenever the result of `read` changes; call `gone` when the node is removed.
 *
 * Values change by typing, links, undo, loading and other extensions; only polling notices all of them.
 */
export function watch(node, read, changed, gone) {
  let before;
  const look = () => {
    const now = JSON.stringify(read());
    if (now !== before) changed();
    before = now;
  };
  every(node, look);
  chain(node, "onExecuted", (output) => {
    if (output?.con360) node.con360Outputs = output.con360;
    look();
  });
  if (gone) chain(node, "onRemoved", gone);
}

/** Call `look` five times a second until the node is removed. */
function every(node, look) {
  const timer = setInterval(look, 200);
  chain(node, "onRemoved", () => clearInterval(timer));
}

/** Run `after` following a node's own method of that name. */
export function chain(node, name, after) {
  const own = node[name];
  node[name] = function (...given) {
    const result = own?.apply(this, given);
    after(...given);
    return result;
  };
}

/** Record the last change as one undo step. */
export function rememberForUndo() {
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange();
  app.canvas.setDirty(true, true);
}

/** Keep a canvas at the resolution of the screen, and draw when its size changes. */
export function fitCanvas(canvas, draw) {
  new ResizeObserver(() => {
    const sharp = Math.max(2, window.devicePixelRatio);
    canvas.width = Math.max(2, canvas.clientWidth * sharp);
    canvas.height = Math.max(2, canvas.clientHeight * sharp);
    draw();
  }).observe(canvas);
}

/** Draw a part of a video's picture: x, y, width, height in [0, 1]. Returns false if nothing is loaded yet. */
export function drawPart(context, source, [left, top, across, down], [x, y, width, height]) {
  const { videoWidth: w, videoHeight: h } = source;
  if (source.readyState < 2 || !w) return false;
  context.drawImage(source, left * w, top * h, across * w, down * h, x, y, width, height);
  return true;
}

/** The largest 2:1 rectangle in the middle of a canvas. */
export function panoramaRect({ width, height }) {
  const shown = Math.min(width, 2 * height);
  return [(width - shown) / 2, (height - shown / 2) / 2, shown, shown / 2];
}
