"""A screen that nobody sees, for tests of what opens windows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def screen() -> Iterator[str]:
    """What DISPLAY has to be for a screen of 1280 x 800; the test is skipped where there can be none."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb: apt-get install xvfb")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24"],
        pass_fds=(writing,), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    try:
        with open(reading) as number:
            yield f":{number.readline().strip()}"
    finally:
        server.terminate()
        server.wait(20)
