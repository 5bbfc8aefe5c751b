// What happens between the text and the suggestions: ask, choose, take, stop, go back.

import { Asking } from "./asking.js";
import { Pieces, textOf } from "./pieces.js";
import { fitting, requestOf, SEQUENCES } from "./request.js";

export class Writing {
  #node = null; // whose continuations are shown
  #asking = null;

  /** `tell` has state(words), said(words), failed(error), changed(). */
  constructor(parts) {
    Object.assign(this, parts);
  }

  get running() {
    return this.#asking !== null && !this.#asking.over;
  }

  /** The request that is shown, else the one that would be made now. */
  get request() {
    const { text, parameters } = this.#node ?? {
      text: this.editor.parts[0],
      parameters: this.settings.parameters,
    };
    return requestOf(text, parameters);
  }

  /** Ask for three continuations at the caret; while there are some, for others. */
  async ask() {
    if (!this.settings.valid) return this.settings.complain();
    this.close();
    const [text, rest] = this.editor.parts;
    const parameters = this.settings.draw();
    const asking = new Asking(requestOf(text, parameters), this.#listener());
    this.#node = { text, rest, parameters, pieces: [] };
    this.#asking = asking;
    this.#begin();
    this.tell.state("Asking …");
    this.tell.changed();
    try {
      await asking.run();
      if (this.#asking === asking && this.#pieces.every((each) => each.end)) this.#done();
    } catch (error) {
      if (this.#asking === asking) this.#fail(error);
    }
    return this.tell.changed();
  }

  choose(step) {
    this.chooseAt(this.cards.chosen + step);
  }

  chooseAt(index) {
    this.cards.choose(index);
    this.tell.said(this.cards.said(this.cards.chosen, this.#node.pieces[this.cards.chosen]));
  }

  /** Put what there is of a continuation into the text; a job that still runs is canceled. */
  take(index = this.cards.chosen) {
    const node = this.#node;
    const text = fitting(node.text, textOf(node.pieces[index]));
    if (!text) return this.tell.said("There is nothing to take yet.");
    if (!node.taken.some((way) => way.index === index)) node.taken.push({ index, text });
    this.close();
    this.editor.insert(text, node.text.length);
    this.tell.said("Taken.");
    return this.tell.changed();
  }

  /** End what runs; what has come stays. Else put the suggestions away. Whether there were any. */
  escape() {
    if (!this.cards.open) return false;
    if (!this.running) this.close();
    else if (textOf(this.#node.pieces.flat())) this.stop();
    else this.close();
    return true;
  }

  stop(options) {
    if (this.running) {
      this.#asking.cancel(options).catch((error) => this.tell.failed(error));
      this.tell.said("Stopped.");
    }
    this.#asking = null;
    this.cards.busy(false);
    this.tell.state("");
    this.tell.changed();
  }

  close() {
    this.stop();
    this.cards.close();
    this.#node = null;
    this.tell.changed();
  }

  /** Stand again where a set of suggestions was made. */
  goBack(node, index) {
    this.close();
    this.editor.replace(node.text + node.rest, node.text.length);
    this.#node = node;
    this.cards.show(node.pieces);
    this.chooseAt(index);
    this.tell.changed();
  }

  #pieces = [];

  #begin() {
    this.#pieces = Array.from({ length: SEQUENCES }, () => new Pieces());
    this.#node.pieces = this.#pieces.map((each) => each.list);
    this.cards.show(this.#node.pieces);
    this.cards.busy(true);
  }

  #listener() {
    return {
      status: (status) => this.tell.status(status),
      lost: () => this.tell.state("No connection; trying again …"),
      restarted: () => {
        const { chosen } = this.cards;
        this.#begin();
        this.cards.choose(chosen);
      },
      token: (token) => this.#add(token),
    };
  }

  #add(token) {
    if (!this.#node.id) this.#node = this.tree.add(this.#node);
    const pieces = this.#pieces[token.sequence];
    const piece = pieces.add(token);
    if (piece) this.cards.add(token.sequence, piece);
    if (pieces.end) this.cards.finish(token.sequence, pieces.end);
  }

  #done() {
    this.#asking = null;
    this.cards.busy(false);
    this.tell.state("");
    const first = this.cards.said(this.cards.chosen, this.#node.pieces[this.cards.chosen]);
    this.tell.said(`Three suggestions. ${first}`);
  }

  #fail(error) {
    if (textOf(this.#node.pieces.flat())) this.stop();
    else this.close();
    this.tell.failed(error);
  }
}
