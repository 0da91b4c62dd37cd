"""The networks by name: the settings that each is trained with, and where its class and its training are.

Nothing here needs PyTorch: the command line makes the options of `impasto train` of these fields.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from impasto.checks import SMALLEST, is_number, make_plain, read_whole, require_at_least, require_between, show
from impasto.errors import ImpastoError

_LARGEST_SEED = 10**8  # seeds of single batches are 10^11 times as large, and have 64 bits


def _setting(default: Any, help: str | None = None, low: float = 0.0, high: float = math.inf) -> Any:
    """A field with what the command line says of it, and the range that its numbers must be in."""
    return field(default=default, metadata={"help": help, "range": (low, high)})


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes, as far as every network heeds it; the defaults are the paper's.

    They are recorded in the checkpoint and in the model card.

    Raises:
        ImpastoError: a number is out of its range.

    >>> Settings(batch=0)
    Traceback (most recent call last):
    impasto.errors.ImpastoError: batch must be 1 or more, not 0
    """

    steps: int = _setting(160_000, low=1)
    batch: int = _setting(8, low=1)
    accumulate: int = _setting(1, "Batches to a step.", low=1)
    crop: int = _setting(256, "Side in pixels.", low=SMALLEST)
    scale: tuple[float, float] = _setting((0.5, 1.0), "Range of the crop's side as a share of the short side.")
    optimiser: Literal["adam", "muon"] = _setting("adam", "Muon suits the decoder of adain.")
    lr: float = _setting(1e-4)
    schedule: Literal["paper", "cosine"] = _setting("paper")
    warmup: int = _setting(0, "Steps.")
    clip: float = _setting(5.0, "Largest norm of the gradient.")
    ema: float = _setting(0.999, "Decay of the weights' average.", high=1)
    content_weight: float = _setting(1.0)
    style_weight: float = _setting(10.0)
    identity_weight: float = _setting(0.0)
    autoencoder_steps: int = _setting(0, "First steps, spent on reconstruction alone.")
    precision: Literal["auto", "fp32", "bf16"] = _setting("auto")
    seed: int = _setting(0, high=_LARGEST_SEED)

    def __post_init__(self) -> None:
        make_plain(self)
        for name, facts in self.describe().items():
            value = getattr(self, name)
            default = type(self).__dataclass_fields__[name].default
            low, high = facts.get("range", (0.0, math.inf))
            if isinstance(default, int):
                read_whole(low, high, **{name: value})
            elif isinstance(default, float):
                if low and high == math.inf:
                    require_at_least(low, **{name: value})
                else:
                    require_between(low, high, **{name: value})
        if not (all(map(is_number, self.scale)) and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise ImpastoError("scale must be two shares of the short side above 0, the larger last and at most 1, "
                               f"not {' '.join(map(show, self.scale))}")  # fmt: skip

    @classmethod
    def describe(cls) -> dict[str, Mapping[str, Any]]:
        """What `_setting` said of each field, also of those whose default alone is another here."""
        ancestors = [ancestor for ancestor in reversed(cls.__mro__) if issubclass(ancestor, Settings)]
        facts = {one.name: one.metadata for ancestor in ancestors for one in fields(ancestor) if one.metadata}
        return {one.name: facts[one.name] for one in fields(cls)}

    def learning_rate(self, step: int) -> float:
        """Share of `lr` at a step: linear warm-up, then 1 / (1 + 5e-5 t) as in the paper's code, or a cosine to 2 %."""
        ramp = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "paper":
            return ramp / (1 + 5e-5 * step)
        return ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))))


