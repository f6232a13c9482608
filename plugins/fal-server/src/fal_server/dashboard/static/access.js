// Access: the names of secrets, and keys.

import { action, announce, button, confirmed, heading, make, newId, panel } from "./elements.js";
import { ago, inWords, short } from "./formats.js";
import { ask, may } from "./session.js";
import { Table } from "./tables.js";

const PRESETS = ["API", "READONLY", "DEPLOY", "SERVERLESS", "COMPUTE", "FULL"];

export async function showAccess(page) {
  page.main.append(heading("Secrets and keys"));
  const parts = [];
  if (may("serverless:secrets:read")) parts.push(secretsPanel(page));
  if (may("account:keys:read")) parts.push(keysPanel(page));
  if (!parts.length)
    page.main.append(make("p", { class: "empty" }, "This key sees neither secrets nor keys."));
  for (const part of parts) page.main.append(await part);
}

async function secretsPanel(page) {
  const options = { signal: page.signal };
  let stages = ["main"];
  if (may("serverless:environments:read")) {
    const told = await ask("POST", "/dashboard/ListEnvironments", {}, options);
    stages = (told.environments ?? []).map((each) => each.name);
  }
  const found = [];
  for (const stage of stages) {
    const request = stage === "main" ? {} : { environment_name: stage };
    const { secrets = [] } = await ask("POST", "/dashboard/ListSecrets", request, options);
    for (const each of secrets) found.push([`${stage} ${each.name}`, { stage, ...each }]);
  }
  const table = new Table(
    "Secrets",
    [
      { name: "Name", show: ({ name }) => [name, () => make("code", {}, name)] },
      { name: "Stage", show: ({ stage }) => stage },
      { name: "Set", show: ({ created_time: at }) => (at ? inWords(at) : "–") },
    ],
    "No secret is set. 'fal-core secrets set NAME=VALUE' sets one. Values are never shown.",
  );
  table.update(found);
  const names = make("p", { class: "body muted" }, `Stages: ${stages.join(", ")}`);
  return panel("Secrets", make("div", {}, table.element, stages.length > 1 ? names : ""));
}

async function keysPanel(page) {
  const made = make("div", { hidden: true });
  const table = new Table("Keys", [
    { name: "Id", show: ({ id }) => [id, () => make("code", { title: id }, short(id))] },
    { name: "Note", show: ({ alias, is_own: isOwn }) => `${alias || "–"}${isOwn ? " (this one)" : ""}` },
    {
      name: "May do",
      show: ({ preset, permissions }) => [
        preset || `${permissions.length} things`,
        () => make("span", { title: permissions.join("\n") }, preset || `${permissions.length} things`),
      ],
    },
    { name: "Made", show: ({ created_at: at }) => ago(at) },
    { name: "Last used", show: ({ used_at: at }) => ago(at) },
    {
      name: "Actions",
      hidden: true,
      actions: true,
      show: (item) => [item.id, () => (may("account:keys:write") ? revoking(item) : "")],
    },
  ]);
  const load = async () => {
    const { keys } = await ask("GET", "/dashboard/keys", undefined, { signal: page.signal });
    table.update(keys.map((key) => [key.id, key]));
  };
  const revoking = (item) =>
    action(
      "Revoke",
      async () => {
        const text = item.is_own
          ? "It is the key of this session: you are signed out."
          : "Whoever uses it is refused at once.";
        if (!(await confirmed(`Revoke key ${short(item.id)}?`, text, "Revoke"))) return;
        await ask("POST", "/dashboard/RevokeUserKey", { key_id: item.id });
        announce("The key is revoked.");
        await load();
      },
      { class: "small danger", "aria-label": `Revoke ${short(item.id)}` },
    );
  await load();
  const content = make("div", {}, made, table.element);
  if (may("account:keys:write")) content.append(newKeyForm(made, load));
  return panel("Keys", content);
}

function newKeyForm(made, load) {
  const note = make("input", { id: newId(), maxlength: "200", autocomplete: "off" });
  const preset = make(
    "select",
    { id: newId() },
    PRESETS.map((each) => make("option", { value: each }, each)),
  );
  const create = action(
    "Create key",
    async () => {
      const told = await ask("POST", "/dashboard/CreateUserKey", {
        alias: note.value,
        policy_preset: preset.value,
      });
      const key = `${told.key_id}:${told.key_secret}`;
      made.hidden = false;
      made.className = "body secret";
      made.replaceChildren(
        make("p", {}, "This is shown once:"),
        make("code", {}, key),
        " ",
        button("Copy", async () => {
          await navigator.clipboard.writeText(key);
          announce("Copied.");
        }, { class: "small" }),
      );
      note.value = "";
      announce("A key was created.");
      await load();
    },
    { class: "primary" },
  );
  return make(
    "div",
    { class: "body" },
    make(
      "form",
      { class: "lines", "aria-label": "New key", on: { submit: (event) => event.preventDefault() } },
      make("label", { for: note.id }, "Note on a new key"),
      note,
      make("label", { for: preset.id }, "What it may do"),
      preset,
      create,
    ),
  );
}
