// Pictures as numbers: what image.py and color.py do, on ImageData (sRGB, opaque).
// Writing to its Uint8ClampedArray clips to 0..255 and rounds half to even, as NumPy's clip and rint do.

/** What went wrong, in words for whoever looks at the page. */
export class Words extends Error {}

const LUMA = [0.299, 0.587, 0.114]; // ITU-R BT.601
const MOST_PIXELS = 100e6;
const LEAST_SIDE = 16; // below it there is no room for reflection padding at an eighth of the size

/**
 * Reads a picture, upright, on white where it is transparent.
 * @param {Blob | ImageBitmap} source a file, or a frame, which stays open.
 * @param {{long?: number, short?: number}} limit what the long side is at most, or the short side exactly, by scaling.
 * @returns {Promise<{pixels: ImageData, width: number, height: number}>} with the size that it had.
 */
export async function decode(source, { long, short }) {
  const bitmap = source instanceof Blob ? await open(source) : source;
  const { width, height } = bitmap;
  try {
    if (width * height > MOST_PIXELS) {
      const most = `${MOST_PIXELS / 1e6} megapixels`;
      throw new Words(`This picture has ${width} x ${height} pixels, too many for a browser: give one of ${most} at most.`);
    }
    const scale = short ? short / Math.min(width, height) : Math.min(1, long / Math.max(width, height));
    const size = [width, height].map((side) => Math.round(side * scale));
    if (Math.min(...size) < LEAST_SIDE) {
      throw new Words(`This picture has ${width} x ${height} pixels: give one that is not so small or narrow.`);
    }
    const context = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, ...size);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, ...size);
    return { pixels: context.getImageData(0, 0, ...size), width, height };
  } finally {
    if (bitmap !== source) bitmap.close();
  }
}

async function open(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Words("This file is not a picture that the browser can read: give a JPEG, PNG, WebP, AVIF or GIF.");
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
