"""Making the judge: VGG-19 thinned to half of its channels, then taught to see as the whole one does.

Thinning goes from convolution to convolution. Of the channels of each, those are kept that explain most of all of them
by linear regression, chosen one after the other (column subset selection). Then the kept channels are fitted, by least
squares, to what VGG-19 has there, from what the thinned network has before them, so that errors are made up for layer
by layer (channel pruning: He, Zhang and Sun, ICCV 2017). Afterwards all weights are trained together. Both on photos,
on paintings, and above all on what the judge will look at: photos that the network painted.

    python -m impasto.train.judge --out MODEL --content photos.tar --style paintings.tar --photos FOUR-PHOTOS
    python -m impasto.train.judge --out MODEL --judge adain     # the judge there is, for another network
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from impasto.errors import ImpastoError
from impasto.export.gradient import write_graphs
from impasto.fitting import BATCH, CROP, JUDGE, PHOTOS
from impasto.losses import style_statistics
from impasto.model import find_model
from impasto.nets import load_network
from impasto.nets.judge import TAPS, WIDTHS, Judge
from impasto.nets.norm import Network, Observe
from impasto.nets.vgg import Encoder, load_encoder
from impasto.progress import track
from impasto.train.augment import alter_styles
from impasto.train.data import Pictures, manifest
from impasto.train.fit import FreeStyle
from impasto.train.hardware import keep_freed_memory

_ROWS = 6  # of crops to fit styles on


@dataclass(frozen=True)
class Making:
    """Everything that decides what the judge becomes, beside the pictures."""

    crop: int = 128
    crops: int = 144
    """To thin by: a third each of photos, paintings and painted photos."""
    samples: int = 60_000
    """Pixels that each convolution is fitted on."""
    steps: int = 1800
    """Of training, with a photo, a painting and two painted photos in each."""
    lr: float = 2e-4
    warmup: int = 40
    statistics_weight: float = 10.0
    """Of the errors of means and standard deviations against those of the features."""
    disturbance: float = 0.2
    """Of the styles that photos are painted in, so that some lie where fitting goes: units, and logarithms."""
    seed: int = 3


class Scenes:
    """What the judge looks at: batches of photos, paintings, and photos painted by a network."""

    def __init__(self, network: Network, known: Tensor, photos: Pictures, paintings: Pictures, making: Making) -> None:
        self._network, self._known, self._photos, self._paintings = network, known, photos, paintings
        self._making, self._generator = making, torch.Generator().manual_seed(making.seed)

    @torch.no_grad()
    def draw(self, count: int) -> Tensor:
        """A quarter of photos, a quarter of paintings, and a half painted, of a multiple of 4: [count, 3, H, H]."""
        crop, generator, half = self._making.crop, self._generator, count // 2
        photos = self._photos.crops(count // 4, crop, (0.3, 1.0), generator)
        paintings = alter_styles(self._paintings.crops(half, crop, (0.3, 1.0), generator), generator,
                                 varied_share=0.3, bold_share=0.3, grained_share=0.3, brushed_share=0.1,
                                 graphic_share=0.05)  # fmt: skip
        observe = Observe()
        self._network(paintings, observe)
        styles = self._network.style_from(observe.style(), paintings)
        fitted = self._known[torch.randint(len(self._known), (half,), generator=generator)]
        styles = torch.where(torch.rand(half, 1, generator=generator) < 0.4, fitted, styles)
        styles = self._disturb(styles)
        painted = self._network(self._photos.crops(half, crop, (0.4, 1.0), generator), self._network.adapt_to(styles))
        return torch.cat([photos, paintings[: half // 2], painted])

    def _disturb(self, styles: Tensor) -> Tensor:
        changes = self._making.disturbance * torch.randn(styles.shape, generator=self._generator)
        adaptive = self._network.adaptive
        pairs = zip(styles, changes, strict=True)
        return torch.stack([FreeStyle(style, adaptive).changed(change) for style, change in pairs])


@torch.no_grad()
def thin(encoder: Encoder, scenes: Tensor, making: Making) -> Judge:
    """Thins VGG-19, see above.

    Args:
        encoder: VGG-19 to relu4_1.
        scenes: [N, 3, H, H], the pictures to fit it on.
    """
    judge = Judge()
    kept = []
    generator = torch.Generator().manual_seed(making.seed)
    convolutions = [layer for layer in encoder if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    layers = nn.Sequential(*encoder)
    indices = [index for index, layer in enumerate(layers) if layer in convolutions]
    own = theirs = scenes  # the features before the convolution, of the judge and of VGG-19
    before = 0
    for index, (at, width) in enumerate(track(zip(indices, WIDTHS, strict=True), "Thinning VGG-19", len(WIDTHS))):
        theirs = torch.cat([layers[before : at + 1](part) for part in torch.split(theirs, 16)])
        own = judge.enter(own, index)
        count, _, height, width_ = theirs.shape
        chosen = torch.randperm(count * height * width_, generator=generator)[: making.samples]
        n, y, x = chosen // (height * width_), chosen // width_ % height, chosen % width_
        patches = own.unfold(2, 3, 1).unfold(3, 3, 1)[n, :, y, x].flatten(1).double()
        patches = torch.cat([patches, torch.ones(len(patches), 1, dtype=torch.float64)], 1)
        wanted = theirs[n, :, y, x].double()
        seen = wanted.relu() if index in TAPS else wanted.relu() * _importance(convolutions[index + 1])
        keep = select(torch.cov(seen.T), width)
        products = patches.T @ patches
        products.diagonal()[:-1] += 1e-4 * products.diagonal().mean()
        weights = torch.linalg.solve(products, patches.T @ wanted[:, keep]).float()
        convolution = judge.convolutions[index]
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        convolution.weight.copy_(weights[:-1].T.reshape(convolution.weight.shape))
        convolution.bias.copy_(weights[-1])
        own = torch.cat([F.relu(convolution(part)) for part in torch.split(own, 16)])
        before = at + 1
        kept.append(keep)
    judge.kept.copy_(torch.cat(kept))
    return judge


def _importance(convolution: nn.Conv2d) -> Tensor:
    """How strongly a convolution answers to each of its inputs, [C]."""
    return convolution.weight.double().square().sum((0, 2, 3)).sqrt()


def select(covariance: Tensor, count: int) -> Tensor:
    """Chooses variables that explain all by regression, each the best beside those before it: indices, in order.

    Args:
        covariance: [C, C] of the variables.
        count: how many.
    """
    left = covariance.clone()
    chosen: list[int] = []
    least = 1e-6 * covariance.diagonal().mean()
    for _ in range(count):
        explained = left.square().sum(0) / (left.diagonal() + least)
        explained[chosen] = -1
        chosen.append(best := int(explained.argmax()))
        left -= torch.outer(left[:, best], left[best]) / (left[best, best] + least)
    return torch.tensor(sorted(chosen))


def teach(judge: Judge, encoder: Encoder, scenes: Scenes, making: Making) -> list[float]:
    """Trains the judge to have the features of VGG-19 at the four taps, and their statistics.

    Returns:
        What is left at the end of each tap's variance, a running mean.
    """
    judge.requires_grad_(True)
    optimiser = torch.optim.Adam(judge.parameters(), making.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / making.warmup, (1 + math.cos(math.pi * step / making.steps)) / 2)
    )
    keep = [judge.channels()[index] for index in TAPS]
    spread, left = torch.ones(4), torch.ones(4)
    for step in track(range(making.steps), "Teaching the judge", making.steps):
        pictures = scenes.draw(4)
        with torch.no_grad():
            wanted = [tap[:, chosen] for tap, chosen in zip(encoder.taps(pictures), keep, strict=True)]
            now = torch.stack([tap.var((0, 2, 3)).mean() for tap in wanted])
            spread = torch.lerp(spread, now, 0.05) if step else now
        taps = judge(pictures)
        features = torch.stack([F.mse_loss(*pair) for pair in zip(taps, wanted, strict=True)]) / spread
        pairs = zip(style_statistics(taps), style_statistics(wanted), strict=True)
        statistics = torch.stack([F.mse_loss(*means) + F.mse_loss(*stds) for means, stds in
                                  (zip(own, theirs, strict=True) for own, theirs in pairs)]) / spread  # fmt: skip
        optimiser.zero_grad()
        (features + making.statistics_weight * statistics).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        left = torch.lerp(left, features.detach(), 0.03 if step else 1.0)
    judge.requires_grad_(False)
    return [round(float(share), 4) for share in left]


def make_judge(folder: Path, content: Sequence[str], style: Sequence[str], photos: str, making: Making) -> None:
    """Makes the judge of a model and what its styles are fitted by, into the model's folder and its card.

    Args:
        folder: of the model, changed in place.
        content, style: folders and tar files of photos and of paintings, for the judge to learn on.
        photos: a folder of `BATCH` photos, to be painted while styles are fitted.
        making: the settings.

    Raises:
        ImpastoError: there is no such model, there are no such pictures, or no VGG-19 on this machine.
    """
    keep_freed_memory()
    model = find_model(folder)
    network, encoder = load_network(model).requires_grad_(False), load_encoder()
    looked_at, paintings = Pictures(content, 256, label="photos"), Pictures(style, 384, label="paintings")
    known = torch.from_numpy(np.stack([style.tensor.astype(np.float32) for style in model.gallery.values()]))
    scenes = Scenes(network, known, looked_at, paintings, making)
    cut_photos(Pictures([photos], 256, label="photos"), making.seed).save(folder / PHOTOS, quality=85, method=6)
    judge = thin(encoder, scenes.draw(making.crops), making)
    left = teach(judge, encoder, scenes, making)
    write_graphs(folder, network, judge)
    told = {
        "settings": asdict(making),
        "left_of_variance": left,
        "photos": manifest(looked_at.entries, "photos"),
        "paintings": manifest(paintings.entries, "paintings"),
    }
    replace(model.card, judge=told).write(folder)


def take_judge(folder: Path, other: str) -> None:
    """Lets a model's styles be fitted with the judge of another model, which knows nothing of networks.

    Raises:
        ImpastoError: there is no such model, or the other has no judge.
    """
    model, source = find_model(folder), find_model(other)
    if source.card.judge is None:
        raise ImpastoError(f"{source.name} has no judge: choose adain")
    judge = Judge()
    judge.load_state_dict(load_file(source.folder / JUDGE))
    shutil.copy(source.folder / PHOTOS, folder / PHOTOS)
    write_graphs(folder, load_network(model).requires_grad_(False), judge)
    replace(model.card, judge=source.card.judge).write(folder)


def cut_photos(photos: Pictures, seed: int) -> Image.Image:
    """Cuts each of `BATCH` photos `_ROWS` times: a column of crops for each, so that a row shows them all."""
    if len(photos) != BATCH:
        raise ImpastoError(f"{len(photos)} photos to paint while fitting, {BATCH} are wanted")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(_ROWS):
        row = []
        for column in torch.eye(BATCH):
            photos.weights = column
            row.append(photos.crops(1, CROP, (0.4, 1.0), generator)[0])
        rows.append(torch.cat(row, 2))
    return Image.fromarray((255 * torch.cat(rows, 1)).round().byte().permute(1, 2, 0).numpy())


def main() -> None:
    """Reads the command line and makes the judge, or takes one."""
    parser = argparse.ArgumentParser(prog="python -m impasto.train.judge", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the model folder, changed in place")
    parser.add_argument("--judge", help="a model whose judge is taken as it is; without, one is made of:")
    parser.add_argument("--content", action="append", default=[], help="folder or tar of photos; repeatable")
    parser.add_argument("--style", action="append", default=[], help="folder or tar of paintings; repeatable")
    parser.add_argument("--photos", help=f"folder of the {BATCH} photos that are painted while styles are fitted")
    parser.add_argument("--steps", type=int, default=Making.steps, help="of training")
    parser.add_argument("--seed", type=int, default=Making.seed)
    given = parser.parse_args()
    if given.judge:
        take_judge(given.out, given.judge)
    elif given.content and given.style and given.photos:
        making = Making(steps=given.steps, seed=given.seed)
        make_judge(given.out, given.content, given.style, given.photos, making)
    else:
        parser.error("give --judge, or else --content, --style and --photos")


if __name__ == "__main__":
    main()
