"""The experiments of the AdaIN paper on your own pictures: each writes a page, ``NAME.html``, and a ``NAME.csv``."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import fields, replace
from functools import partial
from itertools import product
from pathlib import Path, PurePath
from statistics import fmean, median
from typing import Any, cast

import numpy as np

from impasto.errors import ImpastoError
from impasto.evaluate.metrics import STYLE_WEIGHT, Observer
from impasto.evaluate.page import Cell, Page, thumbnail, write_csv
from impasto.evaluate.quality import evaluate, squares
from impasto.evaluate.report import LOSSES, UNCHANGED, Evaluation
from impasto.graph import GraphStylizer
from impasto.image import Pixels, read_image, to_float, to_uint8
from impasto.loader import load
from impasto.methods import METHODS, method_options
from impasto.place import Sources, find_pictures
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import Stylizer

#: What takes part unless told otherwise.
SYSTEMS = ("adain", "adain-vgg19", "adain-relu3_1", *METHODS)
SIZES = (256, 512)
_ROUNDS = 5
_SMOOTH = 20  # steps that a point of a loss curve is the mean of


def losses(
    content: Sources,
    style: Sources,
    out: Path,
    *,
    systems: Sequence[str] = SYSTEMS,
    sizes: Sequence[int] = SIZES,
    fast: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[Evaluation]:
    """Measures content and style loss of every system, beside the objective of Gatys' method as it iterates.

    Figure 3 of the paper: the optimisation minimises the paper's own objective, L_c + 10 L_s on means and standard
    deviations, so the iteration at which it passes a feed-forward system says what that system is worth.

    Args:
        content, style: folders of photos and style pictures.
        out: folder to write ``losses.html`` and ``losses.csv`` to.
        systems: names of models, model folders and methods.
        sizes: short sides in pixels.
        fast: fewer pairs and iterations: two photos in two styles, from the second size on one pair.
        options: of the methods, for each that has them.
    """
    loaded = _load(systems, _FAST if fast else {}, options)
    photos, paintings = (len(find_pictures(folder)) for folder in (content, style))
    counts = [((2, 2) if size == sizes[0] else (1, 1)) if fast else (photos, paintings) for size in sizes]
    _announce(loaded, [(size, a * b) for size, (a, b) in zip(sizes, counts, strict=True)], 50 if fast else 500)
    page = Page("impasto reproduce losses", LOSSES)
    columns = ["system", "engine", "content loss", "style loss", "SSIM", "s/picture", "pairs", "Gatys iterations"]
    rows: list[list[object]] = []
    found = []
    for size in sizes:
        limit = (2 if size == sizes[0] else 1) if fast else None
        evaluation = evaluate(loaded, content, style, size=size, limit=limit, style_limit=limit)
        found.append(evaluation)
        iterations, measured = _gatys_curve(content, style, size, 50 if fast else 500)
        cells = [
            [row.model, loaded[row.model].engine_name if row.model in loaded else "", *row.cells()[1:6],
             _catch_up(row.model, evaluation, iterations, measured)]
            for row in evaluation.rows
        ]  # fmt: skip
        rows += [[size, *cell] for cell in cells]
        page.heading(f"{size} x {size}")
        page.text(evaluation.title())
        page.table(columns, cells)
        page.curves(
            {
                # Without the photo itself, whose content loss of 0 has no logarithm.
                "content loss": (iterations[1:], [content for content, _ in measured[1:]]),
                "style loss": (iterations, [style for _, style in measured]),
            },
            "iteration of Gatys' method",
            "loss",
        )
        page.text(
            "The last column and the curves: Gatys' method on the first photo and style, from the photo on, with the "
            f"paper's objective L_c + {STYLE_WEIGHT:g} L_s, and the iteration at which it has come as far as a system."
        )
        page.sheet(_contact_sheet(evaluation))
    page.write(out / "losses.html")
    write_csv(out / "losses.csv", ["size", *columns], rows)
    return found


#: Options of the methods for a look that takes minutes.
_FAST = {"gatys": {"iterations": 50}, "mrf": {"iterations": 25}, "style-swap": {"iterations": 40}}


def _load(
    systems: Sequence[str], fast: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any] | None
) -> dict[str, Stylizer]:
    """Loads systems, the methods with those of the options that they have; each option must be one of some method."""
    known = {name: {field.name for field in fields(method_options(name))} for name in systems if name in METHODS}
    if strange := [option for option in options or {} if not any(option in names for names in known.values())]:
        raise ImpastoError(f"{strange[0]} is no option of {', '.join(known) or 'a method that takes part'}")
    chosen = {name: {option: value for option, value in (options or {}).items() if option in known.get(name, ())}
              for name in systems}  # fmt: skip
    return {name: load(name, **{**fast.get(name, {}), **chosen[name]}) for name in systems}


#: What a picture costs, in passes of VGG-19 over one of its size: as measured on two cores at 512.
_PASSES = {"gatys": 730, "mrf": 150, "style-swap": 200}


def _announce(loaded: Mapping[str, Stylizer], pictures: Sequence[tuple[int, int]], gatys: int = 0) -> None:
    """Says on stderr how long an experiment will take, from how long a pass of VGG-19 takes here.

    Args:
        loaded: the systems.
        pictures: sides, and how many pictures of each every system paints.
        gatys: iterations of Gatys' method at each size, beside.
    """
    observe, probe = Observer(), np.zeros((128, 128, 3), np.uint8)
    observe(probe)
    start = time.perf_counter()
    observe(probe)
    unit = (time.perf_counter() - start) / 128**2
    passes = sum(
        _PASSES[name] * cast(Any, system).options.iterations / method_options(name)().iterations
        if name in _PASSES
        else 2
        for name, system in loaded.items()
    )
    seconds = unit * sum(size**2 * (count * passes + 3 * gatys) for size, count in pictures)
    left = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} minutes"
    print(f"impasto: this will take about {left} here", file=sys.stderr, flush=True)


def _gatys_curve(
    content: Sources, style: Sources, size: int, iterations: int
) -> tuple[list[int], list[tuple[float, float]]]:
    """Measures content and style loss of the first pair after every fifth iteration of Gatys' method."""
    [photo], [painting] = squares(content, size, 1).values(), squares(style, size, 1).values()
    observe = Observer()
    own, target = observe(photo), observe(painting).style
    at, measured = [0], [(0.0, own.style_loss(target))]
    with tempfile.TemporaryDirectory() as folder:
        method = load("gatys", iterations=iterations, style_loss="mean_std", style_weight=STYLE_WEIGHT, tv_weight=0,
                      style_softness=0,
                      levels=1, snapshots=folder, every=5)  # fmt: skip
        method.stylize(photo, method.style(painting, size=size))
        for file in sorted(Path(folder).iterdir()):
            seen = observe(read_image(file).pixels)
            at.append(int(file.stem.rpartition("-")[2]))
            measured.append((seen.content_loss(own), seen.style_loss(target)))
    return at, measured


