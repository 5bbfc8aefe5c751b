// One request for continuations, from its submission to its end.

import { call, persist, Problem, token } from "./api.js";
import { follow } from "./stream.js";

export class Asking {
  #aborted = new AbortController();
  #submitted;

  /** `on` has status, token, restarted, lost; they are called as things happen. */
  constructor(request, on) {
    this.request = request;
    this.on = on;
    this.over = false;
  }

  /** Until the job has ended, or `cancel`. Raises Problem. */
  async run() {
    try {
      this.#submitted = this.#submit();
      const job = await this.#submitted;
      if (!this.#aborted.signal.aborted) await this.#follow(job);
    } catch (error) {
      if (!this.#aborted.signal.aborted) throw error;
    } finally {
      this.over = true;
    }
  }

  async #submit() {
    const body = JSON.stringify(this.request);
    const headers = { "Idempotency-Key": token() };
    const sent = () => call("v1/jobs", { method: "POST", headers, body });
    // Even if it is canceled meanwhile: the job may be there, and its id is needed to end it.
    return (await persist(sent, { lost: this.on.lost, tries: 8 })).json();
  }

  async #follow(job) {
    const options = { signal: this.#aborted.signal, lost: this.on.lost };
    for await (const { event, data } of follow(job.urls.events.slice(1), options)) {
      if (this.#aborted.signal.aborted) return;
      if (event === "error") throw new Problem(data.status, data, data.retryable ? 1 : null);
      if (event === "status" && data.restarted) this.on.restarted();
      if (event === "status") this.on.status(data);
      if (event === "token") this.on.token(data);
    }
  }

  /** End the job itself, wherever it stands: its rows leave the batch. */
  async cancel({ keepalive = false } = {}) {
    if (this.over) return;
    this.over = true;
    this.#aborted.abort();
    const job = await this.#submitted.catch(() => null);
    if (job === null) return; // it never was
    const path = job.urls.cancel.slice(1);
    try {
      await persist(() => call(path, { method: "POST", keepalive }), { tries: 5 });
    } catch (error) {
      if (![404, 409, 410].includes(error.status)) throw error; // these: it has ended by itself
    }
  }
}
