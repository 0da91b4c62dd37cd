"""The network of the paper: VGG-19 encoder, one adaptive layer at relu4_1, a decoder that mirrors the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.nets.norm import Adapt, Control, Network, restate
from impasto.nets.vgg import Encoder

DecoderKind = Literal["adain", "concat", "bn", "in"]
#: Layers of VGG-19 whose features are adapted: how many taps lead there, and how many channels it has.
LAYERS = {"relu3_1": (3, 256), "relu4_1": (4, 512)}
DECODERS: tuple[DecoderKind, ...] = get_args(DecoderKind)


def _batch_norm(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)]


def _instance_norm(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels, affine=True)]


def _no_norm(channels: int) -> list[nn.Module]:
    return []


_NORMS: dict[str, Callable[[int], list[nn.Module]]] = {"bn": _batch_norm, "in": _instance_norm}


class Decoder(nn.Sequential):
    """relu4_1 features [N, 512, H/8, W/8], or relu3_1's [N, 256, H/4, W/4], back to a picture [N, 3, H, W].

    Nearest up-sampling against checkerboards, reflection padding against borders, and no normalisation layers: those
    would pull every picture towards one style (section 5 of the paper). Module indices, hence the keys
    ``1 5 8 11 14 18 21 25 28``, are those of the widely used ``decoder.pth``.

    Args:
        kind: "adain" is that. The others are what the paper compares it with (section 7.1): "bn" and "in" have batch or
            instance normalisation after every convolution but the last; "concat" takes features of content and style
            side by side, twice the channels, instead of those that AdaIN has made of them.
        layer: "relu4_1", or "relu3_1", whose decoder is the last part of the other.
    """

    def __init__(self, kind: DecoderKind = "adain", layer: str = "relu4_1") -> None:
        norm = _NORMS.get(kind, _no_norm)

        def convolution(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), *norm(outputs), nn.ReLU()]

        def double() -> nn.Module:
            return nn.Upsample(scale_factor=2, mode="nearest")

        inputs = LAYERS[layer][1] * (2 if kind == "concat" else 1)
        deepest = [
            *convolution(inputs, 256), double(),
            *convolution(256, 256), *convolution(256, 256), *convolution(256, 256),
        ]  # fmt: skip
        super().__init__(
            *(deepest if layer == "relu4_1" else []),
            *convolution(256 if layer == "relu4_1" else inputs, 128), double(),
            *convolution(128, 128), *convolution(128, 64), double(),
            *convolution(64, 64), nn.ReflectionPad2d(1), nn.Conv2d(64, 3, 3),
        )  # fmt: skip


class DecoderControl(Control):
    """Run-time controls of a decoder with instance normalisation, whose statistics belong to those of the picture."""

    def normalise(self, features: Tensor, layer: nn.InstanceNorm2d) -> Tensor:
        """Runs instance normalisation, where each region has statistics of its own and tiles share the picture's."""
        share, own = self._content(features)
        channels = int(features.shape[1])
        standard = torch.cat([torch.zeros_like(own[:, :channels]), torch.ones_like(own[:, channels:])], 1)
        return restate(features, share, own, standard) * layer.weight[:, None, None] + layer.bias[:, None, None]


class BesideControl(Control):
    """Run-time controls of the decoder that sees features of content and style side by side.

    Its style tensor is a style picture's feature maps, [K, C * SIDE * SIDE], which are laid over the picture at the
    scale of training, mirrored again and again. Strength goes there from the content's own features.
    """

    SIDE = 32

    def __call__(self, features: Tensor) -> Tensor:
        share, _ = self._content(features)
        channels, (height, width) = int(features.shape[1]), features.shape[2:]
        maps = self._style.view(-1, channels, self.SIDE, self.SIDE)
        maps = maps[:, :, self._mirror(height, features)][..., self._mirror(width, features)]
        styles = torch.lerp(features, maps, self._strength)
        return torch.cat([features, (share * styles).sum(0, keepdim=True)], 1)

    def _mirror(self, length: int, like: Tensor) -> Tensor:
        """The numbers 0, 1 ... SIDE - 1, SIDE - 1 ... 1, 0, 0, 1 ... up to a length."""
        last = self.SIDE - 1
        numbers = torch.arange(length, device=like.device) % (2 * self.SIDE)
        return torch.minimum(numbers, 2 * last + 1 - numbers)


class AdaIN(Network):
    """T(c, s) = g(AdaIN(f(c), f(s))), eq. 9 to 11 of Huang and Belongie 2017.

    Args:
        decoder: the kind of g, see :class:`Decoder`.
        layer: where f ends: "relu4_1" as in the paper, or "relu3_1", which keeps more of the photo.
    """

    description = "the network of the paper: VGG-19 encoder, AdaIN at {layer}, mirrored decoder"
    choices = ("decoder", "layer")
    prefix = "decoder."

    def __init__(self, decoder: DecoderKind = "adain", layer: str = "relu4_1") -> None:
        super().__init__()
        if decoder not in DECODERS:
            raise ImpastoError(f"no decoder {decoder}: choose {', '.join(DECODERS)}")
        if layer not in LAYERS:
            raise ImpastoError(f"no layer {layer}: choose {', '.join(LAYERS)}")
        self.arguments = {"decoder": decoder, "layer": layer}
        self.kind = decoder
        self.depth, self._channels = LAYERS[layer]
        self.encoder = Encoder()
        self.decoder = Decoder(decoder, layer)
        stride = 2 ** (self.depth - 1)
        layers = [(self._channels, stride)]
        for module in self.decoder:
            if isinstance(module, nn.Upsample):
                stride //= 2
            elif isinstance(module, nn.InstanceNorm2d):
                layers.append((module.num_features, stride))
        self.adaptive, self.strides = (tuple(column) for column in zip(*layers, strict=True))
        self.in_parts = decoder != "concat"

    @property
    def style_size(self) -> int:
        """S: the statistics of the layer; for "concat" the feature maps of a picture of 8 or 4 times 32 pixels."""
        return self._channels * (BesideControl.SIDE**2 if self.kind == "concat" else 2)

    @property
    def takes_statistics(self) -> bool:
        return self.kind in ("adain", "bn")

    def style_from(self, statistics: Tensor, pictures: Tensor) -> Tensor:
        """See :meth:`Network.style_from`; those of the decoder's own layers are no part of a style."""
        if self.kind == "concat":
            side = BesideControl.SIDE * self.strides[0]
            small = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False)
            return self.encoder.taps(small, self.depth)[-1].flatten(1) + 0 * statistics.mean()  # an input of the graph
        return statistics[:, : self.style_size] + 0 * pictures.mean()

    def control(
        self, style: Tensor, mask: Tensor | None, strength: Tensor, stats: Tensor | None, inertia: Tensor | None
    ) -> Control:
        kinds = {"concat": BesideControl, "in": DecoderControl}
        return kinds.get(self.kind, Control)(style, mask, strength, stats, inertia)

    def forward(self, image: Tensor, adapt: Adapt) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size (not clamped)."""
        features = adapt(self.encoder.taps(image, self.depth)[-1])
        for module in self.decoder:
            if isinstance(adapt, DecoderControl) and isinstance(module, nn.InstanceNorm2d):
                features = adapt.normalise(features, module)
            else:
                features = module(features)
        return features[..., : image.shape[2], : image.shape[3]]  # the encoder rounds sizes up to multiples of 8

    def train(self, mode: bool = True) -> AdaIN:
        super().train(mode)
        self.encoder.eval()
        return self
