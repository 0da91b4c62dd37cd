"""How steady painted clips are: the warping error of Ruder et al., with each stabiliser on and off.

Between two frames that follow each other, the first as it was painted is moved along the motion of the source, and
compared with the second wherever nothing has come into view (Ruder et al., "Artistic style transfer for videos", GCPR
2016): the mean over pixels and channels of the squared difference, of values in 0..1. Motion is found by dense inverse
search at full size, down to whole pixels, and not by the quicker search that the painting uses.

What is steady because it is blurred would score well, so the detail is told as well: the mean absolute Laplacian of
luma. And the cost: every frame is painted in all settings in turn, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from statistics import fmean, median
from typing import Any

import numpy as np
from rich.table import Table

from impasto.checks import require_at_least
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.image import Pixels
from impasto.loader import load
from impasto.progress import track
from impasto.stylizer import StyleSource, Stylizer

with explain_missing(__name__):
    import cv2

    from impasto.video import TemporalPainter
    from impasto.video.clip import Clip
    from impasto.video.flow import FlowEstimator, Motion, find_consistent, to_grey, warp

#: What is compared: the options of :class:`TemporalPainter`.
SETTINGS: Mapping[str, dict[str, Any]] = {
    "frame by frame": {"inertia": 0, "blend": 0},
    "statistics": {"blend": 0},
    "flow": {"inertia": 0},
    "both": {},
}
#: Tells the motion from the frame before, given both.
MotionSource = Callable[[Pixels, Pixels], Motion]
_COLUMNS = ("model", "style", "setting", "warping error, 1e-4", "less", "detail", "ms/frame", "cost")


@dataclass(frozen=True)
class VideoRow:
    """How steady a clip is in one style by one model, in one setting; the last three are against frame by frame.

    Attributes:
        error: warping error, of values in 0..1, mean over the frames.
        seconds: median for a frame.
        reduction: share of the warping error that is gone.
        detail: mean absolute Laplacian of luma, as a ratio.
        cost: seconds, as a ratio.
    """

    model: str
    style: str
    setting: str
    error: float
    seconds: float
    reduction: float
    detail: float
    cost: float


@dataclass(frozen=True)
class VideoEvaluation:
    """Everything that :func:`evaluate_video` found out about a clip.

    Attributes:
        clip: its name.
        frames: how many.
        width, height: of them.
        source_error: warping error of the clip itself: noise, light, and what the motion found does not explain.
    """

    clip: str
    frames: int
    width: int
    height: int
    source_error: float
    rows: list[VideoRow]

    def to_json(self) -> dict[str, Any]:
        """Gives all figures, ready for ``json.dumps``."""
        return asdict(self)

    def table(self) -> Table:
        """Lays the figures out for a terminal."""
        title = f"{self.clip}, {self.frames} frames of {self.width} x {self.height}"
        made = Table(title=title, title_justify="left", caption_justify="left")
        for column in _COLUMNS:
            made.add_column(column, justify="left" if column in _COLUMNS[:3] else "right")
        for row in self.rows:
            made.add_row(
                row.model, row.style, row.setting, f"{1e4 * row.error:.2f}", f"{row.reduction:.0%}",
                f"{row.detail:.2f}", f"{1e3 * row.seconds:.0f}", f"{row.cost:.2f}",
            )  # fmt: skip
        made.caption = f"warping error of the clip itself: {1e4 * self.source_error:.2f}e-4"
        return made


@dataclass
class _Run:
    """What is kept of one setting while the frames come."""

    painter: TemporalPainter
    recent: deque[Pixels]
    errors: list[float] = field(default_factory=list)
    details: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def paint(self, frame: Pixels, motion: Motion | None) -> None:
        start = time.perf_counter()
        painted = self.painter.paint(frame)
        self.seconds.append(time.perf_counter() - start)
        self.details.append(detail(painted))
        if motion is not None:
            self.errors.append(warping_error(self.recent[0], painted, motion))
        self.recent.append(painted)


def evaluate_video(
    models: Sequence[str] | Mapping[str, Stylizer],
    clip: str | os.PathLike[str],
    styles: Sequence[StyleSource],
    *,
    gap: int = 1,
    max_size: int | None = None,
    limit: int | None = None,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
) -> VideoEvaluation:
    """Measures how steadily models paint a clip.

    Args:
        models: names of models or methods, model folders, or such as are loaded already, by name.
        clip: whatever :func:`impasto.video.stylize_video` reads.
        styles: each of them is measured by itself.
        gap: compare each frame with that so many before: 1 tells of flicker, 10 of what drifts and comes back.
        max_size: scale frames down so that their long side is at most this.
        limit: take only the first so many frames.
        engine, precision: what runs the models, see :func:`impasto.engine.open_engine`.
        threads: processor threads for painting; None leaves one for each physical core.
    """
    require_at_least(1, gap=gap)
    if limit is not None and limit <= gap:
        raise ImpastoError(f"limit must be {gap + 1} frames or more, not {limit}")
    source = Clip(clip, max_size=max_size)
    if not isinstance(models, Mapping):
        models = {name: load(name, engine=engine, threads=threads, precision=precision) for name in models}
    frames = (frame.pixels for frame in islice(source.frames(), limit))
    total = min(source.frame_count or limit or 0, limit or source.frame_count or 0)
    return measure(models, styles, track(frames, "evaluate", total), gap=gap, name=source.path.name)


def measure(
    models: Mapping[str, Stylizer],
    styles: Sequence[StyleSource],
    frames: Iterable[Pixels],
    *,
    motion: MotionSource | None = None,
    gap: int = 1,
    name: str = "",
) -> VideoEvaluation:
    """Measures how steadily models paint frames, uint8 [H, W, 3], whose motion may be known."""
    motion = motion or search_thoroughly()
    runs: dict[tuple[str, str, str], _Run] = {}
    for model, stylizer in models.items():
        for style in map(stylizer.style, styles):
            for setting, options in SETTINGS.items():
                runs[model, style.name, setting] = _Run(TemporalPainter(stylizer, style, **options), deque(maxlen=gap))
    own: list[float] = []
    recent: deque[Pixels] = deque(maxlen=gap)
    for frame in frames:
        moved = motion(recent[0], frame) if len(recent) == gap else None
        if moved is not None:
            own.append(warping_error(recent[0], frame, moved))
        for run in runs.values():
            run.paint(frame, moved)
        recent.append(frame)
    if not own:
        raise ImpastoError(f"the clip has less than {gap + 1} frames: there is no motion to measure")
    height, width = recent[0].shape[:2]
    return VideoEvaluation(name, len(own) + gap, width, height, fmean(own), list(_rows(runs)))


def _rows(runs: Mapping[tuple[str, str, str], _Run]) -> Iterator[VideoRow]:
    for (model, style, setting), run in runs.items():
        plain = runs[model, style, next(iter(SETTINGS))]
        error, seconds = fmean(run.errors), median(run.seconds[1:])
        yield VideoRow(
            model=model,
            style=style,
            setting=setting,
            error=error,
            seconds=seconds,
            reduction=1 - _ratio(error, fmean(plain.errors)),
            detail=_ratio(fmean(run.details), fmean(plain.details)),
            cost=seconds / median(plain.seconds[1:]),
        )


def _ratio(value: float, plain: float) -> float:
    """Divides a value by that of frame by frame; 1 where that is nothing, as in a still clip or an even one."""
    return value / plain if plain else 1.0


def search_thoroughly() -> MotionSource:
    """Prepares a search for motion that takes its time: at full size."""
    search = FlowEstimator(thorough=True)

    def motion(before: Pixels, now: Pixels) -> Motion:
        back, forth = search.estimate_both_ways(to_grey(before, max(before.shape)), to_grey(now, max(now.shape)))
        return Motion(back, find_consistent(back, forth))

    return motion


def warping_error(before: Pixels, now: Pixels, motion: Motion) -> float:
    """Computes the mean squared difference of a frame to the one before, moved, where the motion is certain.

    Args:
        before, now: uint8 [H, W, 3].
        motion: from one to the other, of their size; a trust of a half or more counts.
    """
    seen = motion.trust >= 0.5
    if not seen.any():
        return 0.0
    difference = (now.astype(np.float32) - warp(before, motion.flow))[seen] / 255
    return float(np.mean(difference**2))


def detail(picture: Pixels) -> float:
    """Computes the mean absolute Laplacian of luma, of 255, of a picture, uint8 [H, W, 3]."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(luma, cv2.CV_32F)).mean())
