// Snippets: the call of an endpoint as a program.

const MOST_SHOWN = 20_000;

/**
 * Return the call in each language.
 */
function snippetsOf(base, endpoint, input) {
  if (endpoint.protocol) return { Python: socketSnippet(base, endpoint, input) };
  const snippets = {
    curl: curlSnippet(base, endpoint, input),
    Python: httpxSnippet(base, endpoint, input),
  };
  if (!languagesOf(endpoint).includes("fal_client")) return snippets;
  return {
    ...snippets,
    fal_client: clientSnippet(base, endpoint, input),
    AppClient: appClientSnippet(base, endpoint, input),
  };
}

/**
 * Return the names of the languages in which the call of an endpoint is written.
 */
function languagesOf(endpoint) {
  if (endpoint.protocol) return ["Python"];
  const isJson = !endpoint.body || /json/.test(endpoint.body.type);
  const isSimple = endpoint.method === "POST" && isJson && !endpoint.parameters.length;
  return ["curl", "Python", ...(IS_DEPLOYED && isSimple ? ["fal_client", "AppClient"] : [])];
}

/** The header with the key of whoever makes a call, where the application asks for one. */
function keyHeader() {
  return IS_DEPLOYED && page.state.needs_key;
}

function clientSnippet(base, endpoint, { body }) {
  const { pathname } = new URL(base);
  const where = '# In the shell: eval "$(fal-core server env)", or the variables that it prints';
  const name = pythonText(pathname.slice(1));
  const path = endpoint.path === "/" ? "" : `    path=${pythonText(endpoint.path)},\n`;
  const call = `    ${name},\n    arguments=${toPython(body ?? {}, "    ")},\n${path}`;
  if (!endpoint.streams) {
    return `${where}\nimport fal_client\n\nresult = fal_client.subscribe(\n${call})\nprint(result)\n`;
  }
  const streamed = path ? call : `${call}    path="",\n`;
  return `${where}\nimport fal_client\n\nfor event in fal_client.stream(\n${streamed}):\n    print(event)\n`;
}

function appClientSnippet(base, endpoint, { body }) {
  const words = (page.document.info?.title ?? "Application").split(/[^A-Za-z0-9]+/).filter(Boolean);
  const className = words.map((word) => word[0].toUpperCase() + word.slice(1)).join("");
  const name = endpoint.operation.replace(/[^A-Za-z0-9_]/g, "_");
  const isApart = /\/Body_[^/]*$/.test(endpoint.body?.schema.$ref ?? "");
  const given = isApart
    ? Object.entries(body ?? {}).map(([key, value]) => `${key}=${toPython(value, "    ")}`)
    : endpoint.body
      ? [toPython(body ?? {}, "    ")]
      : [];
  const call = `client.${name}(${given.join(", ")})`;
  return [
    "from fal_serve import AppClient",
    "",
    `from app import ${className}  # the class of the application`,
    "",
    `with AppClient(${className}, ${pythonText(base)}) as client:`,
    endpoint.streams ? `    for item in ${call}:\n        print(item)\n` : `    print(${call})\n`,
  ].join("\n");
}

function quoteShell(text) {
  return `'${text.replace(/'/g, "'\\''")}'`;
}

function headersOf(endpoint, parameters) {
  return endpoint.parameters
    .filter(
      ({ name, in: place }) =>
        place === "header" && parameters[name] !== undefined && parameters[name] !== null,
    )
    .map(({ name }) => [name, asText(parameters[name])]);
}

function curlSnippet(base, endpoint, { parameters, body }) {
  const parts = ["curl", quoteShell(urlOf(base, endpoint, parameters))];
  if (endpoint.method !== "GET") parts.push(`-X ${endpoint.method}`);
  if (keyHeader()) parts.push('-H "Authorization: Key $FAL_KEY"');
  for (const [name, value] of headersOf(endpoint, parameters))
    parts.push(`-H ${quoteShell(`${name}: ${value}`)}`);
  if (endpoint.body && body !== undefined) {
    if (/form/.test(endpoint.body.type)) parts.push(...formParts(endpoint, body));
    else {
      parts.push(`-H ${quoteShell(`content-type: ${endpoint.body.type}`)}`);
      parts.push(`-d ${quoteShell(JSON.stringify(body))}`);
    }
  }
  // Streams are printed as they arrive.
  parts[0] = "curl -N";
  return parts.join(" \\\n  ");
}

