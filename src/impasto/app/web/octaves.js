// Painting coarse to fine, as octaves.py and tile.py do it: strokes have a size in the picture and not in pixels.

import { bands, resize, scaler } from "./pixels.js";

const BASE = 512; // short side that strokes of size 1 are painted at
const SMALLEST = 16; // short side that is worth painting
const LEAST_STEP = 1.5; // what a picture must be of the first octave for a second one
const LARGEST_BASE = 8e6; // pixels of the first octave, which is painted in one piece

/**
 * Chooses the sizes that a picture is painted at, one after the other.
 * @param {{width: number, height: number}} picture
 * @param {number} strokeSize of the strokes in proportion to the picture: 1 as usual, 2 twice as large.
 * @param {boolean} once paint it a single time, for the frames of a camera.
 * @returns {{width: number, height: number}[]} one octave or two.
 */
export function chooseSizes({ width, height }, strokeSize = 1, once = false) {
  const short = Math.min(width, height);
  const first = Math.max(Math.min(short, BASE) / strokeSize, Math.min(short, SMALLEST));
  const scales = [Math.min(first / short, Math.sqrt(LARGEST_BASE / (height * width)))];
  if (!once && scales[0] * LEAST_STEP <= 1) scales.push(Math.min(1, 2 * scales[0]));
  return scales.map((scale) => ({ width: round(width * scale), height: round(height * scale) }));
}

/** The nearest whole number from 1 on; half goes to the even one, as in Python, for the same sizes. */
const round = (side) => Math.max(1, side % 1 === 0.5 ? 2 * Math.round(side / 2) : Math.round(side));

/** A photo at each of the sizes, coarse to fine; each smaller one from the next. */
export function shrink(photo, sizes) {
  return sizes.reduceRight((found, size) => [resize(found[0] ?? photo, size), ...found], []);
}

/**
 * Puts the detail of a photo that was lost when it was made small back into its painting, enlarged likewise.
 * @param {ImageData} photo is changed to it where that saves room.
 * @param {{painting: ImageData, photo: ImageData}} coarser of one size.
 * @returns {ImageData} of the photo's size.
 */
export function addDetail(photo, coarser) {
  if (coarser.photo.height >= photo.height) return resize(coarser.painting, photo); // no detail was lost
  const enlarge = scaler(coarser.photo, photo);
  for (const [top, bottom] of bands(photo)) {
    const rows = photo.data.subarray(4 * photo.width * top, 4 * photo.width * bottom);
    const painting = enlarge(coarser.painting, top, bottom);
    const blurred = enlarge(coarser.photo, top, bottom);
    for (let i = 0; i < rows.length; i++) rows[i] += painting[i] - blurred[i];
  }
  return photo;
}

/**
 * Takes out of a finer painting, which it changes, what that has changed of a coarser one: Q - up(down(Q) - P).
 * @param {ImageData} finer
 * @param {ImageData} coarser
 */
export function keepCoarse(finer, coarser) {
  const changed = resize(finer, coarser);
  // Changes are small, so they are enlarged in eight bits, around the middle.
  for (let i = 0; i < changed.data.length; i++) changed.data[i] += 128 - coarser.data[i];
  const enlarged = resize(changed, finer).data;
  for (let i = 0; i < enlarged.length; i++) if (i % 4 < 3) finer.data[i] += 128 - enlarged[i];
  return finer;
}

/**
 * Cuts a side to stretches of up to `window` pixels, of which what counts covers it once.
 * @param {number} length of the side.
 * @param {number} window a multiple of `stride`, as `halo` is: what counts keeps that away from a cut.
 * @returns {{start: number, stop: number, from: number, to: number}[]} what is painted, and what of it counts.
 */
export function cutSide(length, window, halo, stride) {
  const last = Math.max(0, Math.ceil((length - window) / stride) * stride);
  const starts = [];
  for (let start = 0; start < last; start += window - 2 * halo) starts.push(start);
  starts.push(last);
  return starts.map((start, i) => ({
    start,
    stop: Math.min(start + window, length),
    from: i ? start + halo : 0,
    to: i + 1 < starts.length ? starts[i + 1] + halo : length,
  }));
}
