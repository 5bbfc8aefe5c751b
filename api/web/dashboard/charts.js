// Which charts there are, and what each draws of a point.

import { Chart } from "./chart.js";
import { count, NONE, rate, span } from "./figures.js";
import { timeTopOf, topOf } from "./scale.js";

const PRIORITIES = ["interactive", "normal", "bulk"];
const sum = (values) => values.reduce((a, b) => a + b, 0);
const most = (values) => Math.max(...values);
const first = ([value]) => value;

const each = (of) =>
  PRIORITIES.map((name) => ({ name, kind: name, of: (point) => of(point, name) }));

const SPECS = {
  queued: {
    title: "Queued", unit: "jobs", format: count, headline: sum,
    stacked: true, whole: true, top: topOf,
    series: each((point, name) => point.queued[name]),
  },
  oldest: {
    title: "Oldest in the queue", unit: "", format: (s) => (s ? span(s) : NONE), headline: most, top: timeTopOf,
    series: each((point, name) => point.oldest_age_s[name] ?? 0),
  },
  rows: {
    title: "In the batch", unit: "rows", format: count, headline: first, top: topOf, whole: true,
    series: [
      { name: "rows", kind: "one", filled: true, of: (point) => point.rows },
      { name: "jobs running", kind: "two", of: (point) => point.running },
    ],
  },
  tokens: {
    title: "Generated", unit: "tokens/s", format: rate, headline: first, top: topOf,
    series: [{ name: "tokens/s", kind: "one", filled: true, of: (point) => point.tokens_per_s }],
  },
  jobs: {
    title: "Finished", unit: "jobs/s", format: rate, headline: first, top: topOf,
    series: [
      { name: "succeeded", kind: "one", of: (point) => point.jobs_per_s },
      { name: "failed", kind: "failed", of: (point) => point.failed_per_s },
    ],
  },
  workers: {
    title: "Workers", unit: "taking jobs", format: rate, headline: first, top: topOf, whole: true,
    series: [{ name: "taking jobs", kind: "one", filled: true, of: (point) => point.workers }],
  },
};

export class Charts {
  constructor(into, say) {
    const made = Object.entries(SPECS).map(([name, spec]) => [name, new Chart(spec, say)]);
    this.charts = Object.fromEntries(made);
    into.append(...made.map(([, { figure }]) => figure));
  }

  /** The figures of now are the snapshot's; rates are those of the last step that was measured. */
  show(hour, { queue, workers }, options) {
    const last = hour.points.at(-1);
    const level = (field) => PRIORITIES.map((name) => queue.priorities[name][field] ?? 0);
    const now = {
      queued: level("jobs"),
      oldest: level("oldest_age_s"),
      rows: [sum(workers.map(({ rows }) => rows)), queue.running],
      tokens: last && [last.tokens_per_s],
      jobs: last && [last.jobs_per_s, last.failed_per_s],
      workers: [queue.workers],
    };
    for (const [name, chart] of Object.entries(this.charts)) chart.show(hour, now[name], options);
  }
}
