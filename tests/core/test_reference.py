"""The shipped models paint, in every control, what they painted before: a change of the code must not change a picture.

The pictures are in `reference/`, a sheet for each model with a row for each photo. Where a change of weights or of how
pictures come out is meant, `python tests/core/test_reference.py` paints them anew: look at them before you commit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto.model import find_model, shipped_models

MODELS = [model.name for model in shipped_models()]
FOLDER = Path(__file__).parent / "reference"
SIZE = (56, 40)
PHOTOS = [data.astronaut()[60:340, 60:452], data.coffee()[20:380, 60:564], data.chelsea()[20:300, 30:422]]


def scaled(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(SIZE, Image.Resampling.LANCZOS))


def sheet(name: str) -> np.ndarray:
    """Each photo in each control, uint8 [3 H, N W, 3]."""
    model = impasto.load(name, engine="onnxruntime", threads=2)
    own = model.style(data.immunohistochemistry(), size=96, name="own")
    other = model.style(255 - data.rocket(), size=96, name="other")
    shipped = model.style("munch-scream")
    left = np.linspace(0, 1, SIZE[0], dtype=np.float32)[None].repeat(SIZE[1], 0)
    half = np.full_like(left, 0.5)
    looks: list[tuple[object, dict[str, object]]] = [
        (own, {}),
        (shipped, {}),
        (own, {"strength": 0.4}),
        (own, {"strength": 0}),
        ({own: 2, shipped: 1}, {}),
        ([own, own, other], {}),
        (data.rocket(), {"style_size": 64}),
        (own, {"keep_color": "match"}),
        (shipped, {"keep_color": "match", "strength": 0.7}),
        (shipped, {"keep_color": "luminance"}),
        ([own, shipped], {"masks": [left, 1 - left]}),
        ({own: 1, other: 3}, {"masks": [left, half], "strength": 0.6, "keep_color": "luminance"}),
        ([own, other], {"masks": [left, 1 - left], "max_size": 40, "keep_color": "match"}),
    ]
    rows = []
    for photo in map(scaled, PHOTOS):
        painted = [np.asarray(model.stylize(photo, styles, **controls)) for styles, controls in looks]
        rows.append(np.hstack([np.pad(p, [(0, SIZE[1] - len(p)), (0, SIZE[0] - p.shape[1]), (0, 0)]) for p in painted]))
    return np.vstack(rows)


@pytest.mark.parametrize("name", MODELS)
def test_every_control_paints_what_it_did(name: str, request: pytest.FixtureRequest) -> None:
    if find_model(name).card.encoder:
        request.getfixturevalue("vgg19")
    painted, before = sheet(name).astype(int), np.asarray(Image.open(FOLDER / f"{name}.png"))
    difference = np.abs(painted - before)  # processors round differently
    assert difference.max() <= 3
    assert difference.mean() < 0.05


if __name__ == "__main__":
    for name in MODELS:
        Image.fromarray(sheet(name)).save(FOLDER / f"{name}.png", optimize=True)
