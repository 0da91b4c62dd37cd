// The model: what stylizer.py and engine/onnxruntime.py do, on ONNX Runtime's build for browsers.

import { keepChroma, letThrough, toFloat, toPixels, Words } from "./pixels.js";
import { readSafetensors } from "./safetensors.js";

const RUNTIMES = {
  webgpu: ["ort.webgpu.bundle.min.js", "ort-wasm-simd-threaded.asyncify.wasm.gz"],
  wasm: ["ort.wasm.bundle.min.js", "ort-wasm-simd-threaded.wasm.gz"],
};
const TOLERANCE = 4; // of 255, on means of 16 x 16 pixels, as in stylizer.py
const INERTIA = 0.9; // share of the running content statistics in a camera's next frame, as in video/temporal.py

/** Loads runtime and model, and paints the test picture of the model's card: a wrong one is noticed at once. */
export async function openPainter({ engine, threads }, progress) {
  const fetched = downloads(progress);
  const [script, binary] = RUNTIMES[engine];
  const names = ["content.onnx.gz", "style.onnx.gz", "gallery.safetensors", "card.json", "gallery.json"];
  const [ort, wasm, content, style, gallery, card, paintings] = await Promise.all([
    import(`./ort/${script}`),
    fetched(`ort/${binary}`),
    ...names.map((name) => fetched(`model/${name}`)),
  ]);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = wasm;
  const painter = new Painter();
  painter.ort = ort;
  painter.card = json(card);
  const quiet = {
    logSeverityLevel: 3, // errors; a warning for each node that stays on the processor helps nobody
    extra: { session: { intra_op: { allow_spinning: "0" } } }, // threads that spin would slow down all else
  };
  painter.content = await ort.InferenceSession.create(content, { executionProviders: [engine], ...quiet });
  // Runs once for each style: not worth a graphics card.
  painter.styler = await ort.InferenceSession.create(style, { executionProviders: ["wasm"], ...quiet });
  await painter.check();
  const vectors = readSafetensors(gallery);
  return { painter, gallery: json(paintings).map((painting) => ({ ...painting, vector: vectors.get(painting.name) })) };
}

class Painter {
  /**
   * Paints a photo.
   * @param {ImageData} photo
   * @param {[Float32Array, number][]} styles style tensors [S] with their shares, which sum to 1.
   * @param {{strength: number, keepColors: boolean}} controls strength 0 gives the photo back, 1 the full style.
   * @param {{look?: number[], stats?: Float32Array}} [memory] what a camera's frames hand on.
   */
  async paint(photo, styles, { strength, keepColors }, memory) {
    const style = new Float32Array(styles[0][0].length);
    for (const [vector, share] of styles) vector.forEach((value, i) => { style[i] += share * value; });
    const painted = await this.run(photo, style, strength, memory);
    if (strength < 1) letThrough(photo, painted.pixels, 1 - (1 - strength) ** 4);
    if (keepColors) keepChroma(photo, painted.pixels);
    return painted.pixels;
  }

  /** The style tensor [S] of a picture: from the statistics that the network uses when it runs on it at strength 0. */
  async take(picture) {
    const { used } = await this.run(picture, new Float32Array(this.card.style_size).fill(1), 0);
    const statistics = new this.ort.Tensor("float32", used, [1, used.length]);
    const image = new this.ort.Tensor("float32", toFloat(picture), [1, 3, picture.height, picture.width]);
    return (await this.styler.run({ statistics, image })).style.data;
  }

  async run(picture, style, strength, memory) {
    const { width, height } = picture;
    const size = 2 * this.card.adaptive.reduce((sum, channels) => sum + channels);
    const tensor = (data, shape) => new this.ort.Tensor("float32", data, shape);
    let stats = new Float32Array(size).fill(1);
    let inertia = 0;
    if (memory) {
      // Deep statistics depend on the look: those of another one, or of a picture of another shape, are of no use.
      const look = [strength, width, height, ...style];
      if (memory.look?.every((value, i) => value === look[i])) [stats, inertia] = [memory.stats, INERTIA];
      memory.look = look;
    }
    const { painted, used } = await this.content.run({
      image: tensor(toFloat(picture), [1, 3, height, width]),
      style: tensor(style, [1, style.length]),
      mask: tensor(new Float32Array([1]), [1, 1, 1, 1]),
      strength: tensor(new Float32Array([strength]), []),
      stats: tensor(stats, [1, size]),
      inertia: tensor(new Float32Array(size).fill(inertia), [size]),
    });
    if (memory) memory.stats = used.data;
    return { pixels: toPixels(painted.data, width, height), used: used.data };
  }

  /** Throws unless the model gives here what it gave where it was made. */
  async check() {
    const test = new ImageData(64, 64);
    const negative = new ImageData(64, 64);
    for (let y = 0; y < 64; y++) {
      for (let x = 0; x < 64; x++) {
        const color = [4 * x, 4 * y, Math.floor(127 * (1 + Math.sin((x * y) / 60)))];
        test.data.set([...color, 255], 4 * (64 * y + x));
        negative.data.set([...color.map((value) => 255 - value), 255], 4 * (64 * y + x));
      }
    }
    const { data } = await this.paint(test, [[await this.take(negative), 1]], { strength: 1 });
    const means = new Float64Array(48);
    for (let i = 0; i < data.length; i++) {
      const [x, y, channel] = [(i >> 2) % 64, (i >> 8), i % 4];
      if (channel < 3) means[3 * (4 * (y >> 4) + (x >> 4)) + channel] += data[i] / 256;
    }
    const expected = this.card.reference.flat(2);
    if (!means.every((mean, i) => Math.abs(mean - expected[i]) < TOLERANCE)) {
      throw new Words("The model gives a wrong picture in this browser: try another one.");
    }
  }
}

const json = (buffer) => JSON.parse(new TextDecoder().decode(buffer));

/** Fetches files, telling after each piece how many bytes of how many have come. */
function downloads(progress) {
  let [done, total] = [0, 0];
  return async (path) => {
    const response = await fetch(new URL(path, import.meta.url)).catch(() => null);
    if (!response?.ok) throw new Words(`${path} cannot be fetched: is the network, or the server of this page, away?`);
    total += Number(response.headers.get("content-length") ?? 0);
    const pieces = response.body.pipeThrough(new TransformStream({
      transform(piece, next) {
        done += piece.length;
        progress(done, Math.max(done, total));
        next.enqueue(piece);
      },
    }));
    const buffer = await new Response(pieces).arrayBuffer();
    // Packed by us, since not every host packs, unless the host has named the packing and the browser undone it.
    const packed = new DataView(buffer).getUint16(0) === 0x1f8b;
    if (!packed) return buffer;
    return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };
}
