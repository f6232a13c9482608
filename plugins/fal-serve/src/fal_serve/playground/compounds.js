// Compounds: fields made of fields.

/**
 * A field that holds others.
 */
class Compound extends Field {
  constructor(schema, options) {
    super(schema, options);
    this.body = make("div", { class: "body" });
  }

  /** Make a field for a part of this one. */
  inner(schema, name, { label = name, required = true, ...more } = {}) {
    const { document, changed, depth = 0 } = this.options;
    return makeField(schema, {
      document,
      changed: () => {
        this.loosen();
        changed();
      },
      name,
      label,
      required,
      depth: depth + 1,
      ...more,
    });
  }

  loosen() {
    this.odd = null;
    Field.prototype.clearErrors.call(this);
  }

  get parts() {
    return [];
  }

  get problem() {
    return this.parts.map((part) => part.problem).find(Boolean) ?? "";
  }

  clearErrors() {
    super.clearErrors();
    for (const part of this.parts) part.clearErrors();
  }

  /** The heading of a group, unless it is the form itself. */
  group(...beside) {
    const { label, document, depth, plain, required } = this.options;
    if (!depth) return make("div", { class: "group root" }, this.error, this.body, beside);
    this.note.textContent = [this.schema.description, describeBounds(this.schema)]
      .filter(Boolean)
      .join(" · ");
    const heading = make(
      "legend",
      { class: plain ? "heading visually-hidden" : "heading" },
      make("span", { class: "label" }, label),
      required ? make("span", { class: "required", "aria-hidden": "true" }, "required") : null,
      make("span", { class: "type" }, describeType(document, this.schema)),
    );
    return make(
      "fieldset",
      { class: "group" },
      heading,
      this.note.textContent ? this.note : null,
      this.error,
      this.body,
      beside,
    );
  }
}

/**
 * An object with known properties. Other properties are kept, and shown as JSON.
 */
class ObjectField extends Compound {
  constructor(schema, options) {
    super(schema, options);
    this.fields = new Map();
    for (const [name, property] of orderedProperties(schema)) {
      const required = (schema.required ?? []).includes(name);
      const field = this.inner(property, name, { required });
      // Its value is sent, and can be changed in the JSON.
      field.element.hidden = property.ui?.hidden === true;
      this.fields.set(name, field);
    }
    this.others = this.inner(
      { type: "object", description: "Not among the properties that are described." },
      "other fields",
      { required: false },
    );
    this.body.append(...[...this.fields.values(), this.others].map((field) => field.element));
    this.element = this.group();
  }

  get parts() {
    return [...this.fields.values(), this.others];
  }

  accepts(value) {
    return value === undefined || isObject(value);
  }

  read() {
    const known = [...this.fields].map(([name, field]) => [name, field.value]);
    const others = isObject(this.others.value) ? Object.entries(this.others.value) : [];
    return Object.fromEntries([...known, ...others].filter(([, value]) => value !== undefined));
  }

  show(value = {}) {
    for (const [name, field] of this.fields)
      field.value = Object.hasOwn(value, name) ? value[name] : undefined;
    const others = Object.entries(value).filter(([name]) => !this.fields.has(name));
    this.others.value = others.length ? Object.fromEntries(others) : undefined;
    this.others.element.hidden = !others.length;
  }

  find([name, ...rest]) {
    return this.fields.get(name)?.find(rest) ?? this;
  }
}

/**
 * A list, whose items are added and removed.
 */
class ArrayField extends Compound {
  constructor(schema, options) {
    super(schema, options);
    this.items = [];
    this.add = button("Add an item", () => this.append(), {
      picture: "plus",
      shown: "Add",
      class: "small",
    });
    this.add.setAttribute("aria-label", `Add an item to ${options.label}`);
    this.element = this.group(this.add);
  }

  get parts() {
    return this.items.map((item) => item.field);
  }

  get control() {
    return this.add;
  }

