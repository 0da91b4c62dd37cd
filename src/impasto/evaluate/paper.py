"""The experiments of the AdaIN paper on your own pictures: each writes a page, ``NAME.html``, and a ``NAME.csv``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from statistics import fmean, median
from typing import Any

from impasto.evaluate.metrics import STYLE_WEIGHT, Observer
from impasto.evaluate.page import Cell, Page, write_csv
from impasto.evaluate.quality import evaluate, squares
from impasto.evaluate.report import LOSSES, UNCHANGED, Evaluation
from impasto.graph import GraphStylizer
from impasto.image import read_image
from impasto.loader import load
from impasto.methods import METHODS, method_options
from impasto.place import find_pictures
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import Stylizer

#: What takes part unless told otherwise.
SYSTEMS = ("adain", "adain-vgg19", "adain-relu3_1", *METHODS)
SIZES = (256, 512)
_ROUNDS = 5
_SMOOTH = 20  # steps that a point of a loss curve is the mean of


def losses(
    content: str,
    style: str,
    out: Path,
    *,
    systems: Sequence[str] = SYSTEMS,
    sizes: Sequence[int] = SIZES,
    fast: bool = False,
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
    """
    loaded = _load(systems, _FAST if fast else {})
    page = Page("impasto reproduce losses", LOSSES)
    columns = ["system", "content loss", "style loss", "SSIM", "s/picture", "pairs", "Gatys iterations"]
    rows: list[list[object]] = []
    found = []
    for size in sizes:
        limit = (2 if size == sizes[0] else 1) if fast else None
        evaluation = evaluate(loaded, content, style, size=size, limit=limit, style_limit=limit)
        found.append(evaluation)
        iterations, measured = _gatys_curve(content, style, size, 50 if fast else 500)
        cells = [[*row.cells()[:6], _catch_up(row.model, evaluation, iterations, measured)] for row in evaluation.rows]
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


def _load(systems: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Stylizer]:
    return {system: load(system, **options.get(system, {})) for system in systems}


def _gatys_curve(content: str, style: str, size: int, iterations: int) -> tuple[list[int], list[tuple[float, float]]]:
    """Measures content and style loss of the first pair after every fifth iteration of Gatys' method."""
    [photo], [painting] = squares(content, size, 1).values(), squares(style, size, 1).values()
    observe = Observer()
    own, target = observe(photo), observe(painting).style
    at, measured = [0], [(0.0, own.style_loss(target))]
    with tempfile.TemporaryDirectory() as folder:
        method = load("gatys", iterations=iterations, style_loss="mean_std", style_weight=STYLE_WEIGHT, tv_weight=0,
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
    content: str,
    style: str,
    out: Path,
    *,
    systems: Sequence[str] = SYSTEMS,
    sizes: Sequence[int] = SIZES,
    fast: bool = False,
) -> None:
    """Times each system on a picture, with the style taken beforehand and with taking it, as ratios.

    Table 1 of the paper. All systems run in turn, in rounds of which the median counts; what takes longer than ten
    seconds runs once. The first system is the unit.

    Args:
        content, style, out, systems, sizes: as in :func:`losses`.
        fast: the methods that optimise run a tenth of their iterations, and their seconds are scaled up.
    """
    loaded = _load(systems, _tenths(systems) if fast else {})
    unit = next(iter(loaded))
    scaled = "Methods that optimise ran a tenth of their iterations; ten times their seconds are given." if fast else ""
    page = Page("impasto reproduce speed", f"Seconds for a picture, and as a multiple of {unit}'s. {scaled}")
    columns = ["system", "seconds", f"x {unit}", "with taking the style", f"that x {unit}"]
    rows: list[list[object]] = []
    for size in sizes:
        [photo], [painting] = squares(content, size, 1).values(), squares(style, size, 1).values()
        jobs: dict[tuple[str, bool], Callable[[], object]] = {}
        for name, stylizer in loaded.items():
            jobs[name, False] = partial(stylizer.stylize, photo, _known_style(stylizer) or stylizer.style(painting))
            if _known_style(stylizer) is None:
                jobs[name, True] = partial(stylizer.stylize, photo, painting, style_size=size)
        seconds = _time_in_turn(jobs, f"speed at {size}")
        base = seconds[unit, False]
        for name in loaded:
            times = [10 * t if fast and name in _tenths(systems) else t for t in
                     (seconds[name, False], seconds.get((name, True), seconds[name, False]))]  # fmt: skip
            rows.append([size, name, *(text for t in times for text in (f"{t:.3f}", f"{t / base:.1f}"))])
        page.heading(f"{size} x {size}")
        page.table(columns, [[str(cell) for cell in row[1:]] for row in rows if row[0] == size])
    page.write(out / "speed.html")
    write_csv(out / "speed.csv", ["size", *columns], rows)


def _tenths(systems: Sequence[str]) -> dict[str, dict[str, int]]:
    """Gives a tenth of the iterations, for each of the systems that optimises."""
    wanted = [name for name in systems if name in METHODS]
    iterations = {name: getattr(method_options(name)(), "iterations", None) for name in wanted}
    return {name: {"iterations": max(1, count // 10)} for name, count in iterations.items() if count}


def _known_style(stylizer: Stylizer) -> Style | None:
    """Gives the first of a system's own styles, where it has no others."""
    trained = isinstance(stylizer, GraphStylizer) and stylizer.model.trained_styles
    return next(iter(stylizer.gallery.values())) if trained else None


def _time_in_turn(jobs: Mapping[tuple[str, bool], Callable[[], object]], label: str) -> dict[tuple[str, bool], float]:
    """Runs all jobs in turn, in rounds, and gives the median seconds of each."""
    times: dict[tuple[str, bool], list[float]] = {job: [] for job in jobs}
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


def ablation(content: str, style: str, out: Path, *, steps: int = 400) -> None:
    """Draws loss curves of the paper's decoder variants under equal steps (section 7.1 of the paper).

    Args:
        content, style: folders or tar files of training pictures.
        out: folder to write ``ablation.html`` and ``ablation.csv`` to.
        steps: of each training.
    """
    from impasto.evaluate.ablation import decoder_curves

    found = decoder_curves([content], [style], steps)
    page = Page("impasto reproduce ablation", "The paper's decoder and its variants after equal steps from equal "
                f"seeds, on the training crops; means of {_SMOOTH} steps.")  # fmt: skip
    for loss in ("content", "style"):
        page.heading(f"{loss} loss")
        page.curves({name: _smooth(curves[loss]) for name, curves in found.items()}, "step", f"{loss} loss")
    named = {f"{name}, {loss}": values for name, curves in found.items() for loss, values in curves.items()}
    _finish_curves(page, named, out / "ablation")


def norms(content: str, style: str, out: Path, *, steps: int = 1000) -> None:
    """Draws loss curves of both normalisations on photos as they are, of equal contrast, and of one style.

    Figure 1 of the paper compares instance with batch normalisation.

    Args:
        content: folder or tar file of photos.
        style: folder of style pictures, of which the first is learnt.
        out: folder to write ``norms.html`` and ``norms.csv`` to.
        steps: of each training.
    """
    from impasto.evaluate.norms import IMAGES, norm_curves

    first = find_pictures([style])[0]
    with tempfile.TemporaryDirectory() as folder:
        painting = Path(folder, PurePath(first.name).name)
        painting.write_bytes(first.read())
        curves = norm_curves([content], str(painting), steps=steps)
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
