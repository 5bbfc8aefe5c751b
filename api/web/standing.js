// Where a job stands, in words.

import { get } from "./api.js";

export async function standing({ status, position, eta_s: eta, restarted }) {
  if (restarted) return "A worker died: from the beginning …";
  if (status !== "queued") return "Writing …";
  const place = position ? `, number ${position}` : "";
  return `Queued${place}${(await hindrance()) || (eta ? `, about ${time(eta)}` : "")}`;
}

/** Why it will take longer than anybody knows; "" if it will not. */
async function hindrance() {
  try {
    const queue = await get("v1/queue");
    if (queue.workers === 0) return ": no worker is running";
    return queue.paused.includes("interactive") ? ": the queue is paused" : "";
  } catch {
    return "";
  }
}

const time = (s) => (s < 90 ? `${Math.max(1, Math.ceil(s))} s` : `${Math.ceil(s / 60)} min`);
