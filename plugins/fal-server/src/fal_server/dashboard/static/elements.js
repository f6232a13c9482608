// Elements: how the pages are made. Text is only ever text: nothing is parsed as HTML.

/** Make an element; `on` of the attributes holds listeners. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value))
        element.addEventListener(event, listener);
    } else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined));
  return element;
}

/** Make a part of a picture. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function button(text, press, attributes = {}) {
  return make("button", { type: "button", ...attributes, on: { click: press } }, text);
}

/** Make a button that is disabled while what it does goes on; what goes wrong is told. */
export function action(text, act, attributes = {}) {
  const made = button(
    text,
    async () => {
      made.disabled = true;
      try {
        await act();
      } catch (error) {
        tellProblem(error);
      } finally {
        made.disabled = false;
      }
    },
    attributes,
  );
  return made;
}

let lastId = 0;
export function newId() {
  lastId += 1;
  return `e${lastId}`;
}

/** Tell screen readers what has happened. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

/** Show what went wrong, until the page is changed. */
export function tellProblem(error) {
  const main = document.getElementById("main");
  main.querySelector(":scope > .notice")?.remove();
  main.prepend(make("p", { class: "notice", role: "alert" }, error.message ?? String(error)));
}

/** Ask before something is done that cannot be undone. */
export function confirmed(question, text, answer) {
  return new Promise((resolve) => {
    const title = newId();
    const close = (isSure) => {
      dialog.close();
      dialog.remove();
      resolve(isSure);
    };
    const dialog = make(
      "dialog",
      { "aria-labelledby": title, on: { cancel: () => close(false) } },
      make("h2", { id: title }, question),
      make("p", {}, text),
      make(
        "div",
        { class: "buttons" },
        button("Cancel", () => close(false)),
        button(answer, () => close(true), { class: "primary" }),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function badge(text, kind = text) {
  return make("span", { class: `badge ${kind}` }, text);
}

export function panel(title, body, ...tools) {
  return make(
    "section",
    { class: "panel", "aria-label": title },
    make("div", { class: "title" }, make("h2", {}, title), make("div", { class: "tools" }, tools)),
    body,
  );
}

export function heading(title, { crumb, tools = [], beside = [] } = {}) {
  return make(
    "div",
    { class: "head" },
    crumb ? make("div", { class: "crumb" }, make("a", { href: crumb[1] }, crumb[0]), " /") : null,
    make("h1", {}, title),
    beside,
    make("div", { class: "tools" }, tools),
  );
}

export function facts(rows) {
  return make(
    "dl",
    { class: "facts body" },
    rows
      .filter(([, value]) => ![null, undefined, ""].includes(value) && value.length !== 0)
      .map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}

/** Make buttons of which one is pressed. */
export function choice(label, names, chosen, choose) {
  const buttons = names.map(([value, text]) =>
    button(text, () => {
      buttons.forEach((each, index) =>
        each.setAttribute("aria-pressed", String(names[index][0] === value)),
      );
      choose(value);
    }, { "aria-pressed": String(value === chosen) }),
  );
  return make("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}
