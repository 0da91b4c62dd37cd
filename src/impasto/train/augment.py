"""Pictures that no data set brings enough of: more artworks than there are, bolder and grainier ones, drawn graphics,
smooth skies.

Photographed paintings are soft, without the grain of a sharp scan, and their contrasts mild. A network trained on
nothing else paints them well and fails at prints and posters: black outlines, flat colours, rows of dots. And of a few
thousand artworks, seen a hundred times each, a network remembers what suits each one; what it has never seen it paints
less well.
"""

from __future__ import annotations

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

_FINER = 3  # graphics are drawn at this multiple of their size, so that edges are smooth

Color = tuple[int, int, int]


def alter_styles(
    pictures: Tensor,
    generator: torch.Generator,
    *,
    varied_share: float = 0.0,
    brushed_share: float = 0.0,
    bold_share: float = 0.0,
    graphic_share: float = 0.0,
    grained_share: float = 0.0,
) -> Tensor:
    """Alters or replaces shares of a batch of style crops [N, 3, H, H] in 0..1, in this order.

    Args:
        varied_share, bold_share: see :func:`vary` and :func:`embolden`.
        brushed_share, graphic_share: give way to what :func:`brush` and :func:`draw_graphic` make up.
        grained_share: see :func:`add_grain`.
    """
    pictures = vary(pictures, varied_share, generator) if varied_share else pictures.clone()
    for index in _draw_share(len(pictures), brushed_share, generator):
        pictures[index] = brush(pictures[index], generator)
    if bold_share:
        pictures = embolden(pictures, bold_share, generator)
    for index in _draw_share(len(pictures), graphic_share, generator):
        drawn = draw_graphic(pictures.shape[3], int(torch.randint(2**31, (), generator=generator)))
        pictures[index] = drawn.to(pictures.device)
    for index in _draw_share(len(pictures), grained_share, generator):
        pictures[index] = add_grain(pictures[index], generator)
    return pictures


def _draw_share(count: int, share: float, generator: torch.Generator) -> list[int]:
    chosen: list[int] = torch.nonzero(torch.rand(count, generator=generator) < share).flatten().tolist()
    return chosen


