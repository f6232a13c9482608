// Sockets: a websocket endpoint, with its messages in both directions.

const MOST_MESSAGES = 300;

class SocketView {
  constructor({ document, base, endpoint, changed }) {
    this.base = base;
    const isJson = /json/.test(endpoint.protocol.contentType ?? "");
    const taken = endpoint.body ?? {
      type: "application/json",
      schema: { description: "A message, as JSON." },
    };
    this.endpoint = { ...endpoint, body: taken };
    this.editor = new InputEditor(document, this.endpoint, changed);
    this.codec = make(
      "select",
      { id: newId() },
      ...[
        ["msgpack", "MessagePack"],
        ["json", "JSON"],
        ["text", "text"],
      ].map(([value, name]) => make("option", { value }, name)),
    );
    this.codec.value = endpoint.protocol.type === "realtime" && !isJson ? "msgpack" : "json";
    this.connectButton = button("Connect", () => this.connectOrLeave());
    this.sendButton = button("Send", () => this.send(), {
      picture: "run",
      shown: "Send",
      class: "primary",
      "aria-keyshortcuts": "Control+Enter Meta+Enter",
    });
    this.problem = make("p", { class: "error", role: "alert", hidden: true });
    this.state = make("span", { class: "badge" }, "Not connected");
    this.log = make("ol", {
      class: "rows messages",
      role: "log",
      "aria-label": "Messages",
      tabindex: "0",
    });
    this.latest = make("div", {});
    this.element = make(
      "div",
      { class: "view", on: { keydown: (event) => this.press(event) } },
      makeHead(base, endpoint),
      make("div", { class: "panels" }, this.inputPanel(), this.messagePanel()),
    );
  }

  inputPanel() {
    const actions = make(
      "div",
      { class: "actions" },
      this.problem,
      this.sendButton,
      this.connectButton,
      make("span", { class: "codec" }, make("label", { for: this.codec.id }, "as"), this.codec),
      make("span", { class: "shortcut", "aria-hidden": "true" }, SHORTCUT),
    );
    const snippets = makeSnippets(this.base, this.endpoint, () => ({
      ...this.editor.value,
      codec: this.codec.value,
    }));
    return make(
      "section",
      { class: "panel input", "aria-label": "Message" },
      make("div", { class: "panel-head" }, make("h2", {}, "Message"), snippets),
      this.editor.element,
      actions,
    );
  }

  messagePanel() {
    const clear = button(
      "Clear",
      () => {
        this.log.replaceChildren();
        this.latest.replaceChildren();
      },
      { class: "small" },
    );
    return make(
      "section",
      { class: "panel answer", "aria-label": "Messages" },
      make(
        "div",
        { class: "panel-head" },
        make("h2", {}, "Messages"),
        make("div", { class: "status" }, this.state, clear),
      ),
      make("div", { class: "content" }, this.latest, this.log),
    );
  }

  press(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.send();
  }

  connectOrLeave() {
    if (this.socket) this.socket.close(1000);
    else this.connect();
  }

  /** Return a promise that resolves once messages can be sent. */
  connect() {
    if (this.opened) return this.opened;
    const url = urlOf(this.base, this.endpoint, this.editor.value.parameters).replace(
      /^http/,
      "ws",
    );
    const socket = new WebSocket(access.toSocket(url));
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.tell("running", "Connecting");
    this.connectButton.textContent = "Disconnect";
    socket.addEventListener("message", ({ data }) => this.receive(data));
    this.opened = new Promise((resolve) => {
      socket.addEventListener("open", () => {
        this.tell("good", "Connected");
        resolve(true);
      });
      socket.addEventListener("close", (event) => {
        this.closed(event);
        resolve(false);
      });
    });
    return this.opened;
  }

  closed({ code, reason, wasClean }) {
    this.socket = this.opened = null;
    this.connectButton.textContent = "Connect";
    const said = reason ? `: ${reason}` : "";
    if (wasClean && code <= 1001) this.tell("", `Disconnected${said}`);
    else
      this.tell(
        "failed",
        code === 1006 ? "Connection lost or refused" : `Closed with ${code}${said}`,
      );
  }

  tell(kind, text) {
    this.state.className = `badge ${kind}`;
    this.state.textContent = text;
    announce(`${text}.`);
  }

  async send() {
    const problem = this.editor.problem;
    this.problem.textContent = problem;
    this.problem.hidden = !problem;
    if (problem) return;
    const { body } = this.editor.value;
    try {
      const message = this.encode(body);
      if (!(await this.connect()) || this.socket?.readyState !== WebSocket.OPEN) return;
      this.socket.send(message);
      this.add("sent", body, message.length);
    } catch (error) {
      this.problem.textContent = error.message;
      this.problem.hidden = false;
    }
  }

  encode(body) {
    if (this.codec.value === "msgpack") return encodeMsgpack(body);
    if (this.codec.value === "text" && typeof body === "string") return body;
    return JSON.stringify(body ?? null);
  }

  receive(data) {
    if (typeof data === "string") {
      const value = parsedOr(data);
      this.add(value?.type === "x-fal-error" ? "refused" : "received", value, data.length);
      return;
    }
    const bytes = new Uint8Array(data);
    this.add("received", this.decode(bytes), bytes.length);
  }

  decode(bytes) {
    try {
      if (this.codec.value === "msgpack") return decodeMsgpack(bytes);
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      return bytes;
    }
  }

  add(kind, value, length) {
    const isOurs = kind === "sent";
    const near = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80;
    this.log.append(
      make(
        "li",
        { class: kind },
        make(
          "span",
          { class: "direction", title: isOurs ? "sent" : "received" },
          isOurs ? "↑" : "↓",
          make("span", { class: "visually-hidden" }, isOurs ? "sent" : "received"),
        ),
        make("span", { class: "when" }, `${new Date().toLocaleTimeString()} · ${inBytes(length)}`),
        makeTree(value, { open: 1 }),
      ),
    );
    if (this.log.childElementCount > MOST_MESSAGES) this.log.firstElementChild.remove();
    const gallery = isOurs ? null : makeGallery(value);
    if (gallery) this.latest.replaceChildren(gallery);
    if (near) this.log.scrollTop = this.log.scrollHeight;
  }

  leave() {
    this.socket?.close(1000);
  }
}
