"""ONNX Runtime: runs everywhere."""

from __future__ import annotations

import numpy as np
import onnxruntime

from impasto.engine import Inputs
from impasto.errors import ImpastoError
from impasto.model import Model

_ACCELERATORS = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")
_OUTPUTS = ["painted", "used"]


def accelerators() -> list[str]:
    """The accelerating providers of the installed ONNX Runtime."""
    available = onnxruntime.get_available_providers()
    return [provider for provider in _ACCELERATORS if provider in available]


class OnnxRuntimeEngine:
    """A content graph in an inference session."""

    name = "onnxruntime"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # a warning for each fallback node helps nobody who only wants a picture
        # Threads that spin while they wait would slow down everything else on the machine, a second session included.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = [*accelerators(), "CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(model.graph()), options, providers=providers)
        except Exception as error:  # the runtime's own errors share no narrower public base
            raise ImpastoError(f"ONNX Runtime cannot load {model.name}: {str(error).splitlines()[0]}") from error
        # A provider that fails to start is dropped without a word; this is what really runs.
        self.device = self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()

    def run(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`impasto.engine.Engine`."""
        painted, used = self._session.run(_OUTPUTS, inputs._asdict())
        return painted, used
