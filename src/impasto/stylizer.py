"""Stylizer: what paints, and the one place where all controls come together."""

from __future__ import annotations

import difflib
import numbers
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from impasto.color import Palette, content_chroma, match_color, palette_of
from impasto.errors import ImpastoError, TooLargeError
from impasto.image import (
    MAX_PIXELS,
    ImageSource,
    Pixels,
    by_bands,
    read_image,
    resize_short_side,
)
from impasto.mask import FLOOR, prepare_masks
from impasto.style import Style, check_weights
from impasto.style import gallery as shipped_styles
from impasto.tile import (
    TileStatistics,
)

#: A style, the name of a shipped one, a ``.style`` file, or any picture.
StyleSource = Style | ImageSource
KeepColor = Literal["match", "luminance"]

#: The side that style pictures are scaled to: the size of the strokes.
STYLE_SIZE = 512
STYLE_PIXELS = 26_000_000  # a style picture is looked at in one piece, which takes some 400 bytes a pixel
SMALLEST = 16  # a side below this leaves no room for reflection padding at an eighth of the size
_OTHER_LOOK = 0.1  # a style or strength that changes by this much from one frame to the next is another one


@dataclass
class Memory:
    """What the frames of a clip hand on from one to the next; for one thread, and for one shot: a cut wants a new one.

    Attributes:
        inertia: 0..1, the share of `stats` in the content statistics of the next frame. They become a running mean, so
            that what enters or leaves the picture cannot make all the rest flicker.
        stats: float32 [K, T], the content statistics that the last frame was painted with; None before the first.
        look: the style tensors [K, S] and the strength of that frame.
        share: 0..1, how much of what it left counts for the next: all in the same look, for deep statistics depend on
            it, and nothing where a tenth of it or more has changed.
    """

    inertia: float
    stats: np.ndarray | None = None
    look: tuple[np.ndarray, float] | None = None
    share: float = 1.0

    def meet(self, style: np.ndarray, strength: float) -> None:
        """Takes note of the look of the next frame: style tensors [K, S], and strength."""
        change = 1.0
        if self.look is not None and self.look[0].shape == style.shape:
            before, strength_before = self.look
            change = float(np.linalg.norm(style - before) / np.linalg.norm(before))
            change = max(change, abs(strength - strength_before))
        self.share = max(0.0, 1 - change / _OTHER_LOOK)
        self.look = style, strength

    def settle(self, painted: Pixels) -> Pixels:
        """The painted frame, uint8 [H, W, 3], in keeping with those before; here as it is.

        It is called before masks, strength and kept colours let the photo through.
        """
        return painted


