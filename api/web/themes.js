// The button for the theme: the system's, light, dark.

const KEPT = "distilq.theme";
const NEXT = { "": "light", light: "dark", dark: "" };
const NAMES = { "": "Theme: as your system", light: "Theme: light", dark: "Theme: dark" };
const SIGNS = { "": "◐", light: "○", dark: "●" };

export function themes(button) {
  const root = document.documentElement.dataset;
  const show = () => {
    const theme = root.theme ?? "";
    button.textContent = SIGNS[theme];
    button.title = NAMES[theme];
    button.setAttribute("aria-label", NAMES[theme]);
  };
  button.addEventListener("click", () => {
    const theme = NEXT[root.theme ?? ""];
    if (theme) root.theme = theme;
    else delete root.theme;
    try {
      localStorage.setItem(KEPT, theme);
    } catch {
      // only not kept
    }
    show();
  });
  show();
}
