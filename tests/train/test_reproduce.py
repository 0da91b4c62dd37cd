"""The experiments of the paper, small: each writes its page and its table, from systems that really run."""

from __future__ import annotations

import csv
import re

import pytest
from PIL import Image
from skimage import data

from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.evaluate import paper
from impasto.evaluate.controls import controls


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """Two photos and four style pictures."""
    root = tmp_path_factory.mktemp("pictures")
    for kind, pictures in {
        "content": {"astronaut": data.astronaut(), "cat": data.chelsea()},
        "style": {"bricks": data.brick(), "grass": data.grass(), "gravel": data.gravel(), "coffee": data.coffee()},
    }.items():
        (root / kind).mkdir()
        for name, pixels in pictures.items():
            image = Image.fromarray(pixels).convert("RGB")
            image.thumbnail((160, 160))
            image.save(root / kind / f"{name}.png")
    return str(root / "content"), str(root / "style")


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_losses_say_how_many_iterations_a_system_is_worth(vgg19, folders, tmp_path):
    [evaluation] = paper.losses(*folders, tmp_path, systems=["adain", "style-swap"], sizes=[64], fast=True)
    unchanged, adain, swap = rows(tmp_path / "losses.csv")
    assert [row["system"] for row in (unchanged, adain, swap)] == ["unchanged content", "adain", "style-swap"]
    assert unchanged["Gatys iterations"] == "0"
    assert float(adain["style loss"]) < float(unchanged["style loss"])
    assert int(adain["pairs"]) == 4
    assert re.fullmatch(r"\d+|more than 50", adain["Gatys iterations"])
    assert adain["Gatys iterations"] != "0"
    assert [row.model for row in evaluation.rows] == ["unchanged content", "adain", "style-swap"]
    page = (tmp_path / "losses.html").read_text()
    assert page.count("<svg") == 1
    assert page.count("<img") == 4 * 4  # photo, style and two systems for each pair


@pytest.mark.slow
def test_speed_gives_ratios_to_the_first_system(vgg19, folders, tmp_path, capsys):
    systems = ["adain", "gatys", "style-swap"]
    paper.speed(*folders, tmp_path, systems=systems, sizes=[48], fast=True, options={"inverse": "network"})
    adain, gatys, swap = rows(tmp_path / "speed.csv")
    assert adain["x adain"] == "1.0"
    assert float(gatys["seconds"]) > 10 * float(adain["seconds"])
    assert [row["engine"] for row in (gatys, swap)] == ["torch", "torch"]
    for row in (gatys, swap):
        assert row["seconds"] == row["with taking the style"]
    assert float(swap["seconds"]) < float(gatys["seconds"])
    page = (tmp_path / "speed.html").read_text()
    assert "of which follows what all would take" in page
    parts = re.findall(
        r"(encoding the photo|encoding the style|the swap|the inverse network) [\d.]+ s \((\d+)%\)", page
    )
    assert len(parts) == 4
    assert sum(int(share) for _, share in parts) == pytest.approx(100, abs=2)
    assert re.search(r"impasto: this will take about [\d.]+ (minutes|hours) here", capsys.readouterr().err)
    with pytest.raises(ImpastoError, match="strokes is no option of gatys"):
        paper.speed(*folders, tmp_path, systems=["gatys"], options={"strokes": "2"})


def test_what_is_done_once_counts_once():
    seconds = [3 + 0.5 * 100 / share for share in (20, 10, 1)]  # 3 s once, and 100 iterations of half a second
    assert paper._extrapolated(seconds[:2], [20, 10]) == pytest.approx(seconds[2])
    assert paper._extrapolated([7.0], [1]) == 7.0


def test_the_ablation_shows_what_each_decoder_paints(vgg19, folders, tmp_path):
    paper.ablation(*folders, tmp_path, steps=1, settings={"crop": 32, "batch": 2})
    page = (tmp_path / "ablation.html").read_text()
    assert page.count("<img") == 4 + 4 * 4  # two photos and two styles; each pair by four decoders
    assert page.count("<use ") > 0  # markers, where there are few points


def test_controls_show_what_they_control(vgg19, folders, tmp_path):
    controls(*folders, tmp_path, size=64)
    found = {(row["figure"], row["setting"]): row for row in rows(tmp_path / "controls.csv")}
    strengths = [row for (figure, _), row in found.items() if figure == "strength"]
    to_style = [float(row["style loss to bricks"]) for row in strengths]
    assert to_style == sorted(to_style, reverse=True)
    contents = [float(row["content loss"]) for row in strengths]
    assert 0 < contents[0] < contents[-1]  # of 0 the network's reconstruction is shown, and not the photo
    corner = found["interpolation", "0 : 0 : 0 : 100"]
    assert float(corner["style loss to gravel"]) < float(
        found["interpolation", "100 : 0 : 0 : 0"]["style loss to gravel"]
    )
    assert len(found) == 5 + 25 + 3 + 1
    assert (tmp_path / "controls.html").read_text().count("<img") == 5 + len(found)


def test_controls_need_four_styles(vgg19, folders, tmp_path):
    with pytest.raises(ImpastoError, match="4 style pictures"):
        controls(folders[0], folders[0], tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [("--steps -1", "'--steps': "), ("--steps 0", "'--steps': "), ("-o {file}", "is a file: name a folder")],
)
def test_wrong_options_are_one_line(folders, tmp_path, capsys, options, said):
    (tmp_path / "file").write_text("text")
    arguments = options.format(file=tmp_path / "file").split()
    with pytest.raises(SystemExit) as exit_:
        main(["reproduce", "ablation", "--content", folders[0], "--style", folders[1], *arguments])
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said in error
    assert len(error.splitlines()) == 1
