// Elements, made of what is given, and changed only where something is new.

/** `data` goes into its data attributes, everything else is set as it is named. */
export function made(tag, { data = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

/** A part of a drawing: of the namespace of what it is drawn into. */
export function drawn(into, tag, attributes = {}) {
  const element = document.createElementNS(into.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  into.append(element);
  return element;
}

export function copyOf(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** A text that stays as it was is left alone: who has selected it keeps the selection. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The cell of a table that becomes cards on a phone, where its heading stands beside it. */
export function cell(heading, className = "", ...children) {
  return made("td", { className, role: "cell", data: { heading } }, ...children);
}

/** Terms with what is known of them; those of which nothing is are left out. */
export function facts(list, pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  list.replaceChildren(
    ...known.map(([name, value]) =>
      made("div", {}, made("dt", { textContent: name }), made("dd", { textContent: value })),
    ),
  );
}