def _catch_up(
    model: str, evaluation: Evaluation, iterations: Sequence[int], measured: Sequence[tuple[float, float]]
) -> str:
    """Finds the first iteration with an objective as low as a system's on the same pair."""
    photo, style = next(iter(evaluation.photos)), next(iter(evaluation.styles))
    score = next((s for s in evaluation.scores if (s.model, s.photo, s.style) == (model, photo, style)), None)
    if score is None:
        return ""
    goal = score.content + STYLE_WEIGHT * score.style_loss
    reached = (at for at, (c, s) in zip(iterations, measured, strict=True) if c + STYLE_WEIGHT * s <= goal)
    return str(next(reached, f"more than {iterations[-1]}"))


def _contact_sheet(evaluation: Evaluation) -> list[list[Cell]]:
    """Lays out a row for each pair of a photo and a style, with a column for each system."""
    systems = [row.model for row in evaluation.rows if row.model != UNCHANGED]
    rows: list[list[Cell]] = [["photo", "style", *systems]]
    for photo, photo_data in evaluation.photos.items():
        for style, style_data in evaluation.styles.items():
            pictures = [evaluation.thumbnails.get((system, photo, style)) for system in systems]
            rows.append([(photo_data, ""), (style_data, ""), *((data, "") if data else None for data in pictures)])
    return rows


