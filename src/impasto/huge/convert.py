"""Pictures that do not fit into memory: from file to file, tile by tile. TIFF, PNG and JPEG, through libvips.

A hidden folder beside the file to write holds, until it is complete, the picture and the masks as bare pixels, of which
any part can be read at once; the content statistics after each pass; and the strips that are painted. So a run that was
stopped can be taken up again.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from impasto.color import color_map, content_chroma, palette, recoloured
from impasto.errors import ImpastoError
from impasto.files import reason, work_folder, write_file
from impasto.graph import GraphStylizer
from impasto.huge.strips import Raw, open_mask, open_picture, readable, why, write_strips
from impasto.image import Pixels, read_exif
from impasto.mask import check_size, selects_nothing, share
from impasto.style import Style, check_weights
from impasto.stylizer import STYLE_SIZE, KeepColor, StyleSource, Stylizer, check_controls, let_through, relative
from impasto.tile import Known, TileStatistics, Tiling, ticks

#: Kinds of file by ending, and the longest side of each.
KINDS = {"tif": "tiff", "tiff": "tiff", "png": "png", "jpg": "jpeg", "jpeg": "jpeg"}
_LONGEST = {"tiff": 2**31 - 1, "png": 2**31 - 1, "jpeg": 65535}


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
    image = open_picture(source)
    if max(image.width, image.height) > _LONGEST[kind]:
        raise ImpastoError(f"cannot write {out}: a JPEG has at most 65535 pixels a side; write a .tif or a .png")
    weights = painter.mix(styles, style_size=style_size)
    check_weights(weights)
    layers = [open_mask(Path(mask)) for mask in masks or ()]
    if masks is not None and len(layers) != len(weights):
        raise ImpastoError(f"{len(layers)} masks for {len(weights)} styles: give each style one mask")
    for number, layer in enumerate(layers, 1):
        check_size((layer.height, layer.width), (image.height, image.width), f"mask {number}")
    settings = {
        "files": [_state(Path(path)) for path in (source, *(masks or ()))],
        "painter": [painter.name, painter.fingerprint, painter.engine_name, painter.tile],
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
        raise ImpastoError(f"cannot write {out}: {why(error, Path(out))}") from None
    finally:
        if done or not work.begun:  # what has cost time stays for the next run
            shutil.rmtree(folder, ignore_errors=True)
    return image.width, image.height


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
            Raw(folder / name, self.height, self.width, source.bands)
            for name, source in zip(names, self._sources, strict=True)
        ]
        self.photo, *self._masks = self._raws
        self._painted = Raw(folder / "painted.raw", self.height, self.width, 3)
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
                with readable(path):
                    raw.fill(source, f"Reading {path.name}")
        for number, mask in enumerate(self._masks, 1):
            if not any(strip.any() for strip in mask.strips()):
                raise selects_nothing(number)

    def pixels(self, rows: slice, columns: slice) -> Pixels:
        return self.photo.part(rows, columns)[..., :3]

    def regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        return self._shared([mask.part(rows, columns)[..., 0] for mask in self._masks])[0]

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
        colors = color_map(palette(self._painted.strips()), palette(self.photo.strips())) if matched else None

        def strips() -> Iterator[Pixels]:
            for painted, photo in zip(self._painted.strips(), self.photo.strips(), strict=True):
                strip = painted if colors is None else recoloured(painted, *colors)
                yield strip if self.photo.bands == 3 else np.dstack([strip, photo[..., 3]])

        options: dict[str, Any] = {"Q": quality, "subsample_mode": "off"} if kind == "jpeg" else {}
        if kind == "tiff":
            # The compressed size is not known beforehand, so what might not fit into 4 GB is a BigTIFF.
            big = self.height * self.width * self.photo.bands > 4e9
            options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": big}
        written = self._folder / "painted"
        write_strips(written, strips(), (self.height, self.width, self.photo.bands), kind, exif, options)
        os.replace(written, target)


def _state(path: Path) -> list[object]:
    """Tells a file from what it was before."""
    facts = path.stat()
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
