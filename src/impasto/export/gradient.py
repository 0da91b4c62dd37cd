"""The graphs that styles are fitted by without PyTorch: the losses of a style on photos, with their gradient.

`fit.onnx` is the network, the judge of :mod:`impasto.nets.judge`, the losses and the backward pass through all of them
as far as the style. It comes from what PyTorch computes, operator by operator: what ONNX has no operator for is
rewritten here. `judge.onnx` gives the judge's features of any picture. Neither carries weights: they find the judge's
in `judge.safetensors` and the network's in the model's own `weights.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from impasto.export.checkpoint import trace
from impasto.fitting import BATCH, CROP, FEATURES, GRADIENT, JUDGE, SMOOTH_WEIGHT
from impasto.losses import content_loss, style_loss, style_statistics, total_variation
from impasto.nets.judge import Judge
from impasto.nets.norm import Network
from impasto.train.fit import FreeStyle

_aten = torch.ops.aten
_INPUTS = ["change", "style", "crops", "sky", "content", "target", "style_weight"]


class Gradient(nn.Module):
    """The losses of a style tensor on a batch of photos, and their gradient by its change."""

    def __init__(self, network: Network, judge: Judge) -> None:
        super().__init__()
        self.network, self.judge = network, judge

    def forward(
        self,
        change: Tensor,
        style: Tensor,
        crops: Tensor,
        sky: Tensor,
        content: Tensor,
        target: Tensor,
        style_weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The gradient [S] of the weighted sum of the losses, and these: content, style, smoothness [3].

        Args:
            change, style: [S], see :class:`impasto.train.fit.FreeStyle`.
            crops: [N, 3, H, H] in 0..1, of photos.
            sky: [1, 3, H, H], a smooth picture.
            content: the judge's last features of the crops.
            target: the style's statistics as the judge sees it, of each tap its means and its standard deviations.
            style_weight: scalar, of the style loss.
        """
        change = change.detach().requires_grad_()
        tensor = FreeStyle(style, self.network.adaptive).changed(change)[None]
        taps = self.judge(self.network(crops, self.network.adapt_to(tensor.expand(len(crops), -1))))
        parts = torch.split(
            target.expand(len(crops), -1), [features.shape[1] for features in taps for _ in range(2)], 1
        )
        near = content_loss(taps[-1], content)
        styled = style_loss(style_statistics(taps), list(zip(parts[::2], parts[1::2], strict=True)))
        rough = total_variation(self.network(sky, self.network.adapt_to(tensor)))
        (gradient,) = torch.autograd.grad(near + style_weight * styled + SMOOTH_WEIGHT * rough, change)
        return gradient, torch.stack([near, styled, rough]).detach()


def gradient_graph(network: Network, judge: Judge) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Makes the ONNX graph of :class:`Gradient`, for `BATCH` crops of `CROP` pixels, and tells its weights' names."""
    crops = torch.rand(BATCH, 3, CROP, CROP, generator=torch.Generator().manual_seed(0))
    taps = judge(crops)
    size = 2 * sum(features.shape[1] for features in taps)
    arguments = (torch.zeros(network.style_size), torch.ones(network.style_size), crops, crops[:1], taps[-1],
                 torch.zeros(size), torch.tensor(1.0))  # fmt: skip
    module = Gradient(network.requires_grad_(False), judge)
    traced = make_fx(module, decomposition_table=_REWRITTEN)(*arguments)
    for node in traced.graph.nodes:  # the exporter knows doubling by its own name alone
        if node.target in _DOUBLING:
            node.kwargs = {"scale_factor": 2, "mode": _DOUBLING[node.target]}
            node.target, node.args = F.interpolate, node.args[:1]
    traced.recompile()
    graph = trace(traced, arguments, _INPUTS, ["gradient", "losses"], {}, folded=False)
    at = {tensor.data_ptr(): name for name, tensor in module.state_dict(keep_vars=True).items()}
    held = [*traced.named_parameters(), *traced.named_buffers()]
    names = {name: at[tensor.data_ptr()] for name, tensor in held if tensor.data_ptr() in at}
    return graph, names


def write_graphs(folder: Path, network: Network, judge: Judge) -> None:
    """Writes the judge in float16, and the graphs, into the folder of the network's model."""
    weights = {
        name: weight.half() if weight.is_floating_point() else weight for name, weight in judge.state_dict().items()
    }
    save_file(weights, folder / JUDGE)
    (folder / JUDGE).chmod(0o644)  # safetensors makes its files for their owner alone
    judge.load_state_dict(weights)
    graph, names = gradient_graph(network, judge)
    trained = {name: key.removeprefix("network.") for name, key in names.items() if key.startswith("network.")}
    _refer(graph, folder / "weights.safetensors", trained)
    _refer(graph, folder / JUDGE, {name: key.removeprefix("judge.") for name, key in names.items()})
    (folder / GRADIENT).write_bytes(graph.SerializeToString())
    free = {"image": {0: "count", 2: "height", 3: "width"}}
    seeing = trace(judge, (torch.rand(1, 3, 64, 96),), ["image"], [f"relu{block}_1" for block in range(1, 5)], free)
    _refer(seeing, folder / JUDGE, {key: key for key in weights})
    (folder / FEATURES).write_bytes(seeing.SerializeToString())


