// Responses: what a request returned, and how it is shown.

const MOST_EVENTS = 500;
const START_PHASES = {
  pending: "A runner is about to start",
  building: "The environment is being built",
  setup: "The application is being set up",
  running: "Running",
};

/**
 * The panel of one endpoint's responses.
 */
class AnswerPanel {
  constructor() {
    this.status = make("div", { class: "status" });
    this.headers = make("div", { class: "headers" });
    this.content = make("div", { class: "content" });
    this.element = make(
      "section",
      { class: "panel answer", "aria-label": "Answer" },
      make("div", { class: "panel-head" }, make("h2", {}, "Answer"), this.status),
      this.headers,
      this.content,
    );
    this.rest();
  }

  rest() {
    this.content.replaceChildren(
      make("p", { class: "empty" }, "Run the endpoint, and its answer comes here."),
    );
  }

  /** Start over: a request was sent. */
  start() {
    this.began = performance.now();
    this.response = null;
    this.count = this.events = 0;
    this.chunks = [];
    this.text = "";
    this.streamed = this.rows = this.latest = this.waiting = null;
    this.isQueued = this.isStarting = false;
    this.headers.replaceChildren();
    this.content.replaceChildren();
    this.element.setAttribute("aria-busy", "true");
    this.tell("running", "Running");
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.clock = setInterval(
      () => {
        this.time.textContent = this.elapsed();
      },
      still ? 1000 : 100,
    );
    announce("Running.");
  }

  /** Show what the request waits for: runners that start, and the lines of one. */
  waits(state) {
    if (this.response || !this.element.hasAttribute("aria-busy")) return;
    const { phase, seconds, reason } = state;
    this.isStarting = Boolean(phase);
    if (this.isQueued && !phase) return;
    this.waiting ??= this.content.appendChild(make("div", { class: "waiting" }));
    const text = reason || (START_PHASES[phase] ?? "Waiting for a runner");
    this.waiting.replaceChildren(
      make("p", {}, `${text}${seconds === undefined ? "" : `, for ${Math.round(seconds)} s`}`),
      ...(state.lines?.length ? [makeLines(state.lines)] : []),
    );
  }

  /** Show the status of a queued request, and its log. */
  waitsInQueue(id, status) {
    this.waiting ??= this.content.appendChild(make("div", { class: "waiting" }));
    this.isQueued = true;
    this.tell("running", queueText(status));
    // What a runner that starts is at says more.
    if (this.isStarting && status.status === "IN_QUEUE") return;
    this.waiting.replaceChildren(
      make("p", {}, "request id ", make("code", {}, id)),
      ...(status.logs?.length ? [makeLines(status.logs)] : []),
    );
  }

  elapsed() {
    return inSeconds(performance.now() - this.began);
  }

  tell(kind, text) {
    this.time = make("span", { class: "time" }, this.elapsed());
    this.status.replaceChildren(
      make("span", { class: `badge ${kind}` }, text),
      this.time,
      ...(this.count ? [make("span", { class: "size" }, inBytes(this.count))] : []),
    );
  }

  /** The head of the response has arrived. */
  begin(response) {
    this.response = response;
    // The log of a queued request stays.
    if (this.waiting && !this.isQueued) this.waiting.remove();
    const lines = [...response.headers].map(([name, value]) => [
      make("dt", {}, name),
      make("dd", {}, value),
    ]);
    const id = response.headers.get("x-fal-request-id");
    this.headers.replaceChildren(
      ...(id
        ? [
            make(
              "div",
              { class: "request-id" },
              "request id ",
              make("code", {}, id),
              copyButton("Copy the request id", () => id),
            ),
          ]
        : []),
      make("details", {}, make("summary", {}, `${lines.length} headers`), make("dl", {}, lines)),
    );
    this.tell(
      response.ok ? "running" : "failed",
      `${response.status} ${response.statusText}`.trim(),
    );
  }

  addBytes(bytes, text) {
    this.count += bytes.length;
    this.chunks.push(bytes);
    if (text === null) return;
    this.text += text;
    const isStream = !/[/+]json\b/.test(this.response.headers.get("content-type") ?? "");
    if (isStream) this.append(text);
  }

  /** Show text as it arrives. */
  append(text) {
    if (!this.streamed) {
      this.streamed = make("pre", {
        class: "streamed",
        tabindex: "0",
        "aria-label": "Text of the answer",
      });
      this.content.append(
        make(
          "div",
          { class: "tools" },
          copyButton("Copy the text", () => this.streamed.textContent),
        ),
        this.streamed,
      );
    }
    this.streamed.append(make("span", {}, text));
  }

  /** Show an event that is text: behind the others, or on a line of its own. */
  appendEvent(text) {
    this.append(text);
    const parts = this.streamed.children;
    if (parts.length !== 2) return;
    const lines = button("Lines", () => setLines(lines.getAttribute("aria-pressed") === "false"), {
      class: "small",
    });
    const setLines = (isOn) => {
      lines.setAttribute("aria-pressed", String(isOn));
      this.streamed.classList.toggle("lines", isOn);
    };
    // Whole words without a space between them are items, not parts of a text.
    setLines([...parts].every((part) => /^\w+$/.test(part.textContent)));
    this.streamed.previousSibling.prepend(lines);
  }

