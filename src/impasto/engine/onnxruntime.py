"""The engine that runs everywhere: ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from impasto.engine import OUTPUTS, Inputs, Port, Precision, check_graph, check_style_graph
from impasto.errors import ImpastoError, first_line
from impasto.model import Model
from impasto.session import open_session

_ACCELERATORS = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")


def accelerators() -> list[str]:
    """Lists the accelerating providers of the installed ONNX Runtime."""
    available = onnxruntime.get_available_providers()
    return [provider for provider in _ACCELERATORS if provider in available]


def _ports(nodes: Iterable[Any]) -> dict[str, Port]:
    return {
        node.name: Port(
            node.type == "tensor(float)", [size if isinstance(size, int) else None for size in node.shape or ()]
        )
        for node in nodes
    }


class StyleSession:
    """Makes the style of a picture out of it and its feature statistics, for a model that has a graph for that.

    Whatever engine paints, ONNX Runtime runs this on the processor: it is part of every installation, and each style
    is taken once.
    """

    def __init__(self, model: Model, graph: Path, threads: int | None = None) -> None:
        self._model = model
        # It rarely runs: what memory it takes is given back, for painting.
        self._session = open_session(graph, model.name, threads=threads, keep_memory=False)
        check_style_graph(model, _ports(self._session.get_inputs()), _ports(self._session.get_outputs()))

    def __call__(self, statistics: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Makes the style tensor [1, S] of a picture [1, 3, H, W] in 0..1 with these statistics [1, T]."""
        try:
            style: np.ndarray = self._session.run(["style"], {"statistics": statistics, "image": image})[0]
        except Exception as error:  # the runtime's own errors share no narrower public base
            raise ImpastoError(f"ONNX Runtime cannot run the model {self._model.name}: {first_line(error)}") from error
        if style.shape != (1, self._model.style_size) or not np.isfinite(style).all():
            raise ImpastoError(f"the model {self._model.name} makes no style of a picture: export it again")
        return style


class OnnxRuntimeEngine:
    """Runs a content graph in an inference session."""

    name = "onnxruntime"
    precision: Precision = "fp32"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        providers = [*accelerators(), "CPUExecutionProvider"]
        self._session = open_session(model.graph(), model.name, providers, threads)
        check_graph(model, _ports(self._session.get_inputs()), _ports(self._session.get_outputs()))
        # A provider that fails to start is dropped without a word; this is what really runs.
        self.device = self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()

    def run(self, inputs: Inputs, recurring: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Runs the graph as :class:`impasto.engine.Engine` says."""
        painted, used = self._session.run(OUTPUTS, inputs._asdict())
        return painted, used
