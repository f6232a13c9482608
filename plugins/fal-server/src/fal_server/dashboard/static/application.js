// Application: one of them, its plots, its deployments, its runners and its last failure.

import { action, announce, badge, choice, confirmed, heading, make, panel } from "./elements.js";
import { ago, inNumber, inSeconds, inWords, short } from "./formats.js";
import { applications, isTold, runners, watch } from "./live.js";
import { plot } from "./plots.js";
import { runnersTable } from "./runners.js";
import { followUsages } from "./usages.js";
import { ask, may } from "./session.js";
import { STATES, countRunners } from "./applications.js";

const AGAIN = 15_000;

export async function showApplication(page) {
  const name = page.id;
  const state = make("span", {});
  const numbers = make("dl", { class: "numbers" });
  const reason = make("p", { class: "notice", hidden: true });
  const plots = make("div", { class: "columns" });
  const failure = make("div", { hidden: true });
  const deployments = make("div", {});
  const table = runnersTable("Runners of this application", { isOne: true });
  let span = "minutes";
  const spans = choice(
    "Time that is plotted",
    [
      ["minutes", "30 minutes"],
      ["hours", "24 hours"],
      ["days", "30 days"],
    ],
    span,
    (chosen) => {
      span = chosen;
      showPlots();
    },
  );
  page.main.append(
    heading(name, { crumb: ["Applications", "#/"], beside: [state], tools: toolsOf(name) }),
    reason,
    numbers,
    failure,
    make("div", { class: "head" }, make("h2", {}, "Requests"), make("div", { class: "tools" }, spans)),
    plots,
    deployments,
    may("serverless:runners:read") ? panel("Runners", table.element) : "",
  );

  let shownRevision = null;
  const show = () => {
    const item = applications.get(name);
    if (!item) {
      if (isTold()) {
        reason.hidden = false;
        reason.textContent = "There is no such application.";
      }
      return;
    }
    state.replaceChildren(badge(STATES[item.state] ?? item.state, item.state));
    reason.textContent = item.reason;
    reason.hidden = !item.reason;
    reason.className = ["broken", "failed"].includes(item.state) ? "notice" : "notice waits";
    numbers.replaceChildren(...numbersOf(item));
    table.update([...runners].filter(([, runner]) => runner.application === name));
    const revision = `${item.revision} ${item.deploying}`;
    if (revision !== shownRevision) {
      shownRevision = revision;
      showDeployments();
    }
  };

  const showPlots = async () => {
    const path = `/dashboard/applications/${encodeURIComponent(name)}/measurements?span=${span}`;
    const told = await ask("GET", path, undefined, { signal: page.signal });
    plots.replaceChildren(...plotsOf(told));
  };

  const showDeployments = async () => {
    const owner = applications.get(name).owner;
    const path = `/applications/${owner}/${encodeURIComponent(name)}/deployments?limit=50`;
    const told = await ask("GET", path, undefined, { signal: page.signal }).catch(() => ({}));
    deployments.replaceChildren(
      panel("Deployments", deploymentsTable(name, told.deployments ?? [], showDeployments)),
    );
  };

  const showFailure = async () => {
    if (!may("serverless:logs:read")) return;
    const path = `/logs/?traceback=true&app_name=${encodeURIComponent(name)}`;
    const lines = await ask("GET", path, undefined, { signal: page.signal });
    const [last] = lines;
    failure.hidden = !last;
    if (!last) return;
    failure.replaceChildren(
      panel(
        `Last failure, ${ago(last.timestamp)}`,
        make("pre", { class: "trace", tabindex: "0", "aria-label": "Traceback" }, last.message),
        last.request_id
          ? make("a", { class: "button small", href: `#/requests/${last.request_id}` }, "Its request")
          : null,
      ),
    );
  };

  page.ends.push(watch(show));
  if (may("serverless:runners:read")) followUsages(page, { application: name }, show);
  const timer = setInterval(() => {
    if (document.hidden) return;
    showPlots().catch(() => {});
    showFailure().catch(() => {});
  }, AGAIN);
  page.ends.push(() => clearInterval(timer));
  await Promise.all([showPlots(), showFailure()]);
}

function toolsOf(name) {
  const tools = [];
  if (may("serverless:logs:read"))
    tools.push(make("a", { class: "button", href: `#/logs?app=${encodeURIComponent(name)}` }, "Logs"));
  if (may("models:requests:read"))
    tools.push(
      make("a", { class: "button", href: `#/requests?app=${encodeURIComponent(name)}` }, "Requests"),
    );
  if (may("models:requests:submit"))
    tools.push(
      action("Playground", async () => {
        const { url } = await ask("POST", "/dashboard/playground", { application: name });
        open(url, "_blank", "noopener");
      }),
    );
  if (may("serverless:apps:deploy"))
    tools.push(
      action("Replace runners", async () => {
        const text = "New runners of the same revision are started, and take over once one is up.";
        if (!(await confirmed(`Replace the runners of ${name}?`, text, "Replace"))) return;
        await ask("POST", "/dashboard/RolloutApplication", { application_name: name });
        announce("The runners are replaced.");
      }),
    );
  return tools;
}

