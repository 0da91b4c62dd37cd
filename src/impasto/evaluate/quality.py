"""How well models paint, measured as the paper does: the table of content and style losses on any pictures.

On every pair of a photo and a style picture, both scaled to one short side (Lanczos) and cropped to the centre square:

* content loss: MSE of relu4_1 between result and photo;
* style loss: sum over relu1_1 to relu4_1 of the MSE of channel means plus that of standard deviations;
* SSIM: structural similarity of the lumas of result and photo;
* seconds: pixels to painted pixels, the style taken beforehand (median).

All features are the normalised VGG-19's. Scores depend on size and filter, so they are only comparable at equal ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from statistics import fmean, median

import numpy as np

from impasto.checks import SMALLEST, require_at_least
from impasto.errors import ImpastoError
from impasto.evaluate.page import thumbnail
from impasto.evaluate.report import UNCHANGED, Evaluation, Row, Score, record, table
from impasto.extras import explain_missing
from impasto.graph import GraphStylizer
from impasto.image import Pixels, center_crop, read_image
from impasto.loader import load
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import Stylizer

with explain_missing(__name__):
    import torch

    from impasto.evaluate.metrics import Observer, psnr, ssim
    from impasto.place import Entry
    from impasto.train.data import find_pictures

__all__ = ["Evaluation", "Row", "Score", "evaluate", "record", "table"]


def evaluate(
    models: Sequence[str] | Mapping[str, Stylizer],
    content: str | os.PathLike[str],
    style: str | os.PathLike[str],
    *,
    size: int = 512,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    limit: int | None = None,
    style_limit: int | None = None,
) -> Evaluation:
    """Measures models on every pair of a photo and a style picture.

    Args:
        models: names of models, model folders or methods, or such as are loaded already, by name. One that was trained
            on certain styles paints in those of them that are named like a style picture's file.
        content, style: folders of pictures (or tar files of them).
        size: side in pixels of the squares that photos and styles are brought to.
        engine, precision: what runs the models, see :func:`impasto.engine.open_engine`.
        threads: processor threads for painting and measuring; None leaves one for each physical core.
        limit: take only the first so many photos, by name.
        style_limit: take only the first so many style pictures.

    Raises:
        ImpastoError: a model, a folder or a picture cannot be read, or the VGG-19 weights are not on this machine.
    """
    if not models:
        raise ImpastoError("no model to evaluate: name at least one")
    if limit is not None and limit < 1:
        raise ImpastoError(f"limit must be 1 photo or more, not {limit}")
    photos, paintings = find_pictures([content])[:limit], find_pictures([style])[:style_limit]
    if not isinstance(models, Mapping):
        models = {str(name): load(name, engine=engine, threads=threads, precision=precision) for name in models}
    stylizers = models
    if threads is not None:
        torch.set_num_threads(threads)
    observe = Observer()

    targets, styles, style_thumbnails = {}, dict[tuple[str, str], Style](), {}
    for painting in paintings:
        pixels = square(painting, size)
        targets[painting.name] = observe(pixels).style
        for model, stylizer in stylizers.items():
            own = _style(stylizer, painting.name, pixels, size)
            if own is not None:
                styles[model, painting.name] = own
        style_thumbnails[painting.name] = thumbnail(pixels)

    photo_thumbnails: dict[str, bytes] = {}
    thumbnails: dict[tuple[str, str, str], bytes] = {}
    rebuilt: dict[str, list[tuple[float, float]]] = {model: [] for model in stylizers}

    def judge() -> Iterator[Score]:
        # One photo at a time: its features are shared by all models and styles, and nothing of full size is kept.
        for photo in photos:
            pixels = square(photo, size)
            photo_thumbnails[photo.name] = thumbnail(pixels)
            own = observe(pixels)
            for name, target in targets.items():
                yield Score(UNCHANGED, photo.name, name, 0.0, own.style_loss(target), 1.0, None)
            for model, stylizer in stylizers.items():
                # First this, which also spares the timed runs the engine's preparations for a new size.
                if isinstance(stylizer, GraphStylizer):
                    back = stylizer.reconstruct(pixels)
                    rebuilt[model].append((ssim(back, pixels), psnr(back, pixels)))
                for name, target in targets.items():
                    if (model, name) not in styles:
                        continue
                    start = time.perf_counter()
                    painted = np.asarray(stylizer.stylize(pixels, styles[model, name]))
                    seconds = time.perf_counter() - start
                    thumbnails[model, photo.name, name] = thumbnail(painted)
                    seen = observe(painted)
                    yield Score(model, photo.name, name, seen.content_loss(own), seen.style_loss(target),
                                ssim(painted, pixels), seconds)  # fmt: skip

    if idle := [model for model in stylizers if not any(known == model for known, _ in styles)]:
        raise ImpastoError(f"the model {idle[0]} knows none of these styles: name the pictures like its styles")
    total = len(photos) * (len(paintings) + len(styles))
    scores = list(track(judge(), "evaluate", total))
    rows = [_row(UNCHANGED, None, scores, [])]
    rows += [_row(name, stylizer.fingerprint, scores, rebuilt[name]) for name, stylizer in stylizers.items()]
    return Evaluation(
        size=size,
        engine=next(iter(stylizers.values())).engine_name,
        rows=rows,
        scores=scores,
        photos=photo_thumbnails,
        styles=style_thumbnails,
        thumbnails=thumbnails,
    )


def square(entry: Entry, size: int) -> Pixels:
    """The centre square of a picture whose short side is scaled to `size`, uint8 [size, size, 3]."""
    require_at_least(SMALLEST, size=size)
    try:
        return center_crop(read_image(entry.read()).pixels, size)
    except ImpastoError as error:  # which knows only bytes
        raise ImpastoError(f"{entry.name}: {error}") from None


def squares(folder: str, size: int, count: int | None = None) -> dict[str, Pixels]:
    """The first so many pictures of a folder, scaled and cropped to squares, by name."""
    return {PurePath(entry.name).stem: square(entry, size) for entry in find_pictures([folder])[:count]}


def _style(stylizer: Stylizer, name: str, pixels: Pixels, size: int) -> Style | None:
    if isinstance(stylizer, GraphStylizer) and stylizer.model.trained_styles:
        return stylizer.gallery.get(PurePath(name).stem)
    return stylizer.style(pixels, size=size, name=name)


def _row(model: str, fingerprint: str | None, scores: list[Score], rebuilt: list[tuple[float, float]]) -> Row:
    """Means over a model's pairs; median of the seconds, which a busy machine stretches now and then."""
    own = [score for score in scores if score.model == model]
    seconds = [score.seconds for score in own if score.seconds is not None]
    return Row(
        model=model,
        content=fmean(score.content for score in own),
        style=fmean(score.style_loss for score in own),
        ssim=fmean(score.ssim for score in own),
        seconds=median(seconds) if seconds else None,
        pairs=len(own),
        reconstruction_ssim=fmean(similarity for similarity, _ in rebuilt) if rebuilt else None,
        reconstruction_psnr=fmean(ratio for _, ratio in rebuilt) if rebuilt else None,
        fingerprint=fingerprint,
    )
