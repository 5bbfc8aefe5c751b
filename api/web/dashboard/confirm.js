// A question before something is lost.

import { write } from "./elements.js";

export class Confirm {
  constructor(dialog) {
    this.dialog = dialog;
  }

  /** Whether the answer is yes; whoever closes it otherwise has not said so. */
  ask({ title, words, yes }) {
    write(this.#part("h2"), title);
    write(this.#part("p"), words);
    write(this.#part(".grave"), yes);
    this.dialog.returnValue = "";
    this.dialog.showModal();
    return new Promise((resolve) => {
      const answer = () => resolve(this.dialog.returnValue === "yes");
      this.dialog.addEventListener("close", answer, { once: true });
    });
  }

  #part(selector) {
    return this.dialog.querySelector(selector);
  }
}
