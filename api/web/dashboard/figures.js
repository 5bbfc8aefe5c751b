// Numbers as they are shown, with their units.

export const NONE = "–";
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const EXACT_BELOW = 100_000;

export function count(n) {
  return n < EXACT_BELOW ? whole.format(Math.round(n)) : short.format(n);
}

export function rate(n) {
  if (n >= 100) return count(n);
  const maximumFractionDigits = n < 0.1 ? 3 : n < 10 ? 2 : 1;
  return n.toLocaleString("en", { maximumFractionDigits });
}

/** A span of time; of a second unit only where the first alone would be coarse. */
export function span(s) {
  if (s === null || s === undefined) return NONE;
  if (s < 0.9995) return `${s < 0.00995 ? (1000 * s).toFixed(1) : Math.round(1000 * s)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 89.5) return `${Math.round(s)} s`;
  return long(Math.round(s));
}

function long(s) {
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => s >= size);
  const [[name, size], next] = [units[first], units[first + 1]];
  const [times, rest] = [Math.floor(s / size), Math.floor((s % size) / next[1])];
  return `${times} ${name}${rest && times < 10 ? ` ${rest} ${next[0]}` : ""}`;
}

/** The same in whole seconds, for what is counted up while one looks. */
export function age(s) {
  if (s < 1) return "now";
  return s < 89.5 ? `${Math.round(s)} s` : span(s);
}

export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

const minutes = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const seconds = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });
const dates = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

/** Times of day; they take milliseconds, or what the service writes. */
export const timeOf = (at) => seconds.format(new Date(at));
export const minuteOf = (at) => minutes.format(new Date(at));
export const dateOf = (at) => dates.format(new Date(at));
