"""Sends a request whose replica dies to another one, from within Ray Serve's HTTP proxies.

Serve itself answers such a request with a bare 500, for it cannot know whether it may be done twice. Here it may: a
painting depends on the request alone, and an uploaded style is named by its content.

Serve takes the middleware of its proxies from a variable of the environment, on every node: see :func:`environment`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS

from impasto.app.guard import NO_ADDRESS, read_address
from impasto.app.studio import Limits
from impasto.app.wire import Protocol

#: A header that every answer of a replica bears: which one it was. An answer without it is one of Serve itself.
REPLICA = "x-impasto-replica"
#: A page that this answers by itself, so that one can see whether it is there.
PROBE = "/-/impasto"
# A picture that kills whoever reads it must not be handed on for ever.
_ATTEMPTS = 2
_RETRY_AFTER = 2  # seconds; a router has noticed by then which replicas are left
_GRACE = 5.0  # seconds beyond the time limit of a replica, which says by itself when that is over
_PATIENCE = "IMPASTO_SERVE_TIMEOUT"
_LOG = logging.getLogger(__name__)


def environment(timeout: float) -> dict[str, str]:
    """Names the variables that a cluster's nodes must have in their environment, for this to be part of its proxies.

    Args:
        timeout: of the application's limits, in seconds; without the variable for it, the limits' default.
    """
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}.{middleware.__name__}",
        _PATIENCE: f"{timeout:g}",
    }


def middleware() -> list[Middleware]:
    """Makes the middleware; Serve calls this in each of its proxies, before they listen.

    It is the one place where their way of reading HTTP can be chosen, too.
    """
    HTTP_PROTOCOLS["auto"] = f"{Protocol.__module__}:{Protocol.__qualname__}"
    WS_PROTOCOLS["auto"] = None
    return [Middleware(Replay, timeout=float(os.environ.get(_PATIENCE, Limits.timeout)) + _GRACE)]


class Replay:
    """ASGI middleware around the proxy, which gives up without an answer when the replica at work dies.

    An answer is held back until all of it is there, so that a client never sees the half of one.

    Args:
        app: the proxy.
        timeout: seconds after which a request gets 503, however many replicas it has been sent to.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self.app, self.timeout = app, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = read_address(scope) if scope["type"] == "http" else scope
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or path.startswith("/-/"):
            await (
                _answer(send, _json(200, {"replay": _ATTEMPTS})) if path == PROBE else self.app(scope, receive, send)
            )
            return
        if not path.startswith("/"):  # Serve knows no application there
            await _answer(send, _json(400, {"error": NO_ADDRESS}))
            return
        tape, until = _Tape(receive), time.monotonic() + self.timeout
        for _ in range(_ATTEMPTS):
            answer: list[Message] = []
            ended = await self._try({**scope, "headers": list(scope["headers"])}, tape.play(), _keep(answer), until)
            if tape.gone:
                return
            if _is_whole(answer) or not ended:
                break
        await _answer(send, answer if _is_from_replica(answer) else _excuse())

    async def _try(self, scope: Scope, receive: Receive, send: Send, until: float) -> bool:
        """Asks the proxy; tells whether it came to an end in time."""
        asked = asyncio.ensure_future(self.app(scope, receive, send))
        try:
            done, _ = await asyncio.wait({asked}, timeout=until - time.monotonic())
        finally:
            asked.cancel()
        if done and not asked.cancelled() and (error := asked.exception()):
            _LOG.error("the proxy failed", exc_info=error)
        return bool(done)


class _Tape:
    """Records the messages of a request, to be heard again from the start.

    Attributes:
        gone: whether the client has hung up.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._heard: list[Message] = []
        self.gone = False

    def play(self) -> Receive:
        """Starts again from the first message: gives what was heard before, then what comes."""
        position = 0

        async def receive() -> Message:
            nonlocal position
            if position == len(self._heard):
                message = await self._receive()
                self._heard.append(message)
                self.gone = message["type"] == "http.disconnect"
            position += 1
            return self._heard[position - 1]

        return receive


def _keep(answer: list[Message]) -> Callable[[Message], Awaitable[None]]:
    async def send(message: Message) -> None:
        answer.append(message)

    return send


def _is_whole(answer: list[Message]) -> bool:
    return bool(answer) and answer[-1]["type"] == "http.response.body" and not answer[-1].get("more_body", False)


def _is_from_replica(answer: list[Message]) -> bool:
    """Tells whether an answer is whole and not Serve's own, which says that a queue is full or no replica is up."""
    return _is_whole(answer) and any(name.lower() == REPLICA.encode() for name, _ in answer[0].get("headers", []))


def _excuse() -> list[Message]:
    """Makes the answer to give in place of a broken one, of none, or of Serve's own."""
    return _json(
        503,
        {"error": f"the server is busy or being started: try again in {_RETRY_AFTER} s"},
        {"retry-after": str(_RETRY_AFTER)},
    )


def _json(status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> list[Message]:
    body = json.dumps(value).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), text.encode()) for name, text in fields.items()]
    return [
        {"type": "http.response.start", "status": status, "headers": raw},
        {"type": "http.response.body", "body": body},
    ]


async def _answer(send: Send, messages: list[Message]) -> None:
    for message in messages:
        await send(message)
