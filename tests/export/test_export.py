"""From a checkpoint to a model folder that every engine runs, and the reach that tiling will rest on."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

import impasto
from impasto.errors import ImpastoError
from impasto.export import INPUTS, ContentGraph, content_graph, export, measure_reach, style_graph
from impasto.model import find_model, shipped_models
from impasto.nets import make_network
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
    assert measure_reach(impasto.load(model.name, engine="onnxruntime")) == model.reach


@pytest.mark.parametrize("name", NETWORKS)
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
    (first.folder / "notes.txt").write_text("of this model")
    (tmp_path / "link").symlink_to(first.folder)
    export(checkpoint, tmp_path / "link", "another")
    assert (tmp_path / "link").is_symlink()
    assert find_model(first.folder).name == "another"
    assert not (first.folder / "notes.txt").exists()
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
