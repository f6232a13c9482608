// Tables: rows that stay while their cells change, so that what is read or focused stays too.

import { make } from "./elements.js";

/**
 * A table of items by their names. A column has a `name`, and `show` returns its text, or
 * [text, make] where an element is made whenever the text changes. The text of one that is
 * `whole` stays on one line.
 */
export class Table {
  constructor(label, columns, none = "There is nothing here.") {
    this.columns = columns;
    this.rows = new Map();
    this.body = make("tbody");
    this.none = make("p", { class: "empty", hidden: true }, none);
    const head = columns.map(({ name, number, hidden }) =>
      make(
        "th",
        { scope: "col", class: number ? "number" : null },
        hidden ? make("span", { class: "visually-hidden" }, name) : name,
      ),
    );
    this.table = make(
      "table",
      { class: "cards", "aria-label": label },
      make("thead", {}, make("tr", {}, head)),
      this.body,
    );
    this.element = make("div", {}, make("div", { class: "scroll" }, this.table), this.none);
  }

  /** Show these [name, item] pairs in their order. */
  update(items) {
    const left = new Set(this.rows.keys());
    let before = null;
    for (const [name, item] of items) {
      left.delete(name);
      const row = this.rows.get(name) ?? this.add(name);
      this.fill(row, name, item);
      const place = before ? before.nextSibling : this.body.firstChild;
      if (place !== row.element) this.body.insertBefore(row.element, place);
      before = row.element;
    }
    for (const name of left) {
      this.rows.get(name).element.remove();
      this.rows.delete(name);
    }
    this.none.hidden = items.length > 0;
    this.table.hidden = !items.length;
  }

  add(name) {
    const cells = this.columns.map((column) =>
      make("td", {
        class: ["actions", "number", "whole"].find((kind) => column[kind]) ?? null,
        "data-name": column.hidden ? "" : column.name,
      }),
    );
    const row = { element: make("tr", {}, cells), cells, shown: [] };
    this.rows.set(name, row);
    return row;
  }

  fill(row, name, item) {
    this.columns.forEach((column, index) => {
      const shown = column.show(item, name);
      const [text, build] = Array.isArray(shown) ? shown : [shown, null];
      const cell = row.cells[index];
      if (column.isBad) cell.classList.toggle("bad", column.isBad(item));
      if (row.shown[index] === text) return;
      row.shown[index] = text;
      cell.replaceChildren(build ? build() : text);
    });
  }
}
