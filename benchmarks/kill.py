"""What clients of `impasto serve` see when its processes are killed.

    python benchmarks/kill.py --clients 6 --kills 5                  # replicas, on a cluster of its own
    python benchmarks/kill.py --clients 6 --kills 3 --what desk      # the actor that holds uploaded styles

Starts the service on this machine and lets clients ask it for pictures, each for pictures of its own, in shipped styles
and in one that it has uploaded, as fast as they are answered. Now and then a process gets SIGKILL. Every answer is
compared, pixel by pixel, with what the library makes of the same request: right, a clean 503 with Retry-After and one
line of JSON, or a failure.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import psutil
from load import EXAMPLE, Request, Tally, ask, form, request
from PIL import Image

import impasto


def main() -> None:
    options = parsed()
    chosen = ["--replicas", str(options.replicas), "--port", str(options.port), "--engine", "onnxruntime"]
    command = [sys.executable, "-m", "impasto", "serve", *chosen]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = ""
        for line in server.stderr:
            if found := re.search(r"(http://[\d.:]+)/docs", line):
                address = found.group(1)
                break
        assert address, "the server did not start"
        painter = impasto.load(engine="onnxruntime", threads=1)
        clients = [
            [request(painter, n, 0, options.size), own(painter, address, n, options.size)]
            for n in range(options.clients)
        ]
        tally, killed = storm(address, clients, server.pid, options)
        seen = counted(address)
    finally:
        server.terminate()
        server.communicate(timeout=60)
    times = statistics.quantiles(tally.seconds, n=20)
    print(f"\n{options.clients} clients, {options.replicas} replicas, {killed} x SIGKILL ({options.what}) in "
          f"{options.kills * options.every:g} s: {dict(tally.answers)}")  # fmt: skip
    print(f"seconds to an answer: median {times[9]:.2f}, longest {max(tally.seconds):.2f}")
    print(f"pictures answered by /metrics: {seen} (what a replica counted in its last second dies with it)")
    if not killed or set(tally.answers) - {"right", "503"}:
        sys.exit("FAILED")


def own(painter: impasto.Stylizer, address: str, client: int, size: int) -> Request:
    """A request in a style that this client uploads first."""
    example = Image.open(EXAMPLE)
    painting = example.crop((client * 8, 40, client * 8 + 200, 240))
    body, kind = form({"name": [f"own {client}"]}, {"file": painting})
    with urllib.request.urlopen(urllib.request.Request(f"{address}/v1/styles", body, {"Content-Type": kind})) as answer:
        key = json.load(answer)["id"]
    photo = example.resize((size, size * 3 // 4))
    expected = np.asarray(painter.stylize(photo, painting))
    return Request(*form({"style": [key]}, {"photo": photo}), expected)


def storm(address: str, clients: list[list[Request]], server: int, options: argparse.Namespace) -> tuple[Tally, int]:
    """Lets all clients loose and kills now and then; what they saw, and how many were killed."""
    tally, killed, chance = Tally(), 0, random.Random(0)
    until = time.monotonic() + options.kills * options.every + 5
    threads = [threading.Thread(target=ask, args=(address, mine, until, tally)) for mine in clients]
    for thread in threads:
        thread.start()
    for _ in range(options.kills):
        time.sleep(options.every * chance.uniform(0.5, 1.0))
        if victims := processes(server, options.what):
            chance.choice(victims).kill()
            killed += 1
        print(f"{killed} killed, {len(victims)} there were: {dict(tally.answers)}", flush=True)
    for thread in threads:
        thread.join()
    return tally, killed


def processes(server: int, what: str) -> list[psutil.Process]:
    """Those of the service that was started here which have this part."""
    found = []
    for process in psutil.Process(server).children(recursive=True):
        try:
            if "".join(process.cmdline()).startswith(f"ray::ServeReplica:impasto:{what}"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def counted(address: str) -> int:
    """Pictures that were answered, by the service's own count."""
    time.sleep(2)
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        said = answer.read().decode()
    found = re.search(r'^impasto_requests_total\{.*route="/v1/stylize",status="200"\} (\S+)', said, re.M)
    return int(float(found.group(1))) if found else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--every", type=float, default=15, help="seconds, about")
    parser.add_argument("--what", choices=["painters", "desk"], default="painters")
    parser.add_argument("--size", type=int, default=128, help="width of the pictures")
    parser.add_argument("--port", type=int, default=8123)
    return parser.parse_args()


if __name__ == "__main__":
    main()
