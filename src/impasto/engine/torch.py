"""The engine for CUDA and Apple GPUs, and the reference for the others: PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from impasto.engine import Inputs, Precision
from impasto.errors import ImpastoError
from impasto.model import Model
from impasto.nets import load_network

#: Held while a CUDA graph is recorded, by whichever engine of the process: recording waits for the whole device before
#: it begins, and a device must not be waited for while another thread records on one of its streams.
_CAPTURING = threading.Lock()


def best_device() -> str:
    """Finds the device to compute on: "cuda" or "mps" where there is a GPU, else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchEngine:
    """Runs the network itself, in PyTorch.

    Args:
        precision: "fp16" computes the convolutions in half precision, 65 dB from float32; for GPUs.
        device: as PyTorch names it; None takes the best there is.
    """

    name = "torch"

    def __init__(
        self, model: Model, threads: int | None = None, precision: Precision = "fp32", device: str | None = None
    ) -> None:
        self.precision = precision
        self.device = device or best_device()
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self._network = load_network(model).to(self.device)
        except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without CUDA
            reason = str(error).splitlines()[0]
            raise ImpastoError(f"cannot compute on the device {self.device}: {reason}; leave it out") from None
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._recorded: dict[tuple[torch.Size, ...], _RecordedGraph] = {}
        self._recording = threading.Lock()

    @torch.inference_mode()
    def run(self, inputs: Inputs, recurring: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Runs the network as :class:`impasto.engine.Engine` says."""
        tensors = [torch.from_numpy(np.asarray(array)).to(self.device) for array in inputs]
        paint = self._record_for(tensors) if recurring and self.device.startswith("cuda") else self._paint
        painted, used = paint(*tensors)
        return painted.contiguous().cpu().numpy(), used.cpu().numpy()

    def _paint(self, image: Tensor, *controls: Tensor) -> tuple[Tensor, Tensor]:
        control = self._network.control(*controls)
        picture = image.contiguous(memory_format=torch.channels_last)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.float16, enabled=self.precision == "fp16"):
            painted = self._network(picture, control)
        return painted.float().clamp(0, 1), control.used().float()

    def _record_for(self, tensors: Sequence[Tensor]) -> _RecordedGraph:
        shapes = tuple(tensor.shape for tensor in tensors)
        with self._recording:
            if shapes not in self._recorded:
                self._recorded = {shapes: _RecordedGraph(self._paint, tensors)}  # one: each holds memory of its own
            return self._recorded[shapes]


class _RecordedGraph:
    """Launches all kernels of the network as one, a CUDA graph: one by one, launching would take longer than they do.

    It is recorded on the device that the tensors are on, which need not be the thread's current one: streams and graphs
    belong to a device. And in the mode "thread_local", since other threads may paint meanwhile. By default CUDA forbids
    all threads what would spoil a recording, such as taking memory, and theirs or ours would fail; but what they do
    cannot get into it, as only work on its own stream does, and PyTorch takes memory for it from a pool of its own.
    """

    def __init__(self, paint: Callable[..., tuple[Tensor, Tensor]], example: Sequence[Tensor]) -> None:
        self._running = threading.Lock()
        self._inputs = [tensor.clone() for tensor in example]
        with _CAPTURING, torch.cuda.device(example[0].device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):  # cuDNN chooses its algorithms, which cannot be recorded
                    paint(*self._inputs)
            torch.cuda.current_stream().wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._outputs = paint(*self._inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        with self._running:
            for own, given in zip(self._inputs, inputs, strict=True):
                own.copy_(given)
            self._graph.replay()
            painted, used = self._outputs
            return painted.clone(), used.clone()
