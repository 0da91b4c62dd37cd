// The model: what stylizer.py, graph.py and engine/onnxruntime.py do, on ONNX Runtime's build for browsers.

import { fill, putAlpha, weigh } from "./alpha.js";
import { addDetail, chooseSizes, cutSide, keepCoarse, shrink } from "./octaves.js";
import { mixPalettes, optimalMap, paletteOf, recolor } from "./palette.js";
import { cut, keepChroma, letThrough, paste, resize, toFloat, toPixels, Words } from "./pixels.js";
import { readSafetensors } from "./safetensors.js";

const RUNTIMES = {
  webgpu: ["ort.webgpu.bundle.min.js", "ort-wasm-simd-threaded.asyncify.wasm.gz"],
  wasm: ["ort.wasm.bundle.min.js", "ort-wasm-simd-threaded.wasm.gz"],
};
const TOLERANCE = 4; // of 255, on means of 16 x 16 pixels, as in graph.py
const INERTIA = 0.9; // share of the running statistics and colours in a camera's next frame, as in video/temporal.py
const FINER = 0.3; // strength of the second painting, of that of the first
const PALETTE_SHARE = 0.5; // how far the colours of a photo are moved to those of the painting
const TILE_ABOVE = 3e6; // pixels above which a second octave is painted by tiles
const TILE = 1024; // their side

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
  Object.assign(painter, { ort, engine, card: json(card) });
  const quiet = {
    logSeverityLevel: 3, // errors; a warning for each node that stays on the processor helps nobody
    extra: { session: { intra_op: { allow_spinning: "0" } } }, // threads that spin would slow down all else
  };
  painter.content = await ort.InferenceSession.create(content, { executionProviders: [engine], ...quiet });
  // Runs once for each style: not worth a graphics card.
  painter.styler = await ort.InferenceSession.create(style, { executionProviders: ["wasm"], ...quiet });
  await painter.check();
  const vectors = readSafetensors(gallery); // a model exported before a painting was added knows the others
  const known = json(paintings).filter(({ name }) => vectors.has(name));
  const styles = known.map(({ palette: [mean, ...covariance], ...painting }) => (
    { ...painting, style: { vector: vectors.get(painting.name), palette: { mean, covariance } } }));
  return { painter, gallery: styles };
}

/**
 * What is known of a painting: its style tensor [S] and its colours.
 * @typedef {{vector: Float32Array, palette: import("./palette.js").Palette}} Style
 */

class Painter {
  /**
   * Paints a photo coarse to fine; frames once, with their own detail put back.
   * @param {ImageData} picture pixels count by their alpha, which the result has, too.
   * @param {[Style, number][]} styles with their shares, which sum to 1.
   * @param {{strength: number, keepColors: boolean, strokeSize: number}} controls strength 0 gives the photo back, 1
   *   the full style.
   * @param {{look?: number[], stats?: Float32Array, palette?: import("./palette.js").Palette}} [memory] what a camera's
   *   frames hand on.
   * @param {ImageData[]} [octaves] what is painted of, see `shrink`: where `picture` is a larger one made small, those
   *   of the larger one, filled, so that they look alike.
   */
  async paint(picture, styles, { strength, keepColors, strokeSize }, memory, octaves) {
    const { pixels: photo, alpha } = fill(picture);
    const vector = new Float32Array(styles[0][0].vector.length);
    for (const [style, share] of styles) style.vector.forEach((value, i) => { vector[i] += share * value; });
    const photos = octaves ?? shrink(photo, chooseSizes(photo, strokeSize, Boolean(memory)));
    const palette = keepColors ? null : mixPalettes(styles.map(([style, share]) => [style.palette, share]));
    const alphas = photos.map((octave) => alpha && resize(alpha, octave));
    const map = moveColors(photos[0], alphas[0], palette, PALETTE_SHARE * strength, memory);
    let coarser = null;
    for (const [step, octave] of photos.entries()) {
      const own = recolor(octave, map);
      let painting;
      if (coarser) {
        const canvas = addDetail(structuredClone(own), coarser);
        painting = await this.paintFiner(canvas, coarser.painting, vector, FINER * strength, alphas.slice(step - 1));
        painting = keepCoarse(painting, coarser.painting);
      } else {
        painting = await this.paintFirst(own, vector, strength, alphas[0], memory);
      }
      coarser = { painting, photo: own };
    }
    const painted = addDetail(recolor(photo, map), coarser);
    if (strength < 1) letThrough(photo, painted, 1 - (1 - strength) ** 4);
    if (keepColors) keepChroma(photo, painted);
    return putAlpha(painted, alpha);
  }

