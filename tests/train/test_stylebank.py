"""StyleBank: its algebra against plain convolutions, the turns of its training, new banks, export; and it paints."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from plain import plain_settings

import impasto
from impasto import graph
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import Observer, ssim
from impasto.export import export
from impasto.graph import GraphStylizer
from impasto.nets.stylebank import UPSAMPLINGS, BankControl, Banks, Plain, StyleBank, as_filters, identity_bank
from impasto.train.checkpoint import read_checkpoint
from impasto.train.loop import train
from impasto.train.stylebank import StyleBankTask
from impasto.train.task import make_task

TINY = {"steps": 8, "batch": 2, "crop": 32, "scale": (0.5, 1.0), "lr": 1e-3, "style_size": 48, "autoencoder_steps": 2,
                "tv_weight": 1, "identity_weight": 0.5, "precision": "fp32", "seed": 3}  # fmt: skip
LEARNING = dict(TINY, steps=140, crop=64, autoencoder_steps=40, schedule="cosine", lr=3e-3, ema=0.98,
                   scale=(0.7, 1.0), style_size=96, style_weight=10, identity_weight=1)  # fmt: skip
WHOLE, ONE = torch.ones(1, 1, 1, 1), torch.ones(())


def task_for(settings, pictures, style=(), start=None, add=(), **arguments) -> StyleBankTask:
    styles, added = ([str(pictures / f"{name}.png") for name in names] for names in (style, add))
    task = make_task("stylebank", plain_settings("stylebank", **settings), start, style=styles, add=added, **arguments)
    assert isinstance(task, StyleBankTask)
    return task


def run(settings, pictures, out, *arguments, **options) -> Path:
    task = task_for(settings, pictures, *arguments, **options)
    return train(task, [str(pictures / "photos")], None, task.settings, out, short_side=96, device="cpu")


@pytest.fixture(scope="module")
def model(vgg19, pictures, tmp_path_factory) -> Path:
    """A small network that has learnt two styles, exported."""
    root = tmp_path_factory.mktemp("stylebank")
    return export(run(LEARNING, pictures, root, ["cell", "brick"], width=8), root / "two", "two")


@pytest.fixture(scope="module")
def stylizer(model) -> GraphStylizer:
    loaded = impasto.load(model, engine="onnxruntime")
    assert isinstance(loaded, GraphStylizer)
    return loaded


def network(styles: int = 3, **arguments) -> StyleBank:
    """A fresh one with banks other than the identity."""
    torch.manual_seed(0)
    made = StyleBank(styles, width=4, **arguments).requires_grad_(False)
    for bank in made.banks:
        bank += 0.1 * torch.randn_like(bank)
    return made


def control(style, mask=WHOLE, strength=1.0, stats=None, inertia=0.0) -> BankControl:
    stats = torch.ones(len(style), 80) if stats is None else stats
    return BankControl(style, mask, torch.tensor(strength), stats, torch.full((80,), inertia))


def plain_convolution(features, bank):
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), as_filters(bank[None], features.shape[1])[0])


def by_hand(made, image, bank_layer):
    """The paper's network of PyTorch's own functions; sides are multiples of 4."""

    def finish(layer, features):
        return F.relu(F.instance_norm(features) * layer.scale + layer.shift)

    features = image
    for layer, (margin, stride) in zip(made.down, ((4, 1), (1, 2), (1, 2)), strict=True):
        padded = F.pad(features, [margin] * 4, mode="reflect")
        features = finish(layer, F.conv2d(padded, layer.convolution.weight, stride=stride))
    features = bank_layer(features)
    for layer in made.up:
        weight = layer.convolution.weight
        if made.arguments["upsampling"] == "strided":
            features = F.conv_transpose2d(features, weight, stride=2, padding=1, output_padding=1)
        else:
            doubled = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = F.conv2d(F.pad(doubled, [1] * 4, mode="reflect"), weight)
        features = finish(layer, features)
    last = made.to_picture
    return F.conv2d(F.pad(features, [4] * 4, mode="reflect"), last.weight, last.bias) + 0.5


def test_a_bank_is_a_convolution_and_banks_mix_linearly():
    made, features = network(), torch.randn(1, 16, 9, 13)
    first, second, _ = made.styles()
    assert torch.allclose(control(first[None]).convolve(features), plain_convolution(features, first), atol=1e-5)
    mixed = control((0.3 * first + 0.7 * second)[None]).convolve(features)
    expected = 0.3 * plain_convolution(features, first) + 0.7 * plain_convolution(features, second)
    assert torch.allclose(mixed, expected, atol=1e-5)
    assert torch.equal(control(identity_bank(16).flatten()[None]).convolve(features), features)
    half = control(first[None], strength=0.5).convolve(features)
    assert torch.allclose(half, (features + plain_convolution(features, first)) / 2, atol=1e-5)


def test_regions_are_masked_features_each_through_its_bank():
    """Chen et al. 2017, region-specific fusion: the sum over k of K_k * (M_k F); all else as without regions."""
    made, image = network(), torch.rand(1, 3, 32, 48)
    mask = torch.zeros(2, 1, 32, 48)
    mask[0, ..., :20] = mask[1, ..., 20:] = 1
    adapt = control(made.styles()[:2], mask)
    shares = F.interpolate(mask, (8, 12), mode="bilinear", align_corners=False)

    def fuse(features):
        banks = zip(made.styles(), shares, strict=False)
        return sum(plain_convolution(features * share, bank) for bank, share in banks)

    assert torch.allclose(made(image, adapt), by_hand(made, image, fuse), atol=1e-4)
    assert torch.equal(*adapt.used())  # the statistics of the whole picture, whatever the region
    even = control(made.styles()[:2], torch.ones(2, 1, 1, 1)).convolve(features := torch.randn(1, 16, 8, 12))
    mean = (plain_convolution(features, made.banks[0]) + plain_convolution(features, made.banks[1])) / 2
    assert torch.allclose(even, mean, atol=1e-5)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_the_network_is_the_papers(upsampling):
    made, image = network(upsampling=upsampling), torch.rand(1, 3, 24, 32)
    painted = by_hand(made, image, lambda features: plain_convolution(features, made.banks[1]))
    assert torch.allclose(made(image, made.transfer(torch.tensor([1]))), painted, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (70, 45)])
def test_controls_agree_with_training_at_any_size(size):
    made, image = network(), torch.rand(1, 3, *size)
    painted = made(image, made.transfer(torch.tensor([2])))
    assert painted.shape == image.shape
    adapt = control(made.styles()[2:])
    assert torch.allclose(made(image, adapt), painted, atol=1e-4)
    assert torch.allclose(made(image, control(made.styles()[2:], torch.ones(1, 1, *size))), painted, atol=1e-4)
    assert torch.allclose(made(image, control(made.styles()[2:], strength=0.0)), made(image, Plain()), atol=1e-4)
    again = control(made.styles()[2:], stats=adapt.used(), inertia=1.0)
    assert torch.allclose(made(image, again), painted, atol=1e-4)
    assert torch.equal(again.used(), adapt.used())


def test_normalisation_is_pytorchs():
    features = 3 * torch.randn(2, 5, 8, 8) + 1
    assert torch.allclose(Plain()(features), F.instance_norm(features), atol=1e-5)
    assert torch.allclose(control(torch.ones(1, 10), stats=torch.ones(1, 10))(features[:1]),
                          F.instance_norm(features[:1]), atol=1e-5)  # fmt: skip


def test_each_picture_of_a_batch_has_its_own_bank():
    made, features = network(), torch.randn(2, 16, 8, 8)
    painted = Banks(made.styles()[[2, 0]]).convolve(features)
    for one, picture, bank in zip(painted, features, (2, 0), strict=True):
        assert torch.allclose(one[None], plain_convolution(picture[None], made.banks[bank]), atol=1e-5)


def test_turns_and_the_gradient_of_the_auto_encoders(vgg19, pictures):
    task = task_for(TINY, pictures, ["brick", "cell"], width=4)
    assert [task.is_style_step(step) for step in range(8)] == [False, False, *[True, True, False] * 2]
    other = task_for(dict(TINY, turns=1, autoencoder_steps=0), pictures, ["brick"], width=4)
    assert [other.is_style_step(step) for step in range(4)] == [True, False] * 2
    content = torch.rand(2, 3, 32, 32)

    def gradient(step: int) -> tuple[float, torch.Tensor]:
        task.zero_grad()
        task(content, content, torch.Generator(), step)["loss"].backward()
        before = task.network.up[0].convolution.weight.grad.clone()
        task.adjust_gradients(step)
        shared = [p.grad for name, p in task.network.named_parameters() if not name.startswith("banks.")]
        return torch.cat([part.flatten() for part in shared]).norm().item(), before

    warming, before = gradient(1)
    assert torch.equal(task.network.up[0].convolution.weight.grad, before)  # nothing to be scaled to yet
    assert all(bank.grad is None for bank in task.network.banks)
    gradient(2)
    style, _ = gradient(3)
    assert any(bank.grad.any() for bank in task.network.banks)
    mended, before = gradient(4)
    assert mended == pytest.approx(TINY["identity_weight"] * style, rel=1e-4)
    assert mended != pytest.approx(warming, rel=0.1)
    after = task.network.up[0].convolution.weight.grad
    assert F.cosine_similarity(after.flatten(), before.flatten(), dim=0) == pytest.approx(1, abs=1e-5)
    assert all(bank.grad is None for bank in task.network.banks)


def test_a_bank_that_nothing_is_painted_with_stays_to_the_bit(vgg19, pictures):
    task = task_for(dict(TINY, batch=1, autoencoder_steps=0), pictures, ["brick", "cell"], width=4)
    optimiser = torch.optim.Adam(task.network.parameters(), 1e-2)
    content, generator = torch.rand(1, 3, 32, 32), torch.Generator().manual_seed(0)
    moved = []
    for step in range(9):
        before = task.network.styles()
        optimiser.zero_grad()
        task(content, content, generator, step)["loss"].backward()
        task.adjust_gradients(step)
        optimiser.step()
        moved.append(tuple((task.network.styles() != before).any(1).tolist()))
        assert sum(moved[-1]) == task.is_style_step(step)  # that of the one picture, or none
    assert {(True, False), (False, True), (False, False)} == {*moved}


def test_lambda_counts_whatever_the_clip(vgg19, pictures, tmp_path):
    """Of the auto-encoder Adam's running mean is the style step's gradient and lambda times as much of the other's."""
    settings = dict(TINY, steps=2, turns=1, autoencoder_steps=0, clip=1e-3)
    norms = []
    for share in (0.1, 10):
        chosen = dict(settings, identity_weight=share)
        state = read_checkpoint(run(chosen, pictures, tmp_path / str(share), ["brick"], width=4))
        means = [of["exp_avg"] for of in state["optimiser"]["state"].values() if of["step"] == 2]
        norms.append(torch.cat([mean.flatten() for mean in means]).norm().item())
    # 0.9 * 0.1 g and 0.1 lambda g, of unknown directions
    assert norms[1] / norms[0] > (1 - 0.09) / (0.09 + 0.01)


