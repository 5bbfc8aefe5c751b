// The text and the settings -> the body of POST /v1/jobs.

export const SEQUENCES = 3;

/**
 * More than the model reads: DistilGPT2 has 1,024 positions, and a token of prose four characters.
 */
const MOST_CHARS = 8192;

/** What is sent of the text: no blanks at its end, as tokens begin with theirs. */
export function promptOf(text) {
  const trimmed = text.replace(/[ \t]+$/, "");
  const cut = trimmed.slice(-MOST_CHARS);
  return cut.length < trimmed.length ? cut.replace(/^[\uDC00-\uDFFF]/, "") : cut;
}

/** A continuation as it follows the text: without the blank that is there already. */
export function fitting(text, continuation) {
  return /[ \t]$/.test(text) ? continuation.replace(/^ /, "") : continuation;
}

export function requestOf(text, parameters) {
  return {
    inputs: promptOf(text),
    parameters: {
      ...parameters,
      num_return_sequences: SEQUENCES,
      return_full_text: false,
      truncation: true,
      logprobs: 0,
    },
    priority: "interactive",
    stream: true,
    result_ttl_s: 3600,
  };
}
