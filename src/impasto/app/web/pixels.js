// Pictures as numbers: what image.py and color.py do, and Pillow's scaling, on ImageData (sRGB). Only alpha.js looks at
// alpha: all else is given opaque pictures.
// Writing to its Uint8ClampedArray clips to 0..255 and rounds half to even, as NumPy's clip and rint do.

import { findVisible } from "./alpha.js";

/** What went wrong, in words for whoever looks at the page. */
export class Words extends Error {}

const LUMA = [0.299, 0.587, 0.114]; // ITU-R BT.601
const MOST_PIXELS = 100e6;
const LOOKED_AT = 2048; // long side in pixels that is looked at for what is seen of a style picture
const LEAST_SIDE = 16; // below it there is no room for reflection padding at an eighth of the size
const FINEST = 2 ** -22; // what Pillow's weights are multiples of
const BAND = 64; // rows that are worked on at a time, so that what lies between stays small whatever the picture

/**
 * Reads a picture, upright, with its alpha.
 * @param {Blob | ImageBitmap} source a file, or a frame, which stays open.
 * @param {{long?: number, short?: number}} [limit] of the long side; or the exact short side, then of the part that is
 *   seen.
 * @returns {Promise<{pixels: ImageData, width: number, height: number}>} with the size that it had.
 */
export async function decode(source, { long = Infinity, short } = {}) {
  const bitmap = source instanceof Blob ? await open(source) : source;
  const { width, height } = bitmap;
  try {
    if (width * height > MOST_PIXELS) {
      const most = `${MOST_PIXELS / 1e6} megapixels`;
      throw new Words(`This picture has ${width} x ${height} pixels, too many for a browser: give one of ${most} at most.`);
    }
    const { left, top, right, bottom } = short ? visible(bitmap) : { left: 0, top: 0, right: width, bottom: height };
    const sides = [right - left, bottom - top];
    const scale = short ? short / Math.min(...sides) : Math.min(1, long / Math.max(...sides));
    const size = sides.map((side) => Math.round(side * scale));
    if (Math.min(...size) < LEAST_SIDE) {
      throw new Words(`This picture has ${width} x ${height} pixels: give one that is not so small or narrow.`);
    }
    const context = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left, top, ...sides, 0, 0, ...size);
    return { pixels: context.getImageData(0, 0, ...size), width, height };
  } finally {
    if (bitmap !== source) bitmap.close();
  }
}

/** The rectangle of a picture that holds all that is seen of it, to the pixel unless it is large. */
function visible(bitmap) {
  const scale = Math.min(1, LOOKED_AT / Math.max(bitmap.width, bitmap.height));
  const size = [bitmap.width, bitmap.height].map((side) => Math.ceil(side * scale));
  const context = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, ...size);
  const { left, top, right, bottom } = findVisible(context.getImageData(0, 0, ...size));
  const [across, down] = [bitmap.width / size[0], bitmap.height / size[1]];
  return {
    left: Math.floor(left * across),
    top: Math.floor(top * down),
    right: Math.min(bitmap.width, Math.ceil(right * across)),
    bottom: Math.min(bitmap.height, Math.ceil(bottom * down)),
  };
}

async function open(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Words("This file is not a picture that the browser can read: give a JPEG, PNG, WebP, AVIF or GIF.");
  }
}

/** The rows of a picture, some at a time: first one, and the one after the last. */
export function* bands({ height }) {
  for (let top = 0; top < height; top += BAND) yield [top, Math.min(top + BAND, height)];
}

/** A picture scaled to another size, see `scaler`; one that has it already stays itself. */
export function resize(picture, { width, height }) {
  if (picture.width === width && picture.height === height) return picture;
  const made = new ImageData(width, height);
  const scale = scaler(picture, made);
  for (const [top, bottom] of bands(made)) made.data.set(scale(picture, top, bottom), 4 * width * top);
  return made;
}

/**
 * Prepares the scaling of pictures of one size to another: bicubic, and without aliasing where a side shrinks. What is
 * scaled across is rounded before it is scaled down, as by Pillow.
 * @param {{width: number, height: number}} from
 * @param {{width: number, height: number}} to
 * @returns {(picture: ImageData, top: number, bottom: number) => Uint8ClampedArray} gives some rows, RGBA.
 */
