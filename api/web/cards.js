// The three continuations, side by side.

import { percent, surprise, textOf } from "./pieces.js";

const MOST_SAID = 200;

export class Cards {
  chosen = 0;
  #cards = [];

  /** `on` has choose(index), by pointer, and take(index). */
  constructor(list, template, on) {
    Object.assign(this, { list, template, on });
  }

  get open() {
    return this.#cards.length > 0;
  }

  /** Lay them out with the pieces that there are. */
  show(continuations) {
    this.#cards = continuations.map((pieces, index) => this.#made(pieces, index));
    this.list.replaceChildren(...this.#cards);
    this.list.parentElement.hidden = false;
    this.choose(0);
  }

  close() {
    this.#cards = [];
    this.list.replaceChildren();
    this.list.parentElement.hidden = true;
  }

  choose(index) {
    this.chosen = (index + this.#cards.length) % this.#cards.length;
    this.#cards.forEach((card, n) => {
      if (n === this.chosen) card.setAttribute("aria-current", "true");
      else card.removeAttribute("aria-current");
    });
    this.#cards[this.chosen].scrollIntoView({ block: "nearest" });
  }

  add(index, piece) {
    this.#cards[index].querySelector(".words").append(...word(piece));
  }

  /** It will get no more; `reason` is why. */
  finish(index, reason) {
    this.#cards[index].dataset.end = reason;
    const odds = this.#cards[index].querySelector(".odds");
    if (reason === "eos_token") odds.dataset.idle = "the text ends here";
  }

  busy(yes) {
    this.list.classList.toggle("busy", yes);
  }

  said(index, pieces) {
    const text = textOf(pieces);
    return `Suggestion ${index + 1} of ${this.#cards.length}: ${text.slice(0, MOST_SAID)}`;
  }

  #made(pieces, index) {
    const card = this.template.content.firstElementChild.cloneNode(true);
    const words = card.querySelector(".words");
    words.setAttribute("aria-label", `Suggestion ${index + 1}; arrows go through its tokens`);
    words.append(...pieces.flatMap(word));
    const take = card.querySelector(".take");
    take.setAttribute("aria-label", `Take suggestion ${index + 1}`);
    take.addEventListener("click", () => this.on.take(index));
    card.addEventListener("click", (event) => {
      if (event.target !== take) this.on.choose(index);
    });
    tellOdds(words, card.querySelector(".odds"));
    return card;
  }
}

/** A token's blanks stand before it: they are not underlined. */
function word([text, logprob]) {
  const [, blanks, rest] = /^(\s*)(.*)$/s.exec(text);
  const span = document.createElement("span");
  span.textContent = rest;
  span.title = `${shown(text)} ${percent(logprob)}`;
  span.dataset.surprise = surprise(logprob);
  return [blanks, span];
}

/** Say how likely the token under the pointer, or the one that the arrows are at, was. */
function tellOdds(words, output) {
  let at = null;
  const tell = (span) => {
    at?.classList.remove("at");
    at = span;
    at?.classList.add("at");
    output.textContent = at?.title ?? "";
  };
  words.addEventListener("pointerover", ({ target }) => tell(target.closest(".words > span")));
  words.addEventListener("pointerleave", () => tell(null));
  words.addEventListener("blur", () => tell(null));
  words.addEventListener("keydown", (event) => {
    const next = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    if (!next) return;
    event.preventDefault();
    tell(at ? (at[next] ?? at) : words.firstElementChild);
  });
}

const shown = (text) => `“${text.replaceAll("\n", "⏎").trim() || "␣"}”`;
