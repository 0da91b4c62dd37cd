"""A model for other runtimes: ONNX, OpenVINO, PyTorch, ExecuTorch, Core ML; each file compared with the network itself.

What is written is the network with the controls that make sense outside impasto: a picture, a style and its strength;
or the picture alone, with both built in. Masks, tiles and the memory of a clip are in a model folder's own graph.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from PIL import Image
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.export.checkpoint import OPSET, traced
from impasto.export.plain import Plain
from impasto.files import reason
from impasto.image import to_float
from impasto.nets import load_network
from impasto.nets.norm import Network
from impasto.progress import meter
from impasto.style import Style
from impasto.stylizer import GraphStylizer

#: Height and width.
Size = tuple[int, int]
#: Where a file of any size is compared with the network: one of them odd, where the format allows it.
_SIZES: tuple[Size, ...] = ((384, 512), (203, 310))
_SMALLEST = 16
_PHOTO = Path(__file__).parents[1] / "app" / "static" / "astronaut.jpg"


class Painter(nn.Module):
    """A network with what other runtimes are given: picture, style, strength; what is built in is no input."""

    style: Tensor | None
    strength: Tensor | None

    def __init__(self, network: Network, style: Tensor | None = None, strength: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("style", style)
        self.register_buffer("strength", None if style is None else torch.tensor([float(strength)]))

    def forward(self, image: Tensor, style: Tensor | None = None, strength: Tensor | None = None) -> Tensor:
        """Paints [1, 3, H, W] in 0..1 in a style [1, S] with a strength [1]."""
        style = self.style if style is None else style
        strength = self.strength if strength is None else strength
        assert style is not None
        assert strength is not None
        painted: Tensor = self.network(image, self.network.control(style, None, strength, None, None))
        return painted.clamp(0, 1)


@dataclass(frozen=True)
class Check:
    """How far a file's pictures are from those of the network in PyTorch, float32.

    Attributes:
        runtime: what ran the file.
        size: height and width of the test picture.
        worst, mean: the largest difference of a value, and the mean of all, in 255ths.
    """

    runtime: str
    size: Size
    worst: float
    mean: float

    def __str__(self) -> str:
        height, width = self.size
        return (
            f"{self.runtime} at {width}x{height}: at most {self.worst:.2f}/255 from PyTorch, {self.mean:.3f} on average"
        )


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what is known of it.

    Attributes:
        path: the file.
        kind: its format, in words.
        megabytes: its size, with all that belongs to it.
        inputs, outputs: name and shape of each.
        checks: by the format's own runtime.
        unchecked: why no runtime ran it, where none did.
    """

    path: Path
    kind: str
    megabytes: float
    inputs: dict[str, str]
    outputs: dict[str, str]
    checks: list[Check] = field(default_factory=list)
    unchecked: str | None = None

    def __str__(self) -> str:
        ports = (
            " and ".join(f"{name} {shape}" for name, shape in port.items()) for port in (self.inputs, self.outputs)
        )
        known = [*map(str, self.checks), *([f"not run: {self.unchecked}"] if self.unchecked else [])]
        title = f"{self.path}: {self.kind}, {self.megabytes:.1f} MB"
        return "\n  ".join([title, "{} -> {}".format(*ports), *known])

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


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
    """A format: its name for people, its suffix, who writes and who runs it.

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
    """ONNX, checked by ``onnx.checker``."""
    axes: dict[str, Any] = {} if job.size else {name: {2: "height", 3: "width"} for name in ("image", "painted")}
    onnx.save(traced(job.module, job.arguments, job.names, ["painted"], axes, opset), job.path)


def run_onnx(path: Path) -> tuple[str, Run]:
    """By ONNX Runtime, on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return _named("ONNX Runtime", "onnxruntime"), lambda arrays: session.run(
        None, dict(zip(names, arrays, strict=True))
    )[0]


