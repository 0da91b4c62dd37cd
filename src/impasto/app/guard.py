"""Guards every request: asks for the password, limits what is sent, and sets the headers of every answer."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import secrets
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)
_UNFORESEEN = "something went wrong inside the server: its log says what; please report it"
_OPEN = {"/healthz"}  # for probes, which know no password; it tells nothing of use
_COUNTED = {"/v1/stylize", "/v1/styles", "/healthz", "/metrics"}
# What the page needs of Gradio; the rest of it (proxies, recordings, editors, its own API) is shut.
_GRADIO = re.compile(
    r"/gradio_api/(queue/|upload$|upload_progress$|heartbeat/|file=|component_server$|startup-events$|cancel$|reset$)"
)
# Nothing is loaded from anywhere else, and no other site can show the page in a frame. Gradio needs inline scripts.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware that refuses requests without the password or too large, and hands the others on.

    Args:
        app: what is guarded.
        auth: user and password that HTTP Basic authentication must give, or None.
        largest: the most bytes of a request's body, by its path.
        count: is told method, route and status of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        auth: tuple[str, str] | None,
        largest: Callable[[str], int],
        count: Callable[[str, str, int], None],
    ) -> None:
        self.app, self.auth, self.largest, self.count = app, auth, largest, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # nothing here speaks it
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, path = 0, scope["path"].removeprefix(scope.get("root_path", ""))

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._pass_on(path, scope, receive, send_guarded)
        except Exception:  # whoever runs the server is told what went wrong, the client only that something did
            _LOG.exception("%s %s", scope["method"], path)
            if not status:
                await _refuse(send_guarded, 500, _UNFORESEEN)
        finally:
            self.count(scope["method"], path if path in _COUNTED else "page", status or 500)

    async def _pass_on(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self.auth and path not in _OPEN and not _is_right(headers.get("authorization", ""), self.auth):
            challenge = {"www-authenticate": 'Basic realm="impasto", charset="UTF-8"'}
            await _refuse(send, 401, "this server wants a user name and a password: send them by HTTP Basic", challenge)
            return
        if path.startswith(("/gradio_api/", "/monitoring")) and not _GRADIO.match(path):
            await _refuse(send, 404, "no such page")
            return
        limit = self.largest(path)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            await _refuse(send, 413, describe_excess(limit))
            return
        seen = 0

        async def receive_within_limit() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, describe_excess(limit))
            return message

        await self.app(scope, receive_within_limit, send)


def describe_excess(limit: int) -> str:
    """Says to whoever sends too many bytes how many are taken."""
    return f"more than {limit / 1e6:g} MB, the limit of this server: send something smaller"


def _is_right(authorization: str, auth: tuple[str, str]) -> bool:
    scheme, _, given = authorization.partition(" ")
    try:
        said = base64.b64decode(given, validate=True)
    except binascii.Error:
        return False
    # All of it is compared, in the same time whatever is wrong.
    return secrets.compare_digest(said, ":".join(auth).encode()) and scheme.lower() == "basic"


async def _refuse(send: Send, status: int, error: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": error}).encode()
    fields: dict[str, Any] = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    raw = [(name.encode(), value.encode()) for name, value in (fields | (headers or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