def embolden(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Sharpens a share of a batch of pictures [N, 3, H, W] in 0..1 and gives them more contrast.

    Contrast grows around each channel's mean, so that colours become stronger as well.
    """
    count = len(pictures)
    chosen, contrast, sharpness = torch.rand(3, count, 1, 1, 1, generator=generator).to(pictures.device)
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="reflect"), 3, 1)
    sharp = pictures + 2 * sharpness * (pictures - blurred)
    mean = pictures.mean((2, 3), keepdim=True)
    return torch.where(chosen < share, mean + (1 + 1.5 * contrast) * (sharp - mean), pictures).clamp(0, 1)


def add_grain(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Gives a picture [3, H, H] in 0..1 a surface: the grain of paper, or the weave of a canvas, in its paint.

    Good scans show these. Pictures of a few hundred pixels do not, and a crop of one is soft at its finest.
    """
    size = picture.shape[1]
    soft, strength, weave, period, color, depth, above = torch.rand(7, generator=generator).tolist()
    grain = torch.randn(3, size, size, generator=generator)
    grain = torch.lerp(grain[:1], grain, 0.3 * color)
    blurred = F.avg_pool2d(F.pad(grain[None], (1, 1, 1, 1), mode="reflect"), 3, 1)[0]
    grain = torch.lerp(grain, blurred, soft)
    if weave < 0.25:
        turn = 2 * math.pi * torch.arange(size) / (2.5 + 4 * period)
        threads = turn.cos() * turn.cos()[:, None]
        grain = grain / grain.std() + 3 * threads
    grain = 0.07 * strength * grain / grain.std()
    # Grain shows in light paint, in dark paint, or in all of it.
    light = picture.mean(0, keepdim=True)
    made: Tensor = picture + grain.to(picture.device) * torch.lerp(
        torch.ones_like(light), 2 * (light if above < 0.5 else 1 - light), depth
    )
    return made.clamp(0, 1)


def vary(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Makes a share of a batch of pictures [N, 3, H, H] in 0..1 into others that might as well be artworks.

    Each of these is turned by a right angle or none. Half exchange their colour channels, a quarter are stretched along
    a line up to six times, a quarter are pasted together with another of the batch, a quarter have a few levels only,
    and one in eight is its own negative.
    """
    made = []
    for picture in pictures:
        chance, cut, flat, negative, stretch, *rest = torch.rand(11, generator=generator).tolist()
        order, shape = torch.randperm(3, generator=generator), int(torch.randint(2, 7, (), generator=generator))
        patches = torch.rand(1, 1, shape, shape, generator=generator)
        if chance < share:
            picture = picture.rot90(int(4 * rest[0]), (1, 2))
            if rest[1] < 0.5:
                picture = picture[order]
            if stretch < 0.25:
                picture = _stretch(picture, 1 + 5 * rest[4], math.pi * rest[5])
            if cut < 0.25:
                other = pictures[int(rest[2] * len(pictures))]
                mask = F.interpolate(patches, picture.shape[1:], mode="bicubic", align_corners=True)[0] > 0.5
                picture = torch.where(mask.to(picture.device), picture, other)
            if flat < 0.25:
                levels = 2 + int(4 * rest[3])
                picture = (picture * (levels - 1)).round() / (levels - 1)
            if negative < 0.125:
                picture = 1 - picture
        made.append(picture)
    return torch.stack(made).to(memory_format=torch.channels_last)


def _stretch(picture: Tensor, times: float, angle: float) -> Tensor:
    """Stretches the surface of a picture [3, H, H] along the direction at an angle: strokes, all one way."""
    along = torch.tensor([math.cos(angle), math.sin(angle)])
    # Where each pixel comes from: along that direction, from a point nearer to the centre.
    source = torch.eye(2) - (1 - 1 / times) * torch.outer(along, along)
    grid = F.affine_grid(
        torch.cat([source, torch.zeros(2, 1)], 1)[None], [1, 3, *picture.shape[1:]], align_corners=False
    )
    return F.grid_sample(picture[None], grid.to(picture.device), padding_mode="reflection", align_corners=False)[0]


def draw_graphic(size: int, seed: int) -> Tensor:
    """Draws a picture [3, size, size] in 0..1: shapes, outlines, lines, hatching and dots in a few flat colours."""
    draw = _Drawing(size * _FINER, random.Random(seed))
    image = draw.picture().reduce(_FINER)
    if draw.random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(draw.random.uniform(0, 0.8)))
    noise = np.random.default_rng(seed).normal(0, draw.random.uniform(0, 5), (size, size, 1))
    return torch.from_numpy(np.clip(np.asarray(image) + noise, 0, 255) / 255).float().permute(2, 0, 1)


def brush(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Makes up an abstract painting [3, H, H] in 0..1 in the colours of a picture: directed strokes, outlined forms.

    The plane is divided into forms, each in a colour or two of the picture; these, and noise like the marks of
    bristles, are smeared along a smooth field of directions.
    """
    size = picture.shape[1]
    pixels = picture.cpu().flatten(1)
    count, length, outline, bristle, shade, width = torch.rand(6, generator=generator).tolist()
    swing = torch.rand(1, 1, 3, 3, generator=generator) * torch.rand((), generator=generator) * 2 * math.pi
    turn = 2 * math.pi * torch.rand((), generator=generator)
    angle = F.interpolate(swing, (size, size), mode="bicubic", align_corners=True)[0, 0] + turn

    forms = int(4 * 25**count)
    aside, part, from_border = _forms(size, forms, generator)
    color, other = pixels[:, torch.randint(pixels.shape[1], (2, forms), generator=generator)].unbind(1)
    share = (0.5 + aside * (2 + 4 * shade)).clamp(0, 1) if shade < 0.6 else torch.zeros_like(aside)
    painted = torch.lerp(color[:, part], other[:, part], share)
    if outline < 0.6:
        ink = pixels[:, pixels.sum(0).argmin(), None, None] * outline
        line = (0.01 + 0.05 * torch.rand((), generator=generator)) * (1 + width)
        painted = torch.where(from_border < line, ink, painted)
    steps = 1 + int(size * 0.3 * length**2)
    noise = torch.randn(3, size, size, generator=generator)
    painted = painted + 0.7 * bristle**2 * min(1.0, steps / 10) * torch.lerp(noise[:1], noise, 0.3)

    smeared = _smear(painted, angle, steps)
    # Smearing takes contrast off: back to that of the picture.
    mean, std = smeared.mean((1, 2), keepdim=True), smeared.std((1, 2), keepdim=True)
    contrast = (pixels.std(1)[:, None, None] / std.clamp(min=1e-3)).clamp(1, 4)
    made: Tensor = mean + (smeared - mean) * contrast
    return made.clamp(0, 1).to(picture.device)


def _forms(size: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A Voronoi diagram of random points, each with a direction of its own that its form is longer in.

    Returns:
        Three maps [size, size], the picture being 2 wide: how far a pixel lies off its form's axis, to which form it
        belongs, and how much nearer the next form is than its own.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    centres = 2.4 * torch.rand(count, 2, generator=generator) - 1.2
    turns = math.pi * torch.rand(count, 1, 1, generator=generator)
    longer = 1 + 3 * torch.rand(count, 1, 1, generator=generator)
    right, down = x - centres[:, :1, None], y - centres[:, 1:, None]
    ahead = right * turns.cos() + down * turns.sin()
    aside = down * turns.cos() - right * turns.sin()
    distance, part = ((ahead / longer).square() + aside.square()).sqrt().topk(2, 0, largest=False)
    return aside.gather(0, part[:1])[0], part[0], distance[1] - distance[0]


def _smear(picture: Tensor, angle: Tensor, steps: int) -> Tensor:
    """Averages a picture [3, H, H] along a field of directions [H, H], so many pixels each way.

    That is line integral convolution (Cabral and Leedom 1993).
    """
    size = picture.shape[1]
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    along = torch.stack([angle.cos(), angle.sin()])

    def at(field: Tensor, position: Tensor) -> Tensor:
        where = position.permute(1, 2, 0)[None]
        return F.grid_sample(field[None], where, padding_mode="reflection", align_corners=True)[0]

    total = picture.clone()
    for sign in (-1, 1):
        position = torch.stack([x, y])
        for _ in range(steps):
            position = position + sign * 2 / size * at(along, position)
            total += at(picture, position)
    return total / (2 * steps + 1)


def smooth_pictures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Makes pictures of nothing but soft changes of colour and noise of up to two levels of 255: [N, 3, size, size].

    Instance normalisation makes much of little: on such pictures a network that has seen none paints the noise.
    """

    def random(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    corners = random(3, 1, 1) + 0.5 * random(1, 1, 1) ** 2 * (random(3, 3, 3) - 0.5)
    ramps = F.interpolate(corners, (size, size), mode="bicubic", align_corners=True).clamp(0, 1)
    noise = random(1, 1, 1) * 4 * (random(3, size, size) - 0.5)
    return ((255 * ramps + noise).round() / 255).clamp(0, 1).to(memory_format=torch.channels_last)


class _Drawing:
    """One graphic: what is drawn, in which colours and how wide the lines are, is all drawn by lot."""

    def __init__(self, side: int, source: random.Random) -> None:
        self.side, self.random = side, source
        paper = source.choice([self._color(), (255, 255, 255), (0, 0, 0), (235, 220, 190)])
        self.colors: list[Color] = [self._color() for _ in range(source.randint(1, 5))]
        self.ink = source.choice([(0, 0, 0), (0, 0, 0), (255, 255, 255), self._color()])
        self.line = max(1, round(side * source.uniform(0.004, 0.05)))
        self.image = Image.new("RGB", (side, side), paper)

    def picture(self) -> Image.Image:
        makers = [self._shapes, self._lines, self._pattern]
        for make in self.random.sample(makers, self.random.randint(1, 3)):
            make()
        return self.image

    def _color(self) -> Color:
        hue, saturation, value = self.random.random(), self.random.random() ** 0.5, self.random.random() ** 0.5
        red, green, blue = (
            round(255 * value * (1 - saturation * min(1.0, max(0.0, 2 - abs((hue * 6 + shift) % 6 - 3)))))
            for shift in (0, 4, 2)
        )
        return red, green, blue

    def _point(self) -> tuple[float, float]:
        return self.random.uniform(-0.1, 1.1) * self.side, self.random.uniform(-0.1, 1.1) * self.side

    def _shapes(self) -> None:
        outlined, shaded = self.random.random() < 0.6, self.random.random() < 0.3
        extent = self.side * self.random.uniform(0.08, 0.5)
        for _ in range(self.random.randint(3, 40)):
            mask = Image.new("L", self.image.size)
            (x, y), width, height = self._point(), extent * self.random.random(), extent * self.random.random()
            kind = self.random.random()
            if kind < 0.4:
                corners = [
                    (x + self.random.uniform(-1, 1) * width, y + self.random.uniform(-1, 1) * height)
                    for _ in range(self.random.randint(3, 6))
                ]
                ImageDraw.Draw(mask).polygon(corners, fill=255)
            elif kind < 0.7:
                corners = [(x - width, y - height), (x + width, y - height), (x + width, y + height)]
                corners.append((x - width, y + height))
                ImageDraw.Draw(mask).polygon(corners, fill=255)
            else:
                corners = []
                ImageDraw.Draw(mask).ellipse((x - width, y - height, x + width, y + height), fill=255)
            fill = Image.new("RGB", self.image.size, self.random.choice(self.colors))
            if shaded:
                dark = Image.new("RGB", self.image.size, self.random.choice([*self.colors, self.ink]))
                ramp = Image.linear_gradient("L").rotate(self.random.choice([0, 90, 180, 270]))
                box = (round(x - width), round(y - height), round(x + width) + 1, round(y + height) + 1)
                shade = Image.new("L", self.image.size)
                shade.paste(ramp.resize((box[2] - box[0], box[3] - box[1])), box)
                fill = Image.composite(dark, fill, shade)
            self.image.paste(fill, mask=mask)
            if outlined and corners:
                ImageDraw.Draw(self.image).line([*corners, corners[0]], self.ink, self.line, joint="curve")
            elif outlined:
                box = (round(x - width), round(y - height), round(x + width) + 1, round(y + height) + 1)
                ImageDraw.Draw(self.image).ellipse(box, outline=self.ink, width=self.line)

    def _lines(self) -> None:
        pen = ImageDraw.Draw(self.image)
        bend = self.random.choice([0.0, 0.0, self.random.uniform(0, 1.5)])
        step = self.side * self.random.uniform(0.02, 0.25)
        for _ in range(self.random.randint(3, 60)):
            (x, y), angle, turn = self._point(), self.random.uniform(0, 2 * np.pi), self.random.uniform(-bend, bend)
            path = [(x, y)]
            for _ in range(self.random.randint(1, 8)):
                angle += turn
                x, y = x + step * np.cos(angle), y + step * np.sin(angle)
                path.append((x, y))
            color = self.ink if self.random.random() < 0.7 else self.random.choice(self.colors)
            pen.line(path, color, max(1, round(self.line * self.random.uniform(0.3, 1.2))), joint="curve")

    def _pattern(self) -> None:
        """Dots in a grid or parallel lines, over everything or within one shape."""
        layer = Image.new("L", self.image.size)
        pen = ImageDraw.Draw(layer)
        pitch = self.side * self.random.uniform(0.02, 0.1)
        filled = pitch * self.random.uniform(0.2, 0.45)
        steps = int(1.5 * self.side / pitch) + 1
        origin = -0.25 * self.side
        if self.random.random() < 0.5:
            for row in range(steps):
                for column in range(steps):
                    x, y = origin + (column + row % 2 / 2) * pitch, origin + row * pitch
                    pen.ellipse((x - filled, y - filled, x + filled, y + filled), fill=255)
        else:
            for row in range(steps):
                y = origin + row * pitch
                pen.rectangle((origin, y, 1.25 * self.side, y + filled), fill=255)
        layer = layer.rotate(self.random.uniform(0, 90), resample=Image.Resampling.BILINEAR)
        if self.random.random() < 0.6:
            (x, y), width = self._point(), self.side * self.random.uniform(0.2, 0.6)
            within = Image.new("L", self.image.size)
            ImageDraw.Draw(within).ellipse((x - width, y - width, x + width, y + width), fill=255)
            layer = Image.composite(layer, Image.new("L", self.image.size), within)
        self.image.paste(Image.new("RGB", self.image.size, self.random.choice([*self.colors, self.ink])), mask=layer)