function formParts(endpoint, body) {
  const flag = endpoint.body.type === "multipart/form-data" ? "-F" : "--data-urlencode";
  return Object.entries(body ?? {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value])
      .filter((each) => each !== null)
      .map(
        (each) => `${flag} ${quoteShell(`${name}=${isFileUrl(each) ? "@file" : asText(each)}`)}`,
      ),
  );
}

function isFileUrl(value) {
  return typeof value === "string" && value.startsWith("data:");
}

/**
 * Return a JSON value as Python writes it.
 */
function toPython(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return pythonText(value);
  if (typeof value !== "object") return String(value);
  const inner = `${indent}    `;
  const isList = Array.isArray(value);
  const lines = isList
    ? value.map((each) => `${inner}${toPython(each, inner)},\n`)
    : Object.entries(value).map(
        ([name, each]) => `${inner}${pythonText(name)}: ${toPython(each, inner)},\n`,
      );
  const [open, close] = isList ? "[]" : "{}";
  return lines.length ? `${open}\n${lines.join("")}${indent}${close}` : open + close;
}

function pythonText(text) {
  // JSON writes text as Python does, except for lone surrogates.
  return JSON.stringify(text).replace(
    /\u007f|\u2028|\u2029/g,
    (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function httpxSnippet(base, endpoint, { parameters, body }) {
  const inputs = [];
  const headers = headersOf(endpoint, parameters);
  const given = Object.entries(Object.fromEntries(headers)).map(
    ([name, value]) => `        ${pythonText(name)}: ${pythonText(value)},\n`,
  );
  if (keyHeader()) given.unshift(`        "Authorization": "Key " + os.environ["FAL_KEY"],\n`);
  if (given.length) inputs.push(`headers={\n${given.join("")}    }`);
  if (endpoint.body && body !== undefined) {
    if (endpoint.body.type === "multipart/form-data") inputs.push(...multipartInputs(body));
    else if (/form/.test(endpoint.body.type)) inputs.push(`data=${toPython(body, "    ")}`);
    else inputs.push(`json=${toPython(body, "    ")}`);
  }
  const call = [pythonText(urlOf(base, endpoint, parameters)), ...inputs, "timeout=None"];
  const imports = keyHeader() ? "import os\n\nimport httpx\n" : "import httpx\n";
  const lines = call.map((each) => `    ${each},\n`).join("");
  const method = endpoint.method.toLowerCase();
  if (endpoint.streams) {
    const streamed = [pythonText(endpoint.method), ...call].map((each) => `    ${each},\n`).join("");
    return [
      imports,
      `with httpx.stream(\n${streamed}) as response:`,
      "    response.raise_for_status()",
      "    for line in response.iter_lines():",
      "        print(line)\n",
    ].join("\n");
  }
  return [
    imports,
    `response = httpx.${method}(\n${lines})`,
    "response.raise_for_status()",
    "print(response.json())\n",
  ].join("\n");
}

function multipartInputs(body) {
  const entries = Object.entries(body ?? {});
  const files = entries.filter(([, value]) => isFileUrl(value));
  const data = Object.fromEntries(entries.filter(([, value]) => !isFileUrl(value)));
  const opened = files
    .map(([name]) => `        ${pythonText(name)}: open("file", "rb"),\n`)
    .join("");
  return [
    ...(Object.keys(data).length ? [`data=${toPython(data, "    ")}`] : []),
    ...(opened ? [`files={\n${opened}    }`] : []),
  ];
}

function socketSnippet(base, endpoint, { parameters, body, codec }) {
  const url = urlOf(base, endpoint, parameters).replace(/^http/, "ws");
  const value = toPython(body, "    ");
  const isText = codec === "text" && typeof body === "string";
  const [library, sent, read] = {
    msgpack: [
      "import msgpack",
      `msgpack.packb(${value})`,
      "msgpack.unpackb(answer) if isinstance(answer, bytes) else answer",
    ],
    json: ["import json", `json.dumps(${value})`, "answer"],
    text: ["", value, "answer"],
  }[codec === "msgpack" || isText ? codec : "json"];
  return [
    ...(library ? [library] : []),
    "from websockets.sync.client import connect",
    "",
    `with connect(${pythonText(url)}) as socket:`,
    `    socket.send(${sent})`,
    "    for answer in socket:",
    `        print(${read})`,
    "",
  ].join("\n");
}
