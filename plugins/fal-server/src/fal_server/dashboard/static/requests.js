// Requests: those in the queue, and what became of each.

import { action, announce, badge, choice, confirmed, facts, heading, make, panel } from "./elements.js";
import { ago, inBytes, inSeconds, inWords, short } from "./formats.js";
import { makeLog } from "./logs.js";
import { ask, may } from "./session.js";
import { Table } from "./tables.js";

const AGAIN = 2000;
const STATES = [
  ["", "All"],
  ["queued", "Waiting"],
  ["running", "Running"],
  ["completed", "Done"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
];

function stateOf({ state, status }) {
  return state === "completed" && status >= 400 ? "failed" : state;
}

function stateText(item) {
  const text = { queued: "waiting", completed: "done" }[stateOf(item)] ?? stateOf(item);
  return item.status ? `${text} ${item.status}` : text;
}

function took({ started_at: started, ended_at: ended }) {
  return started && ended ? inSeconds(ended - started) : "–";
}

function waited({ submitted_at: submitted, started_at: started }) {
  return started ? inSeconds(Math.max(0, started - submitted)) : "–";
}

export async function showRequests(page) {
  const application = page.query.get("app") ?? "";
  let state = page.query.get("state") ?? "";
  let items = [];
  let isWhole = false;
  const table = new Table(
    "Requests",
    [
      {
        name: "Request",
        show: ({ id }) => [id, () => make("a", { class: "mono", href: `#/requests/${id}` }, short(id))],
      },
      {
        name: "State",
        show: (item) => [stateText(item), () => badge(stateText(item), stateOf(item))],
      },
      { name: "Application", show: ({ alias }) => alias },
      { name: "Path", show: ({ path }) => [path, () => make("code", { class: "clip" }, path)] },
      { name: "Submitted", show: ({ submitted_at: at }) => ago(at) },
      { name: "Waited", number: true, show: waited },
      { name: "Took", number: true, show: took },
      { name: "Attempts", number: true, show: ({ attempts }) => String(attempts) },
      { name: "Input", number: true, show: ({ body_size: size }) => inBytes(size) },
    ],
    "There is no such request. They are kept for a day.",
  );
  const more = action("Show more", () => load(items.at(-1)?.number), { hidden: true });
  const load = async (before) => {
    const query = new URLSearchParams({ state, application });
    if (before) query.set("before", before);
    const told = await ask("GET", `/dashboard/requests?${query}`, undefined, { signal: page.signal });
    if (before) {
      items = [...items, ...told.requests];
      isWhole = true;
    } else if (!isWhole) items = told.requests;
    more.hidden = told.is_last;
    table.update(items.map((item) => [item.id, item]));
  };
  const states = choice("State", STATES, state, (chosen) => {
    state = chosen;
    isWhole = false;
    load();
  });
  const id = make("input", { type: "search", placeholder: "Id of a request", "aria-label": "Id of a request" });
  const find = make(
    "form",
    {
      on: {
        submit: (event) => {
          event.preventDefault();
          if (id.value.trim()) location.hash = `#/requests/${encodeURIComponent(id.value.trim())}`;
        },
      },
    },
    id,
  );
  page.main.append(
    heading(application ? `Requests to ${application}` : "Requests", { tools: [states, find] }),
    panel("Requests", make("div", {}, table.element, more)),
  );
  const timer = setInterval(() => {
    // More than the first page is not read again and again.
    if (!document.hidden && !isWhole) load().catch(() => {});
  }, AGAIN);
  page.ends.push(() => clearInterval(timer));
  await load();
}

export async function showRequest(page) {
  const { id } = page;
  const state = make("span", {});
  const about = make("div", {});
  const result = make("div", { hidden: true });
  const cancel = action("Cancel", async () => {
    const text = "One that waits is dropped, and the runner of one that runs is told.";
    if (!(await confirmed("Cancel this request?", text, "Cancel the request"))) return;
    const { cancelled } = await ask("POST", `/dashboard/requests/${id}/cancel`);
    announce(cancelled ? "It is cancelled." : "It has ended already.");
    await show();
  });
  cancel.hidden = true;
  const again = action("Send again", async () => {
    const told = await ask("POST", `/dashboard/requests/${id}/again`);
    announce("It was sent again.");
    location.hash = `#/requests/${told.id}`;
  });
  again.hidden = true;
  page.main.append(
    heading(`Request ${short(id)}`, {
      crumb: ["Requests", "#/requests"],
      beside: [state],
      tools: [cancel, again],
    }),
    panel("About it", about),
    result,
  );
  let isOver = false;
  const show = async () => {
    const path = `/dashboard/requests/${encodeURIComponent(id)}`;
    const item = await ask("GET", path, undefined, { signal: page.signal });
    state.replaceChildren(badge(stateText(item), stateOf(item)));
    about.replaceChildren(factsOf(item));
    isOver = Boolean(item.ended_at);
    cancel.hidden = isOver || !may("models:requests:submit");
    again.hidden = !item.can_repeat || !may("models:requests:submit");
    if (item.state === "completed" && result.hidden) {
      const told = await ask("GET", `${path}/result`, undefined, { signal: page.signal });
      result.hidden = false;
      result.replaceChildren(panel("Result", resultOf(told)));
    }
  };
  const timer = setInterval(() => {
    if (!document.hidden && !isOver) show().catch(() => {});
  }, AGAIN);
  page.ends.push(() => clearInterval(timer));
  await show();
  if (may("serverless:logs:read")) page.main.append(await makeLog(page, { request_id: id }, "Log"));
}

function factsOf(item) {
  return facts([
    ["Id", make("code", {}, item.id)],
    [
      "Application",
      make("a", { href: `#/applications/${encodeURIComponent(item.alias)}` }, `${item.owner_name}/${item.alias}`),
    ],
    ["Path", make("code", {}, `${item.method} ${item.path}`)],
    ["Sent by", item.sender || "nobody in particular"],
    ["Submitted", inWords(item.submitted_at)],
    ["Place in the queue", item.position === null ? "" : String(item.position)],
    ["Waited", waited(item)],
    ["Took", took(item)],
    ["Attempts", String(item.attempts)],
    ["Input", inBytes(item.body_size)],
    ["Result", item.status ? `${item.status}, ${inBytes(item.answer_size)}` : ""],
    ["Error", item.error],
    ["Kind of error", item.error_type],
  ]);
}

function resultOf({ text, data, type, size }) {
  if (text !== undefined) {
    let shown = text;
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // It is text.
    }
    return make("pre", { class: "result", tabindex: "0", "aria-label": "Result" }, shown);
  }
  if (data !== undefined && /^image\/(png|jpeg|gif|webp|avif)/.test(type))
    return make("div", { class: "body" }, make("img", { src: `data:${type};base64,${data}`, alt: "Result" }));
  return make("p", { class: "empty" }, `${inBytes(size)} of ${type || "bytes"}`);
}
