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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyvips

from impasto.color import color_map, map_colors, palette
from impasto.controls import ControlOptions, Controls, Mix, change_controls
from impasto.errors import ImpastoError
from impasto.files import open_work_folder, reason, write_file
from impasto.graph import GraphStylizer
from impasto.huge.strips import RawPicture, explain_unreadable, open_mask, open_picture, tell_why, write_strips
from impasto.image import Pixels, read_exif
from impasto.mask import Regions, check_size, count_error, empty_mask_error, share_pixels
from impasto.stylizer import MixSource, Plan, Stylizer
from impasto.tile import Known, Tiling, show_tiles

#: Kinds of file by ending, and the longest side of each.
KINDS = {"tif": "tiff", "tiff": "tiff", "png": "png", "jpg": "jpeg", "jpeg": "jpeg"}
_LONGEST = {"tiff": 2**31 - 1, "png": 2**31 - 1, "jpeg": 65535}


def stylize_file(
    painter: Stylizer,
    photo: str | os.PathLike[str],
    styles: MixSource,
    out: str | os.PathLike[str],
    controls: Controls | None = None,
    *,
    masks: Sequence[str | os.PathLike[str]] | None = None,
    quality: int = 95,
    resume: bool = False,
    **changes: Unpack[ControlOptions],
) -> tuple[int, int]:
    """Paints a picture of any size from file to file, in bounded memory; shows progress.

    Args:
        painter: a model.
        photo: TIFF, PNG or JPEG.
        styles: as :meth:`Stylizer.stylize` takes them.
        out: the file to write: .tif (a BigTIFF where it has to be), .png, or .jpg up to 65,535 pixels a side.
        controls, changes: see :meth:`Stylizer.stylize`.
        masks: one for each style: TIFF, PNG or JPEG of the photo's size; light selects, and they are read in 8 bit.
        quality: of a JPEG, 1 to 100.
        resume: go on from what a stopped run with the same settings has left.

    Returns:
        Width and height. The file keeps the photo's alpha (not in JPEG) and EXIF (not in TIFF).

    Raises:
        ImpastoError: a control is wrong, a file cannot be read or written, or there is no room for the work: on the
            disk of `out`, six bytes for each pixel, one more for alpha, and one for each mask.
    """
    controls = change_controls(controls, changes)
    if not isinstance(painter, GraphStylizer):
        raise ImpastoError(f"{painter.name} cannot paint by tiles: scale the photo down (--max-size), or take a model")
    inputs = [Path(path) for path in (photo, *(masks or ()))]
    target = Path(os.path.realpath(out))  # a link stays a link
    image = open_picture(inputs[0])
    kind = _check_target(out, target, image, inputs, quality)
    mix = painter.mix(styles, style_size=controls.style_size)
    layers = _open_masks(inputs[1:], image, mix) if masks is not None else []
    try:
        folder, left = open_work_folder(target, _identify(inputs, painter, mix, controls), resume=resume)
    except OSError as error:
        raise ImpastoError(f"cannot write {out}: {reason(error, os.fspath(out))}") from None
    work = _Work(folder, image, layers, mix.region_weights)
    done = False
    try:
        if not left:
            work.check_room()
        work.prepare(inputs)
        plan = painter.plan(mix, controls, lambda: palette(work.photo.strips()))
        work.paint(painter.tile_scene(work, plan, bool(layers)), plan)
        work.write(target, kind, quality, read_exif(inputs[0]), plan.recolors)
        done = True
    except (OSError, pyvips.Error) as error:
        raise ImpastoError(f"cannot write {out}: {tell_why(error, Path(out))}") from None
    finally:
        if done or not work.begun:  # what has cost time stays for the next run
            shutil.rmtree(folder, ignore_errors=True)
    return image.width, image.height


def _check_target(
    out: str | os.PathLike[str], target: Path, image: pyvips.Image, inputs: Sequence[Path], quality: int
) -> str:
    """Finds the kind of file to write; raises `ImpastoError` where it cannot be written."""
    kind = KINDS.get(target.suffix[1:].lower())
    if kind is None:
        raise ImpastoError(f"cannot write {out}: huge pictures are written as .tif, .png or .jpg")
    if not 1 <= quality <= 100:
        raise ImpastoError(f"quality must be from 1 to 100, not {quality}")
    if str(target) in map(os.path.realpath, inputs):
        raise ImpastoError(f"{out} is an input and would be overwritten: choose another file")
    if max(image.width, image.height) > _LONGEST[kind]:
        raise ImpastoError(f"cannot write {out}: a JPEG has at most 65535 pixels a side; write a .tif or a .png")
    return kind


def _open_masks(paths: Sequence[Path], image: pyvips.Image, mix: Mix) -> list[pyvips.Image]:
    """Opens one mask for each style, of the size of the picture."""
    layers = [open_mask(path) for path in paths]
    if len(layers) != len(mix):
        raise count_error(len(layers), len(mix))
    for number, layer in enumerate(layers, 1):
        check_size((layer.height, layer.width), (image.height, image.width), f"mask {number}")
    return layers


