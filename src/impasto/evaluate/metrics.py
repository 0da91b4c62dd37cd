"""What is measured: the paper's two losses, structural similarity and signal to noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from impasto.color import luma
from impasto.extras import explain_missing
from impasto.image import Pixels, to_float

with explain_missing(__name__):
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from impasto.losses import Statistics, content_loss, style_loss, style_statistics
    from impasto.nets.vgg import load_encoder

STYLE_WEIGHT = 10.0  # of the paper's objective, L_c + 10 L_s
_PEAK = 255.0
_K1, _K2, _SIGMA, _RADIUS = 0.01, 0.03, 1.5, 5  # Wang et al. 2004


@dataclass(frozen=True)
class Features:
    """What the normalised VGG-19 sees in a picture.

    Attributes:
        content: relu4_1, float32 [1, 512, H/8, W/8].
        style: channel means and standard deviations at relu1_1, 2_1, 3_1 and 4_1, each [1, C].
    """

    content: Tensor
    style: Statistics

    def content_loss(self, photo: Features) -> float:
        """Computes the mean squared distance of relu4_1 to the photo's."""
        return content_loss(self.content, photo.content).item()

    def style_loss(self, style: Statistics) -> float:
        """Sums, over the taps, the MSE of channel means and that of standard deviations."""
        return style_loss(self.style, style).item()


class Observer:
    """The normalised VGG-19 with its four taps, ready to look at pictures."""

    def __init__(self) -> None:
        # Channels last is twice as fast on a processor.
        self._encoder = load_encoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pixels: Pixels) -> Features:
        """Looks at a picture, uint8 [H, W, 3]."""
        taps = self.taps(pixels)
        return Features(taps[-1], style_statistics(taps))

    @torch.inference_mode()
    def taps(self, pixels: Pixels) -> list[Tensor]:
        """Gives the features of a picture, uint8 [H, W, 3], at relu1_1, 2_1, 3_1 and 4_1: float32 [1, C, h, w] each."""
        image = torch.from_numpy(to_float(pixels)).contiguous(memory_format=torch.channels_last)
        return list(self._encoder.taps(image))


def ssim(first: Pixels, second: Pixels) -> float:
    """Computes the mean structural similarity of the lumas of two pictures, 1 for equal ones (Wang et al. 2004).

    In Gaussian windows (11 x 11, sigma 1.5, whole ones only):
    (2 m1 m2 + C1) (2 cov + C2) / ((m1^2 + m2^2 + C1) (var1 + var2 + C2)) with C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2.

    Args:
        first, second: uint8 [H, W, 3] of one size, at least 11 x 11.
    """
    x, y = (torch.from_numpy(luma(pixels)).double() for pixels in (first, second))
    window = torch.exp(-(torch.arange(-_RADIUS, _RADIUS + 1).double() ** 2) / (2 * _SIGMA**2))
    window /= window.sum()
    maps = torch.stack([x, y, x * x, y * y, x * y])[:, None]
    means = F.conv2d(F.conv2d(maps, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means[:, 0]
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * (mean_xy - mean_x * mean_y) + c2)
    squares = mean_x**2 + mean_y**2
    return float((numerator / ((squares + c1) * (mean_xx + mean_yy - squares + c2))).mean())


def psnr(first: Pixels, second: Pixels) -> float:
    """Computes the peak signal to noise ratio of two pictures, uint8 [H, W, 3], in dB; infinite if they are equal."""
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return float(10 * np.log10(_PEAK**2 / error)) if error else float("inf")
