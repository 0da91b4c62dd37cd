"""The fixed encoder and loss network: the "normalised" VGG-19 up to relu4_1.

Module indices are those of the usual AdaIN ``nn.Sequential`` (0 is the 1x1 convolution that takes RGB in 0..1 to
BGR x 255 minus the ImageNet mean), so that the widely used checkpoint files load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from impasto.vgg19 import find_weights

#: Modules whose outputs are relu1_1, relu2_1, relu3_1 and relu4_1.
TAPS = (3, 10, 17, 30)
#: Inputs and outputs of the 3x3 convolutions conv1_1 to conv4_1; None is a 2x2 max pooling.
_PLAN = ((3, 64), (64, 64), None, (64, 128), (128, 128), None,
         (128, 256), (256, 256), (256, 256), (256, 256), None, (256, 512))  # fmt: skip


class Encoder(nn.Sequential):
    """VGG-19 from the picture to relu4_1, with reflection padding; frozen.

    Args:
        share: of VGG-19's channels, 1 over this many.
    """

    def __init__(self, share: int = 1) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
        for convolution in _PLAN:
            if convolution is None:
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            else:
                inputs, outputs = (channels if channels == 3 else channels // share for channels in convolution)
                layers += [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
        super().__init__(*layers)
        self.eval().requires_grad_(False)

    def taps(self, image: Tensor, count: int = len(TAPS)) -> list[Tensor]:
        """Features at relu1_1, relu2_1, relu3_1 and relu4_1, or the first `count`, of images [N, 3, H, W] in 0..1."""
        features = []
        for index, layer in enumerate(self):
            image = layer(image)
            if index in TAPS:
                features.append(image)
                if len(features) == count:
                    break
        return features


def load_encoder(folder: str | None = None) -> Encoder:
    """The encoder with the weights that :func:`impasto.vgg19.find_weights` finds."""
    encoder = Encoder()
    encoder.load_state_dict({key: torch.from_numpy(value) for key, value in find_weights(folder).items()})
    return encoder
