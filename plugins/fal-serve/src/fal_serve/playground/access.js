// Access: what the page of a deployed application shows to send requests.

const IS_DEPLOYED = document.documentElement.hasAttribute("data-deployed");
const BASE = location.href.replace(/[?#].*$/, "").replace(/\/playground\/?$/, "");

/**
 * A token for this application alone, which a key is exchanged for. The key itself is not kept.
 */
const access = {
  stored: `fal-token ${BASE}`,

  /** Take the token from the link of whoever is signed in already. */
  begin() {
    const [, token, rest] = /^#fal-token=([^&]*)&?(.*)$/.exec(location.hash) ?? [];
    this.token = token ?? readStored(sessionStorage, this.stored) ?? "";
    if (!token) return;
    writeStored(sessionStorage, this.stored, token);
    history.replaceState(null, "", `${location.pathname}${rest ? `#${rest}` : ""}`);
  },

  get headers() {
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  },

  /** Add the token to the URL of a websocket, which takes no headers. */
  toSocket(url) {
    if (!this.token) return url;
    return `${url}${url.includes("?") ? "&" : "?"}fal_jwt_token=${this.token}`;
  },

  /** Exchange a key, and return why that did not work: empty where it did. */
  async signIn(key) {
    const response = await fetch(`${BASE}/playground/session`, {
      method: "POST",
      headers: { authorization: `Key ${key.trim()}` },
    });
    const content = await response.json().catch(() => ({}));
    if (!response.ok) return content.detail ?? `The key was answered with ${response.status}.`;
    this.token = content.token;
    writeStored(sessionStorage, this.stored, this.token);
    return "";
  },

  forget() {
    this.token = "";
    writeStored(sessionStorage, this.stored, "");
  },
};

/**
 * Make the form that asks for a key; `signedIn` is called once one was accepted.
 */
function makeKeyForm(reason, signedIn) {
  const input = make("input", {
    type: "password",
    id: newId(),
    autocomplete: "off",
    placeholder: "ID:SECRET",
    required: true,
  });
  const problem = make("p", { class: "error", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    const refused = /^[\x21-\x7e]+$/.test(input.value.trim())
      ? await access.signIn(input.value).catch(() => "The server could not be reached.")
      : "A key is written as ID:SECRET, without spaces.";
    problem.textContent = refused;
    if (!refused) signedIn();
  };
  return make(
    "form",
    { class: "panel key-form", "aria-label": "Sign in", on: { submit } },
    make("h1", {}, "A key is needed"),
    make("p", { class: "hint" }, reason),
    make("label", { for: input.id }, "Key"),
    input,
    problem,
    make("button", { type: "submit", class: "primary" }, "Continue"),
  );
}