  addEvents(events, length) {
    this.count += length;
    for (const { kind, data } of events) {
      this.events += 1;
      const value = parsedOr(data);
      if (kind === "error") this.showFailure(value);
      else if (typeof value === "string" && kind === "message") this.appendEvent(value);
      else this.addRow(kind, value);
    }
    if (events.length) this.tell("running", `${this.events} event${this.events === 1 ? "" : "s"}`);
  }

  addRow(kind, value) {
    if (!this.rows) {
      this.latest = make("div", {});
      this.rows = make("ol", { class: "rows", "aria-label": "Events" });
      this.content.append(this.latest, this.rows);
    }
    const gallery = makeGallery(value);
    if (gallery) this.latest.replaceChildren(gallery);
    const row = make(
      "li",
      {},
      make("span", { class: "when" }, this.elapsed()),
      kind === "message" ? null : make("span", { class: "type" }, kind),
      makeTree(value, { open: 1 }),
    );
    this.rows.append(row);
    if (this.rows.childElementCount > MOST_EVENTS) this.rows.firstElementChild.remove();
  }

  /** The response is complete. */
  end() {
    const { response } = this;
    this.finish(
      response.ok ? "good" : "failed",
      `${response.status} ${response.statusText}`.trim(),
    );
    if (this.events || this.streamed) return this.celebrate();
    const type = response.headers.get("content-type") ?? "";
    if (/[/+]json\b/.test(type)) this.showJson();
    else if (this.count) this.showFile(type);
    else if (response.ok)
      this.content.append(make("p", { class: "empty" }, "The answer is empty."));
    return this.celebrate();
  }

  celebrate() {
    const { response } = this;
    const said = this.streamed?.textContent ?? this.text;
    const short = said && said.length <= 200 ? ` ${said}` : "";
    announce(`Answered with ${response.status} in ${this.elapsed()}.${short}`);
  }

  showJson() {
    const value = parsedOr(this.text);
    this.value = value;
    const gallery = makeGallery(value);
    const save = button(
      "Download",
      () => download(new Blob([this.text], { type: "application/json" }), "answer.json"),
      { picture: "down", class: "quiet" },
    );
    save.setAttribute("aria-label", "Download the answer");
    this.content.append(
      ...(gallery ? [gallery] : []),
      make(
        "div",
        { class: "tools" },
        copyButton("Copy the answer", () => toText(value)),
        save,
      ),
      make("div", { class: "tree" }, makeTree(value, { open: 3 })),
    );
  }

  showFile(type) {
    const plain = type.split(";")[0];
    const blob = new Blob(this.chunks, { type: plain });
    const kind = /^(image|video|audio)\//.exec(plain)?.[1];
    // An SVG is shown as an image only, where its scripts do nothing.
    if (kind)
      this.content.append(
        make("div", { class: "gallery" }, showMedia({ kind, url: URL.createObjectURL(blob) })),
      );
    const ending = plain.split("/")[1]?.replace(/^x-|\+.*$/g, "") || "bin";
    const name = { "octet-stream": "bin", jpeg: "jpg", plain: "txt" }[ending] ?? ending;
    this.content.append(
      button("Download", () => download(blob, `answer.${name}`), {
        picture: "down",
        shown: `Download ${inBytes(this.count)} of ${plain || "bytes"}`,
        class: "download",
      }),
    );
  }

  finish(kind, text) {
    clearInterval(this.clock);
    this.element.removeAttribute("aria-busy");
    this.tell(kind, text);
  }

  /** The request was cancelled. The part that has arrived stays. */
  cancelled() {
    this.finish("cancelled", "Cancelled");
    announce("Cancelled.");
  }

  /** The request has failed, or its response broke off. */
  failed(error) {
    const begun = this.response !== null;
    this.finish("failed", begun ? "Broken off" : "No answer");
    this.showFailure(
      begun
        ? "The service has broken the answer off. What came before stands here."
        : `The service could not be reached, or has refused the connection. (${error.message})`,
    );
    announce(begun ? "The answer was broken off." : "There was no answer.");
  }

  showFailure(value) {
    const text = typeof value === "string" ? value : value?.detail;
    this.content.append(
      make(
        "div",
        { class: "failure", role: "alert" },
        typeof text === "string" ? text : makeTree(value),
      ),
    );
  }

  /** List the invalid fields and their errors, with a link to each. */
  showErrors(errors) {
    const items = errors.map(({ place, text, go }) =>
      make(
        "li",
        {},
        go ? button(place, go, { class: "link" }) : make("code", {}, place),
        ` ${text}`,
      ),
    );
    this.content.prepend(
      make("div", { class: "failure" }, make("ul", { "aria-label": "Wrong fields" }, items)),
    );
  }
}

function parsedOr(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
