"""Style losses: the paper's, on means and standard deviations of several taps, and those of the field by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from impasto.nets.norm import feature_statistics
from impasto.nets.patches import CHUNK, SIZE, Patches, best_matches
from impasto.style import EPS

Statistics = list[tuple[Tensor, Tensor]]


def style_statistics(taps: Sequence[Tensor], weight: Tensor | None = None) -> Statistics:
    """Means and standard deviations [N, C] of each tap: all that :func:`style_loss` needs to know of a picture.

    Args:
        taps: features [N, C, h, w].
        weight: None, or by how much each pixel of the picture counts, [N, 1, H, W].
    """
    if weight is None:
        return [feature_statistics(features) for features in taps]
    weights = [F.interpolate(weight, features.shape[2:], mode="area") for features in taps]
    found = (MeanStd().summary(*pair) for pair in zip(taps, weights, strict=True))
    return [(mean, std) for mean, std in found]


def style_loss(statistics: Statistics, target: Statistics, softness: float = 0.0) -> Tensor:
    """Sum over the taps of the MSE of channel means plus that of standard deviations (eq. 13, averaged per channel).

    Args:
        softness: k: the loss L of each picture counts as k log(1 + L / k), which grows the slower the larger L is; 0:
            as L, as in the paper.
    """
    pairs = zip(statistics, target, strict=True)
    errors = [(mean - m).square().mean(1) + (std - s).square().mean(1) for (mean, std), (m, s) in pairs]
    loss = torch.stack(errors).sum(0)
    return (softness * torch.log1p(loss / softness) if softness else loss).mean()


def gram(features: Tensor, weight: Tensor | None = None) -> Tensor:
    """Gram matrices [N, C, C] of features [N, C, H, W]: products of channels, averaged over the pixels (Gatys 2016).

    Args:
        weight: None, or a map [N, 1, H, W] for a weighted average (the guided Gram matrix of Gatys et al. 2017).
    """
    flat = features.float().flatten(2)
    with torch.autocast(flat.device.type, enabled=False):  # which would take the products in half precision
        if weight is None:
            return flat @ flat.transpose(1, 2) / flat.shape[2]
        share = weight.to(flat).flatten(2)
        return (flat * share) @ flat.transpose(1, 2) / share.sum(2, keepdim=True)


#: What a style loss knows of a picture's features at one tap.
Summary = tuple[Tensor, ...]


class StyleLoss(ABC):
    """How far the features of a picture at one tap are from a style's.

    A style is summarised once, and pictures are measured against its summary. In the equations F is a picture's
    feature vector at a pixel, [C], S a style's, and E the mean over pixels: weighted by a map where one is given, which
    confines the loss to a region (Gatys et al. 2017, section 4).

    Attributes:
        mixes: whether the weighted mean of two summaries is the summary of a style in between. If not, mixing styles
            means averaging losses.
        weight: of this loss against a content loss of weight 1 where a picture is optimised.
    """

    mixes = True
    weight: float

    @abstractmethod
    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        """What :meth:`distance` needs to know.

        Args:
            features: [N, C, H, W].
            weight: None, or non-negative [N, 1, H, W].
        """

    def distance(self, features: Tensor, target: Summary, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar: the mean squared distance of the picture's summary to the style's, summed over its parts.

        Args:
            features, weight: as in :meth:`summary`.
            target: the style's summary.
        """
        pairs = zip(self.summary(features, weight), target, strict=True)
        return torch.stack([F.mse_loss(own, style) for own, style in pairs]).sum()


def _mean(features: Tensor, weight: Tensor | None) -> Tensor:
    """E[F], [N, C]."""
    if weight is None:
        return features.mean((2, 3))
    return (features * weight).sum((2, 3)) / weight.sum((2, 3))


class Gram(StyleLoss):
    """|E[F F^T] - E[S S^T]|^2 / C^2 (Gatys et al. 2016, eq. 4; theirs is a quarter of it)."""

    weight = 10.0

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        return (gram(features, weight),)


class MeanStd(StyleLoss):
    """(|mean(F) - mean(S)|^2 + |std(F) - std(S)|^2) / C: the style loss of AdaIN (Huang and Belongie 2017, eq. 13)."""

    weight = 10.0

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        if weight is None:
            return feature_statistics(features)
        mean = _mean(features, weight)
        variance = _mean((features - mean[..., None, None]).square(), weight)
        return mean, (variance + EPS).sqrt()


class Coral(StyleLoss):
    """|Cov(F) - Cov(S)|^2 / C^2 (Sun and Saenko 2016, eq. 1; theirs is a quarter of it).

    Cov(F) = E[(F - E[F]) (F - E[F])^T]. Blind to means, hence to overall colour.
    """

    weight = 20.0

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        return (gram(features - _mean(features, weight)[..., None, None], weight),)


class LinearMMD(StyleLoss):
    """Maximum mean discrepancy with the kernel k(x, y) = x^T y / C (Li et al. 2017, table 1): |E[F] - E[S]|^2 / C.

    This and the other two kernels are the biased estimate, over all pairs of pixels. For every kernel k(x, y) =
    phi(x)^T phi(y) that is |E[phi(F)] - E[phi(S)]|^2, which costs one pass.
    """

    weight = 30.0

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        return (_mean(features, weight),)


