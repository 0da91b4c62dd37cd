"""`impasto serve`: several replicas behind one address, and what clients see when some of them are killed."""

from __future__ import annotations

import asyncio
import base64
import importlib
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
import wire
import yaml
from PIL import Image
from ray.serve.schema import ServeDeploySchema

import impasto
from impasto.cli import main
from impasto.serve import Options, application
from impasto.serve.replay import REPLICA, Replay, environment, middleware

AUTH = ("me", "secret")
SIGNED = b"Authorization: Basic " + base64.b64encode(":".join(AUTH).encode())
FORM = b"Content-Type: " + wire.BOUNDARY
MANIFEST = Path(__file__).parents[2] / "examples" / "kuberay" / "rayservice.yaml"


class Service:
    """The command, run on a port of its own."""

    def __init__(self, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "impasto", "serve", "--port", str(port), "--engine", "onnxruntime"]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if f":{port}/docs" in line:
                break
        assert self.process.poll() is None, self.said
        self.port, self.address = port, f"http://127.0.0.1:{port}"
        self.client = httpx2.Client(base_url=self.address, auth=AUTH, timeout=90)

    def processes(self, part: str) -> list[psutil.Process]:
        """Those that run the painters, or the desk."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "".join(process.cmdline()).startswith(f"ray::ServeReplica:impasto:{part}"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def stylize(self, photo: bytes, **fields):
        # A connection of its own for each request: two at a time, on one, need not go to two replicas.
        return httpx2.post(f"{self.address}/v1/stylize", files={"photo": photo}, data=fields, auth=AUTH, timeout=90)

    def upload(self, picture: bytes, name: str) -> str:
        answer = self.client.post("/v1/styles", files={"file": ("style.png", picture)}, data={"name": name})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def counted(self, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)", self.client.get("/metrics").text, re.M)
        return float(found.group(1)) if found else 0.0

    def close(self) -> int:
        self.process.terminate()
        self.said += self.process.communicate(timeout=60)[1]
        return self.process.returncode


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service("--replicas", "2", "--auth", ":".join(AUTH), "--max-upload", "1", "--queue", "2")
    yield service
    service.process.kill()


@pytest.fixture(scope="module")
def painter() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def small(photo) -> Image.Image:
    return Image.fromarray(photo).resize((96, 72))


def png(image: Image.Image | np.ndarray) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, "PNG")
    return stream.getvalue()


def outcome(answer, expected: Image.Image) -> str:
    """right, 503 or what else it is."""
    if answer.status_code == 200:
        same = np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), np.asarray(expected))
        return "right" if same else "a wrong picture"
    if answer.status_code == 503 and list(answer.json()) == ["error"] and int(answer.headers["retry-after"]) > 0:
        return "503"
    return f"{answer.status_code} {answer.text}"


def until_both(service: Service, ask) -> None:
    """Asks until each of the two replicas has answered."""
    answered = set()
    for _ in range(100):
        answered.add(ask().headers[REPLICA])
        if len(answered) == 2:
            return
    raise AssertionError(f"only {answered} answers")


def test_every_replica_paints_what_the_library_paints(service, painter, small):
    expected = painter.stylize(small, "klimt-kiss")

    def ask():
        answer = service.stylize(png(small), style="klimt-kiss")
        assert outcome(answer, expected) == "right"
        return answer

    until_both(service, ask)


def test_an_uploaded_style_is_known_to_every_replica(service, painter, small, painting):
    key = service.upload(png(painting), "cat")
    assert service.upload(png(painting), "cat") == key  # so that an upload may be done twice
    expected = painter.stylize(small, painting)

    def ask():
        answer = service.stylize(png(small), style=key)
        assert outcome(answer, expected) == "right"
        return answer

    until_both(service, ask)
    listed = service.client.get("/v1/styles").json()
    assert {"id": key, "title": "cat", "by": "", "uploaded": True} in listed


def test_password_limits_and_errors_are_those_of_the_app(service, small):
    assert httpx2.get(f"{service.address}/healthz").json()["status"] == "ok"
    assert httpx2.get(f"{service.address}/metrics").status_code == 401
    for ask, status, words in [
        (lambda: service.stylize(bytes(1_100_000), style="klimt-kiss"), 413, "more than 1 MB"),
        (lambda: service.stylize(b"no picture", style="klimt-kiss"), 415, "not a picture|cannot"),
        (lambda: service.stylize(png(small), style="klimt-kis"), 422, "did you mean klimt-kiss"),
        (lambda: service.client.get("/"), 404, "no such page"),
    ]:
        answer = ask()
        while answer.status_code == 503:  # the machine is so busy that it says to come again
            time.sleep(1)
            answer = ask()
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert re.search(words, answer.json()["error"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (wire.request("GET", "/v1/styles", b"Authorization: Basic \xe9\xff"), 401),
        (wire.request("GET", "/v1/styles", SIGNED, b'Host: 80"><script>'), 400),
        (wire.request("GET", "healthz", SIGNED), 400),
        (wire.request("GET", "*", SIGNED), 400),
        (wire.request("GET", "/v1/styles", SIGNED, b"X: " + b"x" * 1_000_000), 400),
        (b"no request\r\n\r\n", 400),
        (wire.request("GET", "/v1/clips/x", SIGNED), 404),
        (wire.request("DELETE", "/v1/styles", SIGNED), 405),
        (
            wire.request(
                "POST", "/v1/stylize", SIGNED, FORM, body=wire.photo() + wire.part("strenght", b"0.5") + b"--b--\r\n"
            ),
            422,
        ),
        (wire.request("POST", "/v1/stylize", SIGNED, FORM, body=wire.photo() + wire.part("style", b"klimt-kiss")), 400),
        (wire.request("POST", "/v1/stylize?strength=0.5", SIGNED, FORM, body=wire.photo() + b"--b--\r\n"), 422),
    ],
)
def test_odd_requests_are_answered_as_by_the_app(service, sent, status):
    answer = wire.ask(service.port, sent)
    assert (answer.status, bool(answer.error)) == (status, True)


def test_head_and_whole_addresses_are_answered(service):
    answer = wire.ask(service.port, wire.request("HEAD", "/healthz"))
    assert (answer.status, answer.body) == (200, b"")
    assert wire.ask(service.port, wire.request("GET", "http://other.test/healthz")).status == 200


def test_counts_are_those_of_all_replicas(service, small):
    series = 'impasto_requests_total{method="POST",route="/v1/stylize",status="200"}'
    assert service.counted("impasto_replicas") == 2
    before = service.counted(series)
    until_both(service, lambda: service.stylize(png(small), style="klimt-kiss"))
    time.sleep(2)  # each replica tells once a second
    after = service.counted(series)
    assert after > before + 1
    assert service.counted(series) == after  # whichever is asked
    assert service.counted('impasto_work_seconds_count{kind="api"}') >= after
    assert service.counted("impasto_uploaded_styles") == len(
        [style for style in service.client.get("/v1/styles").json() if style["uploaded"]]
    )


def test_full_queues_say_when_to_come_again(service, painter, photo):
    expected = painter.stylize(photo, "klimt-kiss")
    with ThreadPoolExecutor(16) as clients:  # one picture at work and two that wait make 3 for a replica
        answers = list(clients.map(lambda _: service.stylize(png(photo), style="klimt-kiss"), range(16)))
    seen = Counter(outcome(answer, expected) for answer in answers)
    assert set(seen) == {"right", "503"}
    assert seen["right"] >= 3


def storm(service: Service, orders: list[tuple[dict, Image.Image]], photo: bytes, kill) -> Counter[str]:
    """What clients see, one for each order, while `kill` does its work."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def ask(fields: dict, expected: Image.Image) -> None:
        while not over.is_set():
            try:
                seen[outcome(service.stylize(photo, **fields), expected)] += 1
            except (httpx2.HTTPError, ValueError) as error:
                seen[repr(error)] += 1

    threads = [threading.Thread(target=ask, args=order) for order in orders]
    for thread in threads:
        thread.start()
    try:
        kill()
        time.sleep(3)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return seen


