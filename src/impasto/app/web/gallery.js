// The styles: a button each, with the painting on it; held or pointed at for a while, with your own photo in it.

const LINGER = 350; // ms of pointing or holding until a tile shows the photo
const MOST = 4; // styles in one mix
const EMPTY = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>";
const grid = document.querySelector("#styles");
const rows = document.querySelector("#mix");
const add = document.querySelector("#add");
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

export class Gallery {
  #styles = new Map(); // by name: { title, tile, image, picture, painted }
  #mix = []; // [name, weight], the first one the newest that was chosen alone
  #changed;
  #thumb;

  /**
   * @param {(settled: boolean) => void} changed is told when other styles or shares are chosen; settled unless a slider is
   *   still held.
   * @param {(name: string) => Promise<Blob>} thumb paints the photo in a style, small.
   */
  constructor(changed, thumb) {
    this.#changed = changed;
    this.#thumb = thumb;
    add.addEventListener("click", () => { add.ariaPressed = String(add.ariaPressed !== "true"); });
    grid.addEventListener("keydown", (event) => this.#step(event));
  }

  /**
   * Shows a style: in front, if it is the reader's own.
   * @param {{name: string, title: string, by: string}} style
   * @param {string} [picture] the address of its picture.
   */
  add({ name, title, by }, picture = null) {
    const image = make("img", { alt: "", src: picture ?? `paintings/${name}.webp`, loading: "lazy" });
    const tile = make("button", { type: "button", className: "style", value: name, ariaPressed: "false", tabIndex: -1 },
      image, title, make("small", { textContent: by }));
    grid[picture ? "prepend" : "append"](tile);
    const style = { title, tile, image, picture: image.src, painted: null };
    this.#styles.set(name, style);
    image.addEventListener("error", () => { // there is no picture of it: the photo painted in it has to do
      if (image.src === EMPTY) return;
      style.picture = image.src = EMPTY;
      this.#preview(name);
    });
    tile.addEventListener("click", () => this.#press(name));
    let waiting;
    const linger = () => { waiting = setTimeout(() => this.#preview(name), LINGER); };
    const leave = () => { clearTimeout(waiting); image.src = style.picture; };
    tile.addEventListener("pointerenter", linger);
    tile.addEventListener("pointerdown", linger);
    tile.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") event.preventDefault(); });
    for (const end of ["pointerleave", "pointercancel"]) tile.addEventListener(end, leave);
  }

  /** Whether there is a style of that name. */
  has(name) {
    return this.#styles.has(name);
  }

  /** What is chosen: [name, weight] of each style. */
  get mix() {
    return this.#mix;
  }

  /** What the mix is called. */
  get title() {
    return this.#mix.map(([name]) => this.#styles.get(name).title).join(" and ");
  }

  /** Chooses a mix, without telling. */
  set mix(mix) {
    this.#mix = mix.map(([name, weight]) => [name, weight]);
    for (const [name, { tile }] of this.#styles) {
      tile.ariaPressed = String(mix.some(([chosen]) => chosen === name));
      tile.tabIndex = name === mix[0][0] ? 0 : -1;
    }
    add.ariaPressed = "false";
    add.disabled = mix.length >= MOST;
    this.#showShares();
  }

  /** Brings the first chosen style into view; the page itself stays where it is. */
  reveal() {
    const { offsetTop, offsetLeft } = this.#styles.get(this.#mix[0][0]).tile;
    grid.scrollTo(offsetLeft - grid.offsetLeft - 8, offsetTop - grid.offsetTop - 8);
  }

  /** Forgets what the tiles would show of the photo, since there is another one. */
  forget() {
    for (const style of this.#styles.values()) style.painted = null;
  }

  #press(name) {
    const others = this.#mix.filter(([chosen]) => chosen !== name);
    if (add.ariaPressed !== "true") this.mix = [[name, 50]];
    else this.mix = others.length < this.#mix.length && others.length ? others : [...others, [name, 50]];
    this.#styles.get(name).tile.tabIndex = 0;
    this.#changed(true);
  }

  /** Goes from tile to tile by the arrow keys. */
  #step(event) {
    const tiles = [...grid.children];
    const at = tiles.indexOf(document.activeElement);
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: tiles.length - 1 - at };
    const next = tiles[at + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    for (const tile of tiles) tile.tabIndex = tile === next ? 0 : -1;
    next.focus();
  }

  #showShares() {
    rows.hidden = this.#mix.length < 2;
    rows.replaceChildren(...this.#mix.map((entry) => {
      const { title } = this.#styles.get(entry[0]);
      const slider = make("input", { type: "range", min: 5, max: 95, step: 5, value: entry[1], ariaLabel: `Share of ${title}` });
      slider.addEventListener("input", () => { entry[1] = Number(slider.value); this.#changed(false); });
      slider.addEventListener("change", () => this.#changed(true));
      const remove = make("button", { type: "button", ariaLabel: `Without ${title}`, textContent: "✕" });
      remove.addEventListener("click", () => { this.mix = this.#mix.filter((one) => one !== entry); this.#changed(true); });
      return make("div", { className: "row" }, make("span", { textContent: title }), slider, remove);
    }));
  }

  async #preview(name) {
    const style = this.#styles.get(name);
    try {
      style.painted ??= this.#thumb(name).then((blob) => URL.createObjectURL(blob));
      const painted = await style.painted;
      if (style.picture === EMPTY) style.picture = painted;
      if (style.tile.matches(":hover, :active") || style.picture === painted) style.image.src = painted;
    } catch {
      style.painted = null; // there is no photo yet, or the painter is busy elsewhere
    }
  }
}
