"""What all routes share: the model, uploaded styles, the queue, limits and counts."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import numpy as np
from fastapi import HTTPException, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from pydantic import StringConstraints

from impasto.alpha import crop_to_visible, fill, has_alpha
from impasto.app.work import BusyError, LateError, Work
from impasto.checks import one_for_each, suggest
from impasto.controls import STYLE_SIZE, Controls, Mix
from impasto.errors import ImpastoError, TooLargeError, UnreadableError
from impasto.fitting import fit_style
from impasto.image import Picture, read_image, resize_short_side, write_image
from impasto.mask import Box
from impasto.style import Style
from impasto.stylizer import Stylizer

T = TypeVar("T")
#: What is kept of an uploaded style: its vector, or its name and the picture, of which it can be taken at any size.
UploadedStyle = Style | tuple[str, Picture]

#: The name or id of a style, as a client gives it.
StyleName = Annotated[str, StringConstraints(max_length=100)]
#: Styles in one mix, and so masks of one photo, at most.
MOST_STYLES = 8
_KEPT_SIDE = 768  # short side that uploaded style pictures are kept at
_MOST_KEPT = 250_000_000  # bytes of them all: the long side may be any


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Attributes:
        max_upload: bytes of one request.
        max_clip: bytes of a video.
        max_clip_seconds: of a video, the rest is left out.
        max_pixels: of a picture.
        timeout: seconds that a request may take, waiting included.
        clip_timeout: seconds that a video may take; then what is done of it is finished.
        clip_unasked: seconds after which a video that nobody asks about is given up.
        clip_kept: seconds that a painted video is kept.
        clips_kept: painted videos that are kept; then the oldest is removed.
        clip_queue: videos that may wait.
        queue: pictures that may wait.
        styles: uploaded styles that are kept, up to 250 MB of them; then the one unused for longest is forgotten.
    """

    max_upload: int = 50_000_000
    max_clip: int = 200_000_000
    max_clip_seconds: float = 60.0
    max_pixels: int = 50_000_000
    timeout: float = 120.0
    clip_timeout: float = 900.0
    clip_unasked: float = 180.0  # browsers ask once a minute for pages in the background
    clip_kept: float = 900.0
    clips_kept: int = 8
    clip_queue: int = 2
    queue: int = 32
    styles: int = 64


class Metrics:
    """What `GET /metrics` counts."""

    def __init__(self, studio: Studio) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "impasto_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "impasto_work_seconds", "Seconds from a job's arrival to its result.", ["kind"], registry=self.registry,
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300, 900),
        )  # fmt: skip
        self.refused = Counter(
            "impasto_refused", "Jobs without a result: busy, late or failed.", ["kind", "reason"],
            registry=self.registry,
        )  # fmt: skip
        for name, text, value in (
            ("impasto_queue_depth", "Pictures that wait.", lambda: studio.work.depth),
            ("impasto_running", "Pictures that are painted now.", lambda: studio.work.running),
            ("impasto_uploaded_styles", "Uploaded styles that are kept.", lambda: len(studio.uploaded)),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)
        ProcessCollector(registry=self.registry)


class Shelf(Protocol):
    """Where uploaded styles and counts go: this process, or one for many of them."""

    def __len__(self) -> int: ...

    def add(self, style: UploadedStyle) -> str:
        """Keeps a style; gives its id."""
        ...

    def get(self, key: str) -> UploadedStyle | None:
        """The style of that id, if it is still kept."""
        ...

    def names(self) -> dict[str, str]:
        """What the styles are called, by id."""
        ...

    def exposition(self, registry: CollectorRegistry) -> bytes:
        """What is counted, for Prometheus; `registry` is this process's part of it."""
        ...


