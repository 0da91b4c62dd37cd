"""HTTP/1.1 over a socket, as uvicorn speaks it, for clients that are slow, idle, or do not speak it."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_NO_HTTP = json.dumps({"error": "this is not a request of HTTP/1.1 as the server understands it"}).encode()

_LINGER = 1.0  # seconds


class Protocol(H11Protocol):
    """A connection that nobody holds for nothing, and whose errors are JSON.

    uvicorn itself waits for ever for the head of a request, and for a client that does not take its answer. This reads
    by h11, whatever else is installed, which takes no more than 64 kB for a head.
    """

    #: Seconds in which something must have moved; a head has this long at least, and twice as long at most.
    patience: ClassVar[float] = 15.0
    #: Connections at a time; with one more, the oldest of those that ask for nothing is closed.
    most: ClassVar[int] = 500

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self._left, self._before = 0, object()  # bytes not yet taken, and what was asked, when last looked at
        self._since, self._deaf = self.loop.time(), False
        self._next_look = self.loop.call_later(self.patience, self._look)
        if len(self.connections) > self.most:
            idle = [one for one in self.connections if isinstance(one, Protocol) and one._is_idle()]
            min(idle, key=lambda one: one._since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if not self._deaf:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP; in the middle of another answer it can only hang up."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # so that the application says no more
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            fields = {"content-type": "application/json", "content-length": str(len(_NO_HTTP)), "connection": "close"}
            for event in (
                h11.Response(status_code=400, headers=list(fields.items()), reason=b"Bad Request"),
                h11.Data(data=_NO_HTTP),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
            # Closed at once, with more to read, the connection would be reset, and the answer lost.
            self._deaf = True
            self.transport.write_eof()
            self.loop.call_later(_LINGER, self.transport.close)
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        """Closes the connection if nothing has come of it since the last look."""
        left = self.transport.get_write_buffer_size()
        if (left and left == self._left) or (not left and self._is_idle() and self._before is self.cycle):
            self.transport.abort()
        else:
            self._left, self._before = left, self.cycle
            self._next_look = self.loop.call_later(self.patience, self._look)
