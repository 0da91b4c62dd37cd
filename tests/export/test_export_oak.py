"""The compact network in plain operators: the same pictures, and only operators that the cameras' compilers take."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from skimage import data

import impasto
from impasto.errors import ImpastoError
from impasto.evaluate.bench import count_gflop
from impasto.export.checkpoint import trace
from impasto.export.oak import OPSET, estimate, write_oak
from impasto.export.plain import PlainNetwork
from impasto.model import find_model
from impasto.nets import load_network, make_network

# What each ONNX operator becomes among the layers that the MYRIAD plug-in parses: OpenVINO 2022.3,
# src/plugins/intel_myriad/graph_transformer/src/frontend/frontend.cpp (`parsers`, after ConvertOpSet1ToLegacy).
MYRIAD = {
    "Conv": "Convolution", "Relu": "ReLU", "AveragePool": "Pooling", "Concat": "Concat", "Slice": "StridedSlice",
    "Add": "Eltwise", "Sub": "Eltwise", "Mul": "Eltwise", "Div": "Eltwise", "Clip": "Clamp", "Sqrt": "Power",
    "Reshape": "Reshape", "Resize": "Resample", "Transpose": "Permute", "Constant": "Const",
}  # fmt: skip
# Of the operators that snpe-onnx-to-dlc takes, with the last version of each below opset 13: Qualcomm Neural Processing
# SDK, "Supported ONNX Ops" (docs.qualcomm.com, 80-63442-2). Looked up there from A to E; the later letters were not.
SNPE = {
    "Conv": 11, "Relu": 6, "AveragePool": 11, "Concat": 11, "Slice": 11, "Add": 7, "Sub": 7, "Mul": 7, "Div": 7,
    "Clip": 12, "Sqrt": 6, "Reshape": 5, "Resize": 11, "Transpose": 1, "Constant": 12,
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return load_network(find_model("adain"))


@pytest.fixture(scope="module")
def style() -> torch.Tensor:
    return torch.from_numpy(find_model("adain").gallery["klimt-kiss"].tensor)[None]


def image_of(picture: np.ndarray, height: int, width: int) -> torch.Tensor:
    small = np.asarray(Image.fromarray(picture).resize((width, height)))
    return torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float() / 255


def painted(network, image, style, strength) -> torch.Tensor:
    """By the network as it was trained, with the adaptive layer of the content graph."""
    one, none = torch.ones(1, 1, 1, 1).to(image), torch.zeros(network.style_size).to(image)
    control = network.control(style, one, torch.tensor(strength), none[None], none)
    with torch.no_grad():
        return network(image, control).clamp(0, 1)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 48), (88, 104), (64, 296)])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_plain_operators_paint_what_the_network_paints(network, style, photo, height, width, strength):
    image = image_of(photo, height, width)
    expected = painted(network, image, style, strength)
    with torch.no_grad():
        built_in = PlainNetwork(network, (height, width), style, strength)(image)
        given = PlainNetwork(network, (height, width))(image, style, torch.tensor([strength]))
        camera = PlainNetwork(network, (height, width), style, strength, camera=True)(255 * image.flip(1)).flip(1) / 255
    for ours in (built_in, given, camera):
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() < 0.05 / 255


def test_plain_operators_are_equal_for_any_weights():
    """Weights of all sizes: what is small in the trained network cannot hide a wrong place or sign."""
    torch.manual_seed(0)
    network = make_network("compact").eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 0, 0.1)
    network.photo_std.uniform_(2, 4)  # a floor so high that nothing lies 8 times above it, where the ratio is bounded
    image, style = torch.rand(1, 3, 48, 80), torch.rand(1, network.style_size) + 0.2
    with torch.no_grad():
        # At strength 0.7; in float64, since random weights answer to rounding.
        expected = painted(network.double(), image.double(), style.double(), 0.7)
        ours = PlainNetwork(network, (48, 80), style.double(), 0.7).double()(image.double())
    assert expected.std() > 0.05
    assert (ours - expected).abs().max() < 1e-6


@pytest.mark.parametrize("picture", ["photo", "flat"])
def test_half_precision_is_enough(network, style, photo, picture):
    """Sums and squares stay in range, and a flat picture's variance does not vanish."""
    if picture == "flat":
        photo = np.full((256, 256, 3), 200, np.uint8) + np.random.default_rng(0).integers(0, 2, (256, 256, 3), np.uint8)
    image = image_of(photo, 128, 128)  # PyTorch is slow in half precision on most processors
    half = PlainNetwork(network, (128, 128), style, camera=True).half()
    with torch.no_grad():
        ours = half(255 * image.flip(1).half()).float().flip(1) / 255
    difference = 255 * (ours - painted(network, image, style, 1.0)).abs()
    assert difference.max() < 3
    assert difference.mean() < 0.2


