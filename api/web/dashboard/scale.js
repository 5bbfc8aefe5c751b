// Axes: where they end, and where their lines are.

const TOPS = [1, 2, 4, 6, 8, 10];
const MINUTES = [1, 2, 5, 10, 15, 30, 60];
const TIMES_S = [60, 120, 240, 600, 1200, 3600, 7200, 14_400, 43_200, 86_400];

/** The least round number that holds all of them. */
export function topOf(values) {
  const most = Math.max(...values, 0);
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * TOPS.find((top) => top * power >= most * 0.9999);
}

/** The same for seconds, which from a minute on are round as minutes, hours and days. */
export function timeTopOf(values) {
  const most = Math.max(...values);
  if (most <= 40) return topOf(values);
  return TIMES_S.find((top) => top >= most) ?? 86_400 * topOf([most / 86_400]);
}

/** The bottom, the middle, the top; of whole numbers only those that are. */
export function levels(top, whole) {
  return [0, top / 2, top].filter((level) => !whole || Number.isInteger(level));
}

/** Round times of day between two moments, so many at most. */
export function moments(begin, end, most) {
  const step = 60_000 * MINUTES.find((minutes) => (end - begin) / (60_000 * minutes) <= most);
  const all = [];
  for (let t = Math.ceil(begin / step) * step; t <= end; t += step) all.push(t);
  return all;
}
