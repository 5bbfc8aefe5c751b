// A job's server-sent events. EventSource cannot send an API key, so they are read from fetch.

import { call, pause, persist } from "./api.js";

/** The events of a body that ends lines with \n, as this service writes them. */
export async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parsed(block);
      if (event.data !== undefined) yield event;
    }
  }
}

function parsed(block) {
  const fields = block.split("\n").map((line) => /^(\w*): ?(.*)$/.exec(line) ?? []);
  const event = Object.fromEntries(fields.map(([, name, value]) => [name, value]));
  return { ...event, data: event.data && JSON.parse(event.data) };
}

/**
 * Every event of a job up to its end, once, however often the connection breaks.
 * `lost` is told before each new try. Raises Problem, AbortError.
 */
export async function* follow(path, { signal, lost }) {
  let lastId = "";
  for (;;) {
    const response = await opened(path, lastId, signal, lost);
    if (response.status === 204) return;
    try {
      for await (const message of messages(response.body)) {
        lastId = message.id ?? lastId;
        yield message;
      }
      if (lastId === "end") return;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    lost();
    await pause(0.5, signal);
  }
}

async function opened(path, lastId, signal, lost) {
  const headers = lastId ? { "Last-Event-ID": lastId } : {};
  for (;;) {
    try {
      return await persist(() => call(path, { headers, signal }), { signal, lost });
    } catch (error) {
      if (error.status !== 503) throw error;
      lost(); // too many follow, or Redis is away: the job goes on meanwhile
      await pause(error.retryAfterS ?? 2, signal);
    }
  }
}