def write_openvino(job: Job, opset: int = OPSET) -> None:
    """OpenVINO IR by way of ONNX, weights in float16."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        write_onnx(job._replace(path=graph), opset)
        openvino.save_model(openvino.convert_model(graph), job.path, compress_to_fp16=True)


def run_openvino(path: Path) -> tuple[str, Run]:
    """By OpenVINO, on the processor, in float32: it multiplies in half precision on few processors."""
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _named("OpenVINO", "openvino"), lambda arrays: compiled(list(arrays))[0]


def write_torch(job: Job) -> None:
    """A program of torch.export. TorchScript, its elder, is deprecated in PyTorch 2.10 and later."""
    torch.export.save(_program(job), job.path)


def run_torch(path: Path) -> tuple[str, Run]:
    """By PyTorch, from the file alone."""
    module = torch.export.load(path).module()

    def run(arrays: Sequence[np.ndarray]) -> np.ndarray:
        painted: np.ndarray = module(*map(torch.from_numpy, arrays)).numpy()
        return painted

    return _named("torch.export", "torch"), run


def write_executorch(job: Job) -> None:
    """A program for ExecuTorch's XNNPACK backend: processors of phones and small boards."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(_program(job), partitioner=[XnnpackPartitioner()])
    job.path.write_bytes(lowered.to_executorch().buffer)


def run_executorch(path: Path) -> tuple[str, Run]:
    """By ExecuTorch's own runtime."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def run(arrays: Sequence[np.ndarray]) -> np.ndarray:
        painted: np.ndarray = method.execute([torch.from_numpy(array) for array in arrays])[0].numpy()
        return painted

    return _named("ExecuTorch", "executorch"), run


def write_coreml(job: Job) -> None:
    """A package of Core ML."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # it has not been tried with this PyTorch, it says
    import coremltools

    package = coremltools.convert(
        _program(job).run_decompositions(),
        outputs=[coremltools.TensorType("painted")],
        minimum_deployment_target=coremltools.target.iOS16,
    )
    package.save(str(job.path))


def _program(job: Job) -> Any:
    """The job's module as an exported program."""
    shapes: Any = None
    if job.size is None:
        # At other sizes the network pads, by an amount that the exporter cannot tell beforehand.
        sides = {axis: 8 * torch.export.Dim(name, min=2, max=1024) for axis, name in ((2, "rows"), (3, "columns"))}
        shapes = {"image": sides, **dict.fromkeys(job.names[1:])}
    return torch.export.export(job.module, job.arguments, dynamic_shapes=shapes)


def _named(name: str, package: str) -> str:
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
    """The name of the format that a path, or `to`, asks for."""
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


