"""Workers on Ray Data, on a cluster or on the cores of this machine. One that dies is replaced, its items done anew."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from impasto.cluster import Pool, join
from impasto.dataset.crew import Item, Job, Made
from impasto.errors import ImpastoError, first_line
from impasto.extras import explain_missing
from impasto.loader import load
from impasto.stylizer import Stylizer

with explain_missing("a data set of this size"):
    import ray
    import ray.data
    from ray.exceptions import RayError

_BLOCK = 32  # items at most that one worker is given at a time: what is done anew when it is killed


def hire(workers: int | None, threads: int, address: str | None) -> Pool:
    """Joins a cluster, or starts one on this machine; no more workers than wanted."""
    pool = join(address, threads)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised
    ray.data.DataContext.get_current().enable_progress_bars = False
    return pool._replace(workers=min(workers or pool.workers, pool.workers))


def work_through(job: Job[Item, Made], items: Sequence[Item], loading: dict[str, Any], pool: Pool) -> Iterator[Made]:
    """Has workers do a job with each item; gives what they made as it comes."""
    size = max(1, min(_BLOCK, len(items) // (4 * pool.workers)))
    blocks = -(-len(items) // size)
    # As pickles, for Ray's tables hold no text that is none, as names of files may be.
    data = ray.data.from_items([{"item": pickle.dumps(item)} for item in items], override_num_blocks=blocks).map(
        _Worker,  # type: ignore[arg-type]  # a class, of which each worker makes one
        fn_constructor_args=(ray.put(job), loading),
        compute=ray.data.ActorPoolStrategy(size=min(pool.workers, blocks)),
        num_cpus=0 if pool.gpus else pool.cores,
        num_gpus=pool.gpus,
    )
    try:
        for row in data.iter_rows():
            made = pickle.loads(row["made"])
            if isinstance(made, ImpastoError):
                raise made
            yield made
    except RayError as error:
        raise ImpastoError(f"Ray gives up: {first_line(error)}") from None


class _Worker:
    """What runs in a process of its own."""

    def __init__(self, job: Any, loading: dict[str, Any]) -> None:
        self._job: Job[Any, Any] = ray.get(job)
        self._open_model: Callable[[], Stylizer] = cache(partial(load, **loading))

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        try:
            made = self._job(self._open_model, pickle.loads(row["item"]))
        except ImpastoError as error:
            made = ImpastoError(str(error))
        return {"made": pickle.dumps(made)}
