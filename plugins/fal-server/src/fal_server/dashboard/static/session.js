// Session: who is signed in, what they may do, and requests to the server in their name.

const STORED = "fal-session";

export const session = { token: "", account: "", permissions: new Set(), run: "" };

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export function may(permission) {
  return session.permissions.has(permission);
}

/** Send a request, and return what is answered as JSON. */
export async function ask(method, path, body, options = {}) {
  const response = await send(method, path, body, options);
  return response.json();
}

/** Send a request, and return the response. */
export async function send(method, path, body, options = {}) {
  const headers = { authorization: `Bearer ${session.token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    ...options,
  });
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({}));
  if (response.status === 401) leave();
  throw new Refused(response.status, detail ?? `The server has answered ${response.status}.`);
}

/** Take the session of this browser, or that of the link that was opened. */
export async function begin() {
  const [, code] = /^#code=([\x21-\x7e]+)$/.exec(location.hash) ?? [];
  if (code) {
    history.replaceState(null, "", location.pathname);
    await signIn("/dashboard/sessions", {}, JSON.stringify({ code }));
  } else {
    session.token = localStorage.getItem(STORED) ?? "";
  }
  return Boolean(session.token);
}

/** Exchange a key for a session. */
export async function showKey(key) {
  await signIn("/dashboard/session", { authorization: `Key ${key.trim()}` });
}

async function signIn(path, headers, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, content.detail ?? "The server refuses it.");
  session.token = content.token;
  localStorage.setItem(STORED, session.token);
}

/** Ask who is signed in, and what they may do. */
export async function describe() {
  const told = await ask("GET", "/dashboard/session");
  session.account = told.account;
  session.permissions = new Set(told.permissions);
  session.run = told.run;
}

export async function end() {
  await send("DELETE", "/dashboard/session").catch(() => {});
  leave();
}

function leave() {
  session.token = "";
  session.permissions = new Set();
  localStorage.removeItem(STORED);
  dispatchEvent(new Event("signed-out"));
}
