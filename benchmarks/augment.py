"""What style as augmentation is good for, and how fast it is: python benchmarks/augment.py EMOJI [PART ...]

EMOJI is a folder with the unpacked npm packages emoji-datasource-google and emoji-datasource-twitter (16.0.0; Noto
and Twemoji, 1,911 emoji of 64 x 64 pixels with the group of each), two folders called google and twitter, each what
`npm pack` gives, unpacked.

Parts, all if none is named:
  robust     a small ResNet learns to tell the eight groups of emoji (flags left out) from 70 % of Noto's, 32 x 32
             pixels, and is tested on the others: clean, drawn by another hand (Twemoji), and under ten corruptions of
             five severities each, defined as those of CIFAR-10-C (Hendrycks and Dietterich 2019)
  rate       pictures a second of RandomStyle, beside those of impasto dataset on the same pictures from and to files
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from impasto.torch import RandomStyle

SIDE, BATCH = 32, 64
HANDS = ("google", "twitter")


def read_emoji(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The emoji of each hand, uint8 [N, 32, 32, 3] on white, in one order; and the number of each one's group [N]."""
    rows = json.loads((folder / "google/package/emoji.json").read_text("utf-8"))
    rows = [row for row in rows if row["category"] not in ("Flags", "Component")]
    groups = sorted({row["category"] for row in rows})
    pictures = {}
    for hand in HANDS:
        found = []
        for row in rows:
            with Image.open(folder / hand / f"package/img/{hand}/64" / row["image"]) as image:
                white = Image.new("RGBA", image.size, "white")
                white.alpha_composite(image.convert("RGBA"))
                found.append(np.asarray(white.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
        pictures[hand] = np.stack(found)
    return pictures, np.array([groups.index(row["category"]) for row in rows])


# Corruptions of pictures [N, H, W, 3] in 0..1, with their five severities.


def _encode(pictures: np.ndarray, quality: int) -> np.ndarray:
    found = []
    for picture in pictures:
        stream = io.BytesIO()
        Image.fromarray(np.uint8(255 * picture)).save(stream, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(stream)))
    return np.stack(found) / 255


def _pixelate(pictures: np.ndarray, share: float) -> np.ndarray:
    side, box = int(SIDE * share), Image.Resampling.BOX
    images = [Image.fromarray(np.uint8(255 * picture)) for picture in pictures]
    return np.stack([np.asarray(one.resize((side, side), box).resize((SIDE, SIDE), box)) for one in images]) / 255


def _impulse(pictures: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.random(pictures.shape)
    return np.where(chosen < share / 2, 0.0, np.where(chosen < share, 1.0, pictures))


def _saturate(pictures: np.ndarray, change: tuple[float, float]) -> np.ndarray:
    hsv = np.stack([np.asarray(Image.fromarray(np.uint8(255 * one)).convert("HSV")) for one in pictures]) / 255
    hsv[..., 1] = np.clip(hsv[..., 1] * change[0] + change[1], 0, 1)
    return np.stack([np.asarray(Image.fromarray(np.uint8(255 * one), "HSV").convert("RGB")) for one in hsv]) / 255


def _brighten(pictures: np.ndarray, more: float) -> np.ndarray:
    value = pictures.max(-1, keepdims=True)  # V of HSV
    return pictures * np.clip(value + more, 0, 1) / np.maximum(value, 1e-3) + (value < 1e-3) * more


def _weaken(pictures: np.ndarray, contrast: float) -> np.ndarray:
    mean = pictures.mean((1, 2), keepdims=True)
    return (pictures - mean) * contrast + mean


CORRUPTIONS: dict[str, tuple[Callable[..., np.ndarray], tuple[object, ...]]] = {
    "gaussian noise": (lambda x, c, rng: x + rng.normal(0, c, x.shape), (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot noise": (lambda x, c, rng: rng.poisson(x * c) / c, (500, 250, 100, 75, 50)),
    "impulse noise": (_impulse, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "speckle noise": (lambda x, c, rng: x + x * rng.normal(0, c, x.shape), (0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian blur": (lambda x, c, rng: gaussian_filter(x, (0, c, c, 0)), (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (lambda x, c, rng: _brighten(x, c), (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (lambda x, c, rng: _weaken(x, c), (0.75, 0.5, 0.4, 0.3, 0.15)),
    "saturation": (lambda x, c, rng: _saturate(x, c), ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
    "JPEG": (lambda x, c, rng: _encode(x, c), (80, 65, 58, 50, 40)),
    "pixelation": (lambda x, c, rng: _pixelate(x, c), (0.95, 0.9, 0.85, 0.75, 0.65)),
}


def corrupt(pictures: np.ndarray) -> dict[str, Tensor]:
    """Pictures uint8 [N, H, W, 3] under every corruption: uint8 [5 N, 3, H, W] by its name, mild to severe."""
    rng = np.random.default_rng(0)
    found = {}
    for name, (change, severities) in CORRUPTIONS.items():
        changed = np.concatenate([change(pictures / 255, severity, rng) for severity in severities])
        found[name] = _as_batch(np.uint8(np.rint(255 * np.clip(changed, 0, 1))))
    return found


def _as_batch(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())


# Learning


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(3))
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        return F.relu(y + self.norms[2](self.short(x)))


def make_network(classes: int) -> nn.Module:
    """A ResNet of three blocks, 0.2 million parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, 1, 1), nn.ReLU(), Block(24, 24, 2), Block(24, 48, 2), Block(48, 96, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes),
    )  # fmt: skip


def flip(images: Tensor) -> Tensor:
    """Mirrors half of a batch in 0..1, and moves each picture by up to four pixels."""
    images = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
    padded = F.pad(images, (4, 4, 4, 4), value=1.0)
    at = torch.randint(9, (len(images), 2)).tolist()
    return torch.stack([one[:, y : y + SIDE, x : x + SIDE] for one, (y, x) in zip(padded, at, strict=True)])


def jitter(images: Tensor) -> Tensor:
    """Brightness, contrast and saturation by factors from 0.6 to 1.4, as torchvision's ColorJitter(0.4, 0.4, 0.4)."""
    bright, contrast, saturation = (0.6 + 0.8 * torch.rand(3, len(images), 1, 1, 1)).unbind(0)
    grey = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    images = (images * bright).clamp(0, 1)
    images = torch.lerp((images * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True), images, contrast).clamp(0, 1)
    return torch.lerp((images * grey).sum(1, keepdim=True), images, saturation).clamp(0, 1)


def learn(
    images: Tensor, labels: Tensor, augment: list[Callable[[Tensor], Tensor]], seed: int, epochs: int
) -> nn.Module:
    torch.manual_seed(seed)
    network = make_network(int(labels.max()) + 1).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            batch = images[chosen] / 255
            for one in augment:
                batch = one(batch)
            optimiser.zero_grad()
            F.cross_entropy(network(_normalise(batch)), labels[chosen], label_smoothing=0.1).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def _normalise(batch: Tensor) -> Tensor:
    return ((batch - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def score(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent that are told right; `labels` again for every severity."""
    found = torch.cat([network(_normalise(batch / 255)).argmax(1) for batch in images.split(512)])
    return 100 * (found == labels.repeat(len(images) // len(labels))).float().mean().item()


def robust(folder: Path, seeds: int, epochs: int) -> None:
    pictures, groups = read_emoji(folder)
    order = np.random.default_rng(0).permutation(len(groups))
    cut = round(0.7 * len(order))
    train, test = order[:cut], order[cut:]
    images, labels = _as_batch(pictures["google"][train]), torch.from_numpy(groups[train])
    wanted = torch.from_numpy(groups[test])
    tests = {"clean": _as_batch(pictures["google"][test]), "other hand": _as_batch(pictures["twitter"][test])}
    tests |= corrupt(pictures["google"][test])
    style = RandomStyle(p=0.5, strength=(0.3, 1), stroke_size=0.5)
    arms: dict[str, list[Callable[[Tensor], Tensor]]] = {
        "flip": [flip],
        "flip + style": [flip, style],
        "flip + jitter": [flip, jitter],
        "flip + jitter + style": [flip, jitter, style],
    }
    print(
        f"robust: {len(train)} pictures to learn from, {len(test)} to test, {seeds} seeds, {epochs} epochs", flush=True
    )
    found: dict[str, list[list[float]]] = {arm: [] for arm in arms}
    for seed in range(seeds):
        for arm, augment in arms.items():
            start = time.perf_counter()
            network = learn(images, labels, augment, seed, epochs)
            scores = [score(network, batch, wanted) for batch in tests.values()]
            found[arm].append(scores)
            print(f"seed {seed}, {arm}: {time.perf_counter() - start:.0f} s, clean {scores[0]:.1f}, other hand "
                  f"{scores[1]:.1f}, corrupted {np.mean(scores[2:]):.1f}", flush=True)  # fmt: skip
    print("| accuracy, % | " + " | ".join(arms) + " |\n|---|" + "---|" * len(arms))
    tables = {arm: np.array(rows) for arm, rows in found.items()}
    columns = {name: [table[:, number] for table in tables.values()] for number, name in enumerate(tests)}
    columns["mean of the corruptions"] = [table[:, 2:].mean(1) for table in tables.values()]
    for name, values in columns.items():
        print(f"| {name} | " + " | ".join(f"{one.mean():.1f} ± {one.std(ddof=1):.1f}" for one in values) + " |")


def rate(folder: Path, count: int) -> None:
    """Both with the same model at 224 x 224, on this machine, one after the other."""
    from impasto.dataset import Recipe, stylize_dataset

    pictures = read_emoji(folder)[0]["google"][:count]
    large = F.interpolate(_as_batch(pictures).float(), (224, 224), mode="bicubic").clamp(0, 255).byte()
    augment = RandomStyle(p=1)
    augment(large[:32])
    start = time.perf_counter()
    for batch in large.split(32):
        augment(batch)
    print(f"rate: RandomStyle, batches of 32: {count / (time.perf_counter() - start):.1f} pictures/s", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "in")
        source.mkdir()
        for number, image in enumerate(large):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(source / f"{number:05}.jpg", quality=95)
        result = stylize_dataset(str(source), ["munch-scream"], str(Path(scratch, "out")), Recipe(strength=(0.3, 1)))
        print(f"rate: impasto dataset, from and to JPEG: {len(result.rows) / result.seconds:.1f} pictures/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emoji", type=Path)
    parser.add_argument("parts", nargs="*", default=["robust", "rate"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--count", type=int, default=256)
    given = parser.parse_args()
    if "robust" in given.parts:
        robust(given.emoji, given.seeds, given.epochs)
    if "rate" in given.parts:
        rate(given.emoji, given.count)


if __name__ == "__main__":
    main()
