"""Switches off what impasto's dependencies would tell their makers about whoever runs them.

:mod:`impasto` imports this before all else, and so does every process of its own, since they look when they are
imported. What a user has set stays as it is.
"""

from __future__ import annotations

import os
import sys

#: Variables of the environment, by what reads them; child processes inherit them.
_OFF = {
    "DEPTHAI_TELEMETRY": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, for Accelerate
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime 1.29 and later; not on Windows, see impasto.engine.onnxruntime
    "RAY_USAGE_STATS_ENABLED": "0",
}


def switch_off() -> None:
    """Sees to it that nothing is reported by what this process imports from now on, nor by processes that it starts."""
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
    # `import openvino` reports itself, conversion and NNCF what they do, and no variable turns that off. All of them do
    # without this module where it is not installed; None has its import fail as if it were not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
