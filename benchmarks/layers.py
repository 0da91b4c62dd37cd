"""Where the content path's time goes, by kind of operation: python benchmarks/layers.py [SIZE] [HEIGHT]

Every engine runs the shipped model on one picture with its own profiler on. OpenVINO runs three ways: compiled for any
size, compiled for this one, and that in eight bits.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import impasto  # before the engines, which would report themselves

# isort: split
import numpy as np
import onnxruntime
import openvino

from impasto.engine import Inputs

RUNS = 20
#: What is arithmetic of the network itself; everything else serves the adaptive layers or the layout.
CONVOLUTIONS = ("Convolution", "Conv", "FusedConv", "QLinearConv")


def inputs(model: impasto.model.Model, height: int, width: int) -> dict[str, np.ndarray]:
    stats = np.ones((1, model.stats_size), np.float32)
    image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    style = np.ones((1, model.style_size), np.float32)
    one = np.ones((1, 1, 1, 1), np.float32)
    return Inputs(image, style, one, np.array(1, np.float32), stats, 0 * stats[0])._asdict()


def with_openvino(path: Path, feed: dict[str, np.ndarray], fixed: bool) -> tuple[float, Counter[str]]:
    graph = openvino.Core().read_model(str(path))
    if fixed:
        graph.reshape({name: list(array.shape) for name, array in feed.items()})
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": "YES"}
    request = openvino.Core().compile_model(graph, "CPU", config).create_infer_request()
    kinds: Counter[str] = Counter()
    seconds = []
    for run in range(RUNS + 3):
        start = time.perf_counter()
        request.infer(feed)
        if run >= 3:
            seconds.append(time.perf_counter() - start)
            for layer in request.get_profiling_info():
                precision = " int8" if layer.exec_type.endswith("I8") else ""
                kinds[layer.node_type + precision] += layer.real_time.total_seconds() / RUNS
    return median(seconds), kinds


def with_onnxruntime(path: Path, feed: dict[str, np.ndarray]) -> tuple[float, Counter[str]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            session.run(["painted"], feed)
            seconds.append(time.perf_counter() - start)
        events = json.loads(Path(session.end_profiling()).read_text())
    kinds: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            kinds[event["args"]["op_name"]] += event["dur"] / 1e6 / RUNS
    return median(seconds), kinds


def main(width: int = 512, height: int | None = None) -> None:
    model = impasto.model.find_model()
    feed = inputs(model, height or width, width)
    eight = model.int8_graph()
    runs = {
        "ONNX Runtime": lambda: with_onnxruntime(model.graph(), feed),
        "OpenVINO, any size": lambda: with_openvino(model.graph(), feed, fixed=False),
        "OpenVINO, this size": lambda: with_openvino(model.graph(), feed, fixed=True),
    }
    if eight is not None:
        runs["OpenVINO, this size, int8"] = lambda: with_openvino(eight, feed, fixed=True)
    for name, run in runs.items():
        seconds, kinds = run()
        work = sum(time for kind, time in kinds.items() if kind.split()[0] in CONVOLUTIONS)
        print(f"{name}: {1e3 * seconds:.1f} ms a picture, of which convolutions {1e3 * work:.1f} ms")
        for kind, spent in kinds.most_common(10):
            print(f"  {1e3 * spent:6.2f} ms  {kind}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
