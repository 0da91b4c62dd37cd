"""What becomes of each picture of a data set: drawn by a hash of its name, so that nothing else decides it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from impasto.checks import is_number, make_plain, plain, read_whole
from impasto.controls import STYLE_SIZE, Controls, KeepColor
from impasto.errors import ImpastoError

QUALITY = 95


@dataclass(frozen=True)
class Recipe:
    """Everything beside the model and the pictures that decides the bytes of the outputs.

    Attributes:
        per_image: how many styles each picture is painted in.
        strength: range that the strength of each painting is drawn from, 0..1.
        seed: of the draws.
        short_side: scale pictures to this side first; None leaves them as they are.
        crop: then cut out the centre square of this side.
        keep_color, stroke_size, style_size: see :class:`impasto.controls.Controls`.
        members: which pictures in shards are photos, see :func:`impasto.place.find_photos`; the others are copied.
    """

    per_image: int = 1
    strength: tuple[float, float] = (1.0, 1.0)
    seed: int = 0
    short_side: int | None = None
    crop: int | None = None
    keep_color: KeepColor | None = None
    stroke_size: float = 1.0
    style_size: int = STYLE_SIZE
    members: str | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        low, high = map(plain, self.strength)
        object.__setattr__(self, "strength", (low, high))
        if not (is_number(low) and is_number(high) and 0 <= low <= high <= 1):
            raise ImpastoError(f"strength must go up from a number to another, both from 0 to 1, not {low}..{high}")
        self.controls(high)  # which checks the rest
        for name, least in {"per_image": 1, "short_side": 16, "crop": 16}.items():
            value = getattr(self, name)
            if value is not None or name == "per_image":
                read_whole(least, **{name.replace("_", "-"): value})
        read_whole(-(2**63), 2**63 - 1, seed=self.seed)  # what the manifest holds
        if self.short_side and self.crop and self.crop > self.short_side:
            raise ImpastoError(f"a crop of {self.crop} is larger than pictures with a short side of {self.short_side}")

    def controls(self, strength: float) -> Controls:
        """Makes the controls of a painting of that strength."""
        return Controls(strength, keep_color=self.keep_color, stroke_size=self.stroke_size, style_size=self.style_size)

    def draw(self, name: str, styles: int) -> list[tuple[int, float]]:
        """Draws the number of the style, out of so many, and the strength of each painting of a picture.

        The styles of one picture differ as long as there are enough of them.
        """
        drawn: list[tuple[int, float]] = []
        taken: set[int] = set()
        attempt = 0
        while len(drawn) < self.per_image:
            digest = hashlib.sha256(f"{self.seed}/{attempt}/{name}".encode(errors="surrogateescape")).digest()
            attempt += 1
            style = int.from_bytes(digest[:8], "big") % styles
            if style in taken and len(taken) < styles:
                continue
            taken.add(style)
            low, high = self.strength
            drawn.append((style, round(low + (high - low) * int.from_bytes(digest[8:16], "big") / 2**64, 4)))
        return drawn

    def digest(self, style: str) -> str:
        """Marks what a painting was made by, beside what its manifest row says: 16 hex digits.

        Args:
            style: the style's own digest, see :meth:`impasto.style.Style.digest`.
        """
        settings = asdict(self) | {"quality": QUALITY}
        settings["size"] = settings.pop("short_side")  # its first name, by which manifests know it
        for drawn in ("per_image", "strength", "seed"):  # they decide through the draw alone, which the row shows
            del settings[drawn]
        return hashlib.sha256((json.dumps(settings, sort_keys=True) + style).encode()).hexdigest()[:16]

    @property
    def marks(self) -> list[str]:
        """What tells the paintings of one picture apart: nothing for a single one, else ``-1``, ``-2``..."""
        if self.per_image == 1:
            return [""]
        digits = len(str(self.per_image))
        return [f"-{number:0{digits}}" for number in range(1, self.per_image + 1)]
