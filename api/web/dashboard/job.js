// One job, in a drawer: how it went, and its prompt for who asks to see it.

import { call, get } from "../api.js";
import { facts, write } from "./elements.js";
import { count, dateOf, span } from "./figures.js";
import { partsOf, timeline } from "./timeline.js";

const EVERY_MS = 1000;
const FINAL = ["succeeded", "failed", "canceled", "expired"];

export class JobDrawer {
  #id = null;
  #timer = null;

  /** `on` has changed(), refused(error). */
  constructor(shown, { words, on }) {
    Object.assign(this, { shown, words, on });
    shown.dialog.addEventListener("close", () => this.#close());
    shown.cancel.addEventListener("click", () => this.#cancel());
    shown.prompt.addEventListener("click", () => this.#togglePrompt());
  }

  open(id) {
    this.#close();
    this.#id = id;
    const { dialog, name, facts: list, events, parts, cancel, prompt } = this.shown;
    write(name, id);
    cancel.hidden = prompt.hidden = true; // until there is a job to show
    for (const each of [list, events, parts]) each.replaceChildren();
    dialog.showModal();
    return this.#look();
  }

  async #look() {
    const id = this.#id;
    try {
      const paths = [`v1/jobs/${id}`, `v1/jobs/${id}/timeline`];
      const [job, { events }] = await Promise.all(paths.map(get));
      if (id !== this.#id) return;
      this.#show(job, events);
      if (!FINAL.includes(job.status)) this.#again();
    } catch (error) {
      if (id !== this.#id) return;
      this.#failed(error);
      if (error instanceof TypeError || error.status >= 500) this.#again();
    }
  }

  #again() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }

  #show(job, events) {
    const { cancel, prompt, parts, events: list, facts: known } = this.shown;
    prompt.hidden = false;
    cancel.hidden = FINAL.includes(job.status);
    cancel.disabled = job.status === "canceling";
    parts.replaceChildren(...partsOf(job));
    list.replaceChildren(...timeline(events));
    facts(known, factsOf(job));
    write(this.shown.wrong, job.error ? this.words({ message: job.error.title, body: job.error }) : "");
  }

  async #cancel() {
    this.shown.cancel.disabled = true;
    try {
      await call(`v1/jobs/${this.#id}/cancel`, { method: "POST" });
    } catch (error) {
      if (error.status !== 409) this.#failed(error); // this: it has ended by itself
    }
    clearTimeout(this.#timer);
    this.on.changed();
    await this.#look();
    const { dialog, prompt } = this.shown;
    if (!dialog.contains(document.activeElement)) prompt.focus(); // the button that had it is away
  }

  async #togglePrompt() {
    const { text, prompt } = this.shown;
    if (!text.hidden) return this.#hidePrompt();
    const id = this.#id;
    try {
      const request = await (await call(`v1/jobs/${id}/request`)).text();
      if (id !== this.#id) return null;
      text.textContent = laidOut(request);
      text.hidden = false;
      text.scrollIntoView({ block: "nearest" });
      write(prompt, "Hide the prompt");
    } catch (error) {
      this.#failed(error);
    }
    return null;
  }

  #hidePrompt() {
    const { text, prompt } = this.shown;
    text.hidden = true;
    text.textContent = "";
    write(prompt, "Show the prompt");
  }

  #failed(error) {
    if (error.status === 401) {
      this.shown.dialog.close();
      this.on.refused(error);
    } else write(this.shown.wrong, this.words(error));
  }

  /** Nothing of it stays in the page. */
  #close() {
    clearTimeout(this.#timer);
    this.#id = null;
    this.#hidePrompt();
    write(this.shown.wrong, "");
  }
}

/** JSON on lines of its own; left as it is where it has a seed that JavaScript would round. */
function laidOut(json) {
  const request = JSON.parse(json);
  const exact = Number.isSafeInteger(request.parameters?.seed ?? 0);
  return exact ? JSON.stringify(request, null, 2) : json;
}

function factsOf(job) {
  const { usage, metrics, progress } = job;
  const ms = (value) => value === null ? null : span(value / 1000);
  return [
    ["Status", job.status],
    ["Priority", job.queue.priority],
    ["Place in the queue", job.queue.position && count(job.queue.position)],
    ["Texts", `${count(progress.sequences_done)} of ${count(progress.sequences)}`],
    ["Prompt tokens", usage.prompt_tokens ? count(usage.prompt_tokens) : null],
    ["Generated tokens", count(usage.generated_tokens || progress.tokens_done)],
    ["Queued for", ms(metrics.queue_ms)],
    ["First token after", ms(metrics.time_to_first_token_ms)],
    ["Ran for", ms(metrics.run_ms)],
    ["Tokens per second", metrics.tokens_per_s?.toFixed(1)],
    ["Rows beside it, mean", metrics.batch_size?.toFixed(1)],
    ["Kept until", job.expires_at && dateOf(job.expires_at)],
  ];
}
