"""The measures against independent ones, and what an evaluation hands on."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import Observer, psnr, ssim
from impasto.evaluate.quality import evaluate
from impasto.evaluate.report import Evaluation, record
from impasto.image import center_crop
from impasto.model import find_model

SIZE = 96


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two photos and two style pictures, of several shapes and formats."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, pixels in {
        "photos/astronaut.png": data.astronaut(),
        "photos/coffee.png": data.coffee(),
        "styles/chelsea.png": data.chelsea(),
        "styles/rocket <1969>.png": data.rocket(),
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def evaluation(pictures, vgg19) -> Evaluation:
    return evaluate(["adain"], pictures / "photos", pictures / "styles", size=SIZE, engine="onnxruntime")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Photos with short sides of 512, 1024 and 400 pixels, and a style picture of 300."""
    photos, styles = (tmp_path_factory.mktemp(name) for name in ("photos", "styles"))
    coffee = Image.fromarray(data.coffee())
    Image.fromarray(data.astronaut()).save(photos / "astronaut.png")
    coffee.resize((1536, 1024)).save(photos / "large coffee.png")
    coffee.save(photos / "small coffee.png")
    Image.fromarray(data.chelsea()).save(styles / "chelsea.png")
    return [photos, styles]


@pytest.fixture(scope="module")
def looks() -> list[tuple[int, ...]]:
    """Shapes of what VGG-19 has looked at for `scaled`."""
    return []


@pytest.fixture(scope="module")
def scaled(folders, vgg19, looks) -> Evaluation:
    look = Observer.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Observer, "__call__", lambda self, pixels: looks.append(pixels.shape) or look(self, pixels))
        return evaluate(["adain"], *folders, scales=(2048, 512, 1024, 512), engine="onnxruntime")


def noisy(pixels: np.ndarray, level: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, level, pixels.shape)
    return np.uint8(np.clip(pixels + noise, 0, 255))


@pytest.mark.parametrize("level", [0, 3, 30])
def test_ssim_is_that_of_scikit_image(level):
    photo = data.coffee()[:123, :211]
    other = noisy(photo, level)
    lumas = [pixels @ np.array([0.299, 0.587, 0.114]) for pixels in (photo, other)]
    expected = structural_similarity(
        *lumas, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(photo, other) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_unrelated_pictures_is_low_and_symmetric():
    first, second = data.astronaut()[:200, :200], data.chelsea()[:200, :200]
    assert ssim(first, second) < 0.3
    assert ssim(first, second) == pytest.approx(ssim(second, first), abs=1e-12)


def test_psnr_is_that_of_scikit_image():
    photo = data.coffee()
    assert psnr(photo, noisy(photo, 10)) == pytest.approx(peak_signal_noise_ratio(photo, noisy(photo, 10)))
    assert psnr(photo, photo) == math.inf


def taps(weights: dict[str, np.ndarray], pixels: np.ndarray) -> list[np.ndarray]:
    """relu1_1, 2_1, 3_1, 4_1 of the normalised VGG-19 in float64, written down without impasto's network."""
    image = torch.from_numpy(pixels / 255.0).permute(2, 0, 1)[None]
    layers = {int(key.split(".")[0]): (torch.from_numpy(weights[key]).double(),
                                       torch.from_numpy(weights[key.replace("weight", "bias")]).double())
              for key in weights if key.endswith("weight")}  # fmt: skip
    image = F.conv2d(image, *layers.pop(0))
    seen = []
    for index, (weight, bias) in sorted(layers.items()):
        if index in (9, 16, 29):
            image = F.max_pool2d(image, 2)
        image = F.relu(F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), weight, bias))
        if index in (2, 9, 16, 29):
            seen.append(image[0].flatten(1).numpy())
    return seen


