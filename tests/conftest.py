"""Pictures and weights that several tests share."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

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
