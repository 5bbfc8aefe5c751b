// The dashboard: its parts, and what tells them something new.

import { get, key } from "../api.js";
import { Notice, wordsOf } from "../notice.js";
import { SignIn } from "../signin.js";
import { themes } from "../themes.js";
import { Charts } from "./charts.js";
import { Confirm } from "./confirm.js";
import { Dead } from "./dead.js";
import { Deeds } from "./deeds.js";
import { write } from "./elements.js";
import { Hour } from "./hour.js";
import { JobDrawer } from "./job.js";
import { Jobs } from "./jobs.js";
import { Latency } from "./latency.js";
import { Live } from "./live.js";
import { Me } from "./me.js";
import { Queue } from "./queue.js";
import { Warnings } from "./warnings.js";
import { Workers } from "./workers.js";

const AGES_MS = 1000;
const JOBS_MS = 3000;
const LATENCY_MS = 15_000;
const AWAY = "The service cannot be reached.";
const $ = (id) => document.getElementById(id);

const hour = new Hour();
const since = (at) => hour.since(at);
const words = (error) => wordsOf(error, AWAY);
const say = (said) => write($("said"), said);
let snapshot = null;
let dead = null; // how many there are

const notice = new Notice($("notice"), AWAY);
const signIn = new SignIn($("sign-in"), { input: $("key"), wrong: $("key-wrong") });
const confirm = new Confirm($("confirm"));
const me = new Me({ button: $("me"), list: $("who-facts"), page: $("page") });
const deeds = new Deeds({
  done: (said) => {
    say(said);
    look();
  },
  failed,
});

const charts = new Charts($("charts"), say);
const latency = new Latency($("latency"));
const queue = new Queue({ table: $("queue"), total: $("drain") }, { deeds, confirm, me });
const workers = new Workers({ table: $("workers"), none: $("no-workers") }, { deeds, me, since });
const warnings = new Warnings($("warnings"));
const job = new JobDrawer(
  {
    dialog: $("job"), name: $("job-id"), parts: $("job-parts"), events: $("timeline"), facts: $("job-facts"),
    wrong: $("job-wrong"), cancel: $("cancel-job"), prompt: $("show-prompt"), text: $("prompt"),
  },
  { words, on: { changed: look, refused: failed } },
);
const jobs = new Jobs(
  { table: $("jobs"), status: $("status"), newest: $("newest"), older: $("older"), none: $("no-jobs") },
  { since, on: { open: (id) => job.open(id), failed } },
);
const graves = new Dead(
  {
    table: $("dead"), none: $("no-dead"), newest: $("newest-dead"), older: $("older-dead"),
    title: $("dead-title"),
  },
  { deeds, confirm, since, on: { failed } },
);
const live = new Live({ event, lost: () => connection("lost"), refused: failed });

function failed(error, again = begin) {
  if (error.status !== 401) return notice.show(error, again);
  live.stop();
  connection("locked");
  return signIn.open(begin);
}

/** With whatever key there is. */
async function begin() {
  notice.hide();
  try {
    if (await me.look()) for (const { rows } of [queue, workers]) rows.forget();
  } catch (error) {
    return failed(error);
  }
  look();
  return live.start();
}

/** At what no event tells of. The stream says it if there is no answer. */
function look() {
  quietly(() => jobs.look());
  if (me.admin) quietly(() => graves.look());
}

async function quietly(does) {
  try {
    await does();
  } catch (error) {
    if (error.status === 401) failed(error);
  }
}

const HEARD = {
  history: (stats) => {
    hour.load(stats);
    latency.show(stats.latency);
    if (snapshot) show({ redraw: true });
  },
  snapshot: ({ point, ...now }) => {
    const redraw = hour.add(point) || !snapshot;
    snapshot = now;
    if (now.dead !== dead && me.admin) quietly(() => graves.look());
    dead = now.dead;
    show({ redraw });
  },
};

function event(name, data) {
  connection(name === "problem" ? "problem" : "live");
  HEARD[name]?.(data);
}

function show({ redraw }) {
  charts.show(hour, snapshot, { redraw });
  queue.show(snapshot.queue);
  workers.show(snapshot.workers);
  warnings.look(snapshot);
  write($("model"), snapshot.queue.model);
}

const STATES = { live: "Live", lost: "No connection", problem: "Queue away", locked: "Signed out" };
function connection(state) {
  write($("live"), STATES[state]);
  $("live").dataset.state = state;
  $("page").classList.toggle("old", state !== "live");
  warnings.connection(state);
}

/** Again and again, while the page is seen and the service answers. */
function every(ms, does) {
  setInterval(() => !document.hidden && $("live").dataset.state === "live" && quietly(does), ms);
}
every(AGES_MS, () => snapshot && workers.show(snapshot.workers));
every(JOBS_MS, () => jobs.look());
every(LATENCY_MS, async () => latency.show((await get("v1/stats")).latency));

$("sign-out").addEventListener("click", () => {
  key.forget();
  location.reload();
});
$("sign-in").addEventListener("close", () => {
  const asks = { message: "This service asks for an API key", body: { retryable: true } };
  if (!key.get()) notice.show(asks, begin);
});
themes($("theme"));
begin();
