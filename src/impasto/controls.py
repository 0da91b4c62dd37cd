"""How a photo is painted (`Controls`), and in which styles (`Mix`): built once, checked once, passed on.

Whoever faces a person (command line, HTTP, page, video, camera, data set) builds these two from what it was given, in
text or in numbers, and :class:`impasto.stylizer.Stylizer` does what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from impasto.checks import SMALLEST, is_number, is_whole, make_plain, plain
from impasto.color import Palette, palette_of
from impasto.errors import ImpastoError
from impasto.image import ImageSource, read_image
from impasto.people import People
from impasto.style import Style, blend, check_weights, pack_palette

KeepColor = Literal["match", "luminance"]
#: Whose colours: those of the painting, those of the photo, or those of another picture.
PaletteSource = Literal["painting", "photo"] | Palette | ImageSource

#: Short side in pixels that style pictures are scaled to before their style is taken.
STYLE_SIZE = 512
#: The smallest and the largest size of strokes.
STROKE_SIZES = (0.25, 4.0)
_LARGEST_STYLE = 4096
_FLOOR = 1e-6  # share of the style of weight 0: where only its own mask is there would be no style


@dataclass(frozen=True)
class Controls:
    """How a photo is painted.

    Attributes:
        strength: 0 gives the photo back to the pixel, 1 the full style (section 6 of the AdaIN paper).
        keep_color: "match" recolours the style pictures to the photo's mean and covariance (Gatys et al. 2016; styles
            known only as vectors, and the frames of a clip, have the result recoloured instead); "luminance" keeps the
            photo's chroma; None takes the painting's colours.
        palette: where the colours of the photo are moved to before it is painted: half the way to those of the
            "painting"; "photo" leaves them where they are; and those of any other picture are taken in place of the
            painting's: the photo's are moved to them, and the style pictures recoloured (where styles are known only as
            vectors, and in the frames of a clip, what is painted is). A picture is read here, and becomes its
            :class:`impasto.color.Palette`. It does not go with `keep_color`.
        keep: "person" or "face": paint people, or their faces, less than the rest, see :mod:`impasto.people`.
        keep_share: how much of the photo remains there, 0..1.
        stroke_size: how large strokes are in proportion to the picture, whatever the style: 1 as usual, 2 twice as
            large, 0.5 half as large, see :mod:`impasto.octaves`.
        style_size: pixels that the short side of a style's picture is scaled to (down or up) before its style is taken:
            other features of the painting count then. Styles that are vectors already stay as they are.
        plain: paint as the system's paper does: its network runs once over the photo at its own size, and strength
            counts between features alone (eq. 14 of the AdaIN paper). Otherwise the photo's colours come half of the
            way to the painting's beforehand, large photos are painted coarse to fine, and at small strengths a share of
            the photo itself shows, so that 0 is exactly the photo.

    Raises:
        ImpastoError: a value is out of its range, or strokes have a size and are to be plain.

    >>> Controls(strength=0.5).strength
    0.5
    >>> Controls(strength=2)
    Traceback (most recent call last):
    impasto.errors.ImpastoError: strength must be a number from 0 to 1, not 2
    """

    strength: float = 1.0
    keep_color: KeepColor | None = None
    stroke_size: float = 1.0
    style_size: int = STYLE_SIZE
    palette: PaletteSource = "painting"
    keep: People | None = None
    keep_share: float = 1.0
    plain: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "palette", _read_palette(self.palette))
        make_plain(self)
        if not is_number(self.strength) or not 0 <= self.strength <= 1:
            raise ImpastoError(f"strength must be a number from 0 to 1, not {self.strength}")
        if self.keep_color not in (None, *get_args(KeepColor)):
            raise ImpastoError(f"keep_color must be match or luminance, not {self.keep_color}")
        if self.keep_color is not None and self.palette != "painting":
            raise ImpastoError("keep_color keeps the photo's colours, whatever the palette: leave one of them out")
        if self.keep not in (None, *get_args(People)):
            raise ImpastoError(f"keep must be person or face, not {self.keep}")
        if not is_number(self.keep_share) or not 0 <= self.keep_share <= 1:
            raise ImpastoError(f"keep_share must be a number from 0 to 1, not {self.keep_share}")
        low, high = STROKE_SIZES
        if not is_number(self.stroke_size) or not low <= self.stroke_size <= high:
            raise ImpastoError(f"stroke size must be a number from {low:g} to {high:g}, not {self.stroke_size}")
        if not isinstance(self.plain, bool):
            raise ImpastoError(f"plain must be true or false, not {self.plain}")
        if self.plain and self.stroke_size != 1:
            raise ImpastoError("plain paints strokes as large as the network makes them: leave out the stroke size")
        check_style_size(self.style_size)

    def identify(self) -> list[Any]:
        """Tells these controls from others, but for their strength and what the styles show; ready for `json.dumps`."""
        palette = pack_palette(self.palette).tolist() if isinstance(self.palette, Palette) else self.palette
        return [self.keep_color, self.stroke_size, palette, self.keep, self.keep_share]


def _read_palette(source: PaletteSource) -> PaletteSource:
    """Takes the colours of a picture, by its alpha; all else is handed back."""
    if isinstance(source, Palette) or (isinstance(source, str) and source in ("painting", "photo")):
        return source
    try:
        picture = read_image(source)
    except ImpastoError as error:
        raise ImpastoError(f"the palette is painting, photo or a picture: {error}") from None
    return palette_of(picture.pixels, picture.alpha)


class LastingOptions(TypedDict, total=False):
    """Those fields of :class:`Controls`, as keyword arguments, that stay what they are over a clip."""

    keep_color: KeepColor | None
    stroke_size: float
    style_size: int
    palette: PaletteSource
    keep: People | None
    keep_share: float


class ControlOptions(LastingOptions, total=False):
    """The fields of :class:`Controls` as the keyword arguments of functions that take them one by one."""

    strength: float
    plain: bool


def change_controls(controls: Controls | None, changes: ControlOptions | LastingOptions) -> Controls:
    """Changes some fields of controls, or of those by default if there are none; all are checked anew."""
    return replace(controls or Controls(), **changes)


def check_style_size(size: int) -> int:
    """Gives a size that style pictures can be scaled to as an int; raises `ImpastoError` for any other."""
    size = plain(size)
    if not is_whole(size) or not SMALLEST <= size <= _LARGEST_STYLE:
        raise ImpastoError(f"style size must be a whole number from {SMALLEST} to {_LARGEST_STYLE}, not {size}")
    return size


@dataclass(frozen=True, eq=False)
class Mix:
    """Styles of one model in order, each with its weight; one style may stand in it twice.

    With masks each style has a region of its own, in this order; without, they are mixed everywhere.

    Attributes:
        styles: K of them, one at least.
        weights: K numbers of 0 or more in any proportion, one at least above 0; all 1 if none are given.

    Raises:
        ImpastoError: there is no style, the weights are not such numbers, or the styles are of different models.

    >>> import numpy as np
    >>> red, blue = (Style(name, np.full(2, value, np.float32), "model") for name, value in (("red", 0), ("blue", 3)))
    >>> Mix((red, blue), (2, 1)).blend().tensor.tolist()
    [1.0, 1.0]
    """

    styles: Sequence[Style]
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.styles:
            raise ImpastoError("no style given: name one, or give a picture of it")
        weights = tuple(map(plain, self.weights)) or (1.0,) * len(self.styles)
        if len(weights) != len(self.styles):
            raise ImpastoError(f"{len(weights)} weights for {len(self.styles)} styles: give each style one weight")
        object.__setattr__(self, "styles", tuple(self.styles))
        object.__setattr__(self, "weights", weights)
        check_weights(self)

    def __iter__(self) -> Iterator[tuple[Style, float]]:
        return iter(zip(self.styles, self.weights, strict=True))

    def __len__(self) -> int:
        return len(self.styles)

    @property
    def shares(self) -> list[float]:
        """The weights scaled to sum to 1."""
        weights = np.array(self.weights, np.float64)
        return (weights / weights.sum()).tolist()  # type: ignore[no-any-return]

    @property
    def region_weights(self) -> np.ndarray:
        """How much the region of each style counts, the largest 1 and none 0: float32 [K, 1, 1, 1]."""
        weights = np.array(self.weights, np.float64)[:, None, None, None]
        return np.maximum(weights / np.max(weights), _FLOOR).astype(np.float32)

    def blend(self) -> Style:
        """Makes the one style that lies between them, see :func:`impasto.style.blend`."""
        return blend(self)

    def tensors(self, by_region: bool) -> np.ndarray:
        """Style tensors: float32 [K, S], one for each region, or [1, S], that of the mix."""
        return np.stack([style.tensor for style in self.styles]) if by_region else self.blend().tensor[None]

    def replace_styles(self, styles: Sequence[Style]) -> Mix:
        """Makes a mix of other styles, K of them, with the same weights."""
        return Mix(styles, self.weights)


def cross_fade(mixes: Sequence[tuple[Mix, float]]) -> Mix:
    """Makes one mix of several, each with its share; how large the weights within each are makes no difference."""
    if len(mixes) == 1:
        return mixes[0][0]
    styles = [style for mix, _ in mixes for style in mix.styles]
    return Mix(styles, [own * share for mix, share in mixes for own in mix.shares])


# What people write


def read_weights(text: str | None, count: int) -> list[float]:
    """Reads one weight for each of so many styles from text like "2,1"; all are 1 where there is none."""
    if text is None:
        return [1.0] * count
    try:
        weights = [float(weight) for weight in text.split(",")]
    except ValueError:
        raise ImpastoError(f"weights are numbers with commas between them, like 2,1, not {text}") from None
    if len(weights) != count:
        raise ImpastoError(f"{len(weights)} weights for {count} styles: give each style one weight")
    return weights


def read_range(text: str) -> tuple[float, float]:
    """Reads the two ends of a range of strengths from text like "0.5..1" or "0.8"."""
    low, dots, high = text.partition("..")
    try:
        return float(low), float(high if dots else low)
    except ValueError:
        raise ImpastoError(f"strength must be a number or a range like 0.5..1, not {text}") from None


def read_keep(text: str | None) -> LastingOptions:
    """Reads what is painted less, and how much of it remains, from text like "face" or "person=0.7"."""
    if text is None:
        return {}
    what, equals, share = text.partition("=")
    try:
        if what in get_args(People):
            return {"keep": what, "keep_share": float(share) if equals else 1.0}  # type: ignore[typeddict-item]
    except ValueError:
        pass
    raise ImpastoError(f"what is kept is person or face, or a share of it like face=0.7, not {text}")
