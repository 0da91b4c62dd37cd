// The painter on the server, over its API, with the same face as browser.js.

import { isOpaque } from "./alpha.js";
import { decode, Words } from "./pixels.js";

const COPY = 1536; // long side of what is sent for the picture that the page shows; the download is painted of the file
const PREVIEW = 1024;
const THUMB = 256;
const FRAME = 640; // long side of a camera's frames
const KEPT = { "image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif", "image/tiff": "tiff" };
const AWAY = "The server cannot be reached: is it still running?";
const BUSY = 500; // ms until a busy server is asked for the next frame

export class ServerPainter {
  canKeep = true;
  #camera = crypto.randomUUID?.() ?? String(Date.now()).padStart(8, "0");
  #photo; // { file, copy, type } and { thumb } once asked for
  #first;

  /** @param {{fits: boolean, limits: {max_upload: number, max_clip: number}}} site what the server says of itself. */
  constructor({ fits, limits }) {
    this.canFit = fits;
    this.limits = limits;
  }

  async open(progress, tell) {
    const [styles, health] = await Promise.all([get("v1/styles"), get("healthz")]);
    tell(`Painted by the server: ${health.model}, ${health.engine} on ${health.device}.`);
    this.#first = styles[0]?.id;
    return styles.map(({ id, title, by }) => ({ name: id, title, by }));
  }

  async choose(file) {
    const source = file instanceof Blob ? file : await pack(file, { type: "image/png" });
    if (source.size > this.limits.max_upload) {
      throw new Words(`This photo has more than ${this.limits.max_upload / 1e6} MB, the limit of this server.`);
    }
    const readable = await decode(source, { long: COPY }).catch(() => null);
    // What the browser cannot read the server may: at strength 0 it gives the photo back, small.
    const small = readable ?? (await decode(await this.#ask(source, this.#plain, { max_size: COPY, format: "webp" })));
    const { pixels, width, height } = small;
    const type = isOpaque(pixels) ? "jpeg" : "webp"; // of what is shown; JPEG takes a twentieth of the time
    const isSmall = readable && pixels.width === width;
    const copy = isSmall ? source : await pack(pixels, { type: `image/${type}`, quality: 0.95 });
    this.#photo = { file: source, copy, type };
    return readable ?? { pixels, width: 0, height: 0 }; // its own size is not known
  }

  async paint(wish) {
    const format = this.#photo.type === "jpeg" ? "jpg" : "webp";
    return createImageBitmap(await this.#ask(this.#photo.copy, wish, { max_size: PREVIEW, format }));
  }

  whole(wish) {
    return this.#ask(this.#photo.file, wish, { format: KEPT[this.#photo.file.type] ?? "png" });
  }

  async frame(frame, { mix, controls }) {
    const scale = Math.min(1, FRAME / Math.max(frame.width, frame.height));
    const body = await pack(frame, { type: "image/jpeg", quality: 0.9 }, scale);
    frame.close();
    const query = new URLSearchParams({ camera: this.#camera, ...fieldsOf(controls) });
    for (const [name, share] of mix) { query.append("style", name); query.append("weight", share); }
    const answer = await send(`camera/frame?${query}`, { method: "POST", headers: { "content-type": "image/jpeg" }, body }, [503]);
    if (answer.status !== 503) return createImageBitmap(await answer.blob());
    await new Promise((later) => setTimeout(later, BUSY));
    return null;
  }

  /**
   * Keeps the style of a picture, or what a .style file holds; gives its name.
   * @param {File} file
   * @param {boolean} fit whether to take some seconds for a closer style.
   */
  async take(file, fit = false) {
    const form = new FormData();
    if (fit) form.append("fit", true);
    form.append("file", file, file.name);
    return (await (await send("v1/styles", { method: "POST", body: form })).json()).id;
  }

  async thumb(name) {
    this.#photo.thumb ??= await pack((await decode(this.#photo.copy, { long: THUMB })).pixels, { type: "image/png" });
    return this.#ask(this.#photo.thumb, { mix: [[name, 1]], controls: {}, mask: null }, { format: "jpg" });
  }

  /**
   * Paints a clip, without flicker and with its sound.
   * @param {File} file
   * @param {import("./browser.js").Wish} wish of which the mask does not count.
   * @param {number} size of its long side.
   * @param {(state: object) => void} tell is told how far it is, see `GET /v1/clips/{id}`.
   * @param {AbortSignal} signal ends it.
   * @returns {Promise<string>} the address of the painted clip.
   */
  async paintClip(file, { mix, controls }, size, tell, signal) {
    if (file.size > this.limits.max_clip) {
      throw new Words(`This clip has more than ${this.limits.max_clip / 1e6} MB, the limit of this server.`);
    }
    const form = makeForm({ mix, controls }, { max_size: size });
    form.append("clip", file, file.name);
    let job = await (await send("v1/clips", { method: "POST", body: form, signal })).json();
    const address = `v1/clips/${job.id}`;
    while (job.state === "waiting" || job.state === "painting") {
      tell(job);
      await new Promise((later) => setTimeout(later, 500));
      if (signal.aborted) {
        await send(address, { method: "DELETE" }, [404]);
        throw new Words("Cancelled.");
      }
      job = await get(address);
    }
    if (job.state !== "done") throw new Words(job.error ?? "The clip was cancelled.");
    return `${address}/video`;
  }

  get #plain() {
    return { mix: [[this.#first, 1]], controls: { strength: 0 }, mask: null };
  }

  async #ask(file, wish, more) {
    const form = makeForm(wish, more);
    form.append("photo", file, file.name ?? "photo");
    if (wish.mask) {
      const inverse = new ImageData(wish.mask.data.map((value, i) => (i % 4 === 3 ? 255 : 255 - value)), wish.mask.width);
      for (const mask of [inverse, wish.mask]) form.append("mask", await pack(mask, { type: "image/png" }), "mask.png");
    }
    return (await send("v1/stylize", { method: "POST", body: form })).blob();
  }
}

function fieldsOf({ strength, strokeSize, keepColor, keep }) {
  const fields = { strength, stroke_size: strokeSize, keep_color: keepColor || undefined, keep: keep || undefined };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function makeForm({ mix, controls }, more) {
  const form = new FormData();
  for (const [name, share] of mix) { form.append("style", name); form.append("weight", share); }
  for (const [key, value] of Object.entries({ ...fieldsOf(controls), ...more })) form.append(key, value);
  return form;
}

/** Asks the server; throws its words where it refuses, but for the statuses that are `expected`. */
async function send(path, options, expected = []) {
  const answer = await fetch(path, options).catch((error) => { throw new Words(error.name === "AbortError" ? "Cancelled." : AWAY); });
  if (answer.ok || expected.includes(answer.status)) return answer;
  const { error } = await answer.json().catch(() => ({ error: `the server answers with ${answer.status}` }));
  throw new Words(`${error[0].toUpperCase()}${error.slice(1)}.`);
}

const get = async (path) => (await send(path)).json();

/** A picture as a file, scaled if that is wanted. */
function pack(picture, format, scale = 1) {
  const canvas = new OffscreenCanvas(Math.round(picture.width * scale), Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  if (picture instanceof ImageData) context.putImageData(picture, 0, 0);
  else context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob(format);
}
