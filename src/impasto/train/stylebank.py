"""Trains StyleBank in turns: T steps for banks and auto-encoder together, then one for the auto-encoder alone.

The losses of a style step are those of :mod:`impasto.train.feedforward`; that of an auto-encoder step is the MSE of the
reconstruction (Chen et al. 2017). The two differ in size by far, so the latter's gradient is scaled to a set share of
the former's (their algorithm 1), or the auto-encoder would forget the photo, or the styles. Adam heeds how large
gradients are in relation to each other, so that share decides which of the two the auto-encoder follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.nets.stylebank import Plain, as_filters
from impasto.networks import StyleBankSettings
from impasto.train.feedforward import FeedforwardTask, LossLayers
from impasto.train.task import nothing


class StyleBankTask(FeedforwardTask):
    """Trains banks and auto-encoder, or, where the auto-encoder is frozen, the banks that are not.

    The first `autoencoder_steps` are auto-encoder steps all, so that style begins where photos already come through.
    Settings' `identity_weight` is the paper's lambda, `turns` its T.
    """

    layers: ClassVar[Mapping[str, LossLayers]] = MappingProxyType({
        "vgg19": FeedforwardTask.layers["vgg19"],
        "vgg16": LossLayers("relu4_2", ("relu1_2", "relu2_2", "relu3_2", "relu4_2")),
    })  # fmt: skip
    settings: StyleBankSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        named = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        self._shared = [parameter for name, parameter in named if not name.startswith("banks.")]
        self._banks = [parameter for name, parameter in named if name.startswith("banks.")]

    @classmethod
    def make(
        cls,
        kind: str,
        settings: Any,
        start: str | None,
        *,
        style: Sequence[str],
        add: Sequence[str],
        arguments: dict[str, Any],
    ) -> StyleBankTask:
        """Makes the task; see :func:`impasto.train.task.make_task`."""
        task = super().make(kind, settings, start, style=style, add=add, arguments=arguments)
        assert isinstance(task, StyleBankTask)
        if settings.banks == "random" and (start is None or add):
            for bank in task._banks:
                channels = math.isqrt(len(bank) // 9)
                nn.init.kaiming_uniform_(as_filters(bank.detach(), channels)[0], a=5**0.5)  # as nn.Conv2d begins
        return task

    def is_style_step(self, step: int) -> bool:
        if not self._shared:
            return True
        since = step - self.settings.autoencoder_steps
        return since >= 0 and since % (self.settings.turns + 1) < self.settings.turns

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        if self.is_style_step(step):
            which = self.draw(len(content), generator)
            painted = self.network(content, self.network.transfer(self.first + which)).float()  # type: ignore[operator]
            return self.weigh(self.perceptual(painted, content, which, generator))
        identity = F.mse_loss(self.network(content, Plain()).float(), content)
        idle = nothing(self.network.banks, *([] if self.rival is None else [self.rival]))  # type: ignore[arg-type]
        return {"loss": identity + idle, "identity": identity}

    def adjust_gradients(self, step: int) -> None:
        """Scales the gradient of an auto-encoder step to lambda times the norm of the last style step's."""
        for unused in [*self._banks, *([] if self.rival is None else self.rival.parameters())]:
            if unused.grad is not None and not unused.grad.any():  # no picture was painted with it
                unused.grad = None  # or Adam would move it on, by its momentum
        if self.is_style_step(step):
            self.memory["style norm"] = self._norm()
        elif "style norm" in self.memory:  # from the first style step on
            scale = self.settings.identity_weight * self.memory["style norm"] / self._norm().clamp_min(1e-12)
            for parameter in self._shared:
                assert parameter.grad is not None
                parameter.grad *= scale

    def _norm(self) -> Tensor:
        """Of the gradient of the auto-encoder."""
        norms = [parameter.grad.norm() for parameter in self._shared if parameter.grad is not None]
        return torch.stack(norms).norm() if norms else torch.zeros(())
