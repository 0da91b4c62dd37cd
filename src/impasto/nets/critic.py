"""A discriminator of patches: what an adversarial style loss trains against a painting network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Tells patches of a style's features from those of painted pictures (Li and Wand 2016, Markovian GANs).

    Two 3x3 convolutions and a 1x1 one, so that each score is of a patch of 5x5 features. Spectral normalisation (Miyato
    et al. 2018) keeps it from running away from the network in its few steps.

    Args:
        channels: C of the features.
        spread: the features' usual standard deviation, by which they are divided.
        styles: how many styles it learns, each with scores of its own.
        width: channels between.
    """

    def __init__(self, channels: int, spread: float, styles: int, width: int = 128) -> None:
        super().__init__()
        self.spread = spread
        sides = ((channels, width, 3), (width, width, 3), (width, styles, 1))
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(*side)) for side in sides)

    def forward(self, features: Tensor, which: Tensor) -> Tensor:
        """Scores of the patches of features [N, C, h, w] of pictures in the styles `which` [N]: [N, h - 4, w - 4]."""
        features = features / self.spread
        for layer in self.layers[:-1]:
            features = F.leaky_relu(layer(features), 0.2)
        scores: Tensor = self.layers[-1](features)
        return scores[torch.arange(len(which)), which]


def adversarial_loss(critic: nn.Module, real: Tensor, painted: Tensor, which: Tensor) -> Tensor:
    """The loss of both sides: its gradient trains the critic to tell, and whatever has painted not to be told.

    mean max(0, 1 - D(real)) + mean max(0, 1 + D(painted)) for the critic, -mean D(painted) for the painter: each side's
    part is a constant to the other.

    Args:
        critic: D, called with features and `which`.
        real, painted: features [N, C, h, w].
        which: the style of each picture [N].
    """
    telling = F.relu(1 - critic(real, which)).mean() + F.relu(1 + critic(painted.detach(), which)).mean()
    fixed = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    scores: Tensor = functional_call(critic, fixed, (painted, which))
    return telling - scores.mean()
