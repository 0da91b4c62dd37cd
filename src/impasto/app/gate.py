"""Stands between Gradio and the world: lets through what our page needs, and says what goes wrong in our words."""

from __future__ import annotations

import json
import logging
import re
from http import HTTPStatus
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto.app.api import METHODS

_LOG = logging.getLogger(__name__)
# All else is shut: proxies, addresses to fetch, streams, recordings, editors, logins, icons of any size, its own API.
_NEEDED = {
    "GET": re.compile(
        r"/(|config|theme\.css|favicon\.ico|(assets|static)/.+"
        r"|gradio_api/(theme\.css|startup-events|(heartbeat|file=).+|queue/data|upload_progress))"
    ),
    "POST": re.compile(r"/gradio_api/(queue/join|upload|component_server|cancel|reset)"),
}
_FILE = "/gradio_api/file="
_FORMS = {"/gradio_api/upload", "/gradio_api/component_server"}
_NOT_OURS = "this is not what the page sends: reload it"


class Gate:
    """ASGI around Gradio's application.

    Args:
        app: that of Gradio.
        folder: whose files it may send, and no others.
    """

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app, self._folder = app, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if refusal := self._refuse(scope, path):
            await refusal(scope, receive, send)
            return
        # This header would say where the page gets its scripts from; and no states are kept that a link might name.
        headers = [header for header in scope["headers"] if header[0] != b"x-gradio-server"]
        query = scope["query_string"] if path.startswith("/gradio_api/") else b""
        wrong: list[Message] = []
        begun = False

        async def send_if_right(message: Message) -> None:
            nonlocal begun
            if wrong or (message["type"] == "http.response.start" and message["status"] >= 400):
                wrong.append(message)
            else:
                begun = True
                await send(message)

        try:
            await self._app({**scope, "headers": headers, "query_string": query}, receive, send_if_right)
        except ClientDisconnect:
            raise
        except Exception as error:
            # What the page sends is worked off in the queue. Here only what was sent is taken apart, so that is wrong.
            _LOG.warning("%s %s is not what the page sends: %.200r", scope["method"], path, error)
            wrong = [] if begun else [{"type": "http.response.start", "status": 400}]
        if wrong:
            await _say_error(wrong)(scope, receive, send)

    def _refuse(self, scope: Scope, path: str) -> JSONResponse | None:
        """The answer to what the page does not ask for, None for what it does."""
        if scope["method"] not in METHODS:
            return _problem(405, "there is no such method", {"allow": "GET, POST"})
        allowed = [method for method, needed in _NEEDED.items() if needed.fullmatch(path)]
        if not allowed:
            return _problem(404, "no such page; /docs lists what there is")
        if scope["method"] not in allowed:
            return _problem(405, f"this address takes {allowed[0]}", {"allow": allowed[0]})
        if path.startswith(_FILE) and not self._is_here(path.removeprefix(_FILE)):
            return _problem(404, "no such file")
        kind = dict(scope["headers"]).get(b"content-type", b"").lower()
        if path in _FORMS and not kind.startswith(b"multipart/form-data"):
            return _problem(415, "send a form: multipart/form-data")
        return None

    def _is_here(self, path: str) -> bool:
        try:
            return Path(path).resolve(strict=True).is_relative_to(self._folder)
        except (OSError, ValueError):  # there is none, or no such name can be
            return False


def _say_error(messages: list[Message]) -> JSONResponse:
    """Puts an answer of Gradio's into our form."""
    status = messages[0]["status"]
    try:
        said = json.loads(b"".join(message.get("body", b"") for message in messages[1:]))["detail"]
    except (ValueError, KeyError, TypeError):
        said = None
    text = said if isinstance(said, str) else _NOT_OURS if status in (400, 422) else HTTPStatus(status).phrase
    return _problem(status, text)


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": " ".join(text.split())}, status, headers)
