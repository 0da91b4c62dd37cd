"""Patches of feature maps, and which of a style's is most like each of a picture's: the heart of MRF and style-swap.

Nothing here holds all patches at once: they are cut out of the maps when they are needed, a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.errors import ImpastoError

#: Side of a patch, as in both papers.
SIZE = 3
#: Style patches that are compared at once, unless told otherwise.
CHUNK = 512


class Patches:
    """The 3x3 patches of one or more feature maps [1, C, H, W], in one row.

    Args:
        maps: of any sizes, at least 3x3.
        stride: distance from one patch to the next; 2 leaves a quarter of them.
    """

    def __init__(self, maps: Sequence[Tensor], stride: int = 1) -> None:
        if short := [tuple(m.shape[2:]) for m in maps if min(m.shape[2:]) < SIZE]:
            raise ImpastoError(f"a feature map of {short[0][0]} x {short[0][1]} holds no {SIZE} x {SIZE} patch: "
                               "take a larger picture")  # fmt: skip
        # Views [C, h, w, 3, 3], which cost no memory.
        self._views = [m[0].unfold(1, SIZE, stride).unfold(2, SIZE, stride) for m in maps]
        self._starts = [0]
        for view in self._views:
            self._starts.append(self._starts[-1] + view.shape[1] * view.shape[2])

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: Tensor) -> Tensor:
        """The patches of these numbers: long [n] to [n, C, 3, 3]."""
        view = self._views[0]
        found = torch.empty(len(index), view.shape[0], SIZE, SIZE, dtype=view.dtype, device=view.device)
        for view, start, end in zip(self._views, self._starts, self._starts[1:], strict=False):
            here = (index >= start) & (index < end)
            at = index[here] - start
            found[here] = view[:, at // view.shape[2], at % view.shape[2]].transpose(0, 1)
        return found


@torch.no_grad()
def best_matches(
    features: Tensor,
    patches: Patches,
    stride: int = 1,
    chunk: int = CHUNK,
    each: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Tensor:
    """For each patch of a picture the style patch of the highest normalised cross-correlation.

    NN(i) = argmax_j <P_i, S_j> / (|P_i| |S_j|), eq. 3 of Li and Wand 2016 and section 3.1 of Chen and Schmidt 2016. The
    picture's own norm |P_i| is the same for all j and left out, so that this is a convolution with the style patches,
    each scaled to norm 1.

    Args:
        features: of the picture, [1, C, H, W].
        stride: distance between the picture's patches.
        chunk: style patches that are compared at once. Memory grows with it, the result does not depend on it.
        each: goes through the chunks, and may show how far it is.

    Returns:
        long [h * w], numbers of style patches, for the picture's patches row by row.
    """
    best: Tensor | None = None
    match = torch.empty(0)
    for first in each(range(0, len(patches), chunk)):
        numbers = torch.arange(first, min(first + chunk, len(patches)), device=features.device)
        filters = patches[numbers]
        norms = filters.flatten(1).norm(dim=1).clamp_min(1e-12)
        scores = F.conv2d(features, filters / norms[:, None, None, None], stride=stride)[0].flatten(1)
        score, index = scores.max(dim=0)
        if best is None:
            best, match = score, index + first
        else:
            better = score > best
            best, match = torch.where(better, score, best), torch.where(better, index + first, match)
    return match


@torch.no_grad()
def swap(features: Tensor, patches: Patches, index: Tensor) -> Tensor:
    """Style-swap: a patch of the style at each position (Chen and Schmidt 2016, section 3.1).

    Where patches overlap they are averaged: a transposed convolution of the one-hot matches with the style patches,
    divided by how many patches cover each position.

    Args:
        features: of the picture, [1, C, H, W]; only their size counts.
        patches: of the style.
        index: which patch goes where, long [(H - 2) * (W - 2)], as from :func:`best_matches`.

    Returns:
        [1, C, H, W].
    """
    size = features.shape[2], features.shape[3]
    columns = patches[index].flatten(1).T[None]
    covered = F.fold(torch.ones_like(columns[:, : SIZE * SIZE]), size, SIZE)
    return F.fold(columns, size, SIZE) / covered
