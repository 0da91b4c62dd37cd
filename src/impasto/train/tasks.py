"""What is minimised: the paper's losses for its decoder, and the same losses for the compact network."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.losses import Statistics, content_loss, style_loss, style_statistics, total_variation
from impasto.model import find_model
from impasto.nets import load_network, make_network
from impasto.nets.adain import AdaIN, Decoder
from impasto.nets.compact import Compact
from impasto.nets.norm import Network, Observe, adain, feature_statistics
from impasto.nets.vgg import TAPS, Encoder, load_encoder
from impasto.progress import track
from impasto.train.augment import smooth_pictures
from impasto.train.data import Pictures
from impasto.train.inverse import invert_encoder
from impasto.train.loop import Settings, Task


def _again(batch: Tensor, times: int) -> Tensor:
    """The batch, once for each pairing."""
    return torch.cat([batch] * times)


def _rolled(batch: Tensor, times: int) -> Tensor:
    """The batch rolled by one more for each pairing, so that every content meets `times` styles."""
    return torch.cat([batch.roll(r, 0) for r in range(times)])


def _paired_statistics(statistics: Statistics, times: int) -> Statistics:
    return [(_rolled(mean, times), _rolled(std, times)) for mean, std in statistics]


def grid(content: Tensor, style: Tensor, painted: Tensor) -> Tensor:
    """Contents in the first row, styles in the first column, as [3, H, W]."""
    n, m = len(content), len(style)
    rows = [torch.cat([torch.ones_like(content[0]), *content], 2)]
    rows += [torch.cat([style[j], *painted[j * n : (j + 1) * n]], 2) for j in range(m)]
    return torch.cat(rows, 1).clamp(0, 1)


class StyleTransferTask(Task):
    """Paints every content crop in `pairings` styles and compares with the AdaIN target and the style statistics."""

    #: Taps up to the layer of the content loss.
    depth = 4

    def __init__(self, network: nn.Module, encoder: Encoder, settings: Settings) -> None:
        super().__init__()
        self.network = network
        self.encoder = encoder
        self.settings = settings

    def losses(self, painted: Tensor, target: Tensor, statistics: Statistics) -> dict[str, Tensor]:
        """Content loss against features at the deepest tap, and style loss up to there, of painted pictures."""
        taps = self.encoder.taps(painted, self.depth)
        style = style_loss(style_statistics(taps), statistics, self.settings.style_softness)
        return {"content": content_loss(taps[-1], target), "style": style}

    def difficulty(self, content: Pictures, style: Pictures) -> Tensor:
        """Style loss of unpainted photos, 16 of the content set, against each style picture."""
        size = self.settings.crop
        some = content.squares(size, every=max(1, len(content) // 16))
        photos = [style_statistics(self.encoder.taps(photo)) for photo in some if photo is not None]
        found = torch.zeros(len(style), dtype=torch.float64)  # a broken picture stays at 0: it is never drawn
        for index, painting in enumerate(track(style.squares(size), "Weighing style pictures", len(style))):
            if painting is not None:
                statistics = style_statistics(self.encoder.taps(painting))
                found[index] = torch.stack([style_loss(photo, statistics) for photo in photos]).mean()
        return found

    def train(self, mode: bool = True) -> StyleTransferTask:
        super().train(mode)
        self.encoder.eval()
        return self


class AdaINTask(StyleTransferTask):
    """Trains the decoder of the paper: L_c against t = AdaIN(f(c), f(s)), and L_s at the four taps.

    What is beyond the paper is there for short runs, since the two losses leave a fresh decoder grey for a thousand
    steps: with `fit_crops` it begins as the inverse of the encoder, g(f(x)) = x, with `autoencoder_steps` it learns to
    be that first, and `identity_weight` keeps some of it afterwards.
    """

    kind = "adain"

    def __init__(self, network: AdaIN, settings: Settings) -> None:
        super().__init__(network.decoder, network.encoder, settings)
        self.arguments, self.depth = network.arguments, network.depth

    def begin(self, content: Pictures, style: Pictures) -> None:
        count, seed = self.settings.fit_crops, self.settings.seed
        if count == 0:
            return
        assert isinstance(self.network, Decoder)
        generator = torch.Generator().manual_seed(seed)
        sizes = self.settings.crop, self.settings.scale, generator
        crops = torch.cat([content.crops(-(-count // 2), *sizes), style.crops(count // 2, *sizes)])
        invert_encoder([*self.encoder][: TAPS[self.depth - 1] + 1], self.network, crops, seed)

    def decode(self, network: nn.Module, content: Tensor, style: Tensor, target: Tensor, size: torch.Size) -> Tensor:
        """Pictures from t, or, by the decoder made for that, from the features of content and style side by side.

        Args:
            network: the decoder.
            content, style, target: features [N, C, H, W], the target being t = AdaIN(content, style).
            size: height and width of the pictures that the content's features are of.
        """
        beside = self.arguments.get("decoder") == "concat"
        decoded: Tensor = network(torch.cat([content, style], 1) if beside else target).float()
        return decoded[..., : size[0], : size[1]]  # the encoder rounds sizes up

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        size = content.shape[2:]
        if step < self.settings.autoencoder_steps:
            pictures = torch.cat([content, style])
            with torch.no_grad():
                features = self._features(pictures)
            identity = F.mse_loss(self.decode(self.network, features, features, features, size), pictures)
            return {"loss": identity, "identity": identity}
        times = self.settings.pairings
        with torch.no_grad():
            taps = self.encoder.taps(style, self.depth)
            features, styles = _again(self._features(content).float(), times), _rolled(taps[-1].float(), times)
            statistics = _paired_statistics(style_statistics(taps), times)
            target = adain(features, *statistics[-1])
        wanted = target if self.settings.content_target == "adain" else features
        if self.settings.identity_weight == 0:
            return self.settings.weigh(
                self.losses(self.decode(self.network, features, styles, target, size), wanted, statistics)
            )
        # One of the batch goes through unstyled: strength 0 shall stay a reconstruction.
        own = features[:1]
        features, styles, target = (torch.cat([part, own]) for part in (features, styles, target))
        decoded = self.decode(self.network, features, styles, target, size)
        losses = self.losses(decoded[:-1], wanted, statistics)
        return self.settings.weigh({**losses, "identity": F.mse_loss(decoded[-1:], content[:1])})

    def _features(self, pictures: Tensor) -> Tensor:
        return self.encoder.taps(pictures, self.depth)[-1]

    @torch.no_grad()
    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        features, size = self._features(content), content.shape[2:]
        styles = [one[None].expand_as(features) for one in self._features(style)]
        targets = [adain(features, *feature_statistics(one)) for one in styles]
        painted = [self.decode(network, features, *pair, size) for pair in zip(styles, targets, strict=True)]
        return grid(content, style, torch.cat(painted))


class CompactTask(StyleTransferTask):
    """Trains the compact network: reconstruction first, then the paper's losses with its own statistics as style."""

    kind = "compact"
    network: Compact

    def __init__(self, network: Compact, encoder: Encoder, settings: Settings) -> None:
        super().__init__(network, encoder, settings)

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        pictures = torch.cat([style, content])
        if step < self.settings.encoder_steps:
            return self._encoder_alone(pictures, len(style))
        observe = Observe()
        again = self.network(pictures, observe).float()
        identity = F.mse_loss(again, pictures)
        if step < self.settings.encoder_steps + self.settings.autoencoder_steps:
            unused = _nothing(self.network.style_head, self.network.style_encoder)
            return {"loss": F.l1_loss(again, pictures) + 2 * identity + unused, "identity": identity}
        times = self.settings.pairings
        with torch.no_grad():
            features = self.encoder(content).float()
            taps = self.encoder.taps(style)
            statistics = _paired_statistics(style_statistics(taps), times)
            target = _again(features, times)
            if self.settings.content_target == "adain":
                target = adain(target, *statistics[-1])
        noted, seen = observe.style(), self.network.style_encoder(style)
        guess = _guess_loss(seen, taps)
        seen = [features.detach() for features in seen]  # it shall see what VGG-19 sees, and nothing else
        self.network.remember(noted[len(style) :], noted[: len(style)])
        self.network.remember_seen(seen)
        taken = _rolled(self.network.style_of(noted[: len(style)], seen), times)
        painted = self.network(_again(content, times), self.network.adapt_to(taken))
        losses = {**self.losses(painted, target, statistics), "identity": identity, "guess": guess}
        if self.settings.smooth_weight:
            skies = smooth_pictures(len(style), content.shape[-1], generator).to(content)
            losses["smooth"] = total_variation(self.network(skies, self.network.adapt_to(taken[: len(style)])).float())
        return self.settings.weigh(losses)

    def _encoder_alone(self, pictures: Tensor, styles: int) -> dict[str, Tensor]:
        """Learns from photos as well; the first `styles` of the pictures are paintings."""
        with torch.no_grad():
            taps = self.encoder.taps(pictures)
        seen = self.network.style_encoder(pictures)
        self.network.remember_seen([features[:styles] for features in seen])
        guess = _guess_loss(seen, taps)
        return {"loss": guess + _nothing(self.network), "guess": guess}

    @torch.no_grad()
    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        assert isinstance(network, Compact)
        observe = Observe()
        network(style, observe)
        styles = network.style_from(observe.style(), style)[:, None].expand(-1, len(content), -1)
        painted = [network(content, network.adapt_to(style)) for style in styles]
        return grid(content, style, torch.cat(painted))


