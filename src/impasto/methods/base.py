"""What the methods share: styles that are pictures, VGG-19 on the best device, and what can go wrong."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from impasto.alpha import weigh
from impasto.engine.torch import best_device
from impasto.errors import ImpastoError
from impasto.image import Picture, Pixels, to_float, to_uint8
from impasto.mask import resize_regions
from impasto.nets.vgg import Encoder, load_encoder
from impasto.octaves import Octave, Painted, resize
from impasto.style import Style
from impasto.stylizer import Memory, Plan, Stylizer

#: Side in pixels below which relu4_1 has no room for patches; smaller pictures are continued by mirroring.
SMALLEST = 32
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class Before(NamedTuple):
    """A frame as it was painted, moved to where the next one shows the same.

    Attributes:
        painting: [1, 3, H, W] in 0..1.
        weight: [1, 1, H, W] in 0..1, how far it counts.
    """

    painting: Tensor
    weight: Tensor


class Method(Stylizer):
    """A system whose styles are the pictures themselves, and that looks at them with VGG-19.

    Args:
        threads: processor threads; None leaves one for each physical core.
        network: of which network, to which layer, and pooled how, see :func:`impasto.nets.vgg.load_encoder`.

    Attributes:
        presets: options of the method that go together, by name.
    """

    options: Any
    engine_name = "torch"
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    gallery: Mapping[str, Style] = MappingProxyType({})

    def __init__(self, threads: int | None, **network: Any) -> None:
        if threads is not None:
            if threads < 1:
                raise ImpastoError(f"threads must be 1 or more, not {threads}")
            torch.set_num_threads(threads)
        self.device = best_device()
        # Channels last is twice as fast on a processor.
        self.encoder: Encoder = load_encoder(**network).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def take(self, pixels: Pixels, name: str, alpha: Pixels | None = None) -> Style:
        """Makes a style that is the picture itself; its tensor stays empty."""
        return Style(name, np.empty(0, np.float32), self.fingerprint, pixels, alpha=alpha)

    def paint(
        self,
        content: Pixels,
        plan: Plan,
        regions: np.ndarray | None = None,
        memory: Memory | None = None,
        large: Pixels | None = None,
        alpha: Pixels | None = None,
    ) -> Pixels:
        """Paints as :meth:`Stylizer.paint` says, once; of what there is to remember, frames as they were painted."""
        before = [] if memory is None else memory.before
        if plan.controls.strength == 0:
            return content
        stroke = plan.controls.stroke_size
        if stroke == 1:
            return self._paint_once(content, plan, regions, alpha, before)
        height, width = (max(SMALLEST, round(side / stroke)) for side in content.shape[:2])
        small = resize(content, (height, width))
        masks = None if regions is None else resize_regions(regions, small.shape[:2])
        alpha = None if alpha is None else resize(alpha, small.shape[:2])
        before = [
            (resize(frame, (height, width)), resize_regions(weight[None, None], (height, width))[0, 0])
            for frame, weight in before
        ]
        return Octave(content, Painted(self._paint_once(small, plan, masks, alpha, before), small)).everything()

    def _paint_once(
        self,
        content: Pixels,
        plan: Plan,
        regions: np.ndarray | None,
        alpha: Pixels | None,
        before: Sequence[tuple[Pixels, np.ndarray]],
    ) -> Pixels:
        strength = plan.controls.strength
        shares = zip(plan.mix.styles, plan.mix.shares, strict=True)
        pictures = [(self._picture(style), share) for style, share in shares if share or regions is not None]
        height, width = content.shape[:2]
        short = [(0, max(0, SMALLEST - side)) for side in (height, width)]
        content = np.pad(content, [*short, (0, 0)], mode="symmetric")
        if regions is not None:
            regions = np.pad(regions, [(0, 0), (0, 0), *short], mode="symmetric")
        with enough_memory(width, height):
            masks = None if regions is None else self._tensor(regions)
            seen = None if alpha is None else self._tensor(weigh(np.pad(alpha, short, mode="symmetric")))
            held = [
                Before(
                    self._tensor(to_float(np.pad(frame, [*short, (0, 0)], mode="symmetric"))),
                    self._tensor(np.pad(weight, short, mode="symmetric")[None, None]),
                )
                for frame, weight in before
            ]
            painted = self.render(self._tensor(to_float(content)), pictures, masks, strength, seen, held)
        return to_uint8(painted.contiguous().cpu().numpy())[:height, :width]

    @property
    def looks_back(self) -> Sequence[int]:  # type: ignore[override]
        """The frames before that one of a clip is held to, where there is a descent to do it in."""
        history: Sequence[int] = self.options.history if self.options.temporal_weight else ()
        return history

    @abstractmethod
    def render(
        self,
        content: Tensor,
        styles: list[tuple[Picture, float]],
        regions: Tensor | None,
        strength: float,
        alpha: Tensor | None = None,
        before: Sequence[Before] = (),
    ) -> Tensor:
        """Paints one picture.

        Args:
            content: [1, 3, H, W] in 0..1, of 32 x 32 pixels or more.
            styles: the pictures of K styles, each with its weight; the weights sum to 1.
            regions: None, or [K, 1, H, W], see :meth:`Stylizer.paint`; then the weights do not count.
            strength: above 0, at most 1.
            alpha: None, or [1, 1, H, W] in 0..1, by how much each pixel counts.
            before: of a frame of a clip, those before that it is held to, the last one first.

        Returns:
            [1, 3, H, W].
        """

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    @staticmethod
    def _picture(style: Style) -> Picture:
        assert style.picture is not None  # only `take` makes these styles
        return Picture(style.picture, style.alpha)


@contextlib.contextmanager
def enough_memory(width: int, height: int) -> Iterator[None]:
    """Turns a lack of memory into advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error).lower() for sign in _NO_MEMORY):
            raise
        raise ImpastoError(
            f"not enough memory for {width} x {height} pixels: scale the photo down (--max-size), take smaller styles "
            "(--style-size), or fewer patches (a smaller chunk, a larger stride)"
        ) from error
