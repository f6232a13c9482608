// Main: which page is shown, and the frame around it.

import { showAccess } from "./access.js";
import { showApplication } from "./application.js";
import { showApplications } from "./applications.js";
import { announce, make, tellProblem } from "./elements.js";
import { follow, stop } from "./live.js";
import { showLogs } from "./logs.js";
import { showMachines } from "./machines.js";
import { showRequest, showRequests } from "./requests.js";
import { showRunner, showRunners } from "./runners.js";
import { begin, describe, end, may, session, showKey } from "./session.js";

const find = (id) => document.getElementById(id);

// What a key may not see is not offered.
const PAGES = [
  ["", "Applications", "serverless:apps:read"],
  ["runners", "Runners", "serverless:runners:read"],
  ["requests", "Requests", "models:requests:read"],
  ["logs", "Logs", "serverless:logs:read"],
  ["access", "Secrets and keys", null],
  ["machines", "Machines", "serverless:runners:read"],
];

const VIEWS = {
  "": showApplications,
  applications: showApplication,
  runners: (page) => (page.id ? showRunner(page) : showRunners(page)),
  requests: (page) => (page.id ? showRequest(page) : showRequests(page)),
  logs: showLogs,
  access: showAccess,
  machines: showMachines,
};

/** A page that is shown: `ends` are called when another one is. */
let page = null;

function leavePage() {
  page?.controller.abort();
  page?.ends.forEach((end) => end());
  page = null;
}

function showPage() {
  leavePage();
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [kind = "", ...rest] = path.split("/");
  const controller = new AbortController();
  const id = decodeURIComponent(rest.join("/"));
  page = {
    id,
    query: new URLSearchParams(query),
    main: find("main"),
    controller,
    signal: controller.signal,
    ends: [],
  };
  const current = page;
  for (const link of find("pages").children) {
    const [, name] = link.getAttribute("href").split("/");
    if (name === (kind === "applications" ? "" : kind)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find("main").replaceChildren();
  const show = VIEWS[kind] ?? showApplications;
  Promise.resolve(show(page)).catch((error) => {
    if (current === page && error.name !== "AbortError") tellProblem(error);
  });
  const title = find("main").querySelector("h1")?.textContent ?? "Applications";
  document.title = `${title} · fal-core server`;
  find("main").focus({ preventScroll: true });
}

function showSignIn(problem = "") {
  leavePage();
  stop();
  find("pages").replaceChildren();
  find("leave").hidden = true;
  find("account").textContent = "";
  tellState("", "");
  const input = make("input", {
    type: "password",
    id: "key",
    autocomplete: "off",
    placeholder: "ID:SECRET",
    required: true,
  });
  const error = make("p", { class: "notice", role: "alert", hidden: !problem }, problem);
  const submit = async (event) => {
    event.preventDefault();
    try {
      if (!/^[\x21-\x7e]+$/.test(input.value.trim())) throw new Error("A key is ID:SECRET.");
      await showKey(input.value);
      await signedIn();
    } catch (refused) {
      error.hidden = false;
      error.textContent = refused.message;
    }
  };
  find("main").replaceChildren(
    make(
      "section",
      { class: "panel sign-in", "aria-label": "Sign in" },
      make("div", { class: "title" }, make("h1", {}, "Sign in")),
      make(
        "div",
        { class: "body" },
        error,
        make(
          "p",
          { class: "muted" },
          "On the machine of the server, ",
          make("code", {}, "fal-core server open"),
          " opens this page signed in. Elsewhere, a key does.",
        ),
        make(
          "form",
          { class: "lines", on: { submit } },
          make("label", { for: "key" }, "Key"),
          input,
          make("button", { type: "submit", class: "primary" }, "Sign in"),
        ),
      ),
    ),
  );
  document.title = "Sign in · fal-core server";
  input.focus();
}

async function signedIn() {
  // What the account has comes meanwhile.
  follow(tellState);
  await describe();
  find("account").textContent = session.account;
  find("leave").hidden = false;
  find("pages").replaceChildren(
    ...PAGES.filter(([, , needs]) => !needs || may(needs)).map(([name, text]) =>
      make("a", { href: `#/${name}` }, text),
    ),
  );
  showPage();
}

function tellState(kind, text) {
  const state = find("state");
  if (state.textContent === text) return;
  state.className = `state ${kind}`;
  state.textContent = text;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  find("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[name];
  const label = `Colours: ${name === "auto" ? "as the system" : name}`;
  find("theme").setAttribute("aria-label", label);
  find("theme").title = label;
}

find("theme").addEventListener("click", () => {
  const names = ["auto", "light", "dark"];
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  setTheme(next);
  localStorage.setItem("fal-theme", next);
  announce(`Colours: ${next}.`);
});
setTheme(localStorage.getItem("fal-theme") ?? "auto");
find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("main").focus();
});
find("leave").addEventListener("click", () => end());
addEventListener("hashchange", () => session.token && showPage());
addEventListener("signed-out", () => showSignIn());

try {
  if (await begin()) await signedIn();
  else showSignIn();
} catch (error) {
  showSignIn(error.message);
}