def _guess_loss(guess: Sequence[Tensor], taps: Sequence[Tensor]) -> Tensor:
    """How far a style encoder's guess is from the features of VGG-19, at each pixel and in their statistics."""
    true = taps[-len(guess) :]
    pixels = torch.stack([F.mse_loss(g.float(), t.float()) for g, t in zip(guess, true, strict=True)]).sum()
    return pixels + style_loss(style_statistics(guess), style_statistics(true))


def _nothing(*modules: nn.Module) -> Tensor:
    """0, with a gradient of 0 for all parameters: of several processes, each waits for a gradient of every one."""
    return 0 * torch.stack([parameter.sum() for module in modules for parameter in module.parameters()]).sum()


#: Networks that learn styles of their own instead of taking them from any picture, and the module that trains each.
OWN_STYLES = {"feedforward": "feedforward", "cin": "feedforward", "stylebank": "stylebank"}

#: What of a network can be chosen from outside, see its class.
ARGUMENTS = {
    "adain": ("decoder", "layer"),
    "feedforward": ("norm", "width"),
    "cin": ("width",),
    "stylebank": ("width",),
}

#: Settings that not every network heeds, and which do.
HEEDED_BY = {
    **dict.fromkeys(("encoder_steps", "guess_weight", "smooth_weight"), ("compact",)),
    "fit_crops": ("adain",),
    **dict.fromkeys(
        ("content_target", "style_softness", "pairings", "style_emphasis", "varied_share", "brushed_share",
         "bold_share", "graphic_share", "grained_share"),
        ("adain", "compact"),
    ),
    **dict.fromkeys(("tv_weight", "style_size"), tuple(OWN_STYLES)),
}  # fmt: skip

