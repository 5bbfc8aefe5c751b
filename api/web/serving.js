// Which model serves, from GET /v1/info: said in the head of the page, loudly where it matters.

import { get } from "./api.js";

const LOOK_S = 20;
const LOUD = {
  none: "No worker is running. What you ask for waits until one starts.",
  bundled: "This is not DistilGPT2 but the far smaller model that comes with distilq. "
    + "Its English is simple, and makes less sense.",
  random: "These are random weights, for measuring speed: the texts are noise.",
};

const WITH = { bundled: "the bundled model", random: "random weights" };

export class Serving {
  served = [];

  /** `failed` is told of errors. */
  constructor(shown, failed) {
    Object.assign(this, { shown, failed });
    setInterval(() => document.hidden || this.look(), LOOK_S * 1000);
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
  }

  /** The name that OpenAI's routes know; whatever the service was set up for, while none serves. */
  get model() {
    return this.served[0]?.model ?? this.configured ?? "distilgpt2";
  }

  async look() {
    try {
      const info = await get("v1/info");
      this.served = info.serving;
      this.configured = info.model;
    } catch (error) {
      return this.failed(error);
    }
    return this.#show();
  }

  #show() {
    const kind = kindOf(this.served[0]);
    const { title, button, loud, list } = this.shown;
    button.textContent = kind === "none" ? "no worker" : nameOf(this.served[0], kind);
    button.dataset.kind = kind;
    button.hidden = false;
    title.textContent = kind === "none" ? "" : `with ${WITH[kind] ?? button.textContent}`;
    loud.hidden = !(kind in LOUD);
    loud.textContent = LOUD[kind] ?? "";
    list.replaceChildren(...this.#lines(kind));
  }

  #lines(kind) {
    const lines = this.served.map((it) => `${it.model} (${it.source}), ${it.precision}, `
      + `${it.workers} ${it.workers === 1 ? "worker" : "workers"}`);
    const shown = lines.length ? [`Serving now: ${lines.join("; ")}.`] : [];
    if (kind in LOUD) shown.push(LOUD[kind]);
    return shown.map((line, n) => {
      const p = document.createElement("p");
      p.textContent = line;
      p.className = n === shown.length - 1 && kind in LOUD ? "wrong" : "";
      return p;
    });
  }
}

function kindOf(served) {
  if (!served) return "none";
  if (served.source === "bundled") return "bundled";
  return served.model.startsWith("random") ? "random" : "model";
}

const nameOf = (served, kind) =>
  kind === "bundled" ? "bundled model" : served.model.split("/").filter(Boolean).at(-1);
