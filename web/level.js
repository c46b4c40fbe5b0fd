// Level 360° Video: the levelled file once it is made, until then the chosen one seen through the turn that is set.

import { eyePart, sourceOf } from "./source.js";
import { fileUrl, t, widgetOf } from "./parts.js";
import { addViewer } from "./viewer.js";

const SET = ["yaw", "pitch", "roll", "auto", "recentre", "eye"];

const isLinked = (node, name) => {
  const slot = (node.inputs ?? []).findIndex((input) => input.name === name);
  return slot >= 0 && Boolean(node.isInputConnected?.(slot));
};

/** The picture of the node, as sourceOf gives it; `through` are the turns between it and what is seen, in order. */
function levelled(node) {
  const source = sourceOf(node);
  const set = Object.fromEntries(SET.map((name) => [name, widgetOf(node, name)?.value]));
  const { levelled: made, tilt } = source.known;
  if (made && SET.every((name) => isLinked(node, name) || made.set[name] === set[name])) {
    return { ...source, url: fileUrl(made), part: eyePart(made.stereo), ambisonic: made.ambisonic, made };
  }
  // What comes over a link is known after a run.
  if (["clip", "frames"].some((name) => isLinked(node, name))) return { ...source, url: undefined };
  const { yaw = 0, pitch = 0, roll = 0, recentre = 0 } = set;
  const byHand = [{ yaw, pitch, roll }, { yaw: recentre, pitch: 0 }];
  if (!set.auto) return { ...source, through: byHand };
  return tilt ? { ...source, through: [tilt, ...byHand] } : { ...source, lines: [t("autoAfterRun"), ...source.lines] };
}

export const addLeveller = (node) => addViewer(node, levelled);