@dataclass(frozen=True)
class AnyStyleSettings(Settings):
    """Settings of networks that take the style of any picture."""

    #: What relu4_1 of a painted picture is held to: the paper's t, or relu4_1 of the photo, as quality is measured.
    content_target: Literal["adain", "photo"] = _setting("adain", "Features that the content loss compares with.")
    #: k: a picture's style loss L counts as k log(1 + L / k), lest the farthest drown the others; 0: as L.
    style_softness: float = _setting(0.0, "Style losses above this count ever less; 0: all in full.")
    #: Amortises the encoding of both.
    pairings: int = _setting(1, "Styles for each content crop of a batch.", low=1)
    #: Difficulty is how far photos are from a style picture.
    style_emphasis: float = _setting(0.0, "Draw style pictures by their difficulty to this power.")
    varied_share: float = _setting(0.0, "Share of styles turned, recoloured, stretched, pasted together.", high=1)
    brushed_share: float = _setting(0.0, "Share of styles made up: directed strokes, outlined forms.", high=1)
    bold_share: float = _setting(0.0, "Share of styles made sharper and starker.", high=1)
    graphic_share: float = _setting(0.0, "Share of styles drawn: shapes, lines, dots.", high=1)
    grained_share: float = _setting(0.0, "Share of styles given the grain of paper or canvas.", high=1)


@dataclass(frozen=True)
class AdaINSettings(AnyStyleSettings):
    """Settings of the paper's network, with its recipe."""

    #: See :mod:`impasto.train.inverse`.
    fit_crops: int = _setting(0, "Crops that a fresh decoder of adain is first fitted to.")


@dataclass(frozen=True)
class CompactSettings(AnyStyleSettings):
    """Settings of the compact network, with the recipe that it was trained by from nothing."""

    steps: int = 20_000
    batch: int = 4
    crop: int = 128
    scale: tuple[float, float] = (0.3, 1.0)
    lr: float = 1e-3
    schedule: Literal["paper", "cosine"] = "cosine"
    warmup: int = 150
    clip: float = 200.0  # far above most gradients: a lower one would give easy pairs as much say as hard ones
    style_weight: float = 14.0
    identity_weight: float = 200.0
    autoencoder_steps: int = 300
    pairings: int = 2
    style_emphasis: float = 1.0
    varied_share: float = 0.4
    brushed_share: float = 0.3
    bold_share: float = 0.3
    graphic_share: float = 0.06
    grained_share: float = 0.5
    guess_weight: float = _setting(1.0, "Of what the style encoder misses of VGG-19.")
    encoder_steps: int = _setting(1600, "First steps, spent on the style encoder alone.")
    #: Of the total variation of what becomes of smooth pictures with a little noise: skies shall stay skies.
    smooth_weight: float = _setting(0.0, "Of what becomes of smooth skies, for compact.")
    #: Above 0, the first painting is of half the crop's side; see `CompactTask.paint_finer`.
    finer_chance: float = _setting(0.0, "Of a step to paint again, finer, over what it has painted.", high=1)


@dataclass(frozen=True)
class FeedforwardSettings(Settings):
    """Settings of the networks with styles of their own, with their recipe."""

    steps: int = 3_000
    batch: int = 4
    crop: int = 96
    scale: tuple[float, float] = (0.4, 1.0)
    lr: float = 2e-3
    schedule: Literal["paper", "cosine"] = "cosine"
    warmup: int = 50
    ema: float = 0.995
    style_weight: float = 5.0
    identity_weight: float = 50.0
    autoencoder_steps: int = 300
    tv_weight: float = _setting(5.0, "Of the total variation.")
    #: See `FeedforwardTask.style_loss`.
    style_loss: Literal["gram-relative", "gram-squared"] = _setting(
        "gram-relative", "How Gram matrices are compared: relative distance, or its square as in the papers."
    )
    loss_network: Literal["vgg19", "vgg16"] = _setting("vgg19", "What compares pictures; vgg16 as in the papers.")
    #: Of the adversarial style loss, see :mod:`impasto.nets.critic`.
    adversarial_weight: float = _setting(0.0, "Of a critic that learns to tell painted patches from the style's.")
    style_size: int = _setting(256, "Short side in pixels of the pictures of a network's own styles.", low=SMALLEST)


