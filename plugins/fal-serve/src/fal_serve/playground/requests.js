// Requests: from an endpoint and its input to a response, part by part.

/**
 * Return the URL of an endpoint, with its parameters filled in.
 */
function urlOf(base, endpoint, parameters) {
  const path = endpoint.path.replace(/\{([^}:]+)(:path)?\}/g, (whole, name, isPath) => {
    const text = encodeURIComponent(asText(parameters[name] ?? ""));
    return isPath ? text.replace(/%2F/g, "/") : text;
  });
  const query = new URLSearchParams();
  for (const { name, in: place } of endpoint.parameters) {
    const value = parameters[name];
    if (place !== "query" || value === undefined || value === null) continue;
    for (const each of Array.isArray(value) ? value : [value]) query.append(name, asText(each));
  }
  const text = query.toString();
  return `${base}${path}${text ? `?${text}` : ""}`;
}

function asText(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * Return the options of `fetch` for an endpoint and its input.
 */
function toRequest(base, endpoint, { parameters, body }) {
  const headers = {};
  for (const { name, in: place } of endpoint.parameters) {
    const value = parameters[name];
    if (place === "header" && value !== undefined && value !== null) headers[name] = asText(value);
  }
  const request = { url: urlOf(base, endpoint, parameters), method: endpoint.method, headers };
  if (!endpoint.body || body === undefined) return request;
  if (endpoint.body.type === "multipart/form-data")
    return { ...request, body: toForm(body, new FormData()) };
  if (endpoint.body.type === "application/x-www-form-urlencoded") {
    return { ...request, body: toForm(body, new URLSearchParams()) };
  }
  headers["content-type"] = endpoint.body.type;
  return { ...request, body: JSON.stringify(body) };
}

function toForm(body, form) {
  for (const [name, value] of Object.entries(body ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) {
      const isFile =
        form instanceof FormData && typeof each === "string" && each.startsWith("data:");
      if (isFile) form.append(name, toBlob(each), fileNames.get(each) ?? name);
      else if (each !== null) form.append(name, asText(each));
    }
  }
  return form;
}

/**
 * Return the content of a data: url.
 */
function toBlob(url) {
  const [, type, isBase64, data] = /^data:([^;,]*)(?:;(?!base64)[^;,]*)*(;base64)?,(.*)$/s.exec(
    url,
  ) ?? [null, "", "", ""];
  const text = isBase64 ? atob(data) : decodeURIComponent(data);
  const bytes = isBase64 ? Uint8Array.from(text, (each) => each.charCodeAt(0)) : text;
  return new Blob([bytes], { type });
}

/**
 * A parser of server-sent events, fed with text as it arrives.
 */
class EventParser {
  constructor() {
    this.rest = "";
    this.fields = [];
  }

  /** Return the events that are complete with `text`. */
  feed(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    return lines.map((line) => this.take(line)).filter(Boolean);
  }

  take(line) {
    if (line) {
      const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      this.fields.push([name, value ?? ""]);
      return null;
    }
    const data = this.fields.filter(([name]) => name === "data").map(([, value]) => value);
    const kind = this.fields.findLast(([name]) => name === "event")?.[1] ?? "message";
    this.fields = [];
    return data.length ? { kind, data: data.join("\n") } : null;
  }
}

/**
 * Send a request, and pass its response to `answer` as it arrives.
 */
async function perform(request, answer, signal) {
  const { url, headers, ...options } = request;
  const response = await fetch(url, {
    ...options,
    headers: { ...access.headers, ...headers },
    signal,
    cache: "no-store",
    credentials: "same-origin",
    referrerPolicy: "no-referrer",
  });
  await readResponse(response, answer);
}

/**
 * Pass a response to `answer` as it arrives.
 */
async function readResponse(response, answer) {
  answer.begin(response);
  const type = response.headers.get("content-type") ?? "";
  const events = type.startsWith("text/event-stream") ? new EventParser() : null;
  const isText =
    (/^text\/|[/+](json|xml)|json(l|lines)?\b|javascript|ndjson/.test(type) &&
      !/\bhtml\b/.test(type)) ||
    !type;
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    if (events)
      answer.addEvents(events.feed(decoder.decode(value, { stream: true })), value.length);
    else answer.addBytes(value, isText ? decoder.decode(value, { stream: true }) : null);
  }
  answer.end();
}
