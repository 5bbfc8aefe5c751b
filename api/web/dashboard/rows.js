// The rows of a table, each there for as long as its key is: focus and selection stay where they are.

import { made } from "./elements.js";

export class Rows {
  #rows = new Map(); // key -> the row, and what tells it something new

  /** `make` gives, for an item, the cells of its row and a function that shows an item in them. */
  constructor(table, { key, make }) {
    Object.assign(this, { body: table.tBodies[0], key, make });
  }

  show(items) {
    const keys = new Set(items.map(this.key));
    for (const [key, { row }] of this.#rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    items.forEach((item, n) => {
      const { row, tell } = this.#row(item);
      tell(item);
      if (this.body.rows[n] !== row) this.body.insertBefore(row, this.body.rows[n] ?? null);
    });
  }

  /** Make all of them anew. */
  forget() {
    this.#rows.clear();
    this.body.replaceChildren();
  }

  #row(item) {
    const key = this.key(item);
    if (!this.#rows.has(key)) {
      const { cells, tell } = this.make(item);
      this.#rows.set(key, { row: made("tr", { role: "row" }, ...cells), tell });
    }
    return this.#rows.get(key);
  }
}
