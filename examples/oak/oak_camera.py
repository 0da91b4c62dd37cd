"""A live picture that an OAK camera paints itself: camera, resize, network, display. Needs depthai and impasto[camera].

impasto export oak camera/ --size 256x256                         # then a .superblob or .dlc: docs/guide/oak.md
python oak_camera.py camera/adain-256x256.superblob klimt-kiss
python oak_camera.py camera/adain-256x256.xml klimt-kiss --video clip.mp4    # no camera: the same on this machine

Type the name of another style, or the path of a picture, and Enter. In the window, q ends it.
"""

import argparse
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import impasto  # before depthai, which would report itself

# isort: split
import depthai as dai
import numpy as np


class Parts(NamedTuple):
    """What stands between the frames and the display."""

    painted: dai.Node.Output  # NNData with the tensor "painted"
    style: Callable[[np.ndarray], None] | None  # hands on another style; None where one is built in


def on_camera(pipeline: dai.Pipeline, model: Path, size: tuple[int, int], fps: float, has_style: bool) -> Parts:
    """Camera, resize and network, all on the camera; the style goes there when it changes and stays."""
    planar = pipeline.getDefaultDevice().getPlatform() == dai.Platform.RVC2
    colours = dai.ImgFrame.Type.BGR888p if planar else dai.ImgFrame.Type.BGR888i
    camera = pipeline.create(dai.node.Camera).build()
    frames = camera.requestOutput(size, colours, dai.ImgResizeMode.CROP, fps)
    network = pipeline.create(dai.node.NeuralNetwork)
    network.setModelPath(model)
    network.setNumInferenceThreads(2)
    if not has_style:
        network.input.setBlocking(False)
        network.input.setMaxSize(1)
        frames.link(network.input)
        return Parts(network.out, None)
    image, style = network.inputs["image"], network.inputs["style"]
    image.setBlocking(False)  # a frame that comes too early takes the place of the one that waits
    image.setMaxSize(1)
    style.setReusePreviousMessage(True)
    frames.link(image)
    return Parts(network.out, _sender(style.createInputQueue()))


def on_this_machine(pipeline: dai.Pipeline, model: Path, video: Path, size: tuple[int, int], fps: float) -> Parts:
    """The same pipeline without a camera: a video for the frames, OpenVINO for the network."""
    replay = pipeline.create(dai.node.ReplayVideo)
    replay.setReplayVideoFile(video)
    replay.setSize(*size)
    replay.setOutFrameType(dai.ImgFrame.Type.BGR888p)
    replay.setFps(fps)
    replay.setLoop(True)
    network = pipeline.create(HostNetwork).open(model)
    replay.out.link(network.image)
    return Parts(network.out, _sender(network.style.createInputQueue()) if network.has_style else None)


class HostNetwork(dai.node.ThreadedHostNode):
    """What dai.node.NeuralNetwork is on the camera, by OpenVINO on this machine."""

    def __init__(self) -> None:
        dai.node.ThreadedHostNode.__init__(self)
        self.image = self.createInput("image")
        self.style = self.createInput("style")
        kind = dai.Node.DatatypeHierarchy(dai.DatatypeEnum.NNData, True)
        self.out = self.createOutput("out", possibleDatatypes=[kind])
        self.image.setBlocking(False)
        self.image.setMaxSize(1)

    def open(self, model: Path) -> Self:
        import openvino

        # Without the hint OpenVINO takes bfloat16 where the processor has it, and the picture shows it.
        self.compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.has_style = len(self.compiled.inputs) > 1
        return self

    def run(self) -> None:
        style = None
        while self.isRunning():
            frame = self.image.get()
            newest = self.style.tryGet() if self.has_style else None
            style = style if newest is None else newest.getTensor("style").astype(np.float32)
            if self.has_style and style is None:
                continue  # as on the camera, which waits for the first style
            image = frame.getCvFrame().transpose(2, 0, 1)[None].astype(np.float32)
            painted = dai.NNData()
            painted.addTensor("painted", self.compiled([image] if style is None else [image, style])[0])
            painted.setBufferMetadataFrom(frame)  # when it was taken, and which one it is
            self.out.send(painted)


class Picture(dai.node.HostNode):
    """From the network's tensor to a frame to look at."""

    def build(self, painted: dai.Node.Output) -> Self:
        self.link_args(painted)
        return self

    # DepthAI reads the annotations as classes: postponing them, as elsewhere here, would turn them into text.
    def process(self, painted: dai.NNData) -> dai.ImgFrame:
        tensor = np.asarray(painted.getTensor("painted"), np.float32)[0]
        if tensor.shape[0] == 3:  # planes on RVC2 and here, pixels on RVC4
            tensor = tensor.transpose(1, 2, 0)
        frame = dai.ImgFrame()
        frame.setCvFrame(np.ascontiguousarray(np.rint(tensor.clip(0, 255)).astype(np.uint8)), dai.ImgFrame.Type.BGR888i)
        frame.setBufferMetadataFrom(painted)
        return frame


def _sender(queue: dai.InputQueue) -> Callable[[np.ndarray], None]:
    def send(style: np.ndarray) -> None:
        message = dai.NNData()
        message.addTensor("style", style[None].astype(np.float16), dataType=dai.TensorInfo.DataType.FP16)
        queue.send(message)

    return send


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help=".superblob, .blob, .dlc or NN archive; .xml with --video")
    parser.add_argument("style", nargs="?", help="the first style; none where one is built in")
    parser.add_argument("--video", type=Path, help="paint this video on this machine, without a camera")
    parser.add_argument("--size", type=_size, default="256x256", help="WIDTHxHEIGHT that the network was exported for")
    parser.add_argument("--of", default="adain", help="the model that the network was exported from")
    parser.add_argument("--fps", type=float, default=20)
    given = parser.parse_args()

    from impasto.camera import Pace, Window

    painter = impasto.load(given.of)
    with Window() as window, dai.Pipeline(createImplicitDevice=given.video is None) as pipeline:
        if given.video is not None:
            parts = on_this_machine(pipeline, given.model, given.video, given.size, given.fps)
        else:
            parts = on_camera(pipeline, given.model, given.size, given.fps, has_style=given.style is not None)
        if parts.style is not None and given.style is None:
            parser.error("this network takes a style: name one")
        frames = pipeline.create(Picture).build(parts.painted).out.createOutputQueue(2, False)
        pipeline.start()
        if parts.style is not None:
            parts.style(painter.style(given.style).tensor)
        threading.Thread(target=_listen, args=(painter, parts.style), daemon=True).start()
        pace, recent, first = Pace(), deque(maxlen=30), None
        while pipeline.isRunning():
            frame = frames.get()
            recent.append(time.monotonic())
            first = frame.getSequenceNum() if first is None else first
            pace.shown += 1
            pace.dropped = max(0, frame.getSequenceNum() - first + 1 - pace.shown)
            pace.frames_per_second = (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)
            pace.latency = (dai.Clock.now() - frame.getTimestamp()).total_seconds()
            if not window.show(frame.getCvFrame()[..., ::-1], pace):
                break
        pipeline.stop()


def _size(text: str) -> tuple[int, int]:
    """Width and height."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"WIDTHxHEIGHT, like 256x256, not {text}")
    return int(width), int(height)


def _listen(painter: object, style: Callable[[np.ndarray], None] | None) -> None:
    """Takes styles from the terminal."""
    for line in sys.stdin:
        if style is None:
            print("a style is built into this network: export one without --style")
            continue
        try:
            style(painter.style(line.strip()).tensor)
        except impasto.ImpastoError as error:
            print(error)


if __name__ == "__main__":
    main()
