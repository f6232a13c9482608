// Formats: numbers and times as a person reads them.

export function inSeconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 9.95 ? 2 : 1)} s`;
  return inTime(seconds);
}

export function inTime(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function inBytes(count) {
  if (count === null || count === undefined) return "–";
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(1)} MB`;
  return `${(count / 1e9).toFixed(1)} GB`;
}

export function inNumber(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return value < 10 ? value.toFixed(value < 0.095 ? 3 : 2) : value.toFixed(1);
}

/** A time of a server, in seconds since the epoch or as text. */
export function toDate(value) {
  return value === null || value === undefined
    ? null
    : new Date(typeof value === "number" ? value * 1000 : value);
}

export function inWords(value) {
  const date = toDate(value);
  return date ? date.toLocaleString() : "–";
}

export function ago(value) {
  const date = toDate(value);
  return date ? `${inTime((Date.now() - date.getTime()) / 1000)} ago` : "never";
}

export function short(id) {
  return id.length > 12 ? id.slice(0, 8) : id;
}
