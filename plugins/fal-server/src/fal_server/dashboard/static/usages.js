// Usages: what runners use, asked for while a page shows them.

import { inBytes } from "./formats.js";
import { ask } from "./session.js";

const AGAIN = 5000;

export const usages = new Map();

/** Ask for what the runners use that `query` names, and call `tell` after each answer. */
export function followUsages(page, query, tell) {
  let isAsking = false;
  const look = async () => {
    if (document.hidden || isAsking) return;
    isAsking = true;
    try {
      const path = `/dashboard/usages?${new URLSearchParams(query)}`;
      const told = await ask("GET", path, undefined, { signal: page.signal });
      usages.clear();
      for (const [id, usage] of Object.entries(told.usages)) usages.set(id, usage);
      tell();
    } catch {
      // It is asked again, and the page says that the server is gone.
    } finally {
      isAsking = false;
    }
  };
  const timer = setInterval(look, AGAIN);
  page.ends.push(() => {
    clearInterval(timer);
    usages.clear();
  });
  look();
}

export function memoryInWords(usage) {
  if (!usage || usage.memory === null) return "–";
  return ofAll(usage.memory, usage.limit);
}

/** All GPUs of a runner in a few words. */
export function gpusInWords(gpus = []) {
  if (!gpus.length) return "–";
  const told = (name) => gpus.map((gpu) => gpu[name]).filter((value) => value !== null);
  const sum = (values) => values.reduce((all, each) => all + each, 0);
  const [busy, used] = [told("busy"), told("used")];
  const words = [
    gpus.length > 1 ? `${gpus.length} GPUs` : null,
    busy.length ? `${Math.round(sum(busy) / busy.length)} %` : null,
    used.length ? ofAll(sum(used), sum(told("memory"))) : null,
  ];
  return words.filter(Boolean).join(", ") || gpus[0].name;
}

function ofAll(used, all) {
  if (!all) return inBytes(used);
  const [amount, unit] = inBytes(used).split(" ");
  const whole = inBytes(all);
  return whole.endsWith(` ${unit}`) ? `${amount} of ${whole}` : `${amount} ${unit} of ${whole}`;
}
