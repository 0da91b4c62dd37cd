// The model: what stylizer.py, graph.py and engine/onnxruntime.py do, on ONNX Runtime's build for browsers.

import { fill, putAlpha, weigh } from "./alpha.js";
import { addDetail, chooseSizes, cutSide, keepCoarse, shrink } from "./octaves.js";
import { matchingMap, mixPalettes, optimalMap, paletteOf, recolor } from "./palette.js";
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
export async function openModel({ engine, threads }, progress) {
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
  const model = new Model();
  Object.assign(model, { ort, engine, card: json(card) });
  const quiet = {
    logSeverityLevel: 3, // errors; a warning for each node that stays on the processor helps nobody
    extra: { session: { intra_op: { allow_spinning: "0" } } }, // threads that spin would slow down all else
  };
  model.content = await ort.InferenceSession.create(content, { executionProviders: [engine], ...quiet });
  // Runs once for each style: not worth a graphics card.
  model.styler = await ort.InferenceSession.create(style, { executionProviders: ["wasm"], ...quiet });
  await model.check();
  const vectors = readSafetensors(gallery); // a model exported before a painting was added knows the others
  const known = json(paintings).filter(({ name }) => vectors.has(name));
  const styles = known.map(({ palette: [mean, ...covariance], ...painting }) => (
    { ...painting, style: { vector: vectors.get(painting.name), palette: { mean, covariance } } }));
  return { model, gallery: styles };
}

/**
 * What is known of a painting: its style tensor [S], its colours, and the picture itself where there is one.
 * @typedef {{vector: Float32Array, palette: import("./palette.js").Palette,
 *   picture?: {pixels: ImageData, alpha: ImageData | null}}} Style
 *
 * How to paint: strength 0 gives the photo back, 1 the full style.
 * @typedef {{strength: number, keepColor: "" | "match" | "luminance", strokeSize: number}} Controls
 *
 * @typedef {{key?: number[], stats?: Float32Array, palette?: import("./palette.js").Palette}} Memory
 */

class Model {
  /**
   * Paints a photo coarse to fine; frames once, with their own detail put back.
   * @param {ImageData} picture pixels count by their alpha, which the result has, too.
   * @param {[Style, number][]} mix styles with their shares, which sum to 1.
   * @param {Controls} controls
   * @param {{memory?: Memory, octaves?: ImageData[], mask?: ImageData}} [more] `memory` is what a camera's frames hand on;
   *   `octaves` what is painted of, see `shrink`: where `picture` is a larger one made small, those of the larger one,
   *   filled, so that they look alike; `mask` (grey) says by how much the second of two styles counts in each pixel.
   */
  async paint(picture, mix, { strength, keepColor, strokeSize }, { memory = null, octaves, mask = null } = {}) {
    const { pixels: photo, alpha } = fill(picture);
    const photos = octaves ?? shrink(photo, chooseSizes(photo, strokeSize, Boolean(memory)));
    const scaled = (grey) => photos.map((octave) => grey && resize(grey, octave));
    const [alphas, shares] = [scaled(alpha), scaled(mask)];
    let styles = mix.map(([style]) => style);
    const takenAnew = keepColor === "match" && !memory && styles.every((style) => style.picture);
    if (takenAnew) {
      const own = paletteOf(photo, alpha);
      const recolored = [];
      for (const style of styles) recolored.push(await this.takeRecolored(style, own)); // it runs one at a time
      styles = recolored;
    }
    if (!mask) styles = [blend(styles, mix.map(([, share]) => share))];
    const look = { vectors: styles.map(({ vector }) => vector), strength };
    const maps = keepColor ? [] : moveColors(photos[0], alphas[0], styles, PALETTE_SHARE * strength, memory);
    let coarser = null;
    for (const [step, octave] of photos.entries()) {
      const own = recolor(octave, maps, shares[step]);
      const region = { alpha: alphas[step], share: shares[step] };
      let painting;
      if (coarser) {
        const canvas = addDetail(structuredClone(own), coarser);
        const before = { alpha: alphas[step - 1], share: shares[step - 1] };
        painting = await this.paintFiner(canvas, coarser.painting, { ...look, strength: FINER * strength }, before, region);
        painting = keepCoarse(painting, coarser.painting);
      } else {
        painting = await this.paintFirst(own, look, region, memory);
      }
      coarser = { painting, photo: own };
    }
    const share = mask && resize(mask, photo);
    let painted = addDetail(recolor(photo, maps, share), coarser);
    if (strength < 1) letThrough(photo, painted, 1 - (1 - strength) ** 4);
    if (keepColor === "luminance") keepChroma(photo, painted);
    if (keepColor === "match" && !takenAnew) {
      painted = recolor(painted, [matchingMap(paletteOf(painted, alpha), paletteOf(photo, alpha))]);
    }
    return putAlpha(painted, alpha);
  }

