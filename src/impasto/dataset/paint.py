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
from impasto.errors import ImpastoError, UnreadableError, UnusableNameError
from impasto.image import Picture, center_square, read_image, resize_short_side, write_image
from impasto.place import Place, find_photos, is_shard, list_tar_members, split_sample_name
from impasto.style import Style
from impasto.stylizer import Stylizer

_EPOCH = 0  # of the members of a shard that is written: the time of day must not change its bytes


@dataclass(frozen=True)
class SourcePainter:
    """Paints what a source holds into an output folder.

    Attributes:
        open_model: opens the model, or gives what is open: what is painted already needs none.
        source, out: where pictures come from and paintings go.
        styles: to draw from.
        recipe: how.
    """

    open_model: Callable[[], Stylizer]
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
            a row for each painting; where a picture cannot be read, its format not hold the painting, or no file have
            its name, it says why.

        Raises:
            ImpastoError: the result cannot be written, for a reason that holds for any other: a full disk, say.
        """
        return self._paint_shard(name, known) if is_shard(name) else self._paint_picture(name, known)

    def _paint_picture(self, name: str, known: Mapping[str, ManifestRow]) -> list[ManifestRow]:
        stem, ending = posixpath.splitext(name)
        drawn = self._draw_rows(name, [f"{stem}{mark}{ending}" for mark in self.recipe.marks])
        there = [self._find_kept(row, known, self.out.read_if_there) for row, _ in drawn]
        if all(there):
            return [row for row in there if row]
        self.open_model()  # out of the try, for that it cannot be opened is no picture's fault
        try:
            picture = self._frame_picture(self.source.read(name))
        except ImpastoError as error:
            return [replace(row, error=str(error)) for row, _ in drawn]
        done = []
        for (row, style), kept in zip(drawn, there, strict=True):
            done.append(kept or self._paint_and_write(picture, style, row))
        return done

    def _paint_and_write(self, picture: Picture, style: Style, row: ManifestRow) -> ManifestRow:
        """Paints and writes a picture; its row, which says why if its format or the place cannot hold the painting."""
        try:
            data = self._paint_bytes(picture, style, row)
        except ImpastoError as error:
            return replace(row, error=str(error))
        try:
            self.out.write(row.output, data)
        except UnusableNameError as error:
            return replace(row, error=str(error))
        return replace(row, sha256=_sha256(data))

    def _paint_shard(self, name: str, known: Mapping[str, ManifestRow]) -> list[ManifestRow]:
        """Paints the photos of a WebDataset shard, whose samples are files of one key; all else is copied.

        Of a sample with a photo that cannot be read nothing is written.
        """
        self.open_model()
        try:
            contents = _read_members(self.source.read(name))
        except ImpastoError as error:
            why = str(error) if isinstance(error, UnreadableError) else f"the shard cannot be read: {error}"
            return [ManifestRow(name, name, "", 0.0, self.recipe.seed, self.styles[0].model, "", error=why)]
        try:
            present = _read_members(self.out.read_if_there(name) or b"")
        except ImpastoError:  # not there, or damaged
            present = {}
        there = {f"{name}/{member}": data for member, data in present.items()}
        samples: dict[str, list[str]] = {}
        for member in contents:
            samples.setdefault(split_sample_name(member)[0], []).append(member)
        photos = set(find_photos(contents, self.recipe.members))
        members: list[tuple[str, bytes]] = []
        done: list[ManifestRow] = []
        for key, names in samples.items():
            sheets: list[dict[str, bytes]] = [{} for _ in self.recipe.marks]
            found: list[ManifestRow] = []
            for member in names:
                outputs = [f"{key}{mark}{member[len(key) :]}" for mark in self.recipe.marks]
                paintings = [contents[member]] * len(outputs)
                if member in photos:
                    drawn = self._draw_rows(f"{name}/{member}", [f"{name}/{output}" for output in outputs])
                    try:
                        made = self._paint_member(contents[member], drawn, known, there)
                    except ImpastoError as error:
                        found += [replace(row, error=str(error)) for row, _ in drawn]
                        continue
                    found += [row for row, _ in made]
                    paintings = [painting for _, painting in made]
                for sheet, output, data in zip(sheets, outputs, paintings, strict=True):
                    sheet[output] = data
            if broken := next((row for row in found if row.error), None):
                without = f"{broken.input}, of the same sample, could not be painted"
                found = [row if row.error else replace(row, sha256="", error=without) for row in found]
            else:
                members += [member for sheet in sheets for member in sheet.items()]
            done += found
        if members != list(present.items()):
            try:
                self.out.write(name, _pack_tar(members))
            except UnusableNameError as error:
                return [row if row.error else replace(row, sha256="", error=str(error)) for row in done]
        return done

    def _paint_member(
        self,
        data: bytes,
        drawn: Sequence[tuple[ManifestRow, Style]],
        known: Mapping[str, ManifestRow],
        there: Mapping[str, bytes],
    ) -> list[tuple[ManifestRow, bytes]]:
        """Paints a photo of a shard: its rows, with the paintings. One in `there`, by output, that is right stays.

        Raises:
            ImpastoError: it cannot be read, or its format not hold the painting.
        """
        picture: Picture | None = None
        made = []
        for row, style in drawn:
            kept = self._find_kept(row, known, there.get)
            if kept is not None:
                made.append((kept, there[row.output]))
                continue
            picture = picture or self._frame_picture(data)
            painting = self._paint_bytes(picture, style, row)
            made.append((replace(row, sha256=_sha256(painting)), painting))
        return made

    def _draw_rows(self, entry: str, outputs: Sequence[str]) -> list[tuple[ManifestRow, Style]]:
        """Draws what is to be made of a picture: for each output its row so far, and its style."""
        made = []
        for output, (number, strength) in zip(outputs, self.recipe.draw(entry, len(self.styles)), strict=True):
            style = self.styles[number]
            recipe = self.recipe.digest(style.digest())
            row = ManifestRow(entry, output, style.name, strength, self.recipe.seed, style.model, recipe)
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
        if recipe.short_side is not None:
            picture = picture.change(lambda pixels: resize_short_side(pixels, recipe.short_side or 0))
        if recipe.crop is not None:
            if min(picture.pixels.shape[:2]) < recipe.crop:
                raise ImpastoError(f"the picture is smaller than the crop of {recipe.crop}: give --short-side")
            picture = picture.change(lambda pixels: center_square(pixels, recipe.crop or 0))
        return picture

    def _paint_bytes(self, picture: Picture, style: Style, row: ManifestRow) -> bytes:
        painted = self.open_model().stylize_picture(picture, Mix([style]), self.recipe.controls(row.strength))
        stream = io.BytesIO()
        write_image(stream, painted, format=posixpath.splitext(row.output)[1], quality=QUALITY)
        return stream.getvalue()


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
