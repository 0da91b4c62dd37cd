"""The compact network for Luxonis' OAK cameras: ONNX for the chips' compilers, OpenVINO IR to try it here.

RVC2 (Myriad X, most OAK cameras) is compiled for by OpenVINO 2022.3, the last with the MYRIAD plug-in, RVC4 by
Qualcomm's SNPE. Neither is here: what is written is run by ONNX Runtime and OpenVINO on the processor, and by PyTorch
in half precision, the chips' arithmetic. docs/guide/oak.md says more.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from impasto.checks import make_folder
from impasto.export.beside import make_beside
from impasto.export.exported import (
    Exported,
    compare,
    count_megabytes,
    describe_built_in,
    pick_style,
    read_photo,
    silence_warnings,
)
from impasto.export.formats import Job, Run, Size, run_onnx, run_openvino, write_onnx, write_openvino
from impasto.export.plain import PlainNetwork
from impasto.graph import GraphStylizer
from impasto.nets import load_network
from impasto.progress import meter
from impasto.style import Style

#: The newest set of ONNX operators that OpenVINO 2022.3 and SNPE both document in full.
OPSET = 12
_LIMIT = 4.0  # of 255: what half precision may change
#: Networks with the frames/s that Luxonis publishes for them (for RVC2 with 8 shaves and 2 threads, at
#: docs.luxonis.com/hardware/platform/rvc/rvc2; for RVC4 in int8, in its example of benchmarks and its list of peaks),
#: and the GFLOP a picture that their authors give, scaled to the size.
PUBLISHED = {
    "RVC2": {
        "ResNet-18, 224": (3.6, 94.8),
        "YOLOv6n, 416": (4.8, 65.5),
        "YOLOv8n, 416": (3.7, 31.3),
        "DeepLab v3 (MobileNet v2), 256": (1.4, 36.5),
        "DeepLab v3 (MobileNet v2), 513": (5.5, 6.3),
    },
    "RVC4": {"YOLOv6n, 512x288": (4.1, 273.0), "YOLOv5m, 640": (49.0, 280.0)},
}
#: Of that rate, what half precision leaves: RVC2 has no other, RVC4 has 12 TOPS of its 48.
_HALF = {"RVC2": 1.0, "RVC4": 12 / 48}


@dataclass(frozen=True)
class Estimate:
    """Frames/s that a chip would reach if it worked on this network at the rate it has on those with published figures.

    Attributes:
        chip: RVC2 or RVC4.
        gflop: operations for a picture, multiplications and additions counted apart.
        slowest, fastest: frames/s at the lowest and highest published rate.
    """

    chip: str
    gflop: float
    slowest: float
    fastest: float

    def __str__(self) -> str:
        return (
            f"{self.chip}: {self.slowest:.0f} to {self.fastest:.0f} frames/s, "
            f"an estimate from {self.gflop:.1f} GFLOP a picture and other networks' rates; never measured"
        )


def estimate(gflop: float) -> list[Estimate]:
    """Estimates what the chips might do, from nothing but operations and published rates."""
    made = []
    for chip, published in PUBLISHED.items():
        rates = [operations * frames * _HALF[chip] for operations, frames in published.values()]
        made.append(Estimate(chip, gflop, min(rates) / gflop, max(rates) / gflop))
    return made


def write_oak(
    stylizer: GraphStylizer,
    folder: Path,
    size: Size = (256, 256),
    style: Style | None = None,
    strength: float = 1.0,
) -> tuple[Exported, list[Estimate]]:
    """Writes the compact network for a camera: ONNX, OpenVINO IR, and the settings of Luxonis' compiler.

    Pictures go in and come out as [1, 3, H, W], blue, green, red in 0..255.

    Args:
        stylizer: a model of the compact network.
        folder: where to; it is made if need be.
        size: height and width, multiples of 8.
        style: to build in; None makes style [1, S] a second input.
        strength: 0..1, built in either way.
    """
    network = load_network(stylizer.model)
    built_in = None if style is None else torch.from_numpy(style.tensor)[None]
    module = PlainNetwork(network, size, built_in, strength, camera=True).eval()
    tried = built_in if built_in is not None else pick_style(stylizer)
    photo = torch.from_numpy(read_photo(size).copy()).permute(2, 0, 1)[None].float()
    arguments = (photo.flip(1),) if style else (photo.flip(1), tried)
    shapes = dict(zip(("image", "style"), (list(argument.shape) for argument in arguments), strict=False))
    stem = f"{stylizer.name}-{size[1]}x{size[0]}" + (f"-{style.name}" if style else "")
    path = folder / f"{stem}.onnx"
    make_folder(folder)
    with make_beside(path) as made, meter(stem, 5) as show, silence_warnings(), torch.no_grad():
        control = network.control(tried, None, torch.tensor([strength]), None, None)
        expected = 255 * network(photo / 255, control).clamp(0, 1).flip(1).numpy()
        with FlopCounterMode(display=False) as counter:
            module(*arguments)
        show(1, 5)
        graph = made.with_suffix(".xml")
        job = Job(module, arguments, list(shapes), size, made)
        write_onnx(job, OPSET)
        show(2, 5)
        write_openvino(job._replace(path=graph), OPSET)
        show(3, 5)
        runs = [run_onnx(made), run_openvino(graph)]
        show(4, 5)
        checks = [compare(run, arguments, expected, size, _LIMIT, unit=1) for run in (*runs, _run_half(module))]
        show(5, 5)
        made.with_suffix(".json").write_text(json.dumps(_settings(made.name, shapes), indent=1) + "\n", "utf-8")
        megabytes = count_megabytes(made.parent)
    kind = f"ONNX, opset {OPSET}, with OpenVINO IR (.xml, .bin) and modelconverter's settings (.json) beside it"
    exported = Exported(
        path,
        kind + describe_built_in(style, strength),
        megabytes,
        {name: f"{shape}" + " of blue, green, red in 0..255" * (name == "image") for name, shape in shapes.items()},
        {"painted": "the same"},
        checks,
        "the compilers that make .blob (RVC2) and .dlc (RVC4) of it, and a camera; see docs/guide/oak.md",
    )
    return exported, estimate(counter.get_total_flops() / 1e9)


def _run_half(module: PlainNetwork) -> tuple[str, Run]:
    """Rounds every operator's result to float16, as the chips do; how they add up inside one, it does not imitate."""
    half = copy.deepcopy(module).half()

    def run(arrays: Sequence[np.ndarray]) -> np.ndarray:
        painted: np.ndarray = half(*(torch.from_numpy(array).half() for array in arrays)).float().numpy()
        return painted

    return "PyTorch in half precision", run


def _settings(name: str, shapes: dict[str, list[int]]) -> dict[str, Any]:
    """Gives the settings of ``modelconverter``, for both chips: no other colours, nothing scaled, half precision."""
    types = ",".join(f"{port}:{'U8' if port == 'image' else 'FP16'}" for port in shapes)
    colours = {"image": "BGR"}
    return {
        "input_model": name,
        "inputs": [
            {"name": port, "shape": shape, "encoding": colours.get(port, "NONE")} for port, shape in shapes.items()
        ],
        "outputs": [{"name": "painted"}],
        "rvc2": {"compress_to_fp16": True, "compile_tool_args": ["-iop", types]},
        "rvc4": {"quantization_mode": "FP16_STANDARD"},
    }
