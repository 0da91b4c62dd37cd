"""The texture network (Ulyanov et al. 2016): pictures and noise at several sizes, joined from coarse to fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.nets.feedforward import Norm, RowNetwork
from impasto.nets.norm import Adapt

_PLANES = 3  # of noise beside the photo's three, as in the authors' code
_PERIOD = 64  # of the fixed noise, in features of its size


class Ulyanov(RowNetwork):
    """The generator of Ulyanov, Lebedev, Vedaldi and Lempitsky 2016 for stylisation, for one style.

    The photo at 1/32, 1/16, ... 1 of its size, noise beside it, each through three convolutions (3x3, 3x3, 1x1). From
    the coarsest on, what there is so far is doubled by nearest neighbours, put beside the features of the next size,
    and goes through three convolutions more. A normalisation and ReLU follow every convolution, and a normalisation
    stands before every join. Theirs was batch normalisation; their paper of 2017 puts instance normalisation there.
    Borders are continued by replication.

    Where the noise comes from: it is uniform, and drawn anew in training. Otherwise there are K noises of a fixed seed,
    repeated every 64 features, and a style tensor chooses among them: they go through an adaptive layer in which the
    chosen one is given a standard deviation of 1 and the others of 0. So the one style it learns comes as K styles that
    differ by their noise alone, which mix and are masked like any.

    Args:
        styles: 1.
        norm: "instance" as in 2017; "batch" as in 2016; or "renorm".
        width: channels at each size; a join after n sizes has n times as many.
        scales: number of sizes.
        noises: K.
    """

    description = "a texture network with noise at every size, for the one style it was trained on"
    in_parts = False  # the noise goes by the place in the picture
    fixed: Tensor
    choice: Tensor
    chosen: Tensor

    def __init__(
        self, styles: int = 1, norm: Norm = "instance", width: int = 8, scales: int = 6, noises: int = 4
    ) -> None:
        super().__init__(styles, norm, width=width, scales=scales, noises=noises)
        layers: list[tuple[int, int]] = []  # channels and stride of each adaptive layer
        noisy: list[bool] = []
        for scale in range(scales):
            stride = 2 ** (scales - 1 - scale)
            here = [(_PLANES * noises, stride), *[(width, stride)] * 3]
            if scale:
                joined = width * (scale + 1)
                here += [(joined - width, 2 * stride), (width, stride), *[(joined, stride)] * 3]
            noisy += [True, *[False] * (len(here) - 1)]
            layers += here
        self.adaptive, self.strides = (tuple(column) for column in zip(*layers, strict=True))
        self.branches = nn.ModuleList(_Convolutions(3 + _PLANES, width) for _ in range(scales))
        self.joins = nn.ModuleList(_Convolutions(width * (n + 1), width * (n + 1)) for n in range(1, scales))
        self.to_picture = nn.Conv2d(width * scales, 3, 1)
        # As float16 has it, in which the graph stores it.
        noise = torch.rand(scales, _PLANES * noises, _PERIOD, _PERIOD, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed", noise.half().float(), persistent=False)
        #: [K, S]: what a style tensor holds for the noise, where `chosen` [S] says that it does.
        one_of = torch.eye(noises).repeat_interleave(_PLANES, 1)
        parts = [
            torch.cat([torch.zeros(noises, c), one_of if noise else torch.ones(noises, c)], 1)
            for c, noise in zip(self.adaptive, noisy, strict=True)
        ]
        self.register_buffer("choice", torch.cat(parts, 1), persistent=False)
        flags = [torch.full((2 * c,), noise) for c, noise in zip(self.adaptive, noisy, strict=True)]
        self.register_buffer("chosen", torch.cat(flags), persistent=False)
        self.make_rows()

    def _tensors(self) -> Tensor:
        """[K, S], the learnt row with each of the noises."""
        return torch.where(self.chosen, self.choice, super()._tensors())

    def forward(self, image: Tensor, adapt: Adapt, generator: torch.Generator | None = None) -> Tensor:
        """Images [N, 3, H, W] in 0..1 to images of the same size (not clamped).

        Args:
            generator: draws the noise; None takes the fixed ones.
        """
        height, width = image.shape[2:]
        coarsest = 2 ** (len(self.branches) - 1)
        image = F.pad(image, (0, -width % coarsest, 0, -height % coarsest), mode="replicate")
        features = image[:, :0]
        for scale, branch in enumerate(self.branches):
            small = F.avg_pool2d(image, coarsest >> scale)
            noise = adapt(self._noise(scale, small, generator)).view(len(small), -1, _PLANES, *small.shape[2:]).sum(1)
            own = branch(torch.cat([small, noise], 1), adapt)
            if scale:
                doubled = F.interpolate(adapt(features), scale_factor=2, mode="nearest")
                own = self.joins[scale - 1](torch.cat([doubled, adapt(own)], 1), adapt)
            features = own
        painted: Tensor = self.to_picture(features) + 0.5
        return painted[..., :height, :width]

    def _noise(self, scale: int, beside: Tensor, generator: torch.Generator | None) -> Tensor:
        """All K noises at the size of a picture [N, 3, h, w]: [N, 3 K, h, w] in 0..1."""
        fixed = self.fixed[scale : scale + 1]
        count, _, height, width = beside.shape
        if generator is not None:
            return torch.rand(count, fixed.shape[1], height, width, generator=generator).to(beside)
        rows, columns = (torch.arange(side, device=beside.device) % _PERIOD for side in (height, width))
        return fixed[:, :, rows][..., columns].expand(count, -1, -1, -1)


class _Convolutions(nn.Module):
    """3x3, 3x3 and 1x1, a normalisation and ReLU after each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        sides = ((inputs, 3), (outputs, 3), (outputs, 1))
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, outputs, side, padding=side // 2, padding_mode="replicate") for channels, side in sides
        )

    def forward(self, features: Tensor, adapt: Adapt) -> Tensor:
        for layer in self.layers:
            features = F.relu(adapt(layer(features)))
        return features
