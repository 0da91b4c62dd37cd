"""The network of the paper: VGG-19 encoder, one adaptive layer at relu4_1, a decoder that mirrors the encoder."""

from __future__ import annotations

from torch import Tensor, nn

from impasto.nets.norm import Adapt, Network
from impasto.nets.vgg import Encoder


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]


def _double() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="nearest")


class Decoder(nn.Sequential):
    """relu4_1 features [N, 512, H/8, W/8] back to a picture [N, 3, H, W].

    Nearest up-sampling against checkerboards, reflection padding against borders, and no normalisation layers: those
    would pull every picture towards one style (section 5 of the paper). Module indices, hence the keys
    ``1 5 8 11 14 18 21 25 28``, are those of the widely used ``decoder.pth``.
    """

    def __init__(self) -> None:
        super().__init__(
            *_convolution(512, 256), _double(),
            *_convolution(256, 256), *_convolution(256, 256), *_convolution(256, 256),
            *_convolution(256, 128), _double(),
            *_convolution(128, 128), *_convolution(128, 64), _double(),
            *_convolution(64, 64), nn.ReflectionPad2d(1), nn.Conv2d(64, 3, 3),
        )  # fmt: skip


class AdaIN(Network):
    """T(c, s) = g(AdaIN(f(c), f(s))), eq. 9 to 11 of Huang and Belongie 2017."""

    adaptive = (512,)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, image: Tensor, adapt: Adapt) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size (not clamped)."""
        features = adapt(self.encoder(image))
        decoded: Tensor = self.decoder(features)
        return decoded[..., : image.shape[2], : image.shape[3]]  # the encoder rounds sizes up to multiples of 8

    def train(self, mode: bool = True) -> AdaIN:
        super().train(mode)
        self.encoder.eval()
        return self