def _refer(graph: onnx.ModelProto, path: Path, names: dict[str, str]) -> None:
    """Lets weights of a graph be those in a safetensors file beside it, in place.

    Args:
        names: those in the file by those in the graph; what the file does not hold stays as it is.
    """
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(start - 8))
    casts = []
    for initializer in graph.graph.initializer:
        entry = entries.get(names.get(initializer.name))
        if entry is None:
            continue
        begin, end = entry["data_offsets"]
        halved = entry["dtype"] == "F16"
        if halved:
            casts.append(
                helper.make_node("Cast", [f"{initializer.name}.half"], [initializer.name], to=TensorProto.FLOAT)
            )
            initializer.name += ".half"
            initializer.data_type = TensorProto.FLOAT16
        initializer.ClearField("raw_data")
        initializer.data_location = TensorProto.EXTERNAL
        for key, value in (("location", path.name), ("offset", start + begin), ("length", end - begin)):
            initializer.external_data.add(key=key, value=str(value))
    for cast in reversed(casts):
        graph.graph.node.insert(0, cast)


def _convolution_backward(
    gradient: Tensor,
    inputs: Tensor,
    weight: Tensor,
    _bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    *_: Any,
) -> tuple[Tensor, None, None]:
    """By its input alone. With a stride of 1 that is a convolution, which ONNX Runtime is faster at."""
    size = weight.shape[-1]
    if stride[0] == 1:
        return F.conv2d(gradient, weight.flip(2, 3).transpose(0, 1), padding=size - 1 - padding[0]), None, None
    rest = inputs.shape[-1] - ((gradient.shape[-1] - 1) * stride[0] - 2 * padding[0] + size)
    back = F.conv_transpose2d(gradient, weight, stride=stride[0], padding=padding[0], output_padding=rest)
    return back, None, None


def _reflect_backward(gradient: Tensor, _inputs: Tensor, padding: Sequence[int]) -> Tensor:
    """Of one pixel on each side: what the border got belongs to the pixels next to the edge."""
    assert list(padding) == [1, 1, 1, 1]
    for axis in (2, 3):
        first, edge, inner, body, last_inner, last_edge, last = torch.split(
            gradient, [1, 1, 1, gradient.shape[axis] - 6, 1, 1, 1], axis
        )
        gradient = torch.cat([edge, inner + first, body, last_inner + last, last_edge], axis)
    return gradient


_SHARES = torch.outer(*2 * (torch.tensor([0.25, 0.75, 0.75, 0.25]),))


def _double_backward(gradient: Tensor, *_: Any) -> Tensor:
    """Of doubling by linear interpolation: each pixel gets what it gave, a quarter and three quarters."""
    channels = gradient.shape[1]
    weight = _SHARES.expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(gradient, (1, 1, 1, 1), mode="replicate"), weight, stride=2, groups=channels)


def _pool_backward(gradient: Tensor, inputs: Tensor, *arguments: Any) -> Tensor:
    """Of the largest of four: to where it came from."""
    largest = _aten.max_pool2d_with_indices(inputs, *arguments[:-1])[0]
    largest, gradient = (_aten.upsample_nearest2d(part, inputs.shape[2:]) for part in (largest, gradient))
    passed: Tensor = gradient * (inputs == largest)
    return passed


def _slice_backward(gradient: Tensor, sizes: Sequence[int], axis: int, start: int, end: int, step: int) -> Tensor:
    assert step == 1
    behind = [0, 0] * (len(sizes) - 1 - axis)
    return F.pad(gradient, [*behind, start, sizes[axis] - min(end, sizes[axis])])


_DOUBLING = {_aten.upsample_bilinear2d.default: "bilinear", _aten.upsample_nearest2d.default: "nearest"}
_REWRITTEN: dict[Any, Callable[..., Any]] = {
    _aten.convolution_backward.default: _convolution_backward,
    _aten.reflection_pad2d_backward.default: _reflect_backward,
    _aten.upsample_bilinear2d_backward.default: _double_backward,
    _aten.max_pool2d_with_indices_backward.default: _pool_backward,
    _aten.slice_backward.default: _slice_backward,
    _aten._unsafe_view.default: lambda tensor, size: tensor.reshape(size),
    _aten.threshold_backward.default: lambda gradient, inputs, threshold: gradient * (inputs > threshold),
    _aten.mse_loss_backward.default: lambda gradient, inputs, target, _: (
        gradient * 2 / inputs.numel() * (inputs - target)
    ),
}
