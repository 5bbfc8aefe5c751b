// The tree of suggestions as a list to return by.

import { textOf } from "./pieces.js";

const SHOWN_CHARS = 60;

export function branches(tree, back) {
  const roots = tree.nodes.filter((node) => node.parent === null);
  if (!roots.length) return [line("li", "None yet.", "soft")];
  return roots.map((node) => item(tree, node, back));
}

function item(tree, node, back) {
  const li = document.createElement("li");
  li.append(line("p", ending(node.text) || "From nothing", "place"));
  node.pieces.forEach((pieces, index) => {
    const text = textOf(pieces).trim();
    if (text) li.append(way(node, index, text, back));
  });
  const children = tree.children(node.id).map((child) => item(tree, child, back));
  if (children.length) {
    const list = document.createElement("ol");
    list.append(...children);
    li.append(list);
  }
  return li;
}

function way(node, index, text, back) {
  const button = line("button", text, "way");
  button.type = "button";
  if (node.taken.some((each) => each.index === index)) {
    button.classList.add("taken");
    button.append(line("span", " (taken)", "unseen"));
  }
  button.addEventListener("click", () => back(node, index));
  return button;
}

function ending(text) {
  const flat = text.replace(/\s+/g, " ").trim();
  return flat.length > SHOWN_CHARS ? `… ${flat.slice(-SHOWN_CHARS).replace(/^\S* /, "")}` : flat;
}

function line(tag, text, name) {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}
