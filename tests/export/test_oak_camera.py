"""The camera example. Without a camera DepthAI builds pipelines of host nodes only: those run here, for real."""

from __future__ import annotations

import importlib.util
import re
import time
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
from PIL import Image

import impasto

av = pytest.importorskip("av")
dai = pytest.importorskip("depthai")
pytest.importorskip("openvino")

SCRIPT = Path(__file__).parents[2] / "examples" / "oak" / "oak_camera.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("oak_camera", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def painter():
    return impasto.load("adain", engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def still(photo, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A clip of one picture, 96 x 64, and its frames as they are decoded."""
    path = tmp_path_factory.mktemp("clip") / "still.mp4"
    frame = av.VideoFrame.from_ndarray(np.asarray(Image.fromarray(photo).resize((96, 64))), "rgb24")
    with av.open(path, "w") as clip:
        stream = clip.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(10):
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode())
    with av.open(path) as clip:
        decoded = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    return path, decoded


def frames(queue, wanted, seconds=60):
    """Frames from a queue until one is as wanted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message = queue.tryGet()
        if message is None:
            time.sleep(0.02)
            continue
        frame = message.getCvFrame()[..., ::-1]
        if wanted(frame):
            return frame
    raise AssertionError("no such frame")


def test_pipeline_paints_and_the_style_changes_while_it_runs(script, painter, still, camera_files):
    clip, decoded = still
    expected = {
        name: painter.run_network(decoded, painter.style(name).tensor[None], 1.0).astype(int)
        for name in ("klimt-kiss", "munch-scream")
    }
    assert np.abs(expected["klimt-kiss"] - expected["munch-scream"]).mean() > 10
    with dai.Pipeline(createImplicitDevice=False) as pipeline:
        parts = script.on_this_machine(pipeline, camera_files[0].path.with_suffix(".xml"), clip, (96, 64), 20)
        picture = pipeline.create(script.Picture).build(parts.painted)
        queue = picture.out.createOutputQueue(2, False)
        pipeline.start()
        for name, picture in expected.items():
            parts.style(painter.style(name).tensor)
            # The two decoders differ by a level or two, and the style goes as float16.
            frames(queue, lambda frame, picture=picture: np.abs(frame - picture).mean() < 2)
        pipeline.stop()


def test_a_network_with_a_style_built_in_needs_none(script, still, camera_files):
    with dai.Pipeline(createImplicitDevice=False) as pipeline:
        parts = script.on_this_machine(pipeline, camera_files[1].path.with_suffix(".xml"), still[0], (96, 64), 20)
        assert parts.style is None
        queue = pipeline.create(script.Picture).build(parts.painted).out.createOutputQueue(2, False)
        pipeline.start()
        frames(queue, lambda frame: frame.shape == (64, 96, 3))
        pipeline.stop()


@pytest.mark.parametrize("layout", ["planes", "pixels"])
def test_tensors_of_both_chips_become_frames(script, layout):
    """RVC2 hands out planes, RVC4 pixels, both in half precision."""
    pixels = np.arange(4 * 6 * 3, dtype=np.float16).reshape(1, 4, 6, 3) * 3 + 0.25
    tensor = pixels.transpose(0, 3, 1, 2) if layout == "planes" else pixels
    message = dai.NNData()
    message.addTensor("painted", np.ascontiguousarray(tensor), dataType=dai.TensorInfo.DataType.FP16)
    with dai.Pipeline(createImplicitDevice=False) as pipeline:
        frame = pipeline.create(script.Picture).process(message)
    assert np.array_equal(frame.getCvFrame(), np.rint(pixels[0]).astype(np.uint8))


def test_a_device_is_what_the_rest_needs():
    """Why the camera's own nodes are not built here: DepthAI refuses them without a device."""
    with dai.Pipeline(createImplicitDevice=False) as pipeline, pytest.raises(RuntimeError, match="host only"):
        pipeline.create(dai.node.Camera)


@pytest.mark.parametrize("has_style", [True, False])
@pytest.mark.parametrize("platform", ["RVC2", "RVC4"])
def test_every_call_for_the_camera_is_one_that_depthai_has(script, has_style, platform):
    """Against a stand-in of the device that knows the names of the real classes and nothing else."""
    camera, network = create_autospec(dai.node.Camera), create_autospec(dai.node.NeuralNetwork)
    camera.build.return_value = camera
    camera.requestOutput.return_value = create_autospec(dai.Node.Output)
    network.inputs = {name: create_autospec(dai.Node.Input) for name in ("image", "style")}
    pipeline = create_autospec(dai.Pipeline)
    pipeline.create.side_effect = {dai.node.Camera: camera, dai.node.NeuralNetwork: network}.__getitem__
    pipeline.getDefaultDevice.return_value.getPlatform.return_value = getattr(dai.Platform, platform)
    parts = script.on_camera(pipeline, Path("net.superblob"), (256, 256), 20.0, has_style)
    size, colours, fit, fps = camera.requestOutput.call_args.args
    assert (size, fit, fps) == ((256, 256), dai.ImgResizeMode.CROP, 20.0)
    assert colours == getattr(dai.ImgFrame.Type, {"RVC2": "BGR888p", "RVC4": "BGR888i"}[platform])
    network.setModelPath.assert_called_once_with(Path("net.superblob"))
    camera.requestOutput.return_value.link.assert_called_once_with(
        network.inputs["image"] if has_style else network.input
    )
    assert (parts.style is not None) == has_style
    if has_style:
        network.inputs["style"].setReusePreviousMessage.assert_called_once_with(True)
        parts.style(np.ones(1152, np.float32))
        [message] = network.inputs["style"].createInputQueue.return_value.send.call_args.args
        assert message.getTensor("style").shape == (1, 1152)


def test_a_size_that_is_none_is_one_line(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["oak_camera.py", "net.blob", "--size", "256"])
    with pytest.raises(SystemExit) as exit_:
        script.main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith("argument --size: WIDTHxHEIGHT, like 256x256, not 256\n")


def test_the_guide_names_what_there_is(script):
    """Every file and option of the script's own instructions exists."""
    options = set(re.findall(r"--[a-z]+", script.__doc__))
    source = SCRIPT.read_text()
    assert {"--video"} <= options - {"--size"}
    assert all(f'"{option}"' in source for option in options)