  /** Paints the first octave, with its own content statistics or those that frames hand on. */
  async paintFirst(picture, vector, strength, alpha, memory) {
    if (!memory) return (await this.run(picture, vector, strength, { alpha })).pixels;
    // Deep statistics depend on the look: those of another one, or of a picture of another shape, are of no use.
    const look = [strength, picture.width, picture.height, ...vector];
    const kept = memory.look?.every((value, i) => value === look[i]) ? memory.stats : null;
    const { pixels, used } = await this.run(picture, vector, strength, { alpha, stats: kept, inertia: INERTIA });
    Object.assign(memory, { look, stats: used });
    return pixels;
  }

  /**
   * Paints a second octave; a large one by tiles, which share the statistics of the octave before. Of both there is
   * alpha, where there is any.
   */
  async paintFiner(picture, coarser, vector, strength, [coarserAlpha, alpha]) {
    const { width, height } = picture;
    if (width * height <= TILE_ABOVE) return (await this.run(picture, vector, strength, { alpha })).pixels;
    const { used } = await this.run(coarser, vector, strength, { alpha: coarserAlpha });
    const stride = Math.max(...this.card.strides);
    const halo = Math.ceil(this.card.reach / stride) * stride;
    const [rows, columns] = [height, width].map((length) => cutSide(length, TILE, halo, stride));
    const made = new ImageData(width, height);
    for (const { start: top, stop: bottom, from: upper, to: lower } of rows) {
      for (const { start: left, stop: right, from, to } of columns) {
        const { pixels } = await this.run(cut(picture, left, top, right, bottom), vector, strength, { stats: used });
        paste(made, cut(pixels, from - left, upper - top, to - left, lower - top), from, upper);
      }
    }
    return made;
  }

  /**
   * Takes the style of a picture, from the statistics that the network uses when it runs on it at strength 0.
   * @param {ImageData} picture pixels count by their alpha.
   * @returns {Promise<Style>}
   */
  async take(picture) {
    const { pixels, alpha } = fill(picture);
    const { used } = await this.run(pixels, new Float32Array(this.card.style_size).fill(1), 0, { alpha });
    const statistics = new this.ort.Tensor("float32", used, [1, used.length]);
    const image = new this.ort.Tensor("float32", toFloat(pixels), [1, 3, pixels.height, pixels.width]);
    const { style } = await this.styler.run({ statistics, image });
    return { vector: style.data, palette: paletteOf(pixels, alpha) };
  }

  /**
   * Runs the network alone, once and in one piece. Pixels count by `alpha`, a grey picture, if there is one; of other
   * content statistics a share of `inertia` counts.
   */
  async run(picture, style, strength, { alpha = null, stats = null, inertia = 1 } = {}) {
    const { width, height } = picture;
    const size = 2 * this.card.adaptive.reduce((sum, channels) => sum + channels);
    const tensor = (data, shape) => new this.ort.Tensor("float32", data, shape);
    const whole = { weights: new Float32Array([1]), shape: [1, 1] };
    const { weights, shape } = alpha ? weigh(alpha, Math.max(...this.card.strides)) : whole;
    const { painted, used } = await this.content.run({
      image: tensor(toFloat(picture), [1, 3, height, width]),
      style: tensor(style, [1, style.length]),
      mask: tensor(weights, [1, 1, ...shape]),
      strength: tensor(new Float32Array([strength]), []),
      stats: tensor(stats ?? new Float32Array(size).fill(1), [1, size]),
      inertia: tensor(new Float32Array(size).fill(stats ? inertia : 0), [size]),
    });
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
    const { vector } = await this.take(negative);
    const { data } = (await this.run(test, vector, 1)).pixels;
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

/** Finds the map that moves a photo's colours towards a palette; none where that is not known or not wanted. */
function moveColors(photo, alpha, palette, share, memory) {
  if (!palette || !share) return null;
  let own = paletteOf(photo, alpha, 3);
  if (memory) own = memory.palette = mixPalettes([[memory.palette ?? own, INERTIA], [own, 1 - INERTIA]]);
  return optimalMap(own, palette, share);
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