def test_random_banks_begin_as_a_convolution_of_pytorchs(vgg19, pictures, model):
    for task in (task_for(dict(TINY, banks="random"), pictures, ["brick"], width=4),
                 task_for(dict(TINY, banks="random"), pictures, start=str(model), add=["grass"])):  # fmt: skip
        bank = task.network.styles()[-1]
        channels = math.isqrt(len(bank) // 9)
        assert bank.std().item() == pytest.approx((27 * channels) ** -0.5, rel=0.1)
    assert np.array_equal(task.network.styles()[0], impasto.model.find_model(model).weights()["banks.0"])


def test_a_run_resumed_before_an_auto_encoder_step_is_the_undisturbed_one(vgg19, pictures, tmp_path):
    settings = dict(TINY, steps=3, autoencoder_steps=0, schedule="paper")
    whole = read_checkpoint(run(settings, pictures, tmp_path / "whole", ["brick"], width=4))
    run(dict(settings, steps=2), pictures, tmp_path / "half", ["brick"], width=4)
    task = task_for(settings, pictures, ["brick"], width=4)
    assert not task.is_style_step(2)
    resumed = read_checkpoint(
        train(task, [str(pictures / "photos")], None, task.settings, tmp_path / "half", resume=True, short_side=96,
              device="cpu")
    )  # fmt: skip
    for name, weight in whole["network"].items():
        assert torch.allclose(weight, resumed["network"][name], atol=1e-7), name
    for one, other in zip(whole["optimiser"]["state"].values(), resumed["optimiser"]["state"].values(), strict=True):
        assert torch.allclose(one["exp_avg"], other["exp_avg"])


def test_same_seed_same_losses(vgg19, pictures, tmp_path, capsys):
    losses = []
    for name in "ab":
        run(TINY, pictures, tmp_path / name, ["brick", "cell"], width=4)
        losses.append(re.findall(r"^step \d+/\d+  (loss .*?)  [\d.]+ images/s", capsys.readouterr().out, re.MULTILINE))
    assert len(losses[0]) == TINY["steps"]
    assert losses[0] == losses[1]


def test_a_new_bank_leaves_all_else_bit_identical(vgg19, pictures, model, tmp_path):
    state = read_checkpoint(run(TINY, pictures, tmp_path / "run", start=str(model), add=["grass"]))
    assert state["styles"] == ["cell", "brick", "grass"]
    before = impasto.model.find_model(model).weights()
    for weights, prefix in ((state["network"], ""), (state["average"], "module.")):
        assert weights.keys() - {f"{prefix}{name}" for name in before} <= {f"{prefix}banks.2", "n_averaged"}
        for name, weight in before.items():
            assert np.array_equal(weights[prefix + name].numpy(), weight), name
    begun = np.mean([before["banks.0"], before["banks.1"]], axis=0)
    assert np.abs(state["network"]["banks.2"].numpy() - begun).max() > 1e-3
    three = impasto.load(export(tmp_path / "run" / "checkpoint.pt", tmp_path / "three", "three"), engine="onnxruntime")
    assert list(three.gallery) == ["cell", "brick", "grass"]


def test_an_exported_model_runs_alike_on_every_engine(model, photo):
    small = photo[:70, 100:195]
    left = np.zeros(small.shape[:2])
    left[:, :48] = 1
    for styles, masks in ((["cell"], None), (["cell", "brick"], None), (["cell", "brick"], [left, 1 - left])):
        painted = [
            np.asarray(impasto.load(model, engine=engine).stylize(small, styles, masks=masks, strength=0.8)).astype(int)
            for engine in ("torch", "onnxruntime", "openvino")
        ]
        assert painted[0].shape == small.shape
        assert max(np.abs(painted[0] - other).max() for other in painted[1:]) <= 2


def test_a_network_learns_its_styles_and_gives_photos_back(stylizer, pictures):
    """The one that fails if this system stops transferring style."""
    photo, other, style = (
        np.asarray(Image.open(pictures / f"{name}.png")) for name in ("photos/a", "photos/b", "cell")
    )
    photo, other = photo[:96, 16:128], other[:96, 16:128]
    painted = np.asarray(stylizer.stylize(photo, "cell"))
    look = Observer()
    before, after, unrelated = look(photo), look(painted), look(other)
    target = look(style).style
    assert after.style_loss(target) < 0.4 * before.style_loss(target)
    assert after.content_loss(before) < unrelated.content_loss(before)
    assert np.array_equal(np.asarray(stylizer.stylize(photo, "cell", strength=0)), photo)
    back = stylizer.reconstruct(photo)
    # Instance normalisation loses the photo's tone, so structure tells more than PSNR.
    assert ssim(back, photo) > ssim(painted, photo) + 0.05


def test_styles_have_names_and_nothing_else_is_a_style(stylizer, pictures):
    assert list(stylizer.gallery) == ["cell", "brick"]
    assert stylizer.style("cell").tensor.shape == (9 * 32 * 32,)
    with pytest.raises(ImpastoError, match=r"^the model two only knows .* trained on: choose cell, brick$"):
        stylizer.style(str(pictures / "grass.png"))


def test_what_cannot_be_is_said_in_a_line(vgg19, pictures, model, tmp_path):
    with pytest.raises(ImpastoError, match="stylebank has no norm to choose"):
        task_for(TINY, pictures, ["brick"], norm="batch")
    with pytest.raises(ImpastoError, match="knows brick already"):
        task_for(TINY, pictures, start=str(model), add=["brick"])
    with pytest.raises(ImpastoError, match="must be 1 or more"):
        StyleBank(width=0)


def test_tiles_give_the_octave_of_one_piece(stylizer, photo, monkeypatch):
    picture = photo[:403, 100:470]
    ramp = np.linspace(0, 1, 370, dtype=np.float32)[None].repeat(403, 0)
    monkeypatch.setattr(graph, "TILE_ABOVE", 0)
    painted = []
    for side in (1024, 160):
        monkeypatch.setattr(graph, "TILE", side)
        options = {"masks": [ramp, 1 - ramp], "stroke_size": 2}
        painted.append(np.asarray(stylizer.stylize(picture, ["cell", "brick"], **options)).astype(int))
    assert np.abs(painted[1] - painted[0]).max() <= 1
