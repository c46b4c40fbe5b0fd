// What the editor sets: the view of a camera, or the place of a sound. Besides yaw and pitch each has one more number,
// `third`, that the wheel changes.

import { capOutline, degreesBetween, fovOutline, sees } from "./geometry.js";
import { Hearing } from "./hearing.js";
import { Placed, breadth } from "./placed.js";

const degrees = (number) => `${Math.round(number)}°`;
// A sound's disc on the map has at least so many degrees.
const LEAST_DEG = 8;

const view = {
  third: "fov",
  range: [30, 150],
  steps: 10,
  turned: (fov, notches) => fov + 2 * notches,
  outline: (place) => fovOutline(place),
  holds: sees,
  mark: (pen, at, colour) => pen.cross(at, colour),
  whole: ({ time, yaw, pitch, fov }) => ({ time, yaw, pitch, fov }),
  stored: ({ yaw, pitch, fov }) => ({ yaw, pitch, fov }),
  shaped: (place) => place,
  hearing: (video) => new Hearing(video),
  tell: (hearing, made) => (hearing.ambisonic = Boolean(made?.ambisonic)),
  hear: (hearing, place) => hearing.turn(place),
  words: ({ yaw, pitch, fov }) => ["where", { yaw: degrees(yaw), pitch: degrees(pitch), fov: degrees(fov) }],
  label: "editor",
};

const disc = (place) => Math.max(LEAST_DEG, breadth(place));

const sound = {
  third: "distance",
  range: [0.1, 1000],
  steps: 100,
  turned: (distance, notches) => distance * 1.1 ** notches,
  outline: (place) => capOutline(place, disc(place)),
  holds: (place, under) => degreesBetween(place, under) <= disc(place) / 2,
  mark: (pen, at, colour) => pen.speaker(at, colour),
  // Drawn over the numbers, so that there is always an icon to drag.
  over: true,
  whole: ({ time, yaw, pitch = 0, distance = 1, spread = 0, gain = 0 }) => ({ time, yaw, pitch, distance, spread, gain }),
  stored: ({ yaw, pitch, distance, spread, gain }) => ({
    yaw, pitch, distance, ...(spread ? { spread } : {}), ...(gain ? { gain } : {}),
  }),
  shaped: ({ spread = 0, gain = 0, ...place }, value) => ({
    ...place, spread: Math.max(spread, value("spread")), gain: gain + value("gain"),
  }),
  hearing: (video) => new Placed(video),
  tell: (hearing, made) => (hearing.on = Boolean(made?.source)),
  hear: (hearing, place) => hearing.place(place),
  words: ({ yaw, pitch, distance }) => [
    "whereSound", { yaw: degrees(yaw), pitch: degrees(pitch), distance: Number(distance.toFixed(2)) },
  ],
  label: "soundEditor",
};

/** By node: what it sets, the widget that selects how, and that widget's value for a still place by hand. */
export const EDITED = {
  CentroidToBASD: { ...view, choice: "choose_by", byHand: "yaw and pitch" },
  Con360ViewpointByHand: { ...view, choice: "mode", byHand: "still" },
  Con360PlaceSound: { ...sound, choice: "mode", byHand: "still" },
};
EDITED.ViewpointByHand = EDITED.Con360ViewpointByHand; // the former id
/** Words for other ways to choose, whose path only a run knows. */
export const BY_RUN = {
  viewpoint: "alongViewpoint", "stereo panning": "ownPanning", "find the place": "foundPlaces",
  "find by rhythm": "foundRhythms", "most moving": "mostMoving",
};
