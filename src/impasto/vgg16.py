"""Finds the weights of VGG-16, the loss network of Johnson et al. 2016 and of StyleBank. They do not ship either.

They are those of its authors, whose activations reach hundreds since they are not normalised; or those of torchvision,
which trained its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from impasto.errors import ImpastoError
from impasto.vgg19 import Weights, convolutions, find_files, read_tensors_of, take_weights


class Input(NamedTuple):
    """What a network takes: channels in an order, times a factor, minus a mean."""

    order: tuple[int, int, int]
    factor: tuple[float, float, float]
    mean: tuple[float, float, float]

    def layer(self) -> Weights:
        """The 1x1 convolution that makes it of RGB in 0..1."""
        weight = np.diag(np.array(self.factor, np.float32))[:, np.argsort(self.order)]
        return {"0.weight": weight[:, :, None, None].copy(), "0.bias": -np.array(self.mean, np.float32)}


_STDS = (0.229, 0.224, 0.225)
#: File names looked for in a folder, in this order, and what their networks take. All have torchvision's layout; the
#: digits in a name are the first of the file's sha256.
FILES: Mapping[str, Input] = MappingProxyType({
    # the authors' weights, as torchvision publishes them: RGB
    "vgg16_features-amdegroot-88682ab5.pth": Input((0, 1, 2), (255, 255, 255), (123, 117, 104)),
    # the authors' weights, as Johnson published them: BGR
    "vgg16-00b39a1b.pth": Input((2, 1, 0), (255, 255, 255), (103.939, 116.779, 123.68)),
    # torchvision's own
    "vgg16-397923af.pth": Input((0, 1, 2), (1 / _STDS[0], 1 / _STDS[1], 1 / _STDS[2]),
                                (0.485 / _STDS[0], 0.456 / _STDS[1], 0.406 / _STDS[2])),
})  # fmt: skip


def find_weights(folder: str | os.PathLike[str] | None = None) -> Weights:
    """Reads the convolutions of VGG-16: float32 arrays by the keys ``0.weight``, ``0.bias`` ... ``42.bias``.

    The keys count modules as :class:`impasto.nets.vgg.Encoder` does: a 1x1 convolution from RGB in 0..1 to what the
    network takes, then padding, convolution and ReLU again and again, and a pooling after each block.

    Args:
        folder: where to look instead of the folder named by ``IMPASTO_WEIGHTS``.

    Raises:
        ImpastoError: no place has the weights, or a file there is not what its name says.
    """
    path = next(find_files(FILES, folder), None)
    if path is None:
        raise ImpastoError(
            "the VGG-16 weights are not here: run `impasto fetch vgg16`, or set IMPASTO_WEIGHTS to a folder with "
            f"{' or '.join(FILES)}"
        )
    return FILES[path.name].layer() | read_weights(path)


def read_weights(path: Path) -> Weights:
    """Reads the 3x3 convolutions of a file in torchvision's layout, see :func:`find_weights`.

    Raises:
        ImpastoError: it cannot be read, or is not VGG-16.
    """
    wanted = {}
    for number, (name, convolution) in enumerate(convolutions("vgg16").items()):
        theirs = 2 * number + int(name[4]) - 1  # convolution and ReLU; a pooling after each block
        for key, shape in convolution.shapes().items():
            wanted[key] = f"features.{theirs}.{key.rpartition('.')[2]}", shape
    return take_weights(path, read_tensors_of(path), wanted, "VGG-16")


def check_vgg16(path: Path) -> None:
    """Raises `ImpastoError` unless a file holds the convolutions of VGG-16."""
    read_weights(path)
