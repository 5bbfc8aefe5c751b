// What went wrong, in plain words, and when to try again.

const LABELS = {
  inputs: "your text", temperature: "Temperature", top_k: "Top-k", top_p: "Top-p",
  max_new_tokens: "Length", seed: "Seed",
};
const NO_CONNECTION = "The service cannot be reached. Your text is safe here.";

/** The fields that a problem names, each with what is wrong. */
export function fieldsOf(error) {
  const named = (error.body?.errors ?? []).map((each) => [nameOf(each), each.detail]);
  return Object.fromEntries(named.filter(([name]) => name));
}

const nameOf = ({ pointer, parameter, header }) =>
  pointer?.split("/").at(-1) ?? parameter ?? header;

export function wordsOf(error, away = NO_CONNECTION) {
  if (error instanceof TypeError) return away;
  const { detail } = error.body ?? {};
  const wrong = Object.entries(fieldsOf(error)).map(([n, what]) => `${LABELS[n] ?? n} ${what}`);
  const more = wrong.length ? wrong.join("; ") : detail;
  return `${error.message}${more ? `: ${more}` : ""}.`;
}

export class Notice {
  #timer = null;

  constructor(box, away) {
    this.box = box;
    this.away = away;
    this.words = box.querySelector("p");
    this.button = box.querySelector("button");
    this.button.addEventListener("click", () => {
      this.hide();
      this.does?.();
    });
  }

  hide() {
    clearInterval(this.#timer);
    this.box.hidden = true;
  }

  /** `again` is offered where it may help, once the seconds that the service asks for are over. */
  show(error, again) {
    this.hide();
    const helps = error instanceof TypeError || error.body?.retryable || error.retryAfterS;
    this.does = helps ? again : null;
    this.words.textContent = wordsOf(error, this.away);
    this.box.hidden = false;
    if (helps) this.#countDown(Math.ceil(error.retryAfterS ?? 0));
    else this.button.textContent = "Close";
  }

  #countDown(seconds) {
    let left = seconds;
    const tick = () => {
      this.button.disabled = left > 0;
      this.button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
      if (left <= 0) clearInterval(this.#timer);
      left -= 1;
    };
    this.#timer = setInterval(tick, 1000);
    tick();
  }
}
