"""Clips over the HTTP API: uploaded, asked about, given back with their sound, cancelled, refused, forgotten."""

from __future__ import annotations

import io
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from clips import make_clip, packets_of, pan
from fastapi.testclient import TestClient
from PIL import Image

import impasto
from impasto.app import Limits, build
from impasto.video import stylize_video


@pytest.fixture(scope="module")
def painter() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Six frames and a tone."""
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", pan(6), sound="aac")


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """More than anybody waits for: 80 s, of which a server paints 60, with five frames in two of them."""
    times = [5120 * step for step in range(200)]
    fast = {"preset": "ultrafast"}
    return make_clip(tmp_path_factory.mktemp("clips") / "long.mp4", pan(20, 400, 200) * 10, times=times, options=fast)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the server's temporary files lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def serve(painter, **limits) -> Iterator[TestClient]:
    with TestClient(build(painter, Limits(**limits), page=False)) as client:
        yield client


def send(client: TestClient, clip: Path | bytes, name: str = "a.mp4", **fields):
    data = clip if isinstance(clip, bytes) else clip.read_bytes()
    return client.post("/v1/clips", files={"clip": (name, data)}, data={"style": "klimt-kiss"} | fields)


def begin(client: TestClient, clip: Path, **fields) -> str:
    answer = send(client, clip, **fields)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/clips/{answer.json()['id']}"
    return answer.headers["location"]


def wait(client: TestClient, address: str, until: Callable[[dict], bool]) -> dict:
    for _ in range(2400):
        if until(report := client.get(address).json()):
            return report
        time.sleep(0.05)
    raise AssertionError(report)


def is_(*states: str) -> Callable[[dict], bool]:
    return lambda report: report.get("state") in states


def refused(response, status: int, words: str) -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert re.search(words, response.json()["error"]), response.text
    assert tempfile.gettempdir() not in response.text


def test_a_clip_is_painted_as_the_library_does_it_and_keeps_its_sound(painter, clip, tmp_path, folder):
    fields = {"strength": 0.8, "palette": "photo", "max_size": 64}
    with serve(painter) as client:
        address = begin(client, clip, name="C:\\films\\é cat.mov", **fields)
        report = wait(client, address, is_("done", "failed"))
        assert report == {
            "id": address[-32:], "state": "done", "done": 6, "total": 6, "rate": report["rate"], "seconds_left": None,
            "error": None,
        }  # fmt: skip
        assert report["rate"] > 0
        answer = client.get(f"{address}/video")
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["content-disposition"].endswith("''%C3%A9%20cat-painted.mp4")
        part = client.get(f"{address}/video", headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, answer.content[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(answer.content)}"
        refused(client.get(f"{address}/video", headers={"range": "bytes=99999999-"}), 416, "range")
        refused(client.get(f"{address}/video", headers={"range": "lines=1-2"}), 400, "range")
        said = client.get("/metrics").text
        assert 'impasto_work_seconds_count{kind="clip"} 1.0' in said
        assert 'impasto_requests_total{method="POST",route="/v1/clips",status="202"} 1.0' in said

        assert client.delete(address).status_code == 204
        for gone in (client.get(address), client.get(f"{address}/video"), client.delete(address)):
            refused(gone, 404, "no such clip")
        assert not list(folder.glob("impasto-*"))

    (tmp_path / "sent.mp4").write_bytes(answer.content)
    stylize_video(painter, clip, "klimt-kiss", tmp_path / "own.mp4", **fields)
    assert packets_of(tmp_path / "sent.mp4", "video") == packets_of(tmp_path / "own.mp4", "video")
    assert packets_of(tmp_path / "sent.mp4", "audio") == packets_of(clip, "audio")


def test_frames_are_640_pixels_long_unless_told_otherwise_and_controls_hold(painter, tmp_path, photo, painting, folder):
    stream = io.BytesIO()
    Image.fromarray(painting).save(stream, "PNG")
    wide = make_clip(tmp_path / "wide.mp4", [np.asarray(Image.fromarray(photo[:160]).resize((800, 250)))] * 2)
    files = [("clip", ("wide.mp4", wide.read_bytes())), ("style_file", ("cat.png", stream.getvalue())),
             ("palette_file", ("colours.png", stream.getvalue()))]  # fmt: skip
    with serve(painter) as client:
        fields = {"style": "klimt-kiss", "weight": ["1", "3"], "style_size": "128", "stroke_size": "2",
                  "style_box": "0,0,200,300", "keep": "face", "keep_share": "0.5"}  # fmt: skip
        address = client.post("/v1/clips", files=files, data=fields).headers["location"]
        wait(client, address, is_("done"))
        (tmp_path / "sent.mp4").write_bytes(client.get(f"{address}/video").content)
        refused(client.post("/v1/clips", files=files, data={"style": ["klimt-kiss"] * 8}), 422, "9 styles are more")
        refused(client.post("/v1/clips", files=files, data={"palette": "photo"}), 422, "leave one of them out")
    with av.open(tmp_path / "sent.mp4") as opened:
        assert (opened.streams.video[0].width, opened.streams.video[0].height) == (640, 200)
    mix = painter.mix({painter.style("klimt-kiss"): 1, painter.style(painting, size=128, box=(0, 0, 200, 300)): 3})
    made = []
    for kept in ("face", None):
        options = {"max_size": 640, "stroke_size": 2, "palette": painting, "keep": kept, "keep_share": 0.5}
        stylize_video(painter, wide, mix, tmp_path / "own.mp4", **options)
        made.append(packets_of(tmp_path / "own.mp4", "video"))
    assert packets_of(tmp_path / "sent.mp4", "video") == made[0] != made[1]


def test_clips_wait_their_turn_beside_the_pictures_and_can_be_cancelled(painter, clip, long, folder):
    with serve(painter, clip_queue=2) as client:
        painted = begin(client, long)
        report = wait(client, painted, lambda report: report["done"] > 2)
        assert (report["state"], report["total"]) == ("painting", pytest.approx(150, abs=1))
        assert report["seconds_left"] == pytest.approx((report["total"] - report["done"]) / report["rate"], rel=0.05)
        refused(client.get(f"{painted}/video"), 409, f"being painted: GET {painted} says")

        waiting = [begin(client, clip), begin(client, clip)]
        assert client.get(waiting[0]).json()["state"] == "waiting"
        refused(client.get(f"{waiting[0]}/video"), 409, "waits for its turn")
        busy = send(client, clip)
        refused(busy, 503, "busy")
        assert int(busy.headers["retry-after"]) >= 1
        assert 'impasto_refused_total{kind="clip",reason="busy"} 1.0' in client.get("/metrics").text
        photo = {"photo": (Path(__file__).parents[2] / "examples" / "astronaut.jpg").read_bytes()}
        small = {"style": "klimt-kiss", "max_size": "64"}
        assert client.post("/v1/stylize", files=photo, data=small).status_code == 200
        assert client.get(painted).json()["state"] == "painting"

        assert client.delete(waiting[0]).status_code == 204  # while it waits
        assert client.get(waiting[1]).json()["state"] == "waiting"
        assert client.delete(painted).status_code == 204  # while it is painted
        assert wait(client, waiting[1], is_("done"))["done"] == 6
        assert len(list(folder.glob("impasto-*"))) == 1


@pytest.mark.parametrize(
    ("clip", "fields", "status", "words"),
    [
        (b"no clip", {}, 415, "cannot read the clip"),
        (b"", {}, 415, "cannot read the clip: it is empty"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", {}, 415, "cannot read the clip"),
        ("sound", {}, 415, "the clip holds no video"),
        ("large", {}, 413, "the clip has frames of 96 x 64 pixels, more than the 6,000"),
        (bytes(1_100_000), {}, 413, "more than 1 MB"),
        ("clip", {"style": "klimt-kis"}, 422, "did you mean klimt-kiss"),
        ("clip", {"style": []}, 422, "no style"),
        ("clip", {"weight": ["1", "2"]}, 422, "2 weights for 1 styles"),
        ("clip", {"strength": "2"}, 422, "strength"),
        ("clip", {"max_size": "8"}, 422, "max_size"),
        ("clip", {"start": "1"}, 422, "no field 'start'"),
    ],
)
def test_what_cannot_be_painted_is_said_at_once(painter, clip, fields, status, words, tmp_path, folder):
    if clip == "sound":
        clip = tmp_path / "a.m4a"
        with av.open(clip, "w") as out:
            stream = out.add_stream("aac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 48000
            out.mux([*stream.encode(frame), *stream.encode(None)])
    elif clip in ("clip", "large"):
        clip = make_clip(tmp_path / "a.mp4", pan(2, 96, 64) if clip == "large" else pan(2, 64, 48))
    with serve(painter, max_clip=1_000_000, max_pixels=6_000) as client:
        refused(send(client, clip, **fields), status, words)
        documented = client.get("/openapi.json").json()["paths"]["/v1/clips"]["post"]["responses"]
        assert str(status) in documented
        assert not list(folder.glob("impasto-*"))


def test_time_and_seconds_are_limited_and_what_is_done_is_finished(painter, long, folder):
    with serve(painter, clip_timeout=1.5) as client:
        address = begin(client, long)
        report = wait(client, address, is_("done", "failed"))
        assert report["state"] == "done"
        assert 0 < report["done"] < report["total"]
        assert client.get(f"{address}/video").status_code == 200
    with serve(painter, max_clip_seconds=2) as client:
        assert wait(client, begin(client, long), is_("done"))["done"] == 5


def test_a_clip_that_nobody_asks_about_is_given_up(painter, long, clip, folder):
    with serve(painter, clip_unasked=0.5) as client:
        addresses = [begin(client, long), begin(client, clip)]
        for _ in range(10):
            assert client.get(addresses[0]).json()["state"] in ("waiting", "painting")
            time.sleep(0.1)
        time.sleep(2)
        for address in addresses:
            assert client.get(address).json()["state"] == "cancelled"
            refused(client.get(f"{address}/video"), 409, "was cancelled: nobody asked about it for 0.5 s")
        wait(client, addresses[0], lambda _: not list(folder.glob("impasto-*")))


def test_results_are_few_and_not_kept_for_ever(painter, clip, folder):
    with serve(painter, clips_kept=1) as client:
        first, second = begin(client, clip), begin(client, clip)
        wait(client, second, is_("done"))
        wait(client, first, lambda report: "no such clip" in (report["error"] or ""))
        assert client.get(f"{second}/video").status_code == 200
        assert len(list(folder.glob("impasto-*"))) == 1
    with serve(painter, clip_kept=0.5) as client:
        address = begin(client, clip)
        wait(client, address, is_("done"))
        wait(client, address, lambda report: "no such clip" in (report["error"] or ""))
        assert not list(folder.glob("impasto-*"))


def test_the_end_of_the_server_leaves_nothing(painter, long, clip, folder):
    with serve(painter) as client:
        done = begin(client, clip)
        wait(client, done, is_("done"))
        painted, waiting = begin(client, long), begin(client, long)
        wait(client, painted, lambda report: report["done"] > 0)
        assert client.get(waiting).json()["state"] == "waiting"
        assert len(list(folder.glob("impasto-*"))) == 3
        assert all(Path(name).stat().st_mode & 0o077 == 0 for name in folder.glob("impasto-*"))
    assert not list(folder.glob("impasto-*"))
    assert not [thread for thread in threading.enumerate() if thread.name == "impasto-work_0" and thread.is_alive()]


def test_a_server_without_clips_says_that_there_is_no_such_address(painter, clip):
    with TestClient(build(painter, page=False, clips=False)) as client:
        refused(send(client, clip), 404, "no such page")
        assert "/v1/clips" not in client.get("/openapi.json").json()["paths"]
