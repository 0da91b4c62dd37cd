"""The application that Ray Serve runs: replicas of the HTTP API, each with a model of its own, and one desk."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, field_validator
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto.app import Limits, build
from impasto.app.work import BusyError
from impasto.errors import ImpastoError
from impasto.graph import GraphStylizer, check_reference
from impasto.loader import load
from impasto.model import DEFAULT
from impasto.serve.desk import Desk, DeskClient
from impasto.serve.replay import REPLICA

_REPORT_EVERY = 1.0  # seconds
_SPARE = 8  # requests beside the pictures that a replica takes at a time: lists, counts, probes


class Options(BaseModel):
    """What the application is made with: the arguments of `impasto serve`, and `args` in a Serve config file.

    Attributes:
        model, engine, precision, threads: see :func:`impasto.load`; one thread is best where requests are many.
        replicas: how many, or a range like "1..8" to scale in.
        target: pictures that wait or are painted, for each replica, which scaling aims at.
        up_delay, down_delay: seconds that more or fewer must be wanted before there are.
        gpus: of each replica; with one, as many replicas as GPUs fit.
        limits: what one client may ask for; the queue is that of one replica.
        auth: "USER:PASS" to ask everybody for; else that in the environment's IMPASTO_AUTH, if there is one.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = DEFAULT
    engine: str = "auto"
    precision: str = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    replicas: int | str = 1
    target: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    up_delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    down_delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    gpus: Annotated[int, Field(ge=0)] = 0
    limits: Limits = Limits()
    auth: str | None = Field(default_factory=lambda: os.environ.get("IMPASTO_AUTH"))

    @field_validator("auth")
    @classmethod
    def _check_pair(cls, auth: str | None) -> str | None:
        if auth is not None and not all(auth.partition(":")):
            raise ValueError("auth must be a name and a password with a colon between them")
        return auth

    @property
    def range(self) -> tuple[int, int]:
        """The least and the most replicas."""
        low, dots, high = str(self.replicas).partition("..")
        try:
            least, most = int(low), int(high if dots else low)
        except ValueError:
            least = most = 0
        if not 1 <= least <= most:
            raise ImpastoError(f"replicas must be a number or a range like 1..8, both 1 or more, not {self.replicas}")
        return least, most


def application(options: Options) -> serve.Application:
    """The application; Serve's config files name it as ``impasto.serve:application``."""
    least, most = options.range
    scaling: dict[str, Any] = {"num_replicas": least}
    if most > least:
        scaling = {
            "autoscaling_config": {
                "min_replicas": least,
                "max_replicas": most,
                "target_ongoing_requests": options.target,
                "upscale_delay_s": options.up_delay,
                "downscale_delay_s": options.down_delay,
            }
        }
    limits = options.limits
    painters = serve.deployment(
        name="painters",
        # Ray gives a replica a core for each of its threads, so that the cores are never oversubscribed.
        ray_actor_options={"num_cpus": options.threads, "num_gpus": options.gpus},
        # A replica has a queue of its own, which says by itself when it is full, and for how long.
        max_ongoing_requests=1 + limits.queue + _SPARE,
        max_queued_requests=1 + limits.queue,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=limits.timeout + 5,
        **scaling,
    )(serve.ingress()(Replica))
    desk = serve.deployment(
        name="desk", num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0},
        health_check_period_s=2, graceful_shutdown_timeout_s=limits.timeout + 5,
    )(Desk)  # fmt: skip
    return painters.bind(options.model_dump(), desk.bind(limits.styles))


class Replica:
    """A replica: the HTTP API with one model. Page and clips are not there: a clip's job lives in one process.

    Args:
        options: of :class:`Options`.
        desk: handle of the desk.
    """

    def __init__(self, options: dict[str, Any], desk: DeploymentHandle[Any]) -> None:
        made = Options(**options)
        self._name = serve.get_replica_context().replica_id.unique_id
        self._painter = load(made.model, engine=made.engine, threads=made.threads, precision=made.precision)
        self._desk = DeskClient(desk, self._name, made.limits.styles)
        user, _, password = (made.auth or "").partition(":")
        self._app = build(
            self._painter,
            made.limits,
            auth=(user, password) if made.auth else None,
            page=False,
            clips=False,
            uploaded=self._desk,
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return _Signed(self._app, self._name, self._report)

    async def check_health(self) -> None:
        """Paints the test picture of the model's card; Serve replaces a replica that makes something else of it."""
        if isinstance(self._painter, GraphStylizer):
            await asyncio.to_thread(check_reference, self._painter)

    async def _report(self) -> None:
        """Tells the desk now and then what was counted."""
        registry = self._app.state.studio.metrics.registry
        while True:
            await asyncio.sleep(_REPORT_EVERY)
            with contextlib.suppress(BusyError, RayError, RayServeException):
                await asyncio.to_thread(self._desk.report, registry)


class _Signed:
    """ASGI around the API: signs every answer with the replica's name, and runs a task for as long as it lives."""

    def __init__(self, app: FastAPI, name: str, task: Callable[[], Awaitable[None]]) -> None:
        self._app, self._name, self._task = app, name.encode(), task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            running = asyncio.ensure_future(self._task())
            try:
                await self._app(scope, receive, send)
            finally:
                running.cancel()
            return

        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (REPLICA.encode(), self._name)]
            await send(message)

        await self._app(scope, receive, signed)
