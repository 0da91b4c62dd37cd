"""Losses that say nothing of style: distance to content features, roughness, and likeness among pictures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def content_loss(features: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared distance of relu4_1 features to the AdaIN target t (Huang and Belongie 2017, eq. 12).

    Args:
        features, target: [N, C, H, W].
        weight: None, or a map [N, 1, H, W] for a weighted mean.
    """
    if weight is not None:
        distance = (features.float() - target.float()).square().mean(1, keepdim=True)
        return (distance * weight).sum() / weight.sum()
    return F.mse_loss(features.float(), target.float())


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, across plus down (Johnson et al. 2016), of [N, C, H, W]."""
    return image.diff(dim=3).square().mean() + image.diff(dim=2).square().mean()


def diversity_loss(samples: Tensor) -> Tensor:
    """Minus the entropy of what pictures are drawn from, by the distance of each to its nearest (Ulyanov et al. 2017).

    -1/N sum over i of ln min over j != i of |x_i - x_j|, Kozachenko and Leonenko's estimate less what is constant. The
    norm is the root mean square over a picture, again but for a constant, and differences far below one level in 255
    are taken for one, or those of equal pictures would have no end of a gradient.

    Args:
        samples: [N, M, 3, H, W], N pictures of each of M distributions, over which the mean is taken.
    """
    pictures = samples.float().flatten(2).transpose(0, 1)
    squares = (pictures[:, :, None] - pictures[:, None]).square().mean(3)  # [M, N, N]
    others = squares.masked_fill(torch.eye(len(samples), dtype=torch.bool, device=squares.device), math.inf)
    return -0.5 * (others.amin(2) + 1e-6).log().mean()
