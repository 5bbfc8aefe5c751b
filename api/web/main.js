// The page: its parts, and what its buttons do.

import { get, key } from "./api.js";
import { branches } from "./branches.js";
import { Cards } from "./cards.js";
import { Editor } from "./editor.js";
import { listen } from "./keys.js";
import { fieldsOf, Notice } from "./notice.js";
import { Serving } from "./serving.js";
import { Settings } from "./settings.js";
import { SignIn } from "./signin.js";
import { SNIPPETS } from "./snippets.js";
import { standing } from "./standing.js";
import { themes } from "./themes.js";
import { draft, Tree } from "./tree.js";
import { Writing } from "./writing.js";

const SAVE_MS = 400;
const $ = (id) => document.getElementById(id);

const kept = draft.load();
const tree = new Tree();
tree.nodes = kept.nodes;
const editor = new Editor($("text"));
editor.area.value = kept.text;
editor.area.setSelectionRange(kept.text.length, kept.text.length);

const notice = new Notice($("notice"));
const signIn = new SignIn($("sign-in"), { input: $("key"), wrong: $("key-wrong") });
const settings = new Settings($("settings"), shown);
const cards = new Cards($("cards"), $("card"), {
  choose: (index) => {
    writing.chooseAt(index);
    editor.focus();
  },
  take: (index) => writing.take(index),
});
let told = 0; // of the statuses, which may take different times to put into words
const tell = {
  state: (words) => {
    $("chip").textContent = words;
    $("chip").hidden = !words;
  },
  said: (words) => ($("said").textContent = words),
  status: async (status) => {
    told += 1;
    const turn = told;
    const words = await standing(status);
    if (turn === told && writing.running) tell.state(words);
  },
  failed,
  changed,
};
const writing = new Writing({ editor, cards, settings, tree, tell });
const serving = new Serving(
  { title: $("with"), button: $("serving"), loud: $("loud"), list: $("serving-list") },
  (error) => failed(error, () => serving.look()),
);

function failed(error, again = () => writing.ask()) {
  if (error.status === 401) return signIn.open(() => (again(), shown()));
  if (settings.refuse(fieldsOf(error))) settings.complain();
  return notice.show(error, again);
}

function ask() {
  notice.hide();
  editor.focus();
  return writing.ask();
}

let timer = null;
function changed() {
  $("stop").hidden = !writing.running;
  clearTimeout(timer);
  timer = setTimeout(save, SAVE_MS);
}
const save = () => draft.save(editor.text, tree.nodes);

/** What depends on settings, and on the request. */
function shown() {
  $("preset-now").textContent = settings.preset;
  cards.list.classList.toggle("all-odds", settings.odds);
  $("signed-in").hidden = !key.get();
  const language = $("copy").querySelector(":checked").value;
  const root = location.href.replace(/\/[^/]*$/, "");
  $("snippet").textContent = SNIPPETS[language](root, writing.request, Boolean(key.get()), serving.model);
}

listen(editor.area, {
  ask,
  escape: () => writing.escape(),
  open: () => cards.open,
  choose: (step) => writing.choose(step),
  take: () => writing.take(),
  leave: () => tell.said("Tab leaves the text now."),
});
editor.area.addEventListener("input", () => {
  if (!editor.ours && cards.open) writing.close();
  changed();
});
$("cards").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  writing.escape();
  editor.area.focus();
});
addEventListener("pagehide", () => {
  save();
  writing.stop({ keepalive: true }); // what runs for a page that is gone need not
});

const clicks = {
  ask,
  stop: () => writing.stop(),
  undo: () => editor.undo(),
  redo: () => editor.redo(),
  serving: () => $("card-dialog").showModal(),
  "open-card": () => $("card-dialog").showModal(),
  "open-branches": () => {
    $("tree").replaceChildren(...branches(tree, back));
    $("branches").showModal();
  },
  forget: () => {
    writing.close();
    tree.nodes = [];
    save();
    $("tree").replaceChildren(...branches(tree, back));
  },
  "sign-out": () => {
    key.forget();
    $("card-dialog").close();
    serving.look();
  },
  "copy-now": copy,
};
for (const [id, does] of Object.entries(clicks)) $(id).addEventListener("click", () => does());

function back(node, index) {
  $("branches").close();
  writing.goBack(node, index);
}

$("copy").addEventListener("toggle", shown);
$("copy").addEventListener("input", shown);
async function copy() {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
  } catch {
    getSelection().selectAllChildren($("snippet")); // no secure context, or not allowed
    document.execCommand("copy");
  }
  tell.said("Copied.");
  $("copy-now").textContent = "Copied";
  setTimeout(() => ($("copy-now").textContent = "Copy"), 2000);
}

themes($("theme"));
shown();
serving.look();