export function scaler(from, to) {
  const across = kernel(from.width, to.width);
  const down = kernel(from.height, to.height);
  const row = 4 * to.width;
  const half = FINEST / 2; // so little more than nothing that half a level is rounded up, as by Pillow
  return ({ data }, top, bottom) => {
    const first = down.starts[top];
    const middle = new Uint8ClampedArray(row * (down.starts[bottom - 1] + down.taps - first)).fill(255);
    for (let y = 0; y * row < middle.length; y++) {
      for (let x = 0; x < to.width; x++) {
        let at = 4 * ((first + y) * from.width + across.starts[x]);
        let [red, green, blue] = [half, half, half];
        for (let tap = x * across.taps; tap < (x + 1) * across.taps; tap++, at += 4) {
          red += across.weights[tap] * data[at];
          green += across.weights[tap] * data[at + 1];
          blue += across.weights[tap] * data[at + 2];
        }
        middle[y * row + 4 * x] = red;
        middle[y * row + 4 * x + 1] = green;
        middle[y * row + 4 * x + 2] = blue;
      }
    }
    const made = new Uint8ClampedArray(row * (bottom - top));
    const sums = new Float64Array(row);
    for (let y = top; y < bottom; y++) {
      sums.fill(half);
      for (let tap = 0; tap < down.taps; tap++) {
        const weight = down.weights[y * down.taps + tap];
        const at = row * (down.starts[y] - first + tap);
        for (let i = 0; i < row; i++) sums[i] += weight * middle[at + i];
      }
      made.set(sums, row * (y - top));
    }
    return made;
  };
}

/** What each pixel of a side takes of the side that it is scaled from: `taps` weights, from a start on. */
function kernel(length, made) {
  const step = length / made;
  const wide = Math.max(1, step);
  const taps = Math.min(length, Math.ceil(4 * wide) + 1);
  const starts = new Int32Array(made);
  const weights = new Float64Array(made * taps);
  for (let i = 0; i < made; i++) {
    const center = (i + 0.5) * step;
    starts[i] = Math.min(Math.max(0, Math.floor(center - 2 * wide + 0.5)), length - taps);
    const own = weights.subarray(i * taps, (i + 1) * taps);
    for (let tap = 0; tap < taps; tap++) own[tap] = cubic(Math.abs(starts[i] + tap + 0.5 - center) / wide);
    const sum = own.reduce((total, weight) => total + weight);
    for (let tap = 0; tap < taps; tap++) own[tap] = FINEST * Math.round(own[tap] / sum / FINEST);
  }
  return { starts, taps, weights };
}

/** The cubic kernel with a = -0.5. */
function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** A part of a picture. */
export function cut({ data, width }, left, top, right, bottom) {
  const made = new ImageData(right - left, bottom - top);
  for (let y = top; y < bottom; y++) {
    made.data.set(data.subarray(4 * (y * width + left), 4 * (y * width + right)), 4 * (y - top) * made.width);
  }
  return made;
}

/** Puts a picture into another one, from a place on. */
export function paste(picture, { data, width, height }, left, top) {
  for (let y = 0; y < height; y++) {
    picture.data.set(data.subarray(4 * y * width, 4 * (y + 1) * width), 4 * ((top + y) * picture.width + left));
  }
}

/** ImageData -> float32 [3, H, W] in 0..1. */
export function toFloat({ data, width, height }) {
  const plane = width * height;
  const image = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane; i++) image[channel * plane + i] = data[4 * i + channel] / 255;
  }
  return image;
}

/** float32 [3, H, W] in 0..1 -> ImageData. */
export function toPixels(image, width, height) {
  const plane = width * height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) pixels.data[4 * i + channel] = 255 * image[channel * plane + i];
    pixels.data[4 * i + 3] = 255;
  }
  return pixels;
}

/** Changes what was painted: of the photo a share of 1 - `share` comes through. */
export function letThrough(photo, painted, share) {
  for (let i = 0; i < photo.data.length; i++) {
    painted.data[i] = photo.data[i] + (painted.data[i] - photo.data[i]) * share;
  }
}

/**
 * Changes what was painted: its luma, with the chroma of the photo (Cb, Cr of BT.601), which is scaled towards grey
 * where the two together lie outside the cube of colours.
 */
export function keepChroma(photo, painted) {
  const luma = (data, i) => LUMA[0] * data[i] + LUMA[1] * data[i + 1] + LUMA[2] * data[i + 2];
  for (let i = 0; i < photo.data.length; i += 4) {
    const own = luma(photo.data, i);
    const target = luma(painted.data, i);
    let scale = 1;
    for (let channel = 0; channel < 3; channel++) {
      const difference = photo.data[i + channel] - own;
      const room = difference > 0 ? 255 - target : target;
      scale = Math.min(scale, room / Math.max(Math.abs(difference), 1e-3));
    }
    for (let channel = 0; channel < 3; channel++) {
      painted.data[i + channel] = target + scale * (photo.data[i + channel] - own);
    }
  }
}