FEEDFORWARD: dict[str, Any] = {
    "steps": 3_000,
    "batch": 4,
    "crop": 96,
    "scale": (0.4, 1.0),
    "lr": 2e-3,
    "schedule": "cosine",
    "warmup": 50,
    "ema": 0.995,
    "style_weight": 5.0,
    "tv_weight": 5.0,
    "identity_weight": 50.0,
    "autoencoder_steps": 300,
}

#: What each network's settings default to, beside the defaults of `Settings`, which are the paper's.
RECIPES: dict[str, dict[str, Any]] = {
    "adain": {},
    "compact": {
        "steps": 20_000,
        "batch": 4,
        "crop": 128,
        "scale": (0.3, 1.0),
        "lr": 1e-3,
        "schedule": "cosine",
        "warmup": 150,
        "clip": 200.0,  # far above most gradients: a lower one would give easy pairs as much say as hard ones
        "style_weight": 14.0,
        "identity_weight": 200.0,
        "guess_weight": 1.0,
        "encoder_steps": 1600,
        "autoencoder_steps": 300,
        "pairings": 2,
        "style_emphasis": 1.0,
        "varied_share": 0.4,
        "brushed_share": 0.3,
        "bold_share": 0.3,
        "graphic_share": 0.06,
        "grained_share": 0.5,
    },
    "feedforward": FEEDFORWARD,
    "cin": FEEDFORWARD,
    # Its auto-encoder has turns of its own, whose gradient `identity_weight` scales.
    "stylebank": {**FEEDFORWARD, "steps": 3_000, "identity_weight": 1.0, "autoencoder_steps": 300},
}


def make_task(
    network: str,
    settings: Settings,
    start: str | None = None,
    *,
    style: Sequence[str] = (),
    add: Sequence[str] = (),
    **arguments: Any,
) -> Task:
    """The task that trains a network.

    Args:
        network: a name in `RECIPES`.
        settings: of the run; its seed also decides the first weights.
        start: name or folder of a model whose weights to begin with instead.
        style: for a network with styles of its own (`OWN_STYLES`): pictures, each a style named like its file.
        add: likewise, but learnt beside the styles of `start` while all else stays as it is.
        arguments: of the network, see `ARGUMENTS`.
    """
    if unknown := arguments.keys() - ARGUMENTS.get(network, ()):
        raise ImpastoError(f"{network} has no {' and no '.join(sorted(unknown))} to choose")
    for name, networks in HEEDED_BY.items():
        if network not in networks and getattr(settings, name) != getattr(Settings, name):
            raise ImpastoError(f"{name} has no meaning for {network}, only for {', '.join(networks)}: leave it out")
    torch.manual_seed(settings.seed)
    task: Task
    if network in OWN_STYLES:
        module = importlib.import_module(f"impasto.train.{OWN_STYLES[network]}")
        task = module.make_task(network, settings, start, style=style, add=add, **arguments)
    else:
        made = start_network(network, start, arguments)
        if isinstance(made, AdaIN):
            if settings.fit_crops and (start is not None or made.arguments["decoder"] != "adain"):
                reason = "only the paper's decoder is one" if start is None else f"{start} has weights already"
                raise ImpastoError(f"the encoder's inverse is for fresh weights and {reason}: leave out --fit-crops")
            if start is None:
                made.encoder = load_encoder()
            made.decoder.requires_grad_(True)
            task = AdaINTask(made, settings)
        else:
            assert isinstance(made, Compact)
            task = CompactTask(made.requires_grad_(True), load_encoder(), settings)
    if start is not None:
        task.stages = find_model(start).card.training
    return task


def start_network(network: str, start: str | None, arguments: Mapping[str, Any]) -> Network:
    """A fresh network, or that of the model to start with, which must be of the same kind."""
    if start is None:
        return make_network(network, arguments)
    model = find_model(start)
    if model.card.network != network:
        raise ImpastoError(f"the model {start} is a {model.card.network} network, not {network}")
    if arguments:
        raise ImpastoError(f"{', '.join(arguments)}: the model {start} has decided that already, leave it out")
    return load_network(model)
