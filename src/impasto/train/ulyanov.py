"""Trains the texture network: the losses of :mod:`impasto.train.feedforward`, and paintings that are to differ.

"Improved Texture Networks" (Ulyanov, Vedaldi and Lempitsky 2017) asks for samples of all that has the style, and not
for the one picture with the lowest loss: the entropy of what the noise becomes is estimated by the distances of the
paintings of a batch, and maximised.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from impasto.losses import diversity_loss
from impasto.networks import UlyanovSettings
from impasto.train.feedforward import FeedforwardTask
from impasto.train.task import repeat


class UlyanovTask(FeedforwardTask):
    """Paints every photo of a batch `samples` times, with other noise, as far as the paintings are to differ."""

    settings: UlyanovSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        [name] = self.styles
        self.styles = [name, *(f"{name}-{n + 1}" for n in range(1, self.arguments["noises"]))]

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        samples = self.settings.samples if self.settings.diversity_weight else 1
        return super().forward(repeat(content, samples), style, generator, step)

    def paint(self, content: Tensor, which: Tensor, generator: torch.Generator, step: int) -> Tensor:
        painted: Tensor = self.network(content, self.transfer(which, step), generator)
        return painted

    def perceptual(
        self, painted: Tensor, content: Tensor, which: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        losses = super().perceptual(painted, content, which, generator)
        if self.settings.diversity_weight:
            losses["diversity"] = diversity_loss(painted.view(self.settings.samples, -1, *painted.shape[1:]))
        return losses
