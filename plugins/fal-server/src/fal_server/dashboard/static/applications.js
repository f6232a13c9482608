// Applications: all of the account, and how each does.

import { badge, heading, make, panel } from "./elements.js";
import { inNumber, inSeconds, inWords, short } from "./formats.js";
import { applications, isTold, watch } from "./live.js";
import { Table } from "./tables.js";

export const STATES = {
  running: "running",
  starting: "starting",
  deploying: "deploying",
  asleep: "scaled to zero",
  errors: "errors",
  broken: "broken",
  failed: "failed",
};

export function linkTo(name) {
  return make("a", { href: `#/applications/${encodeURIComponent(name)}` }, name);
}

export function countRunners(runners) {
  const text = Object.entries(runners).map(([phase, count]) => `${count} ${phase}`);
  return text.join(", ") || "none";
}

export function showApplications(page) {
  const search = make("input", {
    type: "search",
    placeholder: "Search",
    "aria-label": "Search applications",
    on: { input: () => show() },
  });
  const table = new Table(
    "Applications",
    [
      { name: "Name", show: (_, name) => [name, () => linkTo(name)] },
      {
        name: "State",
        show: ({ state, failed_since: since }) => [
          `${state} ${since}`,
          () => badge(state === "failed" ? `failed since ${inWords(since)}` : (STATES[state] ?? state), state),
        ],
      },
      { name: "Revision", show: ({ revision }) => [revision, () => make("code", {}, short(revision))] },
      { name: "Runners", show: ({ runners }) => countRunners(runners) },
      { name: "Requests/s", number: true, show: ({ per_second: rate }) => inNumber(rate) },
      { name: "p50", number: true, show: ({ median }) => inSeconds(median) },
      { name: "p95", number: true, show: ({ slow }) => inSeconds(slow) },
      {
        name: "Errors",
        number: true,
        show: ({ errors }) => String(errors),
        isBad: ({ errors }) => errors > 0,
      },
      { name: "Waiting", number: true, show: ({ waiting }) => String(waiting) },
    ],
    "No application is deployed. 'fal-core deploy app.py::Name' deploys one.",
  );
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...applications].filter(([name, item]) =>
      words.every((word) => `${name} ${item.stage} ${item.state}`.toLowerCase().includes(word)),
    );
    table.update(found.sort(([one], [other]) => one.localeCompare(other)));
    if (!isTold()) table.none.hidden = true;
  };
  page.main.append(heading("Applications", { tools: [search] }), panel("Applications", table.element));
  page.ends.push(watch(show));
}
