"""The compact network in plain operators, at a fixed size: for compilers that take few, and count in half precision.

The MYRIAD plug-in of OpenVINO 2022.3 (the chip of OAK cameras, RVC2), Qualcomm's SNPE (RVC4), XNNPACK under ExecuTorch
and Core ML each lack something that the network is made of. So here it is once more, with the same weights:

* reflection and replication padding: slices, joined again;
* pixel unshuffle before the first convolution: a 6x6 convolution of stride 2, the same sums;
* doubling by linear interpolation: doubling by nearest neighbours, then the binomial filter [1 2 1] / 4 both ways,
  which is the same. The MYRIAD plug-in takes linear interpolation too, but not for certain with these corners;
* pixel shuffle: one transposition and one joining of rows, nothing of more than four dimensions;
* statistics: averages over no more than 8x8 values at a time, or over one side's greatest prime factor, and of
  deviations times 8, so that sums cannot leave the range of half precision and the variance of a flat picture does not
  sink below it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.nets.compact import Compact, Double
from impasto.nets.norm import Network
from impasto.style import EPS

_WIDER = 8.0  # deviations are multiplied by this before they are squared
_STEEPEST = 8.0  # content features count as above their floor for certain when they are so many times it
_SMALLEST = 32
_MOST = 64  # values that are averaged at a time: in half precision their sum must stay below 65,504


class PlainNetwork(nn.Module):
    """The compact network at a fixed size; it paints what :class:`impasto.nets.compact.Compact` paints.

    Args:
        network: with its trained weights.
        size: height and width of the picture, multiples of 8.
        style: [1, S] to build in; None makes it an input of :meth:`forward`.
        strength: 0..1, built in.
        camera: pictures go in and come out as cameras have them: blue, green, red in 0..255, not red, green, blue
            in 0..1.
    """

    steepness: Tensor
    style: Tensor | None

    def __init__(
        self,
        network: Network,
        size: tuple[int, int],
        style: Tensor | None = None,
        strength: float = 1.0,
        camera: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(network, Compact):
            raise ImpastoError("in plain operators there is the compact network only: take adain, or one trained so")
        if any(side % 8 or side < _SMALLEST for side in size):
            raise ImpastoError(f"the size must be in multiples of 8, {_SMALLEST} or more, not {size[1]}x{size[0]}")
        self.size, self.adaptive = size, network.adaptive
        self.strength, self.camera = strength, camera
        self.down_half = _on_pixels(network.down_half, camera)
        self.down_quarter, self.down_eighth = _unpad(network.down_quarter), _unpad(network.down_eighth)
        self.first, self.second = _unpad(network.block.first), _unpad(network.block.second)
        self.up_quarter, self.paint_quarter = _Doubled(network.up_quarter), _unpad(network.paint_quarter)
        self.up_half, self.paint_half = _Doubled(network.up_half), _unpad(network.paint_half)
        self.to_picture = _to_phases(network, camera)
        self.register_buffer("steepness", (1 / (_WIDER * network.floor))[None, :, None, None])
        self.register_buffer("style", style)

    def forward(self, image: Tensor, style: Tensor | None = None, strength: Tensor | None = None) -> Tensor:
        """Paints [1, 3, H, W] in a style [1, S] with a strength [1], where these are not built in."""
        style = self.style if style is None else style
        assert style is not None
        adapt = _Adapt(
            style.reshape(1, -1, 1, 1), self.steepness, self.adaptive, self.strength if strength is None else strength
        )
        half = F.relu(self.down_half(_cells(image * (1 / 255) if self.camera else image)))
        quarter = F.relu(self.down_quarter(_reflect(half, after=False)))
        features = adapt(F.relu(self.down_eighth(_reflect(quarter, after=False))))
        inner = F.relu(adapt(self.first(_reflect(features))))
        features = adapt(features + self.second(_reflect(inner)))
        features = self.up_quarter(F.relu(features)) + adapt(quarter)
        features = F.relu(adapt(self.paint_quarter(_reflect(F.relu(features)))))
        features = self.up_half(features) + adapt(half)
        features = F.relu(adapt(self.paint_half(_reflect(F.relu(features)))))
        painted = _interleave(self.to_picture(_reflect(features)), *self.size)
        return painted.clamp(0, 255 if self.camera else 1)


class _Adapt:
    """Applies the adaptive layers in order, as :class:`impasto.nets.norm.Control` does for one style.

    Args:
        style: [1, S, 1, 1].
        steepness: [1, S / 2, 1, 1], one by 8 times the floor.
    """

    def __init__(self, style: Tensor, steepness: Tensor, adaptive: tuple[int, ...], strength: float | Tensor) -> None:
        self._style, self._steepness, self._strength = style, steepness, strength
        self._layers = iter(adaptive)
        self._at = 0

    def __call__(self, features: Tensor) -> Tensor:
        channels, at = next(self._layers), self._at
        self._at += channels
        style_mean = self._style[:, 2 * at : 2 * at + channels]
        style_std = _WIDER * self._style[:, 2 * at + channels : 2 * (at + channels)]
        mean = average(features)
        wide = (features - mean) * _WIDER
        std = (average(wide * wide) + _WIDER**2 * EPS).sqrt()  # 8 times the content's
        # own + (style - own) / (1 + (floor / own)^4), over own; the ratio is bounded for half precision's sake.
        ratio = (std * self._steepness[:, at : at + channels]).clamp(max=_STEEPEST)
        power = (ratio * ratio) * (ratio * ratio)
        change = (style_std / std - 1) * (power / (1 + power))
        if isinstance(self._strength, Tensor) or self._strength < 1:
            change, style_mean = change * self._strength, mean + (style_mean - mean) * self._strength
        return wide * ((1 + change) * (1 / _WIDER)) + style_mean


def average(features: Tensor) -> Tensor:
    """Takes means over the pixels of [1, C, H, W], by averages of few values each, see the module's docstring."""
    while max(features.shape[2:]) > 1:
        down, across = _step(features.shape[2]), _step(features.shape[3])
        if down > 1 and down * across > _MOST:
            across = 1  # for now: first over the rows, then over the columns
        features = F.avg_pool2d(features, (down, across))
    return features


