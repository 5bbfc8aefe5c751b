// What waits, by priority; for admins with what holds it back, lets it go, throws it away.

import { swap } from "./deeds.js";
import { cell, made, write } from "./elements.js";
import { age, count, NONE, plural, rate, span } from "./figures.js";
import { Rows } from "./rows.js";

export class Queue {
  #levels = {};

  constructor({ table, total }, { deeds, confirm, me }) {
    Object.assign(this, { total, deeds, confirm, me });
    const make = ({ name }) => this.#make(name);
    this.rows = new Rows(table, { key: ({ name }) => name, make });
  }

  show(queue) {
    this.#levels = queue.priorities;
    this.rows.show(
      Object.entries(queue.priorities).map(([name, level]) => ({
        name, ...level, paused: queue.paused.includes(name),
      })),
    );
    write(this.total, totalOf(queue));
  }

  #make(name) {
    const badge = made("span", { className: "badge", textContent: "paused" });
    const title = made("span", { textContent: name });
    const head = made("th", { scope: "row", role: "rowheader", className: name }, title, badge);
    const [jobs, tokens, oldest] = ["Jobs", "Tokens", "Oldest"].map((name) => cell(name, "number"));
    const cells = [head, jobs, tokens, oldest];
    const buttons = this.me.admin ? this.#buttons(name) : [];
    if (this.me.admin) cells.push(cell("", "deeds", ...buttons));
    const tell = ({ paused, ...level }) => {
      badge.hidden = !paused;
      write(jobs, count(level.jobs));
      write(tokens, count(level.tokens));
      write(oldest, level.oldest_age_s === null ? NONE : age(level.oldest_age_s));
      const [pause, resume, purge] = buttons;
      if (!pause) return;
      swap(...(paused ? [resume, pause] : [pause, resume]));
      purge.disabled = !level.jobs;
    };
    return { cells, tell };
  }

  #buttons(name) {
    const body = { priority: name };
    const named = (words) => ({ ariaLabel: `${words} ${name}` });
    const simply = (deed) => async () => ({ path: `v1/queue:${deed}`, body });
    return [
      this.deeds.button("Pause", simply("pause"), `${name} is paused.`, named("Pause")),
      this.deeds.button("Resume", simply("resume"), `${name} goes on.`, named("Resume")),
      this.deeds.button("Purge …", () => this.#purge(name), `${name} is empty.`, named("Purge")),
    ];
  }

  async #purge(name) {
    const { jobs, tokens } = this.#levels[name];
    const yes = await this.confirm.ask({
      title: `Purge ${name}?`,
      words: `All ${name} jobs that wait are canceled, whoever submitted them: `
        + `${plural(jobs, "job")} (${count(tokens)} tokens) at the moment. `
        + "None of them can be brought back. Jobs that run already go on.",
      yes: "Cancel all that wait",
    });
    return yes ? { path: "v1/queue:purge", body: { priority: name } } : null;
  }
}

function totalOf({ queued, queued_tokens: tokens, drain_jobs_per_s: perS, eta_s: eta, ...queue }) {
  if (!queued) return "Nothing waits.";
  const waits = `${plural(queued, "job")} of ${count(tokens)} tokens`;
  const held = queue.paused.reduce((sum, name) => sum + queue.priorities[name].jobs, 0);
  if (held) return `${waits}; ${held === queued ? "all" : count(held)} of them paused.`;
  if (eta === null) return `${waits}; none has ended in the last minute.`;
  return `${waits}; at ${rate(perS)} jobs/s, empty in about ${span(Math.max(1, Math.round(eta)))}.`;
}
