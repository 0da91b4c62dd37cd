"""What is trained, as the loop sees it, and what the tasks of several networks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.losses import Statistics, content_loss, style_loss, style_statistics
from impasto.model import find_model
from impasto.nets import load_network, make_network
from impasto.nets.norm import Network
from impasto.nets.vgg import Encoder
from impasto.networks import NETWORKS, AnyStyleSettings, Settings
from impasto.progress import track
from impasto.train.augment import alter_styles
from impasto.train.data import Pictures


class Task(nn.Module):
    """What :func:`impasto.train.loop.train` needs of a task.

    Its ``forward(content, style, generator, step)`` returns the losses by name, the one to minimise under "loss". What
    it draws by lot it draws from the generator that comes with a batch: another one for each process and batch, the
    same one after a resumption.

    Attributes:
        kind: the network's name in :data:`impasto.networks.NETWORKS`.
        network: holds what is trained: those of its parameters that require a gradient.
        rival: what is trained against it, if anything; kept in the checkpoint, and no part of a model.
        settings: of the run.
        arguments: what the network was made with.
        styles: names of the styles that the network itself learns; empty where any picture will do.
        stages: records of the runs that the weights it begins with come from.
        memory: what the task itself must know in the next step, kept in the checkpoint.
    """

    kind: str
    network: nn.Module
    arguments: Mapping[str, Any] = MappingProxyType({})
    styles: Sequence[str] = ()
    stages: Sequence[dict[str, Any]] = ()

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.memory: dict[str, Tensor] = {}
        self.rival: nn.Module | None = None

    @classmethod
    def make(
        cls,
        kind: str,
        settings: Any,
        start: str | None,
        *,
        style: Sequence[str],
        add: Sequence[str],
        arguments: dict[str, Any],
    ) -> Task:
        """Makes the task; see :func:`make_task`, which has checked what it hands on."""
        raise NotImplementedError

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def prepare(self, content: Pictures, style: Pictures) -> None:
        """Called once, before the first step of a run."""

    def begin(self, content: Pictures, style: Pictures) -> None:
        """Called after that, before the first step of a run that does not go on from a checkpoint."""

    def alter_styles(self, style: Tensor, generator: torch.Generator) -> Tensor:
        """Alters style crops [N, 3, H, W] in 0..1 before they are learnt from; here they stay as they are."""
        return style

    def adjust_gradients(self, step: int) -> None:
        """Called with the clipped gradients, before the optimiser's step."""

    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """Shows what the network makes of a few pairs: [3, H, W] in 0..1."""
        raise NotImplementedError

    def weigh(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adds under "loss" the sum of losses, each weighted by the setting of its name: "content", "style", ..."""
        weighted = [getattr(self.settings, f"{name}_weight") * loss for name, loss in losses.items()]
        return {"loss": torch.stack(weighted).sum(), **losses}


def nothing(*modules: nn.Module) -> Tensor:
    """0, with a gradient of 0 for all parameters: of several processes, each waits for a gradient of every one."""
    return 0 * torch.stack([parameter.sum() for module in modules for parameter in module.parameters()]).sum()


def repeat(batch: Tensor, times: int) -> Tensor:
    """Repeats a batch once for each pairing."""
    return torch.cat([batch] * times)


def roll_pairings(batch: Tensor, times: int) -> Tensor:
    """Rolls a batch by one more for each pairing, so that every content meets `times` styles."""
    return torch.cat([batch.roll(r, 0) for r in range(times)])


def pair_statistics(statistics: Statistics, times: int) -> Statistics:
    """Pairs style statistics with contents, as :func:`roll_pairings` pairs the crops."""
    return [(roll_pairings(mean, times), roll_pairings(std, times)) for mean, std in statistics]


def grid(content: Tensor, style: Tensor, painted: Tensor) -> Tensor:
    """Lays out contents in the first row, styles in the first column: [3, H, W]."""
    n, m = len(content), len(style)
    rows = [torch.cat([torch.ones_like(content[0]), *content], 2)]
    rows += [torch.cat([style[j], *painted[j * n : (j + 1) * n]], 2) for j in range(m)]
    return torch.cat(rows, 1).clamp(0, 1)


class StyleTransferTask(Task):
    """Paints every content crop in `pairings` styles and compares with the AdaIN target and the style statistics."""

    #: Taps up to the layer of the content loss.
    depth = 4

    settings: AnyStyleSettings

    def __init__(self, network: nn.Module, encoder: Encoder, settings: AnyStyleSettings) -> None:
        super().__init__(settings)
        self.network = network
        self.encoder = encoder

    def alter_styles(self, style: Tensor, generator: torch.Generator) -> Tensor:
        """Alters the shares of style crops that the settings say, see :mod:`impasto.train.augment`."""
        shares = {name: share for name, share in asdict(self.settings).items() if name.endswith("_share")}
        return alter_styles(style, generator, **shares)

    def prepare(self, content: Pictures, style: Pictures) -> None:
        """Has style pictures drawn by their difficulty, as far as the settings want that."""
        if self.settings.style_emphasis:
            style.weights = self.difficulty(content, style) ** self.settings.style_emphasis

    def losses(self, painted: Tensor, target: Tensor, statistics: Statistics) -> dict[str, Tensor]:
        """Content loss against features at the deepest tap, and style loss up to there, of painted pictures."""
        taps = self.encoder.taps(painted, self.depth)
        style = style_loss(style_statistics(taps), statistics, self.settings.style_softness)
        return {"content": content_loss(taps[-1], target), "style": style}

    def difficulty(self, content: Pictures, style: Pictures) -> Tensor:
        """Style loss of unpainted photos, 16 of the content set, against each style picture."""
        size = min(self.settings.crop, 128)  # as much as it takes
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


def make_task(
    network: str,
    settings: Settings,
    start: str | None = None,
    *,
    style: Sequence[str] = (),
    add: Sequence[str] = (),
    **arguments: Any,
) -> Task:
    """Makes the task that trains a network.

    Args:
        network: a name in :data:`impasto.networks.NETWORKS`.
        settings: of the run, see :func:`impasto.networks.choose_settings`; its seed also decides the first weights.
        start: name or folder of a model whose weights to begin with instead.
        style: for a network with styles of its own: pictures, each a style named like its file.
        add: likewise, but learnt beside the styles of `start` while all else stays as it is.
        arguments: of the network, those that it lets be chosen.
    """
    entry = NETWORKS[network]
    if unknown := arguments.keys() - set(entry.network_class().choices):
        raise ImpastoError(f"{network} has no {' and no '.join(sorted(unknown))} to choose")
    torch.manual_seed(settings.seed)
    task: Task = entry.task_class().make(network, settings, start, style=style, add=add, arguments=arguments)
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
