"""The shipped models, by the engine that runs everywhere."""

from __future__ import annotations

import pytest

import impasto
from impasto.model import find_model, shipped_models


@pytest.fixture(scope="module", params=[model.name for model in shipped_models()])
def model(request) -> impasto.Stylizer:
    if find_model(request.param).card.encoder:
        request.getfixturevalue("vgg19")
    return impasto.load(request.param, engine="onnxruntime")


@pytest.fixture(scope="module")
def compact() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime")
