// Plots: lines over time.

import { draw, make } from "./elements.js";
import { inNumber } from "./formats.js";

const WIDTH = 480;
const HEIGHT = 150;
const LEFT = 46;
const BOTTOM = 20;
const TOP = 8;

/**
 * Make a plot of `lines`, each with a `name`, a `kind` and `values`: a number or null for each
 * step from `first` on, in seconds since the epoch.
 */
export function plot(title, { first, step, lines, format = inNumber }) {
  const count = lines[0].values.length;
  const most = Math.max(...lines.flatMap((line) => line.values.map((value) => value ?? 0)));
  const top = niceTop(most);
  const x = (index) => LEFT + ((WIDTH - LEFT - 4) * index) / Math.max(1, count - 1);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const at = y(share * top);
    parts.push(draw("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: at, y2: at }));
    parts.push(
      draw("text", { class: "axis", x: LEFT - 6, y: at + 4, "text-anchor": "end" }, format(share * top)),
    );
  }
  for (const share of [0, 0.5, 1]) {
    const index = Math.round(share * (count - 1));
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    const text = timeText(first + index * step, step * count);
    parts.push(draw("text", { class: "axis", x: x(index), y: HEIGHT - 4, "text-anchor": anchor }, text));
  }
  lines.forEach((line, place) => {
    const path = pathOf(line.values, x, y);
    if (place === 0 && path && !line.values.includes(null))
      parts.push(draw("path", { class: "area", d: `${path}L${x(count - 1)},${y(0)}L${x(0)},${y(0)}Z` }));
    parts.push(draw("path", { class: `line ${line.kind ?? ""}`, d: path }));
  });
  const last = lines
    .map((line) => `${line.name} ${format(line.values.findLast((value) => value !== null) ?? 0)}`)
    .join(", ");
  const picture = draw(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": `${title}: now ${last}; at most ${format(most)}`,
    },
    ...parts,
  );
  const legend = make(
    "div",
    { class: "legend" },
    lines.map((line) => make("span", { class: line.kind ?? "" }, line.name)),
  );
  return make("div", { class: "plot body" }, picture, lines.length > 1 ? legend : null);
}

function pathOf(values, x, y) {
  let path = "";
  let isOpen = false;
  values.forEach((value, index) => {
    if (value === null) {
      isOpen = false;
      return;
    }
    const point = `${x(index).toFixed(1)},${y(value).toFixed(1)}`;
    // A step alone would be no line.
    path += isOpen ? `L${point}` : `M${point}h0.5`;
    isOpen = true;
  });
  return path;
}

function niceTop(most) {
  if (!(most > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].map((each) => each * size).find((each) => each >= most);
}

function timeText(seconds, whole) {
  const date = new Date(seconds * 1000);
  return whole > 90_000
    ? date.toLocaleDateString(undefined, { month: "short", day: "numeric" })
    : date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}
