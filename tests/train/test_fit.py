"""Fitting styles: nearer to the painting on photos that were not seen, and a style like any other."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.model import find_model
from impasto.style import Style
from impasto.train.data import Pictures
from impasto.train.fit import Fitting, fit_styles


@pytest.fixture(scope="module")
def model():
    return impasto.load(engine="onnxruntime")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of two photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name, picture in {"cup": data.coffee(), "rocket": data.rocket()}.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder


def test_fitted_styles_are_nearer_to_their_pictures_on_other_photos(model, photos, style_losses):
    style = model.style(data.immunohistochemistry(), name="cell", size=256)
    fitting = Fitting(steps=12, batch=2, crop=96, seed=1)
    [fitted] = fit_styles(model, [style], Pictures([str(photos)]), fitting)
    assert (fitted.name, fitted.model, fitted.tensor.dtype) == ("cell", style.model, np.float32)
    before, after = style_losses(model, style, fitted)
    assert after < 0.9 * before
    few = replace(fitting, steps=2)
    [once], [again] = (fit_styles(model, [style], Pictures([str(photos)]), few) for _ in range(2))
    assert np.allclose(again.tensor, once.tensor, rtol=1e-4)


def test_a_style_is_fitted_and_saved(model, vgg19, photos, painting, tmp_path, capfd):
    Image.fromarray(painting).save(tmp_path / "cat.png")
    command = ["style", str(tmp_path / "cat.png"), "-o", str(tmp_path / "cat.style"), "--style-size", "128"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--fit-photos", str(photos), "--fit-steps", "2"])
    assert end.value.code == 0
    capfd.readouterr()  # progress
    fitted, plain = Style.load(tmp_path / "cat.style"), model.style(painting, size=128)
    assert 0 < np.abs(fitted.tensor - plain.tensor).max() < np.abs(plain.tensor).max()

    for wrong, message in (
        (["--fit-steps", "2"], "--fit-steps goes with --fit"),
        (["--fit-photos", str(tmp_path / "none")], "none"),
        (["--fit-photos", str(photos), "--fit-steps", "0"], "fit-steps"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*command, *wrong])
        assert end.value.code == 2
        told = capfd.readouterr().err
        assert message in told
        assert len(told.splitlines()) == 1


def test_only_styles_of_pictures_are_fitted(model, vgg19, photos):
    with pytest.raises(ImpastoError, match="style klimt-kiss cannot be fitted: give the picture that it is of"):
        fit_styles(model, [model.style("klimt-kiss")], Pictures([str(photos)]))
    with pytest.raises(ImpastoError, match="gatys has no style of any picture that could be fitted"):
        fit_styles(impasto.load("gatys"), [], Pictures([str(photos)]))


def test_the_styles_of_a_model_are_fitted(vgg19, photos, painting, tmp_path, capfd):
    folder, gallery = tmp_path / "model", tmp_path / "gallery"
    shutil.copytree(find_model().folder, folder)
    gallery.mkdir()
    command = ["fit", str(folder), "--gallery", str(gallery), "--content", str(photos), "--steps", "2"]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert "has no picture named like a style of adain: see `impasto styles`" in capfd.readouterr().err

    Image.fromarray(painting).resize((96, 64)).save(gallery / "klimt-kiss.png")
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0
    before, after = find_model().gallery, find_model(folder).gallery
    assert list(after) == list(before)
    assert [name for name in after if not np.array_equal(after[name].tensor, before[name].tensor)] == ["klimt-kiss"]
    told = find_model(folder).card.fitted[-1]
    assert told["styles"] == ["klimt-kiss"]
    assert told["settings"]["steps"] == 2
    assert impasto.load(folder).stylize(painting, "klimt-kiss").size == (451, 300)


def test_what_is_not_seen_decides_nothing(model, vgg19, photos, painting):
    photo = np.asarray(Image.fromarray(painting).resize((96, 80)))
    alpha = np.where(np.hypot(*np.mgrid[-40:40, -48:48]) < 36, 255, 0).astype(np.uint8)
    grounds = (255, 0, 0), (0, 255, 0)
    pictures = [np.dstack([np.where(alpha[..., None], photo, np.uint8(ground)), alpha]) for ground in grounds]
    styles = [model.style(picture, name="cat", size=72) for picture in pictures]
    one, other = fit_styles(model, styles, Pictures([str(photos)]), Fitting(steps=2, batch=1, crop=64))
    assert np.array_equal(one.tensor, other.tensor)
