"""From a training checkpoint to a model folder: content graph, weights, gallery and card."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from torch import Tensor, nn

from impasto import __version__
from impasto.checks import make_folder, require_no_file
from impasto.controls import STYLE_SIZE
from impasto.engine import OUTPUTS, Inputs
from impasto.errors import ImpastoError
from impasto.export.beside import make_beside
from impasto.graph import GraphStylizer, paint_reference
from impasto.model import Card, find_model, fingerprint
from impasto.nets import make_network
from impasto.nets.adain import AdaIN
from impasto.nets.norm import Network
from impasto.nets.vgg import load_encoder
from impasto.networks import NETWORKS
from impasto.style import gallery as paintings
from impasto.train.checkpoint import read_checkpoint

OPSET = 18
INPUTS = [*Inputs._fields]
_DYNAMIC = {
    "image": {2: "height", 3: "width"},
    "style": {0: "regions"},
    "mask": {0: "regions", 2: "mask_height", 3: "mask_width"},
    "stats": {0: "regions"},
}


class ContentGraph(nn.Module):
    """A network with all run-time controls as inputs: what is exported."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, style: Tensor, mask: Tensor, strength: Tensor, stats: Tensor, inertia: Tensor
    ) -> tuple[Tensor, Tensor]:
        control = self.network.control(style, mask, strength, stats, inertia)
        painted = self.network(image, control)
        return painted.clamp(0, 1), control.used()


def content_graph(network: Network) -> onnx.ModelProto:
    """Makes the ONNX content graph of a network, with any number of regions and any sizes."""
    stats = torch.ones(2, 2 * sum(network.adaptive))
    arguments = (torch.rand(1, 3, 64, 96), torch.ones(2, network.style_size), torch.rand(2, 1, 24, 40),
                 torch.tensor(1.0), stats, 0 * stats[0])  # fmt: skip
    return trace(ContentGraph(network), arguments, INPUTS, [*OUTPUTS], _DYNAMIC)


def trace(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    dynamic: dict[str, Any],
    opset: int = OPSET,
    folded: bool = True,
) -> onnx.ModelProto:
    """Makes a module's ONNX graph, checked; `dynamic` names the axes of inputs and outputs that may have any length.

    Unless `folded`, what can be computed from weights alone is left to the runtime, and they stay what they are.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about every size it turns into a plain number on purpose
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(module.eval(), arguments, str(path), input_names=inputs, output_names=outputs,
                          dynamic_axes=dynamic, opset_version=opset, do_constant_folding=folded,
                          dynamo=False)  # fmt: skip
        graph = onnx.load(path)
    for initializer in graph.graph.initializer:
        initializer.name = initializer.name.removeprefix("network.")
    for node in graph.graph.node:
        for names in (node.input, node.output):  # an output too, where the exporter found two weights to be alike
            for index, name in enumerate(names):
                names[index] = name.removeprefix("network.")
    onnx.checker.check_model(graph)
    return graph


class StyleFromPicture(nn.Module):
    """How a network makes a style of a picture and its statistics, where these are not the style themselves."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, statistics: Tensor, image: Tensor) -> Tensor:
        return self.network.style_from(statistics, image)


def style_graph(network: Network) -> onnx.ModelProto | None:
    """Makes the ONNX graph from statistics [1, T] and the picture [1, 3, H, W] they are of to its style [1, S].

    None where a picture's statistics are its style.
    """
    if network.takes_statistics:
        return None
    arguments = torch.ones(1, 2 * sum(network.adaptive)), torch.rand(1, 3, 64, 96)
    return trace(StyleFromPicture(network), arguments, ["statistics", "image"], ["style"], {"image": _DYNAMIC["image"]})


def halve_weights(graph: onnx.ModelProto) -> None:
    """Stores float32 weights as float16, in place; a cast follows each, so that computation stays in float32."""
    casts = []
    for initializer in graph.graph.initializer:
        if initializer.data_type == TensorProto.FLOAT and len(initializer.dims) > 1:
            weight, name = numpy_helper.to_array(initializer), initializer.name
            initializer.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.graph.node.insert(0, cast)