@pytest.mark.slow
def test_killed_replicas_lose_no_request(service, painter, small, painting):
    key = service.upload(png(painting), "cat")
    styles = {"klimt-kiss": "klimt-kiss", "munch-scream": "munch-scream", key: painting}
    orders = [({"style": name}, painter.stylize(small, source)) for name, source in styles.items()]

    def kill() -> None:
        for _ in range(2):
            time.sleep(1)
            before = service.processes("painters")
            before[0].kill()
            while len(service.processes("painters")) < 2 or before[0].is_running():
                time.sleep(0.1)
        both = service.processes("painters")
        for process in both:  # none is left to take over
            process.kill()
        while len(service.processes("painters")) < 2:
            time.sleep(0.1)

    seen = storm(service, orders, png(small), kill)
    assert set(seen) <= {"right", "503"}
    assert seen["right"] > 20
    assert outcome(service.stylize(png(small), style=key), orders[2][1]) == "right"


@pytest.mark.slow
def test_a_killed_desk_loses_no_style(service, painter, small, painting):
    key = service.upload(png(painting), "tabby")
    orders = [({"style": key}, painter.stylize(small, painting))] * 2

    def kill() -> None:
        time.sleep(1)
        [desk] = service.processes("desk")
        desk.kill()
        while len(service.processes("desk")) < 1 or desk.is_running():
            time.sleep(0.1)
        time.sleep(2)

    seen = storm(service, orders, png(small), kill)
    assert set(seen) <= {"right", "503"}
    assert key in [style["id"] for style in service.client.get("/v1/styles").json()]
    until_both(service, lambda: service.stylize(png(small), style=key))


