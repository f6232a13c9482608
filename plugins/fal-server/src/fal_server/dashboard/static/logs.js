// Logs: lines as they come, those that were kept, by their texts and levels.

import { action, choice, heading, make, panel } from "./elements.js";
import { eventsOf } from "./live.js";
import { ask, send } from "./session.js";

const MOST = 2000;
const PAGE = 300;
const AGAIN = 1000;

const LEVELS = [
  ["", "All"],
  ["warning", "Warnings"],
  ["error", "Errors"],
];

function kindOf(level) {
  const text = level.toLowerCase();
  if (/error|critical|stderr/.test(text)) return "error";
  return /warn/.test(text) ? "warning" : "plain";
}

function makeLine(line, named) {
  const kind = kindOf(line.level);
  const time = new Date(line.timestamp);
  return make(
    "div",
    { class: `line ${kind}`, "data-number": line.number },
    make("span", { class: "when", title: time.toLocaleString() }, time.toLocaleTimeString()),
    make("span", { class: "level" }, named && line.app ? `${line.app} · ${line.level}` : line.level),
    make("span", {}, line.message.replace(/\n$/, "")),
  );
}

/**
 * Make a list of lines that match `filter`. It begins with the first `readOlder`, and goes on
 * while the page is shown.
 */
function followLines(page, list, filter, { named }) {
  const controller = new AbortController();
  page.signal.addEventListener("abort", () => controller.abort());
  const { signal } = controller;
  // The numbers of the lines that the list has, and the last one that was read.
  const known = new Set();
  let last = 0;
  let isFollowing = false;
  let oldest = null;
  const hasText = (line) => line.message.trim() !== "";
  const add = (line) => {
    last = Math.max(last, line.number);
    if (known.has(line.number) || !hasText(line)) return;
    known.add(line.number);
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    list.append(makeLine(line, named));
    if (list.childElementCount > MOST) {
      known.delete(Number(list.firstElementChild.dataset.number));
      list.firstElementChild.remove();
    }
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  };
  const readOlder = async () => {
    const query = new URLSearchParams({ ...filter, page_size: PAGE });
    if (oldest) query.set("until", oldest);
    const told = await ask("POST", `/logs/history?${query}`, undefined, { signal });
    oldest = told.next_until;
    for (const line of told.items) last = Math.max(last, line.number);
    const rows = told.items.reverse().filter((line) => hasText(line) && !known.has(line.number));
    rows.forEach((line) => known.add(line.number));
    list.prepend(...rows.map((line) => makeLine(line, named)));
    if (!isFollowing) run();
    return Boolean(oldest);
  };
  const run = async () => {
    isFollowing = true;
    while (!signal.aborted) {
      try {
        const query = new URLSearchParams(filter);
        if (last) query.set("after", last);
        const response = await send("POST", `/logs/stream?${query}`, undefined, { signal });
        for await (const text of eventsOf(response)) add(JSON.parse(text));
      } catch (error) {
        if (signal.aborted || error.status === 403) return;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  };
  return { readOlder, end: () => controller.abort() };
}

/** Make the panel of the lines of a runner or a request. */
export async function makeLog(page, filter, title) {
  const list = make("div", { class: "lines-box short", tabindex: "0", role: "log", "aria-label": title });
  const lines = followLines(page, list, filter, { named: false });
  const older = action("Older lines", async () => {
    older.hidden = !(await lines.readOlder());
  }, { class: "small" });
  older.hidden = !(await lines.readOlder());
  list.scrollTop = list.scrollHeight;
  return panel(title, list, older);
}

export async function showLogs(page) {
  const application = page.query.get("app") ?? "";
  let level = "";
  let lines = null;
  const list = make("div", { class: "lines-box", tabindex: "0", role: "log", "aria-label": "Log" });
  const search = make("input", {
    type: "search",
    placeholder: "Search",
    "aria-label": "Search the logs",
    value: page.query.get("search") ?? "",
  });
  const levels = choice("Level", LEVELS, level, (chosen) => {
    level = chosen;
    start();
  });
  const older = action("Older lines", async () => {
    older.hidden = !(await lines.readOlder());
  }, { class: "small" });
  const start = async () => {
    lines?.end();
    list.replaceChildren();
    const filter = {};
    if (application) filter.app_name = application;
    if (search.value.trim()) filter.search = search.value.trim();
    if (level) filter.level = level;
    lines = followLines(page, list, filter, { named: !application });
    older.hidden = !(await lines.readOlder());
    list.scrollTop = list.scrollHeight;
  };
  let timer;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => start().catch(() => {}), 250);
  });
  page.main.append(
    heading(application ? `Logs of ${application}` : "Logs", { tools: [levels, search] }),
    panel("Lines, as they come", list, older),
  );
  await start();
}
