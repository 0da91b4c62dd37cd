"""Whether painting several photos of one style in one call is faster than one after another: it is not, on a CPU.

    python benchmarks/batch.py

The content graph takes one photo at a time. This exports the default model's network as a graph for any number of them
in one style, and times it in ONNX Runtime on one thread: milliseconds for each photo, least of several rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

from impasto.model import find_model  # before ONNX Runtime, which would report itself

# isort: split
import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from impasto.nets import load_network
from impasto.nets.norm import EPS, Network


class Shared:
    """The adaptive layer for photos that share a style [1, S], in operators that can be exported."""

    def __init__(self, style: Tensor) -> None:
        self._style, self._at = style, 0

    def __call__(self, features: Tensor) -> Tensor:
        channels = int(features.shape[1])
        mean, std = self._style[:, self._at : self._at + 2 * channels, None, None].split(channels, 1)
        self._at += 2 * channels
        centred = features - features.mean((2, 3), keepdim=True)
        return centred * (std / (centred.square().mean((2, 3), keepdim=True) + EPS).sqrt()) + mean


class Batch(nn.Module):
    """Photos [N, 3, H, W] in the style [1, S]."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor, style: Tensor) -> Tensor:
        return self.network(photos, Shared(style)).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    network = load_network(find_model("adain"))
    style = torch.ones(1, network.style_size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "batch.onnx")
        axes = {name: {0: "photos", 2: "height", 3: "width"} for name in ("photos", "painted")}
        torch.onnx.export(Batch(network), (torch.rand(2, 3, 64, 64), style), str(path), input_names=["photos", "style"],
                          output_names=["painted"], dynamic_axes=axes, opset_version=17, dynamo=False)  # fmt: skip
        session = opened(path)
    chance = np.random.default_rng(0)
    for size in options.sizes:
        photos = chance.random((max(options.batches), 3, size, size), np.float32)
        least = dict.fromkeys(options.batches, np.inf)
        for _ in range(options.rounds):  # in turns, so that whatever else the machine does disturbs all alike
            for count in options.batches:
                start = time.perf_counter()
                session.run(None, {"photos": photos[:count], "style": style.numpy()})
                least[count] = min(least[count], 1000 * (time.perf_counter() - start) / count)
        figures = ", ".join(f"{count}: {one:.1f} ms ({one / least[1]:.2f})" for count, one in least.items())
        print(f"{size} x {size}, a photo in a batch of {figures}")


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
