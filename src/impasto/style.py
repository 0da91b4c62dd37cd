"""A style: a small vector of feature statistics, taken once from any picture."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from impasto.checks import is_number, plain
from impasto.color import Palette
from impasto.errors import ImpastoError
from impasto.files import write_file
from impasto.tensors import read_tensors, to_finite

_WEIGHTS = Path(__file__).parent / "weights"
#: Added to the variance of features under the root, as in the AdaIN paper's code: a style's deviations hold it.
EPS = 1e-5


@dataclass(frozen=True, eq=False)
class Style:
    """The style of one picture, as one model sees it.

    Attributes:
        name: what to call it.
        tensor: float32 [S]: for each adaptive layer of the model, its channel means and then standard deviations; or
            what else a model's styles are made of. Empty for a method, whose style is the picture itself.
        model: fingerprint of the model that it belongs to; another model cannot read it.
        picture: uint8 [H, W, 3], what is seen of the picture it was taken from, where that is known (colour matching
            recolours it).
        palette: the colours of that picture, towards which those of a photo are moved; None where they are not known.
        alpha: uint8 [H, W], by how much each pixel of that picture counts; None where it is opaque.
    """

    name: str
    tensor: np.ndarray
    model: str
    picture: np.ndarray | None = field(default=None, repr=False)
    palette: Palette | None = field(default=None, repr=False)
    alpha: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            to_finite(self.tensor, "its tensor")
            if self.tensor.ndim != 1:
                raise ValueError(f"its tensor has the shape {list(self.tensor.shape)}, not one side")
            if self.palette is not None:
                check_palette(self.palette)
        except ValueError as error:
            raise ImpastoError(f"the style {self.name} is damaged: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a ``.style`` file: the tensor with its palette, name and model (safetensors), without the picture.

        >>> Style("calm", np.zeros(2, np.float32), "model").save("calm.style")
        >>> Style.load("calm.style").name
        'calm'
        """
        if not self.tensor.size:
            raise ImpastoError(f"a style of {self.model} is the picture itself: keep that instead of a .style file")
        name = self.name.encode("utf-8", "replace").decode()  # that of a file need not be text
        tensors = {"style": np.ascontiguousarray(self.tensor)}
        if self.palette is not None:
            tensors["palette"] = pack_palette(self.palette)
        write_file(path, save(tensors, {"name": name, "model": self.model}))

    def digest(self) -> str:
        """Tells this style from others that paint otherwise: sha256, in hex digits, of tensor, picture and palette."""
        digest = hashlib.sha256()
        for part in (self.tensor, self.picture, None if self.palette is None else pack_palette(self.palette)):
            digest.update(b"none" if part is None else f"{part.dtype}{part.shape}".encode() + part.tobytes())
        return digest.hexdigest()

    @staticmethod
    def load(path: str | os.PathLike[str], *, name: str | None = None) -> Style:
        """Reads a ``.style`` file, which errors call `name`, or else by its path."""
        try:
            arrays, meta = read_tensors(path, ("style", "palette"))
            palette = unpack_palette(arrays["palette"]) if "palette" in arrays else None
            return Style(meta["name"], arrays["style"], meta["model"], palette=palette)
        except FileNotFoundError as error:
            raise ImpastoError(f"no such file: {name or path}") from error
        except (OSError, KeyError, ValueError, ImpastoError) as error:
            said = f"{name or path} is not a style file: make one with `impasto style PICTURE -o FILE`"
            raise ImpastoError(said) from error


def pack_palette(palette: Palette) -> np.ndarray:
    """Makes the twelve numbers of a palette, as files hold it: float32 [4, 3], the mean over the covariance."""
    return np.vstack(palette).astype(np.float32)


def unpack_palette(packed: np.ndarray) -> Palette:
    """Reads what :func:`pack_palette` makes; raises ValueError for another shape."""
    if packed.shape != (4, 3):
        raise ValueError("no palette")
    return Palette(packed[0].astype(np.float64), packed[1:].astype(np.float64))


