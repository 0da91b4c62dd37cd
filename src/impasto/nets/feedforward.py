"""Networks that are trained for the styles they know: one style each, or N by conditional instance normalisation.

The transform network of Johnson et al. 2016 with the normalisation as its adaptive layer: what a style is made of is
the shift and the scale that follow each normalisation. Those of N styles are rows of one table over shared convolutions
(conditional instance normalisation, Dumoulin et al. 2017); with N = 1 it is a network per style (Ulyanov et al. 2017).
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.checks import require_at_least
from impasto.errors import ImpastoError
from impasto.nets.compact import Double, DoubleToPicture, convolution
from impasto.nets.norm import Adapt, Control, Network, Transfer
from impasto.style import EPS

Norm = Literal["instance", "batch", "renorm"]
NORMS: tuple[Norm, ...] = get_args(Norm)

_MOMENTUM = 0.05  # of the population statistics
#: Shifts and scales have further to go than weights, and Adam moves all parameters alike: one unit of theirs is this.
_UNIT = 10.0


class Block(nn.Module):
    """A residual block: two convolutions, each with its normalisation, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = convolution(channels, channels)

    def forward(self, features: Tensor, adapt: Adapt) -> Tensor:
        change = adapt(self.second(F.relu(adapt(self.first(features)))))
        return features + change


class RowNetwork(Network):
    """A network each of whose styles is a row of the shifts and scales that follow its normalisations.

    What derives from it sets `adaptive` and `strides` and then calls :meth:`make_rows`.

    Args:
        styles: N, the number of styles it learns.
        norm: "instance", "batch" or "renorm" (batch renormalisation, Ioffe 2017).
        sizes: what else it is made with, whole numbers by name.

    Attributes:
        rows: for each style [S], what its tensor adds to means of 0 and standard deviations of 1, in tens. A style's
            tensor holds at every layer the means (beta) and standard deviations (gamma) to give.
        population: [T], running statistics of the features, which batch normalisation runs with once trained.
    """

    choices: ClassVar[tuple[str, ...]] = ("norm", "width")
    own_styles = True
    population: Tensor

    def __init__(self, styles: int, norm: Norm, **sizes: int) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ImpastoError(f"no normalisation {norm}: choose {', '.join(NORMS)}")
        require_at_least(1, styles=styles, **sizes)
        self.arguments = {"styles": styles, "norm": norm, **sizes}
        self.norm = norm

    def make_rows(self) -> None:
        """Makes the rows of all styles."""
        # Not all alike, so that the shared weights have something to tell styles by.
        styles = range(self.arguments["styles"])
        self.rows = nn.ParameterList(0.3 / _UNIT * torch.randn(self.style_size) for _ in styles)
        if self.norm != "instance":
            self.register_buffer("population", self._standard())

    def _standard(self) -> Tensor:
        """[S]: means 0 and standard deviations 1."""
        return torch.cat([value for c in self.adaptive for value in (torch.zeros(c), torch.ones(c))])

    def styles(self) -> Tensor:
        return self._tensors().detach()

    def _tensors(self) -> Tensor:
        rows = torch.stack(list(self.rows))
        return self._standard().to(rows.device) + _UNIT * rows

    def add_style(self) -> None:
        """One style more, which begins as the mean of the others."""
        self.rows.append(torch.stack(list(self.rows)).detach().mean(0))
        self.arguments = {**self.arguments, "styles": len(self.rows)}

    def transfer(self, which: Tensor, done: float = 0.0) -> Adapt:
        """The `adapt` of training.

        Args:
            which: [N], the number of the style that each picture of the batch is painted in.
            done: share of the training that is behind, 0..1; batch renormalisation loosens its limits with it.
        """
        style = self._tensors()[which]
        if self.norm == "instance":
            return Transfer(style)
        return BatchTransfer(style, self.population, *(renorm_limits(done) if self.norm == "renorm" else (1.0, 0.0)))

    def control(
        self, style: Tensor, mask: Tensor | None, strength: Tensor, stats: Tensor | None, inertia: Tensor | None
    ) -> Control:
        """After training, batch normalisation puts the population's statistics in the place of the picture's own."""
        if self.norm == "instance":
            return Control(style, mask, strength, stats, inertia)
        # 0 * stats: the graph keeps the inputs that every content graph has.
        population = self.population[None] if stats is None else self.population + 0 * stats
        inertia = torch.ones_like(self.population) if inertia is None else 1 + 0 * inertia
        return Control(style, mask, strength, population, inertia)


