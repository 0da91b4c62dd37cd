"""How `impasto app` and `impasto serve` bear whatever comes over a socket.

    python benchmarks/fuzz.py --seconds 300 --seed 1
    python benchmarks/fuzz.py --seconds 300 --seed 1 --command serve

Starts a server on the loopback interface and sends it requests over raw sockets, four at a time: right ones, the same
with something wrong in the form, the framing or the head, and the same with bytes changed by chance. A seed gives the
same requests each time. Counted are the answers by status, those from 500 on but "busy" and "late", errors that are
not `{"error": ...}`, connections that hang, tracebacks in the server's log, and its resident memory.
"""

# ruff: noqa: E501 (tables of odd things)

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
from PIL import Image

AUTH = "me:secret"
PATIENCE = 40.0  # seconds in which the server must have answered or hung up
LIMIT = 300_000  # bytes of a request, --max-upload
ODD_TEXTS = [
    "", "0", "-1", "nan", "inf", "1e400", "0x10", "1_0", "½", "²", "\0", "a" * 5000, "9" * 5000, "é\u202e\ud83d\ude00", "../..",
    "[]", "{}", "null", "true", "<script>", "%s%n", "klimt-kiss", "own-0000", "match", "png", "a\r\nb: c", "\x7f", " 0.5 ",
]  # fmt: skip
FIELDS = ["photo", "style", "style_file", "weight", "mask", "strength", "keep_color", "stroke_size", "style_size", "max_size",
          "format", "quality", "file", "name", "strenght", "", "photo[]", "a" * 300]  # fmt: skip
ADDRESSES = [
    "/", "/v1/stylize", "/v1/styles", "/healthz", "/metrics", "/docs", "/openapi.json", "/v1/nothing", "/nothing", "//", "/../",
    "/%00", "/%ff%fe", "/%2e%2e/%2e%2e/etc/passwd", "*", "http://other.test/healthz", "healthz", "/healthz?x=%zz&&==", "/v1/../metrics",
    "/page.json", "/page.css", "/model/content.onnx.gz", "/model/%00", "/ort/../../x", "/ort/%0a.js", "/static-offline-docs/x",
    "/camera/frame?camera=12345678&style=klimt-kiss", "/camera/frame?camera=x&style=&weight=a", "/v1/clips", "/v1/clips/x",
    "/v1/clips/%00/video", "/v1/clips/..%2fx", "/v1/clips/" + "f" * 32, "/" + "a" * 9000,
    "/-/healthz", "/-/routes", "/-/impasto",
]  # fmt: skip
ODD_HEADERS = [
    b'Host: 80"><script>', b"Host: a:b:c", b"Host: [::1", b"Host: \xff", b"Host:", b"Host: x\r\nHost: y", b"Authorization: Basic \xe9\xff",
    b"Authorization: Basic", b"Authorization: \xff", b"Authorization: Basic " + b"A" * 9000, b"Authorization: Bearer \xc3\xa9",
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: \xb2", b"Content-Length: 1, 1",
    b"Content-Length: 0x10", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, chunked", b"Expect: 100-continue",
    b"Expect: x", b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", b"X-Forwarded-Host: \"><script>", b"X-Forwarded-Host: a:b:c",
    b"X-Forwarded-Proto: javascript", b"X-Forwarded-For: \xff", b"Cookie: \xff=\xfe;;;", b"Range: bytes=9-1", b"Range: x",
    b"Range: bytes=" + b"0-0," * 500, b"If-None-Match: \xff", b"If-Modified-Since: never", b"Accept-Encoding: br;q=\xff",
    b"Accept-Encoding: ;;,br,gzip", b"Accept: \xff", b"Content-Type: \xff", b"X: " + b"a" * 200_000, b"A: b\r\n" * 3000 + b"A: b",
    b" folded: x", b"no colon", b": empty", b"N\0: x", b"X: \0", b"Origin: null", b"Origin: \xff",
    b"Content-Encoding: gzip", b"Te: trailers", b"Content-Disposition: \xff",
]  # fmt: skip
CONTENT_TYPES = [
    b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary="', b"multipart/form-data; boundary=\xff",
    b"multipart/form-data; boundary=" + b"b" * 5000, b"multipart/form-data; charset=idna; boundary=b",
    b"multipart/form-data; charset=undefined; boundary=b", b"multipart/form-data; charset=\x01; boundary=b",
    b"multipart/form-data; charset=utf-16; boundary=b", b"multipart/form-data; charset=zip; boundary=b",
    b"multipart/form-data; boundary*=utf-8''b", b"multipart/form-data; boundary*0=b; boundary*1=", b"MULTIPART/FORM-DATA; BOUNDARY=b",
    b"multipart/form-datax; boundary=b", b"multipart/mixed; boundary=b", b"application/x-www-form-urlencoded", b"application/json",
    b"text/plain", b"", b"image/png", b"multipart/form-data; boundary=b; boundary=c", b"multipart/form-data;;;=;boundary=b",
    b"application/x-www-form-urlencoded; charset=undefined", b"application/json; charset=utf-7",
]  # fmt: skip


