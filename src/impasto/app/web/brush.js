// The brush that says where the second of two styles goes.

const LONG = 1024; // of what is drawn on, in pixels
const SOFT = 0.004; // of that, how far edges are blurred

export class Brush {
  #canvas;
  #context;
  #drawn = null; // ImageData of the drawing, never changed: what undo goes back to

  /**
   * @param {HTMLCanvasElement} canvas lies on the picture.
   * @param {() => {thickness: number, erase: boolean}} tool share of the picture's long side.
   * @param {() => void} changed is told when a stroke has ended.
   */
  constructor(canvas, tool, changed) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    let last = null;
    const draw = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = [(event.clientX - box.left) / box.width * canvas.width, (event.clientY - box.top) / box.height * canvas.height];
      const { thickness, erase } = tool();
      Object.assign(this.#context, {
        globalCompositeOperation: erase ? "destination-out" : "source-over", strokeStyle: "#c2553a",
        lineWidth: thickness * Math.max(canvas.width, canvas.height), lineCap: "round",
      });
      this.#context.beginPath();
      this.#context.moveTo(...(last ?? at));
      this.#context.lineTo(...at);
      this.#context.stroke();
      last = at;
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); draw(event); });
    canvas.addEventListener("pointermove", (event) => { if (last) draw(event); });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => {
        if (!last) return;
        last = null;
        this.#drawn = this.#context.getImageData(0, 0, canvas.width, canvas.height);
        changed();
      });
    }
  }

  /** Begins anew, for a picture of that shape. */
  reset({ width, height }) {
    const scale = LONG / Math.max(width, height);
    Object.assign(this.#canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.#drawn = null;
  }

  /** What is drawn; null for nothing. */
  get drawing() {
    return this.#drawn;
  }

  set drawing(drawn) {
    this.#drawn = drawn;
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (drawn) this.#context.putImageData(drawn, 0, 0);
  }

  /** By how much the second style counts in each pixel, in grey with soft edges; null where nothing or all is drawn. */
  get mask() {
    if (!this.#drawn) return null;
    const { width, height } = this.#canvas;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.filter = `blur(${SOFT * LONG}px)`;
    context.drawImage(this.#canvas, 0, 0);
    const made = context.getImageData(0, 0, width, height);
    let [least, most] = [255, 0];
    for (let i = 0; i < made.data.length; i += 4) {
      const share = made.data[i + 3];
      made.data.fill(share, i, i + 3);
      made.data[i + 3] = 255;
      [least, most] = [Math.min(least, share), Math.max(most, share)];
    }
    return least < most ? made : null;
  }
}
