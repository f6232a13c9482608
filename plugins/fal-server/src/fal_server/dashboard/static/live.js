// Live: what the account has, as the server tells of each change.

import { send, session } from "./session.js";

const AGAIN_FIRST = 500;
const AGAIN_LAST = 10_000;

export const applications = new Map();
export const runners = new Map();

const watchers = new Set();
let controller = null;
let isAsked = false;
let isKnown = false;

/** Whether the server has told what the account has. */
export function isTold() {
  return isKnown;
}

/** Call `watcher` after each change, until the result is called. */
export function watch(watcher) {
  watchers.add(watcher);
  if (isKnown) watcher();
  return () => watchers.delete(watcher);
}

function tell() {
  // At most once for each picture that the screen shows.
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    for (const watcher of watchers) watcher();
  });
}

/** Follow the server, until the session ends. */
export async function follow(tellState) {
  controller?.abort();
  controller = new AbortController();
  const { signal } = controller;
  let pause = AGAIN_FIRST;
  while (session.token && !signal.aborted) {
    try {
      await read(signal, () => {
        pause = AGAIN_FIRST;
        tellState("", "Live");
      });
    } catch (error) {
      if (error.status === 403) return tellState("gone", error.message);
    }
    if (!session.token || signal.aborted) return undefined;
    tellState("gone", "Waiting for the server");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, AGAIN_LAST);
  }
  return undefined;
}

export function stop() {
  controller?.abort();
  applications.clear();
  runners.clear();
  isKnown = false;
}

async function read(signal, begun) {
  const response = await send("GET", "/dashboard/live", undefined, { signal });
  let isFirst = true;
  for await (const text of eventsOf(response)) {
    const change = JSON.parse(text);
    if (isFirst) {
      applications.clear();
      runners.clear();
      isFirst = false;
      begun();
    }
    apply(applications, change.applications);
    apply(runners, change.runners);
    isKnown = true;
    tell();
  }
}

function apply(items, changes) {
  for (const [name, item] of Object.entries(changes)) {
    if (item === null) items.delete(name);
    else items.set(name, item);
  }
}

/** Yield the data of each event of a stream. */
export async function* eventsOf(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}
