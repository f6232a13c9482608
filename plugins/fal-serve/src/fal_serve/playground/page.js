// The page: the list of endpoints, the current one, and the state of the service.

const SHORTCUT = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘ Enter" : "Ctrl Enter";
const ASK_EVERY = 3000;
const ASK_WHILE_GONE = 1000;
const ASK_WHILE_STARTING = 500;
const HEALTH_EVERY = 5;

class Page {
  constructor() {
    this.base = BASE;
    this.state = {};
    this.watchers = new Set();
    this.views = new Map();
    this.text = "";
    this.instance = null;
    this.asked = 0;
    this.find = (id) => document.getElementById(id);
  }

  async start() {
    this.find("theme").append(icon("theme"));
    this.find("menu").append(icon("menu"));
    this.find("theme").addEventListener("click", () => this.changeTheme());
    this.find("menu").addEventListener("click", () =>
      this.showMenu(!document.body.classList.contains("with-menu")),
    );
    this.find("search").addEventListener("input", () => this.filter());
    this.find("search").addEventListener("keydown", (event) => this.searched(event));
    this.find("endpoints").addEventListener("keydown", (event) => this.moveInList(event));
    document.addEventListener("keydown", (event) => this.press(event));
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
    addEventListener("hashchange", () => this.choose());
    this.setTheme(readStored(localStorage, "fal-theme") ?? "auto");
    access.begin();
    await this.ask();
  }

  // -- the service -------------------------------------------------------------------

  /** Check the state of the service, now and repeatedly. */
  async ask() {
    clearTimeout(this.timer);
    // Of two concurrent checks, the later one counts.
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const isThere = await this.askOnce().catch(() => false);
    if (turn !== this.turn) return;
    if (!isThere)
      this.tellState("gone", this.text ? "Gone; waiting for it" : "Not there; waiting for it");
    // A hidden page sends no requests.
    if (!document.hidden)
      this.timer = setTimeout(() => this.ask(), isThere ? this.pause : ASK_WHILE_GONE);
  }

  get pause() {
    return this.watchers.size ? ASK_WHILE_STARTING : ASK_EVERY;
  }

  async askOnce() {
    if (this.takeSent()) return this.tellRunners();
    // The first time, the document comes meanwhile.
    const early = this.text || this.instance ? null : this.get("/openapi.json").catch(() => null);
    const response = await this.get("/playground/state");
    if (IS_DEPLOYED && [401, 403, 404].includes(response.status)) {
      await this.leadToSignIn(response);
      return true;
    }
    if (!response.ok) return false;
    this.state = await response.json();
    const { instance } = this.state;
    if (instance !== this.instance) {
      await this.readDocument(early);
      this.instance = instance;
      this.asked = 0;
    }
    if (IS_DEPLOYED) return this.tellRunners();
    if (this.document.paths?.["/health"]?.get && this.asked % HEALTH_EVERY === 0) {
      const health = await this.get("/health");
      this.unwell = health.ok ? "" : `Unwell: /health answers ${health.status}`;
    }
    this.asked += 1;
    this.tellState(this.unwell ? "unwell" : "well", this.unwell || "Running");
    return true;
  }

  /**
   * Take the state and the document that a gateway has sent with the page, once. To who is
   * signed in it tells more when it is asked.
   */
  takeSent() {
    const [state, text] = ["sent-state", "sent-document"].map((id) => {
      const element = this.find(id);
      element?.remove();
      return element?.textContent;
    });
    if (!text || access.token) return false;
    this.state = JSON.parse(state);
    this.instance = this.state.instance;
    this.show(text);
    return true;
  }

  get(path) {
    return fetch(this.base + path, {
      cache: "no-store",
      headers: access.headers,
      signal: AbortSignal.timeout(10_000),
    });
  }

  /** Tell what runs of a deployed application. */
  tellRunners() {
    const { runners = {}, phase, waiting } = this.state;
    const count = (runners.running ?? 0) + (runners.idle ?? 0);
    const text = count
      ? `${count} runner${count === 1 ? "" : "s"}`
      : phase
        ? "Starting a runner"
        : "Scaled to zero: the first call starts a runner";
    this.tellState("well", waiting ? `${text}, ${waiting} waiting` : text);
    for (const watcher of this.watchers) watcher(this.state);
    return true;
  }

  /** Look more often, and call `watcher` with each state, until the result is called. */
  watch(watcher) {
    if (!IS_DEPLOYED) return () => {};
    this.watchers.add(watcher);
    this.ask();
    return () => this.watchers.delete(watcher);
  }

  async leadToSignIn(response) {
    const { detail = "" } = await response.json().catch(() => ({}));
    this.instance = null;
    this.tellState("unwell", "Not signed in");
    if (this.find("main").querySelector(".sign-in")) return;
    const wasShown = Boolean(access.token);
    access.forget();
    const reason = wasShown ? detail : "This application is not open to everybody.";
    this.text = "";
    this.find("endpoints").replaceChildren();
    this.find("main").replaceChildren(makeSignInNote(reason));
  }

  tellState(kind, text) {
    const state = this.find("state");
    if (state.textContent === text) return;
    if (state.textContent && state.className.includes("gone") && kind === "well")
      announce("The service is back.");
    else if (kind !== "well") announce(`The service: ${text}.`);
    state.className = `state ${kind}`;
    state.textContent = text;
    this.find("lost").hidden = kind !== "gone" || !this.text;
  }

  async readDocument(early) {
    const response = (await early) ?? (await this.get("/openapi.json"));
    if (!response.ok) throw new Error(`The document was answered with ${response.status}.`);
    this.show(await response.text());
  }

