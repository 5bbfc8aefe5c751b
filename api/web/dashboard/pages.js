// A list of which a page is shown at a time, the newest first.

export class Pages {
  #cursor = null; // of the page that is shown; null: the newest
  #next = null;
  #asked = 0;

  /** `ask(query)` gives {entries, next}, which `show` gets; `failed(error, again)` if turning did. */
  constructor({ newest, older }, { size, ask, show, failed }) {
    Object.assign(this, { newest, older, size, ask, show, failed });
    newest.addEventListener("click", () => this.turn());
    older.addEventListener("click", () => this.turn(this.#next));
  }

  /** Whether there is no other page. */
  get alone() {
    return this.#cursor === null && this.#next === null;
  }

  /** Look again; the answer that was asked for last is shown. Raises Problem. */
  async look() {
    this.#asked += 1;
    const asked = this.#asked;
    const query = new URLSearchParams({ limit: this.size });
    if (this.#cursor) query.set("cursor", this.#cursor);
    const page = await this.ask(query);
    if (asked !== this.#asked) return;
    this.#next = page.next;
    if (this.#cursor && !page.entries.length) return this.turn(); // what was on it is gone
    this.newest.disabled = this.#cursor === null;
    this.older.disabled = this.#next === null;
    this.show(page);
  }

  /** To the page of a cursor, or back to the newest. */
  async turn(cursor = null) {
    this.#cursor = cursor;
    try {
      await this.look();
    } catch (error) {
      this.failed(error, () => this.turn(cursor));
    }
  }
}
