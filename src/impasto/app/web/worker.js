// All that takes time happens here, so that the page never freezes. Jobs come one at a time, in order.

import { fill } from "./alpha.js";
import { chooseSizes, shrink } from "./octaves.js";
import { openPainter } from "./painter.js";
import { decode, Words } from "./pixels.js";

const FRAME = { webgpu: 1280, wasm: 640 }; // long side of a camera's frames: what paints them has to keep up
let painter;
const memory = {};
let photo; // { source, pixels, width, height } and, once they are painted, { key, octaves }

const jobs = {
  /** Loads the model on the graphics card if there is one, else on the processor. */
  async open({ engine, threads }) {
    const progress = (done, total) => postMessage({ progress: [done, total] });
    const processor = { engine: "wasm", threads: self.crossOriginIsolated ? threads : 1 };
    const lacking = engine === "wasm" ? "" : await lacksWebGPU(engine === "webgpu");
    if (engine !== "wasm" && !lacking) {
      try {
        const opened = await openPainter({ engine: "webgpu", threads: 1 }, progress);
        painter = opened.painter;
        return { gallery: opened.gallery, key: painter.card.fingerprint, engine: "webgpu", threads: 1, lacking };
      } catch (error) {
        console.warn("WebGPU does not work here:", error);
        return { ...(await this.open({ engine: "wasm", threads })), lacking: "WebGPU does not work in this browser" };
      }
    }
    const opened = await openPainter(processor, progress);
    painter = opened.painter;
    return { gallery: opened.gallery, key: painter.card.fingerprint, ...processor, lacking };
  },

  /** A picture as pixels, scaled so that its long side is at most `size`. */
  decode: ({ source, size }) => decode(source, { long: size }),

  /** Likewise, and it becomes the photo to paint. */
  async choose({ source, size }) {
    const decoded = await decode(source, { long: size });
    photo = { source, ...decoded };
    return decoded;
  },

  /** That photo as it is when it is painted as large as it is, made small. */
  async paint({ styles, controls }) {
    const sizes = chooseSizes(photo, controls.strokeSize);
    if (sizes[0].height >= photo.pixels.height) sizes.length = 1; // what is finer would not be seen
    const key = JSON.stringify(sizes);
    if (photo.key !== key) {
      const { pixels } = photo.pixels.width < photo.width ? await decode(photo.source) : photo;
      Object.assign(photo, { key, octaves: shrink(fill(pixels).pixels, sizes) });
    }
    return painter.paint(photo.pixels, styles, controls, null, photo.octaves);
  },

  /** A photo painted as large as it is, as a file. */
  async whole({ source, styles, controls }) {
    const { pixels } = await decode(source);
    return this.pack({ pixels: await painter.paint(pixels, styles, controls) });
  },

  /** Pixels as a file. */
  pack({ pixels, ...format }) {
    const canvas = new OffscreenCanvas(pixels.width, pixels.height);
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas.convertToBlob(format); // a PNG where none is named
  },

  /** A camera's frame, which is used up. */
  async frame({ frame, styles, controls }) {
    const { pixels } = await decode(frame, { long: FRAME[painter.engine] });
    frame.close();
    return painter.paint(pixels, styles, controls, memory);
  },

  /** The style of a picture. */
  async take({ source, size }) {
    const { pixels } = await decode(source, { short: size });
    return painter.take(pixels);
  },

  /** A photo painted, as a small JPEG. */
  async thumb({ photo, style }) {
    const pixels = await painter.paint(photo, [[style, 1]], { strength: 1, strokeSize: 1 });
    return this.pack({ pixels, type: "image/jpeg", quality: 0.85 });
  },
};

/** Why there is no use in WebGPU here, in words; nothing where there is. */
async function lacksWebGPU(evenSoftware) {
  if (!self.isSecureContext) return "browsers give WebGPU to pages over https only";
  if (!navigator.gpu) return "this browser has no WebGPU";
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return "there is no graphics card that WebGPU can use";
  return adapter.info?.isFallbackAdapter && !evenSoftware ? "WebGPU has no graphics card here, only a stand-in" : "";
}

let last = Promise.resolve();
self.onmessage = ({ data: { id, job, ...given } }) => {
  last = last.then(async () => {
    try {
      postMessage({ id, result: await jobs[job](given) });
    } catch (error) {
      console.error(error);
      postMessage({ id, error: error instanceof Words ? error.message : null });
    }
  });
};
