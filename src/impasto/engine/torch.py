"""PyTorch: for CUDA and Apple GPUs, and as the reference for the other engines."""

from __future__ import annotations

import numpy as np
import torch

from impasto.model import Model
from impasto.nets import load_network
from impasto.nets.norm import Control


class TorchEngine:
    """The network itself, on the best device there is."""

    name = "torch"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        if torch.cuda.is_available():
            self.device = "cuda"
        else:
            self.device = "mps" if torch.backends.mps.is_available() else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        self._network = load_network(model).to(self.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(
        self,
        image: np.ndarray,
        style: np.ndarray,
        mask: np.ndarray,
        strength: np.ndarray,
        stats: np.ndarray,
        inertia: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`impasto.engine.Engine`."""
        controls = (torch.from_numpy(np.asarray(a)).to(self.device) for a in (style, mask, strength, stats, inertia))
        control = Control(*controls)
        picture = torch.from_numpy(image).to(self.device, memory_format=torch.channels_last)
        painted = self._network(picture, control).clamp(0, 1)
        return painted.contiguous().cpu().numpy(), control.used().cpu().numpy()
