"""Peak memory and time of large pictures.

python benchmarks/huge.py PHOTO FOLDER [MEGAPIXELS,... [WAY,...]] [-- OPTION ...]

PHOTO is scaled up to squares of so many megapixels, in FOLDER. Each is painted in a process of its own, by `impasto
stylize`, in every way that is named: in `memory`, or from `file` to file.
OPTIONs go to `impasto stylize`; otherwise ONNX Runtime computes with one thread.

Memory is the most that was resident at any time (ru_maxrss), with what is mapped of files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyvips

STYLE = "munch-scream"
WAYS = {"memory": ["--max-pixels", str(10**10)], "file": ["--huge"]}
OPTIONS = ("--engine", "onnxruntime", "--threads", "1")


def scaled_up(photo: Path, folder: Path, megapixels: float) -> Path:
    """A square TIFF of so many megapixels; one that is there is taken."""
    path, side = folder / f"{megapixels:g}.tif", round((megapixels * 1e6) ** 0.5)
    if not path.exists():
        image = pyvips.Image.thumbnail(str(photo), 4096, height=4096, size="down").copy_memory()
        square = image.crop(*((length - min(image.width, image.height)) // 2 for length in (image.width, image.height)),
                            *2 * (min(image.width, image.height),))  # fmt: skip
        large = square.resize(side / square.width, kernel="cubic")
        large.crop(0, 0, min(side, large.width), min(side, large.height)).tiffsave(str(path))
    return path


def measured(picture: Path, way: str, options: Sequence[str]) -> tuple[float, float]:
    """Seconds, and MB of memory."""
    out = picture.with_name(f"{picture.stem}-{way}.tif")
    command = [sys.executable, "-m", "impasto", "stylize", str(picture), STYLE, "-o", str(out), *WAYS[way], *options]
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{way} of {picture} failed")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, options = sys.argv[1:at], sys.argv[at + 1 :] or OPTIONS
    photo, folder = map(Path, arguments[:2])
    sizes = [float(size) for size in arguments[2].split(",")] if len(arguments) > 2 else [4, 16, 64, 144, 400]
    ways = arguments[3].split(",") if len(arguments) > 3 else list(WAYS)
    print("| megapixels | way | seconds | peak memory |\n| --- | --- | --- | --- |", flush=True)
    for size in sizes:
        picture = scaled_up(photo, folder, size)
        for way in ways:
            seconds, megabytes = measured(picture, way, options)
            print(f"| {size:g} | {way} | {seconds:.0f} | {megabytes:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
