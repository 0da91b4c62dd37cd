"""Painting frame after frame without flicker: running statistics, and flow-guided blending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Unpack

import cv2
import numpy as np
import numpy.typing as npt

from impasto.checks import is_number, plain
from impasto.controls import ControlOptions, Controls, change_controls
from impasto.errors import ImpastoError
from impasto.image import ImageSource, Pixels
from impasto.mask import read_masks, resize_regions
from impasto.octaves import resize
from impasto.stylizer import Memory, MixSource, Stylizer
from impasto.video.flow import FlowEstimator, Motion, enlarge, find_consistent, to_grey, warp
from impasto.video.people import PeopleTrack

#: Share of the running content statistics in the next frame's: they follow a change within ten frames.
INERTIA = 0.9
#: Share of the moved frame before in the next, where motion is certain.
BLEND = 0.7
#: Frames are painted at half their size, or at a short side within these, and given their own detail back.
_LEAST, _MOST = 360, 512
_CUT = 0.5  # two frames that have less of their colours in common than this are of two shots


class Sight(NamedTuple):
    """What a source frame has to do with the one before.

    Attributes:
        small: it, as small as it is painted.
        cut: whether it begins another shot.
        motion: since the frame before, of a small version of it; None where that is not looked for, or there is none.
    """

    small: Pixels
    cut: bool
    motion: Motion | None


class _Seen(NamedTuple):
    """What is kept of a source frame."""

    shape: tuple[int, ...]
    colors: npt.NDArray[np.float32]
    luma: Pixels


@dataclass
class _Shot:
    """What a shot hands on from frame to frame: content statistics, the last frame as it was painted, and people.

    For a painter that looks back, the luma of the frames before, and these as they were painted, the last one first.
    """

    memory: Memory
    last: Pixels | None = None
    past: list[tuple[Pixels, Pixels]] = field(default_factory=list)
    people: PeopleTrack = field(default_factory=PeopleTrack)


class TemporalPainter:
    """Paints the frames of a clip or a camera, one after the other, so that the result is stable in time.

    Two things keep it from flickering. The content statistics are a running mean over the frames (`inertia`), so that
    what enters the picture cannot change the look of all the rest. And the frame before, as it was painted, is moved
    along the optical flow between the source frames and mixed in (`blend`) wherever that flow can be trusted: it is
    the same there and back, and explains what is seen (after Ruder et al., "Artistic style transfer for videos", 2016).
    Large frames are painted at half their size, and given their own detail back.
    At a cut, or for a frame of another size, both begin anew. For one thread, or one that looks and one that paints.

    Args:
        painter: model or method. A method that optimises has no content statistics; it is shown the frames before,
            moved along, and holds the next one to them, so that nothing needs to be mixed in.
        styles: as :meth:`Stylizer.stylize` takes them; they are taken once, here.
        controls, masks, changes: see :meth:`Stylizer.stylize`. A mask may select nothing. For keep_color "match" the
            frames are recoloured, not the style pictures.
        inertia: 0..1, share of the running statistics; 0 lets every frame have its own.
        blend: 0..1, share of the frame before; 0 leaves it out and spares the search for motion.

    Attributes:
        cuts: how often a new shot began.
    """

    def __init__(
        self,
        painter: Stylizer,
        styles: MixSource,
        controls: Controls | None = None,
        *,
        masks: Sequence[ImageSource] | None = None,
        inertia: float = INERTIA,
        blend: float = BLEND,
        **changes: Unpack[ControlOptions],
    ) -> None:
        inertia, blend = plain(inertia), plain(blend)
        for name, value in {"inertia": inertia, "blend": blend}.items():
            if not is_number(value) or not 0 <= value <= 1:
                raise ImpastoError(f"{name} must be a number from 0 to 1, not {value}")
        self._painter, self._controls, self._masks = painter, change_controls(controls, changes), masks
        self._mix = painter.mix(styles, style_size=self._controls.style_size)
        self._inertia, self._blend = inertia, blend
        self._back = sorted(painter.looks_back) if blend else []
        self._search = FlowEstimator(thorough=bool(self._back)) if blend else None
        self.cuts = 0
        self.reset()

    def reset(self) -> None:
        """Forgets the frames so far."""
        self._shot = _Shot(Memory(self._inertia))
        self._before: _Seen | None = None

    def look(self, frame: Pixels) -> Sight:
        """Compares the next frame, uint8 [H, W, 3], with the one that was looked at before.

        A thread of its own may do this ahead of :meth:`paint`, which is then given what it returns.
        """
        small = shrink(frame)
        seen, before = _Seen(frame.shape, histogram(small), to_grey(small)), self._before
        self._before = seen
        if before is None:
            return Sight(small, cut=False, motion=None)
        if seen.shape != before.shape or np.minimum(seen.colors, before.colors).sum() < _CUT:
            return Sight(small, cut=True, motion=None)
        if self._search is None or self._back:
            return Sight(small, cut=False, motion=None)
        return Sight(small, False, self._search(before.luma, seen.luma))

    def paint(
        self,
        frame: Pixels,
        sight: Sight | None = None,
        *,
        styles: MixSource | None = None,
        masks: Sequence[ImageSource] | None = None,
        alpha: Pixels | None = None,
        **changes: Unpack[ControlOptions],
    ) -> Pixels:
        """Paints the next frame.

        Args:
            frame: uint8 [H, W, 3], sRGB.
            sight: what :meth:`look` said of it, if it has been asked.
            styles, masks, changes: what is other for this frame.
            alpha: of the frame, uint8 [H, W], where it has any, see :meth:`Stylizer.paint`.

        Returns:
            uint8 [H, W, 3].
        """
        if sight is None:
            sight = self.look(frame)
        if sight.cut:
            self._shot = _Shot(Memory(self._inertia))
            self.cuts += 1
        controls = change_controls(self._controls, changes)
        mix = self._mix if styles is None else self._painter.mix(styles, style_size=controls.style_size)
        plan = self._painter.plan(mix, controls)
        masks = self._masks if masks is None else masks
        small = sight.small
        regions = coverage = None
        if masks is not None:
            regions, coverage = read_masks(masks, frame.shape[:2], mix.region_weights, may_be_empty=True)
            regions = resize_regions(regions, small.shape[:2])
        if controls.keep is not None:
            people = self._shot.people.follow(small, controls.keep, sight.motion)
            coverage = plan.keep_people(coverage, cv2.resize(people, (frame.shape[1], frame.shape[0])))
        weights = None if alpha is None else resize(alpha, small.shape[:2])
        if self._back:
            luma = to_grey(small, max(small.shape))
            self._shot.memory.before = self._look_back(luma)
        painted = self._painter.paint(small, plan, regions, self._shot.memory, alpha=weights)
        if self._back:
            self._shot.past = [(luma, painted), *self._shot.past][: max(self._back)]
        painted = self._steady(painted, sight.motion)
        return plan.finish(frame, add_detail(frame, painted, small), coverage, alpha)

    def _look_back(self, luma: Pixels) -> list[tuple[Pixels, npt.NDArray[np.float32]]]:
        """Finds what the next frame, of this luma, is held to, see :class:`impasto.stylizer.Memory`.

        The long-term weights of Ruder et al. 2016: a frame counts where none that is nearer in time does.
        """
        before: list[tuple[Pixels, npt.NDArray[np.float32]]] = []
        nearer: npt.NDArray[np.float32] | float = 0.0
        for distance in self._back:
            if distance > len(self._shot.past):
                break
            assert self._search is not None
            then, painted = self._shot.past[distance - 1]
            back, forth = self._search.estimate_both_ways(then, luma)
            motion = enlarge(Motion(back, find_consistent(back, forth)), *painted.shape[:2])
            before.append((warp(painted, motion.flow), np.asarray(np.maximum(motion.trust - nearer, 0), np.float32)))
            nearer = motion.trust + nearer
        return before

    def _steady(self, painted: Pixels, motion: Motion | None) -> Pixels:
        """Mixes the frame before into the painted one: painted + blend * share * trust * (the last, moved - painted).

        This comes before the frame's own detail, masks, strength and kept colours let it through, which flickers by
        itself.
        """
        last = self._shot.last
        if last is not None and motion is not None:
            motion = enlarge(motion, *painted.shape[:2])
            held = self._blend * self._shot.memory.share * motion.trust
            painted = np.asarray(cv2.blendLinear(warp(last, motion.flow), painted, held, 1 - held), np.uint8)
        self._shot.last = painted
        return painted


def shrink(frame: Pixels) -> Pixels:
    """Makes a frame, uint8 [H, W, 3], as small as it is painted.

    By OpenCV, as is :func:`add_detail`: Pillow, which `octaves.py` scales photos by, takes a third of a frame's time.
    """
    height, width = frame.shape[:2]
    scale = min(max(0.5, _LEAST / min(height, width)), _MOST / min(height, width))
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    while height >= 2 * size[1] and width >= 2 * size[0]:  # by whole halves first, which cost next to nothing
        width, height = (width + 1) // 2, (height + 1) // 2
        frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def add_detail(frame: Pixels, painted: Pixels, small: Pixels) -> Pixels:
    """Brings what painting has changed of a small frame [h, w, 3] into the frame [H, W, 3], which keeps its detail."""
    if small is frame:
        return painted
    change = cv2.subtract(painted, small, dtype=cv2.CV_16S)
    change = cv2.resize(change, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.add(frame, change, dtype=cv2.CV_8U), np.uint8)


def histogram(frame: Pixels) -> npt.NDArray[np.float32]:
    """Counts how often each colour is in a frame, uint8 [H, W, 3]: shares in 8 x 8 x 8 bins, float32 [8, 8, 8]."""
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)
    return np.asarray(counts / small[..., 0].size, np.float32)
