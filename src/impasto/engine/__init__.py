"""Engines run a content graph: the same arrays in, the same arrays out, whatever computes them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import numpy as np

from impasto.checks import read_whole
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.model import Model

#: Engines by name, which is that of the module that each needs.
ENGINES = ("onnxruntime", "openvino", "torch")

#: Of the convolutions. "int8" is for models that have such a graph, and for OpenVINO; "fp16" for PyTorch on a GPU.
Precision = Literal["fp32", "fp16", "int8"]


#: What a content graph gives: the painted image, and the content statistics that were used.
OUTPUTS = ("painted", "used")


class Inputs(NamedTuple):
    """The arrays that go into a content graph, all float32.

    Attributes:
        image: [1, 3, H, W] in 0..1, H and W at least 16.
        style: [K, S], one style tensor for each region.
        mask: [K, 1, h, w], non-negative, resized to the features; one pixel means the whole picture.
        strength: scalar, 0 = the content's own statistics, 1 = the style's.
        stats: [K, T], content statistics to use in place of the picture's own.
        inertia: [T], for each of the statistics 0 = the picture's own, 1 = that in `stats`.
    """

    image: np.ndarray
    style: np.ndarray
    mask: np.ndarray
    strength: np.ndarray
    stats: np.ndarray
    inertia: np.ndarray


#: Sides of a tensor, None for any.
Shape = list[int | None]


class Port(NamedTuple):
    """What a graph says of an input or output: whether it is a tensor of float32, and its sides."""

    is_float: bool
    shape: Shape


def check_graph(model: Model, inputs: Mapping[str, Port], outputs: Mapping[str, Port]) -> None:
    """Raises `ImpastoError` unless a content graph takes :class:`Inputs` of any size and gives :data:`OUTPUTS`."""
    statistics: Shape = [None, model.stats_size]
    shapes: list[Shape] = [[1, 3, None, None], [None, model.style_size], [None, 1, None, None], [], statistics]
    _check_inputs(model, dict(zip(Inputs._fields, [*shapes, statistics[1:]], strict=True)), inputs)
    _check_outputs(model, dict(zip(OUTPUTS, [[None, 3, None, None], statistics], strict=True)), outputs)


def check_style_graph(model: Model, inputs: Mapping[str, Port], outputs: Mapping[str, Port]) -> None:
    """Raises `ImpastoError` unless a graph makes the style of a picture of any size and its statistics."""
    _check_inputs(model, {"statistics": [1, model.stats_size], "image": [1, 3, None, None]}, inputs)
    _check_outputs(model, {"style": [1, model.style_size]}, outputs)


def _check_inputs(model: Model, wanted: Mapping[str, Shape], ports: Mapping[str, Port]) -> None:
    for name in ports.keys() - wanted.keys():
        raise ImpastoError(f"a graph of the model {model.name} takes {name!r}, which nothing is: export it again")
    for name, shape in wanted.items():
        port = ports.get(name)
        if port is None or not port.is_float or not _agree(port.shape, shape) or any(
            own is not None and size is None for own, size in zip(port.shape, shape, strict=True)
        ):  # fmt: skip
            raise ImpastoError(f"a graph of the model {model.name} takes no {name} of {_tell(shape)}: export it again")


def _check_outputs(model: Model, wanted: Mapping[str, Shape], ports: Mapping[str, Port]) -> None:
    """As far as sides are known before the graph runs; those that come out are looked at then."""
    for name, shape in wanted.items():
        port = ports.get(name)
        if port is None or not port.is_float or (port.shape and not _agree(port.shape, shape)):
            raise ImpastoError(f"a graph of the model {model.name} gives no {name} of {_tell(shape)}: export it again")


def _agree(shape: Shape, wanted: Shape) -> bool:
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(own == size or None in (own, size) for own, size in pairs)


def _tell(shape: Shape) -> str:
    return f"[{', '.join('any' if side is None else str(side) for side in shape)}] in float32"


class Engine(Protocol):
    """An engine holds a model that is ready to run; several threads may use it at a time."""

    name: str
    device: str
    precision: Precision

    def run(self, inputs: Inputs, recurring: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Runs the content graph.

        Args:
            inputs: of any shapes that fit.
            recurring: many more of these shapes will come, like the frames of a clip: an engine may take its time once
                to be faster with them from then on. The last bits of the result may differ.

        Returns:
            the painted image [1, 3, H, W] in 0..1, and the content statistics [K, T] that were used.
        """
        ...


def installed_engines() -> list[str]:
    """Lists the engines that can run here, by name."""
    return [name for name in ENGINES if importlib.util.find_spec(name)]


def _has_accelerator() -> bool:
    from impasto.engine.onnxruntime import accelerators

    return bool(accelerators())


def _is_on_intel() -> bool:
    if "openvino" not in installed_engines() or _has_accelerator():
        return False
    from impasto.engine.openvino import processor

    return "intel" in processor().lower()


def _int8_pays(model: Model) -> bool:
    if model.card.int8 is None or "openvino" not in installed_engines() or _has_accelerator():
        return False
    from impasto.engine.openvino import multiplies_bytes

    return multiplies_bytes()


def open_engine(
    model: Model, engine: str = "auto", threads: int | None = None, precision: str = "auto", device: str | None = None
) -> Engine:
    """Prepares a model to run.

    Args:
        engine: "onnxruntime", "openvino", "torch", or "auto": OpenVINO where it is installed and either int8 is chosen
            or the processor is Intel's, else ONNX Runtime, which starts faster and needs less memory.
        threads: processor threads; None leaves one for each physical core.
        precision: "fp32", "fp16", "int8", or "auto": int8 where the model has it, OpenVINO is there, and the processor
            has instructions for it, else fp32.
        device: what PyTorch computes on, e.g. "cuda:1" or "cpu"; None takes the best there is.
    """
    if precision not in ("auto", "fp32", "fp16", "int8"):
        raise ImpastoError(f"no precision {precision}: choose auto, fp32, fp16 or int8")
    if engine != "auto" and engine not in ENGINES:
        raise ImpastoError(f"no engine {engine}: choose auto, {', '.join(ENGINES)}")
    threads = None if threads is None else read_whole(1, threads=threads)
    if precision == "int8" and model.card.int8 is None:
        raise ImpastoError(f"the model {model.name} has no int8 graph: leave the precision at auto")
    if precision == "int8" and engine not in ("auto", "openvino"):
        raise ImpastoError(f"int8 runs on OpenVINO only, not on {engine}: leave the engine at auto")
    if precision == "fp16" and engine != "torch":
        raise ImpastoError("fp16 runs on PyTorch only: choose the engine torch")
    if device is not None and engine != "torch":
        raise ImpastoError(f"the device {device} is for PyTorch: choose the engine torch")
    in_bytes = precision == "int8" or (precision == "auto" and engine in ("auto", "openvino") and _int8_pays(model))
    if engine == "auto":
        engine = "openvino" if in_bytes or _is_on_intel() else "onnxruntime"
    if engine == "openvino":
        with explain_missing("the engine openvino"):
            from impasto.engine.openvino import OpenVINOEngine

        return OpenVINOEngine(model, threads, "int8" if in_bytes else "fp32")
    if engine == "torch":
        with explain_missing("the engine torch"):
            from impasto.engine.torch import TorchEngine

        return TorchEngine(model, threads, "fp16" if precision == "fp16" else "fp32", device)
    from impasto.engine.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, threads)
