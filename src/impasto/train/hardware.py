"""What training has to do with the machine: memory, precision and the names of devices."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def keep_freed_memory() -> None:
    """Asks glibc to keep freed blocks in the process instead of handing them back to the system.

    A training step frees and takes gigabytes; by default every large block is unmapped and its pages are faulted in
    again, which on a virtual machine took four fifths of a step's time.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 500_000_000)):  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD
            libc.mallopt(option, value)


@functools.cache
def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device computes convolutions faster in bfloat16 than in float32; a CPU is put to the test, once.

    What a processor says of itself does not tell: of two that have AVX-512's bfloat16 instructions and no AMX, an EPYC
    (Zen 4) took half the time of float32, a Xeon 1.7 times as long.
    """
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def seconds(dtype: torch.dtype) -> float:
        features = torch.ones(1, 64, 96, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
        kernels = torch.ones(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        times = []
        for _ in range(5):  # the first prepares the kernels; of the rest the one least disturbed counts
            start = time.perf_counter()
            torch.nn.functional.conv2d(features, kernels)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    with torch.no_grad():
        return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def autocast_where_faster(device: torch.device) -> torch.autocast:
    """Makes a context that computes in bfloat16 where the device is faster so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device))


def name_device(accelerator: Accelerator) -> str:
    """Names what a run computes on, for its record."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return f"{accelerator.num_processes} x {name}"
