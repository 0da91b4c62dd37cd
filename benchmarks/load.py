"""How `impasto app` bears many clients at once.

    python benchmarks/load.py --clients 32 --seconds 120

Starts a server on the loopback interface and lets clients ask it for pictures, each for pictures of its own, as fast as
they are answered. Every answer is compared, pixel by pixel, with what the library makes of the same request. A client
that is told to come back later does so. Memory is the server's resident set, read from its own /metrics.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import impasto

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
VARIANTS = 4  # different requests of each client


@dataclass(frozen=True)
class Request:
    """A request and the answer it must get."""

    body: bytes
    kind: str
    expected: np.ndarray


@dataclass
class Tally:
    """What the clients have seen."""

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    options = parsed()
    print(f"making {options.clients * VARIANTS} expected answers ...", flush=True)
    painter = impasto.load(engine=options.engine, threads=1)
    clients = [
        [request(painter, client, n, options.size) for n in range(VARIANTS)] for client in range(options.clients)
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "impasto", "app", "--port", "0", "--threads", "1", "--engine", options.engine,
         "--queue", str(options.queue)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = re.search(r"http://[\d.:]+", server.stderr.readline()).group()
        tally, memory = storm(address, clients, options.seconds)
        report(options, tally, memory, server.poll() is None)
    finally:
        server.terminate()
        said = server.communicate(timeout=20)[1]
    if "Traceback" in said:
        sys.exit(said)


def request(painter: impasto.Stylizer, client: int, variant: int, size: int) -> Request:
    """A crop, a mix of two styles and a strength that no other request has."""
    names = list(painter.gallery)
    number = client * VARIANTS + variant
    photo = (
        Image.open(EXAMPLE).crop((number, number // 2, number + 256, number // 2 + 192)).resize((size, size * 3 // 4))
    )
    styles, strength = (names[number % len(names)], names[(number * 7 + 3) % len(names)]), 1 - 0.004 * number
    weights = (1 + client, 1 + variant)
    mix = dict(zip(map(painter.style, styles), weights, strict=True))
    expected = np.asarray(painter.stylize(photo, mix, strength=strength))
    fields = {"style": styles, "weight": weights, "strength": [strength]}
    return Request(*form(fields, {"photo": photo}), expected)


def form(fields: dict[str, Sequence[object]], pictures: dict[str, Image.Image]) -> tuple[bytes, str]:
    """A body of multipart/form-data, and its content type."""
    mark = "impasto-load-boundary"
    parts = []
    for name, picture in pictures.items():
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        parts.append(f'name="{name}"; filename="{name}.png"\r\n\r\n'.encode() + stream.getvalue())
    for name, values in fields.items():
        parts += [f'name="{name}"\r\n\r\n{value}'.encode() for value in values]
    head = f"--{mark}\r\nContent-Disposition: form-data; ".encode()
    body = b"".join(head + part + b"\r\n" for part in parts) + f"--{mark}--\r\n".encode()
    return body, f"multipart/form-data; boundary={mark}"


def storm(address: str, clients: list[list[Request]], seconds: float) -> tuple[Tally, list[tuple[float, float]]]:
    """Lets all clients loose; gives what they saw, and (second, MB) of the server every five seconds."""
    tally, memory = Tally(), []
    start = time.monotonic()
    threads = [threading.Thread(target=ask, args=(address, own, start + seconds, tally)) for own in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        now = time.monotonic() - start
        memory.append((now, resident(address)))
        print(f"{now:4.0f} s  {memory[-1][1]:6.1f} MB  {dict(tally.answers)}", flush=True)
        time.sleep(5)
    return tally, memory


def ask(address: str, own: list[Request], until: float, tally: Tally) -> None:
    """One client: its requests in turn, until time is up."""
    number = 0
    while time.monotonic() < until:
        wanted = own[number % len(own)]
        number += 1
        call = urllib.request.Request(f"{address}/v1/stylize", wanted.body, {"Content-Type": wanted.kind})
        start, wait = time.monotonic(), 0.0
        try:
            with urllib.request.urlopen(call, timeout=120) as answer:
                got = np.asarray(Image.open(io.BytesIO(answer.read())))
            what = "right" if np.array_equal(got, wanted.expected) else "WRONG PICTURE"
        except urllib.error.HTTPError as error:
            what, wait = refusal(error), float(error.headers.get("Retry-After", 1))
        except OSError as error:
            what, wait = type(error).__name__, 1.0
        with tally.lock:
            tally.answers[what] += 1
            if what == "right":
                tally.seconds.append(time.monotonic() - start)
        time.sleep(wait)


def refusal(error: urllib.error.HTTPError) -> str:
    """The status, if it is said as the API promises: in one line of JSON, and with 503 also when to come again."""
    try:
        clean = list(json.load(error)) == ["error"] and (error.code != 503 or "Retry-After" in error.headers)
    except ValueError:
        clean = False
    return str(error.code) if clean else f"{error.code} that is not clean"


def resident(address: str) -> float:
    """Megabytes that the server holds."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=120) as answer:
        said = answer.read().decode()
    return float(re.search(r"^process_resident_memory_bytes (\S+)", said, re.M).group(1)) / 1e6


def report(options: argparse.Namespace, tally: Tally, memory: list[tuple[float, float]], alive: bool) -> None:
    """Prints the figures."""
    warm = [(when, held) for when, held in memory if when > options.seconds / 4]
    slope = np.polyfit(*np.transpose(warm), 1)[0] * 60
    times = statistics.quantiles(tally.seconds, n=20)
    print(f"\n{options.clients} clients, {options.seconds:g} s, {options.size} x {options.size * 3 // 4} pixels, "
          f"a queue of {options.queue}: {dict(tally.answers)}")  # fmt: skip
    print(f"pictures a second: {len(tally.seconds) / options.seconds:.1f}")
    print(f"seconds to an answer: median {times[9]:.2f}, 95 % {times[18]:.2f}, longest {max(tally.seconds):.2f}")
    print(f"memory: {memory[0][1]:.0f} MB at the start, {warm[0][1]:.0f} MB after a quarter, {memory[-1][1]:.0f} MB at "
          f"the end; {slope:+.1f} MB a minute over the last three quarters")  # fmt: skip
    print(f"server {'up' if alive else 'DOWN'}")
    if not alive or tally.answers["WRONG PICTURE"] or set(tally.answers) - {"right", "503"}:
        sys.exit("FAILED")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--size", type=int, default=128, help="width of the pictures")
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--engine", default="onnxruntime")
    return parser.parse_args()


if __name__ == "__main__":
    main()
