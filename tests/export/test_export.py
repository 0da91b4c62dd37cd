"""From a checkpoint to a model folder that every engine runs, and the reach that tiling will rest on."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from torch import nn

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.export import INPUTS, ContentGraph, content_graph, export, measure_reach, style_graph
from impasto.model import find_model, shipped_models
from impasto.nets import load_network, make_network
from impasto.networks import NETWORKS
from impasto.style import gallery


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint as `impasto train` writes it, of a network fresh from its initialisation, channels last."""
    torch.manual_seed(0)
    network = make_network("compact").to(memory_format=torch.channels_last)
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    weights = network.state_dict()
    average = {f"module.{key}": value for key, value in weights.items()} | {"n_averaged": torch.tensor(1)}
    torch.save({"kind": "compact", "network": weights, "average": average, "stages": [{"settings": {"seed": 0}}]}, path)
    return path


@pytest.fixture(scope="module")
def paintings(tmp_path_factory) -> Path:
    """A stand-in for each painting of the gallery."""
    folder = tmp_path_factory.mktemp("gallery")
    generator = np.random.default_rng(0)
    for name in gallery():
        Image.fromarray(generator.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


def test_a_checkpoint_becomes_a_model_for_every_engine(checkpoint, paintings, tmp_path, photo):
    folder = export(checkpoint, tmp_path / "mine", "mine", paintings)
    card = json.loads((folder / "card.json").read_text())
    assert card["name"] == "mine"
    assert card["training"] == [{"settings": {"seed": 0}}]
    shipped = find_model("adain").card  # the same network, with other weights
    assert [card["strides"], card["reach"]] == [shipped.strides, shipped.reach]
    small = photo[:96, :96]
    results = [np.asarray(impasto.load(folder, engine=engine).stylize(small, "hokusai-great-wave"))
               for engine in ("onnxruntime", "openvino", "torch")]  # fmt: skip
    for other in results[1:]:
        assert np.abs(results[0].astype(int) - other).max() <= 2


def test_the_mean_of_checkpoints_and_models(checkpoint, tmp_path):
    state, other = (torch.load(checkpoint, weights_only=True) for _ in range(2))
    for weight in other["average"].values():
        weight.mul_(4)
    other["stages"] = [{"settings": {"seed": 1}}, {"settings": {"seed": 2}}]
    torch.save(other, tmp_path / "other.pt")
    mean = find_model(export(checkpoint, tmp_path / "mean", "mean", mean_with=[checkpoint, tmp_path / "other.pt"]))
    for name, weight in mean.weights().items():
        expected = 2 * state["average"][f"module.{name}"].float()  # (1 + 1 + 4) / 3
        assert np.allclose(weight, expected, rtol=2e-3, atol=1e-6), name
    assert mean.card.training == [*state["stages"][:-1], state["stages"][-1] | {
        "mean_with": [state["stages"], other["stages"]]}]  # fmt: skip

    again = find_model(export(checkpoint, tmp_path / "again", "again", mean_with=[mean.folder]))  # with a model
    for name, weight in again.weights().items():
        expected = 1.5 * state["average"][f"module.{name}"].float()  # (1 + 2) / 2
        assert np.allclose(weight, expected, rtol=2e-3, atol=1e-6), name

    torch.save(other | {"styles": ["klimt-kiss"]}, tmp_path / "other.pt")
    with pytest.raises(ImpastoError, match="another network"):
        export(checkpoint, tmp_path / "mean", "mean", mean_with=[tmp_path / "other.pt"])


@pytest.fixture(scope="module")
def published(vgg19, tmp_path_factory) -> Path:
    """A decoder as naoto0804/pytorch-AdaIN publishes it: a state dict of its `nn.Sequential`."""
    path = tmp_path_factory.mktemp("published") / "decoder.pth"
    weights = find_model("adain-vgg19").weights()
    torch.save({key.removeprefix("decoder."): torch.from_numpy(weight) for key, weight in weights.items()
                if key.startswith("decoder.")}, path)  # fmt: skip
    return path


@pytest.mark.parametrize("given", [True, False])
def test_the_authors_decoder_paints_as_written_out(published, given, vgg19, tmp_path, photo, painting, capsys):
    weights = {key: torch.from_numpy(value) for key, value in vgg19.items()}
    torch.save(weights, tmp_path / "vgg_normalised.pth")
    source = tmp_path / "decoder_iter_160000.pth.tar" if given else published
    shutil.copyfile(published, tmp_path / "decoder_iter_160000.pth.tar")
    options = ["--encoder", str(tmp_path / "vgg_normalised.pth")] if given else []
    with pytest.raises(SystemExit) as exit_:
        main(["import", "adain", str(source), str(tmp_path / "authors"), *options])
    assert (exit_.value.code, capsys.readouterr().out.strip()) == (0, str(tmp_path / "authors"))
    model = impasto.load(tmp_path / "authors", engine="onnxruntime")
    assert model.model.card.encoder == (None if given else "vgg19")

    theirs = nn.Sequential(  # decoder of net.py
        nn.ReflectionPad2d(1), nn.Conv2d(512, 256, 3), nn.ReLU(), nn.Upsample(scale_factor=2, mode="nearest"),
        nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3),
        nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3), nn.ReLU(), nn.ReflectionPad2d(1),
        nn.Conv2d(256, 128, 3), nn.ReLU(), nn.Upsample(scale_factor=2, mode="nearest"), nn.ReflectionPad2d(1),
        nn.Conv2d(128, 128, 3), nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(128, 64, 3), nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.ReflectionPad2d(1), nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.ReflectionPad2d(1), nn.Conv2d(64, 3, 3),
    )  # fmt: skip
    theirs.load_state_dict(torch.load(source, weights_only=True))

    def relu4_1(pixels: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None] / 255
        x = F.conv2d(x, weights["0.weight"], weights["0.bias"])
        for index in (2, 5, 0, 9, 12, 0, 16, 19, 22, 25, 0, 29):
            if index == 0:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            else:
                x = F.pad(x, (1, 1, 1, 1), mode="reflect")
                x = F.relu(F.conv2d(x, weights[f"{index}.weight"], weights[f"{index}.bias"]))
        return x

    content = photo[:96, :120]
    with torch.inference_mode():
        own, style = relu4_1(content), relu4_1(painting)
        (mean, std), (style_mean, style_std) = (
            (x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()) for x in (own, style)
        )
        target = style_std * (own - mean) / std + style_mean
        expected = 255 * theirs(0.4 * own + 0.6 * target)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    painted = model.stylize(content, painting, style_size=min(painting.shape[:2]), strength=0.6, plain=True)
    assert np.abs(np.asarray(painted) - expected).max() <= 1.5  # a level, and what rounding adds


