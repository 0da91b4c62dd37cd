"""Style as augmentation: every picture of a batch in a style of its own, in one forward pass of PyTorch.

from impasto.torch import RandomStyle
augment = RandomStyle(p=0.5, strength=(0.3, 1))
images = augment(images)  # [N, 3, H, W], uint8 or float 0..1

It changes textures, contrasts and colours and leaves shapes where they are, so that a network that is trained on such
pictures has to go by shapes (Geirhos et al. 2019; Jackson et al. 2019, "Style Augmentation"). Needs PyTorch alone, of
``impasto[train]``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from impasto.checks import SMALLEST, require_between
from impasto.controls import STROKE_SIZES
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.image import ENDINGS
from impasto.loader import load
from impasto.model import DEFAULT, Model, find_model
from impasto.progress import track
from impasto.style import Style
from impasto.stylizer import StyleSource

with explain_missing(__name__):
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
    from torch.utils.data import get_worker_info

    from impasto.nets import load_network

__all__ = ["RandomStyle"]


class RandomStyle(nn.Module):
    r"""Paints pictures in random styles, as a module or a transform among those of torchvision v2 or kornia.

    Styles are drawn around known ones, by a smoothed bootstrap (Silverman and Young 1987). With v_k one of the known
    styles, m and C their mean and covariance, and h the `spread`, a style is::

        m + sqrt(1 - h^2) (v_k - m) + h N(0, C)

    so that the mean and, but for a factor of n / (n - 1) in part of it, the covariance are those of the known styles
    for every h: 0 draws the known styles themselves, 1 is the normal distribution of Jackson et al. 2019. Standard
    deviations are drawn as their logarithms, so that none can be negative.

    Attributes:
        p: the chance of each picture, by itself, to be painted.
        strength: the range that is drawn from evenly for each picture, 0..1: 0 is the picture's own style, as the
            network paints it, 1 the drawn one; between, their statistics are interpolated.
        spread: h above, 0..1.
        stroke_size: how large strokes are in proportion to the picture: 0.5 enlarges it twofold for the painting, which
            suits small pictures and costs four times the time.
        generator: what is drawn from, instead of PyTorch's global one. In the worker processes of a DataLoader every
            worker draws from its own global one, which the `generator` of the DataLoader seeds.

    Args:
        styles: "known", those that come with the model; a folder of pictures and ``.style`` files, or several of what
            :meth:`impasto.Stylizer.style` takes.
        model: name or folder of a model that takes the style of any picture.

    Raises:
        ImpastoError: a number is out of its range, or there is no such model or style.

    >>> augment = RandomStyle(p=1, generator=torch.Generator().manual_seed(0))
    >>> augment(torch.zeros(2, 3, 32, 48, dtype=torch.uint8)).shape
    torch.Size([2, 3, 32, 48])
    """

    known: Tensor
    is_std: Tensor

    def __init__(
        self,
        p: float = 0.5,
        strength: float | tuple[float, float] = (0.3, 1.0),
        styles: str | os.PathLike[str] | Sequence[StyleSource] = "known",
        *,
        spread: float = 0.5,
        stroke_size: float = 1.0,
        model: str | os.PathLike[str] = DEFAULT,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        low, high = strength if isinstance(strength, Sequence) else (strength, strength)
        require_between(0, 1, p=p, strength=low, spread=spread)
        require_between(low, 1, strength=high)
        require_between(*STROKE_SIZES, stroke_size=stroke_size)
        self.p, self.strength, self.spread, self.stroke_size = p, (low, high), spread, stroke_size
        self.generator = generator
        found = find_model(model)
        if found.trained_styles:
            raise ImpastoError(f"the model {found.name} only knows the styles it was trained on: choose another one")
        # Channels last is twice as fast on a processor.
        self.network = load_network(found).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        tensors = np.stack([style.tensor for style in _find_styles(found, styles)])
        layout = [torch.arange(2 * channels) >= channels for channels in found.channels]
        self.register_buffer("is_std", torch.cat(layout))
        self.register_buffer("known", self._take_logarithms(torch.from_numpy(tensors)))

    def _take_logarithms(self, styles: Tensor) -> Tensor:
        return torch.where(self.is_std, torch.where(self.is_std, styles, 1.0).log(), styles)

    def train(self, mode: bool = True) -> RandomStyle:
        """Leaves the network itself as it was trained."""
        super().train(mode)
        self.network.eval()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tells of a generator its state as an array, for PyTorch cannot send one to a process that it spawns."""
        state = self.__dict__.copy()
        if self.generator is not None:
            state["generator"] = str(self.generator.device), self.generator.get_state().numpy()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        told = state["generator"]
        super().__setstate__({**state, "generator": None})  # type: ignore[no-untyped-call]
        if told is not None:
            device, drawn = told
            self.generator = torch.Generator(device)
            self.generator.set_state(torch.from_numpy(drawn))

    def extra_repr(self) -> str:
        return (
            f"p={self.p}, strength={self.strength}, styles={len(self.known)}, spread={self.spread}, "
            f"stroke_size={self.stroke_size}"
        )

    @torch.no_grad()
    def forward(self, images: Tensor, *others: Any) -> Any:
        """Paints some of a batch, each picture in a style of its own. No gradient goes through.

        Args:
            images: [N, 3, H, W], or a single [3, H, W]; uint8, or floating point in 0..1: augment before normalising.
            others: labels, boxes, masks of the same pictures; they come out as they are, as in torchvision v2.

        Returns:
            new images of the same shape, type and device; with `others`, a tuple of both.

        Raises:
            ImpastoError: they are no such pictures, or on another device than this module.
        """
        self._check(images)
        batch = images if images.ndim == 4 else images[None]
        which, styles, strength = self.draw(len(batch))
        painted = batch.clone()
        if len(which):
            painted[which] = self.paint(batch[which], styles, strength)
        result = painted.view(images.shape).as_subclass(type(images))
        return (result, *others) if others else result

    @torch.compiler.disable  # type: ignore[untyped-decorator] # generators are no part of a graph
    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws what becomes of so many pictures.

        Returns:
            the numbers [n] of those to paint, their style tensors [n, S], and their strengths [n].
        """
        generator = None if get_worker_info() else self.generator
        device = None if generator is None else generator.device
        known = len(self.known)
        chosen = torch.rand(count, generator=generator, device=device) < self.p
        picked = torch.randint(known, (count,), generator=generator, device=device)
        noise = torch.randn(count, known, generator=generator, device=device) / max(1, known - 1) ** 0.5
        low, high = self.strength
        strength = low + (high - low) * torch.rand(count, generator=generator, device=device)
        # Normal noise in as many directions as there are styles, each along its style's distance from the mean, has
        # their covariance.
        weights = (1 - self.spread**2) ** 0.5 * F.one_hot(picked, known) + self.spread * noise
        mean = self.known.mean(0)
        drawn = mean + weights[chosen].to(self.known) @ (self.known - mean)
        styles = torch.where(self.is_std, torch.where(self.is_std, drawn, 0.0).exp(), drawn)
        return chosen.nonzero()[:, 0].to(styles.device), styles, strength[chosen].to(styles)

    def paint(self, images: Tensor, styles: Tensor, strength: Tensor) -> Tensor:
        """Paints all of a batch in given styles, in one forward pass.

        Args:
            images: [N, 3, H, W], see :meth:`forward`.
            styles: [N, S], style tensors of the model, such as ``impasto.Style.tensor``.
            strength: [N], 0..1.

        Returns:
            [N, 3, H, W] of the same type.
        """
        counts = images.dtype == torch.uint8
        pixels = images.float() / 255 if counts else images.float()
        shape = images.shape[2:]
        pixels = _resize(pixels, [max(SMALLEST, round(side / self.stroke_size)) for side in shape])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        painted = self.network(pixels, self.network.adapt_to(styles, strength[:, None]))
        painted = _resize(painted.float(), shape).clamp(0, 1)
        return (255 * painted).round().to(images.dtype) if counts else painted.to(images.dtype)

    @torch.compiler.disable  # type: ignore[untyped-decorator] # it looks at values
    def _check(self, images: Tensor) -> None:
        if images.ndim not in (3, 4) or images.shape[-3] != 3:
            raise ImpastoError(f"pictures must be [N, 3, H, W] or [3, H, W], not {list(images.shape)}")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ImpastoError(f"pictures must be uint8 or floating point, not {images.dtype}")
        if images.device != self.known.device:
            raise ImpastoError(
                f"the pictures are on {images.device}, RandomStyle on {self.known.device}: "
                f"take it there with .to({str(images.device)!r})"
            )
        # On a GPU, looking would make the processor wait for it.
        if images.is_floating_point() and images.device.type == "cpu" and images.numel():
            low, high = images.aminmax()
            if not (low >= 0 and high <= 1):
                raise ImpastoError(f"pictures must be in 0..1, not {low:g}..{high:g}: augment before normalising")


def _resize(images: Tensor, shape: Sequence[int]) -> Tensor:
    if images.shape[2:] == torch.Size(shape):
        return images
    return F.interpolate(images, tuple(shape), mode="bilinear", antialias=True)


def _find_styles(model: Model, styles: str | os.PathLike[str] | Sequence[StyleSource]) -> list[Style]:
    """Takes the styles to draw around: those of the model, of what is in a folder, or of a list."""
    sources: Sequence[StyleSource]
    if styles == "known":
        sources = list(model.gallery.values())
    elif isinstance(styles, (str, os.PathLike)):
        if not os.path.isdir(styles):
            raise ImpastoError(f"there is no folder {os.fspath(styles)}: give one, known, or a list of styles")
        endings = {*ENDINGS, "style"}
        sources = sorted(path for path in Path(styles).rglob("*") if path.suffix[1:].lower() in endings)
    else:
        sources = styles
    if not sources:
        raise ImpastoError(f"no styles in {'the model ' + model.name if styles == 'known' else styles}")
    if all(isinstance(source, Style) and source.model == model.fingerprint for source in sources):
        return list(sources)  # type: ignore[arg-type]
    stylizer = load(model.folder, engine="onnxruntime")
    return [stylizer.style(source) for source in track(sources, "Taking styles", len(sources))]
