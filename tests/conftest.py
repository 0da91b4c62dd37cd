"""Pictures and weights that several tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto.errors import ImpastoError
from impasto.vgg19 import find_weights


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A photograph, uint8 [512, 512, 3]: Eileen Collins, NASA, public domain."""
    return data.astronaut()


@pytest.fixture(scope="session")
def painting() -> np.ndarray:
    """Another picture to take a style from, uint8 [300, 451, 3]."""
    return data.chelsea()


@pytest.fixture(scope="session")
def vgg19() -> dict[str, np.ndarray]:
    """The real VGG-19 weights; tests that need them are skipped where they are not installed."""
    try:
        return find_weights()
    except ImpastoError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder `photos` of three, and three style pictures beside it: brick, cell and grass."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "photos").mkdir()
    for name, picture in {
        "photos/a": data.astronaut,
        "photos/b": data.coffee,
        "photos/c": data.chelsea,
        "brick": data.brick,
        "cell": data.immunohistochemistry,
        "grass": data.grass,
    }.items():
        image = Image.fromarray(picture()).convert("RGB")
        image.thumbnail((160, 160))
        image.save(root / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def camera_files(tmp_path_factory):
    """The network for an OAK camera, 96 x 64: with a style as input, with one built in; and how fast it may be."""
    from impasto.export.oak import write_oak

    painter = impasto.load("adain", engine="onnxruntime", threads=1)
    folder = tmp_path_factory.mktemp("camera")
    free, estimates = write_oak(painter, folder, (64, 96))
    fixed, _ = write_oak(painter, folder, (64, 96), painter.style("munch-scream"), 0.8)
    return free, fixed, estimates
