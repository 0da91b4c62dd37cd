"""Fitting styles: the style tensor that paints best, found by gradient for one painting instead of told for any.

How a network gets from a picture to its style is learnt on other pictures, and what it says of one that it has never
seen is not the best that it can paint with. Here the network stays as it is and the style tensor is trained, by the
losses that the network was trained with, on any photos. What comes out is a style like others: as small, as fast, and
open to every control.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor, nn

from impasto.alpha import weigh
from impasto.checks import make_plain, require_at_least
from impasto.errors import ImpastoError
from impasto.files import write_file
from impasto.fitting import LARGEST
from impasto.graph import GraphStylizer
from impasto.image import to_float
from impasto.losses import content_loss, style_loss, style_statistics, total_variation
from impasto.model import find_model
from impasto.nets import load_network
from impasto.nets.norm import Network
from impasto.nets.vgg import Encoder, load_encoder
from impasto.progress import meter
from impasto.style import Style
from impasto.stylizer import Stylizer
from impasto.train.augment import smooth_pictures
from impasto.train.data import Pictures, manifest
from impasto.train.hardware import autocast_where_faster, keep_freed_memory


@dataclass(frozen=True)
class Fitting:
    """Everything that decides what fitting computes, beside the pictures."""

    steps: int = 40
    batch: int = 4
    crop: int = 128
    scale: tuple[float, float] = (0.25, 0.5)
    """A crop's side as a fraction of the photo's short side: as in photos with short sides of 256 to 512 pixels."""
    lr: float = 0.05
    """Of Adam, for means in units of the standard deviation, and for the logarithms of standard deviations."""
    style_weight: float = 24.0
    """Of the style loss, as a share of what the same photos have unpainted: soft paintings shall count, too."""
    smooth_weight: float = 10_000.0
    """Of the total variation of what becomes of smooth pictures with a little noise: skies shall stay skies."""
    seed: int = 0

    def __post_init__(self) -> None:
        make_plain(self)
        require_at_least(1, steps=self.steps, batch=self.batch, crop=self.crop)
        require_at_least(0, lr=self.lr, style_weight=self.style_weight, smooth_weight=self.smooth_weight)


class FreeStyle(nn.Module):
    """A style tensor [S] whose means and standard deviations can be trained; it begins as `style`.

    Args:
        style: [S], for each adaptive layer its C means and then its C standard deviations.
        adaptive: channels of each adaptive layer.
    """

    style: Tensor
    unit: Tensor
    is_mean: Tensor

    def __init__(self, style: Tensor, adaptive: Sequence[int]) -> None:
        super().__init__()
        layers = torch.split(style, [2 * channels for channels in adaptive])
        self.register_buffer("style", style)
        self.register_buffer("unit", torch.cat([layer[len(layer) // 2 :].repeat(2) for layer in layers]))
        self.register_buffer("is_mean", torch.cat([torch.arange(2 * channels) < channels for channels in adaptive]))
        self.change = nn.Parameter(torch.zeros_like(style))

    def forward(self) -> Tensor:
        return self.changed(self.change)

    def changed(self, change: Tensor) -> Tensor:
        """The style tensor after a change [S]: of means in units, of standard deviations in logarithms."""
        factor = change.clamp(-LARGEST, LARGEST).exp()
        return torch.where(self.is_mean, self.style + self.unit * change, self.style * factor)


def fit_styles(
    painter: Stylizer, styles: Sequence[Style], photos: Pictures, fitting: Fitting | None = None
) -> list[Style]:
    """The styles of pictures, fitted to them.

    Args:
        painter: the model that the styles are of, one that takes the style of any picture.
        styles: as :meth:`impasto.stylizer.Stylizer.style` takes them, with their pictures: where fitting begins.
        photos: what is painted meanwhile; the fitted styles are for any photo.
        fitting: the settings; left out, those of the shipped styles.

    Raises:
        ImpastoError: the system or a style is not of that kind, or the VGG-19 weights are not on this machine.
    """
    fitting = fitting or Fitting()
    if not isinstance(painter, GraphStylizer) or painter.model.trained_styles:
        raise ImpastoError(f"{painter.name} has no style of any picture that could be fitted: choose adain")
    if without := [style.name for style in styles if style.picture is None]:
        raise ImpastoError(f"the style {without[0]} cannot be fitted: give the picture that it is of")
    keep_freed_memory()
    network, encoder = load_network(painter.model), load_encoder()
    fitted: list[Style] = []
    total = len(styles) * fitting.steps
    with meter("Fitting styles", total) as show:
        for style in styles:
            free = FreeStyle(torch.from_numpy(style.tensor), network.adaptive)
            for step in _train(free, network, encoder, style, photos, fitting):
                show(len(fitted) * fitting.steps + step, total)
            fitted.append(replace(style, tensor=free().detach().numpy()))
    return fitted


def _train(
    free: FreeStyle, network: Network, encoder: Encoder, style: Style, photos: Pictures, fitting: Fitting
) -> Iterator[int]:
    """Trains the tensor of one style; gives the number of steps after each."""
    assert style.picture is not None
    with torch.no_grad():
        weight = None if style.alpha is None else torch.from_numpy(weigh(style.alpha))
        statistics = style_statistics(encoder.taps(torch.from_numpy(to_float(style.picture))), weight)
    target = [(mean.expand(fitting.batch, -1), std.expand(fitting.batch, -1)) for mean, std in statistics]
    generator, of_skies = (torch.Generator().manual_seed(fitting.seed) for _ in range(2))
    optimiser = torch.optim.Adam(free.parameters(), fitting.lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, fitting.steps)
    for step in range(1, fitting.steps + 1):
        crops = photos.crops(fitting.batch, fitting.crop, fitting.scale, generator)
        skies = smooth_pictures(1, fitting.crop, of_skies)
        with autocast_where_faster(torch.device("cpu")):
            with torch.no_grad():
                unpainted = encoder.taps(crops)
                far = style_loss(style_statistics(unpainted), target)
            tensor = free()[None]
            taps = encoder.taps(network(crops, network.adapt_to(tensor.expand(len(crops), -1))))
            sky = network(skies, network.adapt_to(tensor)).float()
        loss = (
            content_loss(taps[-1], unpainted[-1])
            + fitting.style_weight * style_loss(style_statistics(taps), target) / far
            + fitting.smooth_weight * total_variation(sky)
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        yield step


def fit_gallery(
    model: str | os.PathLike[str], gallery: Path, content: Sequence[str], fitting: Fitting | None = None
) -> Path:
    """Fits the styles that come with a model to their paintings.

    Args:
        model: name of a shipped model, or a model folder that has styles. It is changed in place.
        gallery: folder of pictures named like the styles; a style without one stays as it is.
        content: folders or tar files of photos.
        fitting: the settings; left out, those of the shipped styles.

    Returns:
        The path of the file that holds the styles.

    Raises:
        ImpastoError: see :func:`fit_styles`; or the model has no styles, or none of the pictures is of one, or its
            folder may not be written to.
    """
    fitting = fitting or Fitting()
    found = find_model(model)
    painter = GraphStylizer(found, "onnxruntime")
    pictures = {file.stem: file for file in sorted(gallery.glob("*.*")) if file.stem in found.gallery}
    if not pictures:
        raise ImpastoError(f"{gallery} has no picture named like a style of {found.name}: see `impasto styles`")
    found.card.write(found.folder)  # as it is: where that is not allowed, it is better known now than at the end
    photos = Pictures(content, label="photos")
    styles = [painter.style(file, name=name) for name, file in pictures.items()]
    fitted = fit_styles(painter, styles, photos, fitting)
    path = found.folder / "gallery.safetensors"
    write_file(path, save(load_file(path) | {style.name: style.tensor.astype(np.float16) for style in fitted}))
    told = {"settings": asdict(fitting), "styles": sorted(pictures), "photos": manifest(photos.entries, "photos")}
    replace(found.card, fitted=[*(found.card.fitted or []), told]).write(found.folder)
    return path
