"""Reads tensors by name from files that anybody may have made (safetensors)."""

from __future__ import annotations

import os
from collections.abc import Container
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open


class Tensors(NamedTuple):
    """What a file holds: float32 arrays by name, all finite, and the text that goes with them."""

    arrays: dict[str, npt.NDArray[np.float32]]
    metadata: dict[str, str]


def read_tensors(path: str | os.PathLike[str], names: Container[str] | None = None) -> Tensors:
    """Reads a file's tensors, or those of certain names, as float32.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or holds what is not a finite real number.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FileNotFoundError(f"there is no file {os.fspath(path)}")
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys() if names is None or name in names}  # noqa: SIM118
            metadata = file.metadata() or {}
    except Exception as error:  # its own, or an AttributeError or TypeError for the types that NumPy lacks
        raise ValueError(f"it is damaged, or holds tensors of another type: {error}") from error
    return Tensors({name: to_finite(array, f"its tensor {name}") for name, array in arrays.items()}, metadata)


def to_finite(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """Makes float32 of integers or floating point; raises ValueError for what float32 cannot hold."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {array.dtype}, not real numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} holds values that are infinite, too large or not numbers")
    return numbers
