// Schemas: the document's schemas, in the form that fields are made from.

/**
 * A schema without references, and whether null is allowed beside what it describes.
 */
function resolveSchema(document, schema) {
  let found = schema === true || !schema ? {} : schema;
  for (let steps = 0; found.$ref && steps < 32; steps += 1) {
    const { $ref, ...beside } = found;
    found = { ...(lookUp(document, $ref) ?? {}), ...beside };
  }
  if (found.allOf) {
    const { allOf, ...beside } = found;
    const parts = allOf.map((part) => resolveSchema(document, part).schema);
    found = parts.concat(beside).reduce(mergeSchemas, {});
  }
  return withoutNull(document, found);
}

function lookUp(document, reference) {
  const names = reference.replace(/^#\//, "").split("/");
  const plain = names.map((name) =>
    decodeURIComponent(name).replace(/~1/g, "/").replace(/~0/g, "~"),
  );
  return plain.reduce((node, name) => node?.[name], document);
}

function mergeSchemas(one, other) {
  const merged = { ...one, ...other };
  for (const key of ["properties"]) {
    if (one[key] && other[key]) merged[key] = { ...one[key], ...other[key] };
  }
  for (const key of ["required", "x-fal-order-properties"]) {
    if (one[key] && other[key]) merged[key] = [...new Set([...one[key], ...other[key]])];
  }
  return merged;
}

function withoutNull(document, schema) {
  if (Array.isArray(schema.type)) {
    const kinds = schema.type.filter((kind) => kind !== "null");
    const nullable = kinds.length < schema.type.length;
    if (kinds.length === 1) return { schema: { ...schema, type: kinds[0] }, nullable };
    const { type, ...beside } = schema;
    return { schema: { ...beside, anyOf: kinds.map((kind) => ({ type: kind })) }, nullable };
  }
  const key = ["anyOf", "oneOf"].find((each) => Array.isArray(schema[each]));
  if (!key) return { schema, nullable: schema.type === "null" || schema.nullable === true };
  const kept = schema[key].filter((each) => each.type !== "null");
  const nullable = kept.length < schema[key].length;
  const { [key]: variants, ...beside } = schema;
  if (kept.length === 1) {
    const inner = resolveSchema(document, kept[0]);
    return { schema: { ...inner.schema, ...beside }, nullable: nullable || inner.nullable };
  }
  if (kept.length && kept.every((each) => "const" in each)) {
    return { schema: { ...beside, enum: kept.map((each) => each.const) }, nullable };
  }
  return { schema: { ...beside, anyOf: kept }, nullable };
}

/**
 * Return the properties of an object in the order in which they were written.
 */
function orderedProperties(schema) {
  const properties = schema.properties ?? {};
  const order = schema["x-fal-order-properties"] ?? [];
  const names = [...order, ...Object.keys(properties)].filter((name) =>
    Object.hasOwn(properties, name),
  );
  return [...new Set(names)].map((name) => [name, properties[name]]);
}

function examplesOf(schema) {
  if (Array.isArray(schema.examples)) return schema.examples;
  return "example" in schema ? [schema.example] : [];
}

/**
 * Return the kind of field for a schema without references.
 */
function kindOf(schema) {
  if ("const" in schema || schema.enum) return "choice";
  if (schema.anyOf) return "union";
  switch (schema.type) {
    case "string":
      return "text";
    case "integer":
    case "number":
      return "number";
    case "boolean":
      return "boolean";
    case "array":
      return schema.prefixItems ? "json" : "array";
    case "object":
      break;
    default:
      if (!schema.properties) return "json";
  }
  if (schema.properties && Object.keys(schema.properties).length) return "object";
  return typeof schema.additionalProperties === "object" ? "map" : "json";
}

/**
 * Return the initial value of a field; undefined leaves it out.
 */
function initialValue(document, given, required, depth = 0) {
  const { schema, nullable } = resolveSchema(document, given);
  if ("default" in schema) return structuredClone(schema.default);
  if (!required) return undefined;
  const kind = kindOf(schema);
  const [example] = examplesOf(schema);
  if (kind === "object" && depth < 8) {
    const begun = {};
    for (const [name, property] of orderedProperties(schema)) {
      const value = initialValue(document, property, schema.required?.includes(name), depth + 1);
      if (value !== undefined) begun[name] = value;
    }
    return { ...begun, ...(structuredClone(example) ?? {}) };
  }
  if (example !== undefined) return structuredClone(example);
  if (nullable) return null;
  switch (kind) {
    case "choice":
      return "const" in schema ? schema.const : schema.enum[0];
    case "union":
      return initialValue(document, schema.anyOf[0], true, depth + 1);
    case "text":
      return "";
    case "boolean":
      return false;
    case "array": {
      const count = depth < 8 ? Math.min(schema.minItems ?? 0, 16) : 0;
      return Array.from({ length: count }, () =>
        initialValue(document, schema.items, true, depth + 1),
      );
    }
    case "map":
      return {};
    case "json":
      return schema.type === "object" ? {} : schema.type === "array" ? [] : null;
    default:
      return undefined;
  }
}

/**
 * Tell whether a value roughly fits a schema: enough to find its variant.
 */
function fits(document, given, value) {
  const { schema, nullable } = resolveSchema(document, given);
  if (value === null) return nullable;
  switch (kindOf(schema)) {
    case "choice":
      return ("const" in schema ? [schema.const] : schema.enum).some((each) => isSame(each, value));
    case "union":
      return schema.anyOf.some((each) => fits(document, each, value));
    case "text":
      return typeof value === "string";
    case "number":
      return typeof value === "number" && (schema.type === "number" || Number.isInteger(value));
    case "boolean":
      return typeof value === "boolean";
    case "array":
      return (
        Array.isArray(value) &&
        value.slice(0, 1).every((each) => fits(document, schema.items, each))
      );
    case "object":
      return (
        isObject(value) &&
        (schema.required ?? []).every((name) => Object.hasOwn(value, name)) &&
        Object.entries(value).every(([name, each]) =>
          schema.properties[name]
            ? fits(document, schema.properties[name], each)
            : schema.additionalProperties !== false,
        )
      );
    case "map":
      return isObject(value);
    default:
      if (schema.type === "object") return isObject(value);
      return schema.type !== "array" || Array.isArray(value);
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Tell whether two JSON values are the same.
 */
function isSame(one, other) {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && isSame(one[name], other[name]))
  );
}

/**
 * Return a short description of a schema's type and bounds.
 */
function describeType(document, given) {
  const { schema, nullable } = resolveSchema(document, given);
  const kind = kindOf(schema);
  let name = schema.type ?? "any";
  if (kind === "choice") name = "choice";
  if (kind === "union") name = "one of several";
  if (kind === "array" && schema.items) name = `${describeType(document, schema.items)} list`;
  if (kind === "text" && schema.format) name = schema.format;
  return nullable && name !== "null" ? `${name} or null` : name;
}

function describeBounds(schema) {
  const least = schema.minimum ?? schema.exclusiveMinimum;
  const most = schema.maximum ?? schema.exclusiveMaximum;
  const said = [];
  if (least !== undefined) said.push(`${schema.minimum === undefined ? ">" : "≥"} ${least}`);
  if (most !== undefined) said.push(`${schema.maximum === undefined ? "<" : "≤"} ${most}`);
  if (schema.multipleOf) said.push(`in steps of ${schema.multipleOf}`);
  const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  if (schema.minLength) said.push(`at least ${counted(schema.minLength, "character")}`);
  if (schema.maxLength !== undefined)
    said.push(`at most ${counted(schema.maxLength, "character")}`);
  if (schema.pattern) said.push(`matches ${schema.pattern}`);
  if (schema.minItems) said.push(`at least ${counted(schema.minItems, "item")}`);
  if (schema.maxItems !== undefined) said.push(`at most ${counted(schema.maxItems, "item")}`);
  return said.join(", ");
}
