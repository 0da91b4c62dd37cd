// The styles: radio buttons, each with a small picture, and a list for the second style of a mix.

const THUMB = 256; // painted this large and shown at half of it: strokes come out finer
const EMPTY = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>";
const grid = document.querySelector("#styles .grid");
const second = document.querySelector("#second");
const styles = new Map();

/**
 * @typedef {import("./painter.js").Style} Style
 *
 * Shows a style: in front and chosen if it is the reader's own.
 * @param {{name: string, title: string, artist: string, style: Style, picture?: string}} painting
 */
export function addStyle(painting, own = false) {
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const label = make("label", { className: "style" });
  const image = make("img", { alt: "", src: painting.picture ?? EMPTY });
  const radio = make("input", { type: "radio", name: "style", value: painting.name, checked: own });
  label.append(radio, image, painting.title, make("small", { textContent: painting.artist }));
  grid[own ? "prepend" : "append"](label);
  second.add(new Option(painting.title, painting.name), own ? 1 : null);
  styles.set(painting.name, { ...painting, image });
}

/** Chooses a style by its name, or the first one. */
export function choose(name) {
  const radio = grid.querySelector(`input[value="${name}"]`) ?? grid.querySelector("input");
  radio.checked = true;
  const { offsetTop, offsetLeft } = radio.parentElement;
  grid.scrollTo(offsetLeft - grid.offsetLeft - 8, offsetTop - grid.offsetTop - 8); // the page itself stays where it is
}

/** What is chosen: styles with their shares, and their titles. `share` (0..1) is that of the second style. */
export function chosen(share) {
  const names = [grid.querySelector("input:checked").value, second.value].filter(Boolean);
  const [one, other] = names.map((name) => styles.get(name));
  return other
    ? { styles: [[one.style, 1 - share], [other.style, share]], title: `${one.title} and ${other.title}` }
    : { styles: [[one.style, 1]], title: one.title };
}

/**
 * Paints the example in each style that has no picture yet, and keeps the results for the next visit.
 * @param {import("./studio.js").Studio} studio
 * @param {string} key of the model: the pictures of another one are not its.
 * @param {Blob} example the photo.
 * @param {() => Promise<void>} idle is waited for before each, so that nobody else has to wait.
 */
export async function paintThumbs(studio, key, example, idle) {
  const store = await globalThis.caches?.open(`impasto-thumbs-${key}`).catch(() => null);
  const { pixels: photo } = await studio.call("decode", { source: example, size: THUMB });
  const without = [...styles.values()].filter((style) => !style.picture);
  const first = without.findIndex(({ name }) => name === grid.querySelector("input:checked").value);
  // From the chosen one on, round to the one before it: that is what the reader looks at.
  for (const { name, style, image } of [...without.slice(first), ...without.slice(0, first)]) {
    const kept = await store?.match(`thumbs/${name}`);
    if (!kept) await idle();
    const blob = kept ? await kept.blob() : await studio.call("thumb", { photo, style });
    image.src = URL.createObjectURL(blob);
    if (!kept) await store?.put(`thumbs/${name}`, new Response(blob)).catch(() => {});
  }
}
