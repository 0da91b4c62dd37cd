"""How well models paint, measured as the paper does: the table of content and style losses on any pictures.

On every pair of a photo and a style picture, both scaled to one short side (Lanczos) and cropped to the centre square:

* content loss: MSE of relu4_1 between result and photo;
* style loss: sum over relu1_1 to relu4_1 of the MSE of channel means plus that of standard deviations;
* SSIM: structural similarity of the lumas of result and photo;
* seconds: pixels to painted pixels, the style taken beforehand (median).

All features are the normalised VGG-19's. Scores depend on size and filter, so they are only comparable at equal ones.

At several scales, photos are painted as they are instead. Then painting, photo and style picture are each scaled to a
short side of so many pixels, and the middle of them is compared, which shows coarse forms at small scales and the fine
texture at large ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from statistics import fmean, median

import numpy as np

from impasto.alpha import fill
from impasto.checks import SMALLEST, require_at_least
from impasto.errors import ImpastoError
from impasto.evaluate.page import thumbnail
from impasto.evaluate.report import CROP, UNCHANGED, Evaluation, QualityRow, Score
from impasto.extras import explain_missing
from impasto.graph import GraphStylizer
from impasto.image import Pixels, center_crop, center_square, read_image, resize_short_side
from impasto.loader import load
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import Stylizer

with explain_missing(__name__):
    import torch

    from impasto.evaluate.metrics import Observer, psnr, ssim
    from impasto.losses import Statistics
    from impasto.place import Sources, StoredPicture, find_pictures


def evaluate(
    models: Sequence[str] | Mapping[str, Stylizer],
    content: Sources,
    style: Sources,
    *,
    size: int = 512,
    scales: Sequence[int] | None = None,
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
        content, style: one or more folders of pictures, or tar files of them.
        size: side in pixels, 16 or more, of the squares that photos and styles are brought to; with `scales` only
            styles, to be taken.
        scales: short sides in pixels, 512 or more, to measure at photos that are painted as they are, in squares of 512
            pixels from the middle. A photo counts at those scales that it need not be enlarged for; a style picture is
            enlarged if need be. None paints and measures squares of `size`.
        engine, precision: what runs the models, see :func:`impasto.engine.open_engine`.
        threads: processor threads for painting and measuring; None leaves one for each physical core.
        limit: take only the first so many photos, by name.
        style_limit: take only the first so many style pictures.

    Raises:
        ImpastoError: a model, a folder or a picture cannot be read, no photo is large enough for any scale, or the
            VGG-19 weights are not on this machine.
    """
    if not models:
        raise ImpastoError("no model to evaluate: name at least one")
    if limit is not None and limit < 1:
        raise ImpastoError(f"limit must be 1 photo or more, not {limit}")
    if scales is not None and (not scales or min(scales) < CROP):
        raise ImpastoError(f"scales must be {CROP} pixels or more, not {', '.join(map(str, scales)) or 'none'}")
    chosen = sorted(set(scales or ()))
    views: Sequence[int | None] = chosen or [None]
    photos, paintings = find_pictures(content)[:limit], find_pictures(style)[:style_limit]
    for entries in (photos, paintings):
        names = [entry.name for entry in entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ImpastoError(f"two pictures are called {min(twice)}: rename one, for figures go by their names")
    if not isinstance(models, Mapping):
        models = {str(name): load(name, engine=engine, threads=threads, precision=precision) for name in models}
    if threads is not None:
        torch.set_num_threads(threads)
    judge = _Judge(models, size, views)
    for painting in paintings:
        judge.take(painting)
    if idle := [model for model, styles in judge.styles.items() if not styles]:
        raise ImpastoError(f"the model {idle[0]} knows none of these styles: name the pictures like its styles")
    total = len(photos) * (len(paintings) + sum(map(len, judge.styles.values()))) * len(views)
    # One photo at a time: its features are shared by all models and styles, and nothing of full size is kept.
    scores = list(track((score for photo in photos for score in judge.measure(photo)), "evaluate", total))
    if not scores:
        raise ImpastoError(f"no photo has a short side of {chosen[0]} pixels or more: take larger ones")
    rows = []
    for scale in views:
        if own := [score for score in scores if score.scale == scale]:
            rows.append(_average(UNCHANGED, None, own, []))
            rows += [_average(name, model.fingerprint, own, judge.rebuilt[name]) for name, model in models.items()]
    return Evaluation(
        size=size,
        engine=next(iter(models.values())).engine_name,
        rows=rows,
        scores=scores,
        photos=judge.photo_thumbnails,
        styles=judge.style_thumbnails,
        thumbnails=judge.thumbnails,
        scales=tuple(chosen),
    )


class _Judge:
    """Has models paint photo after photo in the same styles, scores what they paint, and keeps thumbnails of it.

    Attributes:
        styles: for each model those that it has taken, by the names of their pictures.
        rebuilt: for each model luma SSIM and PSNR to each photo of what the network alone makes of it at strength 0;
            not at scales, for it takes a picture in one piece.
        photo_thumbnails, style_thumbnails, thumbnails: as in :class:`Evaluation`.
    """

    def __init__(self, stylizers: Mapping[str, Stylizer], size: int, scales: Sequence[int | None]) -> None:
        self._stylizers, self._size, self._scales, self._observe = stylizers, size, scales, Observer()
        self._open = partial(square, size=size) if None in scales else _read
        self._paintings: dict[str, StoredPicture] = {}
        self._targets: dict[tuple[str, int | None], Statistics] = {}
        self.styles: dict[str, dict[str, Style]] = {model: {} for model in stylizers}
        self.rebuilt: dict[str, list[tuple[float, float]]] = {model: [] for model in stylizers}
        self.photo_thumbnails: dict[str, bytes] = {}
        self.style_thumbnails: dict[str, bytes] = {}
        self.thumbnails: dict[tuple[str, str, str], bytes] = {}

    def take(self, painting: StoredPicture) -> None:
        """Takes a painting's style in every model that can."""
        pixels = square(painting, self._size)
        self._paintings[painting.name] = painting
        self.style_thumbnails[painting.name] = thumbnail(pixels)
        for model, stylizer in self._stylizers.items():
            if isinstance(stylizer, GraphStylizer) and stylizer.model.trained_styles:
                style = stylizer.gallery.get(PurePath(painting.name).stem)
            else:
                style = stylizer.style(pixels, size=self._size, name=painting.name)
            if style is not None:
                self.styles[model][painting.name] = style

    def measure(self, photo: StoredPicture) -> Iterator[Score]:
        """Scores a photo as it is and as every model paints it, in every style."""
        pixels = self._open(photo)
        short = min(pixels.shape[:2])
        views = {scale: _view(pixels, scale) for scale in self._scales if scale is None or scale <= short}
        if not views:
            return
        self.photo_thumbnails[photo.name] = thumbnail(pixels)
        own = {scale: self._observe(view) for scale, view in views.items()}
        for scale, seen in own.items():
            for name in self._paintings:
                loss = seen.style_loss(self._target(name, scale))
                yield Score(UNCHANGED, photo.name, name, 0.0, loss, 1.0, None, scale)
        for model, stylizer in self._stylizers.items():
            # First this, which also spares the timed runs the engine's preparations for a new size.
            if isinstance(stylizer, GraphStylizer) and None in views:
                back = stylizer.reconstruct(pixels)
                self.rebuilt[model].append((ssim(back, pixels), psnr(back, pixels)))
            for name, style in self.styles[model].items():
                start = time.perf_counter()
                painted = np.asarray(stylizer.stylize(pixels, style))
                seconds = time.perf_counter() - start
                self.thumbnails[model, photo.name, name] = thumbnail(painted)
                for scale, view in views.items():
                    part = _view(painted, scale)
                    seen, target = self._observe(part), self._target(name, scale)
                    yield Score(model, photo.name, name, seen.content_loss(own[scale]), seen.style_loss(target),
                                ssim(part, view), seconds, scale)  # fmt: skip

    def _target(self, name: str, scale: int | None) -> Statistics:
        """What VGG-19 sees of a style picture, at a scale that some photo has; looks once."""
        if (name, scale) not in self._targets:
            self._targets[name, scale] = self._observe(_view(self._open(self._paintings[name]), scale)).style
        return self._targets[name, scale]


def _view(pixels: Pixels, scale: int | None) -> Pixels:
    """Cuts out what is compared, once a picture's short side is scaled to `scale`: uint8 [CROP, CROP, 3], or all."""
    return pixels if scale is None else center_square(resize_short_side(pixels, scale), CROP)


def _read(entry: StoredPicture) -> Pixels:
    try:
        return fill(read_image(entry.read()))
    except ImpastoError as error:  # which knows only bytes
        raise ImpastoError(f"{entry.name}: {error}") from None


def square(entry: StoredPicture, size: int) -> Pixels:
    """Reads a picture, scales its short side to `size` and cuts out the centre square, uint8 [size, size, 3]."""
    require_at_least(SMALLEST, size=size)
    return center_crop(_read(entry), size)


def squares(sources: Sources, size: int, count: int | None = None) -> dict[str, Pixels]:
    """Reads the first so many pictures of folders, scaled and cropped to squares, by name."""
    return {PurePath(entry.name).stem: square(entry, size) for entry in find_pictures(sources)[:count]}


def _average(
    model: str, fingerprint: str | None, scores: list[Score], rebuilt: list[tuple[float, float]]
) -> QualityRow:
    """Takes means over a model's pairs; of the seconds the median, since a busy machine stretches them now and then."""
    own = [score for score in scores if score.model == model]
    seconds = [score.seconds for score in own if score.seconds is not None]
    return QualityRow(
        model=model,
        content=fmean(score.content for score in own),
        style=fmean(score.style_loss for score in own),
        ssim=fmean(score.ssim for score in own),
        seconds=median(seconds) if seconds else None,
        pairs=len(own),
        reconstruction_ssim=fmean(similarity for similarity, _ in rebuilt) if rebuilt else None,
        reconstruction_psnr=fmean(ratio for _, ratio in rebuilt) if rebuilt else None,
        fingerprint=fingerprint,
        scale=own[0].scale,
    )
