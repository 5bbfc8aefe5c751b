// The jobs, newest first: never their prompts or texts.

import { get } from "../api.js";
import { cell, made, write } from "./elements.js";
import { age, count, dateOf, NONE, span } from "./figures.js";
import { Pages } from "./pages.js";
import { Rows } from "./rows.js";

const SHOWN = 12;

export class Jobs {
  /** `on` has open(id), failed(error, again). */
  constructor(shown, { since, on }) {
    Object.assign(this, { shown, since, on });
    const make = ({ id }) => this.#make(id);
    this.rows = new Rows(shown.table, { key: ({ id }) => id, make });
    this.pages = new Pages(shown, {
      size: SHOWN,
      ask: (query) => this.#ask(query),
      show: (page) => this.#show(page),
      failed: on.failed,
    });
    shown.status.addEventListener("change", () => this.pages.turn());
  }

  /** Look again. Raises Problem. */
  look() {
    return this.pages.look();
  }

  async #ask(query) {
    const { value } = this.shown.status;
    if (value) query.set("status", value);
    const { jobs, next } = await get(`v1/jobs?${query}`);
    return { entries: jobs, next };
  }

  #show({ entries }) {
    this.rows.show(entries);
    const { status, none, table } = this.shown;
    table.hidden = !entries.length;
    none.hidden = entries.length > 0;
    write(none, status.value ? `No job is ${status.value}.` : "No job yet.");
  }

  #make(id) {
    const open = made("button", { type: "button", className: "mono open", textContent: id.slice(0, 8) });
    open.ariaLabel = `Job ${id.slice(0, 8)}`;
    open.title = id;
    open.addEventListener("click", () => this.on.open(id));
    const head = made("th", { scope: "row", role: "rowheader" }, open);
    const [status, priority] = [cell("Status", "status"), cell("Priority")];
    const numbers = ["Submitted", "Waited", "Ran", "Tokens"].map((name) => cell(name, "number"));
    numbers[0].classList.add("submitted");
    const tell = (job) => {
      write(status, job.status);
      status.dataset.status = job.status;
      write(priority, job.queue.priority);
      numbers[0].title = dateOf(job.created_at);
      this.#numbers(job).forEach((words, n) => write(numbers[n], words));
    };
    return { cells: [head, status, priority, ...numbers], tell };
  }

  #numbers(job) {
    const { queue_ms: queued, run_ms: ran } = job.metrics;
    const ago = this.since(job.created_at);
    const waits = job.status === "queued" ? age(ago) : span(seconds(queued));
    const running = job.status === "running" && job.started_at;
    const runs = running ? age(this.since(job.started_at)) : span(seconds(ran));
    return [ago < 1 ? "now" : `${age(ago)} ago`, waits, runs, tokensOf(job)];
  }
}

const seconds = (ms) => (ms === null ? null : ms / 1000);

/** Those that are there, and while it runs how many there can be. */
function tokensOf({ status, progress, usage }) {
  if (status === "running") return `${count(progress.tokens_done)} of ${count(progress.tokens_max)}`;
  return status === "succeeded" ? count(usage.generated_tokens) : NONE;
}