def write_model(
    stylizer: GraphStylizer,
    path: Path,
    to: str | None = None,
    size: Size | None = None,
    style: Style | None = None,
    strength: float = 1.0,
) -> Exported:
    """Writes a model as a file of another runtime, and has that runtime paint a photo with it.

    Args:
        stylizer: the model.
        path: the file; its suffix says in what format.
        to: the format's name, where the suffix is not to decide.
        size: height and width that the file is for; None makes one for any size, in formats that can.
        style: to build in; None makes style [1, S] and strength [1] inputs beside the picture.
        strength: 0..1, built in with the style.

    Raises:
        ImpastoError: the format cannot hold the model, or its runtime paints something else than the network does;
            then nothing is written.
    """
    name = format_of(path, to)
    target = FORMATS[name]
    if size is not None and min(size) < _SMALLEST:
        raise ImpastoError(f"a size must be {_SMALLEST} or more on both sides, not {size[1]}x{size[0]}")
    if size is None and target.any_size is None:
        raise ImpastoError(f"{target.name} is for one size: give --size, like --size 512x512")
    network, built_in = load_network(stylizer.model), None if style is None else torch.from_numpy(style.tensor)[None]
    painter = Painter(network, built_in, strength).eval()
    module = Plain(network, size, built_in, strength).eval() if target.plain and size else painter
    step = target.any_size or 1
    sizes = [size] if size else [(height - height % step, width - width % step) for height, width in _SIZES]
    names = ["image"] if style else ["image", "style", "strength"]

    def arguments(at: Size) -> tuple[Tensor, ...]:
        image = torch.from_numpy(to_float(photo_at(at)))
        return (image,) if style else (image, any_style(stylizer), torch.tensor([1.0]))

    height, width = size or ("height", "width")
    shape = f"[1, 3, {height}, {width}] in 0..1"
    inputs = {"image": shape} | ({} if style else {"style": f"[1, {stylizer.model.style_size}]", "strength": "[1]"})
    checks: list[Check] = []
    with made_beside(path) as made, meter(path.name, 1 + len(sizes)) as show, quiet(), torch.no_grad():
        try:
            target.write(Job(module, arguments(sizes[0]), names, size, made))
        except ModuleNotFoundError:
            raise
        except Exception as error:  # of the converters, which share no narrower base
            raise ImpastoError(f"{target.name} cannot hold {stylizer.name}: {str(error).splitlines()[0]}") from error
        show(1, 1 + len(sizes))
        for done, at in enumerate(sizes, 2):
            if target.run is not None:
                expected = painter(*arguments(at)).numpy()
                checks.append(compared(target.run(made), arguments(at), expected, at, target.worst))
            show(done, 1 + len(sizes))
        megabytes = size_of(made.parent)
    kind = (
        target.name + (f"; style {style.name}" if style else "") + (f"; strength {strength:g}" if strength < 1 else "")
    )
    return Exported(path, kind, megabytes, inputs, {"painted": shape}, checks, target.unrun)


def built(style: Style | None, strength: float) -> str:
    """What is built in, to be said after a format's name."""
    return (f"; style {style.name}" if style else "") + (f"; strength {strength:g}" if strength < 1 else "")


def compared(
    runtime: tuple[str, Run],
    arguments: Sequence[Tensor],
    expected: np.ndarray,
    size: Size,
    limit: float,
    unit: float = 255,
) -> Check:
    """Runs a file and compares what it paints with what is expected, times `unit`; refuses more than `limit` 255ths."""
    name, run = runtime
    difference = unit * np.abs(run([argument.numpy() for argument in arguments]) - expected)
    check = Check(name, size, float(difference.max()), float(difference.mean()))
    if not check.worst <= limit:  # nor what is not a number
        raise ImpastoError(f"nothing written: {check}; {limit:g}/255 are let pass")
    return check


def any_style(stylizer: GraphStylizer) -> Tensor:
    """A style of the model to try it with, [1, S]."""
    style = next(iter(stylizer.gallery.values()), None) or stylizer.take(255 - photo_at((256, 256)), "negative")
    return torch.from_numpy(style.tensor)[None]


def photo_at(size: Size) -> np.ndarray:
    """A photo at that height and width, uint8 [H, W, 3]."""
    with Image.open(_PHOTO) as photo:
        return np.asarray(photo.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS))


def make_folder(folder: Path) -> None:
    """Makes a folder where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImpastoError(f"cannot make the folder {folder}: {reason(error, os.fspath(folder))}") from None


@contextlib.contextmanager
def made_beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder for the moment; all that lies there moves to its place in the end."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as folder:
            yield Path(folder) / path.name
            for made in sorted(Path(folder).iterdir()):
                target = path.with_name(made.name)
                if target.is_dir() and made.is_dir():  # a folder takes the place of an empty one only
                    shutil.rmtree(target)
                os.replace(made, target)
    except OSError as error:
        raise ImpastoError(f"cannot write {path}: {reason(error, os.fspath(path))}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps to itself what the converters warn of: sizes that become plain numbers on purpose, operators to come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def size_of(folder: Path) -> float:
    """What the files in a folder take, in megabytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
