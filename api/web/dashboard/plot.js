// What is drawn of a chart: axes, layers and lines, one moment's mark. It knows pixels, and no figures.

import { drawn } from "./elements.js";
import { minuteOf } from "./figures.js";
import { levels, moments } from "./scale.js";

const EDGE = { top: 8, right: 1, bottom: 20, left: 1 };
const LABEL_PX = 50; // that a time of day should have for itself

export class Plot {
  /** `spec` as of a chart. */
  constructor(svg, spec) {
    Object.assign(this, { svg, spec });
  }

  /** `heights` gives, for a point, where each series stands. */
  draw(hour, { width, height, heights, nothing }) {
    const { now, begin, points } = hour;
    const top = this.spec.top(points.flatMap(heights));
    const [wide, high] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
    this.x = (t) => EDGE.left + ((t - begin) / (now - begin)) * wide;
    this.y = (value) => EDGE.top + (1 - value / top) * high;
    this.moment = (x) => begin + Math.min(1, Math.max(0, (x - EDGE.left) / wide)) * (now - begin);
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const lines = levels(top, this.spec.whole);
    for (const level of lines) this.#level(this.y(level), width);
    for (let n = this.spec.series.length - 1; n >= 0; n -= 1) this.#series(n, hour, heights);
    for (const level of lines.slice(1)) {
      this.#text(this.spec.format(level), { x: EDGE.left, y: this.y(level) + 11 });
    }
    this.#times(moments(begin, now, width / LABEL_PX), width, height);
    if (!points.length) this.#text(nothing, { x: width / 2, y: this.y(0.72 * top), "text-anchor": "middle" });
    this.cursor = drawn(this.svg, "line", { class: "cursor", y1: EDGE.top, y2: this.y(0) });
  }

  /** Mark a moment; null: none. */
  mark(t) {
    if (!this.cursor) return;
    this.cursor.toggleAttribute("hidden", t === null);
    if (t === null) return;
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.x(t));
  }

  #level(y, width) {
    drawn(this.svg, "line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y });
  }

  #times(times, width, height) {
    for (const t of times) {
      const x = this.x(t);
      const anchor = x < 24 ? "start" : x > width - 24 ? "end" : "middle";
      this.#text(minuteOf(t), { x, y: height - 4, "text-anchor": anchor });
    }
  }

  #text(words, attributes) {
    drawn(this.svg, "text", attributes).textContent = words;
  }

  #series(n, hour, heights) {
    const { kind, filled, of } = this.spec.series[n];
    const layer = this.spec.stacked ? " layer" : "";
    const place = (at) => (point) => [this.x(point.t), this.y(at(point))];
    const below = (point) => (layer && n ? heights(point)[n - 1] : 0);
    for (const run of hour.runs((point) => of(point) !== null)) {
      const upper = run.map(place((point) => heights(point)[n]));
      if (filled || layer) {
        const lower = run.map(place(below)).reverse();
        drawn(this.svg, "path", { class: `area ${kind}`, d: `${path([...upper, ...lower])}Z` });
      }
      // one that stands alone is a dot: its line is as short as its ends are round
      const line = upper.length > 1 ? upper : [upper[0], upper[0]];
      drawn(this.svg, "path", { class: `line ${kind}${layer}`, d: path(line) });
    }
  }
}

const path = (places) => `M${places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
