// A chart of the last hour: its figure now, its plot, and any moment's values at a touch.

import { copyOf, made, write } from "./elements.js";
import { NONE, timeOf } from "./figures.js";
import { Plot } from "./plot.js";

const NOTHING = "Nothing has been measured yet.";

/**
 * `spec` has title, unit, series, format, headline (values -> the figure), top (values -> where the
 * axis ends), stacked, whole. A series has a name, a kind for its colour, `of`, a point's value or
 * null where it is not known, and may be filled.
 */
export class Chart {
  #hour = null;
  #now = [];
  #at = null; // the moment that is looked at

  constructor(spec, say) {
    Object.assign(this, { spec, say });
    this.figure = copyOf("chart");
    this.area = this.#part(".plot");
    this.plot = new Plot(this.#part("svg"), spec);
    write(this.#part(".title"), spec.title);
    write(this.#part(".unit"), spec.unit);
    this.area.setAttribute("aria-label", `${spec.title} over the last hour; arrows go through it`);
    this.#part(".legend").append(...(this.#single ? SUMMARIES : spec.series).map(entry));
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(this.area);
  }

  /** With the values of this moment, one for each series. */
  show(hour, now, { redraw }) {
    this.#hour = hour;
    this.#now = now;
    if (redraw) this.#draw();
    if (this.#at === null) this.#tell(now);
  }

  /** One series needs no name: its legend tells of the hour. */
  get #single() {
    return this.spec.series.length === 1;
  }

  #part(selector) {
    return this.figure.querySelector(selector);
  }

  #values(point) {
    return this.spec.series.map(({ of }) => of(point));
  }

  /** What stands at the top of each series: of layers, the sum of those below. */
  #heights(point) {
    let sum = 0;
    return this.#values(point).map((value) => (this.spec.stacked ? (sum += value) : value));
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.area;
    if (!this.#hour || !width) return;
    const heights = (point) => this.#heights(point);
    this.plot.draw(this.#hour, { width, height, heights, nothing: NOTHING });
    this.plot.svg.setAttribute("aria-label", this.#summary());
    const [{ of }] = this.spec.series;
    if (this.#single) this.#legend(ofHour(this.#known(of)).map(this.spec.format));
    this.#mark();
  }

  #known(of) {
    return this.#hour.points.map(of).filter(known);
  }

  #summary() {
    const { headline, format, unit } = this.spec;
    const all = this.#known((point) => headline(this.#values(point)));
    if (!all.length) return NOTHING;
    const [least, most] = [Math.min(...all), Math.max(...all)].map(format);
    return `Last ${format(all.at(-1))} ${unit}; from ${least} to ${most} over the last hour.`;
  }

  #listen() {
    const look = ({ clientX }) => {
      const { left } = this.area.getBoundingClientRect();
      if (this.plot.moment) this.#look(this.plot.moment(clientX - left));
    };
    for (const name of ["pointermove", "pointerdown"]) this.area.addEventListener(name, look);
    for (const name of ["pointerleave", "blur"]) this.area.addEventListener(name, () => this.#look(null));
    this.area.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const points = this.#hour?.points ?? [];
    const at = points.findIndex(({ t }) => t === this.#at);
    const from = at < 0 ? points.length : at;
    const next = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: points.length - 1 }[event.key];
    if (event.key === "Escape") this.#look(null);
    if (next === undefined || !points.length) return;
    event.preventDefault();
    const point = points[Math.min(points.length - 1, Math.max(0, next))];
    this.#look(point.t);
    const words = this.spec.series.map(({ name, of }) => `${name} ${this.#format(of(point))}`);
    this.say(`${timeOf(point.t)}: ${words.join(", ")}`);
  }

  #look(t) {
    this.#at = t;
    this.#mark();
    if (t === null) return this.#tell(this.#now);
    const point = this.#hour.at(t);
    return this.#tell(point && this.#values(point), point?.t ?? t);
  }

  #mark() {
    this.plot.mark(this.#at === null ? null : (this.#hour.at(this.#at)?.t ?? this.#at));
  }

  /** Figure and legend: of now, or of the moment that is looked at; null where nobody measured. */
  #tell(values, t) {
    write(this.#part(".number"), this.#format(values && this.spec.headline(values)));
    write(this.#part(".at"), t ? timeOf(t) : "");
    if (!this.#single) this.#legend(values?.map((value) => this.#format(value)));
  }

  #format(value) {
    return known(value) ? this.spec.format(value) : NONE;
  }

  #legend(words) {
    this.figure.querySelectorAll(".legend b").forEach((each, n) => write(each, words?.[n] ?? NONE));
  }
}

const SUMMARIES = [{ name: "mean" }, { name: "least" }, { name: "most" }];

function ofHour(values) {
  if (!values.length) return [];
  return [values.reduce((a, b) => a + b) / values.length, Math.min(...values), Math.max(...values)];
}

const known = (value) => value !== null && value !== undefined;

function entry({ name, kind }) {
  return made("li", kind ? { className: kind } : {}, made("span", { textContent: name }), made("b"));
}
