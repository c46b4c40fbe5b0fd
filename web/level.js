// Level 360° Video: the levelled file once it is made, until then the chosen one seen through the turn that is set.

import { eyePart, isFed, sourceOf } from "./source.js";
import { fileUrl, isLinked, t, widgetOf } from "./parts.js";
import { addViewer } from "./viewer.js";

const SET = ["yaw", "pitch", "roll", "auto", "recentre", "eye"];

/** The picture of the node, as sourceOf gives it; `through` are the turns between it and what is seen, in order. */
function levelled(node) {
  const source = sourceOf(node);
  const set = Object.fromEntries(SET.map((name) => [name, widgetOf(node, name)?.value]));
  const { levelled: made, tilt } = source.known;
  if (made && SET.every((name) => isLinked(node, name) || made.set[name] === set[name])) {
    return { ...source, url: fileUrl(made), part: eyePart(made.stereo), excerpt: [], ambisonic: made.ambisonic, made };
  }
  // What comes over a link is known after a run.
  if (isFed(node)) return { ...source, url: undefined };
  const { yaw = 0, pitch = 0, roll = 0, recentre = 0 } = set;
  const byHand = [{ yaw, pitch, roll }, { yaw: recentre, pitch: 0 }];
  if (!set.auto) return { ...source, through: byHand };
  return tilt ? { ...source, through: [tilt, ...byHand] } : { ...source, lines: [t("autoAfterRun"), ...source.lines] };
}

export const addLeveller = (node) => addViewer(node, levelled);
