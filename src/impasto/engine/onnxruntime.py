"""The engine that runs everywhere: ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime

from impasto.engine import OUTPUTS, Inputs, Precision
from impasto.errors import ImpastoError
from impasto.model import Model

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    onnxruntime.disable_telemetry_events()  # Windows heeds no variable, nor does one who imported the runtime before us

_ACCELERATORS = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")


def accelerators() -> list[str]:
    """Lists the accelerating providers of the installed ONNX Runtime."""
    available = onnxruntime.get_available_providers()
    return [provider for provider in _ACCELERATORS if provider in available]


def _open(
    model: Model, graph: Path, providers: list[str], threads: int | None, keep_memory: bool = True
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = keep_memory
    options.log_severity_level = 3  # a warning for each fallback node helps nobody who only wants a picture
    # Threads that spin while they wait would slow down everything else on the machine, a second session included.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=providers)
    except Exception as error:  # the runtime's own errors share no narrower public base
        raise ImpastoError(f"ONNX Runtime cannot load {model.name}: {str(error).splitlines()[0]}") from error


class StyleSession:
    """Makes the style of a picture out of it and its feature statistics, for a model that has a graph for that.

    Whatever engine paints, ONNX Runtime runs this on the processor: it is part of every installation, and each style
    is taken once.
    """

    def __init__(self, model: Model, graph: Path, threads: int | None = None) -> None:
        # It rarely runs: what memory it takes is given back, for painting.
        self._session = _open(model, graph, ["CPUExecutionProvider"], threads, keep_memory=False)

    def __call__(self, statistics: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Makes the style tensor [1, S] of a picture [1, 3, H, W] in 0..1 with these statistics [1, T]."""
        style: np.ndarray = self._session.run(["style"], {"statistics": statistics, "image": image})[0]
        return style


class OnnxRuntimeEngine:
    """Runs a content graph in an inference session."""

    name = "onnxruntime"
    precision: Precision = "fp32"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self._session = _open(model, model.graph(), [*accelerators(), "CPUExecutionProvider"], threads)
        # A provider that fails to start is dropped without a word; this is what really runs.
        self.device = self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()

    def run(self, inputs: Inputs, recurring: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Runs the graph as :class:`impasto.engine.Engine` says."""
        painted, used = self._session.run(OUTPUTS, inputs._asdict())
        return painted, used
