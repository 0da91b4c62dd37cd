"""Trains the compact network."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.losses import style_loss, style_statistics, total_variation
from impasto.nets.compact import Compact
from impasto.nets.norm import Observe, adain
from impasto.nets.vgg import load_encoder
from impasto.networks import CompactSettings
from impasto.octaves import FINER
from impasto.train.augment import smooth_pictures
from impasto.train.task import (
    StyleTransferTask,
    grid,
    nothing,
    pair_statistics,
    repeat,
    roll_pairings,
    start_network,
)


class CompactTask(StyleTransferTask):
    """Trains the compact network: reconstruction first, then the paper's losses with its own statistics as style."""

    kind = "compact"
    network: Compact
    settings: CompactSettings

    @classmethod
    def make(
        cls, kind: str, settings: CompactSettings, start: str | None, *, arguments: dict[str, Any], **_: Any
    ) -> CompactTask:
        """Makes the task; see :func:`impasto.train.task.make_task`."""
        network = start_network(kind, start, arguments)
        return cls(network.requires_grad_(True), load_encoder(), settings)

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        photos, paintings, again_finer = content, style, False
        if self.settings.finer_chance:
            again_finer = float(torch.rand((), generator=generator)) < self.settings.finer_chance
            halve = _halve if again_finer else lambda pictures: pictures[_draw_quarter(pictures, generator)]
            content, style = halve(photos), halve(paintings)
        pictures = torch.cat([style, content])
        if step < self.settings.encoder_steps:
            return self._encoder_alone(pictures, len(style))
        observe = Observe()
        again = self.network(pictures, observe).float()
        identity = F.mse_loss(again, pictures)
        if step < self.settings.encoder_steps + self.settings.autoencoder_steps:
            unused = nothing(self.network.style_head, self.network.style_encoder)
            return {"loss": F.l1_loss(again, pictures) + 2 * identity + unused, "identity": identity}
        times = self.settings.pairings
        with torch.no_grad():
            features = self.encoder(content).float()
            taps = self.encoder.taps(style)
            statistics = pair_statistics(style_statistics(taps), times)
            target = repeat(features, times)
            if self.settings.content_target == "adain":
                target = adain(target, *statistics[-1])
        noted, seen = observe.style(), self.network.style_encoder(style)
        guess = measure_guess(seen, taps)
        seen = [features.detach() for features in seen]  # it shall see what VGG-19 sees, and nothing else
        self.network.remember(noted[len(style) :], noted[: len(style)])
        self.network.remember_seen(seen)
        taken = roll_pairings(self.network.style_of(noted[: len(style)], seen), times)
        painted = self.network(repeat(content, times), self.network.adapt_to(taken))
        losses = {**self.losses(painted, target, statistics), "identity": identity, "guess": guess}
        if self.settings.smooth_weight:
            skies = smooth_pictures(len(style), content.shape[-1], generator).to(content)
            losses["smooth"] = total_variation(self.network(skies, self.network.adapt_to(taken[: len(style)])).float())
        weighed = self.weigh(losses)
        if again_finer:
            first = slice(0, len(style))
            finer = self._finer_loss(photos, paintings, painted[first].float(), taken[first], generator)
            weighed |= {"loss": weighed["loss"] + finer, "finer": finer}
        return weighed

    def _finer_loss(
        self, photos: Tensor, paintings: Tensor, coarser: Tensor, style: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Loss of a second painting: to save time of a quarter of it, against a quarter of the style picture."""
        part = _draw_quarter(photos, generator)
        photo, painting = photos[part], paintings[_draw_quarter(paintings, generator)]
        rows, columns = (slice(side.start // 2, side.stop // 2) for side in part[1:])
        under = coarser[..., rows, columns]
        with torch.no_grad():
            target, statistics = self.encoder(photo).float(), style_statistics(self.encoder.taps(painting))
        losses = self.losses(self.paint_finer(photo, under, style), target, statistics)
        return self.weigh(losses)["loss"]

    def paint_finer(self, photos: Tensor, coarser: Tensor, style: Tensor) -> Tensor:
        """Paints again over what is painted, as pictures are, see :mod:`impasto.octaves`.

        Args:
            photos: [N, 3, 2H, 2W] in 0..1.
            coarser: [N, 3, H, W], what was painted of them at half their size.
            style: [N, S], the styles that they were painted in.

        Returns:
            [N, 3, 2H, 2W], not clamped.
        """
        coarser = coarser.clamp(0, 1)
        canvas = (_double(coarser) + photos - _double(_halve(photos))).clamp(0, 1)
        finer: Tensor = self.network(canvas, self.network.adapt_to(style, FINER)).float()
        return finer - _double(_halve(finer) - coarser)

    def _encoder_alone(self, pictures: Tensor, styles: int) -> dict[str, Tensor]:
        """Learns from photos as well; the first `styles` of the pictures are paintings."""
        with torch.no_grad():
            taps = self.encoder.taps(pictures)
        seen = self.network.style_encoder(pictures)
        self.network.remember_seen([features[:styles] for features in seen])
        guess = measure_guess(seen, taps)
        return {"loss": guess + nothing(self.network), "guess": guess}

    @torch.no_grad()
    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        assert isinstance(network, Compact)
        observe = Observe()
        network(style, observe)
        styles = network.style_from(observe.style(), style)[:, None].expand(-1, len(content), -1)
        painted = [network(content, network.adapt_to(style)) for style in styles]
        return grid(content, style, torch.cat(painted))


def measure_guess(guess: Sequence[Tensor], taps: Sequence[Tensor]) -> Tensor:
    """Measures how far a style encoder's guess is from VGG-19's features, at each pixel and in their statistics."""
    true = taps[-len(guess) :]
    pixels = torch.stack([F.mse_loss(g.float(), t.float()) for g, t in zip(guess, true, strict=True)]).sum()
    return pixels + style_loss(style_statistics(guess), style_statistics(true))


def _draw_quarter(pictures: Tensor, generator: torch.Generator) -> tuple[EllipsisType, slice, slice]:
    """Draws a quarter of pictures [N, C, H, H], in steps of 16 pixels: what to index them with."""
    side = pictures.shape[-1] // 2
    tops = (16 * torch.randint(side // 16 + 1, (2,), generator=generator)).tolist()
    return ..., slice(tops[0], tops[0] + side), slice(tops[1], tops[1] + side)


def _halve(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, scale_factor=0.5, mode="bicubic", antialias=True)


def _double(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, scale_factor=2, mode="bicubic", antialias=True)
