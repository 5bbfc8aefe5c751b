// The dead list, for admins: why, under which workers, once more, or gone.

import { get } from "../api.js";
import { cell, made, write } from "./elements.js";
import { age, dateOf, plural, span } from "./figures.js";
import { Pages } from "./pages.js";
import { Rows } from "./rows.js";

const SHOWN = 10;

export class Dead {
  /** `on` has failed(error, again). */
  constructor(shown, { deeds, confirm, since, on }) {
    Object.assign(this, { shown, deeds, confirm, since });
    const make = (entry) => this.#make(entry);
    this.rows = new Rows(shown.table, { key: ({ id }) => id, make });
    this.pages = new Pages(shown, {
      size: SHOWN,
      ask: (query) => get(`v1/dead?${query}`),
      show: (page) => this.#show(page),
      failed: on.failed,
    });
  }

  /** Look again. Raises Problem. */
  look() {
    return this.pages.look();
  }

  #show({ entries, total }) {
    const { table, none, newest, older, title } = this.shown;
    this.rows.show(entries);
    table.hidden = !entries.length;
    none.hidden = entries.length > 0;
    for (const each of [newest, older]) each.hidden = this.pages.alone;
    write(title, total ? `Dead jobs (${total})` : "Dead jobs");
  }

  #make(entry) {
    const id = made("span", { className: "mono", textContent: entry.id.slice(0, 8), title: entry.id });
    const died = cell("Died", "number");
    const cells = [
      made("th", { scope: "row", role: "rowheader" }, id),
      cell("Reason", "", entry.reason),
      died,
      cell("Deaths", "deaths", historyOf(entry.history)),
      cell("", "deeds", ...this.#buttons(entry)),
    ];
    died.title = dateOf(entry.died_at);
    return { cells, tell: () => write(died, `${age(this.since(entry.died_at))} ago`) };
  }

  #buttons(entry) {
    const { id } = entry;
    const named = (words) => ({ ariaLabel: `${words} ${id.slice(0, 8)}` });
    const requeue = async () => ({ path: `v1/dead/${encodeURIComponent(id)}:requeue` });
    const said = "It is queued again, as a new job.";
    const again = this.deeds.button("Requeue", requeue, said, named("Requeue"));
    again.disabled = !entry.requeueable;
    const drop = this.deeds.button("Drop …", () => this.#drop(entry), "It is gone.", named("Drop"));
    return [again, drop];
  }

  async #drop({ id, reason, history, requeueable }) {
    const lost = requeueable ? "Its request, with the prompt," : "Its message";
    const yes = await this.confirm.ask({
      title: `Drop ${id.slice(0, 8)}?`,
      words: `${lost} and the history of ${plural(history.length, "death")} are lost for good `
        + `(it was ${reason}).`,
      yes: "Drop it",
    });
    return yes ? { path: `v1/dead/${encodeURIComponent(id)}`, method: "DELETE" } : null;
  }
}

/** How often its workers died, and in a list that opens, which and when. */
function historyOf(history) {
  if (!history.length) return "none";
  const death = ({ worker, started_ms: started, lapsed_ms: lapsed }) => made("li", {
    textContent: `${dateOf(lapsed)}: worker ${worker}, ${span((lapsed - started) / 1000)} after its start`,
  });
  const summary = made("summary", { textContent: plural(history.length, "death") });
  return made("details", {}, summary, made("ol", {}, ...history.map(death)));
}
