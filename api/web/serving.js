// Which model serves, from GET /v1/info: said in the head of the page, loudly where it matters.

import { get } from "./api.js";

const LOOK_S = 20;
const LOUD = {
  away: "The service cannot be reached. Your text is safe here.",
  none: "No worker is running. What you ask for waits until one starts.",
  bundled: "This is not DistilGPT2 but the far smaller model that comes with distilq. "
    + "Its English is simple, and makes less sense.",
  random: "These are random weights, for measuring speed: the texts are noise.",
};

const NAMES = {
  away: "no connection", none: "no worker", bundled: "bundled model", random: "random weights",
};
const WITH = { away: "", none: "", bundled: "with the bundled model", random: "with random weights" };

export class Serving {
  served = [];

  /** `refused` is told that a key is needed; then nobody looks again until one is there. */
  constructor(shown, refused) {
    Object.assign(this, { shown, refused, locked: false });
    const look = () => document.hidden || this.locked || this.look();
    setInterval(look, LOOK_S * 1000);
    document.addEventListener("visibilitychange", look);
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
      this.locked = false;
    } catch (error) {
      this.locked = error.status === 401;
      return this.locked ? this.refused(error) : this.#show("away");
    }
    return this.#show(kindOf(this.served[0]));
  }

  #show(kind) {
    const { title, button, loud, list } = this.shown;
    button.textContent = NAMES[kind] ?? nameOf(this.served[0]);
    button.dataset.kind = kind;
    button.hidden = false;
    title.textContent = kind in NAMES ? WITH[kind] : `with ${button.textContent}`;
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

const nameOf = ({ model }) => model.split("/").filter(Boolean).at(-1);
