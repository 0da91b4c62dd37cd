"""Pictures that do not fit into memory: from file to file, tile by tile. TIFF, PNG and JPEG, through libvips.

A hidden folder beside the file to write holds, until it is complete, the picture and the masks as bare pixels, of which
any part can be read at once; the content statistics after each pass; and the strips that are painted. So a run that was
stopped can be taken up again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from impasto.color import color_map, content_chroma, palette
from impasto.errors import ImpastoError
from impasto.files import reason, replacing, work_folder, write_file
from impasto.image import Pixels, read_exif
from impasto.mask import check_size, selects_nothing, share
from impasto.progress import meter
from impasto.style import Style, check_weights
from impasto.stylizer import (
    STYLE_SIZE,
    GraphStylizer,
    KeepColor,
    StyleSource,
    Stylizer,
    check_controls,
    let_through,
    relative,
)
from impasto.tile import Known, TileStatistics, Tiling, small_size, ticks

#: Kinds of file by ending, and the longest side of each.
KINDS = {"tif": "tiff", "tiff": "tiff", "png": "png", "jpg": "jpeg", "jpeg": "jpeg"}
_LONGEST = {"tiff": 2**31 - 1, "png": 2**31 - 1, "jpeg": 65535}
_LOADERS = {"tiffload", "pngload", "jpegload"}
_STRIP = 1 << 22  # bytes that are read at a time where the whole picture goes through
_LUMA = [[0.299, 0.587, 0.114]]  # as in impasto.color


def stylize_file(
    painter: Stylizer,
    photo: str | os.PathLike[str],
    styles: StyleSource | Sequence[StyleSource] | Mapping[Style, float],
    out: str | os.PathLike[str],
    *,
    strength: float = 1.0,
    masks: Sequence[str | os.PathLike[str]] | None = None,
    keep_color: KeepColor | None = None,
    style_size: int = STYLE_SIZE,
    tile_statistics: TileStatistics = "exact",
    quality: int = 95,
    resume: bool = False,
) -> tuple[int, int]:
    """Paints a picture of any size from file to file, in bounded memory; shows progress.

    Args:
        painter: a model.
        photo: TIFF, PNG or JPEG.
        styles: as :meth:`Stylizer.stylize` takes them.
        out: the file to write: .tif (a BigTIFF where it has to be), .png, or .jpg up to 65,535 pixels a side.
        strength, keep_color, style_size, tile_statistics: see :meth:`Stylizer.stylize`.
        masks: one for each style: TIFF, PNG or JPEG of the photo's size; light selects, and they are read in 8 bit.
        quality: of a JPEG, 1 to 100.
        resume: go on from what a stopped run with the same settings has left.

    Returns:
        Width and height. The file keeps the photo's alpha (not in JPEG) and EXIF (not in TIFF).

    Raises:
        ImpastoError: a control is wrong, a file cannot be read or written, or there is no room for the work: on the
            disk of `out`, six bytes for each pixel, one more for alpha, and one for each mask.
    """
    check_controls(strength, keep_color, tile_statistics)
    if not isinstance(painter, GraphStylizer):
        raise ImpastoError(f"{painter.name} cannot paint by tiles: scale the photo down (--max-size), or take a model")
    source, target = Path(photo), Path(os.path.realpath(out))  # a link stays a link
    kind = KINDS.get(target.suffix[1:].lower())
    if kind is None:
        raise ImpastoError(f"cannot write {out}: huge pictures are written as .tif, .png or .jpg")
    if not 1 <= quality <= 100:
        raise ImpastoError(f"quality must be from 1 to 100, not {quality}")
    if str(target) in map(os.path.realpath, (photo, *(masks or ()))):
        raise ImpastoError(f"{out} is an input and would be overwritten: choose another file")
    image = _open(source)
    if max(image.width, image.height) > _LONGEST[kind]:
        raise ImpastoError(f"cannot write {out}: a JPEG has at most 65535 pixels a side; write a .tif or a .png")
    weights = painter.mix(styles, style_size=style_size)
    check_weights(weights)
    layers = [_open_mask(Path(mask)) for mask in masks or ()]
    if masks is not None and len(layers) != len(weights):
        raise ImpastoError(f"{len(layers)} masks for {len(weights)} styles: give each style one mask")
    for number, layer in enumerate(layers, 1):
        check_size((layer.height, layer.width), (image.height, image.width), f"mask {number}")
    settings = {
        "files": [_state(Path(path)) for path in (source, *(masks or ()))],
        "painter": [painter.name, painter.fingerprint, painter.tile],
        "styles": [[hashlib.sha256(style.tensor.tobytes()).hexdigest(), weight] for style, weight in weights.items()],
        "controls": [strength, keep_color, tile_statistics],
    }
    try:
        folder, left = work_folder(target, settings, resume=resume)
    except OSError as error:
        raise ImpastoError(f"cannot write {out}: {reason(error, os.fspath(out))}") from None
    work = _Work(folder, image, layers, relative(weights))
    done = False
    try:
        if not left:
            work.check_room()
        work.prepare(source, masks or ())
        matched = False
        if keep_color == "match":
            weights, matched = painter.recoloured(weights, palette(work.photo.strips()))
        tiling = painter.tiling(work, weights, bool(layers), strength)
        work.paint(tiling, tile_statistics, strength, keep_color == "luminance")
        work.write(target, kind, quality, read_exif(source), matched)
        done = True
    except (OSError, pyvips.Error) as error:
        raise ImpastoError(f"cannot write {out}: {_why(error, Path(out))}") from None
    finally:
        if done or not work.begun:  # what has cost time stays for the next run
            shutil.rmtree(folder, ignore_errors=True)
    return image.width, image.height


@dataclass(frozen=True)
class _Raw:
    """A picture, uint8 [height, width, bands], as bare pixels in a file."""

    path: Path
    height: int
    width: int
    bands: int

    def part(self, rows: slice, columns: slice) -> Pixels:
        """A copy of a part. The file is mapped for the moment only: what was read must not pile up in memory."""
        mapped = np.memmap(self.path, np.uint8, "r", shape=(self.height, self.width, self.bands))
        return np.array(mapped[rows, columns])

    def strips(self) -> Iterator[Pixels]:
        """All of it, from top to bottom."""
        step = max(1, _STRIP // (self.width * self.bands))
        for top in range(0, self.height, step):
            yield self.part(slice(top, top + step), slice(None))

    def image(self) -> pyvips.Image:
        image = pyvips.Image.rawload(str(self.path), self.width, self.height, self.bands)
        return image.copy(interpretation="b-w" if self.bands == 1 else "srgb")

    def fill(self, image: pyvips.Image, label: str) -> None:
        """Writes a picture of this size, all of it or nothing."""
        with replacing(self.path) as temporary:
            size = self.height * self.width * self.bands
            _watched(image, temporary, label, size, lambda: image.rawsave(str(temporary)))


class _Work:
    """A picture that is painted from file to file, and its folder; a :class:`impasto.tile.Scene`.

    Args:
        folder: for the work.
        image: the picture, 8 bit sRGB, perhaps with alpha.
        masks: 8 bit, one band, one for each style; none if they are mixed.
        relative: float32 [K, 1, 1, 1], by what each style's region counts.

    Attributes:
        photo: the picture.
        height, width: of it.
    """

    def __init__(self, folder: Path, image: pyvips.Image, masks: Sequence[pyvips.Image], relative: np.ndarray) -> None:
        self.height, self.width = image.height, image.width
        self._folder = folder
        self._sources = [image, *masks]
        names = ["photo.raw", *(f"mask-{number}.raw" for number in range(1, len(masks) + 1))]
        self._raws = [
            _Raw(folder / name, self.height, self.width, source.bands)
            for name, source in zip(names, self._sources, strict=True)
        ]
        self.photo, *self._masks = self._raws
        self._painted = _Raw(folder / "painted.raw", self.height, self.width, 3)
        self._statistics = folder / "statistics.npy"
        self._relative = relative

    @property
    def begun(self) -> bool:
        """Whether anything is there that has cost much time."""
        return self._statistics.exists()

    def check_room(self) -> None:
        """Raises `ImpastoError` unless there is room on the disk for all files of the folder."""
        needed = self.height * self.width * sum(raw.bands for raw in (*self._raws, self._painted))
        if shutil.disk_usage(self._folder).free < needed:
            raise ImpastoError(
                f"the work needs {needed / 1e9:.1f} GB on the disk of {self._folder.parent}: "
                "free some space or write somewhere else"
            )

    def prepare(self, photo: Path, masks: Sequence[str | os.PathLike[str]]) -> None:
        """Reads picture and masks, as far as they are not there yet."""
        for raw, source, path in zip(self._raws, self._sources, (photo, *map(Path, masks)), strict=True):
            if not raw.path.exists():
                with _readable(path):
                    raw.fill(source, f"Reading {path.name}")
        for number, mask in enumerate(self._masks, 1):
            if not any(strip.any() for strip in mask.strips()):
                raise selects_nothing(number)

    def pixels(self, rows: slice, columns: slice) -> Pixels:
        return self.photo.part(rows, columns)[..., :3]

    def regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        return self._shared([mask.part(rows, columns)[..., 0] for mask in self._masks])[0]

    def small(self, pixels: int) -> tuple[Pixels, np.ndarray | None]:
        height, width = small_size(self.height, self.width, pixels)
        photo, *masks = [
            raw.image().thumbnail_image(width, height=height, size="force").numpy().reshape(height, width, raw.bands)
            for raw in self._raws
        ]
        return photo[..., :3], self._shared([mask[..., 0] for mask in masks])[0]

    def _shared(self, masks: Sequence[Pixels]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Regions [K, 1, h, w] and coverage [h, w] of masks, each uint8 [h, w]."""
        if not masks:
            return None, None
        regions, coverage = share(np.stack(masks).astype(np.float32) / np.float32(255))
        return regions * self._relative, coverage

    def paint(self, tiling: Tiling, way: TileStatistics, strength: float, keep_chroma: bool) -> None:
        """Measures and paints what is not done yet, strip after strip; all but what needs the whole painted picture."""
        row = self.width * 3
        known = tiling.nothing
        if self.begun:
            kept = np.load(self._statistics)
            known = Known(kept[:-1], kept[-1])
        there = self._painted.path.stat().st_size // row if self._painted.path.exists() else 0
        left = [tile for tile in tiling.tiles if tile.rows.inner.stop > there]
        if not left:
            return
        passes = tiling.passes_left(known) if way == "exact" else 0
        with (
            ticks((passes + 1) * len(tiling.tiles), len(tiling.tiles) - len(left)) as tick,
            open(self._painted.path, "ab") as painted,
        ):
            painted.truncate(left[0].rows.inner.start * row)  # of a strip that was cut off nothing counts
            if way == "exact":
                stats = tiling.exact(known, tick, self._save)
            else:
                stats = tiling.thumbnail()
                self._save(Known(stats, np.ones(stats.shape[1], np.float32)))
            for tile, part in tiling.paint(stats, left, tick):
                rows, columns = tile.rows.inner, tile.columns.inner
                if columns.start == 0:
                    strip = np.empty((rows.stop - rows.start, self.width, 3), np.uint8)
                photo = self.pixels(rows, columns)
                _, coverage = self._shared([mask.part(rows, columns)[..., 0] for mask in self._masks])
                part = let_through(photo, part, coverage, strength)
                strip[:, columns] = content_chroma(part, photo) if keep_chroma else part
                if columns.stop == self.width:
                    painted.write(strip.data)
                    painted.flush()

    def _save(self, known: Known) -> None:
        stream = io.BytesIO()
        np.save(stream, np.vstack(known))
        write_file(self._statistics, stream.getvalue())

    def write(self, target: Path, kind: str, quality: int, exif: bytes | None, matched: bool) -> None:
        """Writes the file, all of it or nothing; if `matched`, with the colours of the photo."""
        image = self._painted.image()
        if matched:
            matrix, offset = color_map(palette(self._painted.strips()), palette(self.photo.strips()))
            image = image.recomb(matrix.tolist()).linear(1, offset.tolist()).rint().cast("uchar")
        if self.photo.bands == 4:
            image = image.bandjoin(self.photo.image()[3])
        if self.photo.bands == 4 and kind == "jpeg":
            image = image.flatten(background=255)
        image = image.copy(interpretation="srgb")
        if exif is not None:
            image.set_type(pyvips.GValue.blob_type, "exif-data", exif)
        options: dict[str, Any] = {"Q": quality, "subsample_mode": "off"} if kind == "jpeg" else {}
        if kind == "tiff":
            # The compressed size is not known beforehand, so what might not fit into 4 GB is a BigTIFF.
            big = self.height * self.width * image.bands > 4e9
            options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": big}
        save: Callable[..., None] = getattr(image, f"{kind}save")
        written = self._folder / "painted"
        _watched(image, written, f"Writing {target.name}", None, lambda: save(str(written), **options))
        os.replace(written, target)


