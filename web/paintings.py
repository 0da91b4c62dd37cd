"""Makes the small pictures of the shipped styles' paintings that the page shows on its tiles.

    python web/paintings.py FOLDER

FOLDER holds the paintings by the names of their styles, as for `impasto fit --gallery`; all are in the public domain.
"""

import json
import sys
from pathlib import Path

from PIL import Image, ImageOps

SIDE = 176  # pixels: a tile is half as wide, on screens that have two pixels for one
ROOT = Path(__file__).parents[1] / "src" / "impasto"

target = ROOT / "app" / "web" / "paintings"
target.mkdir(exist_ok=True)
for painting in json.loads((ROOT / "weights" / "gallery.json").read_text("utf-8")):
    with Image.open(Path(sys.argv[1]) / f"{painting['name']}.jpg") as picture:
        tile = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE))
        tile.save(target / f"{painting['name']}.webp", quality=72, method=6)
