// What happened to a job, in order, with the time between.

import { made } from "./elements.js";
import { span, timeOf } from "./figures.js";

const NAMES = {
  accepted: "Accepted, and queued",
  claimed: "Claimed",
  first_token: "First token",
  lost: "Its worker was lost",
};

export function timeline(events) {
  return events.map((event, n) => {
    const before = events[n - 1];
    const passedS = before ? (Date.parse(event.at) - Date.parse(before.at)) / 1000 : null;
    const worker = event.worker && `worker ${event.worker.slice(0, 8)}`;
    const who = [worker, event.attempt && `attempt ${event.attempt}`];
    return made(
      "li", { data: { event: event.event }, title: event.worker ?? "" },
      made("time", { dateTime: event.at, textContent: timeOf(event.at) }),
      made("span", {}, made("b", { textContent: nameOf(event.event) }),
        made("small", { textContent: [...who, event.detail].filter(Boolean).join(", ") })),
      made("span", { className: "passed", textContent: passedS === null ? "" : `+${span(passedS)}` }),
    );
  });
}

const nameOf = (event) => NAMES[event] ?? event[0].toUpperCase() + event.slice(1).replaceAll("_", " ");

/** Where its time went, as one bar: waiting, reading the prompt, writing. */
export function partsOf({ metrics }) {
  const { queue_ms: queued, time_to_first_token_ms: first, run_ms: ran } = metrics;
  if (queued === null || ran === null) return [];
  const reading = first === null ? 0 : Math.max(0, first - queued);
  const parts = [["Queue", queued], ["First token", reading], ["Writing", Math.max(0, ran - reading)]];
  return parts.filter(([, ms]) => ms > 0).map(([name, ms]) => {
    const part = made("span", { title: `${name}: ${span(ms / 1000)}`, data: { part: name } });
    part.append(made("b", { textContent: name }), ` ${span(ms / 1000)}`);
    part.style.flexGrow = ms;
    return part;
  });
}
