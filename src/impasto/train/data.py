"""Training pictures: folders or tar shards in, wherever they lie, random crops out.

Pictures are decoded once and kept as uint8, on the training device when they fit there, so that the loop never waits
for a disk or a decoder. A set too large for that stays encoded where it is and is decoded ahead by worker threads.
Every crop is drawn from a generator seeded by (seed, process, number of the batch): a resumed run sees the pictures
that an undisturbed one would have seen, and the same seed gives the same run.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from impasto.alpha import fill
from impasto.checks import require_at_least
from impasto.errors import ImpastoError, UnreadableError
from impasto.image import read_image, resize_short_side
from impasto.place import Sources, StoredPicture, find_pictures
from impasto.progress import track

_MEMORY = 8e9  # bytes taken to be free where the system does not tell
_READERS = min(8, os.cpu_count() or 1)  # threads


def manifest(entries: Sequence[StoredPicture], label: str = "pictures") -> str:
    """Takes the fingerprint of a picture set: sha256 over names and contents of all its files; of one that cannot be
    read, over its name."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(_READERS) as pool:  # a place far away answers many at once
        contents = pool.map(_hash, entries)
        for entry, content in zip(entries, track(contents, f"Hashing {label}", len(entries)), strict=True):
            digest.update(entry.name.encode(errors="surrogateescape") + b"\0" + content)
    return digest.hexdigest()


def _hash(entry: StoredPicture) -> bytes:
    try:
        return hashlib.sha256(entry.read()).digest()
    except UnreadableError:
        return b""


def decode(entry: StoredPicture, short_side: int) -> Tensor:
    """Decodes a picture to uint8 [3, H, W], scaled down (never up) so that its short side is `short_side`."""
    pixels = fill(read_image(_draft(entry.read(), short_side)))
    return torch.from_numpy(resize_short_side(pixels, min(short_side, *pixels.shape[:2]))).permute(2, 0, 1)


def _draft(data: bytes, short_side: int) -> Image.Image | bytes:
    """A JPEG that will be decoded at a fraction of its size, where that is enough; any other file as it is."""
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
        image.draft(None, (short_side, short_side))
    except Exception:  # no JPEG, or a damaged one: reading it will tell
        return data
    return image


class Pictures:
    """A set of training pictures, from which :meth:`crops` draws batches.

    Args:
        sources: folders and tar shards.
        short_side: the size pictures are kept at.
        device: where crops are made, and where the pictures live if they fit.
        memory: bytes that decoded pictures may take; a larger set is decoded as it is drawn.
    """

    def __init__(
        self,
        sources: Sources,
        short_side: int = 512,
        device: torch.device | str = "cpu",
        memory: float | None = None,
        label: str = "pictures",
    ) -> None:
        require_at_least(1, short_side=short_side)
        self.entries = find_pictures(sources)
        self.device = torch.device(device)
        self.short_side = short_side
        self.broken: set[str] = set()
        #: How often each picture is drawn, relative to the others; None: all alike.
        self.weights: Tensor | None = None
        self._pool = ThreadPoolExecutor(_READERS)
        budget = _memory_budget(self.device) if memory is None else memory
        self.resident = len(self.entries) * 3 * 1.4 * short_side**2 < budget
        self._decoded: list[Tensor] = []
        if self.resident:
            decoded = track(self._pool.map(self._try_decode, self.entries), f"Decoding {label}", len(self.entries))
            self._decoded = [picture.to(self.device) for picture in decoded if picture is not None]
            if not self._decoded:
                raise ImpastoError(
                    f"none of the {len(self.entries)} {label} is readable, {self.entries[0].name} to begin with"
                )

    def __len__(self) -> int:
        return len(self._decoded) if self.resident else len(self.entries)

    def _indices(self, count: int, generator: torch.Generator) -> list[int]:
        if self.weights is None:
            drawn = torch.randint(len(self), (count,), generator=generator)
        else:
            drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return drawn.tolist()

    def squares(self, size: int, every: int = 1) -> Iterator[Tensor | None]:
        """The centre square [1, 3, size, size] in 0..1 of every so-manieth picture; None for broken ones."""
        for index in range(0, len(self), every):
            picture = self._decoded[index] if self.resident else self._try_decode(self.entries[index])
            if picture is None:
                yield None
                continue
            picture = picture.to(self.device)
            height, width = picture.shape[1:]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = picture[None, :, top : top + side, left : left + side].float() / 255
            square = F.interpolate(square, (size, size), mode="bilinear", antialias=True, align_corners=False)
            yield square.to(memory_format=torch.channels_last)

    def _try_decode(self, entry: StoredPicture) -> Tensor | None:
        try:
            return decode(entry, self.short_side)
        except ImpastoError:
            self.broken.add(entry.name)
            return None

    def _draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        if self.resident:
            return [self._decoded[i] for i in self._indices(count, generator)]
        pictures: list[Tensor] = []
        while len(pictures) < count:
            if len(self.broken) == len(self.entries):
                raise ImpastoError(f"none of the {len(self.entries)} training files is a readable picture")
            wanted = [self.entries[i] for i in self._indices(count - len(pictures), generator)]
            decoded = self._pool.map(self._try_decode, wanted)
            pictures += [picture.to(self.device) for picture in decoded if picture is not None]
        return pictures

    def crops(self, count: int, size: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
        """A batch [count, 3, size, size] in 0..1 of randomly resized and flipped crops.

        Args:
            scale: range of the crop's side as a fraction of the picture's short side; it is then scaled to `size`.
        """
        batch = []
        for picture in self._draw(count, generator):
            height, width = picture.shape[1:]
            low, high = (min(height, width) * s for s in scale)
            u, v, w, flip = torch.rand(4, generator=generator).tolist()
            side = max(1, round(low + (high - low) * u))
            top, left = int(v * (height - side + 1)), int(w * (width - side + 1))
            crop = picture[None, :, top : top + side, left : left + side].float() / 255
            crop = F.interpolate(crop, (size, size), mode="bilinear", antialias=True, align_corners=False)
            batch.append(crop.flip(3) if flip < 0.5 else crop)
        return torch.cat(batch).clamp(0, 1).to(memory_format=torch.channels_last)


def batches(
    content: Pictures,
    style: Pictures | None,
    size: int,
    scale: tuple[float, float],
    count: int,
    seed: int,
    process: int,
    start: int,
    alter: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Generator[tuple[Tensor, Tensor, torch.Generator], None, None]:
    """Endless (content, style) crops from batch `start` on; the next batch is made while the last one is trained on.

    With them comes the generator that they were drawn from, for what else is drawn in that step. Without style pictures
    the content crops stand in their place.

    Args:
        alter: what is done to the style crops, see :mod:`impasto.train.augment`.
    """

    def make(step: int) -> tuple[Tensor, Tensor, torch.Generator]:
        generator = torch.Generator().manual_seed((seed * 1009 + process) * 100_000_007 + step)
        photos = content.crops(count, size, scale, generator)
        if style is None:
            return photos, photos, generator
        paintings = style.crops(count, size, scale, generator)
        return photos, paintings if alter is None else alter(paintings, generator), generator

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, start)
        step = start
        while True:
            batch, step = ahead.result(), step + 1
            ahead = pool.submit(make, step)
            yield batch


def _memory_budget(device: torch.device) -> float:
    """Half of what is free where the pictures would live."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    try:  # what Linux would give, the files that it keeps in memory included
        available = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        available = None
    return (1024 * int(available[1]) if available else _MEMORY) / 2
