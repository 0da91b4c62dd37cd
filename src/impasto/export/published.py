"""Weights that others have published, as models."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from impasto import vgg19
from impasto.errors import ImpastoError
from impasto.export.checkpoint import make_model
from impasto.nets import make_network
from impasto.nets.adain import DECODERS, LAYERS, Decoder

#: Arguments of the network, and the shapes of its decoder's weights by their names.
_Layout = tuple[dict[str, str], dict[str, tuple[int, ...]]]


def import_decoder(source: Path, folder: Path, name: str | None = None, encoder: Path | None = None) -> Path:
    """Makes a model of a decoder of AdaIN that others have trained, in the layout of naoto0804/pytorch-AdaIN.

    That is a state dict of its ``nn.Sequential``: ``decoder.pth`` as published, ``decoder_iter_160000.pth.tar`` as the
    training of that repository saves it, or one with the layers of another :class:`impasto.nets.adain.Decoder`. Weights
    are kept in float32, as they are. Nothing in the file is run.

    Args:
        source: the file.
        folder: the model folder to make; nothing may be there.
        name: the model's name; that of the folder if not given.
        encoder: ``vgg_normalised.pth``, which goes into the model; None: that of :func:`impasto.vgg19.find_weights`, on
            each machine its own.

    Raises:
        ImpastoError: a file holds something else, there is no VGG-19, or the folder is there or cannot be written.
    """
    if folder.exists():
        raise ImpastoError(f"{folder} is there already: name a new folder")
    if not source.is_file():
        raise ImpastoError(f"there is no file {source}")
    tensors = {key: torch.from_numpy(array) for key, array in vgg19.read_tensors_of(source).items()}
    arguments = _recognise(source, tensors)
    trained = {f"decoder.{key}": tensor for key, tensor in tensors.items()}
    if encoder is not None:
        needed = make_network("adain", arguments).state_dict()
        own = {f"encoder.{key}": torch.from_numpy(array) for key, array in vgg19.read_weights(encoder).items()}
        trained |= {key: tensor for key, tensor in own.items() if key in needed}
    return make_model(
        make_network("adain", arguments), trained, folder, name or folder.resolve().name, kind="adain",
        training=[{"imported": source.name}],
    )  # fmt: skip


def _recognise(source: Path, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Finds what a decoder with such weights is made with."""
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if spoilt := [key for key, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ImpastoError(f"{source}: {spoilt[0]} holds values that are infinite or not numbers")
    for arguments, layout in _layouts():
        if layout == shapes:
            return arguments
    if not shapes:
        raise ImpastoError(
            f"{source} holds no weights by name: impasto export makes a model of what impasto train wrote"
        )
    _, published = next(_layouts())
    if missing := [key for key in published if key not in shapes]:
        raise ImpastoError(f"{source} is not a decoder of AdaIN: it has no {missing[0]}")
    if wrong := [key for key, shape in published.items() if shapes[key] != shape]:
        raise ImpastoError(
            f"{source} is not a decoder of AdaIN: {wrong[0]} is {shapes[wrong[0]]}, not {published[wrong[0]]}"
        )
    more = next(key for key in shapes if key not in published)
    raise ImpastoError(f"{source} is not a decoder of AdaIN: it has {more}, which that has no use for")


def _layouts() -> Iterator[_Layout]:
    """Yields the decoders there are, the published one first."""
    for layer, kind in product(reversed(LAYERS), DECODERS):
        with torch.device("meta"):
            weights = Decoder(kind, layer).state_dict()
        yield {"decoder": kind, "layer": layer}, {key: tuple(weight.shape) for key, weight in weights.items()}