@pytest.mark.slow
def test_files_for_a_camera_were_run_and_compared(camera_files):
    free, fixed, _ = camera_files
    assert free.path.name == "adain-96x64.onnx"
    assert fixed.path.name == "adain-96x64-munch-scream.onnx"
    assert list(free.inputs) == ["image", "style"]
    assert list(fixed.inputs) == ["image"]
    for exported in (free, fixed):
        assert [check.runtime.split()[0] for check in exported.checks] == ["ONNX", "OpenVINO", "PyTorch"]
        assert all(check.worst < limit for check, limit in zip(exported.checks, (0.1, 0.3, 2), strict=True))
        assert "not run: the compilers" in str(exported)
        for suffix in (".xml", ".bin", ".json"):
            assert exported.path.with_suffix(suffix).is_file()
    settings = json.loads(free.path.with_suffix(".json").read_text())
    assert settings["input_model"] == free.path.name
    assert settings["inputs"][1] == {"name": "style", "shape": [1, 1152], "encoding": "NONE"}
    assert settings["rvc2"]["compile_tool_args"] == ["-iop", "image:U8,style:FP16"]


def test_only_operators_that_the_cameras_compilers_take(camera_files):
    for exported in camera_files[:2]:
        graph = onnx.shape_inference.infer_shapes(onnx.load(exported.path), strict_mode=True)
        assert [entry.version for entry in graph.opset_import] == [OPSET]
        for node in graph.graph.node:
            assert node.op_type in MYRIAD
            assert onnx.defs.get_schema(node.op_type, OPSET).since_version <= SNPE[node.op_type]
            settings = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
            if node.op_type == "Resize":  # the one kind that the MYRIAD plug-in documents without conditions
                kinds = settings["mode"], settings["coordinate_transformation_mode"], settings["nearest_mode"]
                assert kinds == (b"nearest", b"asymmetric", b"floor")
            if node.op_type in ("Conv", "AveragePool"):
                assert not any(settings.get("pads", []))
                assert max(settings["kernel_shape"]) <= 8
        constants = {node.output[0] for node in graph.graph.node if node.op_type == "Constant"}
        values = [value for value in graph.graph.value_info if value.name not in constants]
        shapes = [value.type.tensor_type.shape.dim for value in values]
        assert shapes
        assert all(len(shape) <= 4 and all(side.dim_value > 0 for side in shape) for shape in shapes)
        # And OpenVINO's own reading of it adds nothing of another kind.
        layers = ElementTree.parse(exported.path.with_suffix(".xml")).iter("layer")
        assert {layer.get("type") for layer in layers} <= {
            "Parameter", "Result", "Const", "Convert", "Convolution", "GroupConvolution", "ReLU", "AvgPool", "Concat",
            "Slice", "Add", "Subtract", "Multiply", "Divide", "Clamp", "Sqrt", "Reshape", "Interpolate", "Transpose",
        }  # fmt: skip


def test_the_network_as_trained_would_not_do(tmp_path):
    """The list can fail: the content graph's own operators are more."""
    kinds = {node.op_type for node in onnx.load(find_model("adain").graph()).graph.node}
    assert {"Pad", "ReduceMean"} <= kinds - MYRIAD.keys()


def test_estimates_follow_from_operations(camera_files):
    [rvc2, rvc4] = camera_files[2]
    # In plain operators a little more is counted: the filter after doubling.
    gflop = count_gflop(find_model("adain"), 256) * 64 * 96 / 256**2
    assert gflop <= rvc2.gflop < 1.03 * gflop
    assert 0 < rvc2.slowest < rvc2.fastest < rvc4.fastest
    assert "an estimate" in str(rvc2)
    assert "never measured" in str(rvc2)
    assert estimate(4 * rvc2.gflop)[0].fastest == pytest.approx(rvc2.fastest / 4)


@pytest.mark.parametrize("size", [(88, 104), (296, 88), (64, 296)])
def test_sums_stay_short_at_sizes_with_large_prime_factors(network, style, size):
    """An eighth of 296 is 37, of which 37 x 37 values together have left the range of half precision."""
    graph = trace(PlainNetwork(network, size, style), (torch.rand(1, 3, *size),), ["image"], ["painted"], {}, OPSET)
    pools = [node for node in graph.graph.node if node.op_type == "AveragePool"]
    windows = [attribute.ints for node in pools for attribute in node.attribute if attribute.name == "kernel_shape"]
    assert windows
    assert max(np.prod(window) for window in windows) <= 64


def test_what_a_camera_cannot_have_is_said(tmp_path):
    painter = impasto.load("adain", engine="onnxruntime", threads=1)
    with pytest.raises(ImpastoError, match="multiples of 8, 32 or more, not 100x64"):
        write_oak(painter, tmp_path / "camera", (64, 100))
    assert not (tmp_path / "camera").exists()
    with pytest.raises(ImpastoError, match="the compact network only"):
        PlainNetwork(make_network("adain"), (64, 64))


def test_a_picture_of_the_camera_network_is_that_of_the_library(camera_files, photo):
    """The OpenVINO files on a photo in another style than those they were compared in."""
    openvino = pytest.importorskip("openvino")
    painter = impasto.load("adain", engine="onnxruntime", threads=1)
    style = painter.style(data.chelsea())
    content = np.asarray(Image.fromarray(photo).resize((96, 64)))
    compiled = openvino.Core().compile_model(
        camera_files[0].path.with_suffix(".xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    image = content[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    ours = compiled([image, style.tensor[None]])[0][0].transpose(1, 2, 0)[..., ::-1]
    expected = painter.run_network(content, style.tensor[None], 1.0)
    assert np.abs(np.rint(ours) - expected).max() <= 1
