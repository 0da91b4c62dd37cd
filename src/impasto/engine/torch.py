"""PyTorch: for CUDA and Apple GPUs, and as the reference for the other engines."""

from __future__ import annotations

import numpy as np
import torch

from impasto.engine import Inputs, Precision
from impasto.model import Model
from impasto.nets import load_network


def best_device() -> str:
    """The device to compute on: "cuda" or "mps" where there is a GPU, else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchEngine:
    """The network itself, on the best device there is."""

    name = "torch"
    precision: Precision = "fp32"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self.device = best_device()
        if threads is not None:
            torch.set_num_threads(threads)
        self._network = load_network(model).to(self.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(self, inputs: Inputs, recurring: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`impasto.engine.Engine`."""
        image, *controls = (torch.from_numpy(np.asarray(array)).to(self.device) for array in inputs)
        control = self._network.control(*controls)
        picture = image.contiguous(memory_format=torch.channels_last)
        painted = self._network(picture, control).clamp(0, 1)
        return painted.contiguous().cpu().numpy(), control.used().cpu().numpy()