  accepts(value) {
    return value === undefined || Array.isArray(value);
  }

  append() {
    this.put(initialValue(this.options.document, this.schema.items, true));
    this.items.at(-1).field.control?.focus();
    this.changedItems();
  }

  put(value) {
    const name = this.options.name.replace(/s$/, "");
    const field = this.inner(this.schema.items ?? {}, name, {
      label: `${this.options.label} ${this.items.length + 1}`,
      plain: true,
    });
    field.value = value;
    const remove = button("Remove this item", () => this.remove(item), {
      picture: "cancel",
      class: "quiet",
    });
    const item = { field, remove, row: make("div", { class: "item" }, field.element, remove) };
    this.items.push(item);
    this.body.append(item.row);
    this.renumber();
  }

  remove(item) {
    const index = this.items.indexOf(item);
    this.items.splice(index, 1);
    item.row.remove();
    (this.items[index] ?? this.items[index - 1])?.remove.focus();
    if (!this.items.length) this.add.focus();
    this.renumber();
    this.changedItems();
  }

  changedItems() {
    this.loosen();
    this.options.changed();
  }

  renumber() {
    this.items.forEach(({ remove }, index) => {
      const text = `Remove ${this.options.label} ${index + 1}`;
      remove.setAttribute("aria-label", text);
      remove.title = text;
    });
    this.add.disabled = this.items.length >= (this.schema.maxItems ?? Infinity);
  }

  read() {
    return this.items.map((item) => item.field.value ?? null);
  }

  show(value = []) {
    // Existing rows stay where they are, and keep the focus.
    value.slice(0, this.items.length).forEach((each, index) => {
      this.items[index].field.value = each;
    });
    for (const item of this.items.splice(value.length)) item.row.remove();
    for (const each of value.slice(this.items.length)) this.put(each);
    this.renumber();
  }

  find([index, ...rest]) {
    return this.items[index]?.field.find(rest) ?? this;
  }
}

/**
 * An object whose keys are up to the user.
 */
class MapField extends Compound {
  constructor(schema, options) {
    super(schema, options);
    this.entries = [];
    this.add = button(
      "Add an entry",
      () => {
        this.put("", initialValue(options.document, schema.additionalProperties, true));
        this.entries.at(-1).key.focus();
        this.changedEntries();
      },
      { picture: "plus", shown: "Add", class: "small" },
    );
    this.add.setAttribute("aria-label", `Add an entry to ${options.label}`);
    this.element = this.group(this.add);
  }

  get parts() {
    return this.entries.map((entry) => entry.field);
  }

  accepts(value) {
    return value === undefined || isObject(value);
  }

  put(name, value) {
    const field = this.inner(this.schema.additionalProperties, name || "value", {
      label: "value",
      plain: true,
    });
    field.value = value;
    const key = make("input", {
      type: "text",
      class: "key",
      value: name,
      placeholder: "key",
      "aria-label": "key",
      on: { input: () => this.changedEntries() },
    });
    const remove = button(
      "Remove this entry",
      () => {
        this.entries = this.entries.filter((each) => each !== entry);
        entry.row.remove();
        this.add.focus();
        this.changedEntries();
      },
      { picture: "cancel", class: "quiet" },
    );
    const entry = { key, field, row: make("div", { class: "item" }, key, field.element, remove) };
    this.entries.push(entry);
    this.body.append(entry.row);
  }

  changedEntries() {
    this.loosen();
    this.options.changed();
  }

  read() {
    return Object.fromEntries(
      this.entries.map(({ key, field }) => [key.value, field.value ?? null]),
    );
  }

  show(value = {}) {
    for (const entry of this.entries.splice(0)) entry.row.remove();
    for (const [name, each] of Object.entries(value)) this.put(name, each);
  }

  find([name, ...rest]) {
    return this.entries.find(({ key }) => key.value === name)?.field.find(rest) ?? this;
  }
}
