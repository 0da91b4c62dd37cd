"""Fitting a style to its picture on any machine: no PyTorch and no VGG-19, a few seconds.

What `train/fit.py` does with VGG-19 as the judge is done here with a small judge that ships, by a graph that gives the
losses and their gradient (`export/gradient.py`). Photos to paint meanwhile ship, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import numpy as np

from impasto.alpha import weigh
from impasto.checks import require_at_least
from impasto.errors import ImpastoError
from impasto.graph import GraphStylizer
from impasto.image import read_image, to_float
from impasto.progress import track
from impasto.session import open_session
from impasto.style import EPS, Style
from impasto.stylizer import Stylizer

#: The graphs in a model's folder, the weights of the judge, and the photos.
GRADIENT, FEATURES, JUDGE, PHOTOS = "fit.onnx", "judge.onnx", "judge.safetensors", "fit.webp"
#: Crops that are painted in each step, and their side in pixels.
BATCH, CROP = 4, 128
#: Of the total variation of what becomes of smooth pictures with a little noise: skies shall stay skies.
SMOOTH_WEIGHT = 10_000.0
#: How far a standard deviation may be changed: the logarithm of its factor.
LARGEST = 3.0
_RATE, _STYLE_WEIGHT = 0.05, 28.0


def can_fit(painter: Stylizer) -> TypeGuard[GraphStylizer]:
    """Tells whether a model has what its styles are fitted by."""
    return isinstance(painter, GraphStylizer) and (painter.model.folder / GRADIENT).is_file()


def fit_style(painter: Stylizer, style: Style, steps: int = 40) -> Style:
    """Fits a style to its picture: the style tensor that paints best, found by gradient (Adam, Kingma and Ba 2015).

    Args:
        painter: the model that the style is of; as many processor threads are used as it was loaded with.
        style: as :meth:`impasto.stylizer.Stylizer.style` takes it, with its picture.
        steps: how long; more than 40 bring little.

    Raises:
        ImpastoError: the model has no graph to fit by, or the style no picture.
    """
    require_at_least(1, steps=steps)
    if not can_fit(painter):
        raise ImpastoError(f"{painter.name} cannot fit styles by itself: choose adain, or give --fit-photos")
    if style.picture is None:
        raise ImpastoError(f"the style {style.name} cannot be fitted: give the picture that it is of")
    folder = painter.model.folder
    features, step = (
        open_session(folder / graph, painter.name, threads=painter.threads) for graph in (FEATURES, GRADIENT)
    )

    def see(pictures: np.ndarray) -> list[np.ndarray]:
        taps: list[np.ndarray] = features.run(None, {"image": pictures})
        return taps

    weight = None if style.alpha is None else weigh(style.alpha)[0, 0]
    target = np.concatenate([measure_statistics(tap, weight) for tap in see(to_float(style.picture))], 1)[0]
    batches = []
    for crops in read_crops(folder / PHOTOS):
        taps = see(crops)
        sizes = np.repeat([tap.shape[1] for tap in taps], 2)
        away = np.square(np.concatenate([measure_statistics(tap) for tap in taps], 1) - target) @ np.repeat(
            1 / sizes, sizes
        )
        batches.append(
            {"crops": crops, "content": taps[-1], "style_weight": np.array(_STYLE_WEIGHT / away.mean(), np.float32)}
        )

    change = mean = square = np.zeros_like(style.tensor)
    random = np.random.default_rng(0)
    for number in track(range(1, steps + 1), "Fitting the style", steps):
        given = batches[number % len(batches)] | {"style": style.tensor, "target": target, "change": change}
        gradient, _ = step.run(None, given | {"sky": draw_sky(random)})
        mean, square = mean + 0.1 * (gradient - mean), square + 0.02 * (gradient**2 - square)
        rate = _RATE * (1 + np.cos(np.pi * (number - 1) / steps)) / 2
        root = np.sqrt(square / (1 - 0.98**number)) + 1e-8
        change = (change - rate * mean / (1 - 0.9**number) / root).astype(np.float32)
    return replace(style, tensor=_apply(change, style.tensor, painter.model.channels))


def _apply(change: np.ndarray, tensor: np.ndarray, channels: list[int]) -> np.ndarray:
    """Changes a style tensor [S]: means by so many standard deviations, these by a factor's logarithm."""
    changed = tensor.copy()
    at = 0
    for count in channels:
        means, stds = slice(at, at + count), slice(at + count, at + 2 * count)
        changed[means] += tensor[stds] * change[means]
        changed[stds] *= np.exp(change[stds].clip(-LARGEST, LARGEST))
        at += 2 * count
    return changed


def measure_statistics(features: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Channel means, then standard deviations, of features [N, C, h, w]: [N, 2 C].

    Args:
        features: of a picture.
        weight: by how much each of its pixels counts, [H, W].
    """
    height, width = features.shape[2:]
    if weight is None:
        share = np.full((height, width), 1 / (height * width), np.float32)
    else:
        side = -(-weight.shape[0] // height)
        padding = (0, height * side - weight.shape[0]), (0, width * side - weight.shape[1])
        share = np.pad(weight, padding, "edge").reshape(height, side, width, side).mean((1, 3))
        share /= share.sum()
    mean = np.einsum("nchw,hw->nc", features, share)
    variance = np.einsum("nchw,hw->nc", np.square(features - mean[..., None, None]), share)
    return np.concatenate([mean, np.sqrt(variance + EPS)], 1)


def read_crops(path: Path) -> Iterator[np.ndarray]:
    """Reads the photos' crops, which lie side by side in one picture: batches float32 [BATCH, 3, CROP, CROP]."""
    rows = to_float(read_image(path).pixels)[0].reshape(3, -1, CROP, BATCH, CROP)
    return iter(np.ascontiguousarray(rows.transpose(1, 3, 0, 2, 4)))


def draw_sky(random: np.random.Generator) -> np.ndarray:
    """Draws a picture [1, 3, CROP, CROP] of soft changes of colour and noise of up to two levels of 255."""
    colors = random.random((3, 1, 1)) + 0.5 * random.random() ** 2 * (random.random((3, 3, 3)) - 0.5)
    x = np.linspace(0, 1, CROP)
    curve = np.stack([(1 - x) ** 2, 2 * x * (1 - x), x**2])  # Bernstein polynomials: a Bezier patch
    ramp = (curve.T @ colors @ curve).clip(0, 1)
    noise = 4 * random.random() * (random.random((3, CROP, CROP)) - 0.5)
    return ((255 * ramp + noise).round() / 255).clip(0, 1)[None].astype(np.float32)
