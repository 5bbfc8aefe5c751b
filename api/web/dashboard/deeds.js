// What changes the service. The key goes in a header, so no other site can have a browser do it.

import { call } from "../api.js";
import { made } from "./elements.js";

export class Deeds {
  /** `on` has done(words), failed(error, again). */
  constructor(on) {
    this.on = on;
  }

  /** A button that does it once at a time; `deed` gives its path, or null if it is not to be. */
  button(textContent, deed, said, properties = {}) {
    const button = made("button", { type: "button", textContent, ...properties });
    button.addEventListener("click", ({ detail }) => {
      // Of a double click the second may meet what has come in its place: Resume, or the next row.
      if (detail < 2) this.#do(button, deed, said);
    });
    return button;
  }

  async #do(button, deed, said) {
    const asked = await deed();
    if (asked === null) return;
    const { path, method = "POST", body } = asked;
    const focused = document.activeElement === button;
    button.disabled = true;
    try {
      await call(path, { method, body: body && JSON.stringify(body) });
      this.on.done(said);
    } catch (error) {
      this.on.failed(error, () => button.click());
    } finally {
      button.disabled = false;
      if (focused && document.activeElement === document.body) button.focus(); // lost while disabled
    }
  }
}

/** Of two buttons in one place the one that is there; it takes the focus that the other has. */
export function swap(there, away) {
  const focused = document.activeElement === away;
  there.hidden = false;
  away.hidden = true;
  if (focused) there.focus();
}