def detach_weights(graph: onnx.ModelProto, names: set[str]) -> list[str]:
    """Moves the named weights out to ``weights.bin``, in place; returns their names in the order they lie there."""
    moved, offset = [], 0
    for initializer in graph.graph.initializer:
        if initializer.name in names:
            length = len(numpy_helper.to_array(initializer).tobytes())
            initializer.ClearField("raw_data")
            initializer.ClearField("float_data")
            initializer.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", length)):
                initializer.external_data.add(key=key, value=str(value))
            moved.append(initializer.name)
            offset += length
    return moved


def _read_trained(source: str | Path) -> dict[str, Any]:
    """Reads a checkpoint, or what it would hold of the trained model of that name or folder."""
    if Path(source).is_file():
        return read_checkpoint(Path(source))
    model = find_model(source)
    kind = model.card.network
    prefix = NETWORKS[kind].network_class().prefix
    return {
        "kind": kind,
        "arguments": model.card.arguments,
        "styles": model.card.styles,
        "stages": model.card.training,
        "average": {
            f"module.{name.removeprefix(prefix)}": torch.from_numpy(weight) for name, weight in model.weights().items()
        },
    }


def _read_mean(checkpoint: Path, others: Sequence[str | Path]) -> dict[str, Any]:
    """Reads a checkpoint and takes the mean with the weights of others, whose training its last stage notes."""
    state, *more = states = [read_checkpoint(checkpoint), *map(_read_trained, others)]
    networks = [(one["kind"], one.get("arguments", {}), [*one.get("styles", ())]) for one in states]
    for other, network in zip(others, networks[1:], strict=True):
        if network != networks[0]:
            raise ImpastoError(f"{other} is of another network than {checkpoint}: no mean can be taken of them")
    if more:
        for key, weight in state["average"].items():
            if weight.is_floating_point():
                state["average"][key] = torch.stack([one["average"][key] for one in states]).mean(0)
        *stages, last = state["stages"]
        # Of one whose stages are all above, the start: its last, without the mean that stands there already.
        own = [
            [stage for stage in one["stages"] if stage not in stages]
            or [{key: value for key, value in stage.items() if key != "mean_with"} for stage in one["stages"][-1:]]
            for one in more
        ]
        state["stages"] = [*stages, last | {"mean_with": own}]
    return state


def export(
    checkpoint: Path, folder: Path, name: str, gallery: Path | None = None, mean_with: Sequence[str | Path] = ()
) -> Path:
    """Makes a model folder from a training checkpoint, or replaces one; no other folder that holds anything.

    Args:
        checkpoint: what ``impasto train`` wrote; its averaged weights are taken.
        folder: the model folder to make.
        name: the model's name.
        gallery: folder of pictures named like the shipped paintings, whose styles go into the model.
        mean_with: checkpoints of runs with the same start, or models, that start itself for one; the new model gets
            the mean of the weights of all, each counted as often as it is named ("Model soups", Wortsman et al., ICML
            2022).

    Raises:
        ImpastoError: a checkpoint cannot be read, they are of different networks, or the folder cannot be written.
    """
    state = _read_mean(checkpoint, mean_with)
    kind = state["kind"]
    network, prefix = make_network(kind, state.get("arguments", {})), NETWORKS[kind].network_class().prefix
    trained = {
        f"{prefix}{key.removeprefix('module.')}": _halved(key, weight)
        for key, weight in state["average"].items()
        if key.startswith("module.")
    }
    return make_model(network, trained, folder, name, gallery=gallery, kind=kind, training=state["stages"],
                      styles=[*state.get("styles", ())], licence="MIT")  # fmt: skip


def _halved(name: str, weight: Tensor) -> Tensor:
    """A weight in float16; but counts, and a running variance, which may be smaller than float16 can hold."""
    return weight.half() if weight.is_floating_point() and "running" not in name else weight


def make_model(
    network: Network, trained: dict[str, Tensor], folder: Path, name: str, *, gallery: Path | None = None, **told: Any
) -> Path:
    """Makes a model folder, or replaces one; no other folder that holds anything.

    Args:
        network: of the kind and arguments that the card will tell; its own weights do not count.
        trained: its weights by their names, in the precision to keep; without VGG-19, the one of each machine counts.
        folder: where.
        name: the model's name.
        gallery: see :func:`export`.
        told: what else the card tells, see :class:`impasto.model.Card`.
    """
    require_no_file(folder)
    make_folder(folder.resolve().parent)
    with make_beside(folder.resolve()) as made:  # a link stays a link
        made.mkdir()
        _write(network, trained, made, name, gallery, **told)
    return folder


