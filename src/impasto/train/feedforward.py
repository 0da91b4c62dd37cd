"""Trains the networks that know their styles: perceptual losses against Gram matrices that are computed once.

Johnson et al. 2016 with one style, Dumoulin et al. 2017 with N: every picture of a batch is painted in one of the
styles at random, and judged by

* content: MSE of relu4_1 of the normalised VGG-19, or of a layer of VGG-16 as in the papers, to the photo's own;
* style: the sum over four layers of ||G(x) - G(s)|| / ||G(s)||, with G the Gram matrix. The papers take the squared
  distance, which is to be had as "gram-squared"; but Gram matrices of quiet pictures are ten times smaller than those
  of loud ones, and with the squares, as they are or as a quotient, one kind would drown the other;
* tv: total variation, against noise;
* adversarial, if wanted: whether a critic of patches, trained at the same time, tells it from crops of the style
  picture, see :mod:`impasto.nets.critic`;
* identity: MSE of one unstyled picture of the batch, so that strength 0 is the photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.alpha import crop_to_visible, fill
from impasto.errors import ImpastoError
from impasto.image import read_image, resize_short_side, to_float
from impasto.losses import content_loss, gram, total_variation
from impasto.model import find_model
from impasto.nets.critic import Critic, adversarial_loss
from impasto.nets.feedforward import RowNetwork
from impasto.nets.norm import Adapt
from impasto.nets.stylebank import StyleBank
from impasto.nets.vgg import Encoder, load_encoder
from impasto.networks import FeedforwardSettings
from impasto.place import find_pictures
from impasto.train.task import Task, grid, nothing, start_network

#: Where a critic looks at pictures, as Li and Wand's does.
CRITICISED = "relu3_1"


def style_pictures(sources: Sequence[str], size: int) -> dict[str, Tensor]:
    """Style pictures by the stem of their file's name, each [1, 3, H, W] in 0..1 with a short side of `size`.

    Args:
        sources: pictures, folders or tar shards of them, by path or URL.
    """
    pictures: dict[str, Tensor] = {}
    for entry in find_pictures(sources):
        name = PurePath(entry.name).stem
        if name in pictures:
            raise ImpastoError("two style pictures have the same name: styles are named like their files, rename one")
        try:
            pixels = fill(crop_to_visible(read_image(entry.read()), "it"))
        except ImpastoError as error:  # which knows only bytes
            raise ImpastoError(f"{entry.name}: {error}") from None
        pictures[name] = torch.from_numpy(to_float(resize_short_side(pixels, size)))
    return pictures


class LossLayers(NamedTuple):
    """Layers of a loss network at which content and style are compared."""

    content: str
    style: tuple[str, ...]

    @property
    def last(self) -> str:
        return max(self.content, *self.style)


class FeedforwardTask(Task):
    """Trains a feed-forward network in its last styles, those whose pictures are given.

    Args:
        kind: "feedforward", "johnson", "ulyanov", "cin" or "stylebank".
        network: as many of its parameters as require a gradient are trained.
        encoder: the loss network that the settings name.
        settings: of the run.
        styles: names of all its styles, in the order of its rows.
        pictures: [1, 3, H, W] in 0..1, one for each of the last rows.
    """

    #: By loss network; those of VGG-16 are Johnson's.
    layers: ClassVar[Mapping[str, LossLayers]] = MappingProxyType({
        "vgg19": LossLayers("relu4_1", ("relu1_1", "relu2_1", "relu3_1", "relu4_1")),
        "vgg16": LossLayers("relu2_2", ("relu1_2", "relu2_2", "relu3_3", "relu4_3")),
    })  # fmt: skip
    settings: FeedforwardSettings

    def __init__(
        self,
        kind: str,
        network: RowNetwork | StyleBank,
        encoder: Encoder,
        settings: FeedforwardSettings,
        styles: Sequence[str],
        pictures: Sequence[Tensor],
    ) -> None:
        super().__init__(settings)
        self.kind, self.arguments, self.styles = kind, network.arguments, styles
        self.network: nn.Module = network
        self.encoder = encoder
        self.first = len(styles) - len(pictures)
        self.pictures = pictures
        self.compared = self.layers[settings.loss_network]
        with torch.no_grad():
            grams = [
                [gram(features)[0] for features in encoder.features(picture, self.compared.style).values()]
                for picture in pictures
            ]
        self.targets = nn.ParameterList(
            nn.Parameter(torch.stack(layer), requires_grad=False) for layer in zip(*grams, strict=True)
        )
        if settings.adversarial_weight:
            with torch.no_grad():
                found = [encoder.features(picture, [CRITICISED])[CRITICISED] for picture in pictures]
            spread = torch.stack([features.var((2, 3)) for features in found]).mean().sqrt().item()
            self.rival = Critic(found[0].shape[1], spread, len(pictures))

    @classmethod
    def make(
        cls,
        kind: str,
        settings: FeedforwardSettings,
        start: str | None,
        *,
        style: Sequence[str],
        add: Sequence[str],
        arguments: dict[str, Any],
    ) -> FeedforwardTask:
        """Makes the task; see :func:`impasto.train.task.make_task`.

        With `add` only the rows of the new styles are trained, from the first step on for style.
        """
        pictures = style_pictures([*style, *add], settings.style_size)
        names = list(pictures)
        if add and style:
            raise ImpastoError("--style and --add: the model of --start brings its styles with it, leave --style out")
        if kind in ("feedforward", "johnson", "ulyanov") and (add or len(names) != 1):
            raise ImpastoError(f"{kind} is one network for one style, not {len(names)}: train cin for several")
        network = start_network(kind, start, {**arguments, "styles": len(names)} if start is None else arguments)
        assert isinstance(network, RowNetwork | StyleBank)
        if start is not None:
            known = find_model(start).trained_styles[: network.arguments["styles"]]  # those learnt, without variants
            if add:
                settings = replace(settings, autoencoder_steps=0, identity_weight=0.0)
                if again := set(known) & set(names):
                    raise ImpastoError(f"the model {start} knows {', '.join(sorted(again))} already")
                for _ in names:
                    network.add_style()
                names = known + names
            elif sorted(known) != sorted(names):
                raise ImpastoError(
                    f"the model {start} has the styles {', '.join(known)}: give their pictures with --style"
                )
            else:
                names, pictures = known, {name: pictures[name] for name in known}
        if not add:
            network.requires_grad_(True)
        encoder = load_encoder(network=settings.loss_network, last=cls.layers[settings.loss_network].last)
        return cls(kind, network, encoder, settings, names, list(pictures.values()))

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        which = self.draw(len(content), generator)
        painted = self.paint(content, which, generator, step).float()
        losses = {}
        if self.settings.identity_weight:
            unstyled = self.network(content[:1], lambda features: features).float()
            losses["identity"] = F.mse_loss(unstyled, content[:1])
        if step < self.settings.autoencoder_steps:
            idle = [] if self.rival is None else [nothing(self.rival)]
            return {"loss": torch.stack([F.mse_loss(painted, content), *losses.values(), *idle]).sum(), **losses}
        return self.weigh({**losses, **self.perceptual(painted, content, which, generator)})

    def paint(self, content: Tensor, which: Tensor, generator: torch.Generator, step: int) -> Tensor:
        """Paints photos [N, 3, H, W] in the styles of these numbers [N]."""
        painted: Tensor = self.network(content, self.transfer(which, step))
        return painted

    def transfer(self, which: Tensor, step: int) -> Adapt:
        """The network's `adapt` for styles of these numbers [N]."""
        adapt: Adapt = self.network.transfer(self.first + which, step / self.settings.steps)  # type: ignore[operator]
        return adapt

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """[count], the number of the style, among those with a picture, for each photo of a batch."""
        return torch.randint(len(self.pictures), (count,), generator=generator)

    def perceptual(
        self, painted: Tensor, content: Tensor, which: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """What photos [N, 3, H, W] painted in the styles of these numbers [N] lose."""
        content_layer, style_layers = self.compared
        with torch.no_grad():
            features = self.encoder.features(content, [content_layer])[content_layer]
        seen = self.encoder.features(painted, {content_layer, *style_layers, CRITICISED})
        losses = {
            "content": content_loss(seen[content_layer], features),
            "style": self.style_loss([seen[layer] for layer in style_layers], which),
            "tv": total_variation(painted),
        }
        if self.rival is not None:
            with torch.no_grad():
                crops = self.crop_styles(which, painted.shape[-1], generator)
                real = self.encoder.features(crops, [CRITICISED])[CRITICISED]
            losses["adversarial"] = adversarial_loss(self.rival, real.float(), seen[CRITICISED].float(), which)
        return losses

    def crop_styles(self, which: Tensor, side: int, generator: torch.Generator) -> Tensor:
        """Draws crops of the style pictures of these numbers [N]: [N, 3, side, side], smaller where a picture is."""
        side = min(side, *(edge for picture in self.pictures for edge in picture.shape[2:]))
        crops = []
        for number, place in zip(which.tolist(), torch.rand(len(which), 2, generator=generator).tolist(), strict=True):
            picture = self.pictures[number]
            spaces = zip(place, picture.shape[2:], strict=True)
            top, left = (int(share * (edge - side + 1)) for share, edge in spaces)
            crops.append(picture[..., top : top + side, left : left + side])
        return torch.cat(crops).to(which.device)

    def style_loss(self, features: Sequence[Tensor], which: Tensor) -> Tensor:
        """Mean over the batch of the distances of the Gram matrices to those of the styles, summed over the layers.

        ||G(x) - G(s)|| / ||G(s)||; or ||G(x) - G(s)||^2 / C^2 (Johnson et al. 2016, whose G is G / C here).
        """
        losses = []
        for own, target in zip(map(gram, features), self.targets, strict=True):
            wanted = target[which]
            if self.settings.style_loss == "gram-squared":
                losses.append(F.mse_loss(own, wanted))
            else:
                distance = torch.linalg.matrix_norm(own - wanted) / torch.linalg.matrix_norm(wanted)
                losses.append(distance.mean())
        return torch.stack(losses).sum()

    @torch.no_grad()
    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        one = torch.ones((), device=content.device)
        rows = network.styles()[self.first :]  # type: ignore[operator]
        stats = one.new_zeros(1, 2 * sum(network.adaptive))  # type: ignore[arg-type]
        painted = [
            network(photo[None], network.control(row[None], one.view(1, 1, 1, 1), one, stats, stats[0]))  # type: ignore[operator]
            for row in rows
            for photo in content
        ]
        side = content.shape[-1]
        squares = [F.interpolate(p, (side, side), mode="bilinear", antialias=True) for p in self.pictures]
        return grid(content, torch.cat(squares).to(content.device), torch.cat(painted))
