// All that takes time in the browser happens here, so that the page never freezes. Jobs come one at a time, in order.

import { fill } from "./alpha.js";
import { openModel } from "./model.js";
import { chooseSizes, shrink } from "./octaves.js";
import { decode, Words } from "./pixels.js";

const FRAME = { webgpu: 1280, wasm: 640 }; // long side of a camera's frames: what paints them has to keep up
const PREVIEW = 1024; // long side of what the page shows; the download has the photo's own size
const THUMB = 256; // painted this large and shown at half of it: strokes come out finer
const STYLE_SIZE = 512; // the short side that style pictures are scaled to, as in controls.py
const styles = new Map(); // what can be chosen, by name
const memory = {};
let model;
let photo; // { source, pixels, width, height } and, once they are painted, { key, octaves }; { thumb } once asked for

const jobs = {
  /** Loads the model on the graphics card if there is one, else on the processor. */
  async open({ engine, threads }) {
    const progress = (done, total) => postMessage({ progress: [done, total] });
    const processor = { engine: "wasm", threads: self.crossOriginIsolated ? threads : 1 };
    const lacking = engine === "wasm" ? "" : await lacksWebGPU(engine === "webgpu");
    if (engine !== "wasm" && !lacking) {
      try {
        return { ...begin(await openModel({ engine: "webgpu", threads: 1 }, progress)), engine: "webgpu", threads: 1 };
      } catch (error) {
        console.warn("WebGPU does not work here:", error);
        return { ...(await this.open({ engine: "wasm", threads })), lacking: "WebGPU does not work in this browser" };
      }
    }
    return { ...begin(await openModel(processor, progress)), ...processor, lacking };
  },

  /** Reads a photo, which becomes the one to paint: the pixels that are shown, and the size that it has. */
  async choose({ source }) {
    const decoded = await decode(source, { long: PREVIEW });
    photo = { source, ...decoded };
    return decoded;
  },

  /** That photo as it is when it is painted as large as it is, made small. */
  async paint({ mix, controls, mask }) {
    const sizes = chooseSizes(photo, controls.strokeSize);
    if (sizes[0].height >= photo.pixels.height) sizes.length = 1; // what is finer would not be seen
    const key = JSON.stringify(sizes);
    if (photo.key !== key) {
      const { pixels } = photo.pixels.width < photo.width ? await decode(photo.source) : photo;
      Object.assign(photo, { key, octaves: shrink(fill(pixels).pixels, sizes) });
    }
    return model.paint(photo.pixels, find(mix), controls, { octaves: photo.octaves, mask });
  },

  /** That photo painted as large as it is, as a PNG. */
  async whole({ mix, controls, mask }) {
    const { pixels } = await decode(photo.source);
    return pack(await model.paint(pixels, find(mix), controls, { mask }));
  },

  /** A camera's frame, which is used up. */
  async frame({ frame, mix, controls }) {
    const { pixels } = await decode(frame, { long: FRAME[model.engine] });
    frame.close();
    return model.paint(pixels, find(mix), controls, { memory });
  },

  /** Takes the style of a picture, which can be chosen by that name from now on. */
  async take({ source, name }) {
    const { pixels } = await decode(source, { short: STYLE_SIZE });
    styles.set(name, await model.take(pixels));
  },

  /** That photo in one style, as a small JPEG. */
  async thumb({ name }) {
    photo.thumb ??= (await decode(photo.source, { long: THUMB })).pixels;
    const pixels = await model.paint(photo.thumb, find([[name, 1]]), { strength: 1, strokeSize: 1, keepColor: "" });
    return pack(pixels, { type: "image/jpeg", quality: 0.85 });
  },
};

function begin(opened) {
  model = opened.model;
  for (const { name, style } of opened.gallery) styles.set(name, style);
  return { gallery: opened.gallery.map(({ name, title, artist, year }) => ({ name, title, by: `${artist}, ${year}` })) };
}

const find = (mix) => mix.map(([name, share]) => [styles.get(name), share]);

/** Pixels as a file. */
function pack(pixels, format) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas.convertToBlob(format); // a PNG where none is named
}

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