def _write(
    network: Network,
    trained: dict[str, Tensor],
    made: Path,
    name: str,
    gallery: Path | None,
    *,
    kind: str,
    styles: list[str] | None = None,
    **told: Any,
) -> None:
    """Writes the files of a model into an empty folder, see :func:`make_model`."""
    elsewhere = isinstance(network, AdaIN) and "encoder.0.weight" not in trained
    if elsewhere:
        network.encoder = load_encoder()
    weights = network.state_dict() | {key: weight.to(network.state_dict()[key]) for key, weight in trained.items()}
    network.load_state_dict(weights)

    graph, head, external = content_graph(network), style_graph(network), None
    if isinstance(network, AdaIN):
        external = detach_weights(graph, set(weights))
    else:
        halve_weights(graph)
    (made / "content.onnx").write_bytes(graph.SerializeToString())
    if head is not None:
        halve_weights(head)
        (made / "style.onnx").write_bytes(head.SerializeToString())
    save_file({key: weight.contiguous().numpy() for key, weight in trained.items()}, made / "weights.safetensors")
    card = Card(
        name=name,
        description=network.description.format(**network.arguments),
        network=kind,
        arguments=dict(network.arguments),
        adaptive=list(network.adaptive),
        strides=list(network.strides),
        style_size=network.style_size,
        styles=styles or [],
        made_with=f"impasto {__version__}",
        encoder="vgg19" if elsewhere else None,
        external=external,
        fingerprint=fingerprint(made),
        **told,
    )
    card.write(made)
    if card.styles:
        vectors = dict(zip(card.styles, network.styles().half().numpy(), strict=True))
        save_file(vectors, made / "gallery.safetensors")
    stylizer = GraphStylizer(find_model(made), engine="onnxruntime")
    if gallery is not None and not card.styles:
        card = replace(card, gallery=f"{len(paintings())} public-domain paintings, short side {STYLE_SIZE}")
        taken = {painting: stylizer.style(_find_picture(gallery, painting)) for painting in paintings()}
        vectors = {painting: style.tensor.astype(np.float16) for painting, style in taken.items()}
        save_file(vectors, made / "gallery.safetensors")
    reference = paint_reference(stylizer).round(2).tolist()
    reach = measure_reach(network.eval()) if network.in_parts else None
    replace(card, reach=reach, reference=reference).write(made)
    for file in made.iterdir():
        file.chmod(0o644)  # safetensors makes its files for their owner alone


@torch.inference_mode()
def measure_reach(network: Network) -> int:
    """Measures how far a network sees: pixels from a cut to the last one that depends on what is beyond, for tiles.

    An impulse test: one half of a picture of noise gives way to other noise, and it is seen how far into the other
    half the painting changes, in all four directions. The statistics stay what they are, and the cut is where a tile
    may begin, at a multiple of the strides. Nothing is clamped: what a poor network paints may be black all over.
    """
    stride = max(network.strides)
    middle, length = 32 * stride, 64 * stride
    before, after = torch.rand(2, 1, 3, 4 * stride, length, generator=torch.Generator().manual_seed(0))
    style = network.styles()[:1] if network.own_styles else torch.ones(1, network.style_size)
    strength = torch.tensor(1.0)
    observed = network.control(style, None, strength, None, None)
    network(before, observed)
    stats = observed.used()

    def paint(image: Tensor, turned: bool) -> Tensor:
        control = network.control(style, None, strength, stats, torch.ones(stats.shape[1]))
        painted: Tensor = network(image.mT if turned else image, control)
        return painted.mT if turned else painted

    reach = 0
    for turned in (False, True):
        unchanged = paint(before, turned)
        for half in (slice(middle, None), slice(middle)):
            changed = before.clone()
            changed[..., half] = after[..., half]
            seen = (paint(changed, turned) != unchanged).flatten(0, 2).any(0).nonzero()
            reach = max(reach, middle - int(seen[0]) if half.start else int(seen[-1]) + 1 - middle)
    return reach


def _find_picture(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}.*"))
    if not found:
        raise ImpastoError(f"{folder} has no picture {name}.*")
    return found[0]
