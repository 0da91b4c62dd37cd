"""Pictures that do not fit into memory: from file to file, by strips. TIFF, PNG and JPEG, through libvips.

What the network paints is small (:mod:`impasto.octaves`); the photo's own detail is put back strip by strip. A hidden
folder beside the file to write holds, until it is complete, the picture and the masks as bare pixels, of which any part
can be read at once; the last octave that was painted; and the strips. So a run that was stopped can be taken up again.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyvips

from impasto.alpha import Filled
from impasto.checks import read_whole
from impasto.color import ColorMap, Palette, color_map, map_colors, palette
from impasto.controls import ControlOptions, Controls, Mix, change_controls
from impasto.errors import ImpastoError
from impasto.files import open_work_folder, reason, write_file
from impasto.formats.read import Told
from impasto.graph import GraphStylizer
from impasto.huge.strips import (
    STRIP,
    RawPicture,
    describe,
    explain_unreadable,
    open_mask,
    open_picture,
    tell_why,
    write_strips,
)
from impasto.image import Pixels
from impasto.mask import Regions, check_size, count_error, empty_mask_error, share_pixels
from impasto.octaves import Octave, Painted, Recolored, Source, choose_sizes, resize, resize_part, shrink
from impasto.people import LOOK_AT, find_people
from impasto.progress import track
from impasto.stylizer import MixSource, Plan, Stylizer

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
        Width and height. The file keeps the photo's alpha (not in JPEG), EXIF and resolution.

    Raises:
        ImpastoError: a control is wrong, a file cannot be read or written, or there is no room for the work: on the
            disk of `out`, six bytes for each pixel, one more for alpha, and one for each mask.
    """
    controls, quality = change_controls(controls, changes), read_whole(1, 100, quality=quality)
    if controls.plain:
        raise ImpastoError("plain paints a picture in one piece, and huge ones go in strips: leave out one of the two")
    if not isinstance(painter, GraphStylizer):
        raise ImpastoError(f"{painter.name} cannot paint by strips: scale the photo down (--max-size), or take a model")
    inputs = [Path(path) for path in (photo, *(masks or ()))]
    target = Path(os.path.realpath(out))  # a link stays a link
    image = open_picture(inputs[0])
    kind = _check_target(out, target, image, inputs)
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
        plan = painter.plan(mix, controls, work.palette)
        work.paint(painter, plan)
        work.write(target, kind, quality, describe(inputs[0]), plan.recolors)
        done = True
    except (OSError, pyvips.Error) as error:
        raise ImpastoError(f"cannot write {out}: {tell_why(error, Path(out))}") from None
    finally:
        if done or not work.begun:  # what has cost time stays for the next run
            shutil.rmtree(folder, ignore_errors=True)
    return image.width, image.height


