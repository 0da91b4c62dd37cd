"""Painting by optimisation: the picture's own pixels descend a loss, from coarse to fine."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.alpha import fill, weigh
from impasto.checks import make_folder, require_at_least
from impasto.image import Picture, read_image, to_float, to_uint8, write_image
from impasto.interrupt import StopRequest
from impasto.losses import StyleLoss, Summary, content_loss, total_variation
from impasto.methods.base import SMALLEST, Before
from impasto.nets.vgg import Encoder
from impasto.progress import track

#: The loss of a picture [1, 3, H, W] in 0..1, a scalar.
Objective = Callable[[Tensor], Tensor]

_ADAM_RATE = 0.02  # of the range 0..1, for each pixel and iteration
_STEP = 0.003  # of the range 0..1, mean over the pixels: what L-BFGS moves where it knows no curvature
_HISTORY = 10  # pairs of gradients that L-BFGS keeps, each as large as two pictures in float32


@dataclass(frozen=True)
class Descent:
    """How a picture is optimised: options of every method that does it.

    Attributes:
        iterations: at the coarsest level; each finer one, which begins with little left to do, takes half as many.
        optimiser: "lbfgs" gets further in as many iterations, "adam" is steadier.
        start: "content", "noise", or a picture (path or array) to begin with, whose detail of each finer level is put
            back there.
        levels: how many sizes, each twice the one before; None for as many as bring the coarsest short side near
            `coarsest`. Large pictures need it: an optimisation moves nothing further than VGG-19 sees.
        coarsest: see `levels`, in pixels.
        tv_weight: of the total variation, which smooths.
        snapshots: a folder for intermediate pictures, or None. The next photo's replace them.
        every: iterations between snapshots.
        seed: of the noise.
        temporal_weight: of the distance to the frames before, in a clip (Ruder et al. 2016); 0 optimises each for
            itself.
        history: how far back these lie, in frames.
    """

    iterations: int = 300
    optimiser: Literal["lbfgs", "adam"] = "lbfgs"
    start: str | Path | np.ndarray = "content"
    levels: int | None = None
    coarsest: int = 256
    tv_weight: float = 10.0
    snapshots: str | Path | None = None
    every: int = 50
    seed: int = 0
    temporal_weight: float = 300.0
    history: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        require_at_least(1, iterations=self.iterations, levels=self.levels or 1, every=self.every)
        require_at_least(1, history=min(self.history, default=0))
        require_at_least(SMALLEST, coarsest=self.coarsest)
        require_at_least(0, tv_weight=self.tv_weight, temporal_weight=self.temporal_weight)

    @property
    def start_is_picture(self) -> bool:
        """Whether a picture of its own is begun with."""
        return not isinstance(self.start, str) or self.start not in ("content", "noise")


class _Term(NamedTuple):
    """A style to come near to: its share of the style loss, its region and its summary at each layer."""

    share: float
    regions: Sequence[Tensor | None]
    summaries: Sequence[Summary]


def optimise(
    encoder: Encoder,
    content: Tensor,
    styles: Sequence[tuple[Sequence[Picture], float]],
    regions: Tensor | None,
    strength: float,
    alpha: Tensor | None,
    *,
    loss: StyleLoss,
    content_layers: Sequence[str],
    style_layers: Mapping[str, float],
    weights: tuple[float, float],
    softness: float = 0.0,
    options: Descent,
    label: str,
    before: Sequence[Before] = (),
) -> Tensor:
    """Minimises w_c L_content + w_s sum over the layers of w_l L_style + w_tv L_tv over the pixels of a picture.

    Several styles are mixed in their summaries where the loss allows that, else in their losses. Regions have a loss
    each, in proportion to their area. Strength moves the summaries from the content's own towards the styles' where the
    loss allows that, else it scales w_s.

    Args:
        content: [1, 3, H, W] in 0..1.
        styles: for each its picture, or several versions of it, and its weight.
        regions, strength, alpha, before: as in :meth:`impasto.methods.base.Method.render`.
        loss: L_style, at one layer.
        content_layers: where L_content is taken, the mean of all.
        style_layers: where L_style is taken, each with its w_l.
        weights: w_c and w_s.
        softness: k: the sum L of the style losses counts as k log(1 + L / k), or, for 0, as L.
        options: w_tv and how to go down.
        label: what to call it while it runs.
    """
    content_weight, style_weight = weights
    layers = {*content_layers, *style_layers}
    tv_weight = options.tv_weight / (1.0 if alpha is None else alpha.mean().item())  # a mean over what is seen

    def objective(content: Tensor, scale: float, start: Tensor) -> Objective:
        with torch.no_grad():
            own = encoder.features(content, layers)
            terms = _terms(loss, [own[layer] for layer in style_layers],
                           [(_summaries(v, scale), w) for v, w in styles], regions, strength, alpha)  # fmt: skip
            targets = [(layer, own[layer], spread(alpha, own[layer])) for layer in content_layers]

        def total(picture: Tensor) -> Tensor:
            seen = encoder.features(picture, layers)
            content = [content_loss(seen[layer], target, shares) for layer, target, shares in targets]
            parts = [
                term.share * weight * loss.distance(seen[layer], summary, region)
                for term in terms
                for (layer, weight), summary, region in zip(
                    style_layers.items(), term.summaries, term.regions, strict=True
                )
            ]
            style = torch.stack(parts).sum()
            return (
                content_weight * torch.stack(content).mean()
                + style_weight * (softness * torch.log1p(style / softness) if softness else style)
                + tv_weight * total_variation(picture)
            )

        return total

    def _summaries(versions: Sequence[Picture], scale: float) -> list[Summary]:
        found: list[Summary] = [()] * len(style_layers)
        for version in versions:
            picture = torch.from_numpy(to_float(version.pixels)).to(content.device)
            seen = encoder.features(rescale(picture, scale), style_layers)
            shares = None if version.alpha is None else torch.from_numpy(weigh(version.alpha)).to(content.device)
            found = [
                summary + loss.summary(seen[layer], spread(shares, seen[layer]))
                for summary, layer in zip(found, style_layers, strict=True)
            ]
        return found

    return descend(content, objective, options, label, before)


def _terms(
    loss: StyleLoss,
    own: Sequence[Tensor],
    styles: Sequence[tuple[list[Summary], float]],
    regions: Tensor | None,
    strength: float,
    alpha: Tensor | None,
) -> list[_Term]:
    """The styles as terms of the loss, whose shares sum to 1, or to the strength; `own` are the style layers."""
    whole = [spread(alpha, features) for features in own]
    terms = [_Term(weight, whole, summaries) for summaries, weight in styles]
    if regions is not None:
        regions = regions if alpha is None else regions * alpha
        areas = (regions.sum((1, 2, 3)) / regions.sum()).tolist()
        terms = [
            _Term(area, [spread(region[None], features) for features in own], summaries)
            for area, region, (summaries, _) in zip(areas, regions, styles, strict=True)
        ]
    elif loss.mixes:
        mixed = [_mixed([summaries[at] for summaries, _ in styles], [w for _, w in styles]) for at in range(len(own))]
        terms = [_Term(1.0, whole, mixed)]
    if not loss.mixes:
        return [term._replace(share=strength * term.share) for term in terms]
    return [
        term._replace(summaries=[
            _mixed([loss.summary(features, region), summary], [1 - strength, strength])
            for features, region, summary in zip(own, term.regions, term.summaries, strict=True)
        ])
        for term in terms
    ]  # fmt: skip


def _mixed(summaries: Sequence[Summary], weights: Sequence[float]) -> Summary:
    """A weighted sum, part by part."""
    return tuple(
        torch.stack([weight * part for part, weight in zip(parts, weights, strict=True)]).sum(0)
        for parts in zip(*summaries, strict=True)
    )


def descend(
    content: Tensor,
    objective: Callable[[Tensor, float, Tensor], Objective],
    options: Descent,
    label: str,
    before: Sequence[Before] = (),
) -> Tensor:
    """Optimises a picture, level by level; a frame after others at the last level alone, from the one before it.

    Ctrl-C ends it with the best picture so far.

    Args:
        content: [1, 3, H, W] in 0..1.
        objective: makes the objective of a level from the content at that size, its scale in 0..1, and the picture that
            it begins with.
        label: what to call it while it runs.
        before: what the frame is held to, see :func:`hold`.

    Returns:
        The picture with the lowest loss, [1, 3, H, W].
    """
    if options.snapshots is not None:
        make_folder(Path(options.snapshots))
    height, width = content.shape[2:]
    levels = options.levels or 1 + max(0, round(math.log2(min(height, width) / options.coarsest)))
    picture, done = before[0].painting if before else None, 0
    coarser: Tensor | None = None
    with StopRequest(signal.SIGINT) as stop:
        for level in range(levels - 1 if before else 0, levels):
            scale = 0.5 ** (levels - 1 - level)
            small = rescale(content, scale)
            start = _start(small, options) if picture is None else _to_size(picture, *small.shape[2:])
            if options.start_is_picture:
                begun = _start(small, options)
                if coarser is not None:
                    start = (start + begun - _to_size(coarser, *small.shape[2:])).clamp(0, 1)
                coarser = begun
            steps = max(1, options.iterations >> level)
            aim = hold(objective(small, scale, start), before, options.temporal_weight)
            picture = _minimise(aim, start, steps, done, options, label, stop)
            done += steps
            if stop.asked:
                print(f"impasto: {label} stopped, this is the best so far", file=sys.stderr)
                break
    assert picture is not None  # there is one level at least
    return _to_size(picture, height, width)


def hold(objective: Objective, before: Sequence[Before], weight: float) -> Objective:
    """Adds to an objective the distance to the frames before: weight sum over j of mean c_j (x - p_j)^2.

    The temporal loss of Ruder, Dosovitskiy and Brox 2016: p_j is a frame as it was painted, moved along
    the optical flow, and c_j where it counts, both those of `before`.
    """
    if not before:
        return objective

    def total(picture: Tensor) -> Tensor:
        kept = [(frame.weight * (picture - frame.painting).square()).mean() for frame in before]
        return objective(picture) + weight * torch.stack(kept).sum()

    return total


def _minimise(
    objective: Objective, start: Tensor, steps: int, done: int, options: Descent, label: str, stop: StopRequest
) -> Tensor:
    """One level, one step of it at least: the best picture."""
    picture = start.contiguous().clone().requires_grad_()
    optimiser: torch.optim.Optimizer
    if options.optimiser == "adam":
        optimiser = torch.optim.Adam([picture], _ADAM_RATE)
    else:
        optimiser = torch.optim.LBFGS(
            [picture], max_iter=1, history_size=_HISTORY, tolerance_grad=0, tolerance_change=0
        )
    best, lowest, now, unit = start, math.inf, math.inf, 1.0

    def evaluate() -> Tensor:
        nonlocal best, lowest, now, unit
        with torch.no_grad():
            picture.clamp_(0, 1)
        optimiser.zero_grad()
        loss = objective(picture.contiguous(memory_format=torch.channels_last))
        loss.backward()  # type: ignore[no-untyped-call]
        assert picture.grad is not None
        if now == math.inf:
            # Where L-BFGS meets negative curvature it steps along the bare gradient, which must be of a sensible size.
            unit = _STEP / max(picture.grad.abs().mean().item(), 1e-30)
        picture.grad.mul_(unit)
        now = loss.item()
        if now < lowest:
            lowest, best = now, picture.detach().clone()
        return loss

    width, height = start.shape[3], start.shape[2]
    for step in track(range(done + 1, done + steps + 1), lambda: f"{label} {width} x {height}, loss {now:.4g}", steps):
        optimiser.step(evaluate)  # type: ignore[no-untyped-call]
        if options.snapshots is not None and step % options.every == 0:
            pixels = to_uint8(picture.detach().contiguous().cpu().numpy())
            write_image(Path(options.snapshots) / f"{label}-{step:05}.png", pixels)
        if stop.asked:
            break
    return best


def _start(content: Tensor, options: Descent) -> Tensor:
    """The picture to begin with, of the content's size."""
    if options.start_is_picture:
        given = torch.from_numpy(to_float(fill(read_image(options.start)))).to(content.device)
        return _to_size(given, *content.shape[2:])
    if options.start == "content":
        return content
    noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(options.seed))
    return noise.to(content.device)


def spread(shares: Tensor | None, features: Tensor) -> Tensor | None:
    """Shares of pixels, [1, 1, any, any] or None, as means over the areas of features [N, C, h, w]: [1, 1, h, w]."""
    return None if shares is None else F.interpolate(shares, features.shape[2:], mode="area")


def rescale(image: Tensor, scale: float) -> Tensor:
    """A picture [1, 3, H, W] in 0..1 at a scale, no side shorter than VGG-19 needs."""
    height, width = (max(SMALLEST, round(scale * side)) for side in image.shape[2:])
    return _to_size(image, height, width)


def _to_size(image: Tensor, height: int, width: int) -> Tensor:
    """[1, 3, any, any] in 0..1 to [1, 3, height, width]."""
    if image.shape[2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