def main() -> None:
    options = parsed()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        command = [sys.executable, "-m", "impasto", options.command, "--port", str(free_port()), "--auth", AUTH,
                   "--engine", "onnxruntime", "--threads", "1", "--max-upload", str(LIMIT / 1e6),
                   "--max-pixels", "250000"]  # fmt: skip
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            if (port := wait_until_up(server, int(command[5]))) is None:
                log.seek(0)
                sys.exit(f"the server did not start:\n{log.read()}")
            with socket.create_connection(("127.0.0.1", port)) as warm:
                warm.sendall(right_form().request("/v1/stylize"))
                warm.recv(100)
            tally = Tally()
            before = memory(server.pid)
            storm(port, options, tally)
            time.sleep(2)
            after = memory(server.pid)
            alive = ask(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[:12] == b"HTTP/1.1 200"
        finally:
            server.terminate()
            server.wait(60)
        log.seek(0)
        said = log.read()
    report(tally, before, after, alive, said)
    if tally.faults or tally.hung or not alive or "Traceback" in said:
        sys.exit(1)


class Tally:
    """What came of the requests."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.faults: dict[str, bytes] = {}
        self.hung: list[bytes] = []
        self.requests = 0
        self.lock = threading.Lock()

    def note(self, sent: bytes, heard: bytes | None) -> None:
        """Takes down one exchange; None stands for a connection that hangs."""
        with self.lock:
            self.requests += 1
            if heard is None:
                self.hung.append(sent)
            for status, kind, body in answers(heard or b"", bodiless=sent.startswith(b"HEAD ")):
                self.answers[status[:1] + "xx" if int(status) < 500 else status] += 1
                if fault := find_fault(int(status), kind, body):
                    where = sent[:80].partition(b"?")[0].decode("latin-1").split("HTTP")[0]
                    self.faults.setdefault(f"{where}: {status}, {fault}"[:120], sent)
            if heard == b"":
                self.answers["closed without an answer"] += 1


def find_fault(status: int, kind: str, body: bytes) -> str | None:
    """Says what is wrong with an answer."""
    if status >= 500 and status not in (503, 504):
        return f"a fault of the server: {body[:200]!r}"
    if status >= 400 and not (kind.startswith("application/json") and set(decode(body)) == {"error"}) and body:
        return f"not {{'error': ...}}: {kind} {body[:120]!r}"
    return None


def decode(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def answers(heard: bytes, bodiless: bool) -> Iterator[tuple[str, str, bytes]]:
    """Takes apart what a connection gave: status, content type and body of each answer that is not 100 Continue.

    The first is `bodiless` if it is one to HEAD, whatever length it names.
    """
    while found := re.match(rb"HTTP/1\.[01] (\d+)[^\n]*\n(.*?)\r\n\r\n", heard, re.S):
        head, heard = found.group(2), heard[found.end() :]
        if found.group(1) == b"100":
            continue
        length = re.search(rb"(?im)^content-length: *(\d+)", b"content-length: 0" if bodiless else head)
        bodiless = False
        kind = re.search(rb"(?im)^content-type: *([^\r]*)", head)
        body = heard[: int(length.group(1))] if length else heard
        heard = heard[len(body) :] if length else b""
        yield found.group(1).decode(), kind.group(1).decode("latin-1") if kind else "", body


# Requests


class Form:
    """A form in pieces, of which each can be wrong."""

    def __init__(self, *parts: tuple[bytes, bytes]) -> None:
        self.parts = list(parts)
        self.boundary, self.kind = b"b", b"multipart/form-data; boundary=b"
        self.end = b"--\r\n"

    def add(self, name: str, value: bytes, filename: str | None = None) -> Form:
        head = f'Content-Disposition: form-data; name="{name}"' + (
            f'; filename="{filename}"' if filename is not None else ""
        )
        self.parts.append((head.encode("utf-8", "surrogatepass"), value))
        return self

    def body(self) -> bytes:
        made = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (self.boundary, head, value) for head, value in self.parts)
        return made + b"--" + self.boundary + self.end

    def request(self, path: str, *headers: bytes) -> bytes:
        body = self.body()
        return request("POST", path, body, b"Content-Type: " + self.kind, b"Content-Length: %d" % len(body), *headers)


def request(method: str, path: str, body: bytes, *headers: bytes, version: str = "1.1") -> bytes:
    start = f"{method} {path} HTTP/{version}".encode("latin-1", "replace")
    own = [b"Host: 127.0.0.1", b"Authorization: Basic " + base64.b64encode(AUTH.encode()), b"Connection: close"]
    replaced = {header.partition(b":")[0].lower() for header in headers}
    kept = [header for header in own if header.partition(b":")[0].lower() not in replaced]
    return b"\r\n".join([start, *kept, *headers, b"", body])


def picture(size: tuple[int, int] = (40, 30), format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "teal").save(stream, format)
    return stream.getvalue()


PICTURES = [
    picture(),
    picture((16, 50), "JPEG"),
    picture((40, 30), "WEBP"),
    picture((600, 600)),
    b"",
    b"no picture",
    picture()[:60],
]


# The head of an MP4, which promises a film that does not come.
CLIP_START = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\0\x08free\0\xff\xff\xffmdat"


def right_form() -> Form:
    return Form().add("photo", PICTURES[0], "photo.png").add("style", b"klimt-kiss")


def wrong_values(chance: random.Random) -> bytes:
    """A form whose fields are any, of any value, any number of times."""
    form = right_form() if chance.random() < 0.7 else Form()
    for _ in range(chance.choice([1, 1, 2, 3, 12])):
        name, text = chance.choice(FIELDS), chance.choice(ODD_TEXTS).encode("utf-8", "surrogatepass")
        is_file = chance.random() < 0.4
        form.add(name, chance.choice(PICTURES) if is_file else text, chance.choice(ODD_TEXTS) if is_file else None)
    return form.request(chance.choice(["/v1/stylize", "/v1/stylize", "/v1/styles", "/v1/clips"]))


def wrong_form(chance: random.Random) -> bytes:
    """A form that is not put together as it should be."""
    form = right_form()
    what = chance.randrange(12)
    if what == 0:
        form.end = chance.choice([b"", b"-", b"\r\n", b"--", b"--\r\ntail" * 3])
    elif what == 1:
        form.parts *= chance.choice([2, 300, 1200])
    elif what == 2:
        form.parts.append((b"", b"x"))
    elif what == 3:
        form.parts.append((chance.choice([b"Content-Disposition: form-data", b"Content-Disposition", b'Content-Disposition: x; name="a', b"\xff: \xff",
                                          b"A: b\r\n" * 500 + b"A: b", b"A: " + b"b" * 100_000, b'content-disposition: form-data; name="photo"; filename*=x\'\'%ff',
                                          b'Content-Disposition: form-data; name="style"; filename*0="a"; filename*1="b"',
                                          b'Content-Disposition: form-data; name*=undefined\'\'style']), b"x"))  # fmt: skip
    elif what == 4:
        form.boundary = chance.choice([b"c", b"", b"--b", b"b" * 300])
    elif what in (5, 6, 7):
        form.kind = chance.choice(CONTENT_TYPES)
    elif what == 8:
        form.add("name", b"x" * 1_100_000 if chance.random() < 0.2 else b"x" * 100_000)
    elif what == 9:
        return request("POST", "/v1/stylize?strength=0.5&style=klimt-kiss", form.body(), b"Content-Type: " + form.kind,
                       b"Content-Length: %d" % len(form.body()))  # fmt: skip
    elif what == 10:
        body = chance.choice(
            [
                b"style=klimt-kiss&strength=1",
                b"&" * 200_000,
                b'{"style": "klimt-kiss"}',
                b"[" * 100_000,
                b"\xff\xfe",
                b"",
            ]
        )
        return request(
            "POST",
            "/v1/stylize",
            body,
            b"Content-Type: " + chance.choice(CONTENT_TYPES),
            b"Content-Length: %d" % len(body),
        )
    else:
        form.parts = [
            (head + b"\r\nContent-Transfer-Encoding: base64\r\nContent-Type: \xff/x; charset=zip", value)
            for head, value in form.parts
        ]
    return form.request(chance.choice(["/v1/stylize", "/v1/styles", "/v1/clips"]))


def wrong_head(chance: random.Random) -> bytes:
    """Any method, address, version and headers."""
    headers = [chance.choice(ODD_HEADERS) for _ in range(chance.choice([0, 1, 1, 2, 3]))]
    method = chance.choice(
        ["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X" * 300, ""]
    )
    version = chance.choice(["1.1"] * 6 + ["1.0", "0.9", "2", "1.1x", "", "9.9"])
    body = chance.choice([b"", b"", b"x", b"{}", b"null"])
    if body:
        headers.append(b"Content-Length: %d" % len(body))
    return request(method, chance.choice(ADDRESSES), body, *headers, version=version)


def wrong_frame(chance: random.Random) -> bytes:
    """A right form, but for how its bytes are counted."""
    form = right_form()
    body, kind = form.body(), b"Content-Type: " + form.kind
    what = chance.randrange(8)
    if what == 0:
        length = chance.choice([0, 1, len(body) - 1, len(body) + 1, len(body) + 10_000, LIMIT + 1, 10**18])
        return request("POST", "/v1/stylize", body, kind, b"Content-Length: %d" % length)
    if what == 1:
        return request("POST", "/v1/stylize", body, kind)
    if what == 2:
        return request("POST", "/v1/stylize", bytes(LIMIT * 3), kind, b"Transfer-Encoding: chunked")
    if what == 3:
        return b"".join(request(m, p, b"", b"Connection: keep-alive") for m, p in [("GET", "/healthz")] * 3) + bytes(
            chance.randbytes(40)
        )
    size = chance.choice([1, 7, 1000, 100_000])
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    if what == 4:
        chunks = [bytes(50_000)] * 12
    sent = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), b";e=\xff" if what == 5 else b"", chunk) for chunk in chunks)
    end = chance.choice(
        [
            b"0\r\n\r\n",
            b"0\r\n\r\n",
            b"",
            b"0\r\nX: y\r\n\r\n",
            b"-1\r\n",
            b"zz\r\n",
            b"f" * 30 + b"\r\n",
            b"0\r\n" + b"X: y\r\n" * 9000,
        ]
    )
    extra = [b"Content-Length: 5"] if what == 6 else []
    return request("POST", "/v1/stylize", sent + end, kind, b"Transfer-Encoding: chunked", *extra)


def wrong_clip(chance: random.Random) -> bytes:
    """A form with a clip in it that is none, or only its beginning."""
    texts = [text.encode("utf-8", "surrogatepass") for text in ODD_TEXTS]
    data = chance.choice([*PICTURES, *texts, CLIP_START, CLIP_START + chance.randbytes(3000)])
    form = Form().add("clip", data, chance.choice(["a.mp4", *ODD_TEXTS])).add("style", b"klimt-kiss")
    if chance.random() < 0.5:
        form.add(chance.choice(FIELDS), chance.choice(texts))
    return form.request("/v1/clips")


def wrong_frames(chance: random.Random) -> bytes:
    """A frame of a camera."""
    texts = [re.sub(r"[^!-~]", "%20", text)[:200] for text in ODD_TEXTS]
    names = ["camera", "style", "weight", "strength", "stroke_size", "keep_color", "x"]
    query = "&".join(["camera=12345678", "style=klimt-kiss"][: chance.randrange(3)]
                     + [f"{chance.choice(names)}={chance.choice(texts)}" for _ in range(3)])  # fmt: skip
    body = chance.choice(PICTURES)
    return request("POST", f"/camera/frame?{query}", body, b"Content-Length: %d" % len(body))


def changed(chance: random.Random) -> bytes:
    """A right request of which some bytes are others."""
    sent = bytearray(chance.choice([right_form().request("/v1/stylize"), Form().add("file", PICTURES[1], "a.jpg").request("/v1/styles"),
                                    wrong_head(chance), wrong_clip(chance)]))  # fmt: skip
    for _ in range(chance.choice([1, 1, 2, 5, 30])):
        at = chance.randrange(len(sent))
        what = chance.randrange(4)
        if what == 0:
            sent[at] = chance.randrange(256)
        elif what == 1:
            del sent[at : at + chance.choice([1, 2, 20])]
        elif what == 2:
            sent[at:at] = chance.choice([b"\r\n", b"\0", b"\xff", b"--b", b'"', b";", b" ", b":", b"\n\n"])
        else:
            sent[at:at] = sent[at : at + 40]
        if not sent:
            break
    return bytes(sent)


def noise(chance: random.Random) -> bytes:
    """No HTTP at all."""
    return chance.choice([
        b"", b"\r\n" * 50, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200), chance.randbytes(3000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n", b"GET\r\n\r\n", b"A" * 100_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 60_000,
    ])  # fmt: skip


KINDS: list[Callable[[random.Random], bytes]] = [
    wrong_values, wrong_values, wrong_form, wrong_form, wrong_head, wrong_head, wrong_frame, wrong_clip, wrong_frames, changed, changed, noise,
]  # fmt: skip


# The storm


def storm(port: int, options: argparse.Namespace, tally: Tally) -> None:
    """Four clients; some requests are cut off, some sent in small pieces."""
    until = time.monotonic() + options.seconds

    def client(number: int) -> None:
        chance = random.Random(f"{options.seed} {number}")
        while time.monotonic() < until:
            sent = chance.choice(KINDS)(chance)
            cut = chance.random()
            if cut < 0.05:
                sent = sent[: chance.randrange(len(sent) + 1)]
            tally.note(sent, ask(port, sent, gone=cut < 0.02, slow=cut > 0.97))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ask(port: int, sent: bytes, gone: bool = False, slow: bool = False) -> bytes | None:
    """Sends bytes; gives what comes until the server hangs up, None if nothing comes and it does not."""
    heard, until = b"", time.monotonic() + PATIENCE
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        try:
            pieces = (
                [sent[at : at + 50] for at in range(0, min(len(sent), 1000), 50)] + [sent[1000:]] if slow else [sent]
            )
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.01 * slow)
            if gone:
                return b""
            while time.monotonic() < until:
                client.settimeout(1.0)
                try:
                    more = client.recv(1 << 16)
                except TimeoutError:
                    if heard or time.monotonic() > until - PATIENCE + 3:
                        client.shutdown(socket.SHUT_WR)  # the server may be waiting for the rest; there is none
                        client.settimeout(PATIENCE)
                        more = client.recv(1 << 16)
                    else:
                        continue
                if not more:
                    return heard
                heard += more
        except TimeoutError:
            return None
        except OSError:  # it hung up while this was writing
            return heard
    return heard or None


def memory(pid: int) -> float:
    """Resident MB of the processes that serve."""
    server = psutil.Process(pid)
    found = [
        server,
        *(p for p in server.children(recursive=True) if "ServeReplica" in p.name() or "ProxyActor" in p.name()),
    ]
    return sum(process.memory_info().rss for process in found) / 1e6


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_until_up(server: subprocess.Popen[bytes], port: int) -> int | None:
    """Gives the port when the server answers there, None if it has ended."""
    while server.poll() is None:
        try:
            if b" 200 " in (ask(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") or b""):
                return port
        except OSError:
            pass
        time.sleep(0.3)
    return None


def report(tally: Tally, before: float, after: float, alive: bool, said: str) -> None:
    print(f"requests: {tally.requests}")
    print("answers: " + ", ".join(f"{kind}: {count}" for kind, count in sorted(tally.answers.items())))
    print(f"hung connections: {len(tally.hung)}; tracebacks: {said.count('Traceback')}; answers at the end: {alive}")
    print(f"resident memory: {before:.0f} MB at the start, {after:.0f} MB at the end")
    for fault, sent in [*tally.faults.items(), *(("hung", sent) for sent in tally.hung[:5])]:
        print(f"fault: {fault}\n   for {sent[:300]!r}")
    errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception|Disconnect)\b.*", said, re.M)
    for error, count in Counter(errors).most_common(30):
        print(f"log: {count} x {error[:200]}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", choices=["app", "serve"], default="app")
    return parser.parse_args()


if __name__ == "__main__":
    main()
