"""Feature statistics and the adaptive layer: the heart of AdaIN, in every form the networks here use.

A network is written once, as ``forward(image, adapt)``. At each adaptive layer it calls ``adapt(features)`` and goes
on with what comes back. What ``adapt`` is decides what the network does:

* :class:`Observe` leaves the features alone and notes their statistics: the network reconstructs its input, and the
  noted statistics *are* the style of that picture.
* :class:`Transfer` gives the features of a batch the statistics of a batch of styles: training.
* :class:`Control` does the same for one picture with all run-time controls: the exported content graph.

A style tensor holds, for each adaptive layer in order, its C means and then its C standard deviations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5


def feature_statistics(features: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """Channel means and (population) standard deviations over the pixels.

    Args:
        features: [N, C, H, W]; taken in float32 whatever its type.
        eps: added to the variance, as in the paper's code.

    Returns:
        mean and standard deviation, each float32 [N, C].
    """
    variance, mean = torch.var_mean(features.float(), dim=(2, 3), correction=0)
    return mean, (variance + eps).sqrt()


def adain(content: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Adaptive instance normalisation (Huang and Belongie 2017, eq. 8): std * (x - mean(x)) / std(x) + mean.

    Args:
        content: features [N, C, H, W].
        mean, std: the style's feature statistics [N, C].
    """
    own_mean, own_std = feature_statistics(content)
    scale = std / own_std
    shift = mean - own_mean * scale
    return content * scale[..., None, None] + shift[..., None, None]


class Observe:
    """Passes features on unchanged and notes their statistics; :meth:`style` returns them as style tensors [N, S]."""

    def __init__(self) -> None:
        self._noted: list[Tensor] = []

    def __call__(self, features: Tensor) -> Tensor:
        self._noted += feature_statistics(features)
        return features

    def style(self) -> Tensor:
        return torch.cat(self._noted, dim=1)


class Transfer:
    """Gives each picture of a batch the statistics of one style: features [N, C, H, W] with style tensors [N, S]."""

    def __init__(self, style: Tensor) -> None:
        self._left = style

    def __call__(self, features: Tensor) -> Tensor:
        channels = features.shape[1]
        mean, std, self._left = self._left.split([channels, channels, self._left.shape[1] - 2 * channels], dim=1)
        return adain(features, mean, std)
