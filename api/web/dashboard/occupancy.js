// The batch as a picture: a bar per decode step, as high as the batch was full.

import { copyOf, drawn } from "./elements.js";

const STEPS = 120;
const LEAST_SHARE = 0.06; // of the height, so that a step of one row, or that only reads prompts, is seen

export class Occupancy {
  #shown = "";

  constructor() {
    this.svg = copyOf("steps");
    this.svg.setAttribute("viewBox", `0 0 ${STEPS} 1`);
    this.alone = drawn(this.svg, "path", { class: "alone" });
    this.prefilling = drawn(this.svg, "path", { class: "prefilling" });
  }

  /** `prefill` has the prompt tokens that were read in the same steps, where it is known. */
  show({ recent_rows: rows = [], recent_prefill: prefill = [], max_rows: most }) {
    const known = `${rows}/${prefill}`;
    if (known === this.#shown) return;
    this.#shown = known;
    const bars = rows.map((n, step) => {
      const reads = prefill[step] > 0;
      return [STEPS - rows.length + step, Math.max(n / most, n || reads ? LEAST_SHARE : 0), reads];
    });
    this.alone.setAttribute("d", pathOf(bars.filter(([, , reads]) => !reads)));
    this.prefilling.setAttribute("d", pathOf(bars.filter(([, , reads]) => reads)));
    this.svg.setAttribute("aria-label", summary(rows, most));
  }
}

/** The newest is at the right; a bar leaves a fifth of its place free. */
const pathOf = (bars) =>
  bars.map(([x, share]) => `M${x},1v${-share.toFixed(3)}h.8v${share.toFixed(3)}z`).join("");

function summary(rows, most) {
  if (!rows.length) return "No step yet.";
  const mean = rows.reduce((a, b) => a + b) / rows.length;
  return `Rows in each of the last ${rows.length} steps: ${Math.min(...rows)} to ${Math.max(...rows)}, `
    + `${mean.toFixed(1)} on the mean, of ${most}.`;
}
