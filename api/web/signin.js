// The API key, where the service asks for one.

import { get, key } from "./api.js";

const UNKNOWN = "This key is unknown, or has been revoked.";
const SENDABLE = /^[!-~]+$/; // in a header; fetch would raise of anything else as of no connection

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
    if (key.get()) this.wrong.textContent = UNKNOWN;
    key.forget();
    this.#then = then;
    if (!this.dialog.open) this.dialog.showModal();
  }

  async #use() {
    const value = this.input.value.trim();
    if (!SENDABLE.test(value)) {
      this.wrong.textContent = UNKNOWN;
      return null;
    }
    key.set(value);
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
