// The painter in the browser: its worker holds the model, and nothing leaves this machine. The page sees of it what it
// sees of server.js: open, choose, paint, whole, frame, take and thumb, which throw `Words` that say what went wrong.

import { Words } from "./pixels.js";

const BROKEN = "This needed more memory than the browser gives, or the graphics card gave up. " +
  "The painter has started anew: give it a smaller picture or larger strokes, then try again.";
const UNABLE = "The painter does not start: a file of it could not be fetched, or this browser is older than 2023 " +
  "and has no WebAssembly with SIMD. Load the page again, or try a newer browser.";

/**
 * What is wished for: names of styles with their shares, which sum to 1; how to paint; where there are two styles, by how
 * much the second counts in each pixel, in grey.
 * @typedef {{mix: [string, number][], controls: import("./model.js").Controls, mask: ImageData | null}} Wish
 */

export class BrowserPainter {
  #waiting = new Map();
  #count = 0;
  #owned = [];
  #photo = null;
  #worker;
  #opened;

  /** @param {{engine: "auto" | "webgpu" | "wasm", threads: number}} options */
  constructor(options) {
    this.options = options;
  }

  /**
   * @param {(done: number, total: number) => void} progress is told the bytes fetched so far.
   * @param {(words: string) => void} tell is told what paints, each time that a worker has begun.
   * @returns {Promise<{name: string, title: string, by: string}[]>} the styles that can be chosen.
   */
  async open(progress, tell) {
    Object.assign(this, { progress, tell });
    this.#begin();
    return (await this.#opened).gallery;
  }

  /** Reads a photo, which becomes the one to paint: the pixels that are shown, and the size that it has. */
  async choose(file) {
    const decoded = await this.#call("choose", { source: file });
    this.#photo = file;
    return decoded;
  }

  /** @param {Wish} wish @returns {Promise<ImageData>} the photo painted, as large as it is shown. */
  paint(wish) {
    return this.#call("paint", wish);
  }

  /** @param {Wish} wish @returns {Promise<Blob>} the photo painted as large as it is. */
  whole(wish) {
    return this.#call("whole", wish);
  }

  /** Paints a camera's frame, which is used up. */
  frame(frame, { mix, controls }) {
    return this.#call("frame", { frame, mix, controls }, [frame]);
  }

  /** Takes the style of a picture; gives the name that it can be chosen by. */
  async take(file) {
    const name = `own-${this.#owned.length + 1}`;
    await this.#call("take", { source: file, name });
    this.#owned.push([name, file]);
    return name;
  }

  /** @returns {Promise<Blob>} the photo in one style, small. */
  thumb(name) {
    return this.#call("thumb", { name });
  }

  #begin() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    let ready = false;
    const fail = () => (ready ? this.#restart() : this.#give(new Words(UNABLE)));
    worker.onmessage = ({ data: { progress, id, result, error } }) => {
      if (progress) return this.progress(...progress);
      if (error === null) return fail();
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) return reject(new Words(error));
      ready = true;
      resolve(result);
    };
    worker.onerror = fail;
    this.#worker = worker;
    this.#opened = this.#send("open", this.options);
    this.#opened.then((how) => this.tell(describe(how)), () => {}); // whoever waits for it is told
  }

  /** After a failure that nobody foresaw: a new worker, on the processor, which is given what the old one had. */
  #restart() {
    this.#worker.terminate();
    this.options.engine = "wasm";
    this.#give(new Words(BROKEN));
    this.#begin();
    for (const [name, source] of this.#owned) this.#send("take", { source, name }).catch(() => {});
    if (this.#photo) this.#send("choose", { source: this.#photo }).catch(() => {});
  }

  #give(words) {
    for (const { reject } of this.#waiting.values()) reject(words);
    this.#waiting.clear();
  }

  #send(job, given, transfer = []) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#count, { resolve, reject });
      this.#worker.postMessage({ id: this.#count, job, ...given }, transfer);
    });
  }

  /** Does a job of worker.js. */
  async #call(job, given, transfer) {
    await this.#opened;
    return this.#send(job, given, transfer);
  }
}

function describe({ engine, threads, lacking }) {
  const here = "Painted by this browser: nothing leaves this machine. It uses";
  if (engine === "webgpu") return `${here} the graphics card, through WebGPU.`;
  const why = [lacking, crossOriginIsolated ? "" : "more threads need a page over https"].filter(Boolean).join("; ");
  const processor = `the processor, by WebAssembly with ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return `${here} ${processor}${why ? `: ${why}` : ""}.`;
}
