"""Stylizer: what paints, and the one place where all controls come together: plan, paint, finish."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack, get_args

import numpy as np
from PIL import Image

from impasto.alpha import Filled, crop_to_visible, fill, has_alpha
from impasto.checks import suggest
from impasto.color import ColorMap, Palette, color_map, keep_chroma, map_colors, palette_of
from impasto.controls import STYLE_SIZE, ControlOptions, Controls, Mix, change_controls, check_style_size
from impasto.errors import ImpastoError, TooLargeError
from impasto.extras import explain_missing
from impasto.image import MAX_PIXELS, ImageSource, Picture, Pixels, map_bands, read_image, resize_short_side
from impasto.mask import Box, read_masks, select_part
from impasto.people import find_people
from impasto.style import Style
from impasto.style import gallery as shipped_styles

if TYPE_CHECKING:
    from impasto.methods.refine import Refiner

#: A style, the name of a shipped one, a ``.style`` file, or any picture.
StyleSource = Style | ImageSource
#: One style, several in equal parts, weights by style, or a mix that is made already.
MixSource = Mix | StyleSource | Sequence[StyleSource] | Mapping[Style, float]

#: What may be asked for beyond the usual.
Quality = Literal["best"]

STYLE_PIXELS = 26_000_000  # a style picture is looked at in one piece, which takes some 400 bytes a pixel
_OTHER_LOOK = 0.1  # a style or strength that changes by this much from one frame to the next is another one


@dataclass(frozen=True)
class Plan:
    """What is settled before the first pixel is painted; good for the whole picture and for each part of it.

    Attributes:
        mix: the styles as they are painted in, recoloured to the photo where that is wanted and can be.
        controls: as they were given.
        recolors: whether the whole picture is given the photo's palette at the end, for the styles could not be.
        tints: whether what is painted is given the palette that the controls name, for the styles could not be.
    """

    mix: Mix
    controls: Controls
    recolors: bool = False
    tints: bool = False

    def finish_part(self, photo: Pixels, painted: Pixels, coverage: np.ndarray | None = None) -> Pixels:
        """Brings back into a painted part of a picture what masks, strength and kept colours leave of the photo.

        Args:
            photo, painted: uint8 [h, w, 3].
            coverage: float32 [h, w] in 0..1, how much of each pixel the masks let be painted; None for all of it.

        Returns:
            uint8 [h, w, 3].
        """
        strength = self.controls.strength
        if coverage is not None:
            painted = blend_with_photo(photo, painted, coverage)
        if strength < 1 and not self.controls.plain:
            # The network's own picture at strength 0 is a reconstruction, a little soft. Of the photo itself a share
            # of (1 - strength)^4 remains, so that 0 is exactly the photo and from one half on hardly any of it shows.
            painted = blend_with_photo(photo, painted, 1 - (1 - strength) ** 4)
        return keep_chroma(painted, photo) if self.controls.keep_color == "luminance" else painted

    def finish(
        self, photo: Pixels, painted: Pixels, coverage: np.ndarray | None = None, alpha: Pixels | None = None
    ) -> Pixels:
        """Finishes a whole picture likewise, and gives it the palette that the plan says.

        Where the photo has `alpha`, uint8 [h, w], palettes count by it.
        """
        tint = self.find_tint(partial(palette_of, photo, alpha), painted, alpha)
        if tint is not None:
            painted = map_colors(painted, *tint)
        finished = self.finish_part(photo, painted, coverage)
        if not self.recolors:
            return finished
        return map_colors(finished, *color_map(palette_of(finished, alpha), palette_of(photo, alpha)))

    def keep_people(self, coverage: np.ndarray | None, people: np.ndarray | None) -> np.ndarray | None:
        """Takes from how much is painted what the controls keep of people, see :func:`impasto.people.find_people`.

        Both are float32 [h, w] in 0..1; without `coverage` all is painted, without `people` there are none.
        """
        if people is None:
            return coverage
        left = 1 - np.float32(self.controls.keep_share) * people
        return left if coverage is None else coverage * left

    def find_tint(self, photo: Callable[[], Palette], painted: Pixels, alpha: Pixels | None = None) -> ColorMap | None:
        """Finds the map that gives what was painted the palette of the controls; None where it has it from its styles.

        At less strength that palette is as far on its way from the photo's.

        Args:
            photo: gives the photo's palette, if it is asked for.
            painted: uint8 [h, w, 3], what is mapped then or a smaller version of it.
            alpha: of that, uint8 [h, w].
        """
        palette = self.controls.palette
        if not self.tints or not isinstance(palette, Palette):
            return None
        goal = photo().mix(palette, self.controls.strength)
        return color_map(palette_of(painted, alpha), goal)


@dataclass
class Memory:
    """What the frames of a clip hand on from one to the next; for one thread, and for one shot: a cut wants a new one.

    Attributes:
        inertia: 0..1, the share of `stats` in the content statistics of the next frame. They become a running mean, so
            that what enters or leaves the picture cannot make all the rest flicker.
        stats: float32 [K, T], the content statistics that the last frame was painted with; None before the first.
        palette: running mean of the frames' colours likewise.
        look: the style tensors [K, S] and the strength of that frame.
        share: 0..1, how much of what it left counts for the next: all in the same look, for deep statistics depend on
            it, and nothing where a tenth of it or more has changed.
        before: for systems that look back, frames as they were painted, uint8 [H, W, 3], the last one first, each moved
            to where the next frame shows the same, and how far it counts there, float32 [H, W] in 0..1.
    """

    inertia: float
    stats: np.ndarray | None = None
    palette: Palette | None = None
    look: tuple[np.ndarray, float] | None = None
    share: float = 1.0
    before: Sequence[tuple[Pixels, np.ndarray]] = ()

    def meet(self, style: np.ndarray, strength: float) -> None:
        """Takes note of the look of the next frame: style tensors [K, S], and strength."""
        change = 1.0
        if self.look is not None and self.look[0].shape == style.shape:
            before, strength_before = self.look
            change = float(np.linalg.norm(style - before) / np.linalg.norm(before))
            change = max(change, abs(strength - strength_before))
        self.share = max(0.0, 1 - change / _OTHER_LOOK)
        self.look = style, strength


class Stylizer(ABC):
    """Anything that paints photos in styles, with the controls that all systems share. Safe for several threads.

    A system provides :meth:`take` and :meth:`paint`; what comes in and goes out, weights, masks, colour and strength
    come together here.

    Attributes:
        name: of the model or method.
        fingerprint: marks its styles; no other system can read them.
        engine_name, device: what computes (with its precision, if that is not float32), and on what.
        gallery: styles that it knows by name.
        looks_back: how far back, in frames, those lie which it holds the next one of a clip to; see :class:`Memory`.
    """

    name: str
    fingerprint: str
    engine_name: str
    device: str
    gallery: Mapping[str, Style]
    looks_back: Sequence[int] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, engine={self.engine_name!r})"

    @abstractmethod
    def take(self, pixels: Pixels, name: str, alpha: Pixels | None = None) -> Style:
        """Takes the style of a picture, uint8 [H, W, 3]; the style keeps the picture.

        Where it has `alpha`, uint8 [H, W], pixels count by it, and colours are continued to where nothing is seen.
        """

    @abstractmethod
    def paint(
        self,
        content: Pixels,
        plan: Plan,
        regions: np.ndarray | None = None,
        memory: Memory | None = None,
        large: Pixels | None = None,
        alpha: Pixels | None = None,
    ) -> Pixels:
        """Paints pixels as a plan says, whatever they are: a photo, a frame, or what was painted before.

        Args:
            content: uint8 [H, W, 3].
            plan: the styles of its mix and its strength count; what strength 0 gives need not be the content, of which
                :meth:`Plan.finish` mixes in a share.
            regions: None, where the styles are mixed everywhere; or float32 [K, 1, H, W], the weights of
                :class:`impasto.mask.Regions`, one region for each style in order.
            memory: of the frames before, whose statistics count and are brought up to date, where the system has any.
            large: the photo that `content` is a smaller version of, if it is: what comes out is then the painting of
                that, made small, where the system paints coarse to fine.
            alpha: uint8 [H, W], by how much each pixel of `content` counts; None where it is opaque. Colours are
                continued to where nothing is seen, see :mod:`impasto.alpha`.

        Returns:
            uint8 [H, W, 3].
        """

    def style(
        self,
        source: StyleSource,
        *,
        size: int = STYLE_SIZE,
        name: str | None = None,
        mask: ImageSource | None = None,
        box: Box | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> Style:
        """Takes the style of a picture, or of a part of it.

        Args:
            source: a picture (path, bytes, stream, PIL image, array, or what :func:`impasto.read_image` gives), of
                which pixels count by their alpha; the name of a shipped style, the path of a ``.style`` file, or a
                :class:`Style`, which is checked and handed back.
            size: see `style_size` of :class:`impasto.controls.Controls`.
            name: what to call the style; the file's name if not given.
            mask: of the picture's size, white where its style is taken from, grey in between, see
                :func:`impasto.mask.read_masks`.
            box: left, top, right and bottom in pixels of the part that its style is taken from, as Pillow crops.
            max_pixels: refuse larger pictures, and those that would be larger once scaled to `size`, as strips would.

        Raises:
            ImpastoError: there is no such style or picture, it cannot be read, is too large or wholly transparent, the
                style is of another model, or there is no such part of its picture, or no picture to take it of.

        >>> import impasto
        >>> impasto.load().style("klimt-kiss").tensor.shape
        (1152,)
        """
        known = self._find_known(source)
        if known is not None:
            if mask is not None or box is not None:
                raise ImpastoError(
                    f"the style {known.name} has no picture to take a part of: give the picture itself, not its style"
                )
            return known
        assert not isinstance(source, Style)
        if name is None and isinstance(source, (str, os.PathLike)):
            name = Path(source).stem
        size, label = check_style_size(size), f"the style {name or 'picture'}"
        picture = select_part(read_image(source, max_pixels=max_pixels), label, mask, box, max_pixels)
        picture = crop_to_visible(picture, label)
        shape = picture.pixels.shape[:2]
        height, width = (round(side * size / min(shape)) for side in shape)
        if height * width > min(max_pixels, STYLE_PIXELS):
            raise TooLargeError(
                f"{label} would be {width} x {height} pixels large, scaled to a short side of "
                f"{size}: cut out a part of it, or choose a smaller style size"
            )
        picture = picture.change(lambda pixels: resize_short_side(pixels, size))
        return self.take(fill(picture), name or "style", picture.alpha if has_alpha(picture) else None)

    def mix(self, styles: MixSource, *, style_size: int = STYLE_SIZE, max_pixels: int = MAX_PIXELS) -> Mix:
        """Makes the mix that :meth:`stylize` understands its `styles` to be; give it this and nothing is taken anew.

        Args:
            styles: one style, several in equal parts, weights by style, or a mix; of whatever :meth:`style` takes.
            style_size, max_pixels: see :meth:`style`.

        Raises:
            ImpastoError: see :meth:`style` and :class:`impasto.controls.Mix`.
        """
        take = partial(self.style, size=style_size, max_pixels=max_pixels)
        if isinstance(styles, Mapping):
            return Mix([take(source) for source in styles], list(styles.values()))
        if isinstance(styles, Mix):
            return styles.replace_styles([take(source) for source in styles.styles])
        if isinstance(styles, (list, tuple)):
            return Mix([take(source) for source in styles])
        return Mix([take(styles)])  # type: ignore[arg-type]

    def plan(self, mix: Mix, controls: Controls, palette: Callable[[], Palette] | None = None) -> Plan:
        """Settles how a photo is painted, before any of it is.

        Args:
            mix: own styles.
            controls: how.
            palette: gives the photo's colours, if they are asked for; None for the frames of a clip, where styles would
                have to be taken anew in every frame: their palette is matched at the end.
        """
        tints = isinstance(controls.palette, Palette)
        if controls.keep_color != "match" and not tints:
            return Plan(mix, controls)
        if palette is None or any(style.picture is None for style in mix.styles):
            return Plan(mix, controls, recolors=not tints, tints=tints)
        colors = controls.palette if isinstance(controls.palette, Palette) else palette()
        taken = {style: self._recolor_style(style, colors) for style in mix.styles}
        return Plan(mix.replace_styles([taken[style] for style in mix.styles]), controls)

    def _recolor_style(self, style: Style, colors: Palette) -> Style:
        """Takes a style anew from its picture, given other colours."""
        assert style.picture is not None
        moved = map_colors(style.picture, *color_map(palette_of(style.picture, style.alpha), colors))
        return self.take(moved, style.name, style.alpha)

    def stylize_picture(
        self,
        picture: Picture,
        mix: Mix,
        controls: Controls,
        masks: Sequence[ImageSource] | None = None,
        *,
        max_size: int | None = None,
        max_pixels: int = MAX_PIXELS,
        quality: Quality | None = None,
    ) -> Picture:
        """Paints a picture that was read, in styles that were taken; see :meth:`stylize`, which does both first."""
        refiner = None if quality is None else _open_refiner(quality, mix, controls)
        shape, large = picture.pixels.shape[:2], None
        if max_size is not None:
            large, picture = fill(picture), picture.limit_size(max_size)
        photo = content = picture.pixels
        alpha = picture.alpha if has_alpha(picture) else None
        if alpha is not None:
            filled = Filled.of(picture)
            photo, content = filled.invisible().everything(), filled.everything()
        plan = self.plan(mix, controls, partial(palette_of, content, alpha))
        regions = coverage = None
        if masks is not None:
            regions, coverage = read_masks(
                masks, shape, mix.region_weights, scaled=content.shape[:2], max_pixels=max_pixels
            )
        if controls.keep is not None:
            coverage = plan.keep_people(coverage, find_people(content, controls.keep))
        painted = self.paint(content, plan, regions, large=large, alpha=alpha)
        if refiner is not None:
            painted = refiner.refine(content, painted, plan, shape, regions, alpha)
        return replace(picture, pixels=plan.finish(photo, painted, coverage, alpha))

    def stylize(
        self,
        photo: ImageSource,
        styles: MixSource,
        controls: Controls | None = None,
        *,
        masks: Sequence[ImageSource] | None = None,
        max_size: int | None = None,
        max_pixels: int = MAX_PIXELS,
        quality: Quality | None = None,
        **changes: Unpack[ControlOptions],
    ) -> Image.Image:
        """Paints a photo.

        Args:
            photo: path, bytes, stream, PIL image, array [H, W, 3], or what :func:`impasto.read_image` gives.
            styles: one style, several in equal parts, or weights by style; whatever :meth:`style` takes.
            controls: how to paint.
            masks: one soft mask for each style, of the photo's size, 0..1 or 0..255. Each region takes its style
                against its own content statistics; what no mask covers stays as it was. They are scaled with the photo.
            max_size: of the result's long side in pixels: the painting of the whole photo, made small. Methods paint
                the photo scaled down.
            max_pixels: refuse larger pictures.
            quality: "best" refines the painting, which takes minutes, PyTorch, VGG-19 and styles that are pictures;
                see :mod:`impasto.methods.refine`.
            changes: `strength` (0..1), `stroke_size` (1 as usual), `keep_color` ("match" or "luminance"), `palette`
                ("painting", "photo" or a picture), `keep` ("person" or "face"), `keep_share` (0..1), `style_size` and
                `plain` (as in the paper), one by one instead of `controls`, or in place of what these say: see
                :class:`impasto.controls.Controls`.

        Returns:
            A picture of the photo's size to the pixel, with its alpha, by which pixels count, and EXIF.
            :func:`impasto.write_image` writes it whole; Pillow's own `save` wants ``exif=image.info["exif"]``, and
            halves the chroma of a JPEG.

        Raises:
            ImpastoError: a control is out of its range, or photo, style or mask cannot be read or do not fit.

        >>> import impasto, numpy as np
        >>> grey = np.full((48, 64, 3), 128, np.uint8)
        >>> impasto.load().stylize(grey, "hokusai-great-wave", strength=0.8).size
        (64, 48)
        """
        controls = change_controls(controls, changes)
        picture = read_image(photo, max_pixels=max_pixels)
        mix = self.mix(styles, style_size=controls.style_size, max_pixels=max_pixels)
        painted = self.stylize_picture(
            picture, mix, controls, masks, max_size=max_size, max_pixels=max_pixels, quality=quality
        )
        return painted.to_pil()

    def _find_known(self, source: StyleSource) -> Style | None:
        """Finds a style that has been taken already; None for a picture."""
        if isinstance(source, Style):
            return self._check_own(source)
        if not isinstance(source, (str, os.PathLike)):
            return None
        if Path(source).suffix.lower() == ".style":
            return self._check_own(Style.load(source))
        # False, too, for what is too long for a path.
        return None if os.path.exists(source) else self._find_shipped(str(source))

    def _find_shipped(self, name: str) -> Style:
        """Finds a style by its name, or says which name is near."""
        if name in self.gallery:
            return self.gallery[name]
        if name in shipped_styles():
            raise ImpastoError(f"{self.name} does not know the shipped style {name}: give it a picture of the painting")
        hint = suggest(name, {**self.gallery, **shipped_styles()}) or "`impasto styles` lists the shipped ones"
        raise ImpastoError(f"no file and no shipped style {name}: {hint}")

    def _check_own(self, style: Style) -> Style:
        """Hands a style back if it is of this model."""
        if style.model != self.fingerprint:
            raise ImpastoError(
                f"the style {style.name} is not of the model {self.name}: take it again from its picture"
            )
        return style


def _open_refiner(quality: Quality, mix: Mix, controls: Controls) -> Refiner:
    """Makes what refines a painting, before there is one: it complains in time."""
    if quality not in get_args(Quality):
        raise ImpastoError(f"quality must be best, or left out, not {quality}")
    if controls.plain:
        raise ImpastoError("plain is what the network paints alone, which best quality refines: leave out one of them")
    with explain_missing("best quality"):
        from impasto.methods.refine import Refiner
    return Refiner(mix)


def blend_with_photo(photo: Pixels, painted: Pixels, share: float | np.ndarray) -> Pixels:
    """Mixes a photo with a share, 0..1, of what was painted of it: one for all pixels, or for each [H, W]."""
    if isinstance(share, np.ndarray):
        return map_bands(_interpolate, photo, painted, share[..., None])
    return map_bands(partial(_interpolate, share=share), photo, painted)


def _interpolate(photo: Pixels, painted: Pixels, share: float | np.ndarray) -> Pixels:
    content = photo.astype(np.float32)
    return np.rint(content + (painted - content) * share).astype(np.uint8)
