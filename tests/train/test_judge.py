"""Fitting without PyTorch: the gradient is that of PyTorch, and what is fitted is nearer as VGG-19 sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from skimage import data

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.export.gradient import Gradient
from impasto.fitting import GRADIENT, JUDGE, PHOTOS, draw_sky, fit_style, measure_statistics, read_crops
from impasto.losses import style_statistics
from impasto.model import find_model
from impasto.nets import load_network
from impasto.nets.judge import Judge
from impasto.nets.vgg import load_encoder
from impasto.session import open_session
from impasto.style import Style
from impasto.train.judge import Making, make_judge, select, take_judge

NO_JUDGE = shutil.ignore_patterns("fit.*", "judge.*", "*int8*")


@pytest.fixture(scope="module")
def model():
    return impasto.load(engine="onnxruntime")


@pytest.fixture(scope="module")
def judge():
    judge = Judge()
    judge.load_state_dict(load_file(find_model().folder / JUDGE))
    return judge


@pytest.mark.slow
def test_the_gradient_is_that_of_pytorch(model, judge, painting, tmp_path):
    folder, taken = model.model.folder, tmp_path / "model"
    shutil.copytree(folder, taken, ignore=NO_JUDGE)
    take_judge(taken, "adain")
    style = torch.from_numpy(model.style(painting, size=128).tensor)
    crops = torch.from_numpy(next(read_crops(folder / PHOTOS)))
    sky = torch.from_numpy(draw_sky(np.random.default_rng(1)))
    target = torch.cat([part for pair in style_statistics(judge(crops.flip(1)[:1])) for part in pair], 1)[0]
    change = 0.1 * torch.randn(len(style), generator=torch.Generator().manual_seed(0))
    arguments = change, style, crops, sky, judge(crops)[-1], target, torch.tensor(3.0)
    network = load_network(model.model).requires_grad_(False)
    expected, losses = Gradient(network, judge)(*arguments)
    for graph in (folder / GRADIENT, taken / GRADIENT):  # that which ships, and that which is made today
        session = open_session(graph, "adain")
        names = [one.name for one in session.get_inputs()]
        gradient, told = session.run(None, {name: part.numpy() for name, part in zip(names, arguments, strict=True)})
        # In float32, PyTorch itself is off by 4e-4 of what it computes in float64.
        assert np.linalg.norm(gradient - expected.numpy()) < 1e-3 * np.linalg.norm(expected.numpy())
        assert np.allclose(told, losses.numpy(), rtol=1e-4)


def test_statistics_are_those_of_the_losses():
    features = np.random.default_rng(0).random((2, 3, 5, 7), np.float32)
    weight = np.random.default_rng(1).random((9, 14), np.float32)
    [(mean, std)] = style_statistics([torch.from_numpy(features)])
    assert np.allclose(measure_statistics(features), torch.cat([mean, std], 1), atol=1e-6)
    even = np.pad(weight, [(0, 1), (0, 0)], "edge")
    [(mean, std)] = style_statistics([torch.from_numpy(features)], torch.from_numpy(even)[None, None])
    assert np.allclose(measure_statistics(features, weight), torch.cat([mean, std], 1), atol=1e-6)


def test_selection_explains_what_is_repeated():
    first, second, noise = np.random.default_rng(0).normal(size=(3, 1000))
    variables = np.stack([first, first + 0.01 * noise, 3 * second, second, 2 * first])
    assert select(torch.cov(torch.from_numpy(variables)), 2).tolist() == [2, 4]


@pytest.mark.slow
def test_a_judge_is_made(vgg19, photo, painting, tmp_path):
    made, photos = tmp_path / "made", tmp_path / "photos"
    shutil.copytree(find_model().folder, made, ignore=NO_JUDGE)
    photos.mkdir()
    for name, picture in zip("abcd", (photo, painting, data.coffee(), data.rocket()), strict=True):
        Image.fromarray(picture).save(photos / f"{name}.png")
    making = Making(crops=8, samples=4000, steps=2)
    make_judge(made, [str(photos)], [str(photos)], str(photos), making)
    judge = Judge()
    judge.load_state_dict(load_file(made / JUDGE))
    picture = torch.from_numpy(data.immunohistochemistry()[None, :128, :128] / np.float32(255)).permute(0, 3, 1, 2)
    for index, own, all_ in zip((0, 2), judge(picture), load_encoder().taps(picture), strict=False):
        theirs = all_[:, judge.channels()[index]]
        assert F.mse_loss(own, theirs) < 0.1 * theirs.var((2, 3)).mean()

    painter = impasto.load(made, engine="onnxruntime")
    style = painter.style(painting, name="cat", size=64)
    assert not np.array_equal(fit_style(painter, style, steps=1).tensor, style.tensor)


def test_fitted_styles_are_nearer_to_their_pictures(model, style_losses):
    style = model.style(data.immunohistochemistry(), name="cell", size=256)
    fitted = fit_style(model, style, steps=12)
    assert (fitted.name, fitted.model, fitted.tensor.dtype) == ("cell", style.model, np.float32)
    before, after = style_losses(model, style, fitted)
    assert after < 0.9 * before


def test_a_style_is_fitted_without_pytorch(painting, tmp_path):
    Image.fromarray(painting).save(tmp_path / "cat.png")
    code = (
        "import sys; from impasto.cli import main; sys.modules['torch'] = None\n"
        "try: main(['style', 'cat.png', '--fit', '--fit-steps', '1', '--style-size', '96'])\n"
        "except SystemExit as end: sys.exit(end.code)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    plain = impasto.load(engine="onnxruntime").style(painting, size=96)
    assert 0 < np.abs(Style.load(tmp_path / "cat.style").tensor - plain.tensor).max() < np.abs(plain.tensor).max()


def test_what_is_not_seen_decides_nothing(model, painting):
    photo = np.asarray(Image.fromarray(painting).resize((96, 80)))
    alpha = np.where(np.hypot(*np.mgrid[-40:40, -48:48]) < 36, 255, 0).astype(np.uint8)
    grounds = (255, 0, 0), (0, 255, 0)
    pictures = [np.dstack([np.where(alpha[..., None], photo, np.uint8(ground)), alpha]) for ground in grounds]
    one, other = (fit_style(model, model.style(picture, name="cat", size=72), steps=1) for picture in pictures)
    assert np.array_equal(one.tensor, other.tensor)


def test_only_styles_of_pictures_are_fitted(model, vgg19, painting, tmp_path, capfd):
    with pytest.raises(ImpastoError, match="style klimt-kiss cannot be fitted: give the picture that it is of"):
        fit_style(model, model.style("klimt-kiss"))
    Image.fromarray(painting).save(tmp_path / "cat.png")
    command = ["style", str(tmp_path / "cat.png"), "-o", str(tmp_path / "cat.style"), "--style-size", "96"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--fit", "--model", "adain-vgg19"])
    assert end.value.code == 2
    told = capfd.readouterr().err
    assert "adain-vgg19 cannot fit styles by itself: choose adain, or give" in told
    assert len(told.splitlines()) == 1