class PolynomialMMD(StyleLoss):
    """Maximum mean discrepancy with the kernel k(x, y) = (x^T y / C + c)^2, c = 1 (Li et al. 2017, table 1).

    E[k(F, F')] + E[k(S, S')] - 2 E[k(F, S)] = |E[F F^T] - E[S S^T]|^2 / C^2 + 2c |E[F] - E[S]|^2 / C: with c = 0 the
    Gram loss, which is the point of that paper.
    """

    weight = 10.0
    constant = 1.0

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        return gram(features, weight), math.sqrt(2 * self.constant) * _mean(features, weight)


class GaussianMMD(StyleLoss):
    """Maximum mean discrepancy with the kernel k(x, y) = exp(-|x - y|^2 / 2C) (Li et al. 2017, table 1).

    E[k(F, F')] + E[k(S, S')] - 2 E[k(F, S)], biased. Summing over all pairs of pixels is out of reach at the first
    taps, so the kernel is taken as phi(x)^T phi(y) / D with phi(x) = sqrt(2) cos(W x + b), rows of W from N(0, 1/C), b
    uniform in 0..2 pi (random Fourier features, Rahimi and Recht 2007), off by about 1 / sqrt(D). A width of sqrt(C)
    fits the normalised VGG-19, where each channel varies by about 1.

    Args:
        frequencies: D.
        chunk: pixels at once. Memory grows with it, the result does not depend on it.
    """

    weight = 200.0

    def __init__(self, frequencies: int = 1024, chunk: int = 16384) -> None:
        self.frequencies, self.chunk = frequencies, chunk

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        pixels = features.flatten(2)
        channels = pixels.shape[1]
        # Always the same ones, so that summaries of different pictures can be compared.
        generator = torch.Generator().manual_seed(channels)
        directions = torch.randn(self.frequencies, channels, generator=generator) / math.sqrt(channels)
        phases = 2 * math.pi * torch.rand(self.frequencies, 1, generator=generator)
        directions, phases = (t.to(pixels) for t in (directions, phases))

        def total(part: Tensor, share: Tensor) -> Tensor:
            return (math.sqrt(2) * torch.cos(directions @ part + phases) * share).sum(2)

        shares = torch.ones_like(pixels[:, :1]) if weight is None else weight.flatten(2)
        parts = zip(torch.split(pixels, self.chunk, 2), torch.split(shares, self.chunk, 2), strict=True)
        # Checkpointed: the cosines of one chunk alone are ever held, and computed again for the gradient.
        totals = [checkpoint(total, part, share, use_reentrant=False) for part, share in parts]
        return (torch.stack(totals).sum(0) / shares.sum(2),)


