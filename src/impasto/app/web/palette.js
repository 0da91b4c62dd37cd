// The colours of pictures, moved towards those of paintings: what color.py does.

/**
 * The colours of a picture: mean [3] and covariance [3][3] of its RGB values 0..255.
 * @typedef {{mean: number[], covariance: number[][]}} Palette
 */

const LEAST = 1e-4; // of alpha, 0..255, that a pixel counts by

/** Measures the colours of a picture by its alpha, a grey one or null, of one pixel for every `step` x `step`. */
export function paletteOf({ data, width, height }, alpha = null, step = 1) {
  const [total, products] = [[0, 0, 0], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]];
  let count = 0;
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) {
      const i = 4 * (width * y + x);
      const weight = alpha ? Math.max(alpha.data[i], LEAST) : 1;
      count += weight;
      for (let row = 0; row < 3; row++) {
        const weighed = weight * data[i + row];
        total[row] += weighed;
        for (let column = 0; column <= row; column++) products[row][column] += weighed * data[i + column];
      }
    }
  }
  const mean = total.map((sum) => sum / count);
  const covariance = matrix((row, column) =>
    products[Math.max(row, column)][Math.min(row, column)] / count - mean[row] * mean[column]);
  return { mean, covariance };
}

/** The mean of palettes, each with its share; null where one of them is not known. */
export function mixPalettes(pairs) {
  if (pairs.some(([palette]) => !palette)) return null;
  const sum = (part) => pairs.reduce((total, [palette, share]) => total + share * part(palette), 0);
  return {
    mean: [0, 1, 2].map((row) => sum(({ mean }) => mean[row])),
    covariance: matrix((row, column) => sum(({ covariance }) => covariance[row][column])),
  };
}

/**
 * Finds the map that moves the colours of a photo a share (0..1) of the way to those of a painting, and of all linear
 * ones moves them least: A = C^(-1/2) (C^(1/2) S C^(1/2))^(1/2) C^(-1/2), C and S the covariances of both. But in no
 * direction are colours spread further than they are: the noise of a sky or of a grey photo would grow to strokes.
 * @returns {{matrix: number[][], offset: number[]}} an affine map of RGB values 0..255.
 */
export function optimalMap(photo, painting, share) {
  const deviation = (value) => Math.sqrt(Math.max(value, 1));
  const half = rescale(photo.covariance, deviation);
  const inverse = rescale(photo.covariance, (value) => 1 / deviation(value));
  const between = rescale(multiply(multiply(half, painting.covariance), half), (value) => Math.sqrt(Math.max(value, 0)));
  const full = rescale(multiply(multiply(inverse, between), inverse), (gain) => Math.min(gain, 1));
  return {
    matrix: matrix((row, column) => share * full[row][column] + (row === column ? 1 - share : 0)),
    offset: full.map((line, row) => share * (painting.mean[row] - dot(line, photo.mean))),
  };
}

/** The map that gives a picture of one palette the other: A = C^(1/2) S^(-1/2), C and S the covariances of both. */
export function matchingMap(from, to) {
  const back = rescale(from.covariance, (value) => 1 / Math.sqrt(Math.max(value, 1)));
  const full = multiply(rescale(to.covariance, (value) => Math.sqrt(Math.max(value, 0))), back);
  return { matrix: full, offset: full.map((line, row) => to.mean[row] - dot(line, from.mean)) };
}

/**
 * A copy of a picture whose colours went through a map, if there is one; or through two, of which the second counts by
 * the `share` (a grey picture) that its region has in each pixel.
 */
export function recolor(picture, [map, other], share = null) {
  const made = structuredClone(picture);
  if (!map) return made;
  mapColors(made.data, map);
  if (!other) return made;
  const second = structuredClone(picture).data;
  mapColors(second, other);
  for (let i = 0; i < second.length; i++) {
    made.data[i] += (second[i] - made.data[i]) * (share.data[i - (i % 4)] / 255);
  }
  return made;
}

function mapColors(data, map) {
  const [[rr, rg, rb], [gr, gg, gb], [br, bg, bb]] = map.matrix;
  const [r0, g0, b0] = map.offset;
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
    data[i] = rr * r + rg * g + rb * b + r0;
    data[i + 1] = gr * r + gg * g + gb * b + g0;
    data[i + 2] = br * r + bg * g + bb * b + b0;
  }
}

const matrix = (value) => [0, 1, 2].map((row) => [0, 1, 2].map((column) => value(row, column)));
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const multiply = (a, b) => matrix((row, column) => dot(a[row], b.map((line) => line[column])));

/** A symmetric matrix with its eigenvalues changed (Jacobi's rotations). */
function rescale(symmetric, change) {
  let values = symmetric;
  let vectors = matrix((row, column) => Number(row === column));
  for (let turn = 0; turn < 30; turn++) { // they settle within half of that
    const [p, q] = [[0, 1], [0, 2], [1, 2]][turn % 3];
    if (!values[p][q]) continue;
    const angle = Math.atan((2 * values[p][q]) / (values[q][q] - values[p][p])) / 2;
    const rotation = matrix((row, column) => Number(row === column));
    rotation[p][p] = rotation[q][q] = Math.cos(angle);
    rotation[q][p] = -(rotation[p][q] = Math.sin(angle));
    const back = matrix((row, column) => rotation[column][row]);
    values = multiply(multiply(back, values), rotation);
    vectors = multiply(vectors, rotation);
  }
  const scales = [0, 1, 2].map((i) => change(values[i][i]));
  return matrix((row, column) => dot(vectors[row].map((value, i) => value * scales[i]), vectors[column]));
}
