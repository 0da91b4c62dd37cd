"""A model in eight bits: post-training quantisation of the content graph for OpenVINO. Needs ``impasto[quantize]``.

Convolutions become int8 with a scale for each output channel, and their inputs uint8; feature statistics and the
adaptive layers, which would magnify rounding, stay in float32. What the scales are is found by running the network on
photos and styles. A check on other pairs, by the losses that the network was trained with, puts back to float32 what
costs more than a fiftieth.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from impasto.alpha import fill
from impasto.engine import Inputs
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import STYLE_WEIGHT, Features, Observer
from impasto.extras import explain_missing
from impasto.files import reason
from impasto.graph import GraphStylizer, paint_reference
from impasto.image import Pixels, center_crop, read_image, to_float, to_uint8
from impasto.losses import Statistics
from impasto.model import INT8, Model, digest_of_int8, find_model
from impasto.place import find_pictures
from impasto.progress import track
from impasto.train.augment import embolden

with explain_missing(__name__):
    import nncf
    import openvino
    import torch

    from impasto.engine.openvino import core

#: What the adaptive layers, the mask and the doublings consist of: all but the convolutions.
_IN_FLOAT = ["Add", "Divide", "Interpolate", "MatMul", "Multiply", "Power", "ReduceMean", "ReduceSum", "Sqrt",
             "Subtract"]  # fmt: skip
_LARGEST_DROP = 0.02


def quantize(
    model: str | os.PathLike[str],
    content: Sequence[str],
    style: Sequence[str],
    *,
    pairs: int = 96,
    checked: int = 12,
    size: int = 256,
    seed: int = 0,
) -> Path:
    """Adds the eight-bit content graph to a model folder; :func:`impasto.load` takes it where it is faster.

    Args:
        model: name of a shipped model, or a model folder. It is changed in place.
        content, style: folders or tar files of photos and of style pictures.
        pairs: of a photo and a style, to find the scales on.
        checked: as many others, to measure what it costs.
        size: side in pixels of the squares that both are brought to.
        seed: which are drawn.

    Returns:
        The path of the graph.

    Raises:
        ImpastoError: the model takes no style of any picture, or a folder holds too few pictures.
    """
    found = find_model(model)
    if found.trained_styles or found.card.encoder:
        raise ImpastoError(f"{found.name} cannot be quantized: only compact models are")
    painter = GraphStylizer(found, "onnxruntime")
    photos, paintings = (_draw(sources, pairs + checked, size, seed) for sources in (content, style))
    paintings = _embolden(paintings, seed)  # scales that fit paintings alone would cut off what prints need
    both = track(zip(photos, paintings, strict=True), "taking styles", len(photos))
    inputs = [_prepare(painter, photo, painting) for photo, painting in both]
    observe = Observer()
    to_check = [
        _Pair(given, observe(photo), observe(painting).style)
        for given, photo, painting in zip(inputs[:checked], photos, paintings, strict=False)
    ]

    nncf.set_log_level(logging.ERROR)
    quantized = nncf.quantize_with_accuracy_control(
        _fold(found.graph()),
        nncf.Dataset(inputs[checked:]),
        nncf.Dataset(to_check, lambda pair: pair.inputs),
        _Check(observe),
        max_drop=_LARGEST_DROP,
        drop_type=nncf.DropType.RELATIVE,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=pairs,
        ignored_scope=nncf.IgnoredScope(types=_IN_FLOAT, validate=False),
    )
    versions = f"nncf {nncf.__version__}, openvino {openvino.__version__}"
    _install(quantized, found, {"pairs": pairs, "size": size, "seed": seed, "made_with": versions})
    return found.folder / INT8


def _install(quantized: openvino.Model, model: Model, told: dict[str, Any]) -> None:
    """Puts a graph into a model's folder, and what is told of it into its card: both or, if it fails, neither."""
    try:
        made = Path(tempfile.mkdtemp(dir=model.folder, prefix=".int8-"))
    except OSError as error:
        raise ImpastoError(f"cannot write to {model.folder}: {reason(error, str(model.folder / INT8))}") from None
    try:
        # A whole model, so that its picture is known before the one that is there is touched.
        for file in model.folder.iterdir():
            if file.is_file():
                shutil.copy(file, made)
        openvino.save_model(quantized, str(made / INT8))
        told = {"sha256": digest_of_int8(made), **told}
        replace(model.card, int8=told).write(made)
        painted = paint_reference(GraphStylizer(find_model(made), "openvino", precision="int8"))
        for file in (made / INT8, (made / INT8).with_suffix(".bin")):
            file.chmod(0o644)
            file.replace(model.folder / file.name)
        replace(model.card, int8=told | {"reference": painted.round(2).tolist()}).write(model.folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _fold(path: Path) -> openvino.Model:
    """Reads a graph with all its weights as constants: those of the last convolution are put together out of others."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return core().read_model(options.optimized_model_filepath)


def _draw(sources: Sequence[str], count: int, size: int, seed: int) -> list[Pixels]:
    """Draws pictures without repetition, and cuts squares of `size` pixels from them."""
    found = find_pictures(sources)
    if len(found) < count:
        raise ImpastoError(f"{', '.join(sources)}: {len(found)} pictures are too few, {count} are needed")
    chosen = np.random.default_rng(seed).permutation(len(found))[:count]
    return [center_crop(fill(read_image(found[index].read())), size) for index in chosen]


def _embolden(paintings: Sequence[Pixels], seed: int) -> list[Pixels]:
    """Makes half of the paintings sharper and starker, see :func:`impasto.train.augment.embolden`."""
    batch = torch.from_numpy(np.concatenate([to_float(painting) for painting in paintings]))
    return [to_uint8(one[None].numpy()) for one in embolden(batch, 0.5, torch.Generator().manual_seed(seed))]


def _prepare(painter: GraphStylizer, photo: Pixels, painting: Pixels) -> dict[str, np.ndarray]:
    """Gives the inputs of a content graph that paints a photo in the style of a painting."""
    stats = np.ones((1, painter.model.stats_size), np.float32)
    return Inputs(
        to_float(photo),
        painter.take(painting, "style").tensor[None].astype(np.float32),
        np.ones((1, 1, 1, 1), np.float32),
        strength=np.array(1, np.float32),
        stats=stats,
        inertia=0 * stats[0],
    )._asdict()


class _Pair(NamedTuple):
    """What a graph is checked on: its inputs, and what the photo and the painting in them look like to VGG-19."""

    inputs: dict[str, np.ndarray]
    photo: Features
    style: Statistics


class _Check:
    """How well a graph paints pairs: the mean of 1 / (content loss + 10 * style loss), larger is better."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe

    def __call__(self, compiled: openvino.CompiledModel, pairs: Iterable[_Pair]) -> tuple[float, list[float]]:
        found = [self._score(compiled, pair) for pair in pairs]
        return float(np.mean(found)), found

    def _score(self, compiled: openvino.CompiledModel, pair: _Pair) -> float:
        features = self._observe(to_uint8(compiled(pair.inputs)["painted"]))
        return 1 / (features.content_loss(pair.photo) + STYLE_WEIGHT * features.style_loss(pair.style))
