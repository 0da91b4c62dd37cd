// The camera: a frame goes to the painter when the one before has come back, so the newest always wins.

import { Words } from "./pixels.js";

const RECENT = 2000; // ms over which the rate is taken

export class Camera {
  #video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
  #stream = null;

  get on() {
    return this.#stream !== null;
  }

  /**
   * Runs until it is stopped.
   * @param {(frame: ImageBitmap) => Promise<boolean>} paint paints and shows a frame, which is its own; false for none.
   * @param {(words: string) => void} say is told frames/s and the delay.
   */
  async run(paint, say) {
    if (!navigator.mediaDevices) {
      throw new Words("Browsers give their camera only to pages over https, or from this machine.");
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
    } catch (error) {
      throw new Words(TROUBLE[error.name] ?? "The camera does not start: another program may be using it.");
    }
    const mine = this.#stream;
    try {
      this.#video.srcObject = mine;
      await this.#video.play();
      mine.getVideoTracks()[0].onended = () => { this.#stream = null; };
      let shown = [];
      while (this.#stream === mine) {
        const taken = performance.now();
        const painted = await paint(await createImageBitmap(this.#video));
        if (!painted && this.#stream === mine) say("The server is busy: waiting for it.");
        if (!painted) continue;
        const now = performance.now();
        shown = [...shown.filter((then) => now - then < RECENT), now];
        const rate = shown.length > 1 ? (1000 * (shown.length - 1)) / (now - shown[0]) : 0;
        if (this.#stream === mine) say(`${rate.toFixed(1)} frames/s, ${Math.round(now - taken)} ms behind`);
        await new Promise(requestAnimationFrame); // a page that nobody looks at paints nothing
      }
    } finally {
      mine.getTracks().forEach((track) => track.stop());
      if (this.#stream === mine) this.#stream = null;
    }
  }

  /** Stops, and gives the picture that the camera saw last. */
  async stop() {
    const picture = await createImageBitmap(this.#video);
    this.#stream = null;
    return picture;
  }
}

const TROUBLE = {
  NotFoundError: "There is no camera on this machine: choose a photo instead.",
  NotAllowedError: "This page may not use the camera: allow it in the address bar, then start again.",
};
