"""The manifest of a data set: one row for each painting, in ``manifest.parquet`` when a run is over.

Its text is that of :func:`impasto.files.escape_name`, for the names of files need not be any.
While a run goes on, its rows are in parts beside that file; what a killed run had noted is there for the next one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from impasto.errors import ImpastoError
from impasto.files import HIDDEN, escape_name, unescape_name
from impasto.place import Place

NAME = "manifest.parquet"
_PART = HIDDEN + "-rows-{:06}.parquet"
_EVERY = 5.0  # seconds between parts


@dataclass(frozen=True)
class ManifestRow:
    """One painting of a data set, or why there is none.

    Attributes:
        input: the picture's name in the source; of a tar shard, the shard's name, a slash, the member's.
        output: the painting's name in the output, likewise.
        style: name of the style.
        strength: 0..1.
        seed: of the draw.
        model: fingerprint.
        recipe: of all other settings and the style's numbers, see `Recipe.digest`.
        sha256: of the painting's bytes; empty if there is none.
        error: why there is none; else empty.
    """

    input: str
    output: str
    style: str
    strength: float
    seed: int
    model: str
    recipe: str
    sha256: str = ""
    error: str = ""

    def made_like(self, other: ManifestRow) -> bool:
        """Whether both say the same of how the painting is made."""
        names = [field.name for field in fields(self) if field.name not in ("sha256", "error")]
        return all(getattr(self, name) == getattr(other, name) for name in names)


class Manifest:
    """The rows of an output folder; :meth:`add` new ones, then :meth:`finish`.

    Args:
        place: the output folder.

    Attributes:
        finished: rows of the run that was last over, by output; empty if none was.
        known: those, and rows of runs that were stopped since then.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._rows: dict[str, ManifestRow] = {}
        self._fresh: list[ManifestRow] = []
        self._saved = time.monotonic()
        self._parts = 0
        self.known: dict[str, ManifestRow] = {}
        while (data := place.read_if_there(_PART.format(self._parts))) is not None:
            self._parts += 1
            self.known |= {row.output: row for row in _read_rows(data, "a part of the manifest")}
        data = place.read_if_there(NAME)
        self.finished = {} if data is None else {row.output: row for row in _read_rows(data, NAME)}
        self.known = self.finished | self.known

    def add(self, rows: Iterable[ManifestRow]) -> None:
        """Notes rows; now and then they are written."""
        for row in rows:
            self._rows[row.output] = row
            self._fresh.append(row)
        if time.monotonic() - self._saved > _EVERY:
            self.save()

    def save(self) -> None:
        """Writes what was noted since the last time."""
        if self._fresh or not self._parts:
            self._place.write(_PART.format(self._parts), _pack_parquet(self._fresh))
            self._parts += 1
            self._fresh = []
        self._saved = time.monotonic()

    def finish(self) -> list[ManifestRow]:
        """Writes the manifest, if it says anything new, and removes the parts; returns the rows, sorted by output."""
        rows = sorted(self._rows.values(), key=lambda row: row.output)
        if rows != list(self.finished.values()):
            self._place.write(NAME, _pack_parquet(rows))
        for part in range(self._parts):
            self._place.remove(_PART.format(part))
        return rows


def _read_rows(data: bytes, name: str) -> list[ManifestRow]:
    try:
        rows = pq.ParquetFile(io.BytesIO(data)).read().to_pylist()  # read_table would import half a second more
        return [ManifestRow(**_change_text(row, unescape_name)) for row in rows]
    except (pa.ArrowInvalid, TypeError, OSError) as error:
        raise ImpastoError(f"{name} in the output is not a manifest of impasto: {error}") from None


def _pack_parquet(rows: list[ManifestRow]) -> bytes:
    text, kinds = pa.string(), {"strength": pa.float64(), "seed": pa.int64()}
    schema = pa.schema([(field.name, kinds.get(field.name, text)) for field in fields(ManifestRow)])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_change_text(asdict(row), escape_name) for row in rows], schema), stream)
    return stream.getvalue()


def _change_text(row: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {name: change(value) if isinstance(value, str) else value for name, value in row.items()}