  show(text) {
    if (text === this.text) return;
    const isFirst = !this.text;
    this.document = JSON.parse(text);
    this.text = text;
    this.build();
    if (!isFirst) announce("The service has changed; what was typed is kept.");
  }

  build() {
    const { info = {} } = this.document;
    this.find("name").textContent = info.title ?? "Service";
    this.find("version").textContent =
      info.version && info.version !== "unknown" ? info.version : "";
    this.find("about").textContent = info.description ?? "";
    document.title = `${info.title ?? "Service"} · playground`;
    this.endpoints = readEndpoints(this.document, this.state.order);
    this.older = new Map([...(this.older ?? []), ...this.views]);
    this.views.clear();
    this.links = this.endpoints.map((endpoint) =>
      make(
        "a",
        { href: `#${encodeURIComponent(endpoint.id)}`, title: endpoint.description || null },
        make("span", { class: `method ${endpoint.method.toLowerCase()}` }, endpoint.method),
        make("span", { class: "path" }, endpoint.path),
      ),
    );
    this.find("endpoints").replaceChildren(...this.links.map((link) => make("li", {}, link)));
    this.filter();
    this.choose();
  }

  // -- the endpoint that is shown ----------------------------------------------------

  choose() {
    if (!this.endpoints) return;
    const asked = decodeURIComponent(location.hash.slice(1));
    // A link may name the path alone.
    const endpoint =
      this.endpoints.find((each) => each.id === asked) ??
      this.endpoints.find((each) => each.path === asked) ??
      this.endpoints[0];
    this.endpoints.forEach((each, index) => {
      if (each === endpoint) this.links[index].setAttribute("aria-current", "page");
      else this.links[index].removeAttribute("aria-current");
    });
    this.showMenu(false);
    const main = this.find("main");
    if (!endpoint)
      return main.replaceChildren(
        make("p", { class: "empty" }, "The service has no endpoint that can be called here."),
      );
    const view = this.views.get(endpoint.id) ?? this.makeView(endpoint);
    if (main.firstElementChild !== view.element) main.replaceChildren(view.element);
  }

  makeView(endpoint) {
    const key = `fal-input ${this.base} ${endpoint.id}`;
    const changed = () =>
      writeStored(
        sessionStorage,
        key,
        JSON.stringify({ begun: view.editor.begun, value: view.editor.value }),
      );
    const options = {
      document: this.document,
      base: this.base,
      endpoint,
      changed,
      service: this,
    };
    const view = endpoint.protocol ? new SocketView(options) : new CallView(options);
    const older = this.older.get(endpoint.id);
    const stored = readStored(sessionStorage, key);
    if (older) {
      carryInput(older.editor, view.editor);
      this.keepAnswer(older, view);
    } else if (stored) {
      carryInput(parsedOr(stored), view.editor);
    }
    this.older.delete(endpoint.id);
    this.views.set(endpoint.id, view);
    return view;
  }

  /** Keep the response; a running request belongs to the service before its restart. */
  keepAnswer(older, view) {
    if (
      view instanceof CallView &&
      older instanceof CallView &&
      !older.running &&
      older.answer.response
    ) {
      view.answer.element.replaceWith(older.answer.element);
      view.answer = older.answer;
    }
    older.leave();
  }

  // -- the list ----------------------------------------------------------------------

  filter() {
    const words = this.find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    this.endpoints?.forEach((endpoint, index) => {
      const text = `${endpoint.id} ${endpoint.title} ${endpoint.description}`.toLowerCase();
      const isShown = words.every((word) => text.includes(word));
      this.links[index].parentElement.hidden = !isShown;
      shown += isShown;
    });
    this.find("none").hidden = shown > 0 || !this.endpoints;
  }

  shownLinks() {
    return this.links.filter((link) => !link.parentElement.hidden);
  }

  searched(event) {
    const [first] = this.shownLinks();
    if (event.key === "ArrowDown") first?.focus();
    else if (event.key === "Enter") first?.click();
    else if (event.key === "Escape") {
      event.target.value = "";
      this.filter();
    } else return;
    event.preventDefault();
  }

  moveInList(event) {
    const links = this.shownLinks();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const next = links.indexOf(document.activeElement) + step;
    (links[next] ?? (next < 0 ? this.find("search") : null))?.focus();
    event.preventDefault();
  }

  press(event) {
    const isTyping = event.target.closest?.(
      "input:not([type=checkbox], [type=range]), textarea, select",
    );
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.showMenu(true);
      this.find("search").focus();
      this.find("search").select();
    } else if (event.key === "Escape" && document.body.classList.contains("with-menu")) {
      this.showMenu(false);
      this.find("menu").focus();
    }
  }

  showMenu(isShown) {
    document.body.classList.toggle("with-menu", isShown);
    this.find("menu").setAttribute("aria-expanded", String(isShown));
  }

  // -- the colours -------------------------------------------------------------------

  changeTheme() {
    const names = ["auto", "light", "dark"];
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    this.setTheme(next);
    writeStored(localStorage, "fal-theme", next);
    announce(`Colours: ${next}.`);
  }

  setTheme(name) {
    document.documentElement.dataset.theme = name;
    const label = `Colours: ${name === "auto" ? "as the system" : name}`;
    this.find("theme").setAttribute("aria-label", label);
    this.find("theme").title = label;
  }
}

/** Storage may be full or disabled: the page works without it. */
function readStored(storage, key) {
  try {
    return storage.getItem(key);
  } catch {
    return null;
  }
}

function writeStored(storage, key, text) {
  try {
    storage.setItem(key, text);
  } catch {
    // A large file does not fit into the storage.
  }
}

const page = new Page();
page.start();
