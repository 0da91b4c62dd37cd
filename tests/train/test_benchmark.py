"""The field's table: each measure against one written down independently, and the run of a small benchmark."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax
from scipy.stats import wasserstein_distance
from skimage import data

from impasto.cli import main
from impasto.evaluate import benchmark
from impasto.evaluate.benchmark import (
    Similarities,
    bootstrap,
    color_histogram,
    histogram_loss,
    sliced_wasserstein,
    slices,
)
from impasto.evaluate.metrics import Observer


def features(seed: int, channels: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(1, 2, (1, channels, *shape)).astype(np.float32))


def test_cfsd_is_the_divergence_of_self_similarities(monkeypatch):
    painted, photo = features(0, 12, 9, 7), features(1, 12, 9, 7)

    def similarity(tap: torch.Tensor) -> np.ndarray:
        vectors = tap.double().numpy()[0].reshape(12, -1).T / 12
        return log_softmax(vectors @ vectors.T, axis=1)

    own, goal = similarity(painted), similarity(photo)
    expected = (np.exp(goal) * (goal - own)).sum()
    assert Similarities(photo).cfsd(painted) == pytest.approx(expected, rel=1e-4)
    monkeypatch.setattr(benchmark, "_ROWS", 10)  # in several pieces
    assert Similarities(photo).cfsd(painted) == pytest.approx(expected, rel=1e-4)
    assert Similarities(photo).cfsd(photo) == pytest.approx(0, abs=1e-6)


def test_cfsd_of_real_features_is_exact_though_they_differ_little():
    observe = Observer()
    photo, painted = (observe.taps(picture)[2] for picture in (data.astronaut()[:96, :96], data.coffee()[:96, :96]))
    own, goal = (features[0].flatten(1).T.double() / features.shape[1] for features in (painted, photo))
    own, goal = (log_softmax((vectors @ vectors.T).numpy(), axis=1) for vectors in (own, goal))
    expected = (np.exp(goal) * (goal - own)).sum()
    assert 0 < expected < 0.1
    assert Similarities(photo).cfsd(painted) == pytest.approx(expected, rel=1e-5)


def test_histograms_are_those_of_histogan():
    picture = data.astronaut()[:40, :30]
    found = color_histogram(picture).numpy()
    expected = np.zeros((3, 64, 64))
    centers = np.linspace(-3, 3, 64)
    for pixel in picture.reshape(-1, 3) / 255:
        for channel, (b, c) in enumerate(((1, 2), (0, 2), (0, 1))):
            u, v = (np.log((pixel[channel] + 1e-6) / (pixel[other] + 1e-6)) for other in (b, c))
            weights = [1 / (1 + ((ratio - centers) / 0.02) ** 2) for ratio in (u, v)]
            expected[channel] += np.sqrt((pixel**2).sum() + 1e-6) * np.outer(*weights)
    expected /= expected.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)

    other = color_histogram(data.coffee())  # which is scaled first
    hellinger = np.sqrt(((np.sqrt(expected) - np.sqrt(other.numpy())) ** 2).sum() / 2)
    assert histogram_loss(color_histogram(picture), other) == pytest.approx(hellinger)
    assert histogram_loss(other, other) == 0


def test_sliced_wasserstein_is_that_of_every_direction():
    taps = [features(2, 3, 30, 20), features(3, 8, 5, 6)]
    others = [features(4, 3, 30, 20) + 1, features(5, 8, 5, 6)]
    expected = 0.0
    for first, second in zip(taps, others, strict=True):
        clouds = [tap[0].flatten(1).double().numpy() for tap in (first, second)]
        channels = len(clouds[0])
        draws = torch.randn(32, channels, generator=torch.Generator().manual_seed(channels)).double().numpy()
        for direction in draws / np.linalg.norm(draws, axis=1, keepdims=True):
            a, b = (np.sort(direction @ cloud) for cloud in clouds)
            assert np.abs(a - b).mean() == pytest.approx(wasserstein_distance(a, b))  # sorted is how mass moves least
            expected += ((a - b) ** 2).mean() / 32
    assert sliced_wasserstein(slices(taps), slices(others)) == pytest.approx(expected, rel=1e-5)
    fine = slices([features(6, 3, 512, 512)])[0]
    assert fine.shape == (32, 256 * 256)


def test_intervals_count_photos_and_artworks_and_not_pairs():
    rows, columns = np.repeat([*"abcd"], 5), np.tile([*"vwxyz"], 4)
    photo_decides = np.repeat([0.0, 1.0, 2.0, 3.0], 5)
    low, high = bootstrap(photo_decides, rows, columns)
    # Means of four of 0..3, drawn with replacement: their deviation is sqrt(1.25 / 4).
    assert low == pytest.approx(1.5 - 1.96 * np.sqrt(1.25 / 4), abs=0.25)
    assert high == pytest.approx(1.5 + 1.96 * np.sqrt(1.25 / 4), abs=0.25)
    assert bootstrap([2.0] * 20, rows, columns) == (2, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("benchmark")
    for name, picture in {
        "content/cat": data.chelsea(),
        "style/brick": data.brick(),
        "style/cells": data.retina(),
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).convert("RGB").save(root / f"{name}.png")
    return root


def test_a_benchmark_has_bounds_goes_on_where_it_stopped_and_says_what_it_cannot_read(
    folder, vgg19, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(benchmark, "SIZE", 64)
    table = tmp_path / "pairs.csv"
    command = ["evaluate", "adain", "--protocol", "styleid", str(folder), "-o", str(table), "--engine", "onnxruntime"]

    def run(*more: str) -> list[dict]:
        with pytest.raises(SystemExit) as end:
            main([*command, "--json", *more])
        assert end.value.code == 0
        return json.loads(capsys.readouterr().out)

    photo, artwork, adain = rows = run()
    assert [row["model"].split(" ")[0] for row in rows] == ["the", "the", "adain"]
    assert {row["pairs"] for row in rows} == {2}
    assert (photo["means"]["content"], photo["means"]["cfsd"], photo["means"]["ssim"]) == pytest.approx(
        (0, 0, 1), abs=1e-5
    )
    assert (artwork["means"]["style"], artwork["means"]["swd"], artwork["means"]["histogram"]) == (0, 0, 0)
    for name in ("content", "cfsd"):
        assert 0 < adain["means"][name] < artwork["means"][name]
    for name in ("style", "swd", "histogram"):
        assert 0 < adain["means"][name] < photo["means"][name]
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert len(lines) == 6
    assert np.mean([float(line["cfsd"]) for line in lines[2::3]]) == pytest.approx(adain["means"]["cfsd"], rel=1e-5)

    whole = table.read_text()
    table.write_text(whole[: whole.rindex("adain") + 20])  # stopped in the middle of a line
    assert [row["means"] for row in run()] == [pytest.approx(row["means"], rel=1e-5) for row in rows]
    assert table.read_text() == whole

    table.write_text("a,b\n1,2\n")
    for arguments, words in {
        (*command,): "is no table of this benchmark",
        (*command[:2], "--protocol", "other", str(folder)): "there is no protocol other",
        (*command, "--style", str(folder)): "--protocol names its own pictures",
        ("evaluate", "adain", "--content", str(folder)): "--style is missing",
    }.items():
        with pytest.raises(SystemExit) as end:
            main([*arguments])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        assert words in err
    assert table.read_text() == "a,b\n1,2\n"
