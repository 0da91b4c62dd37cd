"""Models and methods by name, ready to paint.

It is not called load.py, for importing that would put the module in the place of the function :func:`impasto.load`.
"""

from __future__ import annotations

import os
from typing import Any

from impasto.checks import read_whole
from impasto.errors import ImpastoError
from impasto.graph import GraphStylizer, check_reference
from impasto.methods import METHODS, open_method
from impasto.model import DEFAULT, find_model
from impasto.stylizer import Stylizer


def load(
    model: str | os.PathLike[str] = DEFAULT,
    *,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    device: str | None = None,
    **options: Any,
) -> Stylizer:
    """Loads a model or a method.

    Args:
        model: the name of a shipped model ("adain", the default, "adain-relu3_1" or "adain-vgg19"), a model folder,
            a model on the Hugging Face Hub (``hf://owner/name``, or ``hf://owner/name@commit`` for just that version),
            or a method that matches or optimises while it paints ("gatys", "mrf", "style-swap"; they need PyTorch and
            VGG-19).
        engine: "onnxruntime", "openvino", "torch" or "auto".
        threads: processor threads; None leaves one for each physical core.
        precision: "fp32", "int8", "fp16" (PyTorch on a GPU), or "auto": int8 where the model has it and it is faster.
        device: what PyTorch computes on, e.g. "cuda:1" or "cpu"; None takes the best there is.
        options: of a method, e.g. ``load("gatys", iterations=200)``; see :mod:`impasto.methods`.

    Raises:
        ImpastoError: there is no such model or engine, its files are damaged, or it needs what is not on this machine.

    >>> load().gallery["munch-scream"].name
    'munch-scream'
    >>> load("adian")
    Traceback (most recent call last):
    impasto.errors.ImpastoError: no model adian: choose adain, adain-relu3_1, adain-vgg19, or give a folder that holds \
a card.json
    """
    threads = None if threads is None else read_whole(1, threads=threads)
    if model in METHODS:
        if engine not in ("auto", "torch") or precision not in ("auto", "fp32") or device is not None:
            raise ImpastoError(f"{model} runs on PyTorch only, in float32: leave engine, precision and device out")
        return open_method(str(model), threads, options)
    if options:
        raise ImpastoError(f"{', '.join(options)}: only methods take options ({', '.join(METHODS)})")
    stylizer = GraphStylizer(find_model(model), engine, threads, precision, device)
    check_reference(stylizer)
    return stylizer
