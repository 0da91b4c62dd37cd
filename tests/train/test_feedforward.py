"""Networks with styles of their own: their normalisations against PyTorch's, training, export, and that they paint."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from plain import plain_settings
from skimage import data

import impasto
from impasto import graph
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.evaluate.metrics import Observer
from impasto.evaluate.norms import equalise, norm_curves
from impasto.export import export
from impasto.graph import GraphStylizer
from impasto.losses import diversity_loss
from impasto.nets.critic import Critic, adversarial_loss
from impasto.nets.feedforward import NORMS, BatchTransfer, Feedforward, RowNetwork, renorm_limits
from impasto.nets.johnson import Johnson
from impasto.nets.ulyanov import Ulyanov
from impasto.networks import choose_settings
from impasto.style import EPS
from impasto.train.checkpoint import read_checkpoint
from impasto.train.data import Pictures, batches
from impasto.train.loop import train
from impasto.train.task import make_task

TINY = {"steps": 6, "batch": 2, "crop": 32, "scale": (0.5, 1.0), "lr": 1e-3, "style_size": 48, "autoencoder_steps": 2,
                "tv_weight": 1, "identity_weight": 50, "precision": "fp32", "seed": 3}  # fmt: skip


def run(kind, settings, pictures, out, style=(), start=None, add=(), **arguments) -> Path:
    styles, added = ([str(pictures / f"{name}.png") for name in names] for names in (style, add))
    task = make_task(kind, plain_settings(kind, **settings), start, style=styles, add=added, **arguments)
    return train(
        task, [str(pictures / "photos")], None, plain_settings(kind, **settings), out, short_side=96, device="cpu"
    )


@pytest.fixture(scope="module")
def model(vgg19, pictures, tmp_path_factory) -> Path:
    """A small network of two styles after a few steps, exported."""
    root = tmp_path_factory.mktemp("cin")
    checkpoint = run("cin", TINY, pictures, root, ("brick", "cell"), width=8)
    return export(checkpoint, root / "two", "two")


@pytest.fixture(scope="module")
def stylizer(model) -> GraphStylizer:
    loaded = impasto.load(model, engine="onnxruntime")
    assert isinstance(loaded, GraphStylizer)
    return loaded


def used(network: RowNetwork) -> RowNetwork:
    """The network with rows and population other than those it begins with."""
    with torch.no_grad():
        for row in network.rows:
            row += 0.03 * torch.randn_like(row)
        for _ in range(3):
            network(torch.rand(4, 3, 32, 32), network.transfer(torch.zeros(4, dtype=torch.long)))
    return network


def controlled(network: RowNetwork, image: torch.Tensor, row: int) -> torch.Tensor:
    one, style = torch.ones(()), network.styles()[row : row + 1]
    return network(image, network.control(style, one.view(1, 1, 1, 1), one, torch.ones_like(style), 0 * style[0]))


class Reference:
    """PyTorch's own normalisation with a row's scale and shift, layer after layer."""

    def __init__(self, row: torch.Tensor, population: torch.Tensor | None = None) -> None:
        self.row, self.population = row, population

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        channels = features.shape[1]
        beta, gamma, self.row = self.row.split([channels, channels, len(self.row) - 2 * channels])
        if self.population is None:
            return F.instance_norm(features, weight=gamma, bias=beta, eps=EPS)
        mean, std, self.population = self.population.split([channels, channels, len(self.row)])
        return F.batch_norm(features, mean, std**2 - EPS, gamma, beta, training=False, eps=EPS)


def test_conditional_instance_normalisation_is_pytorchs_with_the_rows_scale_and_shift():
    torch.manual_seed(0)
    network, image = used(Feedforward(3, width=8, blocks=1)), torch.rand(1, 3, 40, 32)
    with torch.inference_mode():
        expected = network(image, Reference(network.styles()[2]))
        assert torch.allclose(network(image, network.transfer(torch.tensor([2]))), expected, atol=1e-5)
        assert torch.allclose(controlled(network, image, 2), expected, atol=1e-5)
        assert not torch.allclose(controlled(network, image, 1), expected, atol=1e-2)


@pytest.mark.parametrize("norm", ["batch", "renorm"])
def test_batch_normalisation_runs_with_the_populations_statistics(norm):
    torch.manual_seed(0)
    network, image = used(Feedforward(norm=norm, width=8, blocks=1)), torch.rand(1, 3, 40, 32)
    with torch.inference_mode():
        expected = network(image, Reference(network.styles()[0], network.population))
        assert torch.allclose(controlled(network, image, 0), expected, atol=1e-5)


def test_johnsons_network_is_that_of_the_papers_supplement():
    torch.manual_seed(0)
    network, image = used(Johnson(width=4)), torch.rand(1, 3, 40, 32)
    adapt = Reference(network.styles()[0], network.population)

    def convolve(layer, features, margin, stride=1):
        padded = F.pad(features, [margin] * 4, mode="reflect")
        return F.conv2d(padded, layer.weight, layer.bias, stride)

    with torch.inference_mode():
        features = F.relu(adapt(convolve(network.first, image, 4)))
        for layer in network.down:
            features = F.relu(adapt(convolve(layer, features, 1, 2)))
        assert features.shape == (1, 16, 10, 8)
        assert len(network.blocks) == 5
        for block in network.blocks:
            change = F.relu(adapt(convolve(block.first, features, 1)))
            features = features + adapt(convolve(block.second, change, 1))
        for layer in network.up:
            features = F.relu(
                adapt(F.conv_transpose2d(features, layer.weight, layer.bias, stride=2, padding=1, output_padding=1))
            )
        expected = 0.5 + 0.5 * torch.tanh(convolve(network.to_picture, features, 4))
        assert torch.allclose(controlled(network, image, 0), expected, atol=1e-5)


def test_ulyanovs_network_is_that_of_the_paper_with_the_noise_that_its_style_chooses():
    torch.manual_seed(0)
    network, image = used(Ulyanov(width=2, scales=3, noises=2)), torch.rand(1, 3, 150, 139)
    drawn = torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).half().numpy().astype(np.float64)

    def convolve(layers, features):
        for layer in layers.layers:
            margin = layer.kernel_size[0] // 2
            padded = F.pad(features, [margin] * 4, mode="replicate")
            features = F.relu(adapt(F.conv2d(padded, layer.weight, layer.bias)))
        return features

    with torch.inference_mode():
        for which, row in enumerate(network.styles()):
            adapt, features = Reference(row), None
            padded = F.pad(image, (0, 1, 0, 2), mode="replicate")
            for scale, ratio in enumerate((4, 2, 1)):
                height, width = 152 // ratio, 140 // ratio
                small = padded.unfold(2, ratio, ratio).unfold(3, ratio, ratio).mean((4, 5))
                noise = np.tile(drawn[scale, which], (1, 3, 3))[:, :height, :width]
                noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std((1, 2), keepdims=True)
                adapt.row = adapt.row[2 * 2 * 3 :]  # what chooses
                own = convolve(network.branches[scale], torch.cat([small, torch.from_numpy(noise)[None].float()], 1))
                if features is not None:
                    doubled = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
                    own = convolve(network.joins[scale - 1], torch.cat([adapt(doubled), adapt(own)], 1))
                features = own
            assert features.shape == (1, 6, 152, 140)
            expected = (F.conv2d(features, network.to_picture.weight, network.to_picture.bias) + 0.5)[..., :150, :139]
            assert torch.allclose(controlled(network, image, which), expected, atol=1e-3)


def test_diversity_is_the_mean_logarithm_of_the_distance_to_the_nearest():
    samples = torch.rand(4, 2, 3, 5, 6, dtype=torch.float64)
    samples[1, 0] = samples[0, 0] + 0.02  # the nearest of each other
    distances = [
        min(np.sqrt(((samples[i, m] - samples[j, m]).numpy() ** 2).mean()) for j in range(4) if j != i)
        for m in range(2)
        for i in range(4)
    ]
    assert min(distances) == pytest.approx(0.02)
    assert diversity_loss(samples).item() == pytest.approx(-np.log(distances).mean(), rel=1e-3)
    alike = torch.ones(2, 1, 3, 5, 6, requires_grad=True)
    diversity_loss(alike).backward()
    assert torch.isfinite(alike.grad).all()


@pytest.mark.slow
def test_paintings_of_a_photo_are_to_differ_by_their_noise(vgg19, pictures, photo, tmp_path):
    settings = dict(TINY, identity_weight=0, autoencoder_steps=0, diversity_weight=2.0, samples=3)
    chosen = plain_settings("ulyanov", **settings)
    task = make_task("ulyanov", chosen, style=[str(pictures / "cell.png")], width=2)
    content, seen = torch.rand(2, 3, 32, 32), []
    task.network.register_forward_hook(lambda _network, arguments, painted: seen.append((arguments[0], painted)))
    with torch.no_grad():
        losses = task(content, content, torch.Generator().manual_seed(4), 0)
    [(photos, painted)] = seen
    assert torch.equal(photos, torch.cat([content] * 3))
    each = [painted[photo::2] for photo in range(2)]  # by photo
    expected = [diversity_loss(samples[:, None]).item() for samples in each]
    assert losses["diversity"].item() == pytest.approx(np.mean(expected), rel=1e-5)
    parts = ("content", 1), ("style", 10), ("tv", 1), ("diversity", 2)
    assert losses["loss"].item() == pytest.approx(sum(w * losses[name].item() for name, w in parts), rel=1e-5)

    folder = export(run("ulyanov", settings, pictures, tmp_path, ["cell"], width=2), tmp_path / "model", "mine")
    painter = impasto.load(folder, engine="onnxruntime")
    assert list(painter.gallery) == ["cell", "cell-2", "cell-3", "cell-4"]
    first, again, other = (np.asarray(painter.stylize(photo[:90, :70], name)).astype(int)
                           for name in ("cell", "cell", "cell-2"))  # fmt: skip
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 1
    more = make_task("ulyanov", chosen, str(folder), style=[str(pictures / "cell.png")])
    assert more.styles == list(painter.gallery)


#: Of torchvision's `features`, where each layer ends.
ENDS = {"relu1_2": 4, "relu2_2": 9, "relu3_2": 14, "relu3_3": 16, "relu4_2": 21, "relu4_3": 23}


@pytest.mark.parametrize(
    ("kind", "content", "style"),
    [
        ("johnson", "relu2_2", ("relu1_2", "relu2_2", "relu3_3", "relu4_3")),
        ("stylebank", "relu4_2", ("relu1_2", "relu2_2", "relu3_2", "relu4_2")),
    ],
)
def test_the_papers_losses_on_vgg16(kind, content, style, pictures, tmp_path, monkeypatch):
    torch.manual_seed(0)
    modules = []
    for block in ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512)):
        for inputs, outputs in itertools.pairwise(block):
            modules += [torch.nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect"), torch.nn.ReLU()]
        modules.append(torch.nn.MaxPool2d(2))
    theirs = torch.nn.Sequential(*modules)
    torch.save({f"features.{key}": value for key, value in theirs.state_dict().items()},
               tmp_path / "vgg16_features-amdegroot-88682ab5.pth")  # fmt: skip
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    settings = plain_settings(kind, **TINY, style_loss="gram-squared", loss_network="vgg16")
    task = make_task(kind, settings, style=[str(pictures / "brick.png")], width=4)
    painted, photos = torch.rand(2, 3, 32, 48), torch.rand(2, 3, 32, 48)

    def features(images, layer):
        taken = 255 * images - torch.tensor([123, 117, 104.0])[:, None, None]
        return theirs[: ENDS[layer]](taken).double().numpy()

    def gram(images, layer):
        found = features(images, layer)
        return np.einsum("nchw,ndhw->ncd", found, found) / (found.shape[2] * found.shape[3])

    with torch.no_grad():
        losses = task.perceptual(painted, photos, torch.tensor([0, 0]), torch.Generator())
        squares = [((gram(painted, layer) - gram(task.pictures[0], layer)) ** 2).mean() for layer in style]
        assert losses["style"].item() == pytest.approx(sum(squares), rel=1e-3)
        difference = features(painted, content) - features(photos, content)
        assert losses["content"].item() == pytest.approx((difference**2).mean(), rel=1e-3)


def test_batch_normalisation_trains_with_the_batchs_statistics_and_renormalisation_with_the_populations():
    torch.manual_seed(0)
    features, style = torch.randn(4, 5, 8, 8) * 2 + 1, torch.randn(1, 10).expand(4, 10)
    population = torch.cat([torch.full((5,), 0.5), torch.full((5,), 1.5)])
    beta, gamma = style[0].chunk(2)
    batch = BatchTransfer(style, population.clone(), 1, 0)(features)
    assert torch.allclose(batch, F.batch_norm(features, None, None, gamma, beta, training=True, eps=EPS), atol=1e-5)
    # With limits that cut nothing off, the batch's own statistics cancel (Ioffe 2017, eq. 3).
    running = population.clone()
    free = BatchTransfer(style, running, 100, 100)(features)
    expected = (features - 0.5) / 1.5 * gamma[:, None, None] + beta[:, None, None]
    assert torch.allclose(free, expected, atol=1e-5)
    # The limits of the paper's training of 160,000 steps (section 4), in whatever number of steps.
    for step, limits in {5_000: (1, 0), 15_000: (1 + 2 * 10 / 35, 2.5), 25_000: (1 + 2 * 20 / 35, 5), 40_000: (3, 5),
                         160_000: (3, 5)}.items():  # fmt: skip
        assert renorm_limits(step / 160_000) == pytest.approx(limits)
    moved = population.lerp(torch.cat([features.mean((0, 2, 3)), features.var((0, 2, 3), correction=0).sqrt()]), 0.05)
    assert torch.allclose(running, moved, atol=1e-4)


@pytest.mark.parametrize(("kind", "style", "arguments"), [
    ("feedforward", ["brick"], {"norm": "instance"}),
    ("feedforward", ["brick"], {"norm": "renorm"}),
    ("ulyanov", ["brick"], {}),
    ("cin", ["brick", "cell"], {}),
])  # fmt: skip
def test_same_seed_same_losses(vgg19, pictures, tmp_path, capsys, kind, style, arguments):
    losses = []
    for name in "ab":
        run(kind, TINY, pictures, tmp_path / name, style, width=8, **arguments)
        losses.append(re.findall(r"^step \d+/\d+  (loss .*?)  [\d.]+ images/s", capsys.readouterr().out, re.MULTILINE))
    assert len(losses[0]) == TINY["steps"]
    assert losses[0] == losses[1]


def test_every_process_and_batch_draws_its_own_styles(vgg19, pictures):
    task = make_task(
        "cin",
        plain_settings("cin", **TINY),
        style=[str(pictures / f"{name}.png") for name in ("brick", "cell", "grass")],
    )
    photos = Pictures([str(pictures / "photos")], 48)

    def styles(process: int, start: int = 0) -> list[list[int]]:
        source = batches(photos, None, 32, (0.5, 1.0), 16, TINY.get("seed", 0), process, start)
        drawn = [task.draw(16, next(source)[2]).tolist() for _ in range(3)]
        source.close()
        return drawn

    first, second = styles(0), styles(1)
    assert len({tuple(drawn) for drawn in first + second}) == 6
    assert {style for drawn in first for style in drawn} == {0, 1, 2}
    assert styles(0, start=2)[0] == first[2]  # as in a run that is resumed


def test_each_side_of_the_adversarial_loss_learns_its_own_part():
    torch.manual_seed(0)
    critic = Critic(8, 1.3, styles=2, width=4).eval()
    real, painted = torch.randn(3, 8, 9, 9), torch.randn(3, 8, 9, 9, requires_grad=True)
    which = torch.tensor([0, 1, 0])

    def scores(features):
        for layer in critic.layers:
            assert np.linalg.svd(layer.weight.detach().flatten(1))[1].max() == pytest.approx(1, abs=0.1)
        first, second, last = ((layer.weight, layer.bias) for layer in critic.layers)
        hidden = F.leaky_relu(F.conv2d(features / 1.3, *first), 0.2)
        found = F.conv2d(F.leaky_relu(F.conv2d(hidden, *second), 0.2), *last)
        return torch.stack([found[n, style] for n, style in enumerate(which)])

    telling = (1 - scores(real)).clamp_min(0).mean() + (1 + scores(painted)).clamp_min(0).mean()
    hiding = -scores(painted).mean()
    weights = [*critic.parameters()]
    expected = [*torch.autograd.grad(telling, weights, retain_graph=True), *torch.autograd.grad(hiding, painted)]
    loss = adversarial_loss(critic, real, painted, which)
    assert loss.item() == pytest.approx((telling + hiding).item(), rel=1e-5)
    for found, wanted in zip(torch.autograd.grad(loss, [*weights, painted]), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_a_critic_goes_on_where_it_was(vgg19, pictures, tmp_path):
    settings = dict(TINY, steps=3, autoencoder_steps=1, schedule="paper", adversarial_weight=1)
    whole = read_checkpoint(run("feedforward", settings, pictures, tmp_path / "whole", ["brick"], width=8))
    run("feedforward", dict(settings, steps=2), pictures, tmp_path / "half", ["brick"], width=8)
    chosen = plain_settings("feedforward", **settings)
    task = make_task("feedforward", chosen, style=[str(pictures / "brick.png")], width=8)
    begun = {name: weight.clone() for name, weight in task.rival.state_dict().items()}
    resumed = read_checkpoint(
        train(task, [str(pictures / "photos")], None, chosen, tmp_path / "half", resume=True, short_side=96,
              device="cpu")
    )  # fmt: skip
    for part in ("network", "rival"):
        for name, weight in whole[part].items():
            assert torch.allclose(weight, resumed[part][name], atol=1e-6), name
    assert any((weight - begun[name]).abs().max() > 1e-4 for name, weight in whole["rival"].items())
    assert not any("rival" in name or "layers" in name for name in whole["network"])


def test_a_new_style_leaves_all_else_bit_identical(vgg19, pictures, model, tmp_path):
    state = read_checkpoint(run("cin", TINY, pictures, tmp_path / "run", start=str(model), add=["grass"]))
    assert state["styles"] == ["brick", "cell", "grass"]
    before = impasto.model.find_model(model).weights()
    for weights, prefix in ((state["network"], ""), (state["average"], "module.")):
        assert weights.keys() - {f"{prefix}{name}" for name in before} <= {f"{prefix}rows.2", "n_averaged"}
        for name, weight in before.items():
            assert np.array_equal(weights[prefix + name].numpy(), weight), name
    begun = np.mean([before["rows.0"], before["rows.1"]], axis=0)
    assert np.abs(state["network"]["rows.2"].numpy() - begun).max() > 1e-4
    three = impasto.load(export(tmp_path / "run" / "checkpoint.pt", tmp_path / "three", "three"), engine="onnxruntime")
    assert list(three.gallery) == ["brick", "cell", "grass"]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        *(("feedforward", {"norm": norm}) for norm in NORMS),
        pytest.param("johnson", {}, marks=pytest.mark.slow),
        pytest.param("ulyanov", {}, marks=pytest.mark.slow),
        ("stylebank", {"upsampling": "strided"}),
    ],
)
def test_an_exported_model_runs_alike_on_every_engine(vgg19, pictures, tmp_path, photo, kind, arguments):
    settings = dict(TINY, steps=2, loss_network="vgg19")
    checkpoint = run(kind, settings, pictures, tmp_path, ["cell"], width=8, **arguments)
    folder = export(checkpoint, tmp_path / "model", "mine")
    small = photo[:70, 100:195]
    painted = [np.asarray(impasto.load(folder, engine=engine).stylize(small, "cell")).astype(int)
               for engine in ("torch", "onnxruntime", "openvino")]  # fmt: skip
    assert painted[0].shape == small.shape
    assert max(np.abs(painted[0] - other).max() for other in painted[1:]) <= 2


def test_styles_have_names_and_nothing_else_is_a_style(stylizer, pictures, photo):
    assert list(stylizer.gallery) == ["brick", "cell"]
    assert stylizer.style("cell").name == "cell"
    for wrong in ("hokusai-great-wave", "cel", str(pictures / "grass.png"), photo):
        with pytest.raises(ImpastoError, match=r"^the model two only knows .* trained on: choose brick, cell$"):
            stylizer.style(wrong)


def test_strength_mixing_and_masks(stylizer, photo):
    small = photo[:64, 100:196]
    brick, cell = stylizer.style("brick"), stylizer.style("cell")
    first, second = (np.asarray(stylizer.stylize(small, style)).astype(int) for style in (brick, cell))
    assert np.array_equal(np.asarray(stylizer.stylize(small, brick, strength=0)), small)
    assert np.abs(np.asarray(stylizer.stylize(small, {brick: 1, cell: 0})) - first).max() <= 1
    between = np.asarray(stylizer.stylize(small, {brick: 1, cell: 1})).astype(int)
    assert 0 < np.abs(between - first).mean() < np.abs(second - first).mean() * 1.5
    left = np.zeros(small.shape[:2])
    left[:, :48] = 1
    halves = np.asarray(stylizer.stylize(small, [brick, cell], masks=[left, 1 - left])).astype(int)
    whole = np.asarray(stylizer.stylize(small, [brick, brick], masks=[left, 1 - left])).astype(int)
    assert np.abs(halves[:, 60:] - whole[:, 60:]).mean() > 2 * np.abs(halves[:, :36] - whole[:, :36]).mean()


def test_the_command_line_lists_and_paints_a_models_own_styles(model, pictures, tmp_path, capsys):
    def impasto_(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        return (exit.value.code or 0, *capsys.readouterr())

    assert impasto_("styles", "--model", model) == (0, "brick\ncell\n", "")
    photo, painted = pictures / "photos" / "a.png", tmp_path / "painted.png"
    assert impasto_("stylize", photo, "cell", "--model", model, "--engine", "onnxruntime", "-o", painted)[0] == 0
    assert Image.open(painted).size == Image.open(photo).size
    code, _, said = impasto_("stylize", photo, pictures / "grass.png", "--model", model, "-o", painted)
    assert code == 2
    assert said.count("\n") == 1
    assert "choose brick, cell" in said
    train = ["train", "--content", photo.parent, "--style", pictures / "cell.png", "--out", tmp_path / "run"]
    code, _, said = impasto_(*train, "cin", "--norm", "batch")
    assert (code, said) == (2, "impasto: cin has no norm to choose\n")


def test_what_cannot_be_trained_is_said_in_a_line(vgg19, pictures, model, tmp_path):
    with pytest.raises(ImpastoError, match="one network for one style, not 2"):
        run("johnson", TINY, pictures, tmp_path, ["brick", "cell"])
    with pytest.raises(ImpastoError, match="cin has no norm to choose"):
        run("cin", TINY, pictures, tmp_path, ["brick"], norm="batch")
    with pytest.raises(ImpastoError, match="knows brick already"):
        run("cin", TINY, pictures, tmp_path, start=str(model), add=["brick"])
    with pytest.raises(ImpastoError, match="has the styles brick, cell"):
        run("cin", TINY, pictures, tmp_path, ["brick"], start=str(model))
    with pytest.raises(ImpastoError, match="the same name"):
        make_task("cin", plain_settings("cin", **TINY), style=[str(pictures / "brick.png"), str(pictures)])
    with pytest.raises(ImpastoError, match="style_emphasis has no meaning for cin, only for adain, compact"):
        choose_settings("cin", style_emphasis=1)
    with pytest.raises(ImpastoError, match="no normalisation layer"):
        Feedforward(norm="layer")


def test_a_network_learns_its_style(vgg19, pictures, tmp_path):
    """The one that fails if these systems stop transferring style."""
    settings = dict(TINY, steps=80, crop=48, batch=2, autoencoder_steps=10, schedule="cosine", lr=5e-3, ema=0.95,
                       scale=(0.7, 1.0), style_size=96, style_weight=5)  # fmt: skip
    folder = export(run("feedforward", settings, pictures, tmp_path, ["cell"], width=16), tmp_path / "model", "mine")
    photo, style, other = (
        np.asarray(Image.open(pictures / f"{name}.png")) for name in ("photos/a", "cell", "photos/b")
    )
    painted = np.asarray(impasto.load(folder, engine="onnxruntime").stylize(photo[:96, 16:128], "cell"))
    look = Observer()
    before, after, unrelated = (look(pixels) for pixels in (photo[:96, 16:128], painted, other[:96, 16:128]))
    target = look(style).style
    assert after.style_loss(target) < 0.4 * before.style_loss(target)
    assert after.content_loss(before) < unrelated.content_loss(before)


def test_the_experiment_of_the_norms_trains_each_on_each_kind_of_photos(vgg19, pictures):
    small = {"crop": 32, "batch": 2, "style_size": 48}
    curves = norm_curves([str(pictures / "photos")], str(pictures / "brick.png"), steps=2, photos=2, width=8,
                         settings=small, paint=lambda pixels: 255 - pixels)  # fmt: skip
    assert {(norm, kind) for norm in NORMS for kind in ("original", "contrast", "style")} == curves.keys()
    assert all(len(curve) == 2 and np.isfinite(curve).all() for curve in curves.values())
    assert len({curve[0] for curve in curves.values()}) > 3


def test_equalised_luma_is_spread_over_the_whole_range():
    dull = (data.coffee() // 4 + 90).astype(np.uint8)
    luma = np.asarray(Image.fromarray(equalise(dull)).convert("L"))
    assert np.percentile(luma, 2) < 25
    assert np.percentile(luma, 98) > 230


def test_tiles_give_the_octave_of_one_piece(stylizer, photo, monkeypatch):
    picture = photo[:403, 100:470]
    ramp = np.linspace(0, 1, 370, dtype=np.float32)[None].repeat(403, 0)
    monkeypatch.setattr(graph, "TILE_ABOVE", 0)
    painted = []
    for side in (1024, 160):
        monkeypatch.setattr(graph, "TILE", side)
        options = {"masks": [ramp, 1 - ramp], "stroke_size": 2}
        painted.append(np.asarray(stylizer.stylize(picture, ["brick", "cell"], **options)).astype(int))
    assert np.abs(painted[1] - painted[0]).max() <= 1