def _step(side: int) -> int:
    """Finds the largest divisor up to 8; the side itself where it has none."""
    side = int(side)
    return max((step for step in range(2, 9) if side % step == 0), default=side)


def _frame(features: Tensor, top: Tensor, bottom: Tensor | None, dim: int) -> Tensor:
    return torch.cat([top, features] if bottom is None else [top, features, bottom], dim)


def _reflect(features: Tensor, after: bool = True) -> Tensor:
    """Adds a border of one pixel by reflection; only above and on the left where a stride of 2 reads no further."""
    for dim in (2, 3):
        last = features.narrow(dim, features.shape[dim] - 2, 1) if after else None
        features = _frame(features, features.narrow(dim, 1, 1), last, dim)
    return features


def _repeat(features: Tensor) -> Tensor:
    """Adds a border of one pixel by replication."""
    for dim in (2, 3):
        last = features.narrow(dim, features.shape[dim] - 1, 1)
        features = _frame(features, features.narrow(dim, 0, 1), last, dim)
    return features


def _cells(image: Tensor) -> Tensor:
    """Adds a border of two pixels: cells of 2x2 reflected, which is what reflection after a pixel unshuffle is."""
    for dim in (2, 3):
        image = _frame(image, image.narrow(dim, 2, 2), image.narrow(dim, image.shape[dim] - 4, 2), dim)
    return image


def _convolution(weight: Tensor, bias: Tensor, stride: int = 1) -> nn.Conv2d:
    """Makes a convolution without padding and with these weights [outputs, inputs, h, w]."""
    outputs, inputs, height, width = weight.shape
    made = nn.Conv2d(inputs, outputs, (height, width), stride)
    made.load_state_dict({"weight": weight, "bias": bias})
    return made


def _unpad(convolution: nn.Conv2d) -> nn.Conv2d:
    """Copies a convolution without its padding."""
    assert convolution.bias is not None
    return _convolution(convolution.weight, convolution.bias, convolution.stride[0])


def _on_pixels(convolution: nn.Conv2d, flip: bool) -> nn.Conv2d:
    """Makes a 3x3 convolution after pixel unshuffle one of 6x6 before it; `flip`: one of blue, green, red."""
    outputs = convolution.out_channels
    weight = convolution.weight.view(outputs, 3, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3).reshape(outputs, 3, 6, 6)
    assert convolution.bias is not None
    return _convolution(weight.flip(1) if flip else weight, convolution.bias, 2)


def _to_phases(network: Compact, camera: bool) -> nn.Conv2d:
    """Sorts the outputs of the last layer by row of a 2x2 cell, then colour, then column."""
    last = network.to_picture
    weight = 255 * last.weight.flip(0) if camera else last.weight
    bias = 255 * (last.bias.flip(0) + 0.5) if camera else last.bias + 0.5
    weight = torch.einsum("pru,qsv,oiuv->poqirs", last.fold, last.fold, weight).flatten(0, 2)
    return _convolution(weight, bias.repeat_interleave(2).repeat(2))


def _interleave(phases: Tensor, height: int, width: int) -> Tensor:
    """Shuffles [1, 12, H / 2, W / 2] as :func:`_to_phases` makes them to pixels [1, 3, H, W]."""
    rows = phases.reshape(1, 6, 2, height * width // 4).transpose(2, 3).reshape(1, 6, height // 2, width)
    return torch.cat([rows[:, :3], rows[:, 3:]], 3).reshape(1, 3, height, width)


class _Doubled(nn.Module):
    """:class:`impasto.nets.compact.Double`, see the module's docstring."""

    def __init__(self, double: Double) -> None:
        super().__init__()
        self.convolution = _unpad(double.convolution)
        channels = double.convolution.out_channels
        self.smooth = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.smooth.load_state_dict({"weight": (binomial[:, None] * binomial).repeat(channels, 1, 1, 1)})

    def forward(self, features: Tensor) -> Tensor:
        doubled = F.interpolate(self.convolution(features), scale_factor=2, mode="nearest")
        smooth: Tensor = self.smooth(_repeat(doubled))
        return smooth
