// Editors: the input of an endpoint, as a form and as JSON beside it.

/**
 * The input of an endpoint: its parameters and its body.
 */
class InputEditor {
  constructor(document, endpoint, changed) {
    this.endpoint = endpoint;
    this.changed = () => {
      this.writeJson();
      changed();
    };
    const options = { document, changed: this.changed, depth: 0, required: true, certain: true };
    this.parameters = makeField(parameterSchema(endpoint), {
      ...options,
      name: "parameters",
      label: "Parameters",
    });
    this.element = make("div", { class: "editor" });
    if (endpoint.parameters.length) this.element.append(this.parameters.element);
    if (endpoint.body) {
      const begun = initialValue(document, endpoint.body.schema, true);
      this.body = makeField(endpoint.body.schema, { ...options, name: "input", label: "input" });
      this.body.value = begun ?? undefined;
      this.addViews();
    } else if (!endpoint.parameters.length) {
      this.element.append(make("p", { class: "empty" }, "This endpoint takes no input."));
    }
    this.parameters.value = initialValue(document, parameterSchema(endpoint), true);
    this.begun = structuredClone(this.value);
    this.writeJson();
  }

  addViews() {
    this.json = make("textarea", {
      class: "code raw",
      spellcheck: "false",
      "aria-label": "Input as JSON",
      "aria-describedby": newId(),
      rows: 12,
      on: { input: () => this.readJson() },
    });
    this.jsonError = make("p", {
      class: "error",
      id: this.json.getAttribute("aria-describedby"),
      hidden: true,
    });
    const form = make("div", { class: "form" }, this.body.element);
    const raw = make("div", { class: "form" }, this.json, this.jsonError);
    this.tabs = makeTabs("How the input is shown", [
      ["Form", form],
      ["JSON", raw],
    ]);
    this.element.append(this.tabs.list, form, raw);
  }

  get value() {
    return { parameters: this.parameters.value, body: this.body?.value };
  }

  set value({ parameters, body }) {
    this.parameters.value = parameters ?? {};
    if (this.body && body !== undefined) this.body.value = body;
    this.writeJson();
  }

  /** Return why the input cannot be sent. */
  get problem() {
    if (this.jsonError && !this.jsonError.hidden) return this.jsonError.textContent;
    const missing = this.endpoint.parameters.find(
      ({ name, in: place }) =>
        place === "path" && [undefined, ""].includes(this.parameters.value[name]),
    );
    if (missing) return `The path needs a value for ${missing.name}.`;
    return this.parameters.problem || this.body?.problem || "";
  }

  writeJson() {
    if (!this.json) return;
    this.json.value = JSON.stringify(this.body.value, null, 2) ?? "";
    this.sayJson("");
  }

  readJson() {
    const problem = this.json.value.trim() ? jsonProblem(this.json.value) : "The input is empty.";
    this.sayJson(problem);
    if (problem) return;
    this.body.value = JSON.parse(this.json.value);
    const written = this.json.value;
    this.changed();
    // Keep the text as it was typed.
    this.json.value = written;
  }

  sayJson(problem) {
    this.jsonError.textContent = problem;
    this.jsonError.hidden = !problem;
    this.json.toggleAttribute("aria-invalid", Boolean(problem));
  }

  clearErrors() {
    this.parameters.clearErrors();
    this.body?.clearErrors();
  }

  /**
   * Show errors beside the fields that they name; return them with a link to each field.
   */
  showErrors(details) {
    return details.map(({ loc, msg }) => {
      const [place, ...path] = Array.isArray(loc) ? loc : [];
      const root = place === "body" ? this.body : this.parameters;
      const field = root?.find(path.map((each) => each));
      const text = String(msg ?? "");
      const said = path.length ? path.join(".") : String(place ?? "input");
      if (!field) return { place: said, text };
      field.showError(text);
      return { place: said, text, go: () => this.go(field) };
    });
  }

  go(field) {
    this.tabs?.choose("Form");
    field.control?.focus();
    field.element.scrollIntoView({ block: "nearest" });
  }
}

function parameterSchema(endpoint) {
  return {
    type: "object",
    properties: Object.fromEntries(
      endpoint.parameters.map(({ name, schema = {}, description, in: place }) => [
        name,
        { description: description ?? `In the ${place}.`, ...schema },
      ]),
    ),
    required: endpoint.parameters.filter((each) => each.required).map((each) => each.name),
    additionalProperties: false,
  };
}

/**
 * Copy the input of an older editor into a newer one, which may have other defaults.
 */
function carryInput(older, newer) {
  const typed = (begun, value, anew) => {
    if (isSame(begun, value)) return anew;
    if (!isObject(begun) || !isObject(value) || !isObject(anew)) return value;
    const names = [...new Set([...Object.keys(anew), ...Object.keys(value)])];
    const kept = names.map((name) => [name, typed(begun[name], value[name], anew[name])]);
    return Object.fromEntries(kept.filter(([, each]) => each !== undefined));
  };
  const parameters = typed(older.begun.parameters, older.value.parameters, newer.begun.parameters);
  newer.value = { parameters, body: typed(older.begun.body, older.value.body, newer.begun.body) };
}