def distance(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    def deviation(tap: np.ndarray) -> np.ndarray:
        return np.sqrt(tap.var(1) + 1e-5)

    pairs = list(zip(first, second, strict=True))
    return sum(np.mean((a.mean(1) - b.mean(1)) ** 2) + np.mean((deviation(a) - deviation(b)) ** 2) for a, b in pairs)


def test_scores_are_the_losses_of_the_paper(evaluation, pictures, vgg19):
    model = impasto.load(engine="onnxruntime")
    for score in evaluation.scores:
        photo = center_crop(np.asarray(Image.open(pictures / "photos" / score.photo)), SIZE)
        style = center_crop(np.asarray(Image.open(pictures / "styles" / score.style)), SIZE)
        painted = photo
        if score.model == "adain":
            painted = np.asarray(model.stylize(photo, model.style(style, size=SIZE)))
            assert score.seconds > 0
        seen, own, target = (taps(vgg19, pixels) for pixels in (painted, photo, style))
        assert score.content == pytest.approx(np.mean((seen[-1] - own[-1]) ** 2), rel=1e-3)
        assert score.style_loss == pytest.approx(distance(seen, target), rel=1e-3)
        assert score.ssim == pytest.approx(ssim(painted, photo))


def test_rows_are_means_over_all_pairs_and_begin_with_the_unchanged_content(evaluation):
    unchanged, row = evaluation.rows
    assert (unchanged.model, unchanged.content, unchanged.ssim, unchanged.seconds) == ("unchanged content", 0, 1, None)
    scores = [score for score in evaluation.scores if score.model == "adain"]
    assert unchanged.pairs == row.pairs == len(scores) == 4
    assert row.content == pytest.approx(np.mean([score.content for score in scores]))
    assert row.style == pytest.approx(np.mean([score.style_loss for score in scores]))
    assert 0 < row.style < unchanged.style
    assert row.seconds == pytest.approx(np.median([score.seconds for score in scores]))


def test_reconstruction_is_that_of_the_network_alone(evaluation, pictures):
    model = impasto.load(engine="onnxruntime")
    similarity, ratio = [], []
    for path in sorted((pictures / "photos").iterdir()):
        photo = center_crop(np.asarray(Image.open(path)), SIZE)
        back = model.reconstruct(photo)
        similarity.append(ssim(back, photo))
        ratio.append(peak_signal_noise_ratio(photo, back))
    assert evaluation.rows[1].reconstruction_ssim == pytest.approx(np.mean(similarity), abs=1e-4)
    assert evaluation.rows[1].reconstruction_psnr == pytest.approx(np.mean(ratio), abs=1e-2)


def test_json_says_under_which_conditions_the_figures_hold(evaluation):
    report = json.loads(json.dumps(evaluation.to_json()))
    assert (report["size"], report["engine"]) == (SIZE, "onnxruntime")
    assert "Lanczos" in report["resize"]
    assert report["photos"] == ["astronaut.png", "coffee.png"]
    assert report["models"][1]["style"] == evaluation.rows[1].style
    assert len(report["pairs"]) == 8


def test_page_holds_the_table_and_every_picture(evaluation, tmp_path):
    evaluation.write_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 2 + 2 + 4
    assert 'src="http' not in page
    assert "rocket &lt;1969&gt;" in page
    assert f"{evaluation.rows[1].style:.3f}" in page
    assert "2 photos x 2 styles, size 96" in page


def test_table_has_a_line_for_each_row(evaluation):
    made = evaluation.table()
    assert made.row_count == 2
    assert list(made.columns[0].cells) == ["unchanged content", "adain"]
    assert list(made.columns[2].cells) == [f"{row.style:.3f}" for row in evaluation.rows]


def test_limit_takes_the_first_photos(pictures, vgg19):
    few = evaluate(["adain"], pictures / "photos", pictures / "styles", size=32, engine="onnxruntime", limit=1)
    assert list(few.photos) == ["astronaut.png"]
    assert [row.pairs for row in few.rows] == [2, 2]


def test_figures_are_recorded_in_the_card_of_the_model_they_were_measured_on(evaluation, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(find_model("adain").folder, folder)
    record(evaluation, folder)
    card = find_model(folder).card
    assert card.quality["style_loss"] == round(evaluation.rows[1].style, 3)
    assert (card.quality["size"], card.quality["pairs"]) == (SIZE, 4)
    assert replace(card, quality=None) == replace(find_model("adain").card, quality=None)

    other = replace(card, fingerprint="0" * 16)
    other.write(folder)
    with pytest.raises(ImpastoError, match="was not evaluated"):
        record(evaluation, folder)
    assert find_model(folder).card == other


@pytest.mark.slow
def test_at_scales_there_is_a_row_for_each_that_some_photo_has(scaled, tmp_path):
    names = ["unchanged content", "adain"]
    found = [(row.model, row.scale, row.pairs) for row in scaled.rows]
    assert found == [(name, scale, pairs) for scale, pairs in ((512, 2), (1024, 1)) for name in names]
    assert list(scaled.photos) == ["astronaut.png", "large coffee.png"]
    assert list(scaled.table().columns[1].cells) == ["512", "512", "1024", "1024"]
    report = json.loads(json.dumps(scaled.to_json()))
    assert report["scales"] == [512, 1024, 2048]
    assert [row["scale"] for row in report["models"]] == [512, 512, 1024, 1024]
    assert "as they are" in report["resize"]
    scaled.write_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 2 + 1 + 2
    assert page.count("; 1024: content ") == 1
    assert all(f"<td>{row.scale}</td><td>{row.content:.2f}</td>" in page for row in scaled.rows)
    with pytest.raises(ImpastoError, match="evaluate without scales"):
        record(scaled, "adain")


@pytest.mark.slow
def test_the_scale_of_a_photo_as_it_is_gives_the_figures_of_that_size(scaled, folders):
    plain = evaluate(["adain"], *folders, engine="onnxruntime", limit=1)
    own = [score for score in scaled.scores if score.photo == "astronaut.png"]
    assert [replace(score, seconds=None, scale=None) for score in own] == [
        replace(score, seconds=None) for score in plain.scores
    ]
    assert all("scale" not in entry for key in ("models", "pairs") for entry in plain.to_json()[key])


@pytest.mark.slow
def test_at_a_scale_the_middle_of_the_whole_painting_is_compared(scaled, folders):
    photos, styles = folders
    picture = Image.open(styles / "chelsea.png")
    model = impasto.load(engine="onnxruntime")
    photo = Image.open(photos / "large coffee.png")
    painted = model.stylize(np.asarray(photo), model.style(center_crop(np.asarray(picture), 512)))
    middle = [
        np.asarray(image.resize(size, Image.Resampling.LANCZOS))[:, left : left + 512]
        for image, size, left in (
            (Image.fromarray(np.asarray(painted)), (768, 512), 128),
            (photo, (768, 512), 128),
            (picture, (770, 512), 129),
        )
    ]
    seen, own, target = map(Observer(), middle)
    [score] = [s for s in scaled.scores if (s.model, s.photo, s.scale) == ("adain", "large coffee.png", 512)]
    assert score.content == pytest.approx(seen.content_loss(own))
    assert score.style_loss == pytest.approx(seen.style_loss(target.style))
    assert score.ssim == pytest.approx(ssim(middle[0], middle[1]))


@pytest.mark.slow
def test_vgg19_looks_once_at_each_photo_and_style_picture_and_painting_at_each_scale(scaled, looks):
    assert looks == [(512, 512, 3)] * (3 + 2 + 3)


def test_scales_of_no_photo_are_said_in_one_line(folders):
    with pytest.raises(ImpastoError, match="no photo has a short side of 4096 pixels or more: take larger ones"):
        evaluate(["adain"], *folders, scales=[4096, 10**9])
    with pytest.raises(ImpastoError, match="scales must be 512 pixels or more, not none"):
        evaluate(["adain"], *folders, scales=())


@pytest.mark.parametrize("text", ["0", "-1", "511", "512,0", "large", "512,", "", "512.5", "1024", "512 --record"])
def test_bad_scales_are_said_in_one_line(text, folders, vgg19, capsys):
    scales, *more = text.split(" ")
    if text == "1024":
        more = ["--limit", "1"]  # of a short side of 512
    content, style = map(str, folders)
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", "adain", "--content", content, "--style", style, "--scales", scales, *more])
    out, err = capsys.readouterr()
    assert (exit.value.code, out) == (2, "")
    assert err.startswith("impasto: ")
    assert err.count("\n") == 1


def test_what_cannot_be_evaluated_is_said_in_one_line(pictures, vgg19, tmp_path):
    photos, styles = pictures / "photos", pictures / "styles"
    with pytest.raises(ImpastoError, match="no model to evaluate"):
        evaluate([], photos, styles)
    with pytest.raises(ImpastoError, match="no model nosuch"):
        evaluate(["nosuch"], photos, styles)
    with pytest.raises(ImpastoError, match="limit must be 1 photo or more, not 0"):
        evaluate(["adain"], photos, styles, limit=0)
    with pytest.raises(ImpastoError, match="size must be 16 or more, not 8"):
        evaluate(["adain"], photos, styles, size=8)
    with pytest.raises(ImpastoError, match="there is no folder or file"):
        evaluate(["adain"], tmp_path / "missing", styles)
    (tmp_path / "broken.jpg").write_bytes(b"text")
    with pytest.raises(ImpastoError, match=r"broken\.jpg: .*not a picture"):
        evaluate(["adain"], tmp_path, styles, size=32)


def test_several_folders_count_together(folders, pictures, vgg19, capsys, tmp_path):
    Image.fromarray(data.coffee()).save(tmp_path / "coffee.png")
    styles = str(pictures / "styles"), str(tmp_path)
    command = ["evaluate", "adain", "--content", str(pictures / "photos"), "--size", "64", "--limit", "1", "--json"]
    with pytest.raises(SystemExit) as exit:
        main([*command, *(part for folder in styles for part in ("--style", folder))])
    assert exit.value.code == 0
    assert [row["pairs"] for row in json.loads(capsys.readouterr().out)["models"]] == [3, 3]
    with pytest.raises(ImpastoError, match=r"two pictures are called chelsea\.png: rename one"):
        evaluate(["adain"], pictures / "photos", [pictures / "styles", folders[1]])
