// Calls: an endpoint for requests, with its input and its response.

/**
 * The head of an endpoint: its name, its method and path, and its description.
 */
function makeHead(base, endpoint) {
  return make(
    "header",
    { class: "endpoint-head" },
    make("h1", {}, endpoint.title),
    make(
      "p",
      { class: "address" },
      make("span", { class: `method ${endpoint.method.toLowerCase()}` }, endpoint.method),
      make("code", {}, endpoint.path),
    ),
    endpoint.description ? make("p", { class: "description" }, endpoint.description) : null,
  );
}

/**
 * Buttons that copy the call as a program.
 */
function makeSnippets(base, endpoint, read) {
  const languages = languagesOf(endpoint);
  const buttons = languages.map((language) =>
    button(
      `Copy as ${language}`,
      async () => {
        await copyText(snippetsOf(base, endpoint, read())[language]);
        announce(`Copied as ${language}.`);
      },
      { picture: "copy", shown: language, class: "small", "aria-label": `Copy as ${language}` },
    ),
  );
  return make(
    "div",
    { class: "snippets", role: "group", "aria-label": "Copy as" },
    make("span", {}, "Copy as"),
    buttons,
  );
}

class CallView {
  constructor({ document, base, endpoint, changed, service }) {
    this.base = base;
    this.endpoint = endpoint;
    this.service = service;
    this.editor = new InputEditor(document, endpoint, changed);
    this.answer = new AnswerPanel();
    this.runButton = button("Run", () => this.run(), {
      picture: "run",
      shown: "Run",
      class: "primary",
      "aria-keyshortcuts": "Control+Enter Meta+Enter",
    });
    this.cancelButton = button("Cancel", () => this.cancel(), {
      picture: "cancel",
      shown: "Cancel",
      disabled: true,
    });
    this.problem = make("p", { class: "error", role: "alert", hidden: true });
    const actions = make(
      "div",
      { class: "actions" },
      this.problem,
      this.runButton,
      this.cancelButton,
      make("span", { class: "shortcut", "aria-hidden": "true" }, SHORTCUT),
    );
    const snippets = makeSnippets(base, endpoint, () => this.editor.value);
    this.history = new CallHistory(base, endpoint, (value) => {
      this.editor.value = value;
      changed();
    });
    if (IS_DEPLOYED && endpoint.method !== "GET") actions.append(this.makeQueueChoice());
    this.element = make(
      "div",
      { class: "view", on: { keydown: (event) => this.press(event) } },
      makeHead(base, endpoint),
      make(
        "div",
        { class: "panels" },
        make(
          "section",
          { class: "panel input", "aria-label": "Input" },
          make("div", { class: "panel-head" }, make("h2", {}, "Input"), snippets),
          this.editor.element,
          actions,
        ),
        this.answer.element,
      ),
      this.history.element,
    );
  }

  makeQueueChoice() {
    this.queued = make("input", { type: "checkbox", role: "switch", id: newId() });
    return make(
      "span",
      { class: "queue-choice" },
      this.queued,
      make("label", { for: this.queued.id }, "In the queue"),
    );
  }

  press(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.run();
    } else if (event.key === "Escape" && this.running) {
      this.cancel();
    }
  }

  /** Show why nothing is sent; return whether there is a reason. */
  refuse() {
    const text = this.editor.problem;
    this.problem.textContent = text;
    this.problem.hidden = !text;
    return Boolean(text);
  }

  async run() {
    if (this.running || this.refuse()) return;
    this.editor.clearErrors();
    const controller = new AbortController();
    this.running = controller;
    this.setRunning(true);
    this.answer.start();
    // On a narrow screen the response is below the input.
    if (matchMedia("(max-width: 1100px)").matches)
      this.answer.element.scrollIntoView({ block: "nearest" });
    const value = this.editor.value;
    const unwatch = this.service.watch((state) => this.answer.waits(state));
    try {
      const request = toRequest(this.base, this.endpoint, value);
      if (this.queued?.checked && this.service.state.queue)
        await performQueued(request, this.service.state.queue, this.answer, controller.signal);
      else await perform(request, this.answer, controller.signal);
      this.showErrors();
    } catch (error) {
      if (controller.signal.aborted) this.answer.cancelled();
      else this.answer.failed(error);
    } finally {
      unwatch();
      const status = this.answer.status.firstElementChild.textContent;
      this.history.add(value, status, this.answer.elapsed());
      this.running = null;
      this.setRunning(false);
    }
  }

  setRunning(isRunning) {
    // The focus moves to the button that can be pressed.
    const [off, on] = isRunning
      ? [this.runButton, this.cancelButton]
      : [this.cancelButton, this.runButton];
    const moves = document.activeElement === off;
    on.disabled = false;
    if (moves) on.focus();
    off.disabled = true;
  }

  cancel() {
    this.running?.abort();
  }

  showErrors() {
    const { response, value } = this.answer;
    const details = response.ok ? null : value?.detail;
    if (!Array.isArray(details) || !details.every(isObject)) return;
    const errors = this.editor.showErrors(details);
    if (errors.length) this.answer.showErrors(errors);
    if (document.activeElement === this.runButton) errors.find((each) => each.go)?.go();
  }

  leave() {
    this.cancel();
  }
}
