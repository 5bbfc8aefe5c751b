// Before the first paint: the theme that was chosen here, else the system's.
try {
  const chosen = localStorage.getItem("distilq.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // storage is off: the system's
}
