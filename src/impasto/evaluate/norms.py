"""Instance against batch normalisation: the experiment of figure 1 of the AdaIN paper.

Why does instance normalisation train faster? If because it takes contrast away, it should gain nothing on photos of
equal contrast; if because it takes *style* away, it should gain little on photos that share one style, and only there.
So one network is trained in one style on photos as they are, on photos with equalised luma, and on photos that another
model has painted in that style before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from impasto.alpha import fill
from impasto.extras import explain_missing
from impasto.image import Pixels, read_image, resize_short_side, write_image
from impasto.loader import load

with explain_missing(__name__):
    import torch

    from impasto.evaluate.curves import device, loss_curves
    from impasto.nets.feedforward import NORMS, Norm
    from impasto.networks import choose_settings
    from impasto.place import Sources, find_pictures
    from impasto.train.data import Pictures
    from impasto.train.task import make_task

#: What is done to the photos beforehand.
IMAGES = ("original", "contrast", "style")


def norm_curves(
    content: Sources,
    style: str,
    *,
    steps: int = 500,
    photos: int = 200,
    width: int = 16,
    settings: Mapping[str, Any] | None = None,
    paint: Callable[[Pixels], Pixels] | None = None,
) -> dict[tuple[Norm, str], list[float]]:
    """Trains the feed-forward network with every normalisation on every kind of photos.

    Args:
        content: folders or tar files of photos.
        style: the picture of the style to learn.
        steps: of each training; all see the same photos in the same order and begin with the same weights.
        photos: how many of the photos to take, the first ones.
        width: of the network, see :class:`impasto.nets.feedforward.Feedforward`.
        settings: departures from the recipe, by their names in `Settings`.
        paint: gives a photo the style beforehand; the default model at full strength if not given.

    Returns:
        For each normalisation and kind of images, the content plus weighted style loss at every step.
    """
    plain = {"autoencoder_steps": 0, "identity_weight": 0.0, "tv_weight": 0.0}
    chosen = choose_settings("feedforward", **{**plain, **(settings or {}), "steps": steps})
    changes: dict[str, Callable[[Pixels], Pixels]] = {
        "original": lambda pixels: pixels,
        "contrast": equalise,
        "style": paint or _painter(style),
    }
    curves: dict[tuple[Norm, str], list[float]] = {}
    for images in IMAGES:
        with tempfile.TemporaryDirectory() as folder:
            for index, entry in enumerate(find_pictures(content)[:photos]):
                pixels = resize_short_side(fill(read_image(entry.read())), chosen.crop)
                write_image(Path(folder, f"{index:05}.png"), changes[images](pixels))
            crops = Pictures([folder], chosen.crop, device())
            for norm in NORMS:
                torch.manual_seed(chosen.seed)
                task = make_task("feedforward", chosen, style=[style], norm=norm, width=width)
                found = loss_curves(task, crops, None, chosen, f"{norm} norm, {images} photos")
                curves[norm, images] = found["loss"]
    return curves


def _painter(style: str) -> Callable[[Pixels], Pixels]:
    model = load()
    taken = model.style(style)
    return lambda pixels: np.asarray(model.stylize(pixels, taken))


def equalise(pixels: Pixels) -> Pixels:
    """Makes the histogram of a picture's luma level, uint8 [H, W, 3], and leaves its chroma alone."""
    luma, *chroma = Image.fromarray(pixels).convert("YCbCr").split()
    return np.array(Image.merge("YCbCr", (ImageOps.equalize(luma), *chroma)).convert("RGB"))
