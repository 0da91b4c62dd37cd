"""Trains StyleBank in turns: T steps for banks and auto-encoder together, then one for the auto-encoder alone.

The losses of a style step are those of :mod:`impasto.train.feedforward`; that of an auto-encoder step is the MSE of the
reconstruction (Chen et al. 2017). The two differ in size by far, so the latter's gradient is scaled to a set share of
the former's (their algorithm 1), or the auto-encoder would forget the photo, or the styles.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.nets.stylebank import Plain
from impasto.train.feedforward import FeedforwardTask

#: T, the style steps between two auto-encoder steps.
TURNS = 2


class StyleBankTask(FeedforwardTask):
    """Trains banks and auto-encoder, or, where the auto-encoder is frozen, the banks that are not.

    The first `autoencoder_steps` are auto-encoder steps all, so that style begins where photos already come through.
    Settings' `identity_weight` is the paper's lambda.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        self._shared = [parameter for name, parameter in named if not name.startswith("banks.")]
        self._banks = [parameter for name, parameter in named if name.startswith("banks.")]

    def is_style_step(self, step: int) -> bool:
        if not self._shared:
            return True
        return (
            step >= self.settings.autoencoder_steps and (step - self.settings.autoencoder_steps) % (TURNS + 1) < TURNS
        )

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        if self.is_style_step(step):
            which = self.draw(len(content), generator)
            painted = self.network(content, self.network.transfer(self.first + which)).float()  # type: ignore[operator]
            return self.weigh(self.perceptual(painted, content, which))
        identity = F.mse_loss(self.network(content, Plain()).float(), content)
        # Several processes wait for a gradient of every parameter: the banks' is 0.
        unused = torch.stack([bank.sum() for bank in self._banks]).sum()
        return {"loss": identity + 0 * unused, "identity": identity}

    def adjust_gradients(self, step: int) -> None:
        """Scales the gradient of an auto-encoder step to lambda times the norm of the last style step's."""
        if self.is_style_step(step):
            self.memory["style norm"] = self._norm()
            return
        for bank in self._banks:
            bank.grad = None  # or Adam would move it on, by its momentum
        if "style norm" in self.memory:  # from the first style step on
            scale = self.settings.identity_weight * self.memory["style norm"] / self._norm().clamp_min(1e-12)
            for parameter in self._shared:
                assert parameter.grad is not None
                parameter.grad *= scale

    def _norm(self) -> Tensor:
        """Of the gradient of the auto-encoder."""
        norms = [parameter.grad.norm() for parameter in self._shared if parameter.grad is not None]
        return torch.stack(norms).norm() if norms else torch.zeros(())
