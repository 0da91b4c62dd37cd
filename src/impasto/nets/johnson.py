"""The transform network as Johnson et al. 2016 made it; :mod:`impasto.nets.feedforward` has one that suits a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.nets.compact import convolution
from impasto.nets.feedforward import Block, Norm, RowNetwork
from impasto.nets.norm import Adapt


class Johnson(RowNetwork):
    """The network of Johnson, Alahi and Fei-Fei 2016, table 1 of their supplement, for one style.

    9x9 at full size, two 3x3 with stride 2, five residual blocks without a ReLU after the sum, two 3x3 with stride 1/2,
    9x9, and a scaled tanh. A normalisation and ReLU follow every other convolution. One thing is not theirs: each
    convolution mirrors its input at the borders, where they mirror 40 pixels once and let the blocks eat them up; the
    strided halves have zeros there, as theirs.

    Args:
        styles: N, the number of styles it learns.
        norm: "batch" as in the paper; "instance" as the authors' later models; or "renorm".
        width: channels at full size, theirs are 32; twice as many at half size, and four times at a quarter.
        blocks: number of residual blocks.
    """

    description = "the original transform network, 9x9 and strided convolutions, for the one style it was trained on"

    def __init__(self, styles: int = 1, norm: Norm = "batch", width: int = 32, blocks: int = 5) -> None:
        super().__init__(styles, norm, width=width, blocks=blocks)
        self.adaptive = (width, 2 * width, *[4 * width] * (1 + 2 * blocks), 2 * width, width)
        self.strides = (1, 2, *[4] * (1 + 2 * blocks), 2, 1)
        self.first = _convolution_9x9(3, width)
        self.down = nn.ModuleList([convolution(width, 2 * width, 2), convolution(2 * width, 4 * width, 2)])
        self.blocks = nn.ModuleList(Block(4 * width) for _ in range(blocks))
        self.up = nn.ModuleList([_strided_half(4 * width, 2 * width), _strided_half(2 * width, width)])
        self.to_picture = _convolution_9x9(width, 3)
        self.make_rows()

    def forward(self, image: Tensor, adapt: Adapt) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size."""
        height, width = image.shape[2:]
        features = F.pad(image, (0, -width % 4, 0, -height % 4), mode="replicate")
        for layer in (self.first, *self.down):
            features = F.relu(adapt(layer(features)))
        for block in self.blocks:
            features = block(features, adapt)
        for layer in self.up:
            features = F.relu(adapt(layer(features)))
        painted = (torch.tanh(self.to_picture(features)) + 1) / 2
        return painted[..., :height, :width]


def _convolution_9x9(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 9, padding=4, padding_mode="reflect")


def _strided_half(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)