@dataclass(frozen=True)
class JohnsonSettings(FeedforwardSettings):
    """Settings of Johnson's network, with the paper's recipe, but for a learning rate that falls."""

    steps: int = 40_000
    crop: int = 256
    scale: tuple[float, float] = (1.0, 1.0)
    lr: float = 1e-3
    warmup: int = 0
    clip: float = 1e9  # none in the paper, and losses on VGG-16 are large
    ema: float = 0.0
    identity_weight: float = 0.0
    autoencoder_steps: int = 0
    style_loss: Literal["gram-relative", "gram-squared"] = "gram-squared"
    loss_network: Literal["vgg19", "vgg16"] = "vgg16"


@dataclass(frozen=True)
class UlyanovSettings(FeedforwardSettings):
    """Settings of the texture network of Ulyanov et al., with our recipe: theirs, of 2016, had batches of 16."""

    identity_weight: float = 0.0
    autoencoder_steps: int = 0
    #: Of :func:`impasto.losses.diversity_loss`.
    diversity_weight: float = _setting(0.03, "Of how far paintings of a photo differ by their noise, for ulyanov.")
    samples: int = _setting(2, "Paintings of each photo that are to differ.", low=2)


@dataclass(frozen=True)
class StyleBankSettings(FeedforwardSettings):
    """Settings of StyleBank, whose auto-encoder has turns of its own: `identity_weight` scales their gradient."""

    identity_weight: float = 1.0
    turns: int = _setting(2, "T: style steps to each auto-encoder step of stylebank.", low=1)
    banks: Literal["identity", "random"] = _setting("identity", "What fresh banks of stylebank begin as.")


class NetworkEntry(NamedTuple):
    """Where a network is, and what it is trained with.

    Attributes:
        network: module and class in :mod:`impasto.nets`.
        task: module and class in :mod:`impasto.train`.
        settings: their class.
    """

    network: str
    task: str
    settings: type[Settings]

    def network_class(self) -> Any:
        """Imports the network's class, a :class:`impasto.nets.norm.Network`."""
        return _import("impasto.nets", self.network)

    def task_class(self) -> Any:
        """Imports the class that trains it, a :class:`impasto.train.task.Task`."""
        return _import("impasto.train", self.task)


#: The networks by the name that a model card gives under "network".
NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType({
    "adain": NetworkEntry("adain.AdaIN", "adain.AdaINTask", AdaINSettings),
    "compact": NetworkEntry("compact.Compact", "compact.CompactTask", CompactSettings),
    "feedforward": NetworkEntry("feedforward.Feedforward", "feedforward.FeedforwardTask", FeedforwardSettings),
    "cin": NetworkEntry("feedforward.ConditionalNet", "feedforward.FeedforwardTask", FeedforwardSettings),
    "johnson": NetworkEntry("johnson.Johnson", "feedforward.FeedforwardTask", JohnsonSettings),
    "ulyanov": NetworkEntry("ulyanov.Ulyanov", "ulyanov.UlyanovTask", UlyanovSettings),
    "stylebank": NetworkEntry("stylebank.StyleBank", "stylebank.StyleBankTask", StyleBankSettings),
})  # fmt: skip


def _import(package: str, name: str) -> Any:
    module, _, attribute = name.partition(".")
    return getattr(importlib.import_module(f"{package}.{module}"), attribute)


def choose_settings(network: str, **chosen: Any) -> Settings:
    """Makes the settings of a network: what is chosen, and its recipe for all else.

    Raises:
        ImpastoError: a setting has no meaning for the network, or is out of its range.
    """
    kind = NETWORKS[network].settings
    known = kind.describe()
    for name in chosen:
        if name not in known:
            others = ", ".join(other for other, entry in NETWORKS.items() if name in entry.settings.describe())
            raise ImpastoError(f"{name} has no meaning for {network}, only for {others}: leave it out")
    return kind(**chosen)
