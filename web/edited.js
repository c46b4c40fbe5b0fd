// What the editor sets: the view of a camera, or the place of a sound. Besides yaw and pitch each has more numbers; the
// wheel changes the `third`.

import { capOutline, clamp, degreesBetween, fovOutline, sees, wrapYaw } from "./geometry.js";
import { Hearing } from "./hearing.js";
import { Placed, breadth } from "./placed.js";

const degrees = (number) => `${Math.round(number)}°`;
const rounded = (number, per) => Math.round(number * per) / per;
// A sound's disc on the map has at least so many degrees.
const LEAST_DEG = 8;

/** Width over height of the pictures that a node cuts. */
function aspectOf(value) {
  const [width, height] = [value("width"), value("height")].map(Number);
  if (width > 0 && height > 0) return width / height;
  return ratio(value("aspect") ?? "1:1");
}

/** True if widgets have the values with which a run was asked for what it found. */
export const isAsked = (asked, value) => Object.entries(asked ?? {}).every(([name, was]) => was === value(name));

/** The number that a shape such as 16:9 stands for; 1 where it stands for none. */
export function ratio(shape) {
  const [across, down] = shape.split(":").map(Number);
  return across > 0 && down > 0 ? across / down : 1;
}

const direction = ({ yaw, pitch }) => ({ yaw: rounded(wrapYaw(yaw), 10), pitch: rounded(clamp(pitch, -90, 90), 10) });

const view = {
  third: "fov",
  turned: (fov, notches) => fov + 2 * notches,
  own: (value) => ({ fov: Number(value("fov")), roll: Number(value("roll") ?? 0) }),
  tidy: ({ fov, roll, ...place }) => ({
    ...direction(place), fov: rounded(clamp(fov, 30, 150), 10), roll: rounded(wrapYaw(roll), 10),
  }),
  outline: (place) => fovOutline(place),
  holds: sees,
  mark: (pen, at, colour) => pen.cross(at, colour),
  camera: true,
  whole: ({ time, yaw, pitch, fov, roll = 0, ease = "linear" }) => ({ time, yaw, pitch, fov, roll, ease }),
  stored: ({ yaw, pitch, fov, roll, ease = "linear" }) => ({
    yaw, pitch, fov, ...(roll ? { roll } : {}), ...(ease === "linear" ? {} : { ease }),
  }),
  shaped: (place, value) => ({ ...place, aspect: aspectOf(value) }),
  path: () => undefined,
  hearing: (video) => new Hearing(video),
  tell: (hearing, { ambisonic }) => (hearing.ambisonic = ambisonic),
  hear: (hearing, place) => hearing.turn(place),
  words: ({ yaw, pitch, fov, roll }) => [
    roll ? "whereRolled" : "where",
    { yaw: degrees(yaw), pitch: degrees(pitch), fov: degrees(fov), roll: degrees(roll) },
  ],
  label: "editor",
};

const disc = (place) => Math.max(LEAST_DEG, breadth(place));

const sound = {
  third: "distance",
  turned: (distance, notches) => distance * 1.1 ** notches,
  own: (value) => ({ distance: Number(value("distance")) }),
  tidy: (place) => ({ ...place, ...direction(place), distance: rounded(clamp(place.distance, 0.1, 1000), 100) }),
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
    ...place, spread: Math.max(spread, Number(value("spread"))), gain: gain + Number(value("gain")),
  }),
  path: ({ path, mode }, value) => {
    const places = path?.map(([yaw, pitch, distance]) => ({ yaw, pitch, distance }));
    return places?.length && mode === value("mode") && { places };
  },
  hearing: (video) => new Placed(video),
  tell: (hearing, { made }) => (hearing.on = Boolean(made?.source)),
  hear: (hearing, place) => hearing.place(place),
  words: ({ yaw, pitch, distance }) => [
    "whereSound", { yaw: degrees(yaw), pitch: degrees(pitch), distance: Number(distance.toFixed(2)) },
  ],
  label: "soundEditor",
};

/** The way that the last run followed, if that is still what the widgets ask for. */
const followed = ({ views, path_fps: fps, asked }, value) =>
  views && isAsked(asked, value) && { fps, places: views.map(([yaw, pitch]) => ({ yaw, pitch })) };

/** By node: what it sets, the widget that selects how, and that widget's value for a still place by hand. */
export const EDITED = {
  CentroidToBASD: { ...view, choice: "choose_by", byHand: "yaw and pitch" },
  Con360ViewpointByHand: { ...view, choice: "mode", byHand: "still" },
  Reframe360Video: { ...view, choice: "mode", byHand: "yaw and pitch", path: followed, glides: true },
  Con360PlaceSound: { ...sound, choice: "mode", byHand: "still" },
};
EDITED.ViewpointByHand = EDITED.Con360ViewpointByHand; // the former id
/** Words for other ways to choose, whose path only a run knows. */
export const BY_RUN = {
  follow: "following", viewpoint: "alongViewpoint", "stereo panning": "ownPanning", "find the place": "foundPlaces",
  "find by rhythm": "foundRhythms", "most moving": "mostMoving",
};
