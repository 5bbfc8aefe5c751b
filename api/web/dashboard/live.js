// The service as it stands, from its server-sent events, while somebody looks.

import { call, pause } from "../api.js";
import { messages } from "../stream.js";

const PAUSE_S = { least: 0.5, most: 15 };
// Something comes every 5 s at least; twice as long without is a connection that hangs.
const SILENCE_MS = 12_000;

export class Live {
  #stopped = null;

  /** `on` has event(name, data), lost(), refused(error); the last ends it. */
  constructor(on) {
    this.on = on;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#stopped?.abort();
      else if (this.#stopped?.signal.aborted) this.start();
    });
  }

  async start() {
    this.stop();
    const { signal } = (this.#stopped = new AbortController());
    try {
      for await (const { event, data } of everConnected(signal, this.on.lost)) {
        if (signal.aborted) return;
        this.on.event(event, data);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (![401, 403].includes(error.status)) throw error;
      this.#stopped = null;
      this.on.refused(error);
    }
  }

  stop() {
    this.#stopped?.abort();
    this.#stopped = null;
  }
}

/** Every message, over as many connections as it takes. Raises Problem where waiting is no help. */
async function* everConnected(signal, lost) {
  for (let pauseS = PAUSE_S.least; ; pauseS = Math.min(2 * pauseS, PAUSE_S.most)) {
    let waitS = pauseS;
    try {
      for await (const message of connected(signal)) {
        pauseS = PAUSE_S.least;
        yield message;
      }
    } catch (error) {
      if (signal.aborted || [401, 403].includes(error.status)) throw error;
      waitS = error.retryAfterS ?? pauseS;
    }
    lost();
    await pause(waitS, signal);
  }
}

async function* connected(signal) {
  const silent = new AbortController();
  let timer = null;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(), SILENCE_MS);
  };
  try {
    heard();
    const both = AbortSignal.any([signal, silent.signal]);
    const response = await call("v1/stats/events", { signal: both });
    for await (const message of messages(response.body)) {
      heard();
      yield message;
    }
  } finally {
    clearTimeout(timer);
  }
}
