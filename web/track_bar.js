// Below a time track's picture: which layer is drawn on, what times snap to, files, and the chosen entry in numbers.

import { BPM, DIVISIONS, SNAPS } from "./drawn.js";
import { clamp } from "./geometry.js";
import { button, el, offer, select, setButton, t } from "./parts.js";
import { LAYERS, exported, imported } from "./track.js";

const FILES = ["csv", "txt", "json"];
const FILE_NAME = "time_track";

export class TrackBar {
  /** The editor has a transport, `update` for what is shown, `done` for what is saved, `refuse` for a wrong file. */
  constructor(drawn, editor) {
    Object.assign(this, { drawn, editor });
    this.layer = select(t("layer"), (layer) => this.#use(layer));
    this.snap = select(t("snap"), (snap) => this.#set({ snap }));
    this.bpm = number(t("bpm"), { ...BPM, step: 1 }, (bpm) => this.#set({ bpm: clamp(bpm, BPM.min, BPM.max) }));
    this.division = select(t("division"), (division) => this.#set({ division: Number(division) }));
    this.beat = button("map-marker", t("beatHere"), () => this.#set({ beat: editor.transport.time }));
    this.file = el("input", { type: "file", accept: FILES.map((kind) => `.${kind}`).join(), hidden: "" });
    this.file.addEventListener("change", () => this.#read(this.file.files[0]));
    this.open = button("upload", t("importTrack"), () => this.file.click());
    this.save = select(t("exportTrack"), (kind) => this.#save(kind));
    this.root = el("div", { class: "con360-bar" }, this.layer, this.snap, this.bpm, this.division, this.beat, this.open,
      this.save, this.file);
    this.#makeEntry();
  }

  /** The chosen entry: its time, its strength or level, and an onset's label. */
  #makeEntry() {
    this.time = number(t("entryTime"), { min: 0, step: 0.001 }, (time) => this.#change({ time }));
    this.amount = number("", {}, (value) => this.#change({ [LAYERS[this.drawn.layer].value]: value }));
    this.label = el("input", { type: "text", placeholder: t("label"), "aria-label": t("label") });
    this.label.addEventListener("change", () => this.#change({ label: this.label.value.trim() }));
    this.free = button("minus", t("freeLevel"), () => {
      this.drawn.toggleFree();
      this.editor.done();
    });
    this.unit = el("span");
    this.entry = el("div", { class: "con360-bar" }, this.time, "s", this.amount, this.unit, this.label, this.free);
  }

  changeLayer() {
    this.#use(this.drawn.layer === "onsets" ? "points" : "onsets");
  }

  #use(layer) {
    this.drawn.choose(undefined, layer);
    this.editor.update();
  }

  #set(change) {
    this.drawn.setGrid(change);
    this.editor.done();
  }

  #change(change) {
    if (!this.drawn.open || !this.drawn.selected) return;
    if ("time" in change) change.time = clamp(change.time, 0, this.drawn.seconds);
    this.drawn.change(change);
    this.editor.done();
  }

  // ---- files

  /** Read a chosen file over the track; one that cannot be read changes nothing. */
  async #read(file) {
    this.file.value = "";
    if (!file) return;
    const kind = FILES.find((one) => file.name.toLowerCase().endsWith(`.${one}`)) ?? "txt";
    const track = imported(this.drawn.track, await file.text(), kind);
    if (track.wrong) return this.editor.refuse(track.wrong);
    this.drawn.choose(undefined);
    this.drawn.store(track);
    this.editor.done();
  }

  #save(kind) {
    this.save.value = "";
    if (!kind) return;
    const url = URL.createObjectURL(new Blob([exported(this.drawn.track, kind)], { type: "text/plain" }));
    el("a", { href: url, download: `${FILE_NAME}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  // ---- display

  update() {
    const { drawn } = this;
    const { snap, bpm, division } = drawn.grid;
    offer(this.layer, Object.keys(LAYERS).map((layer) => [layer, t(layer)]), drawn.layer);
    offer(this.snap, SNAPS.map((one) => [one, t({ off: "snapOff" }[one] ?? one)]), snap);
    offer(this.division, DIVISIONS.map((one) => [one, `1/${one}`]), division);
    offer(this.save, [["", t("exportTrack")], ...FILES.map((kind) => [kind, t(kind)])], "");
    show(this.bpm, bpm);
    for (const part of [this.bpm, this.division, this.beat]) part.hidden = snap !== "tempo";
    this.open.disabled = drawn.linked;
    this.#showEntry(drawn.selected);
  }

  #showEntry(selected) {
    const { layer, open, seconds } = this.drawn;
    const { value, least, high, fine } = LAYERS[layer];
    for (const part of [this.time, this.amount, this.label, this.free]) part.disabled = !selected || !open;
    this.label.hidden = layer !== "onsets";
    this.free.hidden = layer !== "points";
    setButton(this.free, selected?.free ? "check" : "minus", t(selected?.free ? "levelDrawn" : "freeLevel"));
    this.time.max = seconds;
    Object.assign(this.amount, { min: least, max: high, step: fine, title: t(value) });
    this.amount.setAttribute("aria-label", t(value));
    this.unit.textContent = t({ strength: "ofOne", db: "inDb" }[value]);
    show(this.time, selected ? Number(selected.time.toFixed(4)) : "");
    show(this.amount, selected?.[value] ?? "");
    show(this.label, selected?.label ?? "");
  }
}

/** A field for a number; `action` takes each one that is typed. */
function number(label, limits, action) {
  const field = el("input", { type: "number", title: label, "aria-label": label, ...limits });
  field.addEventListener("change", () => {
    if (Number.isFinite(field.valueAsNumber)) action(field.valueAsNumber);
  });
  return field;
}

/** Show a value in a field, unless it is being typed into. */
function show(field, value) {
  if (field !== document.activeElement && field.value !== String(value)) field.value = value;
}