def _open(path: Path) -> pyvips.Image:
    """A picture, upright, 8 bit sRGB, of 3 bands or with alpha 4; its pixels are read when they are needed."""
    if not path.is_file():
        raise ImpastoError(f"cannot read {path}: there is no such file")
    with _readable(path):
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
        if image.get("vips-loader") not in _LOADERS:
            raise ImpastoError(f"cannot read {path}: huge pictures are read from TIFF, PNG and JPEG")
        if image.get_typeof("orientation") and image.get("orientation") != 1:
            # To be turned, it has to lie where any part can be read: libvips unpacks it to a temporary file.
            image = pyvips.Image.new_from_file(str(path), access="random", fail_on="error").autorot()
        if image.format == "ushort":
            depth = "b-w" if image.bands < 3 else "srgb"
            image = (image / 257).rint().cast("uchar").copy(interpretation=depth)
        if image.format != "uchar":
            raise ImpastoError(f"cannot read {path}: its pixels are {image.format}; save it with 8 or 16 bit")
        alpha = image[image.bands - 1] if image.hasalpha() else None
        color = image if alpha is None else image[: image.bands - 1]
        if color.get_typeof("icc-profile-data"):
            color = color.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
        color = color.colourspace("srgb")
        return color if alpha is None else color.bandjoin(alpha)


