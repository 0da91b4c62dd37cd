"""Every system that takes any picture as a style does transfer it, and keeps the content, as the losses see it.

Networks that learn styles of their own are asked the same where they are trained, in the tests of each.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto.evaluate.metrics import Observer
from impasto.image import Pixels, center_crop, read_image
from impasto.methods import METHODS
from impasto.model import shipped_models

SIZE = 96
#: Options with which each method comes far enough, in seconds.
QUICK = {"gatys": {"iterations": 25}, "mrf": {"iterations": 40}, "style-swap": {"iterations": 30}}


@pytest.fixture(scope="module")
def pair() -> tuple[Pixels, Pixels, Pixels]:
    """A photo, an artwork and an unrelated photo: from the folder `IMPASTO_DATA` if that is set."""
    if folder := os.environ.get("IMPASTO_DATA"):
        names = ("content/golden_gate.jpg", "style/starry_night.jpg", "content/cornell.jpg")
        sources = [read_image(Path(folder) / "val" / name).pixels for name in names]
    else:
        sources = [data.astronaut(), data.chelsea(), data.coffee()]
    photo, style, unrelated = (center_crop(picture, SIZE) for picture in sources)
    return photo, style, unrelated


@pytest.mark.usefixtures("vgg19")
@pytest.mark.parametrize("name", ["adain", *METHODS])
def test_style_is_transferred_and_content_kept(name, pair):
    photo, style, unrelated = pair
    painter = impasto.load(name, **QUICK.get(name, {}))
    painted = np.asarray(painter.stylize(photo, style, style_size=SIZE))
    observe = Observer()
    before, after, target = observe(photo), observe(painted), observe(style).style
    assert after.style_loss(target) < 0.4 * before.style_loss(target)
    assert after.content_loss(before) < observe(unrelated).content_loss(before)


@pytest.mark.usefixtures("vgg19")
@pytest.mark.parametrize("model", [model.name for model in shipped_models()])
def test_style_loss_falls_with_strength(model, photo, painting):
    painter = impasto.load(model, engine="onnxruntime")
    small = np.asarray(Image.fromarray(photo).resize((200, 160)))
    style = painter.style(painting, size=160)
    assert style.picture is not None
    observe = Observer()
    target = observe(style.picture).style
    strengths = (0, 0.25, 0.5, 0.75, 1)
    losses = [observe(np.asarray(painter.stylize(small, style, strength=s))).style_loss(target) for s in strengths]
    # The decoder of the paper's network as it ships stands still between 0.25 and 0.5: 2 % up on this picture.
    assert all(later < 1.03 * earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < losses[0] / 2
