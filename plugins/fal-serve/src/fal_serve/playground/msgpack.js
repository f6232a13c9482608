// MessagePack: the bytes of realtime messages. https://msgpack.org

/**
 * Return `value` as MessagePack: a Uint8Array.
 */
function encodeMsgpack(value) {
  const parts = [];
  writeMsgpack(parts, value);
  const bytes = new Uint8Array(parts.reduce((sum, each) => sum + each.length, 0));
  let place = 0;
  for (const part of parts) {
    bytes.set(part, place);
    place += part.length;
  }
  return bytes;
}

function writeMsgpack(parts, value) {
  if (value === null || value === undefined) return parts.push([0xc0]);
  if (value === false || value === true) return parts.push([value ? 0xc3 : 0xc2]);
  if (typeof value === "bigint") return parts.push(bigBytes(value));
  if (typeof value === "number") {
    return parts.push(
      Number.isSafeInteger(value) && !Object.is(value, -0)
        ? integerBytes(value)
        : headed(0xcb, 8, "setFloat64", value),
    );
  }
  if (typeof value === "string") {
    const text = new TextEncoder().encode(value);
    return parts.push(
      lengthBytes(text.length, { fix: 0xa0, most: 31, codes: [0xd9, 0xda, 0xdb] }),
      text,
    );
  }
  if (value instanceof Uint8Array) {
    return parts.push(lengthBytes(value.length, { codes: [0xc4, 0xc5, 0xc6] }), value);
  }
  if (value instanceof Date) return parts.push([0xc7, 12, 0xff], dateBytes(value));
  if (Array.isArray(value)) {
    parts.push(lengthBytes(value.length, { fix: 0x90, most: 15, codes: [null, 0xdc, 0xdd] }));
    for (const each of value) writeMsgpack(parts, each);
    return parts;
  }
  if (typeof value !== "object") throw new TypeError(`A message cannot hold a ${typeof value}.`);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  parts.push(lengthBytes(entries.length, { fix: 0x80, most: 15, codes: [null, 0xde, 0xdf] }));
  for (const [key, each] of entries) {
    writeMsgpack(parts, key);
    writeMsgpack(parts, each);
  }
  return parts;
}

function headed(code, size, setter, value) {
  const bytes = new Uint8Array(1 + size);
  bytes[0] = code;
  new DataView(bytes.buffer)[setter](1, value);
  return bytes;
}

function integerBytes(value) {
  if (value >= 0) {
    if (value < 0x80) return [value];
    if (value < 0x100) return [0xcc, value];
    if (value < 0x10000) return headed(0xcd, 2, "setUint16", value);
    if (value < 0x100000000) return headed(0xce, 4, "setUint32", value);
  } else {
    if (value >= -0x20) return [value & 0xff];
    if (value >= -0x80) return headed(0xd0, 1, "setInt8", value);
    if (value >= -0x8000) return headed(0xd1, 2, "setInt16", value);
    if (value >= -0x80000000) return headed(0xd2, 4, "setInt32", value);
  }
  return bigBytes(BigInt(value));
}

function bigBytes(value) {
  if (value >= 0n ? value > 0xffffffffffffffffn : value < -0x8000000000000000n) {
    throw new RangeError("A number is too large for a message.");
  }
  return value >= 0n
    ? headed(0xcf, 8, "setBigUint64", value)
    : headed(0xd3, 8, "setBigInt64", value);
}

function lengthBytes(length, { fix, most = -1, codes }) {
  if (length <= most) return [fix | length];
  if (length < 0x100 && codes[0]) return [codes[0], length];
  if (length < 0x10000) return headed(codes[1], 2, "setUint16", length);
  return headed(codes[2], 4, "setUint32", length);
}

function dateBytes(date) {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  const seconds = Math.floor(date.getTime() / 1000);
  view.setUint32(0, (date.getTime() - seconds * 1000) * 1e6);
  view.setBigInt64(4, BigInt(seconds));
  return bytes;
}

/**
 * Return the value that `bytes` are.
 *
 * Integers beyond 2⁵³ are BigInts, bytes Uint8Arrays, times Dates, and maps with keys
 * that are no text Maps. Bytes that are not exactly one value throw an Error.
 */
function decodeMsgpack(bytes) {
  const reader = new MsgpackReader(bytes);
  const value = reader.read(0);
  if (reader.place !== bytes.length) {
    throw new Error(`The message has ${bytes.length - reader.place} bytes too many.`);
  }
  return value;
}

class MsgpackReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.place = 0;
  }

  read(depth) {
    if (depth > 500) throw new Error("The message is nested too deeply.");
    const code = this.number(1, "getUint8");
    if (code < 0x80) return code;
    if (code < 0x90) return this.map(code & 15, depth);
    if (code < 0xa0) return this.array(code & 15, depth);
    if (code < 0xc0) return this.text(code & 31);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.take(this.length(code - 0xc4)).slice();
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.extension(this.length(code - 0xc7));
      case 0xca:
        return this.number(4, "getFloat32");
      case 0xcb:
        return this.number(8, "getFloat64");
      case 0xcc:
        return this.number(1, "getUint8");
      case 0xcd:
        return this.number(2, "getUint16");
      case 0xce:
        return this.number(4, "getUint32");
      case 0xcf:
        return this.big("getBigUint64");
      case 0xd0:
        return this.number(1, "getInt8");
      case 0xd1:
        return this.number(2, "getInt16");
      case 0xd2:
        return this.number(4, "getInt32");
      case 0xd3:
        return this.big("getBigInt64");
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.extension(1 << (code - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.text(this.length(code - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.array(this.length(code - 0xdb), depth);
      case 0xde:
      case 0xdf:
        return this.map(this.length(code - 0xdd), depth);
      default:
        throw new Error(`No message has the byte 0x${code.toString(16)} there.`);
    }
  }

  take(count) {
    if (count > this.bytes.length - this.place) throw new Error("The message is cut off.");
    this.place += count;
    return this.bytes.subarray(this.place - count, this.place);
  }

  number(size, getter) {
    this.take(size);
    return this.view[getter](this.place - size);
  }

  big(getter) {
    const value = this.number(8, getter);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  length(power) {
    return this.number(1 << power, ["getUint8", "getUint16", "getUint32"][power]);
  }

  text(length) {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.take(length));
  }

  array(length, depth) {
    const items = [];
    for (let index = 0; index < length; index += 1) items.push(this.read(depth + 1));
    return items;
  }

  map(length, depth) {
    const entries = [];
    for (let index = 0; index < length; index += 1) {
      entries.push([this.read(depth + 1), this.read(depth + 1)]);
    }
    const isPlain = entries.every(([key]) => typeof key === "string");
    return isPlain ? Object.fromEntries(entries) : new Map(entries);
  }

  extension(length) {
    const type = this.number(1, "getInt8");
    const start = this.place;
    const data = this.take(length).slice();
    if (type !== -1)
      return new Map([
        ["extension", type],
        ["data", data],
      ]);
    const at = (offset) => this.view.getUint32(start + offset);
    if (length === 4) return new Date(at(0) * 1000);
    if (length === 8) return new Date(((at(0) & 3) * 2 ** 32 + at(4)) * 1000 + (at(0) >>> 2) / 1e6);
    if (length === 12)
      return new Date(Number(this.view.getBigInt64(start + 4)) * 1000 + at(0) / 1e6);
    throw new Error(`A time cannot have ${length} bytes.`);
  }
}
