"""The desk: one small actor that keeps what all replicas share, uploaded styles and counts."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from impasto.app.studio import Uploaded, UploadedStyle
from impasto.app.work import BusyError

_SILENT = 5.0  # seconds without a word from a replica: it is gone; and as long as a new desk waits for what they know
_PATIENCE = 10.0  # seconds to wait for the desk
_RETRY_AFTER = 2


class Family(NamedTuple):
    """One metric of a replica, in plain values, as Prometheus's client collects it."""

    name: str
    text: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


def collect_families(registry: CollectorRegistry) -> list[Family]:
    """Collects what a replica has counted; of its process nothing, since such figures cannot be added up."""
    return [
        Family(one.name, one.documentation, one.type, [(s.name, s.labels, s.value) for s in one.samples])
        for one in registry.collect()
        if one.name.startswith("impasto_")
    ]


class Desk:
    """Keeps the styles that clients have uploaded, and adds up what the replicas count.

    There is one. When it dies Serve starts another, to which the replicas bring again what they have.

    Args:
        capacity: styles that are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._styles = Uploaded(capacity)
        self._counts: dict[str, tuple[float, list[Family]]] = {}  # by replica, with the time of its last word
        self._begun = time.monotonic()
        self._mark = secrets.token_hex(8)

    def add(self, style: UploadedStyle) -> str:
        """Keeps a style; gives its id."""
        return self._styles.add(style)

    def get(self, key: str, held: bool) -> UploadedStyle | bool | None:
        """Finds a style by its id; True stands for it where it is `held`, None for none, False for not known yet."""
        found = self._styles.get(key)
        if found is None:
            return None if time.monotonic() - self._begun > _SILENT else False
        return True if held else found

    def names(self) -> dict[str, str]:
        """What the styles are called, by id."""
        return self._styles.names()

    def report(self, replica: str, counted: list[Family]) -> str:
        """Takes down a replica's counts; gives this desk's mark, by which a new one is known."""
        self._counts[replica] = time.monotonic(), counted
        return self._mark

    def exposition(self) -> bytes:
        """Writes for Prometheus the counts of all replicas, gone ones too, and the present state of those alive."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        """Adds up the metrics of the replicas, as `prometheus_client.registry.Collector` asks for."""
        now = time.monotonic()
        sums: dict[str, tuple[Family, dict[Any, float]]] = {}
        for heard, counted in self._counts.values():
            for family in counted:
                if family.type == "gauge" and now - heard > _SILENT:
                    continue
                values = sums.setdefault(family.name, (family, defaultdict(float)))[1]
                for name, labels, value in family.samples:
                    # When a series began cannot be added up.
                    values[name, tuple(labels.items())] += 0 if name.endswith("_created") else value
        for family, values in sums.values():
            metric = Metric(family.name, family.text, family.type)
            for (name, labels), value in values.items():
                if not name.endswith("_created"):
                    own = name == "impasto_uploaded_styles"
                    metric.add_sample(name, dict(labels), len(self._styles) if own else value)
            yield metric
        alive = sum(now - heard <= _SILENT for heard, _ in self._counts.values())
        replicas = Metric("impasto_replicas", "Replicas that are alive.", "gauge")
        replicas.add_sample("impasto_replicas", {}, alive)
        yield replicas


class DeskClient:
    """Asks the desk for a replica; does for it what :class:`impasto.app.studio.Uploaded` does for a lone server.

    A copy of every style that passed through this replica stays here, so that it need not come twice.

    Args:
        desk: handle of the desk.
        replica: this one's name.
        capacity: styles that are kept.
    """

    def __init__(self, desk: DeploymentHandle[Any], replica: str, capacity: int) -> None:
        self._desk, self._replica = desk, replica
        self._copies = Uploaded(capacity)
        self._mark = ""

    def __len__(self) -> int:
        return len(self._copies)

    def add(self, style: UploadedStyle) -> str:
        """Keeps a style for all; gives its id."""
        self._copies.add(style)
        return str(self._ask("add", style))

    def get(self, key: str) -> UploadedStyle | None:
        """Finds a style by its id, whichever replica took it.

        Raises:
            BusyError: the desk has just been started anew, and does not know yet.
        """
        copy = self._copies.get(key)
        found = self._ask("get", key, copy is not None)
        if found is False and copy is None:
            raise BusyError(_RETRY_AFTER)
        if isinstance(found, bool):
            return copy
        if found is not None:
            self._copies.add(found)
        return found  # type: ignore[no-any-return]

    def names(self) -> dict[str, str]:
        """What the styles are called, by id."""
        return self._ask("names")  # type: ignore[no-any-return]

    def exposition(self, registry: CollectorRegistry) -> bytes:
        """Writes for Prometheus what all replicas count, this one up to now."""
        self.report(registry)
        return self._ask("exposition")  # type: ignore[no-any-return]

    def report(self, registry: CollectorRegistry) -> None:
        """Tells the desk what was counted here; a new desk is told the styles, too."""
        mark = str(self._ask("report", self._replica, collect_families(registry)))
        if self._mark and mark != self._mark:
            for style in self._copies.all():
                self._ask("add", style)
        self._mark = mark

    def _ask(self, method: str, *arguments: Any) -> Any:
        for _ in range(2):  # if it dies meanwhile, there is soon another
            try:
                return getattr(self._desk, method).remote(*arguments).result(timeout_s=_PATIENCE)
            except (RayError, RayServeException, TimeoutError):
                continue
        raise BusyError(_RETRY_AFTER)
