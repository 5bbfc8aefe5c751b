// The API key, where the service asks for one.

import { get, key } from "./api.js";

export class SignIn {
  #then = null;

  constructor(dialog, { input, wrong }) {
    Object.assign(this, { dialog, input, wrong });
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use();
    });
  }

  /** Ask for it, and do `then` with it. */
  open(then) {
    if (key.get()) this.wrong.textContent = "This key is unknown, or has been revoked.";
    key.forget();
    this.#then = then;
    if (!this.dialog.open) this.dialog.showModal();
  }

  async #use() {
    key.set(this.input.value.trim());
    try {
      await get("v1/info");
    } catch (error) {
      if (error.status === 401) return this.open(this.#then);
    }
    this.input.value = "";
    this.wrong.textContent = "";
    this.dialog.close();
    return this.#then?.();
  }
}
