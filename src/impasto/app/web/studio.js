import { Words } from "./pixels.js";

const BROKEN = "This needed more memory than the browser gives, or the graphics card gave up. " +
  "The painter has started anew: give it a smaller picture or larger strokes, then try again.";
const UNABLE = "The painter does not start: a file of it could not be fetched, or this browser is older than 2023 " +
  "and has no WebAssembly with SIMD. Load the page again, or try a newer browser.";

/** The painter in its worker: calls go there as messages, answers come back as promises. */
export class Studio {
  #waiting = new Map();
  #count = 0;
  #worker;

  /**
   * @param {{engine: "auto" | "webgpu" | "wasm", threads: number}} options
   * @param {(done: number, total: number) => void} progress is told the bytes fetched so far.
   * @param {(how: {engine: string, threads: number, lacking: string}) => void} ready is told what paints, each time
   *   that a worker has begun.
   */
  constructor(options, progress, ready) {
    Object.assign(this, { options, progress, ready });
    this.#begin();
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
    this.opened = this.#send("open", this.options);
    this.opened.then(this.ready, () => {}); // whoever waits for it is told
  }

  /** After a failure that nobody foresaw: a new worker, on the processor. */
  #restart() {
    this.#worker.terminate();
    this.options.engine = "wasm";
    this.#give(new Words(BROKEN));
    this.#begin();
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

  /** Does a job of worker.js; throws `Words` that say what went wrong. */
  async call(job, given, transfer) {
    await this.opened;
    return this.#send(job, given, transfer);
  }
}