def check_palette(palette: Palette) -> None:
    """Raises ValueError for what cannot be the mean and covariance of RGB values 0..255."""
    mean, covariance = (to_finite(np.asarray(part), "its palette") for part in palette)
    if mean.shape != (3,) or covariance.shape != (3, 3):
        raise ValueError("its palette is not the mean and covariance of three colours")
    slack = 1.0  # of rounding, and of mixes
    if mean.min() < -slack or mean.max() > 255 + slack or np.abs(covariance).max() > 255**2 / 4 + slack:
        raise ValueError("its palette is not of values from 0 to 255")
    if np.abs(covariance - covariance.T).max() > slack or np.linalg.eigvalsh(covariance).min() < -slack:
        raise ValueError("the second part of its palette is not a covariance")


def check_weights(styles: Iterable[tuple[Style, float]]) -> np.ndarray:
    """Gives the weights of styles of one model, float64 [K]; raises `ImpastoError` for what cannot be mixed."""
    pairs = list(styles)
    given = [plain(weight) for _, weight in pairs]
    if not given:
        raise ImpastoError("no style given")
    if not all(map(is_number, given)):
        raise ImpastoError(f"style weights must be numbers of 0 or more, not {', '.join(map(str, given))}")
    weights = np.array(given, np.float64)
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or weights.min() < 0:
        raise ImpastoError(f"style weights must be numbers of 0 or more, not {', '.join(f'{w:g}' for w in weights)}")
    if total == 0:
        raise ImpastoError("the style weights sum to 0: give at least one style a weight above 0")
    if len({style.model for style, _ in pairs}) > 1:
        raise ImpastoError("styles of different models cannot be mixed: take all of them with one model")
    return weights


def blend(styles: Mapping[Style, float] | Iterable[tuple[Style, float]]) -> Style:
    """Takes the weighted mean of styles of one model (section 6 of the AdaIN paper).

    It is exact: the picture is the one that mixed feature maps give, since AdaIN is affine in the style.

    Args:
        styles: weights by style, or pairs of a style and its weight: non-negative, in any proportion; they are scaled
            to sum to 1.

    Raises:
        ImpastoError: there is no style, the weights are not such numbers, or the styles are of different models.

    >>> import numpy as np
    >>> calm, wild = Style("calm", np.zeros(2), "model"), Style("wild", np.ones(2), "model")
    >>> blend({calm: 1, wild: 3}).tensor.tolist()
    [0.75, 0.75]
    """
    pairs = list(styles.items() if isinstance(styles, Mapping) else styles)
    weights = check_weights(pairs)
    weights /= weights.sum()
    tensor = np.tensordot(weights, np.stack([style.tensor for style, _ in pairs]), 1).astype(np.float32)
    palettes = [style.palette for style, _ in pairs if style.palette is not None]
    palette = None
    if len(palettes) == len(pairs):
        mean, covariance = (np.tensordot(weights, np.stack(parts), 1) for parts in zip(*palettes, strict=True))
        palette = Palette(mean, covariance)
    return Style("+".join(style.name for style, _ in pairs), tensor, pairs[0][0].model, palette=palette)


@dataclass(frozen=True)
class Painting:
    """A painting whose style ships with impasto; `palette` as :func:`pack_palette` makes it."""

    name: str
    title: str
    artist: str
    year: str
    palette: list[list[float]] = field(repr=False)

    def describe(self) -> dict[str, str]:
        """Says in words what it is."""
        return {"name": self.name, "title": self.title, "artist": self.artist, "year": self.year}


@cache
def gallery() -> dict[str, Painting]:
    """The paintings whose styles ship, by name."""
    rows = json.loads((_WEIGHTS / "gallery.json").read_text("utf-8"))
    return {row["name"]: Painting(**row) for row in rows}


def _find_palette(name: str) -> Palette | None:
    """The colours of a painting that ships; None for a style that a model was trained on."""
    return unpack_palette(np.array(gallery()[name].palette)) if name in gallery() else None


def read_gallery(path: Path, model: str, size: int, names: Iterable[str]) -> dict[str, Style]:
    """Reads the named style vectors [size] that come with a model (``gallery.safetensors`` in its folder), in order.

    A model that was exported before a painting was added knows the others.
    """
    if not path.exists():
        return {}
    try:
        arrays = read_tensors(path, wanted := list(names)).arrays
        if wrong := [name for name, array in arrays.items() if array.shape != (size,)]:
            raise ValueError(f"its style {wrong[0]} is not of {size} numbers")
    except (OSError, ValueError) as error:
        raise ImpastoError(f"{path}: {error}; export the model again, or install impasto again") from error
    return {name: Style(name, arrays[name], model, palette=_find_palette(name)) for name in wanted if name in arrays}