  /** Paints the first octave, with its own content statistics or those that frames hand on. */
  async paintFirst(picture, look, region, memory) {
    if (!memory) return (await this.run(picture, look, region)).pixels;
    // Deep statistics depend on the look: those of another one, or of a picture of another shape, are of no use.
    const key = [look.strength, picture.width, picture.height, ...look.vectors[0]];
    const kept = memory.key?.every((value, i) => value === key[i]) ? memory.stats : null;
    const { pixels, used } = await this.run(picture, look, region, { stats: kept, inertia: INERTIA });
    Object.assign(memory, { key, stats: used });
    return pixels;
  }

  /**
   * Paints a second octave; a large one by tiles, which share the statistics of the octave before. Of both there are
   * alpha and regions, where there are any.
   */
  async paintFiner(picture, coarser, look, before, region) {
    const { width, height } = picture;
    if (width * height <= TILE_ABOVE) return (await this.run(picture, look, region)).pixels;
    const { used } = await this.run(coarser, look, before);
    const stride = Math.max(...this.card.strides);
    const halo = Math.ceil(this.card.reach / stride) * stride;
    const [rows, columns] = [height, width].map((length) => cutSide(length, TILE, halo, stride));
    const made = new ImageData(width, height);
    for (const { start: top, stop: bottom, from: upper, to: lower } of rows) {
      for (const { start: left, stop: right, from, to } of columns) {
        const share = region.share && cut(region.share, left, top, right, bottom);
        const tile = await this.run(cut(picture, left, top, right, bottom), look, { share }, { stats: used });
        paste(made, cut(tile.pixels, from - left, upper - top, to - left, lower - top), from, upper);
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
    return { ...(await this.takeFilled(pixels, alpha)), picture: { pixels, alpha } };
  }

  async takeFilled(pixels, alpha) {
    const { used } = await this.run(pixels, { vectors: [new Float32Array(this.card.style_size).fill(1)], strength: 0 }, { alpha });
    const statistics = new this.ort.Tensor("float32", used, [1, used.length]);
    const image = new this.ort.Tensor("float32", toFloat(pixels), [1, 3, pixels.height, pixels.width]);
    const { style } = await this.styler.run({ statistics, image });
    return { vector: style.data, palette: paletteOf(pixels, alpha) };
  }

  /** Takes a style anew from its picture, given the colours of a photo. */
  takeRecolored({ picture: { pixels, alpha } }, palette) {
    return this.takeFilled(recolor(pixels, [matchingMap(paletteOf(pixels, alpha), palette)]), alpha);
  }

  /**
   * Runs the network alone, once and in one piece. Pixels count by `alpha` and by the `share` of the second of two
   * regions, grey pictures, where there are any; of other content statistics a share of `inertia` counts.
   */
  async run(picture, { vectors, strength }, { alpha = null, share = null } = {}, { stats = null, inertia = 1 } = {}) {
    const { width, height } = picture;
    const size = 2 * this.card.adaptive.reduce((sum, channels) => sum + channels);
    const tensor = (data, shape) => new this.ort.Tensor("float32", data, shape);
    const { weights, shape } = weigh(alpha, share, Math.max(...this.card.strides));
    const styles = new Float32Array(vectors.length * vectors[0].length);
    vectors.forEach((vector, k) => styles.set(vector, k * vector.length));
    const { painted, used } = await this.content.run({
      image: tensor(toFloat(picture), [1, 3, height, width]),
      style: tensor(styles, [vectors.length, vectors[0].length]),
      mask: tensor(weights, shape),
      strength: tensor(new Float32Array([strength]), []),
      stats: tensor(stats ?? new Float32Array(vectors.length * size).fill(1), [vectors.length, size]),
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
    const { data } = (await this.run(test, { vectors: [vector], strength: 1 })).pixels;
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

/** The style that lies between others, each with its share. */
function blend(styles, shares) {
  const vector = new Float32Array(styles[0].vector.length);
  styles.forEach((style, k) => style.vector.forEach((value, i) => { vector[i] += shares[k] * value; }));
  return { vector, palette: mixPalettes(styles.map(({ palette }, k) => [palette, shares[k]])) };
}

/**
 * Finds the maps that move a photo's colours towards the palettes of its styles; none where these are not known or not
 * wanted.
 */
function moveColors(photo, alpha, styles, share, memory) {
  if (styles.some(({ palette }) => !palette) || !share) return [];
  let own = paletteOf(photo, alpha, 3);
  if (memory) own = memory.palette = mixPalettes([[memory.palette ?? own, INERTIA], [own, 1 - INERTIA]]);
  return styles.map(({ palette }) => optimalMap(own, palette, share));
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
