// Elements: how the page is made. Text is only ever text: nothing is parsed as HTML.

/**
 * Make an element.
 *
 * `on` of the attributes holds listeners; undefined, null and false leave an attribute out.
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) {
        element.addEventListener(event, listener);
      }
    } else if (name === "value") {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined));
  return element;
}

const ICONS = {
  cancel: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  down: "M12 5v14M6 13l6 6 6-6",
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  run: "M7 4.5v15l12-7.5z",
  theme: "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18zM12 5.4a6.6 6.6 0 0 1 0 13.2z",
  file: "M14 3H6v18h12V7zM14 3v4h4",
};

/**
 * Make an icon for a button, which screen readers ignore.
 */
function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return svg;
}

/**
 * Make a button. Without an icon it shows `label`, else the icon with `label` as its name.
 */
function button(label, press, { picture, shown, ...attributes } = {}) {
  return make(
    "button",
    {
      type: "button",
      "aria-label": picture && !shown ? label : undefined,
      title: picture && !shown ? label : undefined,
      ...attributes,
      on: { click: press },
    },
    picture ? icon(picture) : null,
    picture ? (shown ?? null) : label,
  );
}

let lastId = 0;

/**
 * Return an id that no other element has.
 */
function newId() {
  lastId += 1;
  return `e${lastId}`;
}

/**
 * Announce an event to screen readers.
 */
function announce(text) {
  document.getElementById("announcements").textContent = text;
}

/**
 * Make a button that copies the text which `read` returns.
 */
function copyButton(label, read) {
  const copy = button(
    label,
    async () => {
      await copyText(read());
      announce("Copied.");
      copy.classList.add("done");
      setTimeout(() => copy.classList.remove("done"), 1200);
    },
    { picture: "copy", class: "quiet" },
  );
  return copy;
}

/**
 * Put text on the clipboard, also on a page without TLS.
 */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, class: "hidden", "aria-hidden": "true" });
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    before?.focus();
  }
}

/**
 * Save a blob as a file.
 */
function download(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * Return seconds or bytes as a person reads them.
 */
function inSeconds(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

function inBytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

/**
 * Make tabs, one of which shows its panel. Arrow keys go from tab to tab.
 */
function makeTabs(label, panels, chosen = () => {}) {
  const tabs = panels.map(([name, panel]) => {
    panel.id ||= newId();
    panel.setAttribute("role", "tabpanel");
    const tab = button(name, () => choose(name), {
      role: "tab",
      "aria-controls": panel.id,
      id: newId(),
    });
    panel.setAttribute("aria-labelledby", tab.id);
    return tab;
  });
  const choose = (name) => {
    panels.forEach(([each, panel], index) => {
      panel.hidden = each !== name;
      tabs[index].setAttribute("aria-selected", String(each === name));
      tabs[index].tabIndex = each === name ? 0 : -1;
    });
    chosen(name);
  };
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
    tabs[next].focus();
    tabs[next].click();
    event.preventDefault();
  };
  const list = make(
    "div",
    { role: "tablist", "aria-label": label, class: "tabs", on: { keydown: move } },
    tabs,
  );
  choose(panels[0][0]);
  return { list, choose };
}
