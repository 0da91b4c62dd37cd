"""Trains the decoder of the paper's network."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.losses import style_statistics
from impasto.nets.adain import AdaIN, Decoder
from impasto.nets.norm import adain, feature_statistics
from impasto.nets.vgg import TAPS, load_encoder
from impasto.networks import AdaINSettings
from impasto.train.data import Pictures
from impasto.train.inverse import invert_encoder
from impasto.train.task import (
    StyleTransferTask,
    grid,
    pair_statistics,
    repeat,
    roll_pairings,
    start_network,
)


class AdaINTask(StyleTransferTask):
    """Trains the decoder of the paper: L_c against t = AdaIN(f(c), f(s)), and L_s at the four taps.

    What is beyond the paper is there for short runs, since the two losses leave a fresh decoder grey for a thousand
    steps: with `fit_crops` it begins as the inverse of the encoder, g(f(x)) = x, with `autoencoder_steps` it learns to
    be that first, and `identity_weight` keeps some of it afterwards.
    """

    kind = "adain"
    settings: AdaINSettings

    def __init__(self, network: AdaIN, settings: AdaINSettings) -> None:
        super().__init__(network.decoder, network.encoder, settings)
        self.arguments, self.depth = network.arguments, network.depth

    @classmethod
    def make(
        cls, kind: str, settings: AdaINSettings, start: str | None, *, arguments: dict[str, Any], **_: Any
    ) -> AdaINTask:
        """Makes the task; see :func:`impasto.train.task.make_task`."""
        network = start_network(kind, start, arguments)
        assert isinstance(network, AdaIN)
        if settings.fit_crops and (start is not None or network.arguments["decoder"] != "adain"):
            reason = "only the paper's decoder is one" if start is None else f"{start} has weights already"
            raise ImpastoError(f"the encoder's inverse is for fresh weights and {reason}: leave out --fit-crops")
        if start is None:
            network.encoder = load_encoder()
        network.decoder.requires_grad_(True)
        return cls(network, settings)

    def begin(self, content: Pictures, style: Pictures) -> None:
        count, seed = self.settings.fit_crops, self.settings.seed
        if count == 0:
            return
        assert isinstance(self.network, Decoder)
        generator = torch.Generator().manual_seed(seed)
        sizes = self.settings.crop, self.settings.scale, generator
        crops = torch.cat([content.crops(-(-count // 2), *sizes), style.crops(count // 2, *sizes)])
        invert_encoder([*self.encoder][: TAPS[self.depth - 1] + 1], self.network, crops, seed)

    def decode(self, network: nn.Module, content: Tensor, style: Tensor, target: Tensor, size: torch.Size) -> Tensor:
        """Pictures from t, or, by the decoder made for that, from the features of content and style side by side.

        Args:
            network: the decoder.
            content, style, target: features [N, C, H, W], the target being t = AdaIN(content, style).
            size: height and width of the pictures that the content's features are of.
        """
        beside = self.arguments.get("decoder") == "concat"
        decoded: Tensor = network(torch.cat([content, style], 1) if beside else target).float()
        return decoded[..., : size[0], : size[1]]  # the encoder rounds sizes up

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        size = content.shape[2:]
        if step < self.settings.autoencoder_steps:
            pictures = torch.cat([content, style])
            with torch.no_grad():
                features = self._features(pictures)
            identity = F.mse_loss(self.decode(self.network, features, features, features, size), pictures)
            return {"loss": identity, "identity": identity}
        times = self.settings.pairings
        with torch.no_grad():
            taps = self.encoder.taps(style, self.depth)
            features, styles = repeat(self._features(content).float(), times), roll_pairings(taps[-1].float(), times)
            statistics = pair_statistics(style_statistics(taps), times)
            target = adain(features, *statistics[-1])
        wanted = target if self.settings.content_target == "adain" else features
        if self.settings.identity_weight == 0:
            return self.weigh(
                self.losses(self.decode(self.network, features, styles, target, size), wanted, statistics)
            )
        # One of the batch goes through unstyled: strength 0 shall stay a reconstruction.
        own = features[:1]
        features, styles, target = (torch.cat([part, own]) for part in (features, styles, target))
        decoded = self.decode(self.network, features, styles, target, size)
        losses = self.losses(decoded[:-1], wanted, statistics)
        return self.weigh({**losses, "identity": F.mse_loss(decoded[-1:], content[:1])})

    def _features(self, pictures: Tensor) -> Tensor:
        return self.encoder.taps(pictures, self.depth)[-1]

    @torch.no_grad()
    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        return grid(content, style, torch.cat([self.paint(network, content, one[None]) for one in style]))

    @torch.no_grad()
    def paint(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """Paints pictures [N, 3, H, W] in the style of one [1, 3, H, W] with a decoder, which is left as it was."""
        features, looks = self._features(content), self._features(style)
        target = adain(features, *(part.expand(len(features), -1) for part in feature_statistics(looks)))
        return self.decode(network, features, looks.expand_as(features), target, content.shape[2:])