def _open_mask(path: Path) -> pyvips.Image:
    """A mask, 8 bit, one band: luma, transparent parts as black."""
    image = _open(path)
    weight = image[:3].recomb(_LUMA)
    if image.bands == 4:
        weight = weight * image[3] / 255
    return weight.rint().cast("uchar").copy(interpretation="b-w")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pyvips.Error as error:
        raise ImpastoError(f"cannot read {path}: the file is damaged or incomplete ({_why(error, path)})") from None


def _watched(image: pyvips.Image, path: Path, label: str, total: int | None, action: Callable[[], None]) -> None:
    """Runs what computes an image and writes it to a file; shows how the file grows, and ends it on Ctrl-C.

    libvips could tell of its progress itself, by calling back. But it keeps images in a cache, with what they call, and
    when one is met again the Python side of that may be gone.

    Args:
        total: bytes that there will be, if that is known.
    """
    megabytes = None if total is None else -(-total // 1_000_000)
    # In a thread of its own, since no signal arrives while libvips computes.
    with ThreadPoolExecutor(1) as pool, meter(f"{label} (MB)", megabytes) as show:
        running = pool.submit(action)
        try:
            while wait([running], timeout=0.5).not_done:
                done = path.stat().st_size // 1_000_000 if path.exists() else 0
                if done:
                    show(done, megabytes)
        except BaseException:
            image.set_kill(True)
            wait([running])
            image.set_kill(False)  # it may be met again in the cache, too
            raise
    running.result()


def _why(error: Exception, path: Path) -> str:
    """The reason that the system or libvips gives, on one line."""
    if isinstance(error, pyvips.Error):
        lines = str(error.detail or error.message).strip().splitlines()
        return lines[0] if lines else "libvips does not say why"
    return reason(error, str(path))


def _state(path: Path) -> list[object]:
    """Tells a file from what it was before."""
    facts = path.stat()
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
