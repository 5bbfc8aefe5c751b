// Requests to this service: with the API key, with errors as `Problem`.

const KEY = "distilq.key";

/** An answer that is an error: RFC 9457, as the service writes it. */
export class Problem extends Error {
  constructor(status, body, retryAfterS) {
    super(body.title ?? `The service answered ${status}`);
    Object.assign(this, { status, body, retryAfterS });
  }
}

/** Kept until the tab is closed; where the browser keeps nothing, until the page is. */
export const key = {
  get: () => held,
  set: (value) => {
    held = value;
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // only not kept
    }
  },
  forget: () => key.set(null),
};

let held = stored();

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** Raises Problem, and what fetch raises: TypeError without a connection, AbortError. */
export async function call(path, { body, headers = {}, ...options } = {}) {
  const sent = { ...headers };
  if (key.get()) sent.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const response = await fetch(path, { cache: "no-store", ...options, headers: sent, body });
  if (!response.ok) throw await problemOf(response);
  return response;
}

export const get = async (path) => (await call(path)).json();

async function problemOf(response) {
  const after = Number(response.headers.get("Retry-After"));
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body, after > 0 ? after : null);
}

/** A UUID would need a secure context. */
export function token() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Do it until there is an answer that does not pass by itself. Before each pause, tell `lost`. */
export async function persist(deed, { signal, lost = () => {}, tries = Infinity } = {}) {
  for (let pauseS = 0.5, n = 1; ; pauseS = Math.min(2 * pauseS, 8), n += 1) {
    try {
      return await deed();
    } catch (error) {
      const passes = error instanceof TypeError || [502, 504].includes(error.status);
      if (!passes || n >= tries || signal?.aborted) throw error;
      lost();
      await pause(pauseS, signal);
    }
  }
}
