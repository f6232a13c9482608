// Inputs: fields of one control, for text, numbers, choices and files.

const LONG_NAMES = /prompt|text|description|content|message|body|instruction|script|lyrics|story/i;
const FILE_NAMES = /(^|_)(url|uri|image|picture|photo|mask|video|audio|file)s?(_|$)/i;
const FILE_WORDS =
  /\b(ur[li]s?|(image|video|audio) (file|to|of)|(the|an?|input) (image|picture|video))\b/i;
const FILE_FORMATS = ["uri", "url", "data-url", "binary", "byte", "base64"];
const MEDIA_KINDS = ["image", "video", "audio", "file"];

/** The names of the files that were picked, by their data URLs. */
const fileNames = new Map();

/**
 * Text of one line or many.
 */
class TextField extends Field {
  constructor(schema, options) {
    super(schema, options);
    const isLong =
      LONG_NAMES.test(options.name) ||
      schema.maxLength > 200 ||
      /\n|.{60}/.test(String(schema.default ?? ""));
    const kinds = { date: "date", time: "time", password: "password", email: "email" };
    const listeners = { input: () => this.type(this.input.value) };
    this.input = isLong
      ? make("textarea", { rows: 3, on: listeners })
      : make("input", { type: kinds[schema.format] ?? "text", autocomplete: "off", on: listeners });
    const [example] = examplesOf(schema);
    if (typeof example === "string") this.input.placeholder = example;
    this.element = this.dress(this.frame(), ...this.beside());
  }

  frame() {
    return this.input;
  }

  beside() {
    return [];
  }

  type(text) {
    const { required, nullable } = this.options;
    const mayBeEmpty = (required && !nullable) || typeof this.schema.default === "string";
    this.kept = text === "" && !mayBeEmpty ? this.blank : text;
    this.touched();
  }

  accepts(value) {
    return (
      value === undefined || typeof value === "string" || (value === null && this.options.nullable)
    );
  }

  read() {
    return this.kept;
  }

  show(value) {
    this.kept = value;
    this.input.value = value ?? "";
  }
}

/**
 * Text that names a file: a URL, which a file picker makes from a file.
 */
class FileField extends TextField {
  frame() {
    const { label } = this.options;
    const told = mediaKindOf(this.schema);
    const guessed =
      /(video|audio)/i.exec(label)?.[1].toLowerCase() ??
      (/image|picture|photo|mask/i.test(label + (this.schema.description ?? "")) ? "image" : null);
    const kind = told === "file" ? null : (told ?? guessed);
    this.picker = make("input", {
      type: "file",
      class: "hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      accept: kind ? `${kind}/*` : undefined,
      on: { change: () => this.pick(this.picker.files[0]) },
    });
    const open = button(`Choose a file for ${label}`, () => this.picker.click(), {
      picture: "file",
      shown: "File",
      class: "small",
    });
    open.setAttribute("aria-label", `Choose a file for ${label}`);
    const frame = make("div", { class: "file" }, this.input, open, this.picker);
    frame.addEventListener("dragover", (event) => event.preventDefault());
    frame.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.pick(event.dataTransfer.files[0]);
    });
    this.preview = make("div", { class: "preview" });
    return frame;
  }

  beside() {
    return [this.preview];
  }

  pick(file) {
    if (!file) return;
    const reader = new FileReader();
    reader.onload = () => {
      fileNames.set(reader.result, file.name);
      this.value = reader.result;
      this.options.changed();
      announce(`${file.name} was read.`);
    };
    reader.readAsDataURL(file);
    this.picker.value = "";
  }

  type(text) {
    super.type(text);
    this.look();
  }

  show(value) {
    super.show(value);
    this.look();
  }

  look() {
    const url = typeof this.kept === "string" ? this.kept : "";
    // Only data URLs are shown: a URL that was typed is not requested.
    const media = url.startsWith("data:") ? mediaOf(url) : null;
    this.preview.replaceChildren(...(media ? [showMedia(media)] : []));
  }
}

/**
 * An object that stands for a file, of whose properties the URL is enough.
 */
class MediaField extends FileField {
  accepts(value) {
    return super.accepts(value) || (isObject(value) && typeof value.url === "string");
  }

  read() {
    if (!this.kept) return this.blank;
    return this.whole?.url === this.kept ? this.whole : { url: this.kept };
  }

