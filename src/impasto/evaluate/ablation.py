"""The paper's decoder against its variants: the experiment of section 7.1 of the AdaIN paper.

Enc-AdaIN-Dec is the paper's; Enc-Concat-Dec sees features of content and style side by side instead of AdaIN's output;
Enc-AdaIN-BNDec and Enc-AdaIN-INDec normalise in the decoder. All are trained on the same crops, from the same seed,
with the paper's losses against the AdaIN target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from impasto.evaluate.curves import device, loss_curves
from impasto.nets.adain import DecoderKind
from impasto.networks import choose_settings
from impasto.place import Sources
from impasto.train.adain import AdaINTask
from impasto.train.data import Pictures
from impasto.train.task import make_task

#: The variants by the paper's names.
VARIANTS: dict[str, DecoderKind] = {
    "Enc-AdaIN-Dec": "adain",
    "Enc-Concat-Dec": "concat",
    "Enc-AdaIN-BNDec": "bn",
    "Enc-AdaIN-INDec": "in",
}


def decoder_curves(
    content: Sources,
    style: Sources,
    steps: int = 400,
    settings: Mapping[str, Any] | None = None,
    show: Callable[[str, AdaINTask], None] | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Trains the paper's decoder and its variants.

    Args:
        content, style: folders or tar files of photos and of style pictures.
        steps: of each training.
        settings: departures, by their names in `Settings`, from crops of 128 pixels in batches of 4, at a learning rate
            of 5e-4: what so few steps on a small machine can make use of.
        show: what is called with each variant's name and trained task.

    Returns:
        For each variant, by the paper's name, its "content" and its "style" loss at every step.
    """
    chosen = choose_settings(
        "adain", **{"batch": 4, "crop": 128, "lr": 5e-4, "warmup": 20, **(settings or {}), "steps": steps}
    )
    photos, paintings = (Pictures(sources, 2 * chosen.crop, device()) for sources in (content, style))
    found = {}
    for name, decoder in VARIANTS.items():
        task = make_task("adain", chosen, decoder=decoder)
        curves = loss_curves(task, photos, paintings, chosen, name)
        found[name] = {loss: curves[loss] for loss in ("content", "style")}
        if show is not None:
            assert isinstance(task, AdaINTask)
            show(name, task)
    return found
