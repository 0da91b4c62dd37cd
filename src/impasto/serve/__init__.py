"""Serves the HTTP API from many machines, as a Ray Serve application: `impasto serve`. Needs ``impasto[serve]``."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.loader import load

with explain_missing(__name__, extra="serve"):
    import ray
    from ray import serve as ray_serve

    from impasto.app import listen, warn_if_open
    from impasto.cluster import join, locate_model
    from impasto.serve.replay import PROBE, environment
    from impasto.serve.replica import Options, application

__all__ = ["Options", "application", "serve"]

_NAME = "impasto"
_STARTING = 60.0  # seconds for the first proxy to answer


def serve(
    options: Options | None = None,
    *,
    address: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    root_path: str = "",
) -> None:
    """Serves the API from a Ray cluster until it is interrupted; then lets the replicas finish what they are at.

    Args:
        options: what the application is made with.
        address: of a running cluster; None starts one on this machine.
        host, port: that every node's proxy listens on.
        root_path: the path that a proxy in front serves it under, and strips.

    Raises:
        ImpastoError: no cluster, no room for the replicas, a model that cannot be loaded, or a cluster whose proxies
            were started without :mod:`impasto.serve.replay`.
    """
    options = options or Options()
    least, _ = options.range
    # What is wrong with the model is said here, at once.
    load(options.model, engine=options.engine, threads=options.threads, precision=options.precision)
    if address is None:
        listen(host, port).close()
    pool = join(address, options.threads)
    options = options.model_copy(update={"gpus": pool.gpus, "model": locate_model(options.model)})
    try:
        if least > pool.workers:
            raise ImpastoError(
                f"no room for {least} replicas of {options.threads} threads: the cluster has room for {pool.workers}"
            )
        _deploy(options, host, port, root_path)
        at = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if not options.auth:
            warn_if_open(at, str(socket.getaddrinfo(host, port)[0][4][0]))
        print(
            f"impasto: {at}/docs (the API), replicas: {options.replicas}; Ctrl-C ends it", file=sys.stderr, flush=True
        )
        _wait()
        print("impasto: finishing what is under way ...", file=sys.stderr, flush=True)
        ray_serve.delete(_NAME)
        if address is not None and not ray_serve.status().applications:
            ray_serve.shutdown()  # type: ignore[no-untyped-call]
    finally:
        if address is None:
            ray.shutdown()


def _deploy(options: Options, host: str, port: int, root_path: str) -> None:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    print("impasto: starting the replicas ...", file=sys.stderr, flush=True)
    try:
        ray_serve.start(
            proxy_location="EveryNode",
            http_options={"host": host, "port": port, "root_path": root_path},
            controller_options={"runtime_env": {"env_vars": environment(options.limits.timeout)}},
        )
        ray_serve.run(application(options), name=_NAME, route_prefix="/")
    except RuntimeError as error:
        raise ImpastoError(f"Ray Serve cannot start it: {' '.join(str(error).split())}") from None
    here = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    if not _probe(f"http://{here}:{port}{root_path}{PROBE}"):
        ray_serve.delete(_NAME)
        raise ImpastoError(
            "Ray Serve was already running here, with proxies that would lose the requests of a replica that dies: end "
            "it (serve shutdown), or start the cluster with "
            + " ".join(f"{name}={value}" for name, value in environment(options.limits.timeout).items())
        )


def _probe(url: str) -> bool:
    """Waits until there is a proxy, and tells whether it has our middleware."""
    until = time.monotonic() + _STARTING
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return "replay" in json.load(answer)
        except urllib.error.HTTPError:
            return False
        except OSError as error:
            if time.monotonic() > until:
                raise ImpastoError(f"no proxy of Ray Serve answers at {url}: {error}") from None
            time.sleep(0.5)


def _wait() -> None:
    """Waits until Ctrl-C or SIGTERM."""
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not ended.wait(1.0):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
