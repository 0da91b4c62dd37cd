"""The compact model in eight bits: nearly the same pictures, taken where they are faster."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto.cli import main
from impasto.controls import Controls
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import psnr
from impasto.graph import GraphStylizer
from impasto.model import INT8, find_model
from impasto.stylizer import Memory

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def models():
    return impasto.load(precision="int8"), impasto.load(engine="onnxruntime")


def test_pictures_are_nearly_those_of_float32(models, photo, painting):
    eight, full = models
    found = []
    for picture in (photo, data.coffee(), data.rocket()):
        for style in (full.style(painting), full.style("klimt-kiss"), full.style("hokusai-great-wave")):
            small = np.asarray(Image.fromarray(picture).resize((256, 192)))
            found.append(psnr(np.asarray(eight.stylize(small, style)), np.asarray(full.stylize(small, style))))
    assert np.mean(found) > 34
    assert min(found) > 28


def test_styles_are_those_of_float32(models, painting):
    eight, full = models
    assert np.array_equal(eight.style(painting).tensor, full.style(painting).tensor)
    assert eight.fingerprint == full.fingerprint


def test_precision_is_chosen_and_told(models):
    assert models[0].engine_name == "openvino int8"
    assert impasto.load(engine="openvino", precision="fp32").engine_name == "openvino"
    assert impasto.load(engine="onnxruntime").engine_name == "onnxruntime"
    for wrong, message in (
        ({"precision": "int4"}, "no precision int4: choose auto, fp32, fp16 or int8"),
        ({"precision": "int8", "engine": "onnxruntime"}, "int8 runs on OpenVINO only"),
        ({"precision": "int8", "model": "adain-vgg19"}, "has no int8 graph"),
        ({"precision": "fp16"}, "fp16 runs on PyTorch only: choose the engine torch"),
        ({"device": "cuda"}, "the device cuda is for PyTorch: choose the engine torch"),
        ({"device": "abacus", "engine": "torch"}, "cannot compute on the device abacus: .*; leave it out"),
        ({"device": "cpu", "model": "gatys"}, "leave engine, precision and device out"),
    ):
        with pytest.raises(ImpastoError, match=message):
            impasto.load(**wrong)


def test_a_clip_of_one_size_is_painted_as_single_frames_are(models, photo):
    """Graphs compiled for the shapes of a clip compute the same, up to rounding."""
    full = impasto.load(engine="openvino", precision="fp32")
    style = full.style("klimt-kiss")
    plan = full.plan(full.mix(style), Controls())
    once = np.asarray(full.stylize(photo[:200, :240], style)).astype(int)
    frame = full.paint(photo[:200, :240], plan, memory=Memory(0.0))
    assert np.abs(frame - once).max() <= 1


def test_damage_is_noticed(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(find_model().folder, folder)
    (folder / INT8).with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ImpastoError, match=r"content-int8.xml is damaged.*--precision fp32"):
        impasto.load(folder, precision="int8")
    impasto.load(folder, precision="fp32")


@pytest.mark.slow
def test_a_model_is_quantized(tmp_path, vgg19, photo, painting, capfd):
    pytest.importorskip("nncf")
    folder = tmp_path / "model"
    shutil.copytree(find_model().folder, folder)
    before = (folder / INT8).read_bytes()
    for kind, pictures in {
        "content": (photo, data.coffee(), data.rocket(), data.cat()),
        "style": (painting, data.immunohistochemistry(), data.retina(), data.colorwheel()),
    }.items():
        (tmp_path / kind).mkdir()
        for number, picture in enumerate(pictures):
            for half, part in enumerate(np.array_split(picture[..., :3], 4)):
                Image.fromarray(part).save(tmp_path / kind / f"{number}{half}.png")
    with pytest.raises(SystemExit) as end:
        main(["quantize", str(folder), "--content", str(tmp_path / "content"), "--style", str(tmp_path / "style"),
              "--pairs", "40"])  # fmt: skip
    assert end.value.code == 2
    assert "16 pictures are too few, 52 are needed" in capfd.readouterr().err
    assert (folder / INT8).read_bytes() == before

    with pytest.raises(SystemExit) as end:
        main(["quantize", str(folder), "--content", str(tmp_path / "content"), "--style", str(tmp_path / "style"),
              "--pairs", "4"])  # fmt: skip
    assert end.value.code == 0
    assert (folder / INT8).read_bytes() != before
    model = find_model(folder)
    assert model.card.int8["pairs"] == 4
    size = sum((folder / name).stat().st_size for name in (INT8, "content-int8.bin"))
    assert size < 3_000_000
    eight, full = GraphStylizer(model, precision="int8"), GraphStylizer(model, "onnxruntime")
    plan = full.plan(full.mix(painting), Controls())
    small = np.ascontiguousarray(photo[::2, ::2])
    assert psnr(eight.paint(small, plan), full.paint(small, plan)) > 28
