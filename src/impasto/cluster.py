"""Joins a Ray cluster that runs, or starts one here for the time of a command. Needs ``impasto[ray]``."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import NamedTuple

from impasto.checks import read_whole
from impasto.errors import ImpastoError, first_line
from impasto.model import shipped_models


class Pool(NamedTuple):
    """How many workers there are, and what each takes of the cluster."""

    workers: int
    cores: int
    gpus: int


def join(address: str | None, threads: int) -> Pool:
    """Joins a cluster, or starts one on this machine, and sees how many workers it has room for.

    A worker takes one core for each of its threads, so that the cores are never oversubscribed; where there are GPUs
    it takes one of them too, and there are as many workers as GPUs.

    Args:
        address: of a running cluster, as Ray takes it ("auto", "host:6379", "ray://host:10001"); None starts one.
        threads: of each worker.

    Raises:
        ImpastoError: no cluster there, or no room in it.
    """
    import ray  # which takes a while, and is not needed to locate a model

    threads = read_whole(1, threads=threads)
    if not ray.is_initialized():
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its core writes the rest to stderr
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,  # what goes wrong is raised
                include_dashboard=None if address else False,
            )
        except Exception as error:  # where it takes too long to start, Ray raises no narrower one
            said = first_line(error)
            if address is None:
                raise ImpastoError(f"Ray does not start here: {said}") from None
            raise ImpastoError(
                f"no Ray cluster at {address}: {said}; is it up, and if it wants a token, are RAY_AUTH_MODE=token and "
                "the token set here?"
            ) from None
    size: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus, cores = int(size.get("GPU", 0)), int(size.get("CPU", 0))
    room = gpus or cores // threads
    if room < 1:
        raise ImpastoError(f"no room for a worker of {threads} threads: there are {cores} cores")
    return Pool(room, threads, 1 if gpus else 0)


def locate_model(model: str) -> str:
    """Names a model, by its name or whole path, for other processes, whose working folder may be another one."""
    folder = Path(model)
    named = os.sep not in model and any(model == one.name for one in shipped_models())
    return model if named or not (folder / "card.json").is_file() else str(folder.resolve())
