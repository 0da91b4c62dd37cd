"""The engine that is fastest on Intel processors: OpenVINO."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from impasto.engine import Inputs, Port, Precision, check_graph
from impasto.errors import ImpastoError, first_line
from impasto.model import Model

_KEPT = 6  # sets of shapes that a graph is kept compiled for; each holds working memory of its own


@cache
def core() -> openvino.Core:
    """Gives the one core of the process, which stays.

    It gives the thread that first compiles a graph a stack for signals. Were it to go in another thread, the memory of
    that would go, and the next Ctrl-C would be a segmentation fault.
    """
    return openvino.Core()


def processor() -> str:
    """Gives the name of the processor."""
    return str(core().get_property("CPU", "FULL_DEVICE_NAME"))


def multiplies_bytes() -> bool:
    """Tells whether the processor has instructions for products of bytes (VNNI or better), so that int8 pays."""
    flags = Path("/proc/cpuinfo")
    if flags.is_file():
        return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(flags.read_text("utf-8").split())
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # what has that has VNNI


def _ports(nodes: Iterable[Any]) -> dict[str, Port]:
    ports = {}
    for node in nodes:
        shape = node.partial_shape
        sides = [None if side.is_dynamic else side.get_length() for side in shape] if shape.rank.is_static else []
        ports.update(dict.fromkeys(node.names, Port(node.element_type == openvino.Type.f32, sides)))
    return ports


class _CompiledGraph:
    """Runs a compiled graph; keeps a pool of inference requests, one for each thread that runs it at a time."""

    def __init__(self, graph: openvino.Model, config: dict[str, str]) -> None:
        self._compiled = core().compile_model(graph, "CPU", config)
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def __call__(self, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        outputs = request.infer(inputs)
        # The outputs lie in the request's own memory, which the next run overwrites.
        painted, used = outputs["painted"].copy(), outputs["used"].copy()
        self._idle.put(request)
        return painted, used


class OpenVINOEngine:
    """Runs a content graph compiled for any shapes; for shapes that recur it is compiled anew, a sixth faster."""

    name = "openvino"
    device = "cpu"

    def __init__(self, model: Model, threads: int | None = None, precision: Precision = "fp32") -> None:
        self.precision = precision
        # Without the precision hint OpenVINO takes bfloat16 where the processor has it, and the picture shows it.
        self._config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = str(threads)
        self._path = str(model.int8_graph() if precision == "int8" else model.graph())
        try:
            graph = core().read_model(self._path)
            check_graph(model, _ports(graph.inputs), _ports(graph.outputs))
            self._any = _CompiledGraph(graph, self._config)
        except ImpastoError:
            raise
        except Exception as error:  # mostly RuntimeError, but not for every damage
            raise ImpastoError(f"OpenVINO cannot load {model.name}: {first_line(error)}") from error
        self._fixed: OrderedDict[tuple[Any, ...], _CompiledGraph] = OrderedDict()
        self._choosing = threading.Lock()

    def run(self, inputs: Inputs, recurring: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Runs the graph as :class:`impasto.engine.Engine` says."""
        compiled = self._compile_for(inputs) if recurring else self._any
        return compiled(inputs._asdict())

    def _compile_for(self, inputs: Inputs) -> _CompiledGraph:
        shapes = {name: np.shape(array) for name, array in inputs._asdict().items()}
        key = tuple(shapes.values())
        with self._choosing:
            if key not in self._fixed:
                graph = core().read_model(self._path)
                graph.reshape({name: list(shape) for name, shape in shapes.items()})
                self._fixed[key] = _CompiledGraph(graph, self._config)
            self._fixed.move_to_end(key)
            while len(self._fixed) > _KEPT:
                self._fixed.popitem(last=False)
            return self._fixed[key]
