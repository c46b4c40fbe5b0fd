// Draws on the editor's flat map.

/** A loudspeaker about the origin: its cone, filled, and two waves, drawn. */
const SPEAKER = ["M-6 -2 h3 l4 -4 v12 l-4 -4 h-3 z", "M3.5 -2.5 a3.5 3.5 0 0 1 0 5 M5.5 -4.5 a6.4 6.4 0 0 1 0 9"];

/** Draws on the map in screen pixels; a dark edge keeps lines visible on any background. */
export class Pen {
  constructor(context, width, height, scale) {
    Object.assign(this, { context, width, height, scale });
  }

  at([u, v]) {
    return [u * this.width, v * this.height];
  }

  lines(lines, colour, thick) {
    const { context } = this;
    context.lineJoin = context.lineCap = "round";
    for (const [style, extra] of [["#000b", 2], [colour, 0]]) {
      context.strokeStyle = style;
      context.lineWidth = (thick + extra) * this.scale;
      for (const line of lines) {
        context.beginPath();
        for (const point of line) context.lineTo(...this.at(point));
        context.stroke();
      }
    }
  }

  cross([u, v], colour) {
    const [across, down] = [(6 * this.scale) / this.width, (6 * this.scale) / this.height];
    this.lines([[[u - across, v], [u + across, v]], [[u, v - down], [u, v + down]]], colour, 2);
  }

  dot(place, colour, radius = 5, edge = "#000") {
    const { context } = this;
    context.beginPath();
    context.arc(...this.at(place), radius * this.scale, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.strokeStyle = edge;
    context.lineWidth = 1.5 * this.scale;
    context.fill();
    context.stroke();
  }

  badge([u, v], text, { fill, ink, edge, radius, size }) {
    // Near the seam, draw it on both sides.
    for (const turn of [-1, 0, 1]) {
      this.dot([u + turn, v], fill, radius, edge);
      this.context.fillStyle = ink;
      this.context.font = `600 ${size * this.scale}px sans-serif`;
      this.context.textAlign = "center";
      this.context.textBaseline = "middle";
      this.context.fillText(text, ...this.at([u + turn, v]));
    }
  }

  /** A loudspeaker in a disc. */
  speaker([u, v], colour) {
    const { context, scale } = this;
    const [cone, waves] = SPEAKER.map((path) => new Path2D(path));
    // Near the seam, draw it on both sides.
    for (const turn of [-1, 0, 1]) {
      this.dot([u + turn, v], colour, 11);
      context.save();
      context.translate(...this.at([u + turn, v]));
      context.scale(scale, scale);
      context.fillStyle = context.strokeStyle = "#fff";
      context.lineWidth = 1.5;
      context.fill(cone);
      context.stroke(waves);
      context.restore();
    }
  }
}
