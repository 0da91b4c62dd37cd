"""The nodes. ComfyUI's IMAGE is float [B, H, W, C] in 0..1, its MASK float [B, H, W]; styles go from node to node as a
mix, so that one style and several are the same to whoever takes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import impasto
from impasto.controls import STROKE_SIZES, Controls, Mix, cross_fade
from impasto.engine import ENGINES
from impasto.model import shipped_models
from impasto.progress import track
from impasto.style import gallery

MODEL, STYLE = "IMPASTO_MODEL", "IMPASTO_STYLE"
PICTURE = "(the picture)"


class LoadModel:
    """A model that comes with impasto, or another by its folder or its address on the Hugging Face Hub."""

    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "impasto", "load", (MODEL,), ("model",)
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ([model.name for model in shipped_models()],),
                "engine": (["auto", *ENGINES], {"tooltip": "torch computes on the GPU, the others on the processor"}),
            },
            "optional": {"other": ("STRING", {"default": "", "tooltip": "A folder, or hf://owner/name"})},
        }

    def load(self, model: str, engine: str, other: str = "") -> tuple[impasto.Stylizer]:
        return (impasto.load(other.strip() or model, engine=engine),)


class TakeStyle:
    """The style of a painting that comes with impasto, or of any picture; of several, all in equal parts."""

    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "impasto", "take", (STYLE,), ("style",)
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"model": (MODEL,), "painting": ([PICTURE, *gallery()], {"default": "klimt-kiss"})},
            "optional": {"picture": ("IMAGE", {"tooltip": f"Whose style to take, where painting is {PICTURE}"})},
        }

    def take(self, model: impasto.Stylizer, painting: str, picture: Tensor | None = None) -> tuple[Mix]:
        if painting != PICTURE:
            return (model.mix(painting),)
        if picture is None:
            raise impasto.ImpastoError("no picture to take the style of: connect one, or choose a painting")
        return (model.mix([model.style(one, name="picture") for one in to_pixels(picture)]),)


class MixStyles:
    """Two styles, or mixes of styles, in any proportion."""

    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "impasto", "mix", (STYLE,), ("style",)
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        share = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.05, "tooltip": "Of the second style"}
        return {"required": {"first": (STYLE,), "second": (STYLE,), "share": ("FLOAT", share)}}

    def mix(self, first: Mix, second: Mix, share: float) -> tuple[Mix]:
        return (cross_fade([(first, 1 - share), (second, share)]),)


class Stylize:
    """Paints pictures, or the frames of a clip, in a style."""

    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "impasto", "paint", ("IMAGE",), ("image",)
    DESCRIPTION = __doc__

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        low, high = STROKE_SIZES
        return {
            "required": {
                "model": (MODEL,),
                "image": ("IMAGE",),
                "style": (STYLE,),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}),
                "stroke_size": ("FLOAT", {"default": 1.0, "min": low, "max": high, "step": 0.05}),
                "color": (["style", "match", "luminance"], {"tooltip": "match and luminance keep the photo's"}),
                "frames": ("BOOLEAN", {"default": False, "tooltip": "They are of a clip: paint them without flicker"}),
            },
            "optional": {"mask": ("MASK", {"tooltip": "What to paint; all of it where there is none"})},
        }

    def paint(
        self,
        model: impasto.Stylizer,
        image: Tensor,
        style: Mix,
        strength: float,
        stroke_size: float,
        color: str,
        frames: bool,
        mask: Tensor | None = None,
    ) -> tuple[Tensor]:
        controls = Controls(strength, keep_color=None if color == "style" else color, stroke_size=stroke_size)
        masks = [None] * len(image) if mask is None else fit_masks(mask, image)
        if mask is not None:
            style = Mix([style.blend()])  # one region, painted in all of them
        if frames:
            from impasto.video.temporal import TemporalPainter

            painter = TemporalPainter(model, style, controls)
        painted = []
        for pixels, one in track(zip(to_pixels(image), masks, strict=True), "Painting", len(image)):
            region = None if one is None else [one]
            if frames:
                painted.append(painter.paint(pixels, masks=region))
            elif one is not None and not one.any():
                painted.append(pixels)
            else:
                painted.append(np.asarray(model.stylize(pixels, style, controls, masks=region)))
        result = torch.from_numpy(np.stack(painted)).to(image.device) / 255
        return (torch.cat([result, image[..., 3:]], -1),)  # with its alpha, if it has any


def to_pixels(image: Tensor) -> list[np.ndarray]:
    """Pictures as impasto has them: uint8 [H, W, 3] each."""
    return list((255 * image[..., :3].clamp(0, 1)).round().byte().cpu().numpy())


def fit_masks(mask: Tensor, image: Tensor) -> list[np.ndarray]:
    """A mask, float32 [H, W], for each picture of a batch: its own, or the only one; scaled where sizes differ."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()  # a single one may come as [H, W]
    if len(mask) not in (1, len(image)):
        raise impasto.ImpastoError(f"{len(mask)} masks for {len(image)} pictures: give one, or one for each")
    if mask.shape[2:] != image.shape[1:3]:
        mask = F.interpolate(mask, image.shape[1:3], mode="bilinear", antialias=True)
    return list(mask[:, 0].clamp(0, 1).expand(len(image), -1, -1).cpu().numpy())


NODE_CLASS_MAPPINGS = {
    "ImpastoLoadModel": LoadModel,
    "ImpastoStyle": TakeStyle,
    "ImpastoMix": MixStyles,
    "ImpastoStylize": Stylize,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "ImpastoLoadModel": "Load Model (impasto)",
    "ImpastoStyle": "Style (impasto)",
    "ImpastoMix": "Mix Styles (impasto)",
    "ImpastoStylize": "Stylize (impasto)",
}