class ExactGaussianMMD(StyleLoss):
    """The discrepancy that :class:`GaussianMMD` estimates, over all pairs of pixels (Li et al. 2017, table 1).

    Time grows with the square of the pixels: some four seconds an iteration at 64 x 64 on two cores, sixteen times that
    at twice the side. The summary holds the style's feature vectors [N, C, M], their shares [N, 1, M], and E[k(S, S')].

    Args:
        pairs: at once. Memory grows with it, the result does not depend on it.
    """

    mixes = False
    weight = GaussianMMD.weight

    def __init__(self, pairs: int = 1 << 23) -> None:
        self.pairs = pairs

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        style = self._points(features.detach(), weight)
        return *style, self._expected_kernel(style, style)

    def distance(self, features: Tensor, target: Summary, weight: Tensor | None = None) -> Tensor:
        vectors, shares, within = target
        own = self._points(features, weight)
        found = self._expected_kernel(own, own) + within - 2 * self._expected_kernel(own, (vectors, shares))
        return found.mean()

    @staticmethod
    def _points(features: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Feature vectors [N, C, M], and the share of each [N, 1, M], which sum to 1."""
        pixels = features.flatten(2)
        shares = torch.ones_like(pixels[:, :1]) if weight is None else weight.to(pixels).flatten(2)
        return pixels, shares / shares.sum(2, keepdim=True)

    def _expected_kernel(self, ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> Tensor:
        """E[k(X, Y)] of each picture, [N]."""
        others, other_shares = theirs
        lengths = others.square().sum(1, keepdim=True)

        def expected(part: Tensor, share: Tensor) -> Tensor:
            squares = part.square().sum(1).unsqueeze(2) + lengths - 2 * part.transpose(1, 2) @ others
            kernel = torch.exp(-squares.clamp_min(0) / (2 * part.shape[1]))
            return (share @ kernel @ other_shares.transpose(1, 2)).flatten()

        chunk = max(1, self.pairs // others.shape[2])
        parts = zip(*(torch.split(side, chunk, 2) for side in ours), strict=True)
        # Checkpointed: the kernel of one chunk alone is ever held, and computed again for the gradient.
        return torch.stack([checkpoint(expected, part, share, use_reentrant=False) for part, share in parts]).sum(0)


class Histogram(StyleLoss):
    """E|F - R(F)|^2 / C, R(F) being F with each channel's histogram remapped to the style's (Risser et al. 2017).

    R = Q_S(P_F(F)): a value's rank among the picture's, P_F in 0..1, and the style's value of that rank, Q_S. R(F) is
    held constant for the gradient, as in the paper. The summary is Q_S at the middles of 256 equal steps, [N, C, 256];
    between them it is interpolated. A mean of two is their Wasserstein barycentre, so styles mix.
    """

    weight = 10.0
    steps = 256
    _CHANNELS = 16  # sorted at once: sorting takes several times the memory of what is sorted

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        quantiles = []
        for part in torch.split(features.detach(), self._CHANNELS, 1):
            order, ranks = self._ranks(part, weight)
            values = part.flatten(2).gather(2, order)
            quantiles.append(_interpolate(self._middles(values).expand(*values.shape[:2], -1), ranks, values))
        return (torch.cat(quantiles, 1),)

    def distance(self, features: Tensor, target: Summary, weight: Tensor | None = None) -> Tensor:
        goal = torch.empty_like(features.detach().flatten(2))
        sections = (torch.split(t, self._CHANNELS, 1) for t in (features.detach(), target[0], goal))
        for part, quantiles, matched in zip(*sections, strict=True):
            order, ranks = self._ranks(part, weight)
            quantiles = quantiles.expand(len(part), -1, -1)
            middles = self._middles(quantiles).expand_as(quantiles)
            matched.scatter_(2, order, _interpolate(ranks, middles, quantiles))
        return _mean((features - goal.view_as(features)).square(), weight).mean()

    def _middles(self, like: Tensor) -> Tensor:
        return (torch.arange(self.steps, device=like.device, dtype=like.dtype) + 0.5) / self.steps

    @staticmethod
    def _ranks(features: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """The order of the values of each channel, long [N, C, H * W], and P_F of each in that order."""
        order = features.flatten(2).argsort(
            dim=2, stable=True
        )  # of equal values, zeros above all, the first comes first
        share = torch.ones_like(features[:, :1]) if weight is None else weight
        share = share.flatten(2).expand(len(features), features.shape[1], -1).gather(2, order).double()
        return order, ((share.cumsum(2) - share / 2) / share.sum(2, keepdim=True)).to(features.dtype)


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Linear interpolation between the points (xs, ys), constant beyond them; all [N, C, any], xs ascending."""
    right = torch.searchsorted(xs.contiguous(), x.contiguous()).clamp(1, xs.shape[2] - 1)
    left = right - 1
    x0, x1, y0, y1 = xs.gather(2, left), xs.gather(2, right), ys.gather(2, left), ys.gather(2, right)
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)


class PatchLoss(StyleLoss):
    """E_i |P_i - S_NN(i)|^2 / 9C over 3x3 patches P_i of the picture's features (Li and Wand 2016, eq. 2).

    NN(i) is the style patch of the highest normalised cross-correlation (eq. 3), see
    :func:`impasto.nets.patches.best_matches`; a weight map counts at the middle of a patch. Takes one picture at a
    time. The summary holds the style's feature maps; those of several versions of a style (turned, scaled) may be put
    together.

    Args:
        stride: distance between patches, of the picture and of the style; 2, as in the authors' code, takes a sixteenth
            of the time of 1.
        chunk: style patches that are compared at once. Memory grows with it, the result does not depend on it.
    """

    mixes = False
    weight = 3.0

    def __init__(self, stride: int = 2, chunk: int = CHUNK) -> None:
        self.stride, self.chunk = stride, chunk

    def summary(self, features: Tensor, weight: Tensor | None = None) -> Summary:
        return (self._rimmed(features.detach()),)

    def distance(self, features: Tensor, target: Summary, weight: Tensor | None = None) -> Tensor:
        patches = Patches(target, self.stride)
        rimmed = self._rimmed(features)
        nearest = patches[best_matches(rimmed.detach(), patches, self.stride, self.chunk)].flatten(1).T[None]
        error = (F.unfold(rimmed, SIZE, stride=self.stride) - nearest).square().mean(1)
        if weight is None:
            return error.mean()
        share = weight[:, 0, :: self.stride, :: self.stride].flatten(1)
        return (error * share).sum() / share.sum()

    @staticmethod
    def _rimmed(features: Tensor) -> Tensor:
        """With a mirrored rim of one pixel, so that the middles of the first patches lie on the border."""
        return F.pad(features, (1, 1, 1, 1), mode="reflect")


#: The style losses by name.
STYLE_LOSSES: Mapping[str, StyleLoss] = MappingProxyType({
    "gram": Gram(),
    "mean_std": MeanStd(),
    "histogram": Histogram(),
    "mmd_linear": LinearMMD(),
    "mmd_polynomial": PolynomialMMD(),
    "mmd_gaussian": GaussianMMD(),
    "mmd_gaussian_exact": ExactGaussianMMD(),
    "coral": Coral(),
    "mrf": PatchLoss(),
})  # fmt: skip
