// Tokens -> pieces of text that can be shown, each with its probability.

/**
 * A token's text may be empty: part of a character, say. It is counted with the next that shows
 * something, as probabilities of a sequence multiply.
 */
export class Pieces {
  #held = 0;
  list = [];
  end = null;

  /** The new piece as [text, log-probability], or null. */
  add({ text, logprob, finish_reason: reason }) {
    this.#held += logprob?.logprob ?? 0;
    this.end = reason ?? null;
    if (!text) return null;
    const piece = [text, Math.round(this.#held * 1e4) / 1e4];
    this.#held = 0;
    this.list.push(piece);
    return piece;
  }
}

export const textOf = (pieces) => pieces.map(([text]) => text).join("");

export function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  if (share < 0.01) return "below 0.01 %";
  return `${share.toPrecision(share < 9.95 ? 2 : 3).replace(/\.0+$/, "")} %`;
}

/** From 0, likely, to 3. */
export function surprise(logprob) {
  return [0.2, 0.05, 0.01].filter((bound) => Math.exp(logprob) < bound).length;
}
