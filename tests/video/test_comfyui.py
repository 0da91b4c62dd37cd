"""The nodes for ComfyUI, loaded by path as it does, and run with its kinds of tensors."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import impasto
from impasto import ImpastoError

torch = pytest.importorskip("torch")
FOLDER = Path(__file__).parents[2] / "examples" / "comfyui"
BASIC = {"IMAGE", "MASK", "STRING", "FLOAT", "BOOLEAN", "IMPASTO_MODEL", "IMPASTO_STYLE"}


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    name = "custom_nodes.comfyui"
    spec = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_DISPLAY_NAME_MAPPINGS.keys() == module.NODE_CLASS_MAPPINGS.keys()
    return module.NODE_CLASS_MAPPINGS


def run(nodes: dict[str, Any], node: str, **inputs: Any) -> Any:
    """Runs a node as ComfyUI does: its inputs by name, those with a default or a choice filled in."""
    kind = nodes[node]
    filled = {}
    for name, (what, *options) in kind.INPUT_TYPES()["required"].items():
        assert isinstance(what, list) or what in BASIC
        default = options[0].get("default") if options else None
        filled[name] = inputs.get(name, what[0] if default is None and isinstance(what, list) else default)
    result = getattr(kind(), kind.FUNCTION)(**filled | inputs)
    assert isinstance(result, tuple)
    assert len(result) == len(kind.RETURN_TYPES) == len(kind.RETURN_NAMES)
    return result[0]


@pytest.fixture(scope="module")
def model(nodes) -> impasto.Stylizer:
    return run(nodes, "ImpastoLoadModel", engine="onnxruntime")


@pytest.fixture(scope="module")
def images(photo) -> torch.Tensor:
    return torch.from_numpy(np.stack([photo[:60, 150:230], photo[60:120, 150:230]])) / 255


def test_a_batch_is_painted_as_the_library_paints(nodes, model, images) -> None:
    style = run(nodes, "ImpastoStyle", model=model, painting="munch-scream")
    painted = run(nodes, "ImpastoStylize", model=model, image=images, style=style, strength=0.8, color="luminance")
    assert (painted.shape, painted.dtype) == (images.shape, torch.float32)
    for image, found in zip(images, painted, strict=True):
        alone = model.stylize(np.uint8(255 * image + 0.5), "munch-scream", strength=0.8, keep_color="luminance")
        np.testing.assert_array_equal(np.uint8(255 * found + 0.5), np.asarray(alone))


def test_styles_of_pictures_are_mixed(nodes, model, images) -> None:
    first = run(nodes, "ImpastoStyle", model=model, painting="(the picture)", picture=images[:1])
    second = run(nodes, "ImpastoStyle", model=model)
    mixed = run(nodes, "ImpastoMix", first=first, second=second, share=0.25)
    taken = model.style(np.uint8(255 * images[0] + 0.5)).tensor
    wanted = 0.75 * taken + 0.25 * model.gallery["klimt-kiss"].tensor
    np.testing.assert_allclose(mixed.blend().tensor, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ImpastoError, match="no picture to take the style of: connect one"):
        run(nodes, "ImpastoStyle", model=model, painting="(the picture)")


@pytest.mark.parametrize("frames", [False, True])
def test_a_mask_says_what_is_painted(nodes, model, images, frames: bool) -> None:
    style = run(nodes, "ImpastoStyle", model=model)
    mask = torch.zeros(2, 30, 40)
    mask[0, :, :20] = 1  # half as large as the picture; nothing of the second
    rgba = torch.cat([images, torch.full((2, 60, 80, 1), 0.5)], -1)
    painted = run(nodes, "ImpastoStylize", model=model, image=rgba, style=style, frames=frames, mask=mask)
    assert torch.equal(painted[..., 3], rgba[..., 3])
    change = (painted - rgba)[..., :3].abs()
    assert change[0, :, 45:].max() < 1e-3
    assert change[0, :, :35].mean() > 0.02
    assert change[1].max() < 1e-3
    with pytest.raises(ImpastoError, match="3 masks for 2 pictures"):
        run(nodes, "ImpastoStylize", model=model, image=images, style=style, mask=torch.ones(3, 60, 80))


def test_frames_are_steadier_than_pictures(nodes, model, photo) -> None:
    noise = np.random.default_rng(0).normal(0, 6, (4, 96, 96, 3))
    clip = torch.from_numpy(np.float32(photo[:96, 150:246] + noise)).clamp(0, 255) / 255
    style = run(nodes, "ImpastoStyle", model=model)
    flicker = [
        run(nodes, "ImpastoStylize", model=model, image=clip, style=style, frames=frames).diff(dim=0).abs().mean()
        for frames in (True, False)
    ]
    assert flicker[0] < 0.8 * flicker[1]
