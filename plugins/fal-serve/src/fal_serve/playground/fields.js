// Fields: the base of all fields of a form.

/**
 * One value of a form.
 *
 * A field holds the value that was last set or typed, so that the form and the JSON beside
 * it never differ. It also keeps values that it cannot show.
 */
class Field {
  /**
   * `options`: document, name, label, required, nullable, depth, changed (called when the
   * user has changed the value), plain (no heading: the row of a list has its own).
   */
  constructor(schema, options) {
    this.schema = schema;
    this.options = options;
    this.id = newId();
    this.odd = null;
    this.note = make("p", { class: "hint", id: `${this.id}-hint` });
    this.error = make("p", { class: "error", id: `${this.id}-error`, hidden: true });
    this.error.classList.add("field-error");
  }

  get value() {
    return this.odd ? this.odd.value : this.read();
  }

  set value(value) {
    this.clearErrors();
    this.odd = this.accepts(value) ? null : { value };
    this.show(this.odd ? undefined : value);
    if (this.odd)
      this.showError(
        `The JSON has ${JSON.stringify(value).slice(0, 80)} here, which this field cannot show.`,
      );
  }

  /** The error of an input that is not a value. */
  get problem() {
    return "";
  }

  accepts() {
    return true;
  }

  touched() {
    this.odd = null;
    this.clearErrors();
    if (this.problem) this.showError(this.problem);
    this.options.changed();
  }

  /** The innermost field on a path into this one. */
  find(path) {
    return this;
  }

  /** The control that an error of this field moves the focus to. */
  get control() {
    return this.element.querySelector("input, textarea, select, button");
  }

  showError(text) {
    this.error.textContent = this.error.hidden ? text : `${this.error.textContent} ${text}`;
    this.error.hidden = false;
    this.control?.setAttribute("aria-invalid", "true");
    this.element.classList.add("wrong");
  }

  clearErrors() {
    if (this.error.hidden) return;
    this.error.hidden = true;
    this.error.textContent = "";
    this.control?.removeAttribute("aria-invalid");
    this.element.classList.remove("wrong");
  }

  /** The value of this field if it is left empty. */
  get blank() {
    return this.options.nullable ? null : undefined;
  }

  /** The heading, the control, and their description and errors. */
  dress(control, ...beside) {
    const { label, required, plain, document } = this.options;
    const hints = [this.schema.description, describeBounds(this.schema)].filter(Boolean);
    this.note.textContent = hints.join(" · ");
    const main = control.matches("input, textarea, select")
      ? control
      : control.querySelector("input, textarea, select");
    main.id = this.id;
    main.setAttribute("aria-describedby", `${this.note.id} ${this.error.id}`);
    if (plain) main.setAttribute("aria-label", label);
    if (required) main.setAttribute("aria-required", "true");
    const heading = make(
      "div",
      { class: "heading" },
      make("label", { for: this.id }, label),
      required ? make("span", { class: "required", "aria-hidden": "true" }, "required") : null,
      make(
        "span",
        { class: "type" },
        describeType(document, { ...this.schema }) + (this.options.nullable ? " or null" : ""),
      ),
    );
    return make(
      "div",
      { class: "field" },
      plain ? null : heading,
      control,
      beside,
      hints.length ? this.note : null,
      this.examples(),
      this.error,
    );
  }

  /** Buttons that insert an example. */
  examples() {
    const given = examplesOf(this.schema).slice(0, 6);
    if (!given.length) return null;
    const buttons = given.map((example) => {
      const text = typeof example === "string" ? example : JSON.stringify(example);
      const shown = text.length > 48 ? `${text.slice(0, 47)}…` : text;
      return button(
        // In an element of its own, which can be truncated at its end.
        make("span", {}, shown),
        () => {
          this.value = structuredClone(example);
          this.options.changed();
        },
        { class: "chip", title: text.slice(0, 400) },
      );
    });
    return make(
      "div",
      { class: "chips", role: "group", "aria-label": `Examples of ${this.options.label}` },
      buttons,
    );
  }
}

/**
 * A value of any kind, as JSON.
 */
class JsonField extends Field {
  constructor(schema, options) {
    super(schema, options);
    this.area = make("textarea", {
      class: "code",
      rows: 3,
      spellcheck: "false",
      on: { input: () => this.touched() },
    });
    this.element = this.dress(this.area);
  }

  get problem() {
    return jsonProblem(this.area.value);
  }

  read() {
    if (!this.area.value.trim() || this.problem) return this.blank;
    return JSON.parse(this.area.value);
  }

  show(value) {
    this.area.value = value === undefined ? "" : JSON.stringify(value, null, 2);
  }
}

/**
 * Return the error of a text that is not JSON; an empty text has none.
 */
function jsonProblem(text) {
  if (!text.trim()) return "";
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}
