"""Guards every request: asks for the password, limits what is sent, and sets the headers of every answer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import secrets
import time
from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)
NO_ADDRESS = "the address must begin with /"
_NO_RANGE = "the header range asks for a part that the file does not have"
UNFORESEEN = "something went wrong inside the server: its log says what; please report it"
_OPEN = {"/healthz"}  # for probes, which know no password; it tells nothing of use
_COUNTED = re.compile(r"(/v1/(?:stylize|styles|clips)|/healthz|/metrics)(?:/.*)?")
# What a browser or a proxy may say the server is called; whoever writes addresses into a page trusts it.
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(?P<port>\d{0,5}))?", re.ASCII)
_CLOSE = {"connection": "close"}
_GRACE, _SLOWEST = 30.0, 1000  # seconds for a body to come, and one more for each so many bytes of it
_LINGER = 5.0  # seconds in which what is still being sent is let go by, after an answer
# Nothing is loaded from anywhere else, no script stands in a page, and no other site can show one of ours in a frame.
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "media-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
_DOCS = "/docs"  # Swagger's page begins by a script that stands in it
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware that refuses requests without the password, odd, too large or too slow, and hands the others on.

    HEAD is handed on as GET, and of what is answered the head is sent.

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
        scope = read_address(scope)
        status, path = 0, scope["path"].removeprefix(scope.get("root_path", ""))
        method = scope["method"]
        body: bytes | None = None
        read, closing = False, False

        async def receive_noted() -> Message:
            nonlocal read
            message = await receive()
            read = not message.get("more_body", False)
            return message

        async def send_guarded(message: Message) -> None:
            nonlocal status, body, closing
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if path == _DOCS:
                    headers["content-security-policy"] = _DOCS_POLICY
                if status >= 400 and headers.get("content-type", "").startswith("text/plain"):
                    body = _say(_NO_RANGE)  # the one error that Starlette answers by itself, without raising it
                    headers.update({"content-type": "application/json", "content-length": str(len(body))})
                body = b"" if method == "HEAD" else body
                closing = headers.get("connection") == "close"
            elif body is not None:
                message = {**message, "body": body}
            ends = message["type"] == "http.response.body" and not message.get("more_body", False)
            if ends and closing and not read:
                # Closed with more to read, the connection would be reset, and the answer lost.
                await send({**message, "more_body": True})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LINGER):
                        while not read:
                            await receive_noted()
                message = {"type": "http.response.body"}
            await send(message)

        try:
            await self._pass_on(path, scope, receive_noted, send_guarded)
        except ClientDisconnect:
            status = 499  # nobody is there to be told
        except Exception:  # whoever runs the server is told what went wrong, the client only that something did
            _LOG.exception("%s %s", method, path)
            if not status:
                await _refuse(send_guarded, 500, UNFORESEEN)
        finally:
            route = _COUNTED.fullmatch(path)
            self.count(method, route[1] if route else "page", status or 500)

    async def _pass_on(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self.auth and path not in _OPEN and not _is_right(headers.get("authorization", ""), self.auth):
            challenge = {"www-authenticate": 'Basic realm="impasto", charset="UTF-8"'}
            await _refuse(send, 401, "this server wants a user name and a password: send them by HTTP Basic", challenge)
            return
        if fault := _find_fault(path, scope, headers):
            await _refuse(send, 400, fault)
            return
        limit = self.largest(path)
        length = headers.get("content-length", "0")
        if int(length[:20]) > limit:
            await _refuse(send, 413, describe_excess(limit))
            return
        seen, begun, more = 0, time.monotonic(), True

        async def receive_within_limits() -> Message:
            nonlocal seen, more
            if not more:  # all is there; this waits for the client to go
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), begun + _GRACE + seen / _SLOWEST - time.monotonic())
            except TimeoutError:
                raise HTTPException(408, f"too slow: less than {_SLOWEST} bytes a second", _CLOSE) from None
            seen += len(message.get("body", b""))
            more = message.get("more_body", False)
            if seen > limit:
                raise HTTPException(413, describe_excess(limit), _CLOSE)
            return message

        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self.app({**scope, "method": method}, receive_within_limits, send)


def read_address(scope: Scope) -> Scope:
    """Takes the server's own name off an address that begins with it, as HTTP allows for any request."""
    root = scope.get("root_path", "")
    path, found = re.subn(r"^https?://[^/]*/?", "/", scope["path"].removeprefix(root), flags=re.IGNORECASE)
    return {**scope, "path": root + path} if found else scope


def _find_fault(path: str, scope: Scope, headers: Headers) -> str | None:
    """Says what is wrong with the head of a request, if anything is."""
    if not path.startswith("/"):
        return NO_ADDRESS
    if not scope.get("query_string", b"").isascii():
        return "the address holds bytes that must be percent-encoded"
    for name in ("host", "x-forwarded-host"):
        for host in ",".join(headers.getlist(name)).split(",") if name in headers else []:
            found = _HOST.fullmatch(host.strip())
            if not found or int(found["port"] or 0) >= 1 << 16:
                return f"the header {name} names no server"
    if not re.fullmatch("[0-9]+", headers.get("content-length", "0")):
        return "the header content-length is no number"
    return None


def describe_excess(limit: int) -> str:
    """Says to whoever sends too many bytes how many are taken."""
    return f"more than {limit / 1e6:g} MB, the limit of this server: send something smaller"


def _is_right(authorization: str, auth: tuple[str, str]) -> bool:
    scheme, _, given = authorization.partition(" ")
    try:
        said = base64.b64decode(given, validate=True)
    except ValueError:
        return False
    # All of it is compared, in the same time whatever is wrong.
    return secrets.compare_digest(said, ":".join(auth).encode()) and scheme.lower() == "basic"


async def _refuse(send: Send, status: int, error: str, headers: dict[str, str] | None = None) -> None:
    body = _say(error)
    fields = {"content-type": "application/json", "content-length": str(len(body)), **_CLOSE, **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _say(error: str) -> bytes:
    return json.dumps({"error": error}).encode()