def test_what_is_no_decoder_is_said_in_a_line(published, checkpoint, vgg19, tmp_path, capsys):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "written"), "w")

    good = torch.load(published, weights_only=True)
    (tmp_path / "there").mkdir()
    cases: dict[str, tuple[object, str]] = {
        "text": (b"not a checkpoint", "is not a readable weight file"),
        "hostile": ({"1.weight": Hostile()}, "is not a readable weight file: not a file of plain weights"),
        "keys": (
            {f"decoder.{key}": value for key, value in good.items()},
            "not a decoder of AdaIN: it has no 1.weight",
        ),
        "shapes": (good | {"28.bias": torch.zeros(4)}, r"not a decoder of AdaIN: 28.bias is (4,), not (3,)"),
        "more": (good | {"31.bias": torch.zeros(4)}, "it has 31.bias, which that has no use for"),
        "numbers": (good | {"28.bias": torch.full((3,), torch.nan)}, "28.bias holds values that are infinite"),
        "ours": (checkpoint.read_bytes(), "impasto export makes a model of what impasto train wrote"),
        "encoder": (good, "vgg.pth is not the normalised VGG-19: 2.weight is (64, 3, 1, 1), not (64, 3, 3, 3)"),
        "out": (good, "there is there already: name a new folder"),
    }
    torch.save({key: torch.from_numpy(value) for key, value in vgg19.items()} | {"2.weight": torch.zeros(64, 3, 1, 1)},
               tmp_path / "vgg.pth")  # fmt: skip
    for case, (held, said) in cases.items():
        path = tmp_path / f"{case}.pth"
        path.write_bytes(held) if isinstance(held, bytes) else torch.save(held, path)
        out = tmp_path / ("there" if case == "out" else "made")
        more = ["--encoder", str(tmp_path / "vgg.pth")] if case == "encoder" else []
        with pytest.raises(SystemExit) as exit_:
            main(["import", "adain", str(path), str(out), *more])
        error = capsys.readouterr().err
        assert (exit_.value.code, error.count("\n")) == (2, 1), case
        assert said in error, case
    assert not (tmp_path / "written").exists()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_graph_and_weight_file_hold_the_same_numbers(model, request):
    if model.card.encoder:
        request.getfixturevalue("vgg19")
    graph = onnx.load(model.graph())
    stored = {i.name.removesuffix(".half"): numpy_helper.to_array(i) for i in graph.graph.initializer}
    for name, weight in model.weights().items():
        if name in stored:
            assert np.array_equal(stored[name].astype(np.float32), weight), name
    assert len(stored.keys() & model.weights().keys()) >= 8


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_the_reach_that_a_card_gives_is_measured(model, request):
    if model.card.encoder:
        request.getfixturevalue("vgg19")
    assert measure_reach(load_network(model)) == model.reach


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "ulyanov" else []) for name in NETWORKS]
)
def test_content_graph_is_the_network_at_any_size_and_number_of_regions(name, tmp_path):
    torch.manual_seed(0)
    network = make_network(name).eval()
    path = tmp_path / "content.onnx"
    onnx.save(content_graph(network), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = 2 * sum(network.adaptive)
    cases = [(16, 16, 1, (1, 1)), (37, 50, 1, (1, 1)), (64, 33, 3, (20, 11)), (40, 40, 2, (40, 40))]
    for height, width, regions, mask in cases:
        arguments = (torch.rand(1, 3, height, width), torch.rand(regions, network.style_size) + 0.5,
                     torch.rand(regions, 1, *mask), torch.tensor(0.7), torch.rand(regions, size) + 0.5,
                     torch.rand(size))  # fmt: skip
        with torch.inference_mode():
            expected = ContentGraph(network)(*arguments)
        got = session.run(None, {key: value.numpy() for key, value in zip(INPUTS, arguments, strict=True)})
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs.numpy()).max() < 1e-3


