// Machines: what the hosts of the server have, and what is free.

import { heading, make, panel } from "./elements.js";
import { inBytes, inNumber } from "./formats.js";
import { ask } from "./session.js";
import { Table } from "./tables.js";

const AGAIN = 5000;

export async function showMachines(page) {
  const body = make("div", { class: "columns" });
  page.main.append(heading("Machines"), body);
  const show = async () => {
    const { machines } = await ask("GET", "/dashboard/machines", undefined, { signal: page.signal });
    body.replaceChildren(...machines.map(hostPanel));
  };
  const timer = setInterval(() => {
    if (!document.hidden) show().catch(() => {});
  }, AGAIN);
  page.ends.push(() => clearInterval(timer));
  await show();
}

function hostPanel(host) {
  const table = new Table(
    `Machines of ${host.name}`,
    [
      { name: "CPUs", number: true, show: ({ cpus }) => inNumber(cpus) },
      { name: "Memory", number: true, show: ({ memory }) => (memory ? inBytes(memory) : "–") },
      { name: "GPUs", number: true, show: ({ gpus }) => String(gpus ?? 0) },
      { name: "Model", show: ({ model }) => model ?? "–" },
    ],
    host.problem || "The host does not tell what its machines have.",
  );
  table.update(host.nodes.map((node, place) => [String(place), node]));
  const rows = [
    ["Runners of this account", String(host.own_runners)],
    ["Free CPUs", host.free_cpus === null ? null : inNumber(host.free_cpus)],
    ["Free GPUs", host.free_gpus === null ? null : inNumber(host.free_gpus)],
  ].filter(([, value]) => value !== null);
  const list = make(
    "dl",
    { class: "facts body" },
    rows.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
  return panel(host.name, make("div", {}, list, table.element));
}
