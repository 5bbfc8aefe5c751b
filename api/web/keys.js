// The keys in the text. Tab and Esc, then arrows and Enter while there are suggestions.

const ARROWS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

/** `does` has ask, escape (true if there was something to end), open, choose, take, leave. */
export function listen(area, does) {
  let leaving = false; // Esc with nothing to end lets the next Tab leave
  const forget = () => (leaving = false);
  area.addEventListener("blur", forget);
  area.addEventListener("input", forget);
  area.addEventListener("pointerdown", forget);
  area.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const plain = () => {
      if (event.key === "Tab") return leaving ? "native" : does.ask();
      if (event.key === "Escape") return escape();
      if (!does.open()) return "native";
      if (event.key in ARROWS) return does.choose(ARROWS[event.key]);
      return event.key === "Enter" ? does.take() : "native";
    };
    if (plain() !== "native") event.preventDefault();
  });

  function escape() {
    leaving = !does.escape();
    if (leaving) does.leave();
  }
}
