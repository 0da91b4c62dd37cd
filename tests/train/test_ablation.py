"""The paper's decoder and its variants: what each is made of, and their loss curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plain import plain_settings
from skimage import data
from torch import nn

import impasto
from impasto.errors import ImpastoError
from impasto.evaluate.ablation import VARIANTS, decoder_curves
from impasto.export import export
from impasto.image import to_float
from impasto.model import find_model
from impasto.nets.adain import DECODERS, AdaIN, Decoder
from impasto.nets.norm import feature_statistics
from impasto.nets.vgg import load_encoder
from impasto.train.checkpoint import read_checkpoint
from impasto.train.loop import train
from impasto.train.task import make_task

TINY = {"steps": 2, "batch": 2, "crop": 32, "lr": 1e-3, "pairings": 2, "identity_weight": 1, "autoencoder_steps": 1,
                "precision": "fp32"}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for name, picture in {"photos/a": data.astronaut, "photos/b": data.coffee, "styles/c": data.brick}.items():
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture()).convert("RGB").resize((96, 96)).save(root / f"{name}.png")
    return root


@pytest.mark.parametrize("kind", DECODERS)
def test_what_a_decoder_is_made_of(kind):
    decoder = Decoder(kind)
    convolutions = [layer for layer in decoder if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in decoder if isinstance(layer, (nn.BatchNorm2d, nn.InstanceNorm2d))]
    assert convolutions[0].in_channels == (1024 if kind == "concat" else 512)
    assert len(norms) == (len(convolutions) - 1 if kind in ("bn", "in") else 0)
    picture = decoder(torch.rand(2, convolutions[0].in_channels, 4, 5))
    assert picture.shape == (2, 3, 32, 40)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "concat" else [pytest.mark.slow]) for kind in DECODERS]
)
def test_every_decoder_is_trained_and_exported(vgg19, pictures, tmp_path, kind):
    task = make_task("adain", plain_settings("adain", **TINY), decoder=kind)
    content, style = str(pictures / "photos"), str(pictures / "styles")
    checkpoint = train(task, [content], [style], task.settings, tmp_path, short_side=64, device="cpu")
    state = read_checkpoint(checkpoint)
    assert state["arguments"] == {"decoder": kind, "layer": "relu4_1"}
    folder = export(checkpoint, tmp_path / "model", "mine")
    assert find_model(folder).card.arguments == state["arguments"]

    # Written out: the decoder that was trained on what it was trained on; side 256, since "concat" sees all of a style.
    decoder = Decoder(kind).eval()
    weights = {key: value.half() if value.dim() else value for key, value in state["average"].items()}
    decoder.load_state_dict({key.removeprefix("module."): value for key, value in weights.items() if "module" in key})
    names = ("photos/b.png", "styles/c.png")
    photo, painting = (np.array(Image.open(pictures / name).resize((256, 256))) for name in names)
    with torch.no_grad():
        own, look = (load_encoder().taps(torch.from_numpy(to_float(picture)))[-1] for picture in (photo, painting))
        (mean, std), (own_mean, own_std) = (
            (x.mean((2, 3), keepdim=True), (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt())
            for x in (look, own)
        )
        target = (own - own_mean) / own_std * std + mean
        expected = 255 * decoder(torch.cat([own, look], 1) if kind == "concat" else target)[0].clamp(0, 1)
    models = [impasto.load(folder, engine=engine) for engine in ("onnxruntime", "torch")]
    for model in models:
        found = model.run_network(photo, model.style(painting, size=256).tensor[None], 1.0)
        assert np.abs(found - expected.permute(1, 2, 0).numpy()).max() <= 1, model.engine_name
    if kind == "in":  # tiles share the statistics of its decoder, too
        assert models[0].model.reach <= 64  # and not as far as the picture goes
    if kind == "concat":
        with pytest.raises(ImpastoError, match="paints pictures in one piece alone: scale this one down"):
            _ = models[0].model.reach


def test_the_concatenating_decoder_sees_both_pictures(vgg19):
    task = make_task("adain", plain_settings("adain", **dict(TINY, identity_weight=0)), decoder="concat").eval()
    content, style = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        painted, swapped = (task.preview(task.network, content, seen) for seen in (style, style.flip(0)))
    assert painted.shape == (3, 96, 96)
    assert not torch.allclose(painted[:, 32:64, 32:], swapped[:, 32:64, 32:], atol=1e-4)
    assert torch.allclose(painted[:, 32:64, 32:], swapped[:, 64:, 32:], atol=1e-4)


def test_curves_of_all_variants(vgg19, pictures):
    small = {"crop": 32, "batch": 2}
    found = [decoder_curves([str(pictures / "photos")], [str(pictures / "styles")], 3, small) for _ in range(2)]
    assert found[0].keys() == VARIANTS.keys()
    assert found[0] == found[1]
    for curves in found[0].values():
        assert all(len(curves[loss]) == 3 and np.isfinite(curves[loss]).all() for loss in ("content", "style"))
    assert len({curves["style"][0] for curves in found[0].values()}) == 4


def test_a_decoder_of_a_shallower_layer(vgg19, pictures, tmp_path):
    task = make_task("adain", plain_settings("adain", **TINY), layer="relu3_1")
    assert [w.shape for w in task.network.state_dict().values()] == [w.shape for w in Decoder().state_dict().values()][
        -len(task.network.state_dict()) :
    ]
    checkpoint = train(
        task, [str(pictures / "photos")], [str(pictures / "styles")], task.settings, tmp_path, short_side=64
    )
    model = impasto.load(export(checkpoint, tmp_path / "model", "mine"), engine="onnxruntime")
    photo = np.asarray(Image.open(pictures / "photos" / "a.png"))
    # AdaIN at relu3_1: its statistics are the style.
    style = model.style(photo, size=96)
    seen = load_encoder().taps(torch.from_numpy(to_float(photo)), 3)[-1]
    assert np.allclose(style.tensor, torch.cat(feature_statistics(seen), 1)[0], atol=1e-3)
    engines = [np.asarray(model.stylize(photo, style)).astype(int),
               np.asarray(impasto.load(tmp_path / "model", engine="torch").stylize(photo, style))]  # fmt: skip
    assert np.abs(engines[0] - engines[1]).max() <= 2


def test_no_other_decoder():
    with pytest.raises(ImpastoError, match="no decoder wavelet: choose adain, concat, bn, in"):
        AdaIN("wavelet")
    with pytest.raises(ImpastoError, match="no layer relu5_1: choose relu3_1, relu4_1"):
        AdaIN(layer="relu5_1")
