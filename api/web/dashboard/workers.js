// A row per worker that is alive.

import { swap } from "./deeds.js";
import { cell, made, write } from "./elements.js";
import { age, count, rate } from "./figures.js";
import { Occupancy } from "./occupancy.js";
import { Rows } from "./rows.js";

export class Workers {
  constructor({ table, none }, { deeds, me, since }) {
    Object.assign(this, { none, deeds, me, since });
    this.rows = new Rows(table, { key: ({ id }) => id, make: (worker) => this.#make(worker) });
  }

  show(workers) {
    this.rows.show(workers);
    this.none.hidden = workers.length > 0;
    this.rows.body.parentElement.hidden = workers.length === 0;
  }

  #make({ id }) {
    const name = nameCell();
    const rows = gauge("Rows now");
    const picture = new Occupancy();
    const mean = cell("Mean rows", "number");
    const cache = gauge("KV cache");
    const seen = cell("Seen", "number");
    const steps = cell("Last steps", "picture", picture.svg);
    const cells = [name.cell, rows.cell, steps, mean, cache.cell, seen];
    const buttons = this.me.admin ? this.#buttons(id) : [];
    if (this.me.admin) cells.push(cell("", "deeds", ...buttons));
    const tell = (worker) => {
      name.tell(worker);
      rows.tell(worker.rows, worker.max_rows, `of ${count(worker.max_rows)}`);
      picture.show(worker);
      write(mean, worker.steps ? rate(worker.rows_per_step) : "–");
      cache.tell(worker.kv_tokens, worker.kv_capacity, `of ${count(worker.kv_capacity)} tokens`);
      write(seen, age(this.since(worker.seen_at)));
      const [drain, resume] = buttons;
      if (drain) swap(...(worker.draining ? [resume, drain] : [drain, resume]));
    };
    return { cells, tell };
  }

  #buttons(id) {
    const path = (deed) => async () => ({ path: `v1/workers/${encodeURIComponent(id)}:${deed}` });
    const named = (words) => ({ ariaLabel: `${words} worker ${id}` });
    return [
      this.deeds.button("Drain", path("drain"), "It takes no more jobs.", named("Drain")),
      this.deeds.button("Resume", path("resume"), "It takes jobs again.", named("Resume")),
    ];
  }
}

function nameCell() {
  const [host, state] = [made("b"), made("span", { className: "badge" })];
  const what = made("small");
  const head = made("th", { scope: "row", role: "rowheader" }, host, " ", state, what);
  const tell = (worker) => {
    write(host, worker.host);
    write(state, stateOf(worker));
    state.hidden = !state.textContent;
    write(what, `${modelOf(worker)} · ${worker.precision} · ${worker.device} · pid ${worker.pid}`);
    const revision = worker.revision ? `, revision ${worker.revision}` : "";
    head.title = `${worker.id}: ${worker.model}, from ${worker.source}${revision}`;
  };
  return { cell: head, tell };
}

function stateOf({ draining, rows, waiting }) {
  if (!draining) return "";
  return rows || waiting ? "draining" : "drained";
}

const modelOf = ({ model, source }) =>
  source === "bundled" ? "bundled" : model.split("/").filter(Boolean).at(-1);

/** A number, what it is of, and how much of that as a bar. */
function gauge(heading) {
  const [now, of] = [made("b"), made("small")];
  const meter = made("meter", { min: 0, ariaLabel: heading });
  const tell = (value, most, words) => {
    write(now, count(value));
    write(of, words);
    meter.max = most;
    meter.value = value;
  };
  return { cell: cell(heading, "gauge", made("span", {}, now, " ", of), meter), tell };
}
