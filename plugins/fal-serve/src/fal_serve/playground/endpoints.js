// Endpoints: the operations in the document.

const METHODS = ["get", "post", "put", "patch", "delete"];

/**
 * Return the endpoints of a document, in the order in which they were written, as far as
 * that is `declared`.
 */
function readEndpoints(document, declared) {
  const paths = document.paths ?? {};
  const order = [...(declared ?? []), ...(document["x-fal-order-paths"] ?? []), ...Object.keys(paths)];
  const names = [...new Set(order)].filter((path) => Object.hasOwn(paths, path));
  return names.flatMap((path) => readPath(document, path, paths[path]));
}

function readPath(document, path, item) {
  const found = [];
  const protocol = item["x-fal-protocol"];
  for (const method of METHODS) {
    const operation = item[method];
    if (!operation) continue;
    // A websocket is also described as a POST operation, which does not exist.
    if (protocol && operation.operationId === `${protocol.operationId}_post`) continue;
    found.push(readOperation(document, path, method, operation, item.parameters));
  }
  if (protocol) {
    const mirror = item.post?.operationId === `${protocol.operationId}_post` ? item.post : {};
    found.push({
      ...readOperation(document, path, "ws", mirror),
      method: protocol.type === "realtime" ? "RT" : "WS",
      title: spaced(protocol.operationId ?? path),
      protocol,
      parameters: pathParameters(path),
    });
  }
  return found;
}

function readOperation(document, path, method, operation, shared = []) {
  const parameters = [...shared, ...(operation.parameters ?? [])]
    .map((each) => (each.$ref ? lookUp(document, each.$ref) : each))
    .filter((each) => each.in !== "cookie");
  return {
    id: `${method.toUpperCase()} ${path}`,
    path,
    method: method.toUpperCase(),
    operation: nameOf(operation.operationId ?? path, path, method),
    title: operation.summary ?? spaced(operation.operationId ?? path),
    description: operation.description ?? "",
    parameters,
    body: readBody(operation.requestBody),
    streams: Boolean(operation.responses?.["200"]?.content?.["text/event-stream"]),
  };
}

/** Return the name of the function behind an operation, whose id has its path and method too. */
function nameOf(id, path, method) {
  const rest = `${path.replace(/\W/g, "_")}_${method}`;
  return id.endsWith(rest) ? id.slice(0, -rest.length) : id;
}

function readBody(requestBody) {
  const content = requestBody?.content ?? {};
  const types = Object.keys(content);
  if (!types.length) return null;
  const type = types.find((each) => /json/.test(each)) ?? types[0];
  const { schema = {}, example, examples } = content[type];
  const given = example ?? Object.values(examples ?? {})[0]?.value;
  return {
    type,
    required: requestBody.required === true,
    schema: given === undefined ? schema : { ...schema, examples: [given] },
  };
}

function pathParameters(path) {
  return [...path.matchAll(/\{([^}:]+)(?::\w+)?\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
}

function spaced(name) {
  const text = name.replace(/_/g, " ").trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
