"""Requests byte by byte, for tests of what no HTTP client would send."""

from __future__ import annotations

import io
import json
import re
import socket
from typing import NamedTuple

from PIL import Image

BOUNDARY = b"multipart/form-data; boundary=b"


class Answer(NamedTuple):
    """One answer of a server, the first on its connection."""

    status: int
    head: bytes
    body: bytes

    @property
    def error(self) -> str:
        """What it says is wrong; an error is this one line of JSON and nothing else."""
        said = json.loads(self.body)
        assert list(said) == ["error"], self.body
        assert b"\n" not in self.body
        return said["error"]


def ask(port: int, sent: bytes) -> Answer:
    """Sends bytes, and reads until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(sent)
        return read(client)


def read(client: socket.socket) -> Answer:
    heard = b""
    while more := client.recv(1 << 16):
        heard += more
    head, _, body = heard.partition(b"\r\n\r\n")
    return Answer(int(re.match(rb"HTTP/1\.1 (\d+)", head).group(1)), head, body)


def request(method: str, path: str, *headers: bytes, body: bytes = b"", version: str = "1.1") -> bytes:
    """A request that ends its connection; a header replaces the one that it would have."""
    own = {
        b"host": b"Host: x",
        b"connection": b"Connection: close",
        b"content-length": b"Content-Length: %d" % len(body),
    }
    for header in headers:
        own.pop(header.partition(b":")[0].lower(), None)
    return b"\r\n".join([f"{method} {path} HTTP/{version}".encode(), *own.values(), *headers, b"", body])


def part(name: str, value: bytes, more: str = "") -> bytes:
    """One part of a form, from its boundary on."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def photo() -> bytes:
    """The part that is a small photo."""
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(stream, "PNG")
    return part("photo", stream.getvalue(), '; filename="a.png"')
