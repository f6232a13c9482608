// Access: what the page of a deployed application shows to send requests.

const IS_DEPLOYED = document.documentElement.hasAttribute("data-deployed");
const BASE = location.href.replace(/[?#].*$/, "").replace(/\/playground\/?$/, "");

/**
 * A token for this application alone, which the dashboard hands over. All applications have
 * pages of this origin, so that no key may be typed here.
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

  forget() {
    this.token = "";
    writeStored(sessionStorage, this.stored, "");
  },
};

/**
 * Make what is shown in place of the application to who may not use it.
 */
function makeSignInNote(reason) {
  return make(
    "section",
    { class: "panel sign-in", "aria-label": "Sign in" },
    make("h1", {}, "Open this page from the dashboard"),
    make("p", { class: "hint" }, reason),
    make(
      "p",
      {},
      "It takes no key, since pages of other applications have the same origin. Open the dashboard with ",
      make("code", {}, "fal-core server open"),
      ", or at the address of the API with a key, and choose Playground on the page of the application.",
    ),
  );
}