def _check_target(out: str | os.PathLike[str], target: Path, image: pyvips.Image, inputs: Sequence[Path]) -> str:
    """Finds the kind of file to write; raises `ImpastoError` where it cannot be written."""
    kind = KINDS.get(target.suffix[1:].lower())
    if kind is None:
        raise ImpastoError(f"cannot write {out}: huge pictures are written as .tif, .png or .jpg")
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
    """A picture that is painted from file to file, and its folder.

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
        self._octave = folder / "octave.npz"
        self._region_weights = region_weights

    @property
    def begun(self) -> bool:
        """Whether anything is there that has cost much time."""
        return self._octave.exists()

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

    @cached_property
    def seen(self) -> Source:
        """The picture in RGB, with colours continued to where they are hardly seen."""
        return self.photo if self.photo.bands == 3 else Filled.of(self.photo)

    @cached_property
    def _alpha(self) -> _Layer | None:
        """By how much each pixel of the picture counts; None where it is opaque."""
        opaque = self.photo.bands == 3 or all(strip[..., 3].min() == 255 for strip in self.photo.strips())
        return None if opaque else _Layer(self.photo, 3)

    @property
    def visible(self) -> Source:
        """Likewise, but only to where nothing at all is seen."""
        return self.seen.invisible() if isinstance(self.seen, Filled) else self.seen

    def palette(self) -> Palette:
        """Measures the colours of the picture."""
        return palette(self._with_alpha(self.seen[rows, slice(0, self.width)], rows) for rows in self.photo.rows())

    def _with_alpha(self, pixels: Pixels, rows: slice) -> Pixels:
        """Adds to some rows of pixels the alpha of the picture, where it has any."""
        return pixels if self.photo.bands == 3 else np.dstack([pixels, self.photo.part(rows, slice(None))[..., 3]])

    def _regions(self, rows: slice, columns: slice) -> np.ndarray | None:
        shared = self._share(rows, columns)
        return shared.weights if shared else None

    def _share(self, rows: slice, columns: slice) -> Regions | None:
        """Makes the regions of a part of the picture; None where there are no masks."""
        if not self._masks:
            return None
        masks = np.stack([mask.part(rows, columns)[..., 0] for mask in self._masks])
        return share_pixels(masks.astype(np.float32) / np.float32(255), self._region_weights)

    def paint(self, painter: GraphStylizer, plan: Plan) -> None:
        """Paints the octaves, if that is not done yet, and then what is left of the picture, strip after strip."""
        if not self.begun:
            self._save(*self._paint_octaves(painter, plan))
        kept = np.load(self._octave)
        maps = list(zip(kept["matrices"], kept["offsets"], strict=True))
        finest = Octave(Recolored(self.seen, maps, self._regions), Painted(kept["painting"], kept["photo"]))
        alpha = None if self._alpha is None else resize(self._alpha, kept["painting"].shape[:2])
        tint = plan.find_tint(self.palette, kept["painting"], alpha)
        people = self._find_people(plan.controls)
        photo, row, columns = self.visible, self.width * 3, slice(0, self.width)
        there = self._painted.path.stat().st_size // row if self._painted.path.exists() else 0
        step = max(1, STRIP // self.width)
        tops = range(there, self.height, step)
        with open(self._painted.path, "ab") as painted:
            painted.truncate(there * row)  # of a row that was cut off nothing counts
            for top in track(tops, "Painting strips", len(tops)):
                rows = slice(top, min(top + step, self.height))
                shared = self._share(rows, columns)
                found = None
                if people is not None:
                    found = resize_part(people, (self.height, self.width), rows, columns) / np.float32(255)
                coverage = plan.keep_people(shared and shared.coverage, found)
                part = finest.pixels(rows, columns)
                if tint is not None:
                    part = map_colors(part, *tint)
                painted.write(plan.finish_part(photo[rows, columns], part, coverage).data)
                painted.flush()

    def _paint_octaves(self, painter: GraphStylizer, plan: Plan) -> tuple[Painted, list[ColorMap]]:
        """Has the octaves painted, which are small."""
        sizes, masks = choose_sizes(self.photo.shape[:2], plan.controls.stroke_size), None
        if self._masks:
            layers = [np.stack([resize(_Layer(mask, 0), size) for mask in self._masks]) for size in sizes]
            masks = [
                share_pixels(layer.astype(np.float32) / np.float32(255), self._region_weights).weights
                for layer in layers
            ]
        alphas = None if self._alpha is None else [resize(self._alpha, size) for size in sizes]
        return painter.paint_octaves(shrink(self.seen, sizes), plan, masks, alphas=alphas)

    def _find_people(self, controls: Controls) -> Pixels | None:
        """Finds people in a small version of the picture: uint8 [h, w]; None where they are not to be kept."""
        if controls.keep is None:
            return None
        scale = min(1.0, LOOK_AT / max(self.height, self.width))
        small = resize(self.seen, (max(1, round(self.height * scale)), max(1, round(self.width * scale))))
        return np.rint(255 * find_people(small, controls.keep)).astype(np.uint8)

    def _save(self, painted: Painted, maps: list[ColorMap]) -> None:
        stream = io.BytesIO()
        matrices, offsets = (np.array([one[at] for one in maps]) for at in range(2))
        whole = slice(0, painted.photo.shape[0]), slice(0, painted.photo.shape[1])
        np.savez(stream, painting=painted.painting[whole], photo=painted.photo[whole], matrices=matrices,
                 offsets=offsets)  # fmt: skip
        write_file(self._octave, stream.getvalue())

    def write(self, target: Path, kind: str, quality: int, told: Told, recolors: bool) -> None:
        """Writes the file in one piece at the end; if it `recolors`, with the palette of the photo."""

        def painted(rows: slice) -> Pixels:
            return self._painted.part(rows, slice(None))

        colors = None
        if recolors:
            own = palette(self._with_alpha(painted(rows), rows) for rows in self._painted.rows())
            colors = color_map(own, self.palette())

        def strips() -> Iterator[Pixels]:
            for rows in self._painted.rows():
                strip = painted(rows) if colors is None else map_colors(painted(rows), *colors)
                yield self._with_alpha(strip, rows)

        options: dict[str, Any] = {"Q": quality, "subsample_mode": "off"} if kind == "jpeg" else {}
        if kind == "tiff":
            # The compressed size is not known beforehand, so what might not fit into 4 GB is a BigTIFF.
            big = self.height * self.width * self.photo.bands > 4e9
            options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": big}
        written = self._folder / "painted"
        shape = self.height, self.width, self.photo.bands
        write_strips(written, strips(), shape, kind, told.exif.block, told.upright_dpi, options)
        os.replace(written, target)


@dataclass(frozen=True)
class _Layer:
    """One band of a picture, a mask or alpha, as a :class:`impasto.octaves.Source` [H, W]."""

    picture: RawPicture
    band: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.picture.height, self.picture.width

    def __getitem__(self, part: tuple[slice, slice], /) -> Pixels:
        return self.picture[part][..., self.band]


def _identify(inputs: Sequence[Path], painter: GraphStylizer, mix: Mix, controls: Controls) -> dict[str, Any]:
    """Tells what is painted here, and how, from other runs."""
    return {
        "files": [_identify_file(path) for path in inputs],
        "painter": [painter.name, painter.fingerprint, painter.engine_name],
        "styles": [[style.digest(), weight] for style, weight in mix],
        "controls": [controls.strength, *controls.identify()],
    }


def _identify_file(path: Path) -> list[object]:
    """Tells a file from what it was before."""
    facts = path.stat()
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
