"""Formats of other runtimes: ONNX, OpenVINO, PyTorch, ExecuTorch, Core ML. Each is written, and run, by its own."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.export.checkpoint import OPSET, trace

#: Height and width.
Size = tuple[int, int]
#: Runs a file on the arrays that its inputs are given, in order.
Run = Callable[[Sequence[np.ndarray]], np.ndarray]


class Job(NamedTuple):
    """What a format's writer is given.

    Attributes:
        module: takes `arguments`.
        arguments: examples, float32, the picture first.
        names: of the inputs.
        size: None where the file is to take pictures of any size.
        path: the file to write.
    """

    module: nn.Module
    arguments: tuple[Tensor, ...]
    names: list[str]
    size: Size | None
    path: Path


class Format(NamedTuple):
    """A format that a model can be written in, and who writes and runs its files.

    Attributes:
        name: for people.
        suffix: of its files.
        write: writes a job's file.
        run: opens a file for running, and says what runs it; None where nothing here can.
        any_size: what the sides of pictures must be multiples of in a file for any size; None where there is no such.
        worst: the largest difference to the network that is let pass, in 255ths.
        plain: whether it takes the network in plain operators only, see :mod:`impasto.export.plain`.
        unrun: what to say where nothing can run it.
    """

    name: str
    suffix: str
    write: Callable[[Job], None]
    run: Callable[[Path], tuple[str, Run]] | None
    any_size: int | None
    worst: float
    plain: bool = False
    unrun: str | None = None


def write_onnx(job: Job, opset: int = OPSET) -> None:
    """Writes ONNX, checked by ``onnx.checker``."""
    axes: dict[str, Any] = {} if job.size else {name: {2: "height", 3: "width"} for name in ("image", "painted")}
    onnx.save(trace(job.module, job.arguments, job.names, ["painted"], axes, opset), job.path)


def run_onnx(path: Path) -> tuple[str, Run]:
    """Opens a file in ONNX Runtime, on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return _name_version("ONNX Runtime", "onnxruntime"), lambda arrays: session.run(
        None, dict(zip(names, arrays, strict=True))
    )[0]


def write_openvino(job: Job, opset: int = OPSET) -> None:
    """Writes OpenVINO IR by way of ONNX, weights in float16."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        write_onnx(job._replace(path=graph), opset)
        openvino.save_model(openvino.convert_model(graph), job.path, compress_to_fp16=True)


def run_openvino(path: Path) -> tuple[str, Run]:
    """Opens a file in OpenVINO, on the processor, in float32: it multiplies in half precision on few processors."""
    from impasto.engine.openvino import core

    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _name_version("OpenVINO", "openvino"), lambda arrays: compiled(list(arrays))[0]


def write_torch(job: Job) -> None:
    """Writes a program of torch.export; TorchScript, its elder, is deprecated in PyTorch 2.10 and later."""
    torch.export.save(_export_program(job), job.path)


def run_torch(path: Path) -> tuple[str, Run]:
    """Opens a file in PyTorch, without the network's code."""
    module = torch.export.load(path).module()

    def run(arrays: Sequence[np.ndarray]) -> np.ndarray:
        painted: np.ndarray = module(*map(torch.from_numpy, arrays)).numpy()
        return painted

    return _name_version("torch.export", "torch"), run


def write_executorch(job: Job) -> None:
    """Writes a program for ExecuTorch's XNNPACK backend: processors of phones and small boards."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(_export_program(job), partitioner=[XnnpackPartitioner()])
    job.path.write_bytes(lowered.to_executorch().buffer)


def run_executorch(path: Path) -> tuple[str, Run]:
    """Opens a file in ExecuTorch's own runtime."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def run(arrays: Sequence[np.ndarray]) -> np.ndarray:
        painted: np.ndarray = method.execute([torch.from_numpy(array) for array in arrays])[0].numpy()
        return painted

    return _name_version("ExecuTorch", "executorch"), run


def write_coreml(job: Job) -> None:
    """Writes a package of Core ML."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # it has not been tried with this PyTorch, it says
    import coremltools

    package = coremltools.convert(
        _export_program(job).run_decompositions(),
        outputs=[coremltools.TensorType("painted")],
        minimum_deployment_target=coremltools.target.iOS16,
    )
    package.save(str(job.path))


def _export_program(job: Job) -> Any:
    """Makes an exported program of the job's module."""
    shapes: Any = None
    if job.size is None:
        # At other sizes the network pads, by an amount that the exporter cannot tell beforehand.
        sides = {axis: 8 * torch.export.Dim(name, min=2, max=1024) for axis, name in ((2, "rows"), (3, "columns"))}
        shapes = {"image": sides, **dict.fromkeys(job.names[1:])}
    return torch.export.export(job.module, job.arguments, dynamic_shapes=shapes)


def _name_version(name: str, package: str) -> str:
    return f"{name} {version(package)}"


FORMATS = {
    "onnx": Format(f"ONNX, opset {OPSET}", ".onnx", write_onnx, run_onnx, 1, 1.0),
    "openvino": Format("OpenVINO IR, float16 weights", ".xml", write_openvino, run_openvino, 1, 3.0),
    "torch": Format("torch.export", ".pt2", write_torch, run_torch, 8, 1.0),
    "executorch": Format("ExecuTorch for XNNPACK", ".pte", write_executorch, run_executorch, None, 1.0, plain=True),
    "coreml": Format(
        "Core ML, iOS 16 and macOS 13 on, float16",
        ".mlpackage",
        write_coreml,
        None,
        None,
        1.0,
        plain=True,
        unrun="Core ML paints on Apple's systems only; compare a picture there before you trust it",
    ),
}


def format_of(path: Path, to: str | None = None) -> str:
    """Finds the name of the format that a path, or `to`, asks for."""
    if to is None:
        for name, known in FORMATS.items():
            if path.suffix.lower() == known.suffix:
                return name
        suffixes = ", ".join(known.suffix for known in FORMATS.values())
        raise ImpastoError(f"{path.name} does not say in what format: end it in {suffixes}, or give --to")
    if to not in FORMATS:
        raise ImpastoError(f"no format {to}: choose {', '.join(FORMATS)}")
    if path.suffix.lower() != FORMATS[to].suffix:
        raise ImpastoError(f"{path.name} is no name for {to}: end it in {FORMATS[to].suffix}")
    return to
