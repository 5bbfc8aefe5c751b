// Every set of suggestions, as a tree, and the text; kept in this browser.

const DRAFT = "distilq.draft";
const MOST = 60;

/**
 * A node: what it continues (`text` up to the place, `rest` behind it), its `request`, and per
 * continuation its pieces, and which were `taken`. `parent` is the node that led to its text.
 */
export class Tree {
  nodes = [];

  add(node) {
    const id = 1 + Math.max(0, ...this.nodes.map((each) => each.id));
    const made = { taken: [], ...node, id, parent: this.#leadingTo(node.text)?.id ?? null };
    this.nodes.push(made);
    this.#prune();
    return made;
  }

  children(id) {
    return this.nodes.filter((node) => node.parent === id);
  }

  #leadingTo(text) {
    const leads = (node) => node.taken.some((way) => text.startsWith(node.text + way.text));
    return this.nodes.findLast(leads);
  }

  /** The oldest go; their children stay, as children of what is above them. */
  #prune() {
    while (this.nodes.length > MOST) {
      const gone = this.nodes.shift();
      for (const node of this.children(gone.id)) node.parent = gone.parent;
    }
  }
}

/**
 * Each tab has a draft of its own; a new tab begins with the one that was written last. What
 * cannot be kept (storage is off, or full) is only not kept.
 */
export const draft = {
  load() {
    for (const storage of ["sessionStorage", "localStorage"]) {
      try {
        const found = JSON.parse(window[storage].getItem(DRAFT));
        if (found?.nodes) return found;
      } catch {
        // the next
      }
    }
    return { text: "", nodes: [] };
  },
  save(text, nodes) {
    for (const storage of ["sessionStorage", "localStorage"]) {
      try {
        window[storage].setItem(DRAFT, JSON.stringify({ text, nodes }));
      } catch {
        // the next
      }
    }
  },
};
