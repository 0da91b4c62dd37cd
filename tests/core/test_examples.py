"""The examples in the docstrings of public functions do what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ["alpha", "image", "color", "mask", "controls", "style", "stylizer", "loader", "sheet", "tile"]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(f"impasto.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
