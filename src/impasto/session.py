"""Opens graphs in ONNX Runtime, whoever made them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from impasto.errors import ImpastoError, first_line

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    onnxruntime.disable_telemetry_events()  # Windows heeds no variable, nor does who imported the runtime before us


def open_session(
    graph: Path,
    name: str,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
    keep_memory: bool = True,
) -> onnxruntime.InferenceSession:
    """Opens a graph.

    Args:
        graph: its file.
        name: of its model, for errors.
        providers: what may run it, the best first.
        threads: processor threads; None takes one for each physical core.
        keep_memory: keep what memory it takes from one run to the next.

    Raises:
        ImpastoError: it is no such graph.
    """
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = keep_memory
    options.log_severity_level = 4  # what goes wrong is raised; warnings of fallback nodes help nobody
    # Threads that spin while they wait would slow down everything else on the machine, a second session included.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=list(providers))
    except Exception as error:  # the runtime's own errors share no narrower public base
        raise ImpastoError(f"ONNX Runtime cannot load {name}: {first_line(error)}") from error
