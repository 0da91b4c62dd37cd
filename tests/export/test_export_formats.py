"""A model for other runtimes: each file paints what the library paints, and what cannot be is said."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.export import ContentGraph
from impasto.export.exported import compare
from impasto.export.formats import FORMATS
from impasto.export.runtimes import Painter, write_model
from impasto.image import to_float, to_uint8
from impasto.nets import make_network

EXTRAS = {"executorch": "executorch", "coreml": "coremltools", "openvino": "openvino"}
SIZE = (64, 96)


@pytest.fixture(scope="module")
def painter():
    return impasto.load("adain", engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def content(photo) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize(SIZE[::-1]))


def run(command: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    return exit_.value.code or 0


@pytest.mark.parametrize(
    "to",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "executorch" else [])
        for name, known in FORMATS.items()
        if known.run
    ],
)
def test_a_file_paints_what_the_library_paints(to, painter, content, tmp_path):
    pytest.importorskip(EXTRAS.get(to, "torch"))
    made = write_model(painter, tmp_path / f"net{FORMATS[to].suffix}", size=SIZE)
    assert list(made.inputs) == ["image", "style", "strength"]
    assert made.checks
    assert all(check.worst < 0.5 for check in made.checks)
    # With another style than the command tried it with, from the file alone, against the model folder's own graph.
    style = painter.style("kandinsky-composition-vii")
    _, paint = FORMATS[to].run(made.path)
    ours = paint([to_float(content), style.tensor[None], np.array([1.0], np.float32)])
    expected = painter.run_network(content, style.tensor[None], 1.0)
    assert np.abs(to_uint8(ours).astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_core_ml_is_converted_and_said_not_to_be_run(painter, tmp_path):
    pytest.importorskip("coremltools")
    made = write_model(painter, tmp_path / "net.mlpackage", size=SIZE, style=painter.style("klimt-kiss"))
    assert (made.path / "Manifest.json").is_file()
    assert not made.checks
    assert "not run: Core ML paints on Apple's systems only" in str(made)


def test_a_file_for_any_size(painter, tmp_path):
    made = write_model(painter, tmp_path / "net.onnx")
    assert [check.size for check in made.checks] == [(384, 512), (203, 310)]
    assert all(check.worst < 0.5 for check in made.checks)
    graph = onnx.load(made.path)
    onnx.checker.check_model(graph, full_check=True)
    assert f"opset {graph.opset_import[0].version}" in made.kind
    sides = [side.dim_param for side in graph.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["", "", "height", "width"]


def test_style_and_strength_can_be_built_in(painter, content, tmp_path, capsys):
    out = tmp_path / "net.onnx"
    assert run(f"export adain {out} --size 96x64 --style munch-scream --strength 0.5 --threads 1 --json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kind"].endswith("style munch-scream; strength 0.5")
    assert list(said["inputs"]) == ["image"]
    assert said["checks"][0]["worst"] < 0.5
    _, paint = FORMATS["onnx"].run(out)
    # What the network alone makes of it; the library moves colours first, and mixes in a share of the photo.
    expected = painter.run_network(content, painter.style("munch-scream").tensor[None], 0.5)
    assert np.abs(to_uint8(paint([to_float(content)])).astype(int) - expected).max() <= 1


def test_networks_with_styles_of_their_own_can_be_exported_too(tmp_path):
    """Population statistics, and filters for styles: their own forms of the adaptive layer."""
    torch.manual_seed(0)
    for network in (
        make_network("feedforward", {"norm": "batch"}),
        make_network("stylebank", {"styles": 2}),
        make_network("adain"),
    ):
        network.eval()
        image, style = torch.rand(1, 3, 40, 56), torch.rand(1, network.style_size) * 0.1 + 0.5
        stats = torch.ones(1, 2 * sum(network.adaptive))
        controls = style, torch.ones(1, 1, 1, 1), torch.tensor(0.7), stats, 0 * stats[0]
        with torch.no_grad():
            expected, _ = ContentGraph(network)(image, *controls)
            assert torch.allclose(Painter(network)(image, style, torch.tensor([0.7])), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("export adain {}/net.foo", "does not say in what format: end it in .onnx, .xml, .pt2, .pte, .mlpackage"),
        ("export adain {}/net.onnx --to openvino", "net.onnx is no name for openvino: end it in .xml"),
        (
            "export adain {}/net.onnx --size 512x",
            "--size takes the side of a square or WIDTHxHEIGHT, like 512 or 512x384, not 512x",
        ),
        ("export adain {}/net.onnx --size 8x8", "16 or more on both sides, not 8x8"),
        ("export adain {}/net.pte", "give --size"),
        ("export adain {}/net.pte --size 50x64", "multiples of 8"),
        ("export adain {}/net.onnx --strength 0.5", "--strength builds in a strength with --style"),
        ("export adain {}/net.onnx --style no-such-style", "no file and no shipped style no-such-style"),
        ("export adain {}/net.onnx --name mine", "--name has no meaning for a model"),
        ("export adain {}/net.onnx --mean-with runs/a.pt", "--mean-with has no meaning for a model"),
        ("export gatys {}/net.onnx", "gatys is a method, not a network"),
        ("export nothing {}/net.onnx", "no model nothing"),
        ("export oak {}/camera --to onnx", "--to has no meaning for oak"),
        ("export adain {}/nowhere/net.onnx --size 64x64", "there is no folder"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(command, said, tmp_path, capsys):
    assert run(command.format(tmp_path)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_kind_is_not_replaced(tmp_path, capsys):
    precious = tmp_path / "photos.mlpackage"
    precious.mkdir()
    (precious / "photo.jpg").write_bytes(b"a photo")
    assert run(f"export adain {precious} --size 64x96") == 2
    assert "holds something other than a model" in capsys.readouterr().err
    assert [path.read_bytes() for path in precious.iterdir()] == [b"a photo"]


def test_a_file_that_paints_something_else_is_refused():
    expected = np.full((1, 3, 4, 4), 0.5, np.float32)
    image = (torch.zeros(1, 3, 4, 4),)
    near = compare(("a runtime", lambda arrays: expected + 0.5 / 255), image, expected, (4, 4), 1.0)
    assert near.worst == pytest.approx(0.5, abs=1e-3)
    for wrong in (expected + 2 / 255, expected * np.nan):
        with pytest.raises(ImpastoError, match="nothing written: a runtime at 4x4"):
            compare(("a runtime", lambda arrays, wrong=wrong: wrong), image, expected, (4, 4), 1.0)
