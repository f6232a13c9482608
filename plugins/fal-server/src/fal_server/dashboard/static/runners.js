// Runners: what each is at, its log, and its end.

import { action, announce, badge, choice, confirmed, facts, heading, make, panel } from "./elements.js";
import { inTime, inWords, short } from "./formats.js";
import { runners, watch } from "./live.js";
import { makeLog } from "./logs.js";
import { ask, may } from "./session.js";
import { Table } from "./tables.js";
import { followUsages, gpusInWords, memoryInWords, usages } from "./usages.js";

const AGES = 5000;

function age(runner) {
  return inTime(Date.now() / 1000 - runner.started_at);
}

export function runnersTable(label, { isOne = false } = {}) {
  const columns = [
    {
      name: "Runner",
      show: (_, id) => [id, () => make("a", { class: "mono", href: `#/runners/${id}` }, short(id))],
    },
    isOne
      ? null
      : {
          name: "Application",
          show: ({ application: name }) => [
            name,
            () => make("a", { href: `#/applications/${encodeURIComponent(name)}` }, name),
          ],
        },
    { name: "Phase", show: (item) => [`${item.phase} ${item.reason}`, () => phaseOf(item)] },
    { name: "Machine", whole: true, show: ({ machine }) => machine || "–" },
    { name: "Node", show: ({ host }, id) => usages.get(id)?.node || host || "–" },
    { name: "Memory", number: true, show: (_, id) => memoryInWords(usages.get(id)) },
    { name: "GPU", number: true, show: (_, id) => gpusInWords(usages.get(id)?.gpus) },
    { name: "Requests", number: true, show: ({ in_flight: count }) => String(count) },
    { name: "Age", number: true, show: age },
    {
      name: "Actions",
      hidden: true,
      actions: true,
      show: ({ phase }, id) => [
        phase === "draining" ? "draining" : "",
        () => make("span", {}, logOf(id), actionsOf(id, phase)),
      ],
    },
  ].filter(Boolean);
  return new Table(label, columns, "Nothing runs.");
}

function phaseOf({ phase, reason }) {
  const parts = [badge(phase)];
  if (reason) parts.push(make("div", { class: "why", title: reason }, reason));
  return make("div", {}, parts);
}

function logOf(id) {
  if (!may("serverless:logs:read")) return null;
  const attributes = { class: "button small", "aria-label": `Log of ${short(id)}` };
  return make("a", { ...attributes, href: `#/runners/${id}` }, "Log");
}

function actionsOf(id, phase) {
  const part = document.createDocumentFragment();
  if (!may("serverless:runners:write")) return part;
  if (phase !== "draining")
    part.append(
      action("Stop", () => end("StopRunner", id, "It finishes the requests that it has, and ends."), {
        class: "small",
        "aria-label": `Stop ${short(id)}`,
      }),
    );
  part.append(
    action("Kill", () => end("KillRunner", id, "It ends at once, with the requests that it has."), {
      class: "small danger",
      "aria-label": `Kill ${short(id)}`,
    }),
  );
  return part;
}

async function end(method, id, text) {
  const word = method === "StopRunner" ? "Stop" : "Kill";
  if (!(await confirmed(`${word} runner ${short(id)}?`, text, word))) return;
  await ask("POST", `/dashboard/${method}`, { runner_id: id });
  announce(`${word}: done.`);
}

export function showRunners(page) {
  const table = runnersTable("Runners");
  const count = make("span", { class: "muted" });
  let phase = "";
  const phases = choice(
    "Phase",
    [
      ["", "All"],
      ["running", "Running"],
      ["idle", "Idle"],
      ["setup", "Starting"],
      ["draining", "Ending"],
    ],
    phase,
    (chosen) => {
      phase = chosen;
      show();
    },
  );
  const isStarting = (item) => ["pending", "building", "setup"].includes(item.phase);
  const show = () => {
    const found = [...runners].filter(
      ([, item]) => !phase || item.phase === phase || (phase === "setup" && isStarting(item)),
    );
    found.sort(
      ([, one], [, other]) =>
        one.application.localeCompare(other.application) || one.started_at - other.started_at,
    );
    table.update(found);
    count.textContent = `${runners.size} in all`;
  };
  page.main.append(
    heading("Runners", { beside: [count], tools: [phases] }),
    panel("Runners", table.element),
  );
  page.ends.push(watch(show));
  followUsages(page, {}, show);
  const timer = setInterval(show, AGES);
  page.ends.push(() => clearInterval(timer));
}

export async function showRunner(page) {
  const { id } = page;
  const state = make("span", {});
  const body = make("div", {});
  page.main.append(
    heading(`Runner ${short(id)}`, {
      crumb: ["Runners", "#/runners"],
      beside: [state],
      tools: [actionsOf(id, "")],
    }),
    panel("About it", body),
  );
  const show = () => {
    const [item, usage] = [runners.get(id), usages.get(id)];
    state.replaceChildren(badge(item ? item.phase : "ended", item?.phase));
    body.replaceChildren(
      item
        ? facts([
            ["Id", make("code", {}, id)],
            [
              "Application",
              make(
                "a",
                { href: `#/applications/${encodeURIComponent(item.application)}` },
                item.application,
              ),
            ],
            ["Revision", item.revision && make("code", {}, item.revision)],
            ["Host", item.host],
            ["Node", usage?.node],
            ["Machine type", item.machine],
            ["Memory", usage && usage.memory !== null ? memoryInWords(usage) : ""],
            [
              "GPUs",
              usage?.gpus.length
                ? usage.gpus.map((gpu) => make("div", {}, `${gpu.name}: ${gpusInWords([gpu])}`))
                : String(item.gpus ?? ""),
            ],
            ["Started", `${inWords(item.started_at)}, ${age(item)} ago`],
            ["Why", item.reason],
            [
              "Requests",
              item.requests.map((each) =>
                make("div", {}, make("a", { class: "mono", href: `#/requests/${each}` }, each)),
              ),
            ],
          ])
        : make("p", { class: "empty" }, "It has ended; its log is kept for a week."),
    );
  };
  page.ends.push(watch(show));
  followUsages(page, { runner: id }, show);
  show();
  if (may("serverless:logs:read")) page.main.append(await makeLog(page, { job_id: id }, "Log"));
}
