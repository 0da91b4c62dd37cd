"""Losses on the features of the normalised VGG-19."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.nets.norm import feature_statistics

Statistics = list[tuple[Tensor, Tensor]]


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of relu4_1 features to the AdaIN target t (Huang and Belongie 2017, eq. 12).

    Args:
        features, target: [N, C, H, W].
    """
    return F.mse_loss(features.float(), target.float())


def style_statistics(taps: Sequence[Tensor]) -> Statistics:
    """Means and standard deviations [N, C] of each tap: all that :func:`style_loss` needs to know of a picture."""
    return [feature_statistics(features) for features in taps]


def style_loss(statistics: Statistics, target: Statistics) -> Tensor:
    """Sum over the taps of the MSE of channel means plus that of standard deviations (eq. 13, averaged per channel)."""
    pairs = zip(statistics, target, strict=True)
    return torch.stack([F.mse_loss(mean, m) + F.mse_loss(std, s) for (mean, std), (m, s) in pairs]).sum()


def gram(features: Tensor) -> Tensor:
    """Gram matrices [N, C, C] of features [N, C, H, W]: products of channels, averaged over the pixels (Gatys 2016)."""
    flat = features.float().flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]