class _Work:
    """A picture that is painted from file to file, and its folder; a :class:`impasto.tile.Scene`.

    Args:
        folder: for the work.
        image: the picture, 8 bit sRGB, perhaps with alpha.
        masks: 8 bit, one band, one for each style; none if they are mixed.
        region_weights: float32 [K, 1, 1, 1], by what each style's region counts.

    Attributes:
        photo: the picture.
        height, width: of it.
    """

    def __init__(
        self, folder: Path, image: pyvips.Image, masks: Sequence[pyvips.Image], region_weights: np.ndarray
    ) -> None:
        self.height, self.width = image.height, image.width
        self._folder = folder
        self._sources = [image, *masks]
        names = ["photo.raw", *(f"mask-{number}.raw" for number in range(1, len(masks) + 1))]
        self._raws = [
            RawPicture(folder / name, self.height, self.width, source.bands)
            for name, source in zip(names, self._sources, strict=True)
        ]
        self.photo, *self._masks = self._raws
        self._painted = RawPicture(folder / "painted.raw", self.height, self.width, 3)
        self._statistics = folder / "statistics.npy"
        self._region_weights = region_weights

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

    def prepare(self, paths: Sequence[Path]) -> None:
        """Reads picture and masks from their files, as far as they are not there yet."""
        for raw, source, path in zip(self._raws, self._sources, paths, strict=True):
            if not raw.path.exists():
                with explain_unreadable(path):
                    raw.fill(source, f"Reading {path.name}")
        for number, mask in enumerate(self._masks, 1):
            if not any(strip.any() for strip in mask.strips()):
                raise empty_mask_error(number)

    def pixels(self, rows: slice, columns: slice) -> Pixels:
        return self.photo.part(rows, columns)[..., :3]

    def regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        shared = self._share(rows, columns)
        return shared.weights if shared else None

    def _share(self, rows: slice, columns: slice) -> Regions | None:
        """Makes the regions of a part of the picture; None where there are no masks."""
        if not self._masks:
            return None
        masks = np.stack([mask.part(rows, columns)[..., 0] for mask in self._masks])
        return share_pixels(masks.astype(np.float32) / np.float32(255), self._region_weights)

    def paint(self, tiling: Tiling, plan: Plan) -> None:
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
        exact = plan.controls.tile_statistics == "exact"
        passes = tiling.passes_left(known) if exact else 0
        with (
            show_tiles((passes + 1) * len(tiling.tiles), len(tiling.tiles) - len(left)) as tick,
            open(self._painted.path, "ab") as painted,
        ):
            painted.truncate(left[0].rows.inner.start * row)  # of a strip that was cut off nothing counts
            if exact:
                stats = tiling.measure(known, tick, self._save)
            else:
                stats = tiling.measure_thumbnail()
                self._save(Known(stats, np.ones(stats.shape[1], np.float32)))
            for tile, part in tiling.paint(stats, left, tick):
                rows, columns = tile.rows.inner, tile.columns.inner
                if columns.start == 0:
                    strip = np.empty((rows.stop - rows.start, self.width, 3), np.uint8)
                shared = self._share(rows, columns)
                strip[:, columns] = plan.finish_part(self.pixels(rows, columns), part, shared and shared.coverage)
                if columns.stop == self.width:
                    painted.write(strip.data)
                    painted.flush()

    def _save(self, known: Known) -> None:
        stream = io.BytesIO()
        np.save(stream, np.vstack(known))
        write_file(self._statistics, stream.getvalue())

    def write(self, target: Path, kind: str, quality: int, exif: bytes | None, recolors: bool) -> None:
        """Writes the file in one piece at the end; if it `recolors`, with the palette of the photo."""
        colors = color_map(palette(self._painted.strips()), palette(self.photo.strips())) if recolors else None

        def strips() -> Iterator[Pixels]:
            for painted, photo in zip(self._painted.strips(), self.photo.strips(), strict=True):
                strip = painted if colors is None else map_colors(painted, *colors)
                yield strip if self.photo.bands == 3 else np.dstack([strip, photo[..., 3]])

        options: dict[str, Any] = {"Q": quality, "subsample_mode": "off"} if kind == "jpeg" else {}
        if kind == "tiff":
            # The compressed size is not known beforehand, so what might not fit into 4 GB is a BigTIFF.
            big = self.height * self.width * self.photo.bands > 4e9
            options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": big}
        written = self._folder / "painted"
        write_strips(written, strips(), (self.height, self.width, self.photo.bands), kind, exif, options)
        os.replace(written, target)


def _identify(inputs: Sequence[Path], painter: GraphStylizer, mix: Mix, controls: Controls) -> dict[str, Any]:
    """Tells what is painted here, and how, from other runs."""
    return {
        "files": [_identify_file(path) for path in inputs],
        "painter": [painter.name, painter.fingerprint, painter.engine_name, painter.tile],
        "styles": [[hashlib.sha256(style.tensor.tobytes()).hexdigest(), weight] for style, weight in mix],
        "controls": [controls.strength, controls.keep_color, controls.tile_statistics],
    }


def _identify_file(path: Path) -> list[object]:
    """Tells a file from what it was before."""
    facts = path.stat()
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
