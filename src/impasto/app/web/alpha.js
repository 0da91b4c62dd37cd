// Transparency: pixels count by how much is seen of them, as in alpha.py.

import { Words } from "./pixels.js";

const FAINT = 8; // alpha below which colours are continued
const FLOOR = 1e-6; // weight of what is not seen at all
const FAR = 2 ** 31 - 1;

/**
 * Continues the colours of a picture to where they are hardly seen.
 * @param {ImageData} picture
 * @returns {{pixels: ImageData, alpha: ImageData | null}} an opaque picture, and alpha as a grey one; none, and the
 *   picture itself, where it is opaque.
 */
export function fill(picture) {
  if (isOpaque(picture)) return { pixels: picture, alpha: null };
  const below = faintest(picture);
  const [pixels, alpha] = [structuredClone(picture), structuredClone(picture)];
  const seen = new Uint8Array(picture.width * picture.height);
  for (let i = 0; i < seen.length; i++) {
    const own = picture.data[4 * i + 3];
    alpha.data.fill(own, 4 * i, 4 * i + 3);
    alpha.data[4 * i + 3] = pixels.data[4 * i + 3] = 255;
    seen[i] = own >= below;
  }
  continueColors(pixels, seen);
  return { pixels, alpha };
}

/**
 * The weights of pixels in statistics, one plane for each region, continued at their far ends to multiples of `stride`,
 * as the features are continued. Of one size and grey, where there are any:
 * @param {ImageData | null} alpha by which pixels count.
 * @param {ImageData | null} share of the second of two regions; where there is none, all is one.
 * @returns {{weights: Float32Array, shape: number[]}} with regions, 1, height and width.
 */
export function weigh(alpha, share, stride) {
  const size = alpha ?? share;
  if (!size) return { weights: new Float32Array([1]), shape: [1, 1, 1, 1] };
  const [rows, columns] = [size.height, size.width].map((side) => Math.ceil(side / stride) * stride);
  const count = rows * columns;
  const weights = new Float32Array(count * (share ? 2 : 1));
  for (let i = 0; i < count; i++) {
    const [y, x] = [Math.min(Math.floor(i / columns), size.height - 1), Math.min(i % columns, size.width - 1)];
    const at = 4 * (y * size.width + x);
    const seen = alpha ? Math.max(alpha.data[at] / 255, FLOOR) : 1;
    const second = share ? share.data[at] / 255 : 0;
    weights[i] = seen * (1 - second);
    if (share) weights[count + i] = seen * second;
  }
  return { weights, shape: [share ? 2 : 1, 1, rows, columns] };
}

/** Changes a picture to have the alpha of a grey one, if there is one. */
export function putAlpha(picture, alpha) {
  if (alpha) for (let i = 0; i < picture.data.length; i += 4) picture.data[i + 3] = alpha.data[i];
  return picture;
}

/** The smallest rectangle that holds all that is seen of a picture; throws `Words` where that is nothing. */
export function findVisible(picture) {
  const { data, width, height } = picture;
  const below = faintest(picture);
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[4 * (y * width + x) + 3] < below) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), y + 1];
    }
  }
  if (!bottom) throw new Words("This picture is wholly transparent: there is nothing in it to take a style from.");
  return { left, top, right, bottom };
}

/** Whether all of a picture is seen. */
export function isOpaque({ data }) {
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return false;
  return true;
}

/** The least alpha with which a pixel is seen, in a picture that may be faint all over. */
function faintest({ data }) {
  let most = 1;
  for (let i = 3; i < data.length && most < FAINT; i += 4) most = Math.max(most, data[i]);
  return Math.min(FAINT, most);
}

/** Changes what is not seen of a picture by mirroring, each pixel along its row or column at the nearest edge. */
function continueColors({ data, width, height }, seen) {
  if (!seen.includes(1)) return void data.forEach((_, i) => { if (i % 4 < 3) data[i] = 128; });
  const rows = { lines: height, apart: width, length: width, step: 1 };
  const columns = { lines: width, apart: 1, length: height, step: width };
  while (seen.includes(0)) { // twice at most: then there is a full row or column that all others can see
    const nearest = new Int32Array(seen.length).fill(FAR);
    const source = new Int32Array(seen.length);
    for (const back of [false, true]) for (const way of [rows, columns]) look(seen, way, back, nearest, source);
    for (let i = 0; i < seen.length; i++) {
      if (seen[i] || nearest[i] === FAR) continue;
      seen[i] = 1;
      data.copyWithin(4 * i, 4 * source[i], 4 * source[i] + 3);
    }
  }
}

/** Finds the mirror image of each pixel at the last edge on a way along its line, if that is nearer than another. */
function look(seen, { lines, apart, length, step }, back, nearest, source) {
  for (let line = 0; line < lines; line++) {
    const start = line * apart + (back ? (length - 1) * step : 0);
    const along = back ? -step : step;
    let [begin, edge] = [0, -1];
    for (let k = 0, at = start; k < length; k++, at += along) {
      if (seen[at]) {
        if (edge < 0 || edge < k - 1) begin = k;
        edge = k;
      } else if (edge >= 0 && k - edge < nearest[at]) {
        const run = edge - begin + 1;
        const far = (k - edge - 1) % (2 * run);
        nearest[at] = k - edge;
        source[at] = start + along * (edge - Math.min(far, 2 * run - 1 - far));
      }
    }
  }
}