function numbersOf(item) {
  const rows = [
    ["Requests per second", inNumber(item.per_second)],
    ["p50 in 5 minutes", inSeconds(item.median)],
    ["p95 in 5 minutes", inSeconds(item.slow)],
    ["Errors in 5 minutes", String(item.errors), item.errors > 0],
    ["Waiting", String(item.waiting)],
    ["Running", String(item.running)],
    ["Runners", countRunners(item.runners)],
    ["Who may call it", item.auth],
  ];
  return rows.map(([name, value, isBad]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: isBad ? "bad" : null }, value)),
  );
}

function plotsOf({ step, first, count, points }) {
  const byPlace = new Map(points.map((point) => [Math.round((point.at - first) / step), point]));
  const values = (read, none = 0) =>
    Array.from({ length: count }, (_, place) => {
      const point = byPlace.get(place);
      return point ? read(point) : none;
    });
  const times = { first, step };
  return [
    panel(
      "Requests per second",
      plot("Requests per second", {
        ...times,
        lines: [{ name: "requests", values: values((point) => point.requests / step) }],
      }),
    ),
    panel(
      "Latency",
      plot("Latency", {
        ...times,
        format: inSeconds,
        lines: [
          { name: "p50", values: values((point) => point.median, null) },
          { name: "p95", kind: "second", values: values((point) => point.slow, null) },
        ],
      }),
    ),
    panel(
      "Errors",
      plot("Errors", {
        ...times,
        lines: [{ name: "errors", kind: "bad", values: values((point) => point.errors) }],
      }),
    ),
    panel(
      "Runners and waiting requests",
      plot("Runners and waiting requests", {
        ...times,
        lines: [
          { name: "runners", values: values((point) => point.runners) },
          { name: "waiting", kind: "second", values: values((point) => point.waiting) },
        ],
      }),
    ),
  ];
}

function deploymentsTable(name, deployments, changed) {
  if (!deployments.length) return make("p", { class: "empty" }, "Nothing is known of any.");
  const current = applications.get(name)?.revision;
  const tried = new Set();
  const rows = deployments.map((each) => {
    const isCurrent = each.revision === current && !tried.has(each.revision);
    const isFirst = each.revision && !tried.has(each.revision);
    tried.add(each.revision);
    const mayReturn =
      isFirst && each.revision !== current && each.outcome !== "failed" && each.outcome !== "pending";
    const cells = [
      ["Revision", each.revision ? make("code", {}, short(each.revision)) : "–"],
      ["What", each.action === "set" ? "set" : each.action],
      ["Message", make("span", { class: "clip", title: each.message }, each.message || "–")],
      ["When", make("span", { title: inWords(each.created_at) }, ago(each.created_at))],
      ["Outcome", [badge(outcomeOf(each, isCurrent)), each.reason ? make("p", { class: "muted" }, each.reason) : null]],
    ];
    const back =
      mayReturn && may("serverless:apps:deploy")
        ? action("Roll back", () => rollBack(name, each.revision, changed), {
            class: "small",
            "aria-label": `Roll back to ${short(each.revision)}`,
          })
        : null;
    return make(
      "tr",
      {},
      cells.map(([title, content]) => make("td", { "data-name": title }, content)),
      make("td", { class: "actions", "data-name": "" }, back),
    );
  });
  const head = ["Revision", "What", "Message", "When", "Outcome"].map((title) =>
    make("th", { scope: "col" }, title),
  );
  const last = make("th", { scope: "col" }, make("span", { class: "visually-hidden" }, "Actions"));
  return make(
    "div",
    { class: "scroll" },
    make(
      "table",
      { class: "cards", "aria-label": "Deployments" },
      make("thead", {}, make("tr", {}, head, last)),
      make("tbody", {}, rows),
    ),
  );
}

function outcomeOf({ outcome }, isCurrent) {
  if (isCurrent) return "serving";
  return outcome === "serving" ? "earlier" : outcome;
}

async function rollBack(name, revision, changed) {
  const text = "A runner of it is started, and it takes the requests once that is up.";
  if (!(await confirmed(`Roll ${name} back to ${short(revision)}?`, text, "Roll back"))) return;
  announce("Rolling back.");
  // The whole name, which has the stage: what an application is called may have two dashes too.
  await ask("POST", "/dashboard/SetAlias", { alias: name, revision });
  announce("Rolled back.");
  await changed();
}
