"""Nobody is told who paints: what dependencies would report of it is off before they are imported."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAINT = """
import impasto, numpy as np
impasto.load(engine="{engine}").stylize(np.full((64, 64, 3), 128, np.uint8), "klimt-kiss")
"""
#: What would report when it is imported, or a little later.
PROGRAMS = {
    "onnxruntime": PAINT.format(engine="onnxruntime"),
    "openvino": PAINT.format(engine="openvino"),
}
LOOKED_UP = re.compile(r"connect\(.*(htons\((53|853)\)|/run/systemd/resolve)")
AWAY = re.compile(r'connect\(.*AF_INET6?, (?!.*(inet_addr\("127\.|"::1"))')
TELLING = {"accelerate", "depthai", "huggingface_hub", "nncf", "onnxruntime", "openvino", "ray"}


def clean_environment(home: Path) -> dict[str, str]:
    """That of somebody who has set nothing, in a new home, and not in a test: there some reporters are silent."""
    mine = re.compile("HOME|CI|TF_BUILD|JENKINS_URL|XDG_.*|PYTEST_.*|ORT_.*|NNCF_.*|HF_.*|.*TELEMETRY|.*ANALYTICS_.*"
                      "|.*USAGE_STATS.*|DO_NOT_TRACK")  # fmt: skip
    return {name: value for name, value in os.environ.items() if not mine.fullmatch(name)} | {"HOME": str(home)}


def run(code: str, home: Path, *watched: str) -> str:
    done = subprocess.run(
        [*watched, sys.executable, "-c", code], env=clean_environment(home), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def watch(code: str, home: Path, log: Path) -> list[str]:
    """Where a process and all that it starts connect to, by native code too: lines of strace."""
    run(code, home, "strace", "--seccomp-bpf", "-f", "-qq", "-e", "trace=connect", "-o", str(log))
    lines = log.read_text().splitlines()
    return [line for line in lines if LOOKED_UP.search(line) or AWAY.search(line)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_process_leaves_nothing_in_a_new_home_and_looks_no_host_up(program: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(program) is None:
        pytest.skip(f"needs {program}")
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()
    if (
        shutil.which("strace") is None
        or subprocess.run(["strace", "--seccomp-bpf", "-fqq", "true"], capture_output=True).returncode
    ):
        run(PROGRAMS[program], home)
        assert not list(home.iterdir())
        pytest.skip("home is clean; whether hosts are looked up is seen by strace only, which cannot run here")
    assert watch("import socket\ntry: socket.getaddrinfo('a.invalid', 80)\nexcept OSError: pass", home, log), "it sees"
    assert watch(PROGRAMS[program], home, log) == []
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("module", "is_on"),
    [
        ("huggingface_hub.constants", lambda constants: not constants.HF_HUB_DISABLE_TELEMETRY),
        ("ray._common.usage.usage_lib", lambda usage: usage.usage_stats_enabled()),
    ],
)
def test_what_reports_when_it_is_used_finds_it_off(module: str, is_on: Callable[[Any], bool]) -> None:
    assert not is_on(pytest.importorskip(module))


def test_what_a_user_has_set_stays(tmp_path: Path) -> None:
    code = """
import os, sys, types
os.environ["ORT_DISABLE_TELEMETRY"] = "0"
own = sys.modules["openvino_telemetry"] = types.ModuleType("openvino_telemetry")
import impasto
print(os.environ["ORT_DISABLE_TELEMETRY"], os.environ["RAY_USAGE_STATS_ENABLED"])
print(sys.modules["openvino_telemetry"] is own)
"""
    assert run(code, tmp_path).split() == ["0", "0", "True"]


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_scripts_import_impasto_before_what_would_report(folder: str) -> None:
    late = []
    for script in (ROOT / folder).rglob("*.py"):
        names = [
            name.partition(".")[0]
            for node in ast.parse(script.read_text("utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        ]
        before = names[: names.index("impasto")] if "impasto" in names else names
        late += [f"{script.name}: {name}" for name in TELLING.intersection(before)]
    assert late == []
