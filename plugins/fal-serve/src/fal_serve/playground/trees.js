// Trees: values that can be unfolded.

const SHOWN_PARTS = 100;
const SHOWN_TEXT = 2000;
const SHOWN_DATA = 64;

/**
 * Show a value of JSON or MessagePack. Parts are made once they are unfolded.
 */
function makeTree(value, { open = 2, name = null } = {}) {
  const entries = entriesOf(value);
  const label = name === null ? [] : [make("span", { class: "key" }, String(name)), ": "];
  if (!entries || !entries.length) return make("div", { class: "leaf" }, label, showLeaf(value));
  const isList = Array.isArray(value);
  const size = `${entries.length} ${isList ? "item" : "key"}${entries.length === 1 ? "" : "s"}`;
  const parts = make("div", { class: "parts" });
  const fill = () => {
    if (parts.childElementCount) return;
    addParts(parts, entries, 0, open - 1);
  };
  const copy = copyButton(`Copy ${name ?? "the value"}`, () => toText(value));
  const details = make(
    "details",
    { class: "branch", open: open > 0, on: { toggle: fill } },
    make(
      "summary",
      {},
      label,
      make("span", { class: "size" }, isList ? `[${size}]` : `{${size}}`),
    ),
    parts,
  );
  if (open > 0) fill();
  return make("div", { class: "branch-row" }, details, copy);
}

function addParts(parts, entries, from, open) {
  const shown = entries.slice(from, from + SHOWN_PARTS);
  parts.append(...shown.map(([name, value]) => makeTree(value, { open, name })));
  const left = entries.length - from - shown.length;
  if (left <= 0) return;
  const more = button(
    `Show more of ${left}`,
    () => {
      more.remove();
      addParts(parts, entries, from + SHOWN_PARTS, open);
    },
    { class: "small" },
  );
  parts.append(more);
}

function entriesOf(value) {
  if (Array.isArray(value)) return [...value.entries()];
  if (value instanceof Map) return [...value];
  if (!isObject(value) || value instanceof Uint8Array || value instanceof Date) return null;
  return Object.entries(value);
}

function showLeaf(value) {
  if (value instanceof Uint8Array) {
    const save = button(
      `${inBytes(value.length)} of bytes`,
      () => download(new Blob([value]), "value.bin"),
      { class: "small" },
    );
    return make("span", { class: "bytes" }, save);
  }
  if (typeof value !== "string") {
    const kind = value === null ? "null" : typeof value;
    return make(
      "span",
      { class: kind },
      isObject(value) && !(value instanceof Date) ? "{}" : toText(value),
    );
  }
  const most = value.startsWith("data:") ? SHOWN_DATA : SHOWN_TEXT;
  const text = make("span", { class: "string" }, JSON.stringify(value.slice(0, most)));
  const copy = copyButton("Copy the text", () => value);
  if (value.length <= most) return make("span", {}, text, copy);
  const more = button(
    `… ${inBytes(value.length)}, show all`,
    () => {
      text.textContent = JSON.stringify(value);
      more.remove();
    },
    { class: "small" },
  );
  return make("span", {}, text, more, copy);
}

/**
 * Return a value as JSON, with types that JSON lacks as text.
 */
function toText(value) {
  const plain = (key, each) => {
    if (typeof each === "bigint") return String(each);
    if (each instanceof Uint8Array) return `<${each.length} bytes>`;
    if (each instanceof Map)
      return Object.fromEntries([...each].map(([name, part]) => [String(name), part]));
    return each;
  };
  return JSON.stringify(value, plain, 2) ?? String(value);
}
