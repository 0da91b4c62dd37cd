"""The page in the browser against the library, on the same picture in the same run: needs chromium and `make web`.

python benchmarks/browser.py --threads 2 --size 512
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import impasto

EXAMPLE = "examples/astronaut.jpg"
STYLE = "hokusai-great-wave"
BEGIN = """async ([engine, threads, size]) => {
  const { Studio } = await import("./studio.js");
  const studio = new Studio({ engine, threads }, () => {}, () => {});
  const { gallery, ...how } = await studio.opened;
  const source = await (await fetch("astronaut.jpg")).blob();
  const canvas = new OffscreenCanvas(size, size);
  canvas.getContext("2d").drawImage(await createImageBitmap(source), 0, 0, size, size);
  const photo = canvas.getContext("2d").getImageData(0, 0, size, size);
  const style = gallery.find(({ name }) => name === "hokusai-great-wave").style;
  window.paint = async () => {
    const start = performance.now();
    const controls = { strength: 1, keepColors: false, strokeSize: 1 };
    await studio.call("paint", { photo, styles: [[style, 1]], controls });
    return performance.now() - start;
  };
  return how;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--engine", default="wasm")
    parser.add_argument("--flag", action="append", default=[], help="of chromium")
    given = parser.parse_args()

    model = impasto.load(engine="onnxruntime", threads=given.threads)
    photo = np.asarray(Image.open(EXAMPLE).convert("RGB").resize((given.size, given.size)))
    server = subprocess.Popen(
        [sys.executable, "-m", "impasto", "app", "--in-browser", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    address = re.search(r"http://[\d.:]+", server.stderr.readline()).group()
    with sync_playwright() as playwright:
        chromium, flags = shutil.which("chromium"), ["--no-sandbox", *given.flag]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.goto(f"{address}/safetensors.js")  # a page of the site on which nothing else runs
        print(page.evaluate(BEGIN, [given.engine, given.threads, given.size]))
        times: dict[str, list[float]] = {"library": [], "browser": []}
        for _ in range(given.rounds):  # by turns, so that both meet what else the machine does
            start = time.perf_counter()
            model.stylize(photo, STYLE)
            times["library"].append(1000 * (time.perf_counter() - start))
            times["browser"].append(page.evaluate("paint()"))
        browser.close()
    server.terminate()
    library, there = (values[2:] for values in times.values())  # the first two warm up
    ratio = statistics.median(b / a for a, b in zip(library, there, strict=True))
    print(f"{given.size} x {given.size}, {given.threads} threads, median of {len(there)}:", end=" ")
    print(f"library {statistics.median(library):.0f} ms, browser {statistics.median(there):.0f} ms; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
