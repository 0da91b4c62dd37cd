"""The systems that optimise or match while they paint, with the real VGG-19 on small pictures."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import Observer
from impasto.image import center_crop, to_float
from impasto.methods import METHODS, method_options
from impasto.methods.base import Before, enough_memory
from impasto.methods.mrf import turned
from impasto.methods.optimise import Descent, descend, hold

SIZE = 80
PHOTO, CAT, COFFEE = (center_crop(picture(), SIZE) for picture in (data.astronaut, data.chelsea, data.coffee))

pytestmark = pytest.mark.usefixtures("vgg19")


@pytest.fixture(scope="module")
def observe() -> Observer:
    return Observer()


def paint(name: str, photo=PHOTO, styles=CAT, controls=None, **options) -> np.ndarray:
    painter = impasto.load(name, **options)
    return np.asarray(painter.stylize(photo, styles, style_size=SIZE, **(controls or {})))


@pytest.mark.parametrize("layer", ["relu3_1", "relu4_1"])
def test_the_inverse_network_brings_the_swapped_style(layer, observe):
    style = observe(CAT).style
    painted = observe(paint("style-swap", layer=layer, inverse="network", normalise="true"))
    assert painted.style_loss(style) < observe(PHOTO).style_loss(style)


@pytest.mark.parametrize("loss", ["mean_std", "histogram", "mmd_gaussian", "mrf"])
def test_gatys_with_another_style_loss(loss, observe):
    style = observe(CAT).style
    painted = observe(paint("gatys", style_loss=loss, iterations=15))
    assert painted.style_loss(style) < 0.6 * observe(PHOTO).style_loss(style)


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_from_noise(optimiser, observe):
    style = observe(CAT).style
    first, second = (paint("gatys", start="noise", optimiser=optimiser, iterations=20, seed=3) for _ in range(2))
    assert np.array_equal(first, second)
    assert observe(first).style_loss(style) < 0.6 * observe(PHOTO).style_loss(style)


def test_the_papers_objective_written_out(tmp_path, vgg19, monkeypatch):
    """Content at relu4_2, Gram matrices at relu1_1 to relu5_1 in fifths, average pooling, nothing else."""
    torch.manual_seed(0)
    weights = {key: torch.from_numpy(value) for key, value in vgg19.items()}
    for index in (32, 35, 38, 42):
        weights |= {f"{index}.weight": 0.03 * torch.randn(512, 512, 3, 3), f"{index}.bias": torch.zeros(512)}
    torch.save(weights, tmp_path / "vgg_normalised.pth")
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    made = []

    def descend(content, objective, options, *_):
        made.append((content, objective(content, 1.0, content), options))
        return content

    monkeypatch.setattr("impasto.methods.optimise.descend", descend)
    paint("gatys", preset="paper", style_weight=30, content_weight=2)
    paint("gatys", preset="paper", style_weight=30, content_weight=2, style_softness=0.7)
    [(content, total, options), (_, softened, _)] = made
    assert (options.start, options.levels, options.tv_weight, options.optimiser) == ("noise", 1, 0, "lbfgs")

    def layers(x):
        found, index = {}, 2
        x = F.conv2d(x, weights["0.weight"], weights["0.bias"])
        for block, count in enumerate((2, 2, 4, 4, 1), 1):
            x = x if block == 1 else F.avg_pool2d(x, 2)
            for number in range(1, count + 1):
                x = F.pad(x, (1, 1, 1, 1), mode="reflect")
                x = F.relu(F.conv2d(x, weights[f"{index}.weight"], weights[f"{index}.bias"]))
                found[f"relu{block}_{number}"] = x[0].flatten(1)
                index += 3
            index += 1
        return found

    picture = torch.rand_like(content)
    seen, own, target = (layers(x) for x in (picture, content, torch.from_numpy(to_float(CAT))))
    content_part = 2 * (seen["relu4_2"] - own["relu4_2"]).square().mean().item()
    style_part = 0.0
    for block in range(1, 6):
        one, other = (x[f"relu{block}_1"] for x in (seen, target))
        grams = one @ one.T / one.shape[1], other @ other.T / other.shape[1]
        style_part += (grams[0] - grams[1]).square().mean().item() / 5
    assert total(picture).item() == pytest.approx(content_part + 30 * style_part, rel=1e-4)
    soft = 0.7 * np.log(1 + style_part / 0.7)
    assert softened(picture).item() == pytest.approx(content_part + 30 * soft, rel=1e-4)


def test_from_a_given_picture():
    assert np.abs(paint("gatys", start=CAT, iterations=1).astype(int) - CAT).mean() < 3


@pytest.mark.parametrize("name", METHODS)
def test_masks_take_each_style_to_its_region(name, observe):
    left = np.zeros((SIZE, SIZE))
    left[:, : SIZE // 2] = 1
    styles, options = [CAT, COFFEE], {"iterations": 12}
    halves = (slice(None), slice(SIZE // 2)), (slice(None), slice(SIZE // 2, None))
    one, other = (paint(name, styles=styles, controls={"masks": masks}, **options)
                  for masks in ([left, 1 - left], [1 - left, left]))  # fmt: skip
    cat, coffee = (observe(style).style for style in styles)
    for half, here, there in ((halves[0], cat, coffee), (halves[1], coffee, cat)):
        assert observe(one[half]).style_loss(here) < observe(other[half]).style_loss(here)
        assert observe(other[half]).style_loss(there) < observe(one[half]).style_loss(there)
    alone = paint(name, styles=styles, controls={"masks": [left, 0.001 * left]}, **options)
    assert np.array_equal(alone[halves[1]], PHOTO[halves[1]])


@pytest.mark.parametrize("name", METHODS)
def test_weights_lean_towards_a_style(name, observe):
    painter = impasto.load(name, iterations=10)
    cat, coffee = (painter.style(picture, size=SIZE) for picture in (CAT, COFFEE))
    losses = []
    for share in (0.9, 0.1):
        seen = observe(np.asarray(painter.stylize(PHOTO, {cat: share, coffee: 1 - share})))
        losses.append(seen.style_loss(observe(CAT).style) - seen.style_loss(observe(COFFEE).style))
    assert losses[0] < losses[1]


@pytest.mark.parametrize("name", METHODS)
def test_strength(name, observe):
    style = observe(CAT).style
    assert np.array_equal(paint(name, controls={"strength": 0}), PHOTO)
    weak, full = (
        observe(paint(name, controls={"strength": strength}, iterations=10)).style_loss(style) for strength in (0.3, 1)
    )
    assert full < weak < observe(PHOTO).style_loss(style)


def test_coarse_to_fine_and_snapshots(tmp_path):
    painted = paint("gatys", iterations=8, levels=2, every=4, snapshots=tmp_path)
    assert painted.shape == PHOTO.shape
    sizes = {path.stem: Image.open(path).width for path in sorted(tmp_path.iterdir())}
    assert sizes == {"gatys-00004": SIZE // 2, "gatys-00008": SIZE // 2, "gatys-00012": SIZE}


def test_a_file_in_the_place_of_the_snapshots_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ImpastoError, match="file is a file: name a folder"):
        paint("gatys", iterations=100_000, snapshots=tmp_path / "file")


def test_ctrl_c_gives_the_best_so_far(tmp_path, capfd, observe):
    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # Where Python was started in the background of a script, it ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt).start()
        painted = paint("gatys", iterations=2_000, every=8, snapshots=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "stopped, this is the best so far" in capfd.readouterr().err
    style = observe(CAT).style
    assert observe(painted).style_loss(style) < observe(PHOTO).style_loss(style)


@pytest.mark.parametrize("name", ["mrf", "style-swap"])
def test_chunks_do_not_change_the_picture(name):
    whole, chunked = (paint(name, iterations=2, chunk=chunk) for chunk in (10_000, 7))
    assert np.abs(whole.astype(int) - chunked).max() <= 1


def test_turned_and_scaled_styles_are_searched_too():
    turning = paint("mrf", iterations=6, rotations=(0, 30), scales="1,1.5")
    assert not np.array_equal(turning, paint("mrf", iterations=6))
    white = np.full((60, 90, 3), 255, np.uint8)
    for angle in (-45, -7.5, 0, 30):
        assert turned(white, angle).min() == 255  # no empty corner is left


@pytest.mark.parametrize("name", METHODS)
def test_tiny_pictures(name):
    for shape in ((1, 1), (5, 40)):
        assert paint(name, PHOTO[: shape[0], : shape[1]], iterations=1).shape == (*shape, 3)


def test_frames_before_draw_by_their_weights():
    """Ruder et al. 2016: alone, the temporal loss is least at the weighted mean of what it holds to."""
    frames, weights = torch.rand(2, 1, 3, 32, 40), torch.rand(2, 1, 1, 32, 40) + 0.1
    before = [Before(*pair) for pair in zip(frames, weights, strict=True)]

    def nothing(picture):
        return 0 * picture.sum()

    held = hold(nothing, before, 300.0)
    picture = torch.rand(1, 3, 32, 40)
    squares = [(w * (picture.numpy() - f) ** 2).mean() for f, w in zip(frames.numpy(), weights.numpy(), strict=True)]
    assert held(picture).item() == pytest.approx(300 * sum(squares), rel=1e-5)
    options = Descent(iterations=200, optimiser="adam", start="noise")
    found = descend(picture, lambda content, scale, start: nothing, options, "test", before)
    expected = (frames * weights).sum(0) / weights.sum(0)
    assert torch.allclose(found, expected, atol=0.01)


def test_colours_can_be_kept():
    painted = paint("gatys", controls={"keep_color": "match"}, iterations=5)
    assert not np.array_equal(painted, paint("gatys", iterations=5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gatys", {"steps": 3}, "gatys has no option steps: it has iterations, "),
        ("gatys", {"iterations": "many"}, "gatys: iterations must be a whole number, not many"),
        ("gatys", {"iterations": 2.5}, "iterations must be a whole number, not 2.5"),
        ("gatys", {"iterations": 0}, "iterations must be 1 or more"),
        ("gatys", {"optimiser": "sgd"}, "optimiser must be lbfgs or adam, not sgd"),
        ("gatys", {"style_loss": "cubism"}, "no style loss cubism: choose gram, "),
        ("gatys", {"tv_weight": float("nan")}, "tv_weight must be a number, not nan"),
        ("gatys", {"preset": "letter"}, "gatys has no preset letter: choose paper"),
        ("gatys", {"content_layers": "relu4_9"}, "vgg19 has no layer relu4_9: choose one of relu1_1, "),
        ("gatys", {"network": "vgg16", "style_layers": "relu3_4"}, "vgg16 has no layer relu3_4"),
        ("gatys", {"layer_weights": "1,2"}, "2 layer weights for 4 style layers: give each one"),
        ("gatys", {"style_layers": ()}, "content and style want one layer at least"),
        ("mrf", {"rotations": "0,90"}, "rotations must be angles from -45 to 45"),
        ("mrf", {"scales": ()}, "scales must be"),
        ("style-swap", {"normalise": "perhaps"}, "normalise must be true or false, not perhaps"),
    ],
)
def test_wrong_options_are_one_line(name, options, message):
    with pytest.raises(ImpastoError, match=message) as caught:
        impasto.load(name, **options)
    assert "\n" not in str(caught.value)


def test_lack_of_memory_is_advice():
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 17179869184 bytes")
    with pytest.raises(ImpastoError, match="not enough memory for 4000 x 3000 pixels"), enough_memory(4000, 3000):
        raise error
    with pytest.raises(RuntimeError, match="something else"), enough_memory(4000, 3000):
        raise RuntimeError("something else")


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("photo.png")
    Image.fromarray(CAT).save("cat.png")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main(["stylize", "photo.png", "cat.png", "--style-size", str(SIZE), *arguments])
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    code, out, _ = run("--model", "mrf", "--set", "iterations=2", "--set", "rotations=-10,10", "--json")
    made = json.loads(out)
    assert (code, made["model"], made["engine"]) == (0, "mrf", "torch")
    assert Image.open(made["out"]).size == (SIZE, SIZE)
    for arguments, message in (
        (("--model", "gatys", "--set", "strokes=2"), "gatys has no option strokes"),
        (("--model", "gatys", "--set", "iterations"), "--set takes NAME=VALUE, like iterations=100, not iterations"),
        (("--model", "gatys", "--set", "threads=2"), "give --threads instead"),
        (("--set", "iterations=2"), "iterations: only methods take options"),
        (("--model", "gatys", "--engine", "openvino"), "gatys runs on PyTorch only"),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1


def test_methods_are_listed(capsys):
    with pytest.raises(SystemExit):
        main(["models", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(rows[name]["usable"] for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_option_is_described(name):
    kind = method_options(name)
    described = "\n".join(base.__doc__ or "" for base in kind.__mro__)
    for field in fields(kind):
        assert re.search(rf"^\s+(?:\w+, )*{field.name}(?:, \w+)*: ", described, re.MULTILINE), field.name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gatys", {"iterations": 6}),
        ("gatys", {"iterations": 6, "style_loss": "histogram"}),
        ("mrf", {"iterations": 3}),
        ("style-swap", {"inverse": "network"}),
    ],
)
def test_what_is_not_seen_decides_nothing(name, options):
    alpha = np.zeros((SIZE, SIZE), np.uint8)
    alpha[20:70, 5:60] = 255

    def cut_out(picture, ground):
        return np.dstack([np.where(alpha[..., None], picture, np.uint8(ground)), alpha])

    grounds = (255, 0, 0), (0, 255, 0)
    for controls in ({}, {"strength": 0.6, "keep_color": "match"}):
        one, other = (
            paint(name, cut_out(PHOTO, ground), [cut_out(CAT, ground), COFFEE], controls, **options)
            for ground in grounds
        )
        assert np.array_equal(one, other)
        assert np.abs(one[alpha > 0][:, :3] - PHOTO[alpha > 0].astype(int)).mean() > 1


def test_what_is_half_seen_counts_half(observe):
    """Of a style that is half at full alpha and half hardly seen, the half that is seen counts."""
    alpha = np.repeat(np.uint8([255, 12]), SIZE // 2)[None].repeat(SIZE, 0)
    seen, both = np.hstack([CAT[:, : SIZE // 2]] * 2), np.hstack([CAT[:, : SIZE // 2], COFFEE[:, : SIZE // 2]])
    painted = observe(paint("gatys", styles=np.dstack([both, alpha]), iterations=15))
    assert painted.style_loss(observe(seen).style) < painted.style_loss(observe(both).style)
