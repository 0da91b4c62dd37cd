"""What was exported and how it compares."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.errors import ImpastoError
from impasto.export.formats import Run, Size
from impasto.graph import GraphStylizer
from impasto.style import Style

_PHOTO = Path(__file__).parents[1] / "app" / "web" / "astronaut.jpg"


@dataclass(frozen=True)
class Check:
    """How far a file's pictures are from those of the network in PyTorch, float32.

    Attributes:
        runtime: what ran the file.
        size: height and width of the test picture.
        worst, mean: the largest difference of a value, and the mean of all, in 255ths.
    """

    runtime: str
    size: Size
    worst: float
    mean: float

    def __str__(self) -> str:
        height, width = self.size
        return (
            f"{self.runtime} at {width}x{height}: at most {self.worst:.2f}/255 from PyTorch, {self.mean:.3f} on average"
        )


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what is known of it.

    Attributes:
        path: the file.
        kind: its format, in words.
        megabytes: its size, with all that belongs to it.
        inputs, outputs: name and shape of each.
        checks: by the format's own runtime.
        unchecked: why no runtime ran it, where none did.
    """

    path: Path
    kind: str
    megabytes: float
    inputs: dict[str, str]
    outputs: dict[str, str]
    checks: list[Check] = field(default_factory=list)
    unchecked: str | None = None

    def __str__(self) -> str:
        ports = (
            " and ".join(f"{name} {shape}" for name, shape in port.items()) for port in (self.inputs, self.outputs)
        )
        known = [*map(str, self.checks), *([f"not run: {self.unchecked}"] if self.unchecked else [])]
        title = f"{self.path}: {self.kind}, {self.megabytes:.1f} MB"
        return "\n  ".join([title, "{} -> {}".format(*ports), *known])

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


def describe_built_in(style: Style | None, strength: float) -> str:
    """Says what is built in, after a format's name."""
    return (f"; style {style.name}" if style else "") + (f"; strength {strength:g}" if strength < 1 else "")


def compare(
    runtime: tuple[str, Run],
    arguments: Sequence[Tensor],
    expected: np.ndarray,
    size: Size,
    limit: float,
    unit: float = 255,
) -> Check:
    """Runs a file and compares what it paints with what is expected, times `unit`; refuses more than `limit` 255ths."""
    name, run = runtime
    difference = unit * np.abs(run([argument.numpy() for argument in arguments]) - expected)
    check = Check(name, size, float(difference.max()), float(difference.mean()))
    if not check.worst <= limit:  # nor what is not a number
        raise ImpastoError(f"nothing written: {check}; {limit:g}/255 are let pass")
    return check


def pick_style(stylizer: GraphStylizer) -> Tensor:
    """Picks a style of the model to try it with, [1, S]."""
    style = next(iter(stylizer.gallery.values()), None) or stylizer.take(255 - read_photo((256, 256)), "negative")
    return torch.from_numpy(style.tensor)[None]


def read_photo(size: Size) -> np.ndarray:
    """Reads the test photo at that height and width, uint8 [H, W, 3]."""
    with Image.open(_PHOTO) as photo:
        return np.asarray(photo.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS))


@contextlib.contextmanager
def silence_warnings() -> Iterator[None]:
    """Hides what the converters warn of: sizes that become plain numbers on purpose, operators to come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def count_megabytes(folder: Path) -> float:
    """Adds up what the files in a folder take, in megabytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
