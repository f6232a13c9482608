// Histories: the calls of an endpoint that were made on this page.

const MOST_CALLS = 20;
const LARGEST_INPUT = 50_000;

/**
 * The recent calls of one endpoint, kept for as long as the tab. A call gives its input back.
 */
class CallHistory {
  constructor(base, endpoint, restore) {
    this.key = `fal-calls ${base} ${endpoint.id}`;
    this.restore = restore;
    const stored = parsedOr(readStored(sessionStorage, this.key) ?? "[]");
    this.calls = Array.isArray(stored) ? stored : [];
    this.list = make("ol", { class: "calls" });
    this.element = make(
      "details",
      { class: "history" },
      (this.summary = make("summary", {}, "History")),
      this.list,
    );
    this.show();
  }

  add(value, status, seconds) {
    const call = { when: Date.now(), status, seconds, value: structuredClone(value) };
    this.calls = [call, ...this.calls].slice(0, MOST_CALLS);
    const kept = this.calls.filter((each) => JSON.stringify(each.value).length < LARGEST_INPUT);
    writeStored(sessionStorage, this.key, JSON.stringify(kept));
    this.show();
  }

  show() {
    const count = this.calls.length;
    this.element.hidden = !count;
    this.summary.textContent = `History: ${count} call${count === 1 ? "" : "s"}`;
    this.list.replaceChildren(
      ...this.calls.map((call) => {
        const text = toText(call.value.body ?? call.value.parameters ?? {});
        const shown = text.replace(/\s+/g, " ").slice(0, 160);
        const time = new Date(call.when).toLocaleTimeString();
        return make(
          "li",
          {},
          make("span", { class: "when" }, `${time} · ${call.status} · ${call.seconds}`),
          make("code", {}, shown),
          button("Use again", () => this.restore(call.value), {
            class: "small",
            "aria-label": `Use the input of ${time} again`,
          }),
        );
      }),
    );
  }
}
