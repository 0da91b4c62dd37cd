"""How fast impasto dataset is: python benchmarks/dataset.py PHOTOS STYLES OUT [PART ...]

PHOTOS is a folder of photos or an uncompressed tar of them; the first 1,000 go to a folder and are painted from there.

Parts, all if none is named:
  run        paints the pictures, and reads the result with nothing but Pillow and pyarrow: files, sizes, checksums, and
             some pictures painted once more by the library
  bare       pictures a second of the content graph alone, on the same pictures, in as many processes
  nodes      pictures a second with 1, 2 and 4 workers, each a node of its own of a Ray cluster on this machine
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image

import impasto
from impasto.dataset import Recipe, stylize_dataset
from impasto.engine import Inputs
from impasto.image import to_float

COUNT = 1000
RECIPE = Recipe(strength=(0.5, 1.0), seed=1)


def unpacked(photos: Path, folder: Path, count: int) -> Path:
    """The first pictures of a folder or tar, in a folder, as JPEG: WebP takes longer to write than to paint."""
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True)
    if photos.is_dir():
        files = {path.stem: path.read_bytes() for path in sorted(photos.iterdir())[:count]}
    else:
        with tarfile.open(photos) as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))][
                :count
            ]
            files = {Path(m.name).stem: stream.read() for m in members if (stream := tar.extractfile(m))}
    for name, data in files.items():
        Image.open(io.BytesIO(data)).convert("RGB").save(folder / f"{name}.jpg", quality=95)
    return folder


def run(source: Path, styles: list[str], out: Path, precision: str) -> float:
    """Pictures a second, Ray's start and the styles not counted."""
    shutil.rmtree(out, ignore_errors=True)
    result = stylize_dataset(str(source), styles, str(out), RECIPE, precision=precision)
    rate = len(result.rows) / result.seconds
    print(f"dataset: {len(result.rows)} pictures in {result.seconds:.0f} s, {rate:.2f}/s, {len(result.errors)} errors")
    return rate


def check(source: Path, styles: list[str], out: Path, precision: str) -> None:
    """Reads the result as any other program would."""
    rows = parquet.read_table(out / "manifest.parquet").to_pylist()
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - {"manifest.parquet"}
    assert files == {row["output"] for row in rows}, "files and manifest differ"
    wrong = 0
    for row in rows:
        data = (out / row["output"]).read_bytes()
        wrong += hashlib.sha256(data).hexdigest() != row["sha256"]
        with Image.open(io.BytesIO(data)) as painted, Image.open(source / row["input"]) as photo:
            painted.load()
            wrong += painted.size != photo.size
    painter = impasto.load(precision=precision, threads=1)
    taken = {style.name: style for style in (painter.style(style) for style in styles)}
    apart = []
    for row in rows[:: max(1, len(rows) // 20)]:
        again = np.asarray(painter.stylize(source / row["input"], taken[row["style"]], strength=row["strength"]), int)
        apart.append(np.abs(again - np.asarray(Image.open(out / row["output"]).convert("RGB"), int)).mean())
    drawn = {name: sum(row["style"] == name for row in rows) for name in taken}
    print(f"check: {len(rows)} rows, {wrong} wrong; styles {json.dumps(drawn)}")
    print(f"check: {len(apart)} painted again, {max(apart):.2f} of 255 apart at most on average (JPEG)")


def bare(source: Path, precision: str, processes: int) -> float:
    """Pictures a second of the content graph alone in single-threaded processes."""
    names = sorted(path for path in source.iterdir())[:200]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        ready = pool.map(_prepare, [(precision, names[index::processes]) for index in range(processes)], chunksize=1)
        assert sum(ready) == len(names)
        start = time.perf_counter()
        painted = pool.map(_paint_all, range(processes), chunksize=1)
        rate = sum(painted) / (time.perf_counter() - start)
    print(f"bare content graph: {rate:.2f} pictures/s in {processes} processes")
    return rate


_ready: list[Inputs] = []
_engine: impasto.engine.Engine


def _prepare(what: tuple[str, list[Path]]) -> int:
    global _engine
    precision, names = what
    painter = impasto.load(precision=precision, threads=1)
    assert isinstance(painter, impasto.graph.GraphStylizer)
    _engine = painter.engine
    model = painter.model
    style = painter.style("klimt-kiss").tensor[None]
    stats, one = np.ones((1, model.stats_size), np.float32), np.ones((1, 1, 1, 1), np.float32)
    for name in names:
        pixels = np.asarray(Image.open(name).convert("RGB"))
        _ready.append(Inputs(to_float(pixels), style, one, np.array(1, np.float32), stats, 0 * stats[0]))
    _engine.run(_ready[0])
    time.sleep(1)  # so that no process takes the share of two
    return len(names)


def _paint_all(_: int) -> int:
    for inputs in _ready:
        _engine.run(inputs)
    return len(_ready)


def nodes(source: Path, styles: list[str], out: Path, precision: str) -> None:
    """The curve over workers that are nodes of their own."""
    from ray.cluster_utils import Cluster

    for count in (1, 2, 4):
        cluster = Cluster()
        for _ in range(count):
            cluster.add_node(num_cpus=1)
        try:
            shutil.rmtree(out, ignore_errors=True)
            result = stylize_dataset(
                str(source), styles, str(out), RECIPE, precision=precision, address=cluster.address
            )
            print(f"nodes: {count}: {len(result.rows) / result.seconds:.2f} pictures/s")
        finally:
            import ray

            ray.shutdown()
            cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("styles", nargs=1)
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", nargs="*", default=["run", "bare", "nodes"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--count", type=int, default=COUNT)
    given = parser.parse_args()
    styles = given.styles[0].split(",")
    source = unpacked(given.photos, given.out / f"photos-{given.count}", given.count)
    rate = alone = None
    if "run" in given.parts:
        rate = run(source, styles, given.out / "painted", given.precision)
        check(source, styles, given.out / "painted", given.precision)
    if "bare" in given.parts:
        alone = bare(source, given.precision, os.cpu_count() or 1)
    if rate and alone:
        print(f"{rate / alone:.0%} of the bare content graph; load {os.getloadavg()[0]:.1f}")
    if "nodes" in given.parts:
        nodes(source, styles, given.out / "nodes", given.precision)


if __name__ == "__main__":
    main()