def speed(
    content: Sources,
    style: Sources,
    out: Path,
    *,
    systems: Sequence[str] = SYSTEMS,
    sizes: Sequence[int] = SIZES,
    fast: bool = False,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Times each system on a picture, with the style taken beforehand and with taking it, as ratios.

    Table 1 of the paper. All systems run in turn, in rounds of which the median counts; what takes longer than ten
    seconds runs once. The first system is the unit. Methods look at the style picture while they paint, so both times
    are one. Of style-swap it is told how much of its time the swap takes.

    Args:
        content, style, out, systems, sizes, options: as in :func:`losses`.
        fast: the methods that optimise run a tenth and a twentieth of their iterations; what all would take follows
            from both, so that what they do once counts once.
    """
    loaded = _load(systems, {}, options)
    shares = [20, 10] if fast else [1]
    shorter = {name: [_shortened(loaded[name], share) for share in shares] for name in systems if name in METHODS}
    _announce({name: shorter[name][-1] if name in shorter else system for name, system in loaded.items()},
              [(size, 1) for size in sizes])  # fmt: skip
    unit = next(iter(loaded))
    scaled = (
        "Methods that optimise ran a tenth and a twentieth of their iterations, of which follows what all would take."
        if fast
        else ""
    )
    page = Page("impasto reproduce speed", f"Seconds for a picture, and as a multiple of {unit}'s. Methods look at the "
                f"style picture while they paint. {scaled}")  # fmt: skip
    columns = ["system", "engine", "seconds", f"x {unit}", "with taking the style", f"that x {unit}"]
    rows: list[list[object]] = []
    for size in sizes:
        [photo], [painting] = squares(content, size, 1).values(), squares(style, size, 1).values()
        jobs: dict[tuple[str, int], Callable[[], object]] = {}
        for name, stylizer in loaded.items():
            own = _known_style(stylizer)
            for index, system in enumerate(shorter.get(name, [stylizer])):
                jobs[name, index] = partial(system.stylize, photo, own or system.style(painting, size=size))
            if own is None and name not in METHODS:
                jobs[name, 1] = partial(stylizer.stylize, photo, painting, style_size=size)
        seconds = _time_in_turn(jobs, f"speed at {size}")
        for name, systems_ in shorter.items():
            seconds[name, 0] = seconds[name, 1] = _extrapolated(
                [seconds[name, index] for index in range(len(systems_))], shares
            )
        base = seconds[unit, 0]
        for name, stylizer in loaded.items():
            times = seconds[name, 0], seconds.get((name, 1), seconds[name, 0])
            rows.append([size, name, stylizer.engine_name,
                         *(text for t in times for text in (f"{t:.3f}", f"{t / base:.1f}"))])  # fmt: skip
        page.heading(f"{size} x {size}")
        page.table(columns, [[str(cell) for cell in row[1:]] for row in rows if row[0] == size])
        if "style-swap" in loaded:
            page.text(_tell_parts(_time_parts(loaded["style-swap"], photo, painting)))
    page.write(out / "speed.html")
    write_csv(out / "speed.csv", ["size", *columns], rows)


def _shortened(stylizer: Stylizer, share: int) -> Stylizer:
    """A method with its iterations divided; itself where it has none to divide."""
    method: Any = stylizer
    if share == 1 or getattr(method.options, "inverse", "optimise") != "optimise":
        return stylizer
    short = copy(method)
    short.options = replace(method.options, iterations=max(1, method.options.iterations // share))
    return cast(Stylizer, short)


def _extrapolated(seconds: Sequence[float], shares: Sequence[int]) -> float:
    """Seconds for all iterations, of those for a part: one that all take, and as many times the rest."""
    if len(seconds) == 1:
        return seconds[0]
    (less, more), (first, second) = seconds, (1 / share for share in shares)
    return less + max(0.0, more - less) * (1 - first) / (second - first)


def _time_parts(method: Any, photo: Pixels, painting: Pixels) -> dict[str, float]:
    """Times the parts of style-swap with an inverse network, as in its paper: the seconds of each."""
    import torch

    seconds: dict[str, float] = {}

    def timed(part: str, action: Callable[..., torch.Tensor], *features: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        found = action(*features)
        if found.is_cuda:
            torch.cuda.synchronize()
        seconds[part] = time.perf_counter() - start
        return found

    own, style = (torch.from_numpy(to_float(pixels)).to(method.device) for pixels in (photo, painting))
    with torch.inference_mode():
        for _ in range(2):  # of the first run memory is taken, and a decoder loaded
            features = timed("encoding the photo", method.encode, own)
            looks = timed("encoding the style", method.encode, style)
            swapped = timed("the swap", method.swap_in, features, looks)
            timed("the inverse network", method.decode, swapped)
    return seconds


def _tell_parts(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    parts = ", ".join(f"{part} {value:.2f} s ({value / total:.0%})" for part, value in seconds.items())
    return f"Where the time of style-swap goes, with an inverse network: {parts}. The paper: over 95 % for the swap."


def _known_style(stylizer: Stylizer) -> Style | None:
    """Gives the first of a system's own styles, where it has no others."""
    trained = isinstance(stylizer, GraphStylizer) and stylizer.model.trained_styles
    return next(iter(stylizer.gallery.values())) if trained else None


def _time_in_turn(jobs: Mapping[tuple[str, int], Callable[[], object]], label: str) -> dict[tuple[str, int], float]:
    """Runs all jobs in turn, in rounds, and gives the median seconds of each."""
    times: dict[tuple[str, int], list[float]] = {job: [] for job in jobs}
    for turn in track(range(_ROUNDS), label, _ROUNDS):
        for job, action in jobs.items():
            if turn and times[job][0] > 10:
                continue
            if turn == 0 and job[0] not in METHODS:
                action()  # an engine prepares for a new size in its first run
            start = time.perf_counter()
            action()
            times[job].append(time.perf_counter() - start)
    return {job: median(measured) for job, measured in times.items()}


def ablation(
    content: Sources, style: Sources, out: Path, *, steps: int = 400, settings: Mapping[str, Any] | None = None
) -> None:
    """Draws loss curves of the paper's decoder variants under equal steps (section 7.1 of the paper).

    Args:
        content, style: folders or tar files of training pictures.
        out: folder to write ``ablation.html`` and ``ablation.csv`` to.
        steps: of each training.
        settings: see :func:`impasto.evaluate.ablation.decoder_curves`.
    """
    import torch

    from impasto.evaluate.ablation import decoder_curves
    from impasto.evaluate.curves import device
    from impasto.train.adain import AdaINTask

    photos, paintings = (squares(folder, 2 * (settings or {}).get("crop", 128), 2) for folder in (content, style))
    sheets: list[list[Cell]] = [[(thumbnail(pixels), name) for name, pixels in (photos | paintings).items()]]

    def show(name: str, task: AdaINTask) -> None:
        sheets.append([
            (thumbnail(to_uint8(task.paint(task.network, *(torch.from_numpy(to_float(pixels)).to(device())
                                                          for pixels in pair)).cpu().numpy())), name)
            for pair in product(photos.values(), paintings.values())
        ])  # fmt: skip

    found = decoder_curves(content, style, steps, settings, show)
    page = Page("impasto reproduce ablation", "The paper's decoder and its variants after equal steps from equal "
                f"seeds, on the training crops; means of {_SMOOTH} steps.")  # fmt: skip
    for loss in ("content", "style"):
        page.heading(f"{loss} loss")
        page.curves({name: _smooth(curves[loss]) for name, curves in found.items()}, "step", f"{loss} loss")
    page.heading("Photos and styles, and what each decoder paints: every photo in every style")
    page.sheet(sheets)
    named = {f"{name}, {loss}": values for name, curves in found.items() for loss, values in curves.items()}
    _finish_curves(page, named, out / "ablation")


def norms(content: Sources, style: Sources, out: Path, *, steps: int = 1000) -> None:
    """Draws loss curves of both normalisations on photos as they are, of equal contrast, and of one style.

    Figure 1 of the paper compares instance with batch normalisation.

    Args:
        content: folder or tar file of photos.
        style: folder of style pictures, of which the first is learnt.
        out: folder to write ``norms.html`` and ``norms.csv`` to.
        steps: of each training.
    """
    from impasto.evaluate.norms import IMAGES, norm_curves

    first = find_pictures(style)[0]
    with tempfile.TemporaryDirectory() as folder:
        painting = Path(folder, PurePath(first.name).name)
        painting.write_bytes(first.read())
        curves = norm_curves(content, str(painting), steps=steps)
    page = Page("impasto reproduce norms", "A feed-forward network learns the style of one picture: content plus "
                f"weighted style loss, means of {_SMOOTH} steps. {PurePath(first.name).stem}, {IMAGES[0]}, "
                "contrast-normalised and style-normalised photos.")  # fmt: skip
    for images in IMAGES:
        page.heading(f"{images} photos")
        page.curves({f"{n} norm": _smooth(v) for (n, i), v in curves.items() if i == images}, "step", "loss")
    named = {f"{norm} norm, {images} photos": values for (norm, images), values in curves.items()}
    _finish_curves(page, named, out / "norms")


def _smooth(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Takes means of `_SMOOTH` steps each; gives the steps and the means."""
    parts = [values[at : at + _SMOOTH] for at in range(0, len(values), _SMOOTH)]
    return [at * _SMOOTH + len(part) / 2 for at, part in enumerate(parts)], [fmean(part) for part in parts]


def _finish_curves(page: Page, curves: Mapping[str, Sequence[float]], out: Path) -> None:
    """Adds where curves end, and writes the page and all points."""
    page.table(["", f"mean of the last {_SMOOTH} steps"],
               [[name, f"{fmean(values[-_SMOOTH:]):.3f}"] for name, values in curves.items()])  # fmt: skip
    page.write(out.with_suffix(".html"))
    points = zip(*curves.values(), strict=True)
    write_csv(out.with_suffix(".csv"), ["step", *curves], [[step, *values] for step, values in enumerate(points, 1)])
