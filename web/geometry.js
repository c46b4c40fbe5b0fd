// Angles and views as in con360/geometry and con360/keyframes: degrees, yaw right-positive, pitch up-positive, x right,
// y up, z forward. A map is the flat panorama: u and v in [0, 1], the upper left corner at yaw -180, pitch 90.

const DEG = Math.PI / 180;

export const wrapYaw = (yaw) => ((((yaw + 180) % 360) + 360) % 360) - 180;
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Right, up and forward axes of a camera. */
export function axes({ yaw, pitch }) {
  const [sy, cy, sp, cp] = [Math.sin(yaw * DEG), Math.cos(yaw * DEG), Math.sin(pitch * DEG), Math.cos(pitch * DEG)];
  return { right: [cy, 0, -sy], up: [-sy * sp, cp, -cy * sp], forward: [sy * cp, sp, cy * cp] };
}

/** The outline of a square view as unit vectors, clockwise from its upper left corner, the first not repeated. */
export function fovOutline(view, pointsPerEdge = 64) {
  const { right, up, forward } = axes(view);
  const reach = Math.tan((view.fov * DEG) / 2);
  const corners = [[-1, 1], [1, 1], [1, -1], [-1, -1]];
  return corners.flatMap(([x, y], i) => {
    const [toX, toY] = corners[(i + 1) % 4];
    return Array.from({ length: pointsPerEdge }, (_, k) => {
      const share = k / pointsPerEdge;
      const [a, b] = [(x + share * (toX - x)) * reach, (y + share * (toY - y)) * reach];
      const length = Math.hypot(a, b, 1);
      return [0, 1, 2].map((axis) => (a * right[axis] + b * up[axis] + forward[axis]) / length);
    });
  });
}

/** The edge of a round cap about a direction, as wide as an angle, as unit vectors. */
export function capOutline(place, degrees, points = 64) {
  const { right, up, forward } = axes(place);
  const [along, across] = [Math.cos((degrees * DEG) / 2), Math.sin((degrees * DEG) / 2)];
  return Array.from({ length: points }, (_, k) => {
    const [a, b] = [Math.cos((2 * Math.PI * k) / points) * across, Math.sin((2 * Math.PI * k) / points) * across];
    return [0, 1, 2].map((axis) => a * right[axis] + b * up[axis] + along * forward[axis]);
  });
}

/** Degrees between two directions. */
export function degreesBetween(a, b) {
  const [one, other] = [axes(a).forward, axes(b).forward];
  return Math.acos(clamp(one.reduce((sum, value, i) => sum + value * other[i], 0), -1, 1)) / DEG;
}

/** A direction's position on the map. */
export const onMap = ([x, y, z]) => [Math.atan2(x, z) / (2 * Math.PI) + 0.5, 0.5 - Math.asin(clamp(y, -1, 1)) / Math.PI];
export const anglesOnMap = ({ yaw, pitch }) => [wrapYaw(yaw) / 360 + 0.5, 0.5 - pitch / 180];
export const anglesAt = (u, v) => ({ yaw: wrapYaw((u - 0.5) * 360), pitch: clamp((0.5 - v) * 180, -90, 90) });

/** Directions as lines on the map, each a list of [u, v], split at the seam. */
export function linesOnMap(directions, closed = false) {
  const points = (closed ? [...directions, directions[0]] : directions).map(onMap);
  const lines = [];
  let line = [];
  points.forEach((point, i) => {
    const jump = i ? Math.round(point[0] - points[i - 1][0]) : 0;
    if (jump) {
      // Continue one step beyond the edge on both sides; the canvas clips it.
      line.push([point[0] - jump, point[1]]);
      lines.push(line);
      line = [[points[i - 1][0] + jump, points[i - 1][1]]];
    }
    line.push(point);
  });
  return [...lines, line];
}

/** True if a view sees a direction. */
export function sees(view, { yaw, pitch }) {
  const { right, up, forward } = axes(view);
  const dot = (axis) => axes({ yaw, pitch }).forward.reduce((sum, value, i) => sum + value * axis[i], 0);
  const reach = dot(forward) * Math.tan((view.fov * DEG) / 2);
  return dot(forward) > 0 && Math.abs(dot(right)) <= reach && Math.abs(dot(up)) <= reach;
}

/** Interpolate at a time between keyframes {time, yaw, pitch, ...}, sorted by time: yaw the shorter way, the rest evenly. */
export function viewAt(keyframes, time) {
  const after = keyframes.findIndex((frame) => frame.time > time);
  if (after <= 0) return wrapped(keyframes[after ? keyframes.length - 1 : 0]);
  const [a, b] = [keyframes[after - 1], keyframes[after]];
  const share = (time - a.time) / (b.time - a.time);
  const between = Object.keys(a).map((name) => {
    const step = b[name] - a[name];
    return [name, a[name] + share * (name === "yaw" ? wrapYaw(step) : step)];
  });
  return wrapped(Object.fromEntries(between));
}

function wrapped(place) {
  const found = { ...place, yaw: wrapYaw(place.yaw) };
  delete found.time;
  return found;
}
