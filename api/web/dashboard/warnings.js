// What an operator must not overlook: there only while it is so, and without numbers, as each
// change is read aloud.

import { made } from "./elements.js";

const WORDS = {
  lost: "No connection: what is below is from before. Trying again …",
  problem: "The service cannot reach its queue: what is below is from before.",
  alone: "Jobs wait, and no worker is alive. They stay queued until one starts.",
  draining: "All workers are draining: no job is started until one is resumed, or another starts.",
};

export class Warnings {
  #shown = new Set();

  constructor(box) {
    this.box = box;
  }

  look({ queue, workers }) {
    this.#toggle("alone", queue.queued > 0 && workers.length === 0);
    this.#toggle("draining", workers.length > 0 && workers.every(({ draining }) => draining));
    this.#show();
  }

  /** `kind` is lost, problem, or null: all is well. */
  connection(kind) {
    for (const each of ["lost", "problem"]) this.#toggle(each, each === kind);
    this.#show();
  }

  #toggle(name, there) {
    if (there) this.#shown.add(name);
    else this.#shown.delete(name);
  }

  #show() {
    const names = Object.keys(WORDS).filter((name) => this.#shown.has(name));
    const known = [...this.box.children].map(({ dataset }) => dataset.warning);
    if (`${names}` === `${known}`) return;
    this.box.replaceChildren(...names.map(warning));
  }
}

function warning(name) {
  return made("p", { className: "loud", textContent: WORDS[name], data: { warning: name } });
}
