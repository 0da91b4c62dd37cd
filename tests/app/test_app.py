"""The HTTP API of `impasto app`, its limits and its queue."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

import impasto
from impasto.app import Limits, build, site
from impasto.app.work import BusyError, LateError, Work
from impasto.errors import ImpastoError

SIZE = (96, 72)


@pytest.fixture(scope="module")
def painter() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def client(painter):
    with TestClient(build(painter, page=False)) as client:
        yield client


@pytest.fixture(scope="module")
def page(painter):
    with TestClient(build(painter)) as client:
        yield client


@pytest.fixture(scope="module")
def small(photo) -> Image.Image:
    return Image.fromarray(photo).resize(SIZE)


@pytest.fixture(scope="module")
def style_png(painting) -> bytes:
    return png(Image.fromarray(painting))


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[:, : SIZE[0] // 2] = 255
    return mask


def png(image: Image.Image | np.ndarray) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, "PNG")
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def post(client, photo, **fields):
    """POST /v1/stylize; bytes and lists of bytes are files."""
    files = [("photo", photo if isinstance(photo, bytes) else png(photo))]
    data = {}
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bytes):
            files += [(name, (f"{name}.png", one)) for one in values]
        else:
            data[name] = values
    return client.post("/v1/stylize", files=files, data=data)


def same(response, expected: Image.Image) -> None:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(pixels(response.content), np.asarray(expected))


def test_a_shipped_style_by_name(client, painter, small):
    same(post(client, small, style="klimt-kiss"), painter.stylize(small, "klimt-kiss"))


def test_a_style_picture_with_its_size_and_a_stroke_size(client, painter, small, style_png):
    response = post(client, small, style_file=style_png, style_size=128, stroke_size=2)
    same(response, painter.stylize(small, style_png, style_size=128, stroke_size=2))
    for wrong in (0, -1, "nan", 1e9, "large"):
        refused(post(client, small, style="munch-scream", stroke_size=wrong), 422, "stroke_size")


def test_an_uploaded_style_has_any_size(client, painter, small, painting, style_png):
    added = client.post("/v1/styles", files={"file": ("cat.png", style_png)})
    assert added.status_code == 201
    key = added.json()["id"]
    for size in (128, 300):
        same(post(client, small, style=key, style_size=size), painter.stylize(small, painting, style_size=size))
    assert {"id": key, "title": "cat", "by": "", "uploaded": True} in client.get("/v1/styles").json()


def test_a_style_file_is_read_and_kept(client, painter, small, painting, tmp_path):
    style = painter.style(painting, size=200, name="cat")
    style.save(tmp_path / "cat.style")
    data = (tmp_path / "cat.style").read_bytes()
    expected = painter.stylize(small, style)
    sent = client.post("/v1/stylize", files=[("photo", png(small)), ("style_file", ("cat.style", data))])
    same(sent, expected)
    key = client.post("/v1/styles", files={"file": ("a.style", data)}, data={"name": "tabby"}).json()["id"]
    same(post(client, small, style=key), expected)
    assert [entry["title"] for entry in client.get("/v1/styles").json() if entry["id"] == key] == ["tabby"]


def test_weights_strength_and_colour(client, painter, small, style_png):
    kiss, cat = painter.style("klimt-kiss"), painter.style(style_png)
    expected = painter.stylize(small, {kiss: 3, cat: 1}, strength=0.7, keep_color="luminance")
    response = post(
        client, small, style="klimt-kiss", style_file=style_png, weight=[3, 1], strength=0.7, keep_color="luminance"
    )
    same(response, expected)


def test_the_style_of_a_part(client, painter, small, painting, style_png):
    first, second = (10, 5, 60, 50), (0, 0, 40, 40)
    expected = painter.stylize(small, painter.style(style_png, box=first))
    same(post(client, small, style_file=style_png, style_box="10,5,60,50"), expected)
    parts = [painter.style(style_png, box=first), painter.style(png(small), box=second)]
    fields = {"style": "klimt-kiss", "style_file": [style_png, png(small)], "style_box": ["10,5,60,50", "0,0,40,40"]}
    same(post(client, small, **fields), painter.stylize(small, ["klimt-kiss", *parts]))


@pytest.mark.parametrize("field", ["palette", "palette_file"])
def test_palettes(client, painter, small, style_png, field):
    palette = "photo" if field == "palette" else style_png
    expected = painter.stylize(small, "klimt-kiss", palette=palette)
    same(post(client, small, style="klimt-kiss", **{field: palette}), expected)


def test_masks(client, painter, small, mask):
    expected = painter.stylize(small, ["klimt-kiss", "munch-scream"], masks=[mask, 255 - mask])
    fields = {"style": ["klimt-kiss", "munch-scream"]}
    same(post(client, small, **fields, mask=[png(mask), png(255 - mask)]), expected)
    twice = [png(np.kron(one, np.ones((2, 2), np.uint8))) for one in (mask, 255 - mask)]
    assert post(client, small, **fields, mask=twice).status_code == 200  # of its shape, in another size


def test_max_size_scales_photo_and_masks(client, painter, small, mask):
    same(post(client, small, style="klimt-kiss", max_size=48), painter.stylize(small, "klimt-kiss", max_size=48))
    response = post(client, small, style=["klimt-kiss", "munch-scream"], mask=[png(mask), png(255 - mask)], max_size=48)
    assert pixels(response.content).shape == (36, 48, 3)


def test_alpha_and_exif_are_given_back(client, small):
    photo = small.convert("RGBA")
    photo.putalpha(128)
    assert pixels(post(client, photo, style="klimt-kiss").content)[0, 0, 3] == 128

    stream = io.BytesIO()
    exif = Image.Exif()
    exif[271], exif[274] = "A camera", 6
    small.save(stream, "JPEG", exif=exif)
    response = post(client, stream.getvalue(), style="klimt-kiss", format="jpg")
    painted = Image.open(io.BytesIO(response.content))
    assert (response.headers["content-type"], painted.size) == ("image/jpeg", SIZE[::-1])
    assert painted.getexif()[271] == "A camera"


def test_what_is_not_seen_decides_nothing(client, painter, small, painting):
    def cut_out(picture, ground):
        alpha = np.zeros(picture.shape[:2], np.uint8)
        alpha[10:-10, 20:-15] = 255
        return np.dstack([np.where(alpha[..., None], picture, np.uint8(ground)), alpha])

    grounds = (255, 0, 0), (0, 255, 0)
    photos = [cut_out(np.asarray(small), ground) for ground in grounds]
    styles = [png(cut_out(painting, ground)) for ground in grounds]
    same(post(client, photos[0], style_file=styles[0]), painter.stylize(photos[1], painting[10:-10, 20:-15]))
    one, other = (client.post("/v1/styles", files={"file": ("cat.png", style)}).json()["id"] for style in styles)
    assert one == other
    same(post(client, photos[0], style=one), painter.stylize(photos[1], painting[10:-10, 20:-15]))
    clear = png(np.zeros((40, 40, 4), np.uint8))
    refused(
        client.post("/v1/styles", files={"file": ("clear.png", clear)}), 422, "the style clear is wholly transparent"
    )


@pytest.mark.parametrize("format", ["jpg", "webp", "tiff", "bmp", "gif", "avif"])
def test_formats(client, small, format):
    response = post(client, small, style="klimt-kiss", format=format)
    assert Image.open(io.BytesIO(response.content)).format.lower() == response.headers["content-type"][6:]


def test_the_list_of_styles_names_painting_and_painter(client, painter):
    listed = [entry for entry in client.get("/v1/styles").json() if not entry["uploaded"]]
    assert [entry["id"] for entry in listed] == list(painter.gallery)
    kiss = next(entry for entry in listed if entry["id"] == "klimt-kiss")
    assert (kiss["title"], "Klimt" in kiss["by"]) == ("The Kiss", True)


# Errors


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""
    made = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ):
        made += len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
    return made


def refused(response, status: int, words: str) -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert re.search(words, response.json()["error"]), response.text
    assert "\n" not in response.text


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"photo": b"no picture", "style": "klimt-kiss"}, 415, "cannot read the photo"),
        ({"photo": b"", "style": "klimt-kiss"}, 415, "the photo: it is empty"),
        ({"photo": bomb(60_000, 60_000), "style": "klimt-kiss"}, 413, "the photo has more than 50,000,000 pixels"),
        ({"style": "klimt-kis"}, 422, "did you mean klimt-kiss"),
        ({"style": "klimt-kiss", "strength": 1.5}, 422, "strength"),
        ({"style": "klimt-kiss", "strength": "nan"}, 422, "strength"),
        ({"style": "klimt-kiss", "keep_color": "blue"}, 422, "keep_color"),
        ({"style": "klimt-kiss", "format": "xcf"}, 422, "format"),
        ({"style": "klimt-kiss", "weight": [1, 2]}, 422, "2 weights for 1 styles"),
        ({"style": "klimt-kiss", "weight": "-1"}, 422, "0 or more"),
        ({"style": "klimt-kiss", "weight": "nan"}, 422, "weight"),
        ({"style": ["klimt-kiss"] * 9}, 422, "style"),
        ({}, 422, "no style"),
        ({"style_file": b"no picture"}, 415, "cannot read style_file.png"),
        ({"style_file": bomb(4_000_000, 3)}, 415, "style_file.png"),
        ({"style": "klimt-kiss", "style_box": "0,0,9,9"}, 422, "style_box is for style_file"),
        ({"style_file": png(np.zeros((9, 9, 3), np.uint8)), "style_box": "0,0,10,9"}, 422, "which is 9 x 9"),
        ({"style": "klimt-kiss", "style_box": "0,0,9", "style_file": b""}, 422, "a box is left, top, right and"),
        ({"style": "klimt-kiss", "palette": "sepia"}, 422, "palette"),
        ({"style": "klimt-kiss", "palette_file": b"no picture"}, 415, "cannot read the palette"),
        ({"style": "klimt-kiss", "palette": "photo", "palette_file": b"any"}, 422, "leave one of them out"),
        ({"style": "klimt-kiss", "mask": png(np.zeros((9, 9), np.uint8))}, 422, "mask 1 is 9 x 9"),
        ({"style": "klimt-kiss", "mask": b"no picture"}, 415, "mask 1"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_the_right_status(client, small, fields, status, words):
    response = post(client, **({"photo": small} | fields))
    refused(response, status, words)
    documented = client.get("/openapi.json").json()["paths"]["/v1/stylize"]["post"]["responses"]
    assert str(status) in documented


def test_what_is_no_form_is_refused(client):
    refused(client.post("/v1/stylize", json={"photo": "x"}), 415, "multipart")
    broken = client.post("/v1/stylize", content=b"xx", headers={"content-type": "multipart/form-data; boundary=q"})
    refused(broken, 400, "multipart")
    refused(client.post("/v1/styles", files={"name": (None, b"x")}), 422, "file: Field required")


def test_wrong_addresses_and_methods_are_told_so_with_the_page_too(client, page):
    for server in (client, page):
        for method, path, status, words in (
            ("PUT", "/v1/styles", 405, "takes GET, POST"),
            ("GET", "/v1/stylize", 405, "takes POST"),
            ("POST", "/healthz", 405, "takes GET"),
            ("GET", "/v1/nothing", 404, "/docs"),
        ):
            refused(server.request(method, path), status, words)


@pytest.mark.parametrize("name", ["/etc/hostname", "../README.md", "examples/astronaut.jpg", "x.style"])
def test_a_style_name_is_never_a_path(client, small, name):
    assert Path("examples/astronaut.jpg").exists()
    refused(post(client, small, style=name), 422, "there is no style")


def test_a_long_strip_is_not_blown_up(client, small):
    refused(
        post(client, small, style_file=png(np.zeros((1, 20_000, 3), np.uint8))), 413, "10240000 x 512|512 x 10240000"
    )
    refused(
        client.post("/v1/styles", files={"file": png(np.zeros((20_000, 1, 3), np.uint8))}),
        413,
        "10240000 x 512|512 x 10240000",
    )


def test_uploads_are_limited(painter, small):
    with TestClient(build(painter, Limits(max_upload=50_000), page=False)) as client:
        refused(post(client, bytes(60_000), style="klimt-kiss"), 413, "0.05 MB")
        unannounced = client.post(
            "/v1/stylize",
            content=(bytes(10_000) for _ in range(6)),
            headers={"content-type": "multipart/form-data; boundary=q"},
        )
        assert "content-length" not in unannounced.request.headers
        refused(unannounced, 413, "0.05 MB")
        assert post(client, small, style="klimt-kiss").status_code == 200


def test_the_store_of_styles_is_bounded(painter, small, style_png):
    with TestClient(build(painter, Limits(styles=2), page=False)) as client:

        def upload(name: str) -> str:
            return client.post("/v1/styles", files={"file": style_png}, data={"name": name}).json()["id"]

        keys = [upload("one"), upload("two")]
        assert post(client, small, style=keys[0]).status_code == 200  # now the other is the one unused for longest
        keys.append(upload("three"))
        assert upload("three") == keys[2]  # the same style, the same id
        kept = [entry["id"] for entry in client.get("/v1/styles").json() if entry["uploaded"]]
        assert sorted(kept) == sorted([keys[0], keys[2]])
        refused(post(client, small, style=keys[1]), 422, "there is no style")


def test_the_store_of_styles_is_bounded_in_bytes_too(painter, painting, monkeypatch):
    monkeypatch.setattr("impasto.app.studio._MOST_KEPT", 2 * painting.nbytes)
    with TestClient(build(painter, page=False)) as client:
        for shift in range(5):
            assert client.post("/v1/styles", files={"file": png(np.roll(painting, shift, 1))}).status_code == 201
        assert len([entry for entry in client.get("/v1/styles").json() if entry["uploaded"]]) == 2


def test_the_page_in_the_browser_says_errors_likewise(tmp_path):
    (tmp_path / "index.html").write_text("<p>")
    with TestClient(site.build(tmp_path, auth=("ann", "s:cret"))) as client:
        refused(client.get("/", headers={"authorization": b"Basic \xe9"}), 401, "password")
        client.auth = ("ann", "s:cret")
        long = "/" + "x" * 5000
        for method, path, status in (
            ("GET", "/nothing", 404),
            ("GET", "/%00", 404),
            ("GET", long, 404),
            ("PUT", "/", 405),
        ):
            refused(client.request(method, path), status, "[a-z]")
        assert client.head("/").status_code == 200


def test_auth(painter, small):
    with TestClient(build(painter, auth=("ann", "s:cret"), page=False)) as client:
        for credentials in (None, ("ann", "wrong"), ("bob", "s:cret")):
            response = client.get("/v1/styles", auth=credentials)
            refused(response, 401, "user name and a password")
            assert response.headers["www-authenticate"].startswith("Basic ")
        assert client.get("/v1/styles", headers={"authorization": "Basic !!"}).status_code == 401
        assert client.get("/v1/styles", auth=("ann", "s:cret")).status_code == 200
        for path in ("/docs", "/openapi.json", "/metrics", "/static-offline-docs/swagger-ui.css"):
            assert client.get(path).status_code == 401
        assert client.get("/healthz").json()["status"] == "ok"


def test_every_answer_forbids_other_sites(client):
    for path in ("/docs", "/v1/styles", "/nothing"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert ("'unsafe-inline'" in headers["content-security-policy"]) == (path == "/docs")
        assert headers["x-content-type-options"] == "nosniff"


def test_the_docs_page_needs_no_other_site(client):
    page = client.get("/docs").text
    links = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page)
    assert len(links) >= 4
    assert all(client.get(link).status_code == 200 for link in links)


def test_metrics(painter, small):
    with TestClient(build(painter, page=False)) as client:
        post(client, small, style="klimt-kiss")
        post(client, small, style="nobody")
        said = client.get("/metrics").text
    assert 'impasto_requests_total{method="POST",route="/v1/stylize",status="200"} 1.0' in said
    assert 'impasto_work_seconds_count{kind="api"} 1.0' in said
    assert 'impasto_refused_total{kind="api",reason="failed"} 1.0' in said
    assert "impasto_queue_depth 0.0" in said


def test_invented_methods_are_counted_together(painter):
    with TestClient(build(painter, page=False)) as client:
        for number in range(5):
            client.request(f"X{number}", "/healthz")
        said = client.get("/metrics").text
    counted = re.findall(r'impasto_requests_total\{method="(.*?)".*\} (.*)', said)
    assert counted == [("other", "5.0")]


def test_what_nobody_foresaw_is_answered_like_any_error(painter, caplog):
    app = build(painter, page=False)

    def broken() -> None:
        raise RuntimeError("a secret of the server")

    app.add_api_route("/broken", broken)
    with TestClient(app) as client:
        answer = client.get("/broken")
        refused(answer, 500, "something went wrong inside the server")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert 'status="500"' in client.get("/metrics").text
    assert "secret" not in answer.text
    assert "a secret of the server" in caplog.text


# The page, as far as it can be seen without a browser; test_web.py has the rest

ISOLATION = {"cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp"}
needs_runtime = pytest.mark.skipif(not site.has_runtime(), reason="needs ONNX Runtime for browsers: make web")


def test_the_page_names_no_other_site_and_holds_no_script(page):
    shown = page.get("/")
    assert shown.status_code == 200
    assert "<h1>impasto</h1>" in shown.text
    assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(?:https?:)?//""", shown.text)
    assert not re.findall(r"(?s)<script[^>]*>\s*\S.*?</script>|<[^>]+\son\w+=", shown.text)
    allowed = dict(part.split(" ", 1) for part in shown.headers["content-security-policy"].split("; "))
    assert allowed["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert "unsafe-inline" not in shown.headers["content-security-policy"]
    assert ISOLATION.items() <= dict(shown.headers).items()
    again = page.get("/", headers={"if-none-match": shown.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


def test_the_page_is_told_who_paints_and_what_it_may_send(painter):
    limits = Limits(max_upload=1, max_clip=2, max_clip_seconds=3, max_pixels=4)
    with TestClient(build(painter, limits)) as client:
        said = client.get("/page.json").json()
    assert said == {
        "version": impasto.__version__, "server": True, "browser": site.has_runtime(), "fits": True,
        "limits": {"max_upload": 1, "max_clip": 2, "max_clip_seconds": 3, "max_pixels": 4},
    }  # fmt: skip


@needs_runtime
def test_the_page_finds_the_model_here(page, painter):
    for name in ("content.onnx", "style.onnx"):
        packed = page.get(f"/model/{name}.gz")
        assert gzip.decompress(packed.content) == (painter.model.folder / name).read_bytes()
        assert ISOLATION.items() <= dict(packed.headers).items()
        etag = packed.headers["etag"]
        assert page.get(f"/model/{name}.gz", headers={"if-none-match": etag}).status_code == 304
    assert page.get("/model/gallery.safetensors").status_code == 200
    assert page.get("/ort/ort.wasm.bundle.min.js").headers["cross-origin-embedder-policy"] == "require-corp"


def test_where_the_browser_cannot_paint_the_server_does(painter, tmp_path, monkeypatch):
    bare = tmp_path / "web"
    shutil.copytree(site._PAGE, bare, ignore=shutil.ignore_patterns("ort"))
    monkeypatch.setattr(site, "_PAGE", bare)  # that of a checkout without `make web`
    with TestClient(build(painter)) as client:
        assert client.get("/page.json").json()["browser"] is False
        assert client.get("/").status_code == 200
        for path in ("/model/content.onnx.gz", "/ort/ort.wasm.bundle.min.js"):
            refused(client.get(path), 404, "no such page")
    with pytest.raises(ImpastoError, match="run `make web`"):
        site.write_site(painter.model, tmp_path / "site")


@pytest.mark.parametrize(
    "path",
    ["/etc/hostname", "//etc/hostname", "pyproject.toml", "../pyproject.toml", "..%2fsite.py", "%2e%2e/site.py",
     impasto.__file__, tempfile.gettempdir()],
)  # fmt: skip
def test_no_file_of_the_server_is_reachable(page, path):
    for prefix in ("/", "/ort/", "/model/", "/static-offline-docs/", "/v1/clips/"):
        assert page.get(f"http://testserver{prefix}{path}").status_code == 404, prefix


def test_camera_frames_are_painted_and_steadied(page, painter, small):
    pytest.importorskip("impasto.video", reason="needs impasto[video]")
    frame = io.BytesIO()
    small.save(frame, "JPEG")
    query = {"camera": "12345678", "style": "klimt-kiss", "weight": 50, "strength": 1}
    answers = [page.post("/camera/frame", params=query, content=frame.getvalue()) for _ in range(2)]
    expected = np.asarray(painter.stylize(frame.getvalue(), "klimt-kiss")).astype(int)
    for answer in answers:
        assert answer.headers["content-type"] == "image/jpeg"
        assert np.abs(pixels(answer.content) - expected).mean() < 6  # JPEG, and what the frames before left
    refused(page.post("/camera/frame", params=query, content=b"junk"), 415, "cannot read the frame")
    refused(page.post("/camera/frame", params=query | {"style": "x"}, content=frame.getvalue()), 422, "no style 'x'")


# The queue


class Gate:
    """Jobs that begin at once and end when they are let go."""

    def __init__(self) -> None:
        self.open, self.begun, self.running, self.most = threading.Event(), 0, 0, 0
        self.lock = threading.Lock()

    def __call__(self) -> int:
        with self.lock:
            self.begun += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.open.wait(20)
        with self.lock:
            self.running -= 1
        return self.begun


def test_a_full_queue_says_when_to_come_back() -> None:
    async def scene() -> None:
        work, gate = Work(workers=1, waiting=2, timeout=20), Gate()
        jobs = [asyncio.create_task(work.run(gate)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="try again in") as refusal:
            await work.run(gate)
        assert refusal.value.retry_after >= 1
        assert (work.depth, work.running) == (2, 1)
        gate.open.set()
        assert await asyncio.gather(*jobs) == [1, 2, 3]
        assert await work.run(gate) == 4
        assert (work.depth, work.running, gate.most) == (0, 0, 1)

    asyncio.run(scene())


def test_late_work_is_not_begun_and_a_lost_job_keeps_its_worker() -> None:
    async def scene() -> None:
        work, gate = Work(workers=2, waiting=4, timeout=0.2), Gate()
        late = await asyncio.gather(*(work.run(gate) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(error, LateError) for error in late)
        assert (gate.begun, work.running) == (2, 2)  # both workers still hold what nobody waits for
        gate.open.set()
        while work.running:
            await asyncio.sleep(0.01)
        assert (gate.begun, gate.most, work.depth) == (2, 2, 0)
        assert await work.run(lambda: "well") == "well"

    asyncio.run(scene())


def test_a_busy_server_answers_503_and_a_slow_one_504(painter, small):
    app = build(painter, Limits(queue=0, timeout=0.5), page=False)
    gate = Gate()
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        work = app.state.studio.work
        held = pool.submit(lambda: asyncio.run(work.run(gate)))
        while not gate.begun:
            time.sleep(0.01)
        response = post(client, small, style="klimt-kiss")
        refused(response, 503, "busy")
        assert int(response.headers["retry-after"]) >= 1
        assert isinstance(held.exception(5), LateError)
        gate.open.set()
        while work.running:
            time.sleep(0.01)
        gate.open.clear()
        work.waiting = 1
        pool.submit(lambda: asyncio.run(work.run(gate)))
        refused(post(client, small, style="klimt-kiss"), 504, "within 0.5 s")
        gate.open.set()


def test_a_picture_whose_client_hangs_up_is_not_painted(painter, small):
    app, gate = build(painter, page=False), Gate()
    work = app.state.studio.work
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work.run(gate)))
        sent = httpx2.Request("POST", "http://x/v1/stylize", files={"photo": png(small)}, data={"style": "klimt-kiss"})
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(f"POST /v1/stylize HTTP/1.1\r\n{head}\r\n".encode() + sent.read())
            wait_until(lambda: work.depth == 1)
        wait_until(lambda: work.depth == 0)
        gate.open.set()
        wait_until(lambda: work.running == 0)
    server.should_exit = True
    thread.join(20)
    assert gate.begun == 1


def wait_until(true) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to that")


def test_many_at_once_each_get_their_own_picture(client, painter, small):
    names = list(painter.gallery)[:12]
    expected = {name: painter.stylize(small, name) for name in names}
    with ThreadPoolExecutor(len(names)) as pool:
        answers = pool.map(lambda name: (name, post(client, small, style=name)), names * 3)
    for name, response in answers:
        same(response, expected[name])


# The command


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "impasto", "app", "--threads", "1", "--engine", "onnxruntime", *arguments],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--auth", "nobody"], "--auth takes a name and a password"),
        (["--timeout", "0"], "--timeout must be more than 0"),
        (["--max-upload", "inf"], "--max-upload must be more than 0, and at most 1,000,000,000"),
        (["--max-clip", "1e305"], "--max-clip must be more than 0, and at most 1,000,000,000"),
        (["--max-clip-seconds", "nan"], "--max-clip-seconds must be more than 0"),
        (["--queue", "-1"], "--queue must be 0 or more"),
        (["--host", "a..b"], "cannot listen on a..b"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_it_cannot_do_is_one_line(arguments, words):
    process = command(*arguments)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert words in said
    assert said.count("\n") == 1


def test_the_command_serves_warns_and_ends(tmp_path):
    process = command("--host", "0.0.0.0", "--port", "0")
    try:
        warning, ready = process.stderr.readline(), process.stderr.readline()
        if not site.has_runtime():
            assert "run `make web`" in process.stderr.readline()
        assert re.search(r"warning: .* open to the network.*--auth", warning)
        port = re.search(r":(\d+) ", ready).group(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert json.load(answer)["model"] == "adain"
        second = command("--port", port)
        assert "choose another --host or --port" in second.communicate(timeout=60)[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
