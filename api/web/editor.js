// The text: a plain textarea. What the page changes in it is one step of the browser's own undo.

export class Editor {
  constructor(area) {
    this.area = area;
    this.ours = false;
  }

  get text() {
    return this.area.value;
  }

  /** Up to the caret, and behind it; a selection is behind it, and is kept. */
  get parts() {
    const at = this.area.selectionEnd;
    return [this.text.slice(0, at), this.text.slice(at)];
  }

  /** On a touch screen the focus would bring the keyboard up, over the suggestions. */
  focus() {
    if (!matchMedia("(pointer: coarse)").matches) this.area.focus();
  }

  insert(text, at) {
    const wrote = document.activeElement === this.area;
    this.area.focus();
    this.area.setSelectionRange(at, at);
    this.#edit("insertText", text);
    if (!wrote) {
      this.area.blur();
      this.focus();
    }
  }

  replace(text, caret) {
    this.area.focus();
    if (text === this.text) return this.area.setSelectionRange(caret, caret);
    this.area.select();
    this.#edit(text ? "insertText" : "delete", text);
    return this.area.setSelectionRange(caret, caret);
  }

  undo() {
    this.area.focus();
    document.execCommand("undo");
  }

  redo() {
    this.area.focus();
    document.execCommand("redo");
  }

  /** execCommand is the only way into the browser's history; where it is gone, undo is lost. */
  #edit(command, text) {
    this.ours = true;
    if (!document.execCommand(command, false, text)) {
      this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
      this.area.dispatchEvent(new Event("input", { bubbles: true }));
    }
    this.ours = false;
  }
}
