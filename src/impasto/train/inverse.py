"""First weights for a decoder without a step of training: each of its convolutions undoes one of the encoder's.

The decoder mirrors the encoder, so what each of its convolutions should give out is known: what went into the encoder's
convolution of the same place. That makes a decoder of nine linear regressions, one after the other, each on what those
before it give out. It gives photos back better than a decoder that had an hour and a half of gradient steps, from
random weights on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from impasto.nets.adain import Decoder
from impasto.progress import track

_PIXELS = 60_000  # that a regression learns from; it has up to 4,609 unknowns
_ROUNDS = 6
_RIDGE = 1e-4  # of the mean square of the inputs
_AT_ONCE = 16  # pictures


@torch.no_grad()
def invert_encoder(encoder: Sequence[nn.Module], decoder: Decoder, pictures: Tensor, seed: int = 0) -> None:
    """Sets the decoder's weights so that it gives back what the encoder sees: g(f(x)) = x.

    Args:
        encoder: its layers, up to the one that the decoder begins at.
        decoder: of the paper's own kind; the variants have no such inverse.
        pictures: [N, 3, H, W] in 0..1, a few hundred; H and W multiples of 8.
        seed: of the pixels that are drawn from them.
    """
    generator = torch.Generator(pictures.device).manual_seed(seed)
    entered = [_entering(encoder, batch) for batch in torch.split(pictures, _AT_ONCE)]
    features = [batch.pop() for batch in entered]
    for layer in track(decoder, "Fitting the decoder", len(decoder)):
        if isinstance(layer, nn.Conv2d):
            wanted = [batch.pop() for batch in entered]
            _fit(layer, features, wanted, generator, rounds=1 if layer is decoder[-1] else _ROUNDS)
        features = [layer(batch) for batch in features]


def _entering(encoder: Sequence[nn.Module], pictures: Tensor) -> list[Tensor]:
    """The pictures, what enters each further 3x3 convolution of the encoder, and what the encoder gives out."""
    entering, features = [], pictures
    for layer in encoder:
        if isinstance(layer, nn.ReflectionPad2d):
            entering.append(features)
        features = layer(features)
    return [pictures, *entering[1:], features]


def _fit(
    layer: nn.Conv2d, features: list[Tensor], wanted: list[Tensor], generator: torch.Generator, rounds: int
) -> None:
    """Ridge regression of what is wanted of the layer, after a ReLU, on the patches of its padded input.

    Where 0 is wanted anything below will do, too: after each round the wanted becomes what was found there.
    """
    each = -(-_PIXELS // len(features))
    drawn = [_sample(padded, goal, each, generator) for padded, goal in zip(features, wanted, strict=True)]
    patches, goals = (torch.cat(part) for part in zip(*drawn, strict=True))
    square = patches.T @ patches
    factor = _factorize(square, _RIDGE * square.diagonal().mean())
    target = goals
    for _ in range(rounds):
        weights = torch.cholesky_solve(patches.T @ target, factor)
        target = torch.where(goals > 0, goals, (patches @ weights).clamp(max=0))
    layer.weight.copy_(weights[:-1].T.reshape(layer.weight.shape))
    assert layer.bias is not None
    layer.bias.copy_(weights[-1])


def _factorize(square: Tensor, ridge: Tensor) -> Tensor:
    """Cholesky factor of a matrix with a ridge; where rounding outweighs that, as some processors do, with a larger."""
    factor: Tensor
    while True:
        square.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(square)
        if not failed:
            return factor
        ridge = 10 * ridge


def _sample(padded: Tensor, wanted: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """So many pixels, or all: the 3x3 patches around them and a 1, [M, 9 C + 1], and what is wanted there, [M, D]."""
    number, _, height, width = wanted.shape
    drawn = torch.randperm(number * height * width, generator=generator, device=wanted.device)[:count]
    index, row, column = torch.unravel_index(drawn, (number, height, width))
    shifts = [padded[index, :, row + down, column + right] for down in range(3) for right in range(3)]
    patches = torch.stack(shifts, 2).flatten(1).float()
    return torch.cat([patches, torch.ones_like(patches[:, :1])], 1), wanted[index, :, row, column].float()
