"""A model's card is read and written without loss, and a damaged one is told in a line."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import impasto
from impasto.engine import installed_engines
from impasto.errors import ImpastoError
from impasto.model import INT8, Card, Model, digest_of_int8, find_model, fingerprint, shipped_models


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_shipped_cards_read_and_written_stay_the_same_to_the_byte(model: Model, tmp_path: Path) -> None:
    model.card.write(tmp_path)
    assert (tmp_path / "card.json").read_bytes() == (model.folder / "card.json").read_bytes()
    assert Card.read(tmp_path) == model.card


def test_keys_of_another_version_survive(tmp_path: Path) -> None:
    card = {"name": "mine", "network": "compact", "adaptive": [8], "fingerprint": "0" * 16, "mood": ["blue"], "more": 1}
    (tmp_path / "card.json").write_text(json.dumps(card))
    Card.read(tmp_path).write(tmp_path)
    written = json.loads((tmp_path / "card.json").read_text())
    assert {key: value for key, value in written.items() if value} == card


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda card: "{", "Expecting property name"),
        (lambda card: "[]", "it holds no keys"),
        (lambda card: json.dumps({**card, "fingerprint": None}), "its fingerprint is missing or damaged"),
        (lambda card: json.dumps({**card, "adaptive": ["many"]}), "its adaptive is missing or damaged"),
        (lambda card: json.dumps({**card, "int8": True}), "its int8 is missing or damaged"),
        (lambda card: json.dumps({key: card[key] for key in card if key != "name"}), "its name is missing or damaged"),
        (lambda card: "[" * 100_000, "it is nested too deep"),
        (lambda card: json.dumps(card)[:-1] + ', "mood": NaN}', "NaN is no number"),
        (lambda card: json.dumps(card)[:-1] + ', "mood": 1e999}', "1e999 is too large"),
        (lambda card: " " * 20_000_000, "it is too long"),
        *(
            (lambda card, key=key, value=value: json.dumps({**card, key: value}), f"its {key} is missing or damaged")
            for key, value in {
                "name": "two\nlines",
                "adaptive": [-128],
                "strides": [],
                "style_size": 10**30,
                "styles": ["twice", "twice"],
                "arguments": {"width": 10**9},
                "encoder": "vgg16",
                "reach": True,
                "reference": [[[1e300]]],
                "int8": {"sha256": 1},
            }.items()
        ),
    ],
)
def test_a_damaged_card_is_one_line(damage, said: str, tmp_path: Path) -> None:
    shutil.copytree(find_model().folder, tmp_path / "mine")
    path = tmp_path / "mine" / "card.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(ImpastoError, match=rf"^{path} is not a model card: {said}") as raised:
        find_model(tmp_path / "mine")
    assert "\n" not in str(raised.value)


def copy(name: str, folder: Path, **changes: Any) -> Path:
    """A copy of a shipped model, with other values in its card."""
    shutil.copytree(find_model(name).folder, folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))
    return folder


def seal(folder: Path) -> Path:
    """Has the card vouch for files that were changed, so that what is wrong with them is found out by itself."""
    card = json.loads((folder / "card.json").read_text())
    card["fingerprint"] = fingerprint(folder)
    if "int8" in card:
        card["int8"]["sha256"] = digest_of_int8(folder)
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def refusal(folder: Path, engine: str, **options: Any) -> str:
    with pytest.raises(ImpastoError) as raised:
        impasto.load(folder, engine=engine, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.usefixtures("vgg19")
def test_a_model_takes_no_other_models_place_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    bad = copy("adain-relu3_1", tmp_path / "bad", external=[])
    assert refusal(bad, "onnxruntime").startswith("ONNX Runtime cannot load adain-relu3_1: ")
    assert not list((tmp_path / "cache").iterdir())  # what does not open is not kept
    assert "has no weights 'odd'" in refusal(copy("adain-relu3_1", tmp_path / "odd", external=["odd"]), "onnxruntime")
    impasto.load("adain-relu3_1", engine="onnxruntime")
    [kept] = (tmp_path / "cache").iterdir()
    whole = {file.name: file.read_bytes() for file in kept.iterdir()}
    for damage in (b"", whole["weights.bin"][:-4], b"\xff" + whole["weights.bin"][1:]):
        (kept / "weights.bin").write_bytes(damage)
        impasto.load("adain-relu3_1", engine="onnxruntime")
        assert {file.name: file.read_bytes() for file in kept.iterdir()} == whole
    assert list((tmp_path / "cache").iterdir()) == [kept]


def _rename(graph: Any) -> None:
    graph.input[0].name = "odd"


def _fix(graph: Any) -> None:
    for side in graph.input[0].type.tensor_type.shape.dim:
        side.dim_value = 64


def _double(graph: Any) -> None:
    graph.input[1].type.tensor_type.elem_type = 11


def _drop(graph: Any) -> None:
    del graph.output[0]


def _exchange(graph: Any) -> None:
    other = {"painted": "used", "used": "painted"}
    for node in graph.node:
        node.output[:] = [other.get(name, name) for name in node.output]
    del graph.output[:]
    graph.output.extend([type(graph.input[0])(name=name) for name in other])  # of sides that nothing tells


GRAPHS = {
    "another input": (_rename, "cannot load|takes"),
    "a fixed size": (_fix, "takes no image of|cannot load"),
    "another type": (_double, "takes no style of|cannot load"),
    "no picture": (_drop, "gives no painted of"),
    "outputs exchanged": (_exchange, "gives no|cannot load|computes no picture"),
}


@pytest.mark.parametrize("case", GRAPHS)
@pytest.mark.parametrize("engine", [name for name in installed_engines() if name != "torch"])
def test_a_graph_of_another_form_is_one_line(engine: str, case: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    damage, said = GRAPHS[case]
    folder = copy("adain", tmp_path / "odd")
    model = onnx.load(folder / "content.onnx")
    damage(model.graph)
    onnx.save(model, folder / "content.onnx")
    assert re.search(said, refusal(seal(folder), engine, precision="fp32"))


def test_an_int8_graph_of_another_form_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    folder = copy("adain", tmp_path / "odd")
    text = (folder / INT8).read_text()
    entities = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
    for odd in (text[:5000], text.replace('<?xml version="1.0"?>', entities).replace("painted", "&b;"), ""):
        (folder / INT8).write_text(odd)
        assert "adain" in refusal(seal(folder), "openvino", precision="int8")


TENSORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "not numbers": lambda tensor: np.full_like(tensor, np.nan, np.float32),
    "too large": lambda tensor: np.full(tensor.shape, 1e300),
    "complex": lambda tensor: tensor.astype(np.complex64),
    "truth values": lambda tensor: tensor > 0,
    "another shape": lambda tensor: tensor[:7],
    "a table": lambda tensor: tensor[None],
}


@pytest.mark.parametrize("case", TENSORS)
def test_a_gallery_of_other_tensors_is_one_line(case: str, tmp_path: Path) -> None:
    path = copy("adain", tmp_path / "odd") / "gallery.safetensors"
    vectors = load_file(path)
    save_file(vectors | {"klimt-kiss": TENSORS[case](vectors["klimt-kiss"])}, path)
    assert refusal(tmp_path / "odd", "onnxruntime").startswith(f"{path}: its ")


@pytest.mark.parametrize(
    "changes",
    [{"network": "odd"}, {"arguments": {"width": 64}}, {"network": "cin", "arguments": {"blocks": 1024, "width": 1024}},
     {"network": "adain", "arguments": {"decoder": "odd"}}],
)  # fmt: skip
def test_a_network_that_is_not_that_of_the_weights_is_one_line(changes: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    refusal(copy("adain", tmp_path / "odd", **changes), "torch")


@pytest.mark.parametrize("dtype", ["F64", "I64"])
def test_weights_of_other_types_are_one_line(dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = copy("adain", tmp_path / "odd")
    weights = load_file(folder / "weights.safetensors")
    name = next(iter(weights))
    odd = np.full(weights[name].shape, np.inf) if dtype == "F64" else np.zeros(3, np.int64)
    save_file(weights | {name: odd}, folder / "weights.safetensors")
    refusal(seal(folder), "torch")


def _paint_into(model: impasto.Stylizer, pipe: Any) -> None:
    pipe.send(_paint(model))


def _paint(model: impasto.Stylizer) -> np.ndarray:
    return np.asarray(model.stylize(np.full((64, 96, 3), 90, np.uint8), "munch-scream"))


@pytest.mark.parametrize("engine", installed_engines())
def test_models_can_be_pickled_and_forked(engine: str) -> None:
    model = impasto.load(engine=engine)
    painted = _paint(model)
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.engine_name, copy.fingerprint) == (model.engine_name, model.fingerprint)
    np.testing.assert_array_equal(_paint(copy), painted)
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe()
    child = forking.Process(target=_paint_into, args=(model, theirs))
    child.start()
    try:
        assert ours.poll(120), "the child hangs"
        assert np.abs(ours.recv().astype(int) - painted).max() <= 1
    finally:
        child.kill()
        child.join()
