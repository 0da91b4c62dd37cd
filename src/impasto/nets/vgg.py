"""The fixed encoders and loss networks: the "normalised" VGG-19, up to relu4_1 where nothing else is asked for; VGG-16.

Module indices are those of the usual AdaIN ``nn.Sequential`` (0 is the 1x1 convolution that takes RGB in 0..1 to
BGR x 255 minus the ImageNet mean), so that the widely used checkpoint files load as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from impasto import vgg16, vgg19

#: Modules whose outputs are relu1_1, relu2_1, relu3_1 and relu4_1.
TAPS = (3, 10, 17, 30)
_POOLINGS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Encoder(nn.Sequential):
    """VGG from the picture to one of its layers, with reflection padding; frozen.

    Args:
        share: of VGG's channels, 1 over this many.
        network: VGG-19 or VGG-16.
        last: where it ends.
        pooling: that of the network, or the average, which Gatys et al. 2016 prefer for making pictures.

    Attributes:
        layers: the index of the module whose output each layer is, from "relu1_1" to the last.

    Raises:
        ImpastoError: the network has no such layer.

    >>> Encoder(network="vgg16", last="relu3_1").layers
    {'relu1_1': 3, 'relu1_2': 6, 'relu2_1': 10, 'relu2_2': 13, 'relu3_1': 17}
    """

    def __init__(
        self,
        share: int = 1,
        network: Literal["vgg19", "vgg16"] = "vgg19",
        last: str = "relu4_1",
        pooling: Literal["max", "average"] = "max",
    ) -> None:
        modules: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
        layers: dict[str, int] = {}
        for name, (index, *channels) in vgg19.convolutions(network, last).items():
            if index - len(modules) == 2:
                modules.append(_POOLINGS[pooling](2, ceil_mode=True))
            inputs, outputs = (number if number == 3 else number // share for number in channels)
            modules += [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
            layers[name] = len(modules) - 1
        super().__init__(*modules)
        self.layers = layers
        self.eval().requires_grad_(False)

    def taps(self, image: Tensor, count: int = len(TAPS)) -> list[Tensor]:
        """Features at relu1_1, relu2_1, relu3_1 and relu4_1, or the first `count`, of images [N, 3, H, W] in 0..1."""
        return [*self.features(image, [f"relu{block}_1" for block in range(1, count + 1)]).values()]

    def features(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Features at some layers, by their names and from the first to the last, of images [N, 3, H, W] in 0..1."""
        wanted = {self.layers[name]: name for name in layers}
        found = {}
        for index, module in enumerate(self):
            image = module(image)
            if index in wanted:
                found[wanted[index]] = image
                if len(found) == len(wanted):
                    break
        return found

    @torch.no_grad()
    def normalise(self, image: Tensor) -> None:
        """Rescales the weights, channel by channel, until the mean activation of each over a picture is 1.

        What the network computes stays the same but for these factors (Gatys et al. 2016, section 2, where the pictures
        are those of ImageNet). Channels that hardly answer are taken for a twentieth as strong as their layer.

        Args:
            image: [1, 3, H, W] in 0..1.
        """
        before = torch.ones(3, device=image.device)
        for module in self:
            if not isinstance(module, nn.Conv2d) or module.kernel_size == (1, 1):
                image = module(image)
                continue
            module.weight *= before[:, None, None]
            means = module(image).relu().mean((0, 2, 3))
            before = means.clamp_min(0.05 * means.mean().item())
            module.weight /= before[:, None, None, None]
            assert module.bias is not None
            module.bias /= before
            image = module(image)


def load_encoder(
    folder: str | os.PathLike[str] | None = None,
    network: Literal["vgg19", "vgg16"] = "vgg19",
    last: str = "relu4_1",
    pooling: Literal["max", "average"] = "max",
) -> Encoder:
    """Makes an :class:`Encoder` with the weights that `find_weights` of :mod:`impasto.vgg19` or `vgg16` finds.

    Raises:
        ImpastoError: there are none that reach as far as that.
    """
    encoder = Encoder(network=network, last=last, pooling=pooling)
    weights = vgg19.find_weights(folder, last) if network == "vgg19" else vgg16.find_weights(folder)
    encoder.load_state_dict({key: torch.from_numpy(weights[key]) for key in encoder.state_dict()})
    return encoder
