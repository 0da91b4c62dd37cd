"""The judge: VGG-19 with half of its channels, small enough to ship, for the losses that styles are fitted by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto import vgg19

#: Channels of its convolutions, from relu1_1 to relu4_1: half of VGG-19's.
WIDTHS = tuple(outputs // 2 for _, _, outputs in vgg19.convolutions("vgg19", "relu4_1").values())
#: Convolutions that give relu1_1, relu2_1, relu3_1 and relu4_1.
TAPS = (0, 2, 4, 8)
_POOLED = (2, 4, 8)  # convolutions that come after a pooling


class Judge(nn.Module):
    """The convolutions of VGG-19 up to relu4_1 with some of the channels of each, for pictures in 0..1.

    See :mod:`impasto.train.judge` for how channels are chosen.

    Args:
        widths: channels of each convolution.

    Attributes:
        kept: which of VGG-19's channels these are, of one convolution after the other.
    """

    kept: Tensor

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3) for inputs, outputs in zip((3, *widths), widths, strict=False)
        )
        self._widths = list(widths)
        self.register_buffer("kept", torch.zeros(sum(widths), dtype=torch.int16))
        self.eval().requires_grad_(False)

    def channels(self) -> list[Tensor]:
        """Which of VGG-19's channels each convolution has kept."""
        return [*torch.split(self.kept.long(), self._widths)]

    def enter(self, features: Tensor, index: int) -> Tensor:
        """What a convolution sees of the features of the one before it: pooled, where VGG-19 pools, and padded."""
        if index in _POOLED:
            features = F.max_pool2d(features, 2, ceil_mode=True)
        return F.pad(features, (1, 1, 1, 1), mode="reflect")

    def taps(self, image: Tensor) -> list[Tensor]:
        """Features at relu1_1, relu2_1, relu3_1 and relu4_1 of images [N, 3, H, W]."""
        taps = []
        for index, convolution in enumerate(self.convolutions):
            image = F.relu(convolution(self.enter(image, index)))
            if index in TAPS:
                taps.append(image)
        return taps

    forward = taps
