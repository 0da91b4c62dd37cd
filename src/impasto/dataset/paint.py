"""Paints the pictures and tar shards of a data set, one at a time: what every worker does."""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from impasto.controls import Mix
from impasto.dataset.manifest import ManifestRow
from impasto.dataset.recipe import QUALITY, Recipe
from impasto.errors import ImpastoError
from impasto.image import Picture, center_square, read_image, resize_short_side, write_image
from impasto.place import PICTURES, Place, list_tar_members
from impasto.style import Style
from impasto.stylizer import Stylizer

_EPOCH = 0  # of the members of a shard that is written: the time of day must not change its bytes


@dataclass(frozen=True)
class SourcePainter:
    """Paints what a source holds into an output folder.

    Attributes:
        stylizer: the model.
        source, out: where pictures come from and paintings go.
        styles: to draw from.
        recipe: how.
    """

    stylizer: Stylizer
    source: Place
    out: Place
    styles: Sequence[Style]
    recipe: Recipe

    def paint(self, name: str, known: Mapping[str, ManifestRow]) -> list[ManifestRow]:
        """Paints a picture, or the pictures of a tar shard, and writes the result.

        What is there already, made the same way and with the bytes that its row says, stays.

        Args:
            name: in the source.
            known: rows of paintings that were made before, by output.

        Returns:
            a row for each painting; where a picture cannot be read, or its format not hold the painting, it says why.

        Raises:
            ImpastoError: the result cannot be written.
            OSError: the source cannot be read.
        """
        return self._paint_shard(name, known) if name.lower().endswith(".tar") else self._paint_picture(name, known)

    def _paint_picture(self, name: str, known: Mapping[str, ManifestRow]) -> list[ManifestRow]:
        stem, ending = posixpath.splitext(name)
        drawn = self._draw_rows(name, [f"{stem}{mark}{ending}" for mark in self.recipe.marks])
        there = [self._find_kept(row, known, self.out.read_if_there) for row, _ in drawn]
        if all(there):
            return [row for row in there if row]
        try:
            picture = self._frame_picture(self.source.read(name))
        except ImpastoError as error:
            return [replace(row, error=str(error)) for row, _ in drawn]
        done = []
        for (row, style), kept in zip(drawn, there, strict=True):
            done.append(kept or self._paint_and_write(picture, style, row))
        return done

    def _paint_and_write(self, picture: Picture, style: Style, row: ManifestRow) -> ManifestRow:
        """Paints and writes a picture; its row, which says why if its format cannot hold the painting."""
        try:
            data = self._paint_bytes(picture, style, row)
        except ImpastoError as error:
            return replace(row, error=str(error))
        self.out.write(row.output, data)
        return replace(row, sha256=_sha256(data))

    def _paint_shard(self, name: str, known: Mapping[str, ManifestRow]) -> list[ManifestRow]:
        """Paints a WebDataset shard, whose samples are files alike in name up to the first dot; all else is copied.

        Of a sample whose picture cannot be read nothing is written.
        """
        samples: dict[str, dict[str, bytes]] = {}
        try:
            for member, data in _read_members(self.source.read(name)).items():
                key, ending = split_sample_name(member)
                samples.setdefault(key, {})[ending] = data
        except ImpastoError as error:
            broken = f"the shard cannot be read: {error}"
            return [ManifestRow(name, name, "", 0.0, self.recipe.seed, self.stylizer.fingerprint, "", error=broken)]
        try:
            present = _read_members(self.out.read_if_there(name) or b"")
        except ImpastoError:  # not there, or damaged
            present = {}
        members: list[tuple[str, bytes]] = []
        done: list[ManifestRow] = []
        for key, files in samples.items():
            sheets: list[dict[str, bytes]] = [{} for _ in self.recipe.marks]
            found: list[ManifestRow] = []
            for ending, data in files.items():
                if ending.rpartition(".")[2].lower() not in PICTURES:
                    for sheet in sheets:
                        sheet[ending] = data
                    continue
                entry = f"{name}/{key}{ending}"
                drawn = self._draw_rows(entry, [f"{name}/{key}{mark}{ending}" for mark in self.recipe.marks])
                try:
                    picture = None
                    for number, (row, style) in enumerate(drawn):
                        kept = self._find_kept(row, known, lambda output: present.get(output[len(name) + 1 :]))
                        if kept is None:
                            picture = picture or self._frame_picture(data)
                            painting = self._paint_bytes(picture, style, row)
                            kept = replace(row, sha256=_sha256(painting))
                        else:
                            painting = present[row.output[len(name) + 1 :]]
                        sheets[number][ending] = painting
                        found.append(kept)
                except ImpastoError as error:
                    found += [replace(row, error=str(error)) for row, _ in drawn]
            done += found
            if not any(row.error for row in found):
                for mark, sheet in zip(self.recipe.marks, sheets, strict=True):
                    members += [(f"{key}{mark}{ending}", data) for ending, data in sheet.items()]
        if members != list(present.items()):
            self.out.write(name, _pack_tar(members))
        return done

    def _draw_rows(self, entry: str, outputs: Sequence[str]) -> list[tuple[ManifestRow, Style]]:
        """Draws what is to be made of a picture: for each output its row so far, and its style."""
        made = []
        for output, (number, strength) in zip(outputs, self.recipe.draw(entry, len(self.styles)), strict=True):
            style = self.styles[number]
            recipe = self.recipe.digest(style.tensor.tobytes())
            row = ManifestRow(entry, output, style.name, strength, self.recipe.seed, self.stylizer.fingerprint, recipe)
            made.append((row, style))
        return made

    @staticmethod
    def _find_kept(
        row: ManifestRow, known: Mapping[str, ManifestRow], read: Callable[[str], bytes | None]
    ) -> ManifestRow | None:
        """Finds the row of a painting that is there as it should be."""
        before = known.get(row.output)
        if before is None or not before.sha256 or not before.made_like(row):
            return None
        data = read(row.output)
        return before if data is not None and _sha256(data) == before.sha256 else None

    def _frame_picture(self, data: bytes) -> Picture:
        """Reads a picture and brings it to the size that it is painted at."""
        picture = read_image(data)
        recipe = self.recipe
        if recipe.size is not None:
            picture = picture.change(lambda pixels: resize_short_side(pixels, recipe.size or 0))
        if recipe.crop is not None:
            if min(picture.pixels.shape[:2]) < recipe.crop:
                raise ImpastoError(f"the picture is smaller than the crop of {recipe.crop}: give --size")
            picture = picture.change(lambda pixels: center_square(pixels, recipe.crop or 0))
        return picture

    def _paint_bytes(self, picture: Picture, style: Style, row: ManifestRow) -> bytes:
        painted = self.stylizer.stylize_picture(picture, Mix([style]), self.recipe.controls(row.strength))
        stream = io.BytesIO()
        write_image(stream, painted, format=posixpath.splitext(row.output)[1], quality=QUALITY)
        return stream.getvalue()


def split_sample_name(name: str) -> tuple[str, str]:
    """Splits the name of a WebDataset member into its key, up to the first dot of the file name, and the rest."""
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{ending}"


def _read_members(data: bytes) -> dict[str, bytes]:
    """Reads the files of a shard, by name."""
    return {name: data[start:end] for name, start, end in list_tar_members(io.BytesIO(data))}


def _pack_tar(members: Sequence[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:  # which knows names of any length
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), _EPOCH
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
