// Forms: the fields for schemas.

/**
 * A group that may be absent: null, or left out.
 */
class OptionalField extends Compound {
  constructor(schema, options) {
    super(schema, options);
    this.box = make("input", {
      type: "checkbox",
      role: "switch",
      on: { change: () => this.toggle() },
    });
    const row = this.dress(this.box);
    row.classList.add("switch");
    this.element = make("div", { class: "optional" }, row, this.body);
  }

  get parts() {
    return this.field ? [this.field] : [];
  }

  toggle() {
    const { default: _, ...schema } = this.schema;
    this.show(
      this.box.checked ? (initialValue(this.options.document, schema, true) ?? {}) : this.blank,
    );
    this.loosen();
    this.options.changed();
  }

  read() {
    return this.field ? this.field.value : this.blankKept;
  }

  show(value) {
    const isThere = value !== undefined && value !== null;
    this.box.checked = isThere;
    this.blankKept = value;
    if (!isThere) {
      this.field = null;
      this.body.replaceChildren();
      return;
    }
    if (!this.field) {
      this.field = this.inner(this.schema, this.options.name, {
        label: this.options.label,
        certain: true,
        plain: true,
      });
      this.body.replaceChildren(this.field.element);
    }
    this.field.value = value;
  }

  find(path) {
    return this.field?.find(path) ?? this;
  }
}

/**
 * A value of one of several kinds.
 */
class UnionField extends Compound {
  constructor(schema, options) {
    super(schema, options);
    this.variants = schema.anyOf;
    const names = this.variants.map((variant) => {
      const found = resolveSchema(options.document, variant).schema;
      if (found.enum)
        return found.enum.slice(0, 4).join(", ") + (found.enum.length > 4 ? ", …" : "");
      return kindOf(found) === "object" && found.title
        ? found.title
        : describeType(options.document, found);
    });
    this.select = make(
      "select",
      { on: { change: () => this.choose() } },
      names.map((name, index) => make("option", { value: String(index) }, name)),
    );
    const head = this.dress(this.select);
    this.element = make("div", { class: "union" }, head, this.body);
    this.become(0);
  }

  get parts() {
    return [this.field];
  }

  become(index) {
    this.select.value = String(index);
    if (this.index === index) return;
    this.index = index;
    this.field = this.inner(this.variants[index], this.options.name, {
      label: `${this.options.label} value`,
      plain: true,
      certain: true,
    });
    this.body.replaceChildren(this.field.element);
  }

  choose() {
    this.become(Number(this.select.value));
    this.field.value = initialValue(this.options.document, this.variants[this.index], true);
    this.loosen();
    this.isBlank = false;
    this.options.changed();
  }

  read() {
    return this.isBlank ? this.blankKept : this.field.value;
  }

  loosen() {
    super.loosen();
    this.isBlank = false;
  }

  show(value) {
    this.isBlank = value === undefined;
    this.blankKept = value;
    if (this.isBlank) return;
    const index = this.variants.findIndex((variant) => fits(this.options.document, variant, value));
    this.become(Math.max(index, 0));
    this.field.value = value;
  }

  find(path) {
    // The location of an error may contain the name of the variant.
    const found = this.field.find(path);
    return found === this.field && path.length > 1 ? this.field.find(path.slice(1)) : found;
  }
}

const FIELD_KINDS = {
  array: ArrayField,
  boolean: BooleanField,
  choice: ChoiceField,
  json: JsonField,
  map: MapField,
  number: NumberField,
  object: ObjectField,
  text: TextField,
  union: UnionField,
};

/**
 * Make the field of a schema.
 *
 * `certain` makes a field that is present even if its value may be left out.
 */
function makeField(given, options) {
  const { schema, nullable } = resolveSchema(options.document, given);
  const kind = kindOf(schema);
  const isUnset = !options.certain && (nullable || (!options.required && !("default" in schema)));
  const all = { ...options, nullable: nullable && !options.certain };
  if (kind === "object" && mediaKindOf(schema) && schema.properties?.url)
    return new MediaField(schema, all);
  if (isUnset && ["array", "map", "object", "union"].includes(kind))
    return new OptionalField(schema, all);
  if (isUnset && kind === "boolean") return new ChoiceField(schema, all);
  if (kind === "text" && namesFile(schema, options.name)) return new FileField(schema, all);
  return new FIELD_KINDS[kind](schema, all);
}
