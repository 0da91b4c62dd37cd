"""OpenVINO: the fastest on Intel processors."""

from __future__ import annotations

import queue

import numpy as np
import openvino

from impasto.engine import Inputs
from impasto.errors import ImpastoError
from impasto.model import Model


def processor() -> str:
    """The name of the processor."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))


class OpenVINOEngine:
    """A compiled content graph and a pool of inference requests, one for each thread that runs it at a time."""

    name = "openvino"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        # Without the precision hint OpenVINO takes bfloat16 where the processor has it, and the picture shows it.
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            self._compiled = openvino.Core().compile_model(str(model.graph()), "CPU", config)
        except RuntimeError as error:
            raise ImpastoError(f"OpenVINO cannot load {model.name}: {str(error).splitlines()[0]}") from error
        self.device = "cpu"
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def run(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`impasto.engine.Engine`."""
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        outputs = request.infer(inputs._asdict())
        # The outputs lie in the request's own memory, which the next run overwrites.
        painted, used = outputs["painted"].copy(), outputs["used"].copy()
        self._idle.put(request)
        return painted, used
