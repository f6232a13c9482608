// Queues: a request that waits in the queue of a server, its status, and its log.

const LOOK_FIRST = 300;
const LOOK_LAST = 2000;

/**
 * Submit a request to the queue at `base`, and pass its response to `answer` once it is there.
 */
async function performQueued(request, base, answer, signal) {
  const { url, ...options } = request;
  const send = (to, more = {}) =>
    fetch(to, {
      ...more,
      headers: { ...access.headers, ...more.headers },
      cache: "no-store",
      referrerPolicy: "no-referrer",
    });
  const submitted = await send(base + url.slice(BASE.length), { ...options, signal });
  if (!submitted.ok) return readResponse(submitted, answer);
  const accepted = await submitted.json();
  const cancel = () => send(accepted.cancel_url, { method: "PUT", keepalive: true }).catch(() => {});
  signal.addEventListener("abort", cancel);
  try {
    for (let pause = LOOK_FIRST; ; pause = Math.min(pause * 1.3, LOOK_LAST)) {
      const looked = await send(`${accepted.status_url}?logs=1`, { signal });
      if (!looked.ok) return readResponse(looked, answer);
      const status = await looked.json();
      answer.waitsInQueue(accepted.request_id, status);
      if (status.status === "COMPLETED") break;
      await sleep(pause, signal);
    }
  } finally {
    signal.removeEventListener("abort", cancel);
  }
  return readResponse(await send(accepted.response_url, { signal }), answer);
}

/** Wait for some milliseconds, or until `signal` aborts. */
function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** Return the status of a queued request as a person reads it. */
function queueText({ status, queue_position: ahead, attempts, reason }) {
  if (status === "IN_QUEUE") {
    const before = ahead ? `${ahead} before it` : "next";
    return `In the queue, ${before}${reason ? `. ${reason}` : ""}`;
  }
  if (status === "IN_PROGRESS") return attempts > 1 ? `Running, attempt ${attempts}` : "Running";
  return "Done";
}

/** Make the list of some log lines. */
function makeLines(lines) {
  return make(
    "ol",
    { class: "rows lines", "aria-label": "Log", tabindex: "0" },
    lines.map(({ message, level }) =>
      make("li", { class: `line ${String(level).toLowerCase()}` }, message.replace(/\n$/, "")),
    ),
  );
}
