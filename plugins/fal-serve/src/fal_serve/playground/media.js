// Media: images, sounds and videos in responses.

const MEDIA_ENDINGS = {
  image: /\.(png|jpe?g|gif|webp|avif|svg|bmp|ico)$/i,
  video: /\.(mp4|webm|mov|m4v|ogv)$/i,
  audio: /\.(mp3|wav|ogg|oga|flac|m4a|aac|opus)$/i,
};
const MOST_MEDIA = 24;

/**
 * Return the kind of medium at `url`, if it is one that a browser shows.
 */
function mediaOf(url, contentType = "") {
  if (typeof url !== "string" || !/^(data:|https?:|blob:|\/)/i.test(url)) return null;
  const said = /^data:([\w.+-]+\/[\w.+-]+)/i.exec(url)?.[1] ?? contentType;
  const byType = /^(image|video|audio)\//i.exec(said ?? "")?.[1].toLowerCase();
  if (byType) return { kind: byType, url };
  if (url.startsWith("data:")) return null;
  const path = url.replace(/[?#].*$/, "");
  const kind = Object.keys(MEDIA_ENDINGS).find((each) => MEDIA_ENDINGS[each].test(path));
  return kind ? { kind, url } : null;
}

/**
 * Return the media that a value refers to or contains, each once.
 */
function findMedia(value, found = new Map()) {
  if (found.size >= MOST_MEDIA) return found;
  if (typeof value === "string") {
    const media = mediaOf(value);
    if (media) found.set(media.url, media);
  } else if (value instanceof Uint8Array) {
    const type = typeOfBytes(value);
    if (type) {
      const url = URL.createObjectURL(new Blob([value], { type }));
      found.set(url, { kind: type.split("/")[0], url, isOurs: true });
    }
  } else if (value && typeof value === "object") {
    const media = mediaOf(value.url, value.content_type ?? value.contentType);
    if (media) found.set(media.url, media);
    for (const [, each] of entriesOf(value) ?? []) findMedia(each, found);
  }
  return found;
}

function typeOfBytes(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 12));
  if (head.startsWith("\x89PNG")) return "image/png";
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (head.startsWith("GIF8")) return "image/gif";
  if (head.startsWith("RIFF"))
    return { WEBP: "image/webp", WAVE: "audio/wav" }[head.slice(8)] ?? null;
  return head.slice(4, 8) === "ftyp" ? "video/mp4" : null;
}

/**
 * Show one medium.
 */
function showMedia({ kind, url, isOurs }) {
  const label = { image: "Image", video: "Video", audio: "Sound" }[kind];
  const free = () => isOurs && URL.revokeObjectURL(url);
  if (kind !== "image") return make(kind, { src: url, controls: true, "aria-label": label });
  const image = make("img", {
    src: url,
    alt: "Image of the answer",
    loading: "lazy",
    on: { load: free },
  });
  const size = make("figcaption", {});
  image.addEventListener("load", () => {
    size.textContent = `${image.naturalWidth} × ${image.naturalHeight}`;
  });
  image.addEventListener("error", () => {
    size.textContent = "This image cannot be shown.";
  });
  return make("figure", {}, image, size);
}

/**
 * Return a gallery of the media in a value, or null where there are none.
 */
function makeGallery(value) {
  const found = [...findMedia(value).values()];
  return found.length ? make("div", { class: "gallery" }, found.map(showMedia)) : null;
}