class Stylizer(ABC):
    """Anything that paints photos in styles, with the controls that all systems share. Safe for several threads.

    A system provides :meth:`take` and :meth:`paint`; what comes in and goes out, weights, masks, colour and strength
    come together here.

    Attributes:
        name: of the model or method.
        fingerprint: marks its styles; no other system can read them.
        engine_name, device: what computes (with its precision, if that is not float32), and on what.
        gallery: styles that it knows by name.
    """

    name: str
    fingerprint: str
    engine_name: str
    device: str
    gallery: Mapping[str, Style]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, engine={self.engine_name!r})"

    @abstractmethod
    def take(self, pixels: Pixels, name: str) -> Style:
        """The style of a picture, uint8 [H, W, 3]; the style keeps the picture."""

    @abstractmethod
    def paint(
        self,
        content: Pixels,
        styles: Mapping[Style, float],
        regions: np.ndarray | None,
        strength: float,
        memory: Memory | None = None,
        tile_statistics: TileStatistics = "exact",
    ) -> Pixels:
        """Paints a photo with checked controls.

        Args:
            content: uint8 [H, W, 3].
            styles: own styles with weights of 0 or more, of which one at least is above 0.
            regions: None, where the styles are mixed everywhere; or float32 [K, 1, H, W], non-negative, one region for
                each style in order: it weighs that region's statistics, and its share of the sum says where it is.
            strength: 0..1; what 0 gives need not be the photo, of which :meth:`stylize` mixes in a share.
            memory: of the frames before, whose statistics count and are brought up to date, where the system has any.
            tile_statistics: see :meth:`stylize`, where the system can paint by tiles.

        Returns:
            uint8 [H, W, 3].
        """

    def style(
        self,
        source: StyleSource,
        *,
        size: int = STYLE_SIZE,
        name: str | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Style:
        """The style of a picture.

        Args:
            source: a picture (path, bytes, stream, PIL image or array), the name of a shipped style, the path of a
                ``.style`` file, or a :class:`Style`, which is checked and handed back.
            size: side in pixels that the picture's short side is scaled to (down or up) before its style is taken:
                smaller gives finer strokes, larger coarser ones. Has no effect on styles that are already vectors.
            name: what to call the style; the file's name if not given.
            max_pixels: refuse larger pictures, and those that would be larger once scaled to `size`, as strips would.
        """
        if isinstance(source, Style):
            return self._own(source)
        if isinstance(source, (str, os.PathLike)):
            path = Path(source)
            if path.suffix.lower() == ".style":
                return self._own(Style.load(path))
            if not os.path.exists(path):  # False, too, for what is too long for a path
                return self._from_gallery(str(source))
            name = name or path.stem
        if not isinstance(size, numbers.Integral) or not SMALLEST <= size <= 4096:
            raise ImpastoError(f"style size must be a whole number from {SMALLEST} to 4096, not {size}")
        pixels = read_image(source, max_pixels=max_pixels).pixels
        height, width = (round(side * int(size) / min(pixels.shape[:2])) for side in pixels.shape[:2])
        if height * width > min(max_pixels, STYLE_PIXELS):
            raise TooLargeError(
                f"the style {name or 'picture'} would be {width} x {height} pixels large, scaled to a short side of "
                f"{size}: cut out a part of it, or choose a smaller style size"
            )
        return self.take(resize_short_side(pixels, int(size)), name or "style")

    def mix(
        self,
        styles: StyleSource | Sequence[StyleSource] | Mapping[Style, float],
        *,
        style_size: int = STYLE_SIZE,
        max_pixels: int = MAX_PIXELS,
    ) -> dict[Style, float]:
        """Weights by style, as :meth:`stylize` understands its `styles`: give it these again and nothing is taken anew.

        Args:
            styles: one style, several in equal parts, or weights by style; whatever :meth:`style` takes.
            style_size: stroke size, see :meth:`style`.
            max_pixels: refuse larger pictures.
        """
        take = partial(self.style, size=style_size, max_pixels=max_pixels)
        if isinstance(styles, Mapping):
            return {take(source): weight for source, weight in styles.items()}
        if not isinstance(styles, (list, tuple)):
            styles = [styles]  # type: ignore[list-item]
        made = [take(source) for source in styles]
        # The same style twice is two entries, so that masks and weights stay one for each.
        return {replace(style): 1.0 for style in made}

    def stylize(
        self,
        photo: ImageSource,
        styles: StyleSource | Sequence[StyleSource] | Mapping[Style, float],
        *,
        strength: float = 1.0,
        masks: Sequence[ImageSource] | None = None,
        keep_color: KeepColor | None = None,
        style_size: int = STYLE_SIZE,
        max_size: int | None = None,
        max_pixels: int = MAX_PIXELS,
        memory: Memory | None = None,
        tile_statistics: TileStatistics = "exact",
    ) -> Image.Image:
        """Paints a photo.

        Args:
            photo: path, bytes, stream, PIL image or array [H, W, 3].
            styles: one style, several in equal parts, or weights by style; whatever :meth:`style` takes.
            strength: 0 gives the photo back to the pixel, 1 the full style (section 6 of the AdaIN paper).
            masks: one soft mask for each style, of the photo's size, 0..1 or 0..255. Each region takes its style
                against its own content statistics; what no mask covers stays as it was. They are scaled with the photo.
            keep_color: "match" recolours the style pictures to the photo's mean and covariance (Gatys et al. 2016;
                styles known only as vectors have the result recoloured instead); "luminance" keeps the photo's chroma.
            style_size: stroke size, see :meth:`style`.
            max_size: scale the photo down so that its long side is at most this.
            max_pixels: refuse larger pictures.
            memory: makes the photo the next frame of a clip, see :class:`Memory`. Then a mask may select nothing, and
                "match" recolours the result, for style pictures would have to be taken anew in every frame.
            tile_statistics: models (:mod:`impasto.graph`) paint a large photo by tiles, in bounded memory.
                "exact" gives the same picture as in one piece, and goes over all of it several times. "thumbnail"
                takes the content statistics from a version of a million pixels, for every photo that has more: that
                is faster, and makes other strokes, see docs/huge.md. Frames, and what methods paint, stay whole.

        Returns:
            A picture of the photo's size to the pixel, with its alpha and EXIF. :func:`impasto.write_image` writes it
            whole; Pillow's own `save` wants ``exif=image.info["exif"]``, and halves the chroma of a JPEG.
        """
        check_controls(strength, keep_color, tile_statistics)
        picture = read_image(photo, max_pixels=max_pixels)
        size = picture.pixels.shape[:2]
        if max_size is not None:
            picture = picture.limited(max_size)
        content = picture.pixels
        weights = self.mix(styles, style_size=style_size, max_pixels=max_pixels)
        check_weights(weights)
        recolour = keep_color == "match"
        if recolour and memory is None:
            weights, recolour = self.recoloured(weights, palette_of(content))

        regions = coverage = None
        if masks is not None:
            regions, coverage = prepare_masks(
                masks,
                size,
                len(weights),
                scaled=content.shape[:2],
                may_be_empty=memory is not None,
                max_pixels=max_pixels,
            )
            regions = regions * relative(weights)
        painted = self.paint(content, weights, regions, strength, memory, tile_statistics)
        if memory is not None:
            painted = memory.settle(painted)
        painted = let_through(content, painted, coverage, strength)
        if recolour:
            painted = match_color(painted, content)
        elif keep_color == "luminance":
            painted = content_chroma(painted, content)
        return replace(picture, pixels=painted).to_pil()

    def _from_gallery(self, name: str) -> Style:
        if name in self.gallery:
            return self.gallery[name]
        if name in shipped_styles():
            raise ImpastoError(f"{self.name} does not know the shipped style {name}: give it a picture of the painting")
        near = difflib.get_close_matches(name, {**self.gallery, **shipped_styles()}, n=1)
        hint = f"did you mean {near[0]}?" if near else "`impasto styles` lists the shipped ones"
        raise ImpastoError(f"no file and no shipped style {name}: {hint}")

    def _own(self, style: Style) -> Style:
        if style.model != self.fingerprint:
            raise ImpastoError(
                f"the style {style.name} is not of the model {self.name}: take it again from its picture"
            )
        return style

    def recoloured(self, weights: Mapping[Style, float], content: Palette) -> tuple[dict[Style, float], bool]:
        """The styles of their pictures in the photo's colours, and whether the result is to be recoloured instead.

        So it is where not all of them have a picture; then the styles are handed back.
        """
        if any(style.picture is None for style in weights):
            return dict(weights), True
        pictures = {style: match_color(style.picture, content) for style in weights if style.picture is not None}
        return {self.take(pictures[style], style.name): weight for style, weight in weights.items()}, False


def check_controls(strength: float, keep_color: str | None, tile_statistics: str) -> None:
    """Raises `ImpastoError` for what :meth:`Stylizer.stylize` does not take."""
    if not isinstance(strength, numbers.Real) or not 0 <= strength <= 1:
        raise ImpastoError(f"strength must be a number from 0 to 1, not {strength}")
    if keep_color not in (None, "match", "luminance"):
        raise ImpastoError(f"keep_color must be match or luminance, not {keep_color}")
    if tile_statistics not in ("exact", "thumbnail"):
        raise ImpastoError(f"tile_statistics must be exact or thumbnail, not {tile_statistics}")


def relative(weights: Mapping[Style, float]) -> np.ndarray:
    """By what the regions of styles count: float32 [K, 1, 1, 1], the largest 1.

    None counts for nothing at all, for where only its own mask is there would be no style.
    """
    share = np.array(list(weights.values()), np.float64)[:, None, None, None]
    return np.maximum(share / np.max(share), FLOOR).astype(np.float32)


def let_through(photo: Pixels, painted: Pixels, coverage: np.ndarray | None, strength: float) -> Pixels:
    """The painted picture, or a part of it, with what masks ([H, W], 0..1) and strength leave of the photo."""
    if coverage is not None:
        painted = _mixed(photo, painted, coverage)
    if strength < 1:
        # The network's own picture at strength 0 is a reconstruction, a little soft. Of the photo itself a share
        # of (1 - strength)^4 remains, so that 0 is exactly the photo and from one half on hardly any of it shows.
        painted = _mixed(photo, painted, 1 - (1 - strength) ** 4)
    return painted


def _mixed(photo: Pixels, painted: Pixels, share: float | np.ndarray) -> Pixels:
    """The photo with a share, 0..1, of what was painted, for all pixels or for each [H, W]."""
    if isinstance(share, np.ndarray):
        return by_bands(_between, photo, painted, share[..., None])
    return by_bands(partial(_between, share=share), photo, painted)


def _between(photo: Pixels, painted: Pixels, share: float | np.ndarray) -> Pixels:
    content = photo.astype(np.float32)
    return np.rint(content + (painted - content) * share).astype(np.uint8)
