// How long things took over the last hour.

import { cell, made, write } from "./elements.js";
import { count, span } from "./figures.js";
import { Rows } from "./rows.js";

const NAMES = {
  queue_time: "Submission to start",
  time_to_first_token: "Submission to first token",
  end_to_end: "Submission to end",
  time_between_tokens: "Token to token",
};

export class Latency {
  constructor(table) {
    this.rows = new Rows(table, { key: ({ name }) => name, make });
  }

  show(latency) {
    const names = Object.keys(NAMES).filter((name) => latency[name]);
    this.rows.show(names.map((name) => ({ name, ...latency[name] })));
  }
}

function make({ name }) {
  const head = made("th", { scope: "row", textContent: NAMES[name] });
  const numbers = ["p50", "p95", "p99", "count"].map(() => cell("", "number"));
  const tell = (measured) => {
    const spans = [measured.p50, measured.p95, measured.p99].map(span);
    [...spans, count(measured.count)].forEach((words, n) => write(numbers[n], words));
  };
  return { cells: [head, ...numbers], tell };
}