def test_style_graph_is_the_style_of_the_compact_network(tmp_path):
    torch.manual_seed(0)
    network = make_network("compact").eval()
    for weight in (network.style_head.layers[-1].weight, network.style_head.widen.weight):
        weight.data.normal_(0, 0.1)
    network.photo_std.uniform_(0.1, 0.5)
    path = tmp_path / "style.onnx"
    onnx.save(style_graph(network), path)
    session = onnxruntime.InferenceSession(str(path))
    styles = []
    for height, width in ((16, 16), (37, 50), (64, 33)):
        statistics, picture = torch.ones(1, network.style_size), torch.rand(1, 3, height, width)
        [got] = session.run(["style"], {"statistics": statistics.numpy(), "image": picture.numpy()})
        expected = network.style_from(statistics, picture).detach().numpy()
        assert np.abs(expected - statistics.numpy()).max() > 0.1
        assert np.allclose(got, expected, atol=1e-4)
        styles.append(got)
    assert np.abs(styles[0] - styles[1]).max() > 0.01  # it looks at the picture, too
    assert style_graph(make_network("adain")) is None  # the paper's own: a picture's statistics are its style


def test_export_replaces_a_model_or_leaves_it(checkpoint, paintings, tmp_path):
    folder = export(checkpoint, tmp_path / "mine", "mine")
    before = find_model(folder).fingerprint
    empty = tmp_path / "no paintings"
    empty.mkdir()
    with pytest.raises(ImpastoError, match="has no picture"):
        export(checkpoint, folder, "mine", empty)
    assert find_model(folder).fingerprint == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "no paintings"]
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(ImpastoError, match="not a readable checkpoint"):
        export(tmp_path / "broken.pt", folder, "mine")


def test_export_replaces_nothing_but_a_model(checkpoint, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for folder, said in ((precious, "something other than a model"), (precious / "thesis.txt", "is a file"),
                         (precious / "thesis.txt" / "mine", "is a file")):  # fmt: skip
        with pytest.raises(ImpastoError, match=said):
            export(checkpoint, folder, "mine")
    assert [path.read_text() for path in precious.iterdir()] == ["years of work"]
    assert list(tmp_path.iterdir()) == [precious]

    (tmp_path / "new" / "mine").mkdir(parents=True)  # an empty folder may be filled
    first = find_model(export(checkpoint, tmp_path / "new" / "mine", "mine"))
    (first.folder / "old.onnx").write_text("of this model")
    (first.folder / "TRAINING.md").write_text("of this and the next")
    (tmp_path / "link").symlink_to(first.folder)
    export(checkpoint, tmp_path / "link", "another")
    assert (tmp_path / "link").is_symlink()
    assert find_model(first.folder).name == "another"
    assert not (first.folder / "old.onnx").exists()
    assert (first.folder / "TRAINING.md").read_text() == "of this and the next"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]


def test_what_is_no_checkpoint_is_said(checkpoint, tmp_path):
    torch.save({"weights": torch.ones(3)}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("other.pt", "text.pt"):
        said = rf"{name} is not a readable checkpoint: give one that impasto train wrote$"
        with pytest.raises(ImpastoError, match=said):
            export(tmp_path / name, tmp_path / "mine", "mine")
        with pytest.raises(ImpastoError, match=said):
            export(checkpoint, tmp_path / "mine", "mine", mean_with=[tmp_path / name])
    with pytest.raises(ImpastoError, match=r"cannot read .*nowhere"):
        export(tmp_path / "nowhere.pt", tmp_path / "mine", "mine")
    assert not (tmp_path / "mine").exists()


def test_shipped_weights_are_small():
    folder = Path(impasto.__file__).parent / "weights"
    # As the wheel holds them, which is packed.
    assert sum(len(zlib.compress(file.read_bytes())) for file in folder.rglob("*") if file.is_file()) < 20e6
