// How to generate: the form, its presets, its seed; and what the service found wrong with a field.

const KEPT = "distilq.settings";
export const PRESETS = {
  careful: { temperature: 0.6, top_k: 40, top_p: 0.9 },
  balanced: { temperature: 0.9, top_k: 50, top_p: 0.95 },
  wild: { temperature: 1.3, top_k: 0, top_p: 1 },
};
const NUMBERS = ["temperature", "top_k", "top_p", "max_new_tokens"];
const SEED_BITS = 32;

export class Settings {
  constructor(form, changed) {
    this.form = form;
    this.fields = form.elements;
    this.#load();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => {
      if (target.name === "preset") this.#fill(PRESETS[target.value] ?? {});
      if (target.name === "seed") this.fields.lock.checked = target.value !== "";
      this.refuse({});
      this.#name();
      this.#save();
      changed();
    });
    this.#name();
  }

  get valid() {
    return this.form.checkValidity();
  }

  /** Its name, as it is shown. */
  get preset() {
    return this.form.querySelector(":checked + span").textContent;
  }

  get odds() {
    return this.fields.odds.checked;
  }

  /** The parameters of the next request; its seed is drawn here, unless it is kept. */
  draw() {
    const { seed, lock } = this.fields;
    if (!lock.checked || seed.value === "") {
      seed.value = crypto.getRandomValues(new Uint32Array(1))[0] % 2 ** SEED_BITS;
    }
    this.#save();
    return this.parameters;
  }

  get parameters() {
    const numbers = NUMBERS.map((name) => [name, this.fields[name].valueAsNumber]);
    const seed = this.fields.seed.valueAsNumber;
    return { ...Object.fromEntries(numbers), ...(Number.isNaN(seed) ? {} : { seed }) };
  }

  /** Mark the fields that the service refused, by name: what is wrong. Whether there were any. */
  refuse(wrong) {
    for (const name of [...NUMBERS, "seed"]) this.fields[name].setCustomValidity(wrong[name] ?? "");
    return [...NUMBERS, "seed"].some((name) => name in wrong);
  }

  /** Open it, at the field that is wrong. */
  complain() {
    if (!this.form.matches(":popover-open")) this.form.showPopover();
    this.form.reportValidity();
  }

  #fill(values) {
    for (const [name, value] of Object.entries(values)) {
      if (name in this.fields) this.fields[name].value = value;
    }
  }

  /** Which preset this is. */
  #name() {
    const same = (values) => Object.entries(values).every(([n, v]) => this.parameters[n] === v);
    const name = Object.keys(PRESETS).find((each) => same(PRESETS[each])) ?? "custom";
    this.form.querySelector("#custom").hidden = name !== "custom";
    this.fields.preset.value = name;
  }

  #load() {
    this.#fill({ ...PRESETS.balanced, max_new_tokens: 24 });
    try {
      const { lock, odds, ...values } = JSON.parse(localStorage.getItem(KEPT)) ?? {};
      this.#fill(values);
      this.fields.lock.checked = Boolean(lock);
      this.fields.odds.checked = Boolean(odds);
    } catch {
      // as they come
    }
  }

  #save() {
    const { lock, odds } = this.fields;
    const kept = { ...this.parameters, lock: lock.checked, odds: odds.checked };
    if (!lock.checked) delete kept.seed;
    try {
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // only not kept
    }
  }
}
