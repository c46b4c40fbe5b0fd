// Angles and views as in con360/geometry: degrees, yaw right-positive, pitch up-positive, x right, y up, z forward, roll
// clockwise as seen from behind the camera. A map is the flat panorama: u and v in [0, 1], the upper left corner at yaw
// -180, pitch 90.

const DEG = Math.PI / 180;

export const wrapYaw = (yaw) => ((((yaw + 180) % 360) + 360) % 360) - 180;
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Right, up and forward axes of a camera. */
export function axes({ yaw, pitch, roll = 0 }) {
  const [sy, cy, sp, cp] = [Math.sin(yaw * DEG), Math.cos(yaw * DEG), Math.sin(pitch * DEG), Math.cos(pitch * DEG)];
  const [sr, cr] = [Math.sin(roll * DEG), Math.cos(roll * DEG)];
  const [level, upright] = [[cy, 0, -sy], [-sy * sp, cp, -cy * sp]];
  return {
    right: level.map((value, i) => cr * value - sr * upright[i]),
    up: upright.map((value, i) => cr * value + sr * level[i]),
    forward: [sy * cp, sp, cy * cp],
  };
}

/** A view of a turned sphere as a view of the sphere before: the turn is a camera's, and the view is in its picture. */
export function beneath(turn, view) {
  const [outer, inner] = [axes(turn), axes(view)];
  const world = ([x, y, z]) => outer.right.map((value, i) => x * value + y * outer.up[i] + z * outer.forward[i]);
  const [right, forward] = [world(inner.right), world(inner.forward)];
  const yaw = Math.atan2(forward[0], forward[2]) / DEG;
  const pitch = Math.asin(clamp(forward[1], -1, 1)) / DEG;
  const plain = axes({ yaw, pitch });
  return { ...view, yaw, pitch, roll: Math.atan2(-dot(plain.up, right), dot(plain.right, right)) / DEG };
}

/** How far a framed view reaches to the right and up, at distance 1; the field of view spans the longer side. */
export function frameReach({ fov, aspect = 1 }) {
  const reach = Math.tan((fov * DEG) / 2);
  return [reach * Math.min(1, aspect), reach * Math.min(1, 1 / aspect)];
}

/** The outline of a framed view as unit vectors, clockwise from its upper left corner, the first not repeated. */
export function fovOutline(view, pointsPerEdge = 64) {
  const { right, up, forward } = axes(view);
  const reach = frameReach(view);
  const corners = [[-1, 1], [1, 1], [1, -1], [-1, -1]];
  return corners.flatMap(([x, y], i) => {
    const [toX, toY] = corners[(i + 1) % 4];
    return Array.from({ length: pointsPerEdge }, (_, k) => {
      const share = k / pointsPerEdge;
      const [a, b] = [(x + share * (toX - x)) * reach[0], (y + share * (toY - y)) * reach[1]];
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
  return Math.acos(clamp(dot(axes(a).forward, axes(b).forward), -1, 1)) / DEG;
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
export function sees(view, direction) {
  const at = axes(direction).forward;
  const [right, up, ahead] = ["right", "up", "forward"].map((name) => dot(at, axes(view)[name]));
  const [across, upwards] = frameReach(view).map((reach) => reach * ahead);
  return ahead > 0 && Math.abs(right) <= across && Math.abs(up) <= upwards;
}