def test_a_port_that_is_taken_is_named(service, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["serve", "--port", service.address.rpartition(":")[2]])
    assert exit.value.code == 2
    assert re.match(r"impasto: cannot listen on 127.0.0.1 port \d+: .*choose another", capsys.readouterr().err)


def test_the_end_lets_replicas_finish(service, painter, photo):
    """The last test of the service: it ends it."""
    expected = painter.stylize(photo, "klimt-kiss")
    answers = []

    def ask() -> None:
        answers.append(service.stylize(png(photo), style="klimt-kiss"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while service.counted("impasto_running") == 0:
        pass
    assert service.close() == 0
    for thread in threads:
        thread.join()
    assert {outcome(answer, expected) for answer in answers} <= {"right", "503"}
    assert any(outcome(answer, expected) == "right" for answer in answers)
    assert "Traceback" not in service.said


# What stands in the proxies


def through(app, body: list[bytes], timeout: float = 60) -> list[dict]:
    """What comes out of the middleware around an app, for a body in these parts."""
    coming = [{"type": "http.request", "body": part, "more_body": part is not body[-1]} for part in body]
    sent = []

    async def receive():
        return coming.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(Replay(app, timeout)({"type": "http", "path": "/v1/stylize", "headers": []}, receive, send))
    return sent


def answer(status: int, body: bytes, signed: bool = True) -> list[dict]:
    headers = [(REPLICA.encode(), b"one")] if signed else []
    return [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


@pytest.mark.parametrize("half", [[], answer(200, b"half")[:1], [*answer(200, b"")[:1], {
    "type": "http.response.body", "body": b"half", "more_body": True}]])  # fmt: skip
def test_a_request_that_dies_half_way_is_heard_again_from_the_start(half):
    heard = []

    async def app(scope, receive, send):
        parts = [(await receive())["body"]]
        if not heard:
            heard.append(parts)
            for message in half:
                await send(message)
            return
        while len(parts) < 3:
            parts.append((await receive())["body"])
        heard.append(parts)
        for message in answer(200, b"painted"):
            await send(message)

    sent = through(app, [b"a", b"b", b"c"])
    assert [message["body"] for message in sent[1:]] == [b"painted"]
    assert heard == [[b"a"], [b"a", b"b", b"c"]]


@pytest.mark.parametrize(
    "said", [[], answer(404, b"Path '/' not found", signed=False), answer(503, b"busy", signed=False)]
)
def test_serves_own_answers_are_put_in_our_words(said):
    tries = []

    async def app(scope, receive, send):
        tries.append(1)
        for message in said:
            await send(message)

    sent = through(app, [b"a"])
    excused(sent)
    assert len(tries) == (1 if said else 2)


def test_a_request_that_nobody_takes_is_given_up():
    gone = []

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.append(1)  # as Serve's proxy does: it ends without a word

    excused(through(app, [b"a"], timeout=0.1))
    assert gone == [1]


def excused(sent: list[dict]) -> None:
    start, body = sent
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"2")
    assert list(json.loads(body["body"])) == ["error"]


# How it is started


def test_the_manifest_builds_the_application():
    """What KubeRay would do with it, short of a cluster."""
    manifest = yaml.safe_load(MANIFEST.read_text("utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    [app] = config.applications
    assert app.import_path == f"{application.__module__.rpartition('.')[0]}:{application.__name__}"
    options = Options.model_validate(app.args)
    assert application(options)._bound_deployment.name == "painters"
    cluster = manifest["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert environment(options.limits.timeout).items() <= variables.items()
    module, _, name = environment(1)["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is middleware


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--replicas", "0"], "replicas must be a number or a range"),
        (["--replicas", "4..2"], "replicas must be a number or a range"),
        (["--target", "0"], "--target: .*greater than 0"),
        (["--auth", "me"], "--auth takes a name and a password"),
        (["--timeout", "0"], "--timeout must be more than 0"),
        (["--queue", "-1"], "--queue must be 0 or more"),
        (["--up-delay", "inf"], "--up-delay: .*finite"),
        (["--model", "nosuch"], "nosuch"),
    ],
)
def test_bad_options_end_with_one_line(options, words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["serve", *options])
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert re.match(rf"impasto: .*{words}", error)
    assert error.count("\n") == 1
