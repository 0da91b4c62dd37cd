"""Every system that takes any picture as a style does transfer it, and keeps the content, as the losses see it.

Networks that learn styles of their own are asked the same where they are trained, in the tests of each.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from skimage import data

import impasto
from impasto.evaluate.metrics import Observer
from impasto.image import Pixels, center_crop, read_image
from impasto.methods import METHODS

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
