"""Losses that say nothing of style: distance to content features, and roughness."""

from __future__ import annotations

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