class Feedforward(RowNetwork):
    """The transform network: to a quarter of the size, residual blocks there, and back.

    Johnson's 9x9 convolutions and first strided one are a pixel unshuffle and 3x3 convolutions at half the size, which
    a CPU runs several times as fast; his transposed convolutions, which leave a checkerboard, are linear up-sampling.

    Args:
        styles: N, the number of styles it learns.
        norm: "instance"; or, for the comparison, "batch" or "renorm" (batch renormalisation, Ioffe 2017).
        width: channels at half the size; twice as many at a quarter.
        blocks: number of residual blocks.
    """

    description = "a transform network for the one style it was trained on"

    def __init__(self, styles: int = 1, norm: Norm = "instance", width: int = 32, blocks: int = 5) -> None:
        super().__init__(styles, norm, width=width, blocks=blocks)
        self.adaptive = (width, *[2 * width] * (1 + 2 * blocks), width)
        self.strides = (2, *[4] * (1 + 2 * blocks), 2)
        self.down_half = convolution(12, width)
        self.down_quarter = convolution(width, 2 * width, 2)
        self.blocks = nn.ModuleList(Block(2 * width) for _ in range(blocks))
        self.up_half = Double(2 * width, width)
        self.paint_half = convolution(width, width)
        self.to_picture = DoubleToPicture(width, 3)
        self.make_rows()

    def forward(self, image: Tensor, adapt: Adapt) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size (not clamped)."""
        height, width = image.shape[2:]
        image = F.pad(image, (0, -width % 4, 0, -height % 4), mode="replicate")
        features = F.relu(adapt(self.down_half(F.pixel_unshuffle(image, 2))))
        features = F.relu(adapt(self.down_quarter(features)))
        for block in self.blocks:
            features = block(features, adapt)
        features = F.relu(adapt(self.paint_half(F.relu(self.up_half(features)))))
        painted: Tensor = self.to_picture(features) + 0.5
        return painted[..., :height, :width]


class ConditionalNet(Feedforward):
    """The transform network with several styles: conditional instance normalisation (Dumoulin et al. 2017)."""

    description = "a transform network with conditional instance normalisation, for the styles it was trained on"
    choices = ("width",)


def renorm_limits(done: float) -> tuple[float, float]:
    """Tells the limits of r and d in batch renormalisation after a share of the training, 0..1.

    Those of Ioffe 2017, section 4, with 160,000 steps for a whole training: plain batch normalisation for 5,000; then
    they grow evenly, that of r to 3 at 40,000 steps, that of d to 5 at 25,000.

    >>> renorm_limits(5 / 160), renorm_limits(25 / 160), renorm_limits(40 / 160)
    ((1.0, 0.0), (2.142857142857143, 5.0), (3.0, 5.0))
    """
    beyond = max(0.0, 160 * done - 5)  # thousands of steps
    return 1 + 2 * min(1.0, beyond / 35), 5 * min(1.0, beyond / 20)


class BatchTransfer:
    """Batch normalisation while training, and batch renormalisation; one style for each picture, as in `Transfer`.

    Batch renormalisation (Ioffe 2017, algorithm 1) corrects the batch's statistics towards the population's within
    limits: (x - mean) / std * r + d, with r = std / population std and d = (mean - population mean) / population std,
    both constants to the gradient and clipped. With r within [1, 1] and d within [0, 0] it is batch normalisation.

    Args:
        style: [N, S].
        population: [T], running means and standard deviations, brought up to date in place.
        r_limit, d_limit: r is clipped to 1 / r_limit..r_limit, d to -d_limit..d_limit.
    """

    def __init__(self, style: Tensor, population: Tensor, r_limit: float, d_limit: float) -> None:
        self._style, self._population = style, population
        self._r_limit, self._d_limit = r_limit, d_limit
        self._at = 0

    def __call__(self, features: Tensor) -> Tensor:
        channels = features.shape[1]
        here = slice(self._at, self._at + 2 * channels)
        self._at += 2 * channels
        wide = features.float()
        variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        std = (variance + EPS).sqrt()
        with torch.no_grad():
            population_mean, population_std = self._population[here].chunk(2)
            r = (std / population_std).clamp(1 / self._r_limit, self._r_limit)
            d = ((mean - population_mean) / population_std).clamp(-self._d_limit, self._d_limit)
            self._population[here].lerp_(torch.cat([mean, std]), _MOMENTUM)
        beta, gamma = self._style[:, here].chunk(2, dim=1)
        scale = gamma * (r / std)
        shift = beta + gamma * d - mean * scale
        return features * scale[..., None, None] + shift[..., None, None]
