"""A model as a file of another runtime, which paints a photo with it at once.

What is written is the network with the controls that make sense outside impasto: a picture, a style and its strength;
or the picture alone, with both built in. Masks, tiles and the memory of a clip are in a model folder's own graph.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from impasto.checks import SMALLEST
from impasto.errors import ImpastoError
from impasto.export.beside import make_beside
from impasto.export.exported import (
    Check,
    Exported,
    compare,
    count_megabytes,
    describe_built_in,
    pick_style,
    read_photo,
    silence_warnings,
)
from impasto.export.formats import FORMATS, Job, Size, format_of
from impasto.export.plain import PlainNetwork
from impasto.extras import explain_missing
from impasto.graph import GraphStylizer
from impasto.image import to_float
from impasto.nets import load_network
from impasto.nets.norm import Network
from impasto.progress import meter
from impasto.style import Style

#: Where a file of any size is compared with the network: one of them odd, where the format allows it.
_SIZES: tuple[Size, ...] = ((384, 512), (203, 310))


class Painter(nn.Module):
    """A network with what other runtimes are given: picture, style, strength; what is built in is no input."""

    style: Tensor | None
    strength: Tensor | None

    def __init__(self, network: Network, style: Tensor | None = None, strength: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("style", style)
        self.register_buffer("strength", None if style is None else torch.tensor([float(strength)]))

    def forward(self, image: Tensor, style: Tensor | None = None, strength: Tensor | None = None) -> Tensor:
        """Paints [1, 3, H, W] in 0..1 in a style [1, S] with a strength [1]."""
        style = self.style if style is None else style
        strength = self.strength if strength is None else strength
        assert style is not None
        assert strength is not None
        painted: Tensor = self.network(image, self.network.control(style, None, strength, None, None))
        return painted.clamp(0, 1)


def write_model(
    stylizer: GraphStylizer,
    path: Path,
    to: str | None = None,
    size: Size | None = None,
    style: Style | None = None,
    strength: float = 1.0,
) -> Exported:
    """Writes a model as a file of another runtime, and has that runtime paint a photo with it.

    Args:
        stylizer: the model.
        path: the file; its suffix says in what format.
        to: the format's name, where the suffix is not to decide.
        size: height and width that the file is for; None makes one for any size, in formats that can.
        style: to build in; None makes style [1, S] and strength [1] inputs beside the picture.
        strength: 0..1, built in with the style.

    Raises:
        ImpastoError: the format cannot hold the model, or its runtime paints something else than the network does;
            then nothing is written.
    """
    name = format_of(path, to)
    target = FORMATS[name]
    if size is not None and min(size) < SMALLEST:
        raise ImpastoError(f"a size must be {SMALLEST} or more on both sides, not {size[1]}x{size[0]}")
    if size is None and target.any_size is None:
        raise ImpastoError(f"{target.name} is for one size: give --size, like --size 512x512")
    network, built_in = load_network(stylizer.model), None if style is None else torch.from_numpy(style.tensor)[None]
    painter = Painter(network, built_in, strength).eval()
    module = PlainNetwork(network, size, built_in, strength).eval() if target.plain and size else painter
    step = target.any_size or 1
    sizes = [size] if size else [(height - height % step, width - width % step) for height, width in _SIZES]
    names = ["image"] if style else ["image", "style", "strength"]

    def arguments(at: Size) -> tuple[Tensor, ...]:
        image = torch.from_numpy(to_float(read_photo(at)))
        return (image,) if style else (image, pick_style(stylizer), torch.tensor([1.0]))

    height, width = size or ("height", "width")
    shape = f"[1, 3, {height}, {width}] in 0..1"
    inputs = {"image": shape} | ({} if style else {"style": f"[1, {stylizer.model.style_size}]", "strength": "[1]"})
    checks: list[Check] = []
    with make_beside(path) as made, meter(path.name, 1 + len(sizes)) as show, silence_warnings(), torch.no_grad():
        try:
            with explain_missing(target.name):
                target.write(Job(module, arguments(sizes[0]), names, size, made))
        except ModuleNotFoundError:
            raise
        except Exception as error:  # of the converters, which share no narrower base
            raise ImpastoError(f"{target.name} cannot hold {stylizer.name}: {str(error).splitlines()[0]}") from error
        show(1, 1 + len(sizes))
        for done, at in enumerate(sizes, 2):
            if target.run is not None:
                expected = painter(*arguments(at)).numpy()
                checks.append(compare(target.run(made), arguments(at), expected, at, target.worst))
            show(done, 1 + len(sizes))
        megabytes = count_megabytes(made.parent)
    kind = target.name + describe_built_in(style, strength)
    return Exported(path, kind, megabytes, inputs, {"painted": shape}, checks, target.unrun)
