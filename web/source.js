// Which picture a panel shows: the chosen file itself, or what the last run made.

import { fileUrl, isLinked, outputOf, t, widgetOf } from "./parts.js";

const SAMPLE = "[built-in sample]";
const WHOLE = [0, 0, 1, 1];
// A preview holds the plain panorama above the one with its overlay.
export const [PLAIN, OVERLAY] = [[0, 0, 1, 0.5], [0, 0.5, 1, 0.5]];

/** True if a clip or frames from other nodes come in place of a node's file. */
export const isFed = (node) => ["clip", "frames"].some((name) => isLinked(node, name));

/**
 * The picture of a node: its address, the part of it that holds the panorama, the part with an overlay if there is one,
 * its frame rate if known, what its sound is, the start and length in it of what is cut (a length of 0 is all), what
 * the last run told of it, lines about it, the key of a hint where there is no address, and what of these is shown
 * instead in a browser that does not play the address.
 */
export function sourceOf(node) {
  const shown = outputOf(node);
  const file = widgetOf(node, "video")?.value;
  const linked = file !== undefined && isFed(node);
  // Results of a run hold only for what it read.
  const known = shown && shown.video === file && Boolean(shown.linked) === linked ? shown : {};
  const lines = [known.found && describe(known.found), ...(known.notices ?? [])].filter(Boolean);
  // Of a file that is no panorama as it is stored, the run made one of the excerpt's beginning.
  if (known.unfolded) return { ...ofRun({ panorama: known.unfolded }), excerpt: [], known, lines };
  if (linked) return { ...ofRun(known), excerpt: known.excerpt ?? [], known, lines };
  const fromFile = file !== undefined && file !== SAMPLE;
  const widgets = ["start", "duration"].map((name) => Number(widgetOf(node, name)?.value ?? 0));
  // A run that tells its excerpt shows the whole that it was cut from.
  const excerpt = fromFile || shown?.excerpt ? widgets : [];
  const picture = fromFile ? chosenFile(file, widgetOf(node, "eye")?.value, known) : ofRun(shown);
  // The frontend names a file before the server has all of it.
  if (fromFile && node.isUploading) Object.assign(picture, { url: undefined, hint: "uploading" });
  // Shown where the browser does not play the file.
  const instead = known.preview && { ...ofRun({ panorama: known.preview }), excerpt: [] };
  return { ...picture, excerpt, known, lines, instead };
}

const chosenFile = (file, eye, known) => ({
  url: fileUrl(named(file)), part: eyePart(known.stereo, eye), fps: known.found?.fps,
  sound: known.found?.channels !== 0, ambisonic: Boolean(known.ambisonic),
});

function ofRun(shown) {
  const made = shown?.panorama ?? shown?.sample ?? shown?.saved;
  const stacked = Boolean(shown?.panorama);
  return {
    url: made && fileUrl(made), part: stacked ? PLAIN : eyePart(made?.stereo), overlay: stacked ? OVERLAY : undefined,
    fps: made?.fps,
    sound: Boolean(made) && made.sound !== false, ambisonic: Boolean(made?.ambisonic), made,
  };
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
  if (eye === "whole") return WHOLE;
  if (stereo === "top-bottom") return [0, second, 1, 0.5];
  if (stereo === "left-right") return [second, 0, 0.5, 1];
  return WHOLE;
}