  show(value) {
    this.whole = isObject(value) ? value : null;
    super.show(this.whole ? this.whole.url : value);
  }
}

/**
 * A number; between two bounds it is also a slider.
 */
class NumberField extends Field {
  constructor(schema, options) {
    super(schema, options);
    const step = schema.multipleOf ?? (schema.type === "integer" ? 1 : "any");
    const bounds = {
      min: schema.minimum ?? schema.exclusiveMinimum,
      max: schema.maximum ?? schema.exclusiveMaximum,
    };
    this.input = make("input", {
      type: "number",
      step,
      ...bounds,
      on: { input: () => this.type(this.input) },
    });
    const span = bounds.max - bounds.min;
    let frame = this.input;
    if (span > 0 && span <= 1e6) {
      const fine = step === "any" ? 10 ** Math.floor(Math.log10(span / 100) + 1e-9) : step;
      this.slider = make("input", {
        type: "range",
        ...bounds,
        step: fine,
        "aria-label": `${options.label}, slider`,
        on: {
          input: () => {
            this.input.value = this.slider.value;
            this.type(this.input);
          },
        },
      });
      frame = make("div", { class: "slider" }, this.input, this.slider);
    }
    this.element = this.dress(frame);
  }

  get problem() {
    if (this.input.validity.badInput) return "This is not a number.";
    if (this.schema.type === "integer" && Math.abs(this.kept) > Number.MAX_SAFE_INTEGER) {
      return "A whole number of this size loses digits here.";
    }
    return "";
  }

  type(input) {
    this.kept = input.value === "" ? this.blank : Number(input.value);
    if (this.slider) this.slider.value = input.value;
    this.touched();
  }

  accepts(value) {
    return (
      value === undefined || typeof value === "number" || (value === null && this.options.nullable)
    );
  }

  read() {
    return this.kept;
  }

  show(value) {
    this.kept = value;
    this.input.value = value ?? "";
    if (this.slider) this.slider.value = value ?? this.slider.min;
  }
}

/**
 * One of several values, or none if that is allowed.
 */
class ChoiceField extends Field {
  constructor(schema, options) {
    super(schema, options);
    this.values =
      "const" in schema ? [schema.const] : schema.type === "boolean" ? [true, false] : schema.enum;
    const mayBeBlank = options.nullable || (!options.required && !("default" in schema));
    const shown = this.values.map((value, index) =>
      make("option", { value: String(index) }, String(value)),
    );
    this.select = make(
      "select",
      { on: { change: () => this.choose() } },
      mayBeBlank ? make("option", { value: "" }, options.nullable ? "null" : "not set") : null,
      shown,
    );
    this.element = this.dress(this.select);
  }

  choose() {
    this.kept = this.select.value === "" ? this.blank : this.values[Number(this.select.value)];
    this.touched();
  }

  accepts(value) {
    return (
      value === undefined ||
      (value === null && this.options.nullable) ||
      this.values.some((each) => isSame(each, value))
    );
  }

  read() {
    return this.kept;
  }

  show(value) {
    this.kept = value;
    const index = this.values.findIndex((each) => isSame(each, value));
    this.select.value = index < 0 ? "" : String(index);
  }
}

/**
 * A boolean.
 */
class BooleanField extends Field {
  constructor(schema, options) {
    super(schema, options);
    this.box = make("input", {
      type: "checkbox",
      role: "switch",
      on: {
        change: () => {
          this.kept = this.box.checked;
          this.touched();
        },
      },
    });
    this.element = this.dress(this.box);
    this.element.classList.add("switch");
  }

  accepts(value) {
    return value === undefined || typeof value === "boolean";
  }

  read() {
    return this.kept;
  }

  show(value) {
    this.kept = value;
    this.box.checked = value === true;
  }
}

/**
 * Tell whether a text is the URL of a file.
 */
function namesFile(schema, name) {
  return (
    mediaKindOf(schema) !== null ||
    FILE_FORMATS.includes(schema.format) ||
    Boolean(schema.contentMediaType) ||
    FILE_NAMES.test(name) ||
    FILE_WORDS.test(schema.description ?? "")
  );
}

/**
 * The kind of medium that a schema says it takes, or null.
 */
function mediaKindOf(schema) {
  const told = schema.ui?.field;
  return MEDIA_KINDS.includes(told) ? told : null;
}
