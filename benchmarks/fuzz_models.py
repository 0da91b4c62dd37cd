"""Opens malformed model folders and paints with them: each must end in a picture, or in one line and exit code 2.

    python benchmarks/fuzz_models.py --count 340

A folder is a copy of a shipped model with a fault or two in its card, graphs or tensors, drawn by a seed; where a
fault is deeper, the hashes that would tell of it are put right. `impasto stylize` runs in a process of its own, with
limits of time and memory. Told are tracebacks, foreign lines, crashes and what ran too long, with their seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from impasto.cli import main as impasto
from impasto.engine import installed_engines
from impasto.image import write_image
from impasto.model import INT8, find_model, fingerprint

BASES = ("adain", "adain", "adain", "adain-relu3_1")
MEMORY = 12 << 30
_DEEP = "[" * 100_000
#: Values for any key of a card; text stands for itself in the file, so that it may be what no `json.dumps` writes.
ODD = ("null", "true", "-1", "0", "1", "7", "2147483648", "1" + "0" * 30, "1" + "0" * 5000, "1e400", "NaN", "1.5", '""',
       '"odd"', '"../../odd"', '"two\\nlines"', '"\\ud800"', '"vgg19"', '"compact"', '"cin"', "[]", "{}", "[1]", "[[]]",
       "[-128]", "[1000000000]", "[null]", '["odd"]', '{"sha256": 1}', '{"width": 1000000000}', '{"width": -1}',
       '{"blocks": 1000000000}', '{"decoder": []}', '{"layer": "relu9_9"}', "[[[1e300]]]", _DEEP)  # fmt: skip
DTYPES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4,
          "F64": 8, "I64": 8, "C64": 8, "ODD": 4}  # fmt: skip


def odd_card(folder: Path, draw: random.Random) -> str:
    path = folder / "card.json"
    card = json.loads(path.read_text())
    if draw.random() < 0.1:
        data = bytearray(path.read_bytes())
        del data[draw.randrange(len(data)) :]
        path.write_bytes(data)
        return "card cut short"
    key, value = draw.choice([*card, "style_size", "styles", "external", "encoder", "int8"]), draw.choice(ODD)
    if draw.random() < 0.2:
        card.pop(key, None)
        path.write_text(json.dumps(card))
        return f"card without {key}"
    path.write_text(json.dumps(card | {key: "@@"}).replace('"@@"', value))
    return f"card {key} = {value[:30]}"


def odd_tensors(folder: Path, draw: random.Random) -> str:
    name = draw.choice(["gallery.safetensors", "gallery.safetensors", "weights.safetensors"])
    path = folder / name
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    key = draw.choice([key for key in header if key != "__metadata__"])
    if "klimt-kiss" in header and draw.random() < 0.7:
        key = "klimt-kiss"
    fault = draw.choice(["dtype", "dtype", "values", "shape", "gone", "cut", "bytes", "length", "empty"])
    if fault == "dtype":
        dtype = draw.choice(list(DTYPES))
        size = DTYPES[dtype] * int(np.prod(header[key]["shape"]))
        header[key] |= {"dtype": dtype, "data_offsets": [len(body), len(body) + size]}
        body += draw.randbytes(size)
    elif fault == "values":
        values = np.full(header[key]["shape"], draw.choice([np.nan, np.inf, 1e39, -1e300, 1e30]), np.float64).tobytes()
        header[key] |= {"dtype": "F64", "data_offsets": [len(body), len(body) + len(values)]}
        body += values
    elif fault == "shape":
        shape = draw.choice([[], [1], [3, 3], [0], [1, *header[key]["shape"]]])
        size = 4 * int(np.prod(shape))
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + size]}
        body += bytes(size)
    elif fault == "gone":
        del header[key]
    text = json.dumps(header).encode()
    data = struct.pack("<Q", 1 << 60 if fault == "length" else len(text)) + text + body
    if fault in ("cut", "bytes", "empty"):
        data = damage(data, fault, draw)
    path.write_bytes(data)
    return f"{name} {key} {fault}"


def damage(data: bytes, fault: str, draw: random.Random) -> bytes:
    if fault == "empty":
        return b""
    if fault == "cut":
        return data[: draw.randrange(len(data))]
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 8, 64])):
        damaged[draw.randrange(min(len(damaged), draw.choice([100, 5000, 10**9])))] = draw.randrange(256)
    return bytes(damaged)


def odd_graph(folder: Path, draw: random.Random) -> str:
    names = [name for name in ("content.onnx", "style.onnx") if (folder / name).is_file()]
    path = folder / draw.choice(names)
    fault = draw.choice(["cut", "bytes", "empty", "name", "type", "rank", "fixed", "output", "drop", "node", "constant",
                         "huge", "many", "external", "loop", "nan", "shape"])  # fmt: skip
    if fault in ("cut", "bytes", "empty"):
        path.write_bytes(damage(path.read_bytes(), fault, draw))
        return f"{path.name} {fault}"
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:  # an earlier fault has left nothing to change
        return "nothing"
    graph = model.graph
    port = draw.choice([*graph.input, *graph.output])
    if fault == "name":
        port.name = draw.choice(["odd", "image", ""])
    elif fault == "type":
        port.type.tensor_type.elem_type = draw.choice([TensorProto.INT64, TensorProto.DOUBLE, TensorProto.STRING, 99])
    elif fault == "rank":
        port.type.tensor_type.shape.dim.add().dim_value = 1
    elif fault == "fixed":
        for size in port.type.tensor_type.shape.dim:
            size.dim_value = draw.choice([1, 2, 64, -1, 1 << 40])
    elif fault == "output":
        del graph.output[draw.randrange(len(graph.output))]
    elif fault == "drop":
        del graph.node[draw.randrange(len(graph.node))]
    elif fault == "node":
        draw.choice(graph.node).op_type = draw.choice(["Relu", "Sin", "Reshape", "Odd", "Loop", "StringNormalizer"])
    elif fault == "constant":
        draw.choice(graph.initializer).dims[:] = draw.choice([[1 << 40], [-1], [0], [1 << 33, 1 << 33], [3]])
    elif fault in ("huge", "many"):
        # As many gigabytes as are computed of a few bytes, when the graph is opened or when it runs.
        sizes = [1 << 34] if fault == "huge" else [1 << 28]
        for index in range(1 if fault == "huge" else 4):
            graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), f"odd-size{index}"))
            graph.node.insert(0, helper.make_node("ReduceMax", [f"odd{index}"], [f"odd-most{index}"], keepdims=0))
            graph.node.insert(0, helper.make_node("ConstantOfShape", [f"odd-size{index}"], [f"odd{index}"]))
            graph.output.append(helper.make_tensor_value_info(f"odd-most{index}", TensorProto.FLOAT, []))
    elif fault == "external":
        tensor = draw.choice(graph.initializer)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        place = draw.choice(["../../../../etc/passwd", "/etc/passwd", "odd.bin", "card.json", ""])
        tensor.external_data.add(key="location", value=place)
    elif fault == "loop":
        body = helper.make_graph(
            [helper.make_node("Identity", ["going"], ["on"])], "odd",
            [helper.make_tensor_value_info("step", TensorProto.INT64, []),
             helper.make_tensor_value_info("going", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
        )  # fmt: skip
        graph.initializer.append(numpy_helper.from_array(np.array(1 << 40, np.int64), "odd-count"))
        graph.initializer.append(numpy_helper.from_array(np.array(True), "odd-true"))
        graph.node.insert(0, helper.make_node("Loop", ["odd-count", "odd-true"], [], body=body))
    else:
        tensor = draw.choice([one for one in graph.initializer if one.data_type in (1, 7, 10)])
        array = numpy_helper.to_array(tensor) if tensor.data_location == 0 else np.zeros(tensor.dims, np.float32)
        array = np.full_like(array, np.nan if array.dtype.kind == "f" else -7) if fault == "nan" else array.ravel()[:1]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path.write_bytes(model.SerializeToString())
    return f"{path.name} {fault}"


def odd_int8(folder: Path, draw: random.Random) -> str:
    path = folder / INT8
    if not path.is_file():
        return odd_card(folder, draw)
    fault = draw.choice(["cut", "bytes", "entities", "type", "shape", "offset", "name", "bin", "empty"])
    text = path.read_text()
    if fault == "bin":
        weights = path.with_suffix(".bin")
        weights.write_bytes(damage(weights.read_bytes(), draw.choice(["cut", "bytes", "empty"]), draw))
    elif fault in ("cut", "bytes", "empty"):
        path.write_bytes(damage(text.encode(), fault, draw))
    else:
        old, new = {
            "entities": ('<?xml version="1.0"?>',
                         '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c"><!ENTITY d SYSTEM "file:///etc/passwd">]>'),
            "type": ('type="Parameter"', draw.choice(['type="Odd"', 'type="Result"'])),
            "shape": ('shape="', draw.choice(['shape="-1,', 'shape="99999999999,', 'shape="odd,'])),
            "offset": ('offset="', draw.choice(['offset="99', 'offset="-'])),
            "name": ('name="image"', 'name="odd"'),
        }[fault]  # fmt: skip
        text = text.replace(old, new) if draw.random() < 0.5 else text.replace(old, new, 1)
        path.write_text(text.replace("painted", "&d;") if fault == "entities" else text)
    return f"int8 {fault}"


def odd_files(folder: Path, draw: random.Random) -> str:
    path = draw.choice(sorted(folder.iterdir()))
    fault = draw.choice(["gone", "a folder", "a loop", "a pipe", "of another model"])
    other = find_model("adain-vgg19").folder / path.name
    path.unlink()
    if fault == "a folder":
        path.mkdir()
    elif fault == "a loop":
        path.symlink_to(path)
    elif fault == "a pipe":
        os.mkfifo(path)
    elif fault == "of another model" and other.is_file():
        shutil.copyfile(other, path)
    return f"{path.name} is {fault}"


def make(folder: Path, seed: int) -> str:
    """Makes a malformed model; says how."""
    draw = random.Random(seed)
    shutil.copytree(find_model(draw.choice(BASES)).folder, folder)
    kinds = draw.choices(
        [odd_card, odd_tensors, odd_graph, odd_int8, odd_files], [5, 4, 5, 2, 1], k=draw.choice([1, 1, 2])
    )
    told = []
    for kind in kinds:
        try:
            told.append(kind(folder, draw))
        except (ValueError, OSError, KeyError):  # one fault too many for another
            continue
    if not all(path.is_file() for path in folder.iterdir()):
        return ", ".join(told)  # a pipe would be waited for
    try:
        card = json.loads((folder / "card.json").read_text())
        if draw.random() < 0.9 and card["fingerprint"]:
            card["fingerprint"] = fingerprint(folder)
            sound = folder / INT8
            if "int8" in card and isinstance(card["int8"], dict):
                card["int8"]["sha256"] = hashlib.sha256(
                    sound.read_bytes() + sound.with_suffix(".bin").read_bytes()
                ).hexdigest()
            (folder / "card.json").write_text(json.dumps(card))
    except (ValueError, OSError, KeyError, RecursionError, TypeError):
        pass
    return ", ".join(told)


def attempt(arguments: list[str], log: Path, seconds: float) -> str:
    """Runs the command in a process of its own; says what came of it."""
    child = os.fork()
    if not child:
        stream = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stream, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1
        try:
            impasto(arguments)
        except SystemExit as exit:
            code = exit.code or 0
        except BaseException:
            import traceback

            traceback.print_exc()
        os._exit(code)
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "too long"
        time.sleep(0.01)
    said = log.read_text("utf-8", "replace")
    if "Traceback" in said:
        return "traceback"
    if os.WIFSIGNALED(status):
        return "crash"
    lines = said.splitlines()
    if any(not line.startswith("impasto: ") for line in lines):
        return "foreign line"
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 2) or len(lines) != (code == 2):
        return f"exit code {code} with {len(lines)} lines"
    return "picture" if code == 0 else "refused"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=340, help="folders for each engine")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--engines", nargs="*", default=installed_engines())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, log, photo, out = (Path(temporary, name) for name in ("model", "log", "photo.png", "out.png"))
        os.environ["IMPASTO_CACHE"] = str(Path(temporary, "cache"))
        write_image(photo, np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
        for engine in given.engines:
            __import__(f"impasto.engine.{engine}")  # once, for all that are forked; no session lives before that
            counts: Counter[str] = Counter()
            for seed in range(given.seed, given.seed + given.count):
                shutil.rmtree(folder, ignore_errors=True)
                out.unlink(missing_ok=True)
                told = make(folder, seed)
                style = random.Random(seed).choice(["klimt-kiss", str(photo)])
                arguments = ["stylize", str(photo), style, "--model", str(folder), "--engine", engine, "--threads", "1",
                             "-o", str(out)]  # fmt: skip
                came: Any = attempt(arguments, log, given.seconds)
                counts[came] += 1
                if came not in ("picture", "refused"):
                    last = (log.read_text("utf-8", "replace").splitlines() or [""])[-1]
                    print(f"{engine} seed {seed} ({told}): {came}: {last[:200]}", flush=True)
            print(engine, given.count, dict(sorted(counts.items())), flush=True)


if __name__ == "__main__":
    main()