class Uploaded:
    """A bounded store of uploaded styles, by an id made of their content: the same style has the same id everywhere."""

    def __init__(self, capacity: int) -> None:
        self._styles: OrderedDict[str, UploadedStyle] = OrderedDict()
        self._capacity = capacity
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._styles)

    def add(self, style: UploadedStyle) -> str:
        """Keeps a style; gives its id."""
        key = _id(style)
        with self._lock:
            self._styles[key] = style
            self._styles.move_to_end(key)
            while len(self._styles) > self._capacity or sum(map(_bytes, self._styles.values())) > _MOST_KEPT:
                self._styles.popitem(last=False)
        return key

    def get(self, key: str) -> UploadedStyle | None:
        """The style of that id, if it is still kept."""
        with self._lock:
            if key in self._styles:
                self._styles.move_to_end(key)
            return self._styles.get(key)

    def exposition(self, registry: CollectorRegistry) -> bytes:
        """What this process counts, for Prometheus."""
        return generate_latest(registry)

    def all(self) -> list[UploadedStyle]:
        """All that are kept, the one unused for longest first."""
        with self._lock:
            return list(self._styles.values())

    def names(self) -> dict[str, str]:
        """What the styles are called, by id."""
        with self._lock:
            return {key: item.name if isinstance(item, Style) else item[0] for key, item in self._styles.items()}


def _bytes(style: UploadedStyle) -> int:
    return style.tensor.nbytes if isinstance(style, Style) else style[1].pixels.nbytes


def _id(style: UploadedStyle) -> str:
    name, values = (style.name, style.tensor) if isinstance(style, Style) else (style[0], style[1].pixels)
    digest = hashlib.sha256(f"{name}\0{values.shape}".encode() + values.tobytes())
    if not isinstance(style, Style) and style[1].alpha is not None:
        digest.update(style[1].alpha.tobytes())
    return f"own-{digest.hexdigest()[:16]}"


