"""`impasto app` and what comes over its socket: odd HTTP, odd forms, slow clients."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from wire import BOUNDARY, Answer, ask, part, photo, read, request

from impasto.app import guard
from impasto.app.guard import Guard
from impasto.app.wire import Protocol

LIMIT = 300_000
AUTH = b"Authorization: Basic " + base64.b64encode(b"me:secret")
STYLE = part("style", b"klimt-kiss")
END = b"--b--\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where the command listens, with a password; whatever it is sent, its log has no traceback at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "impasto", "app", "--port", "0", "--threads", "1", "--engine", "onnxruntime",
         "--auth", "me:secret", "--max-upload", str(LIMIT / 1e6), "--max-clip", "1"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield int(re.search(r":(\d+) ", process.stderr.readline()).group(1))
    process.terminate()
    assert "Traceback" not in process.communicate(timeout=20)[1]


def send(port: int, method: str, path: str, *headers: bytes, body: bytes = b"", **options) -> Answer:
    return ask(port, request(method, path, AUTH, *headers, body=body, **options))


def post(port: int, body: bytes, path: str = "/v1/stylize", kind: bytes = BOUNDARY) -> Answer:
    return send(port, "POST", path, b"Content-Type: " + kind, body=body)


# Heads


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Authorization: Basic \xe9\xff", 401),
        (b"Authorization: \xff\xfe", 401),
        (b"Authorization: Basic " + b"QQ" * 9999, 401),
        (b'Host: 80"><script>', 400),
        (b"Host: a:b:c", 400),
        (b"Host: a:99999", 400),
        (b"Host: \xff", 400),
        (b"Host:", 400),
        (b"Host: a\r\nHost: b", 400),
        (b'X-Forwarded-Host: "><script>', 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: \xb2", 400),
        (b"Content-Length: 1, 2", 400),
        (b"Transfer-Encoding: gzip", 400),
        (b"X: " + b"x" * 1_000_000, 400),
        (b"A: b\r\n" * 200_000 + b"A: b", 400),
        (b"no colon", 400),
        (b"X: \0", 400),
    ],
)
def test_odd_headers_are_refused_in_json(port, header, status):
    headers = [header] if header.startswith(b"Authorization") else [AUTH, header]
    answer = ask(port, request("GET", "/v1/styles", *headers))
    assert (answer.status, bool(answer.error)) == (status, True)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",  # TLS
        b"GET /\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"nothing at all\r\n\r\n",
        request("POST", "/v1/stylize", AUTH, b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"zz\r\n"),
        request("GET", "healthz", AUTH),
        request("GET", "*", AUTH),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_so_in_json(port, sent):
    answer = ask(port, sent.replace(b"Content-Length: 5\r\n", b""))
    assert (answer.status, bool(answer.error)) == (400, True)


def test_odd_but_right_requests_are_answered(port):
    for path in ("http://other.test/healthz", "/healthz?x=%zz&&=="):
        assert json.loads(send(port, "GET", path).body)["status"] == "ok"
    assert send(port, "GET", "/healthz", version="1.0").status == 200
    upgrade = (
        b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA=="
    )
    assert send(port, "GET", "/healthz", upgrade).status == 200


@pytest.mark.parametrize(
    "path", ["/healthz", "/v1/styles", "/metrics", "/docs", "/openapi.json", "/", "/page.json", "/page.css"]
)
def test_head_is_answered_as_get_is(port, path):
    answer = send(port, "HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    assert re.search(rb"(?m)^content-type: ", answer.head)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/", 405),
        ("PUT", "/page.css", 405),
        ("GET", "/ort/nothing.js", 404),
        ("GET", "/ort/%00", 404),
        ("GET", "/ort/../../x", 404),
        ("GET", "/" + "x" * 5000, 404),
        ("BREW", "/v1/styles", 405),
        ("OPTIONS", "/healthz", 405),
        ("POST", "/v1/clips/x", 405),
        ("GET", "/v1/clips", 405),
        ("GET", "/v1/clips/x", 404),
        ("GET", "/v1/clips/%00/video", 404),
        ("DELETE", "/v1/clips/..%2fx", 404),
        ("GET", "/camera/frame", 404),
        ("GET", "/static-offline-docs/nothing", 404),
        ("GET", "/docs?x=\xff", 400),
    ],
)
def test_every_error_is_json(port, method, path, status):
    answer = send(port, method, path)
    assert (answer.status, bool(answer.error)) == (status, True)


@pytest.mark.parametrize(
    "path",
    ["/", "/page.json", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css", "/metrics", "/v1/styles",
     "/v1/nothing", "/v1/clips/x", "/model/content.onnx.gz", "/ort/x", "/camera/frame", "/healthz/", "//healthz",
     "/healthz/../metrics", "http://x/metrics", "/nothing"],
)  # fmt: skip
def test_the_password_covers_all_but_the_health_check(port, path):
    assert ask(port, request("GET", path)).status == 401
    assert ask(port, request("GET", "/healthz")).status == 200


# Forms


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (photo() + STYLE + part("strenght", b"0.5"), 422, "no field 'strenght': did you mean strength"),
        (photo() + STYLE + part("x" * 999, b"1"), 422, r"no field 'x{60}\.\.\.': there are photo, mask"),
        (photo() + STYLE + part("photo[]", b"1"), 422, "did you mean photo"),
        (photo() + STYLE + part("strength", b"0.5") * 2, 422, "strength is there 2 times"),
        (photo() * 2 + STYLE, 422, "photo is there 2 times"),
        (photo() + STYLE + part("strength", b""), 422, "strength is empty"),
        (photo() + STYLE + part("strength", b"\xff\xfe"), 422, "strength"),
        (photo() + STYLE + part("strength", b"1", '; filename="a"'), 422, "strength is text, not a file"),
        (part("photo", b"x") + STYLE, 422, "photo is a file: send it as curl -F photo=@FILE"),
        (part("photo", b"", '; filename=""') + STYLE, 422, "photo: Field required"),
        (photo() + part("style", b"x" * 5000), 422, "at most 100 characters"),
        (photo() + STYLE * 1200, 400, "Too many fields"),
        (photo() * 1200, 400, "Too many files"),
        (photo() + b"--b\r\nA: b\r\n\r\nx\r\n", 400, "must be provided"),
        (photo() + b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n", 400, "must be provided"),
    ],
)
def test_forms_are_taken_as_they_are_or_refused(port, body, status, words):
    answer = post(port, body + END)
    assert answer.status == status, answer
    assert re.search(words, answer.error)


@pytest.mark.parametrize(
    "end", [b"", b"--b", b"--b\r\n", b"--c--\r\n", part("strength", b"0.5"), part("strength", b"0.5")[:-20]]
)
def test_a_form_that_was_cut_off_is_not_painted(port, end):
    answer = post(port, photo() + STYLE + end)
    assert answer.status == 400
    assert "cut off" in answer.error or "no whole multipart" in answer.error


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (b"multipart/form-data", 400),
        (b"multipart/form-data; boundary=", 400),
        (b"multipart/form-data; boundary=" + b"b" * 5000, 400),
        (b"multipart/form-data; boundary=\xff", 400),
        (b"multipart/form-data; charset=undefined; boundary=b", 415),
        (b"multipart/form-data; charset=idna; boundary=b", 415),
        (b"multipart/form-data; charset=utf-16; boundary=b", 415),
        (b"multipart/form-datax; boundary=b", 415),
        (b"multipart/mixed; boundary=b", 415),
        (b"application/x-www-form-urlencoded", 415),
        (b"application/json", 415),
        (b"\xff", 415),
        (b"", 415),
        (b"MULTIPART/form-data; charset=UTF-8; boundary=b", 200),
        (b'multipart/form-data; boundary="b"', 200),
    ],
)
def test_content_types(port, kind, status):
    answer = post(port, photo() + STYLE + END, kind=kind)
    assert answer.status == status
    assert status == 200 or answer.error


def test_controls_in_the_address_are_not_passed_over(port):
    answer = post(port, photo() + STYLE + END, "/v1/stylize?strength=0.5")
    assert answer.status == 422
    assert "'strength' is in the address: put it in the form" in answer.error


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_chunked_forms(port, length):
    body = photo() + STYLE + END
    chunks = [body[at : at + length] for at in range(0, len(body), length)] + [b""]
    sent = b"".join(b"%x;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = request("POST", "/v1/stylize", AUTH, b"Transfer-Encoding: chunked", b"Content-Type: " + BOUNDARY)
    assert ask(port, head.replace(b"Content-Length: 0\r\n", b"") + sent).status == 200


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/v1/stylize", LIMIT),
        ("/camera/frame?camera=12345678&style=klimt-kiss", LIMIT),
        ("/v1/clips", 1_000_000),
    ],
)
def test_an_upload_is_cut_where_its_limit_is(port, path, limit):
    head = request("POST", path, AUTH, b"Transfer-Encoding: chunked", b"Content-Type: " + BOUNDARY)
    start = photo()[:-2]
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head.replace(b"Content-Length: 0\r\n", b"") + b"%x\r\n%b\r\n" % (len(start), start))
        answer = None
        while answer is None and sent < limit + 30_000_000:
            try:
                client.sendall(b"%x\r\n%b\r\n" % (1 << 20, bytes(1 << 20)))
                sent += 1 << 20
                client.setblocking(False)
                if client.recv(1, socket.MSG_PEEK):
                    client.settimeout(30)
                    client.shutdown(socket.SHUT_WR)
                    answer = read(client)
            except BlockingIOError:
                client.settimeout(60)
        assert limit <= sent < limit + 30_000_000
        assert (answer.status, "more than" in answer.error) == (413, True)


@pytest.mark.parametrize(("password", "status"), [(AUTH, 413), (b"X: none", 401)])
def test_a_refusal_reaches_who_has_not_looked_before_all_was_sent(port, password, status):
    size = 30_000_000
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request("POST", "/v1/stylize", password, b"Content-Length: %d" % size))
        for _ in range(size // 1_000_000):
            client.sendall(bytes(1_000_000))
        assert (answer := read(client)).status == status
        assert answer.error


def test_whoever_goes_half_way_leaves_no_trace_in_the_log(port):
    """The fixture looks into the log."""
    for path in ("/v1/stylize", "/v1/styles", "/v1/clips", "/camera/frame?camera=12345678&style=klimt-kiss"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(
                request("POST", path, AUTH, b"Content-Type: " + BOUNDARY, b"Content-Length: 9000", body=photo())
            )
            time.sleep(0.1)
    assert send(port, "GET", "/healthz").status == 200


# Slow clients


@pytest.fixture
def impatient(monkeypatch) -> Iterator[int]:
    """A server that waits no longer than a moment, of an application that reads all and says a lot."""
    monkeypatch.setattr(Protocol, "patience", 0.2)
    monkeypatch.setattr(Protocol, "most", 20)
    monkeypatch.setattr(guard, "_GRACE", 0.3)
    monkeypatch.setattr(guard, "_LINGER", 0.3)

    async def app(scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"50000000")]})
        await send({"type": "http.response.body", "body": bytes(50_000_000)})

    class Api:
        """As FastAPI does, it answers what is raised."""

        async def __call__(self, scope, receive, send) -> None:
            try:
                await app(scope, receive, send)
            except guard.HTTPException as error:
                await guard._refuse(send, error.status_code, error.detail)

    guarded = Guard(Api(), auth=None, largest=lambda _: 10**9, count=lambda *_: None)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(guarded, http=Protocol, ws="none", log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)


def closed(client: socket.socket, drip: Callable[[], bytes] = lambda: b"") -> bool:
    """Tells whether the server hangs up, whatever is sent to it now and then."""
    client.settimeout(0.05)
    for _ in range(200):
        try:
            client.sendall(drip())
            if not client.recv(1 << 10):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: "])
def test_a_head_that_does_not_come_to_its_end_ends_the_connection(impatient, start):
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.sendall(start)
        assert closed(client, lambda: b"x" if start else b"")


def test_a_body_that_hardly_comes_is_too_slow(impatient):
    with socket.create_connection(("127.0.0.1", impatient), timeout=10) as client:
        client.sendall(request("POST", "/v1/stylize", b"Content-Length: 1000", body=b"x"))
        answer = read(client)
    assert (answer.status, "too slow" in answer.error) == (408, True)


def test_an_answer_that_nobody_takes_is_dropped(impatient):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient))
        client.sendall(request("GET", "/"))
        time.sleep(1)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while more := client.recv(1 << 16):
                taken += len(more)
    assert taken < 50_000_000


def test_idle_connections_do_not_keep_others_out(impatient):
    idle = [socket.create_connection(("127.0.0.1", impatient)) for _ in range(60)]
    with socket.create_connection(("127.0.0.1", impatient), timeout=10) as client:
        client.sendall(request("HEAD", "/"))
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    for client in idle:
        client.close()