class Studio:
    """Paints for many clients with one model.

    Args:
        painter: the model.
        limits: what a client may ask for.
        uploaded: where uploaded styles are kept; None keeps them here.
    """

    def __init__(self, painter: Stylizer, limits: Limits | None = None, uploaded: Shelf | None = None) -> None:
        self.painter = painter
        self.limits = limits or Limits()
        self.work = Work(1, self.limits.queue, self.limits.timeout)
        self.uploaded: Shelf = Uploaded(self.limits.styles) if uploaded is None else uploaded
        self.metrics = Metrics(self)
        self.on_close: list[Callable[[], object]] = [self.work.close]

    async def run(self, kind: str, job: Callable[[], T]) -> T:
        """Does a job in its turn, and counts it; see :meth:`Work.run`."""
        with self.count_job(kind):
            return await self.work.run(job)

    @contextmanager
    def count_job(self, kind: str, start: float | None = None) -> Iterator[None]:
        """Counts what happens inside as one job, which came now, or at a time of `time.monotonic`."""
        start = time.monotonic() if start is None else start
        with self.count_refusals(kind):
            yield
        self.metrics.seconds.labels(kind).observe(time.monotonic() - start)

    @contextmanager
    def count_refusals(self, kind: str) -> Iterator[None]:
        """Counts a job that comes to no result inside."""
        try:
            yield
        except ImpastoError as error:
            reason = {BusyError: "busy", LateError: "late"}.get(type(error), "failed")
            self.metrics.refused.labels(kind, reason).inc()
            raise

    def close(self) -> None:
        """Begins nothing more, and clears up."""
        for clear in self.on_close:
            clear()

    # What follows computes, so it belongs into a job.

    def picture(self, data: bytes | Path, name: str) -> Picture:
        """Reads what was sent.

        Raises:
            UnreadableError: it is not a picture.
            TooLargeError: it has more pixels than the server takes.
        """
        try:
            return read_image(data, max_pixels=self.limits.max_pixels, name=name)
        except TooLargeError:
            raise TooLargeError(
                f"{name} has more than {self.limits.max_pixels:,} pixels, the limit of this server: send a smaller one"
            ) from None
        except ImpastoError as error:
            raise UnreadableError(str(error)) from None

    def add_style(self, data: bytes, filename: str, name: str | None = None, fit: bool = False) -> str:
        """Keeps the style of a picture, fitted to it if wanted, or the contents of a ``.style`` file; gives its id."""
        if filename.lower().endswith(".style"):
            if fit:
                raise ImpastoError(f"{filename} holds no picture to fit its style to: send the picture")
            loaded = self._load(data)
            return self.uploaded.add(replace(loaded, name=name or loaded.name))
        picture = self.picture(data, filename)
        name = name or Path(filename).stem[:100] or "style"
        seen = crop_to_visible(picture, f"the style {name}")
        small = seen.change(lambda pixels: resize_short_side(pixels, min(_KEPT_SIDE, min(pixels.shape[:2]))))
        kept = (name, Picture(fill(small), small.alpha if has_alpha(small) else None))
        style = self._take(*kept, STYLE_SIZE)  # a picture that no style can be taken from is refused now
        return self.uploaded.add(replace(fit_style(self.painter, style), picture=None, alpha=None) if fit else kept)

    def style(self, source: str | bytes, size: int = STYLE_SIZE, name: str = "style", box: Box | None = None) -> Style:
        """Finds the style of that name or id, or takes that of a picture or the contents of a ``.style`` file.

        A name is never taken for a path. Of what was sent, and of nothing else, a part may be taken.
        """
        if isinstance(source, bytes):
            if name.lower().endswith(".style"):
                return self.painter.style(self._load(source), box=box)
            return self._take(name, self.picture(source, name), size, box)
        if source in self.painter.gallery:
            return self.painter.gallery[source]
        kept = self.uploaded.get(source)
        if kept is None:
            hint = suggest(source, self.painter.gallery) or "GET /v1/styles lists them, POST /v1/styles adds one"
            raise ImpastoError(f"there is no style {source!r} here: {hint}")
        return kept if isinstance(kept, Style) else self._take(*kept, size)

    def mix(
        self,
        sources: Iterable[str | tuple[bytes, str]],
        weights: Sequence[float],
        size: int = STYLE_SIZE,
        boxes: Sequence[Box] = (),
    ) -> Mix:
        """Mixes styles: names or ids, and pictures or ``.style`` files with what they are called.

        Of the files those parts count which the boxes cut out, one of all or one of each.
        """
        sources = list(sources)
        if len(sources) > MOST_STYLES:
            raise ImpastoError(f"{len(sources)} styles are more than {MOST_STYLES}, the limit of this server")
        named = [(one, "") if isinstance(one, str) else one for one in sources]
        files = sum(isinstance(source, bytes) for source, _ in named)
        if boxes and not files:
            raise ImpastoError("style_box is for style_file: send the picture that it is a part of")
        parts = iter(one_for_each("style_box", boxes, files))
        return Mix(
            [
                self.style(source, size, name, next(parts) if isinstance(source, bytes) else None)
                for source, name in named
            ],
            weights,
        )

    def colors(self, palette: str | None, file: bytes | None) -> str | Picture:
        """Finds whose colours a photo's are moved to: what was named, else those of the picture that was sent."""
        if palette is not None and file is not None:
            raise ImpastoError("palette and palette_file both say whose colours: leave one of them out")
        return palette or "painting" if file is None else self.picture(file, "the palette")

    def stylize(
        self,
        photo: Picture,
        mix: Mix,
        controls: Controls | None = None,
        masks: Sequence[Picture] = (),
        max_size: int | None = None,
    ) -> Picture:
        """Paints a photo; masks of its shape are scaled to it, whatever their size."""
        content = photo if max_size is None else photo.limit_size(max_size)
        fitted = [_fit_mask(mask, content) for mask in masks] or None
        return self.painter.stylize_picture(photo, mix, controls or Controls(), fitted, max_size=max_size)

    def _take(self, name: str, picture: Picture, size: int, box: Box | None = None) -> Style:
        return self.painter.style(picture, size=size, name=name, box=box, max_pixels=self.limits.max_pixels)

    def _load(self, data: bytes) -> Style:
        with tempfile.NamedTemporaryFile(suffix=".style") as file:
            file.write(data)
            file.flush()
            try:
                return self.painter.style(Style.load(file.name, name="what was sent"))
            except ImpastoError as error:
                raise UnreadableError(str(error)) from None


def _fit_mask(mask: Picture, photo: Picture) -> Picture:
    """Scales a mask to a photo if it has its shape, to half a pixel; else it stays as it is."""
    (height, width), (rows, columns) = photo.pixels.shape[:2], mask.pixels.shape[:2]
    if abs(columns * height - rows * width) <= max(rows, columns, height, width) / 2:
        return mask.resize(height, width)
    return mask


async def give_up_when_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Waits for work, and gives it up when the client hangs up. The request's body must have been read."""

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(hung_up())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(499, "the client has gone")  # which nobody reads but those who count
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


def encode(image: Picture | np.ndarray, format: str, quality: int = 95) -> bytes:
    """Makes the bytes of a file."""
    stream = io.BytesIO()
    write_image(stream, image, format=format, quality=quality)
    return stream.getvalue()
