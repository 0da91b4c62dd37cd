"""The page in Debian's chromium, with both of its painters: the browser (WebAssembly, 2 threads), and the server.

Skipped where there is no chromium, or no runtime for it (`make web`, which needs npm). With IMPASTO_SCREENSHOTS=FOLDER
the pictures of the page are kept there.
"""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import impasto
from impasto.cli import main

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
site_module = pytest.importorskip("impasto.app.site", reason="needs impasto[app]")
clips = pytest.importorskip("clips", reason="needs impasto[video]")
expect = sync_api.expect

CHROMIUM = shutil.which("chromium")
WEB = Path(site_module.__file__).parent / "web"
needs_runtime = pytest.mark.skipif(
    not (WEB / "ort" / "ort-wasm-simd-threaded.wasm.gz").is_file(), reason="needs ONNX Runtime for browsers: make web"
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
PATIENCE = 90_000  # ms; machines that test are often busy
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
BROWSER, SERVER = pytest.param("browser", marks=needs_runtime), "server"
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def model() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where `impasto app` listens, one started for these tests: the page chooses what paints."""
    command = [sys.executable, "-m", "impasto", "app", "--port", "0", "--engine", "onnxruntime", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ready = process.stderr.readline()
    yield re.search(r"http://[\d.:]+", ready).group()
    process.terminate()
    process.wait(20)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.fixture(scope="module")
def playwright() -> Iterator[sync_api.Playwright]:
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright) -> Iterator[sync_api.Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
    yield browser
    browser.close()


@contextmanager
def visitor(browser: sync_api.Browser, **options) -> Iterator[sync_api.BrowserContext]:
    """Somebody who has never been here."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@contextmanager
def visit(context: sync_api.BrowserContext, address: str, painter: str, more: str = "") -> Iterator[sync_api.Page]:
    """The page, opened anew; it must raise no error and ask no other site for anything; the browser sends nothing."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda r: faults.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None)
    if painter == "browser":
        page.on("request", lambda r: faults.append(f"{r.method} {r.url}") if r.method != "GET" or r.post_data else None)
    page.goto(f"{address}/?painter={painter}&engine=wasm&threads=2{more}")
    settled(page)
    yield page
    page.close()
    assert faults == []


@pytest.fixture(scope="module")
def opened(browser, address) -> Iterator[dict[str, sync_api.Page]]:
    """The page as each of both paints it, opened once."""
    with (
        visitor(browser, viewport={"width": 1280, "height": 960}) as context,
        visit(context, address, "browser") as by_browser,
        visit(context, address, "server") as by_server,
    ):
        yield {"browser": by_browser, "server": by_server}


@pytest.fixture(params=[BROWSER, SERVER])
def page(request, opened) -> sync_api.Page:
    """The page, its controls as they were at first; `page.painter` says which of both paints."""
    opened = opened[request.param]
    opened.painter = request.param
    opened.get_by_role("tab", name="Photo").click()
    give(opened, "#photo", np.zeros((32, 32, 3), np.uint8))  # what comes now is painted at once
    choose(opened, "hokusai-great-wave")
    opened.get_by_label("Colours").select_option("")
    slide(opened, "#strength", 100)
    slide(opened, "#stroke", 0)
    settled(opened)
    return opened


@pytest.fixture
def shoot(tmp_path):
    """Takes a picture of a page, and checks that there is something on it."""

    def shoot(page: sync_api.Page, name: str, **options) -> None:
        folder = Path(os.environ.get("IMPASTO_SCREENSHOTS", tmp_path))
        folder.mkdir(exist_ok=True)
        data = page.screenshot(path=folder / f"{name}.png", **options)
        assert np.asarray(Image.open(io.BytesIO(data)).convert("L")).std() > 10

    return shoot


def settled(page: sync_api.Page) -> None:
    """Waits until all that was wished for is painted."""
    expect(page.locator("body[data-ready]")).to_be_attached()
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")


def choose(page: sync_api.Page, *names: str) -> None:
    """Chooses a style, and mixes others with it."""
    for number, name in enumerate(names):
        if number:
            page.get_by_role("button", name="Mix", exact=True).click()
        page.locator(f".style[value='{name}']").click()


def encode(pixels: np.ndarray, format: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def give(page: sync_api.Page, field: str, file: np.ndarray | bytes, name: str = "a.png") -> None:
    """Gives a file, or a picture as a PNG, to a field."""
    data = file if isinstance(file, bytes) else encode(file)
    kind = {"png": "image/png", "jpg": "image/jpeg", "tif": "image/tiff", "mp4": "video/mp4"}.get(name[-3:], "")
    page.locator(field).set_input_files({"name": name, "mimeType": kind, "buffer": data})


def slide(page: sync_api.Page, field: str, value: float) -> None:
    page.locator(field).fill(str(value))


LOOK = "name => document.querySelector(name).toDataURL()"


def shown(page: sync_api.Page, canvas: str = "#picture") -> np.ndarray:
    png = base64.b64decode(page.evaluate(LOOK, canvas).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def download(page: sync_api.Page) -> Path:
    settled(page)
    with page.expect_download(timeout=3 * PATIENCE) as begun:
        page.get_by_role("button", name="Download").click()
    expect(page.locator("#said")).to_contain_text("as large as the photo")
    return begun.value


def downloaded(page: sync_api.Page, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(download(page).path()).convert(mode)).astype(int)


def check_same(painted: np.ndarray, expected: Image.Image | np.ndarray, record_property, most: int = 3) -> None:
    """Within 3 of 255 of what the library paints, or so many."""
    difference = np.abs(painted - np.asarray(expected).astype(int))
    record_property("difference", f"mean {difference.mean():.4f}, max {difference.max()} of 255")
    assert difference.max() <= most
    assert difference.mean() < 0.1


@needs_browser
def test_it_paints_what_the_library_paints(page, model, photo, shoot, record_property):
    photo = photo[40:281, 60:363]  # of odd sides
    give(page, "#photo", photo, "eileen.png")
    expect(page.locator("#said")).to_contain_text("303 x 241")
    check_same(downloaded(page), model.stylize(photo, "hokusai-great-wave"), record_property)
    assert np.array_equal(shown(page, "#before"), photo)

    choose(page, "klimt-kiss")
    slide(page, "#strength", 60)
    check_same(downloaded(page), model.stylize(photo, "klimt-kiss", strength=0.6), record_property)

    slide(page, "#strength", 100)
    choose(page, "klimt-kiss", "munch-scream")
    page.get_by_label("Share of The Kiss").fill("75")
    page.get_by_label("Share of The Scream").fill("25")
    mix = {model.style("klimt-kiss"): 0.75, model.style("munch-scream"): 0.25}
    check_same(downloaded(page), model.stylize(photo, mix), record_property)

    for kept in ("luminance", "match"):
        page.get_by_label("Colours").select_option(kept)
        check_same(downloaded(page), model.stylize(photo, mix, keep_color=kept), record_property)
    page.get_by_label("Colours").select_option("")
    people = page.get_by_label("People")
    if page.painter == "server":
        people.select_option("person")
        check_same(downloaded(page), model.stylize(photo, mix, keep="person"), record_property)
    else:
        expect(people).to_be_hidden()
    shoot(page, f"page-{page.painter}")
    people.select_option("", force=True)
    page.get_by_role("button", name="Without The Scream").click()
    settled(page)
    expect(page.locator("#mix")).to_be_hidden()


@needs_browser
def test_what_was_done_can_be_undone(page, photo):
    give(page, "#photo", photo[:160, :200])
    settled(page)
    first = shown(page)
    choose(page, "klimt-kiss")
    settled(page)
    second = shown(page)
    slide(page, "#strength", 40)
    settled(page)
    page.keyboard.press("Control+z")
    settled(page)
    assert np.array_equal(shown(page), second)
    expect(page.get_by_label("Strength")).to_have_value("100")
    page.get_by_role("button", name="Undo").click()
    settled(page)
    assert np.array_equal(shown(page), first)
    expect(page.locator(".style[value=hokusai-great-wave]")).to_have_attribute("aria-pressed", "true")


@pytest.mark.slow
@needs_runtime
@needs_browser
def test_a_brush_says_where_the_second_style_goes(opened, photo, shoot, record_property):
    painted = []
    for page in opened.values():
        page.get_by_role("tab", name="Photo").click()
        give(page, "#photo", photo[:256, :384])
        choose(page, "hokusai-great-wave", "munch-scream")
        settled(page)
        mixed = shown(page)
        page.get_by_role("button", name="Brush where the second style goes").click()
        slide(page, "#thickness", 40)
        box = page.locator("#brush").bounding_box()
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 1)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] - 1, steps=4)
        page.mouse.up()
        settled(page)
        brushed = shown(page).astype(int)
        assert np.abs(brushed - mixed).mean() > 5
        shoot(page, f"page-mask-{len(painted)}")
        painted.append(downloaded(page))
        for style, part in {"hokusai-great-wave": np.s_[:, :250], "munch-scream": np.s_[:, 320:]}.items():
            alone = np.asarray(impasto.load().stylize(photo[:256, :384], style)).astype(int)
            assert np.abs(painted[-1][part].mean((0, 1)) - alone[part].mean((0, 1))).max() < 25
        page.get_by_role("button", name="Undo").click()
        settled(page)
        assert np.array_equal(shown(page), mixed)
        choose(page, "hokusai-great-wave")
        settled(page)
        expect(page.get_by_role("button", name="Brush where")).to_be_hidden()
    # What was brushed goes to both painters in its own way, and they paint the same.
    difference = np.abs(painted[0] - painted[1])
    record_property("difference", f"mean {difference.mean():.3f}")
    assert difference.mean() < 1


@needs_browser
def test_a_style_of_ones_own(page, model, photo, painting, tmp_path, record_property):
    give(page, "#photo", painting, "chelsea.png")
    give(page, "#own", photo, "Eileen Collins.png")  # its short side is the one that styles are taken at
    expect(page.locator(".style").first).to_contain_text("Eileen Collins")
    check_same(downloaded(page), model.stylize(painting, photo), record_property)
    page.get_by_label("Colours").select_option("match")  # the style is taken anew
    check_same(downloaded(page), model.stylize(painting, photo, keep_color="match"), record_property, most=4)


@pytest.mark.slow
@needs_browser
def test_a_style_of_ones_own_is_fitted_by_the_server(opened, photo, painting, shoot):
    page = opened["server"]
    page.get_by_role("tab", name="Photo").click()
    give(page, "#photo", photo[:160, :200])
    choose(page, "klimt-kiss")
    fit = page.get_by_role("button", name="Fit it closer to its painting")
    expect(fit).to_be_hidden()
    give(page, "#own", painting[:128, :160], "whiskers.png")
    expect(fit).to_be_visible()
    settled(page)
    at_a_glance = shown(page).astype(int)
    fit.click()
    expect(page.locator("#said")).to_contain_text("takes some seconds")
    expect(page.locator(".style").first).to_contain_text("whiskers, fitted")
    settled(page)
    assert np.abs(shown(page) - at_a_glance).mean() > 1
    expect(fit).to_be_hidden()
    shoot(page, "page-fitted")


@needs_browser
def test_a_tile_shows_the_painting_and_pointed_at_the_photo_in_it(page, photo):
    give(page, "#photo", photo[:200, :300])
    tile = page.locator(".style[value=klimt-kiss]")
    tile.scroll_into_view_if_needed()
    expect(tile.locator("img")).to_have_js_property("naturalWidth", 176)
    tile.hover()
    expect(tile.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    page.mouse.move(2, 2)
    expect(tile.locator("img")).to_have_attribute("src", re.compile("paintings/klimt-kiss.webp"))


@needs_browser
def test_before_and_after(page, photo):
    give(page, "#photo", photo[:200, :300])
    settled(page)
    slider = page.get_by_label("Before and after")
    expect(slider).to_have_attribute("aria-valuetext", "All painted")
    cut = "() => getComputedStyle(document.querySelector('#before')).clipPath"
    assert page.evaluate(cut).startswith("inset(0px 100%") or "calc(100% - 0%)" in page.evaluate(cut)
    slider.fill("100")
    expect(slider).to_have_attribute("aria-valuetext", "The photo up to 100 %")
    seen = page.locator(".picture").screenshot()
    middle = np.asarray(Image.open(io.BytesIO(seen)).convert("RGB").resize((300, 200))).astype(int)[50:150, 80:220]
    assert np.abs(middle - photo[50:150, 80:220]).mean() < 12


@needs_browser
def test_a_cut_out_is_painted_as_if_its_ground_were_not_there(page, model, photo, painting, record_property):
    def cut_out(picture):
        height, width = picture.shape[:2]
        y, x = np.mgrid[:height, :width]
        alpha = np.where(np.hypot(y - 0.4 * height, x - 0.5 * width) < 0.3 * height, 255, 0).astype(np.uint8)
        return np.dstack([picture, alpha])

    photo = cut_out(photo[40:281, 60:363])
    give(page, "#photo", photo, "eileen.png")
    painted, expected = downloaded(page, "RGBA"), model.stylize(photo, "hokusai-great-wave")
    assert np.array_equal(painted[..., 3], photo[..., 3])
    check_same(painted[photo[..., 3] > 0], np.asarray(expected)[photo[..., 3] > 0], record_property)

    style = np.pad(painting, [(100, 112), (0, 61), (0, 0)], mode="symmetric")  # 512 x 512: nothing of it is scaled
    opaque = np.dstack([style, np.full((512, 512), 255, np.uint8)])
    give(page, "#own", np.pad(opaque, [(30, 20), (10, 40), (0, 0)]), "chelsea.png")
    expect(page.locator(".style").first).to_contain_text("chelsea")
    painted, expected = downloaded(page, "RGBA"), model.stylize(photo, style)
    check_same(painted[photo[..., 3] > 0], np.asarray(expected)[photo[..., 3] > 0], record_property)
    give(page, "#own", np.zeros((64, 64, 4), np.uint8))
    expect(page.locator("#wrong")).to_contain_text("wholly transparent")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param("browser", marks=needs_runtime), "server"], indirect=True)
def test_a_large_photo_is_downloaded_whole(page, model, photo, record_property):
    strokes = 0.5 if page.painter == "browser" else 1  # there the second octave is painted by tiles
    photo = np.pad(photo, [(0, 1141), (0, 1487), (0, 0)], mode="symmetric")
    slide(page, "#stroke", np.log2(strokes))
    give(page, "#photo", photo)
    expect(page.locator("#said")).to_contain_text("1024 x 847 pixels; the download will have all 1999 x 1653")
    settled(page)
    preview = shown(page)
    painted = downloaded(page)
    expected = model.stylize(photo, "hokusai-great-wave", stroke_size=strokes)
    check_same(painted, expected, record_property, most=6)  # the second octave is painted of a rounded first one

    # What the page shows is the same picture, small; browsers have filters of their own for that.
    small = np.asarray(Image.fromarray(painted.astype(np.uint8)).resize((1024, 847)))
    difference = np.abs(preview - small.astype(int)).mean()
    record_property("preview", f"mean {difference:.2f}")
    assert difference < 3


@needs_browser
def test_strokes_have_a_size(page, model, photo, record_property):
    give(page, "#photo", photo[:400])
    slider = page.get_by_label("Stroke size")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator("output[for=stroke]")).to_have_text("2 x")
    expect(slider).to_have_attribute("aria-valuetext", "2 x")
    expected = model.stylize(photo[:400], "hokusai-great-wave", stroke_size=2)
    check_same(downloaded(page), expected, record_property, most=6)

    enter = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }"
    for value, taken in {"99": "4 x", "-99": "0.25 x", "none": "1 x"}.items():
        slider.evaluate(enter, value)
        expect(page.locator("output[for=stroke]")).to_have_text(taken)
    settled(page)
    expect(page.locator("#wrong")).to_be_empty()


@needs_browser
def test_the_camera_is_live_and_its_picture_can_be_taken(page, shoot):
    page.get_by_role("tab", name="Camera").click()
    page.get_by_role("button", name="Start the camera").click()
    said = page.locator("#said")
    expect(said).to_contain_text(re.compile(r"[\d.]+ frames/s, \d+ ms behind"))
    first = page.evaluate(LOOK, "#live")
    page.wait_for_function(f"first => ({LOOK})('#live') !== first", arg=first)
    shoot(page, f"page-camera-{page.painter}")
    page.get_by_role("button", name="Take this picture").click()
    expect(said).to_contain_text(re.compile("Painted in .* 1024 x 576 pixels; the download will have all 1280 x 720"))
    assert downloaded(page).shape == (720, 1280, 3)
    page.get_by_role("tab", name="Camera").click()
    expect(page.get_by_role("button", name="Start the camera")).to_be_enabled()


@needs_browser
def test_a_camera_without_controls_is_a_source_for_a_live_show(browser, address, shoot):
    with visitor(browser, viewport={"width": 640, "height": 360}) as context:
        page = context.new_page()
        page.goto(f"{address}/?camera&style=klimt-kiss&strength=0.8&stroke=2")
        expect(page.locator("#said")).to_contain_text("frames/s")
        assert page.locator("button:visible, input:visible, select:visible, h1:visible").count() == 0
        box = page.locator("#live").bounding_box()
        assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 640, 360)
        assert page.evaluate("document.documentElement.scrollHeight") <= 360
        shoot(page, "page-source")


@needs_browser
def test_a_clip_is_painted_and_another_cancelled(opened, tmp_path, shoot):
    page = opened["server"]
    page.get_by_role("tab", name="Clip").click()
    sound = clips.make_clip(tmp_path / "walk.mp4", clips.pan(12), sound="aac")
    give(page, "#clip", sound.read_bytes(), "walk.mp4")
    choose(page, "klimt-kiss")
    page.get_by_role("button", name="Paint the clip").click()
    expect(page.locator("#said")).to_contain_text("Painted.")
    page.wait_for_function("() => document.querySelector('#clip-shown').videoWidth === 96")
    shoot(page, "page-clip")
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download").click()
    assert begun.value.suggested_filename == "walk-painted.mp4"
    with clips.av.open(str(begun.value.path())) as made:
        assert made.streams.audio
        assert len(list(made.decode(video=0))) == 12

    long = clips.make_clip(tmp_path / "long.mp4", clips.pan(300, 640, 360, 0.5))
    give(page, "#clip", long.read_bytes(), "long.mp4")
    page.get_by_role("button", name="Paint the clip").click()
    expect(page.locator("#said")).to_contain_text(re.compile(r"Frame \d+ of 300, .* frames/s, .* left"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#said")).to_have_text("Cancelled.")
    give(page, "#clip", b"just some text", "no.mp4")
    page.get_by_role("button", name="Paint the clip").click()
    expect(page.locator("#wrong")).not_to_be_empty()
    page.get_by_role("tab", name="Photo").click()


@needs_browser
def test_the_server_takes_what_the_browser_cannot_read(opened, model, photo, tmp_path, record_property):
    page = opened["server"]
    page.get_by_role("tab", name="Photo").click()
    choose(page, "hokusai-great-wave")
    give(page, "#photo", encode(photo[:240, :320], "TIFF"), "scan.tif")
    settled(page)
    expect(page.locator("#wrong")).to_be_empty()
    made = download(page)
    assert made.suggested_filename == "scan-painted.tiff"
    painted = np.asarray(Image.open(made.path()))
    check_same(painted, model.stylize(photo[:240, :320], "hokusai-great-wave"), record_property)

    give(page, "#photo", encode(photo[:240, :320], "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"), "a.jpg")
    assert download(page).suggested_filename == "a-painted.jpg"
    path = tmp_path / "mine.style"
    model.style("klimt-kiss").save(path)
    give(page, "#own", path.read_bytes(), "mine.style")
    settled(page)
    expect(page.locator(".style").first).to_contain_text("mine")
    expect(page.locator(".style img").first).to_have_js_property("naturalWidth", 256)  # it has no picture of its own


@needs_browser
def test_what_goes_wrong_is_said_in_words(page, photo, shoot):
    give(page, "#photo", photo[:256, :384])
    wrong = page.locator("#wrong")
    give(page, "#photo", b"just some text", "a.jpg")
    expect(wrong).to_contain_text(re.compile("is not a picture|a picture that the browser can read"))
    shoot(page, f"page-wrong-{page.painter}")
    give(page, "#photo", np.zeros((10100, 10000), np.uint8))
    expect(wrong).to_contain_text(re.compile("too many for a browser|has more than 50,000,000 pixels"))
    slide(page, "#strength", 50)  # the photo before is still there
    expect(page.locator("#said")).to_contain_text("384 x 256")
    expect(wrong).to_be_empty()


@pytest.mark.slow
@needs_runtime
@needs_browser
def test_it_says_what_a_browser_lacks(playwright, address):
    camera, _ = CAMERA  # and nobody who allows it
    without = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", camera])
    bare = without.new_page()
    bare.goto(f"{address}/?painter=browser")
    expect(bare.locator("#about")).to_contain_text("WebAssembly with")
    expect(bare.locator("#about")).to_contain_text("WebGPU")
    settled(bare)
    bare.get_by_role("tab", name="Camera").click()
    bare.get_by_role("button", name="Start the camera").click()
    expect(bare.locator("#wrong")).to_contain_text("This page may not use the camera: allow it")

    # A job that the painter breaks on stands for all that nobody foresaw.
    words = bare.evaluate("""async () => {
      const { BrowserPainter } = await import("./browser.js");
      const painter = new BrowserPainter({ engine: "wasm", threads: 1 });
      const styles = await painter.open(() => {}, () => {});
      return [await painter.paint({}).catch((error) => error.message), styles.length];
    }""")
    assert "has started anew: give it a smaller picture" in words[0]
    assert words[1] == 30

    cut_off = without.new_context(service_workers="block")
    cut_off.route("**/content.onnx.gz", lambda route: route.abort())
    alone = cut_off.new_page()
    alone.goto(f"{address}/?painter=browser")
    expect(alone.locator("#wrong")).to_contain_text("model/content.onnx.gz cannot be fetched: is the network")
    without.close()


@needs_browser
def test_the_keyboard_alone_is_enough(page):
    page.locator("#photo").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    outline = page.evaluate("() => getComputedStyle(document.querySelector('#photo').parentElement).outlineStyle")
    assert outline == "solid"
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
    assert {"download", "add", "own", "style", "strength", "stroke", "colors"} <= reached
    page.locator(".style[aria-pressed=true]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    settled(page)
    expect(page.locator("#picture")).to_have_attribute("aria-label", re.compile("in the style of (?!The Great Wave)"))
    page.get_by_role("tab", name="Photo").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Camera")).to_be_focused()
    expect(page.get_by_role("tab", name="Camera")).to_have_attribute("aria-selected", "true")


@needs_browser
def test_every_control_has_a_name(opened):
    page = opened["server"]
    unnamed = """() => [...document.querySelectorAll("button, input, select, [role=img], a[href]")].filter((one) => !(
      one.ariaLabel || one.labels?.[0]?.textContent.trim() || one.textContent.trim()
    )).map((one) => one.outerHTML)"""
    assert page.evaluate(unnamed) == []


@needs_browser
def test_it_fits_a_phone(browser, address, shoot):
    screen = {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "reduced_motion": "reduce"}
    with visitor(browser, has_touch=True, **screen) as phone, visit(phone, address, "server") as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        for control in page.locator("button, select, input[type=range]:not(#divide)").all():
            box = control.bounding_box()
            scrolls = control.evaluate("one => Boolean(one.closest('#styles'))")
            assert box is None or scrolls or (box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 24)
        for part in ("#picture", ".style[aria-pressed=true] img"):  # seen together
            box = page.locator(part).bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= 844
        assert page.evaluate("() => getComputedStyle(document.querySelector('.style img')).transitionDuration") == "0s"
        paper = "() => getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(paper) == "rgb(250, 249, 246)"
        shoot(page, "page-phone", full_page=True)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(paper) == "rgb(23, 22, 20)"
        shoot(page, "page-phone-dark", full_page=True)


@pytest.mark.slow
@needs_runtime
@needs_browser
def test_any_static_host_will_do_and_after_the_first_visit_none(browser, tmp_path, capsys):
    site = tmp_path / "site"
    with pytest.raises(SystemExit) as end:
        main(["app", "--in-browser", "--site", str(site)])
    assert end.value.code == 0
    assert str(site) in capsys.readouterr().out

    class Host(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/site"
    with visitor(browser) as context:
        # In a folder of the host, and without its headers: the service worker brings the isolation that threads need.
        with visit(context, address, "browser") as page:
            assert page.evaluate("crossOriginIsolated")
            expect(page.get_by_role("tab", name="Clip")).to_be_hidden()  # that wants a server
            expect(page.locator("#about")).to_contain_text("WebAssembly with 2 threads")
        server.shutdown()
        server.server_close()
        with visit(context, address, "browser") as page:
            assert page.evaluate("crossOriginIsolated")
            expect(page.locator("#said")).to_contain_text("Painted in")


# What a browser gives a service worker, as far as this one asks for it; the page of another site where told so.
WORKER = """
const [source, visits] = process.argv.slice(1).map((text) => JSON.parse(text));
const listeners = {}, kept = new Map();
const self = { addEventListener: (name, act) => { listeners[name] = act; }, registration: { scope: "http://here/" } };
const basic = (answer) => answer && Object.defineProperty(answer, "type", { value: "basic" });
const cache = {
  put: async (address, answer) => kept.set(address, answer), match: async (address) => basic(kept.get(address)),
};
const caches = { open: async () => cache };
let page;
const fetch = async () => {
  if (page === null) throw new TypeError("no network");
  return basic(new Response(page));
};
new Function("self", "caches", "fetch", source)(self, caches, fetch);
const said = [];
for (const [name, mode, text] of visits) {
  let answer = null;
  page = text;
  const request = { method: "GET", url: `http://here/${name}`, mode };
  listeners.fetch({ request, respondWith: (given) => { answer = given; }, waitUntil: () => {} });
  const given = await answer;
  said.push(given && [await given.text(), given.headers.has("cross-origin-embedder-policy")]);
}
console.log(JSON.stringify([said, [...kept.keys()]]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_service_worker_keeps_to_its_own_files():
    site = (WEB / "index.html").read_text("utf-8")
    worker = (WEB / "sw.js").read_text("utf-8")
    visits = [
        ("?engine=wasm", "navigate", site),
        ("page.js?1", "cors", "script"),
        ("model/content.onnx.gz", "cors", "model"),
        ("", "navigate", None),
        ("", "navigate", "<h1>impasto app</h1>"),
        ("v1/clips/1/video", "no-cors", "a visitor's clip"),
        ("v1/styles", "cors", "[]"),
        ("paintings/klimt-kiss.webp", "no-cors", "a painting"),
    ]
    command = ["node", "--input-type=module", "-e", WORKER, json.dumps(worker), json.dumps(visits)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said, kept = json.loads(done.stdout)
    assert said == [
        [site, True], ["script", True], ["model", True], [site, True], ["<h1>impasto app</h1>", False],
        None, None, ["a painting", True],
    ]  # fmt: skip
    assert kept == [
        f"http://here/{name}" for name in ("", "page.js", "model/content.onnx.gz", "paintings/klimt-kiss.webp")
    ]


@needs_runtime
def test_a_visit_is_below_12_mb(tmp_path, record_property):
    site_module.write_site(impasto.load().model, tmp_path / "site")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file()}
    webgpu = sum(size for name, size in sizes.items() if "webgpu" in name or "asyncify" in name)
    wasm = (
        sum(size for name, size in sizes.items() if name.startswith("ort") and "wasm." in name)
        - sizes["ort-wasm-simd-threaded.asyncify.wasm.gz"]
    )
    for name, other in {"webgpu": wasm, "wasm": webgpu}.items():
        visited = sum(sizes.values()) - other
        record_property(name, visited)
        assert 4e6 < visited < 12e6


@needs_runtime
def test_the_server_isolates_the_page_and_takes_nothing(tmp_path):
    site_module.write_site(impasto.load().model, tmp_path / "site")
    client = TestClient(site_module.build(tmp_path / "site"))
    answer = client.get("/")
    assert "<h1>impasto</h1>" in answer.text
    for path in ("/", "/worker.js", "/ort/ort.wasm.bundle.min.js"):  # workers need the headers as well
        headers = client.get(path).headers
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert "wasm-unsafe-eval" in headers["content-security-policy"]
    assert client.get("/", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert client.get("/../card.json").status_code == 404
    assert client.post("/", content=b"a photo").status_code == 413

    locked = TestClient(site_module.build(tmp_path / "site", ("me", "secret")))
    assert locked.get("/model/content.onnx.gz").status_code == 401
    assert locked.get("/model/content.onnx.gz", auth=("me", "secret")).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--site", "somewhere"], "give --in-browser too"),
        (["--in-browser", "--max-upload", "5"], "--max-upload means nothing with --in-browser"),
        (["--in-browser", "--engine", "torch"], "--engine means nothing"),
        (["--in-browser", "--model", "adain-vgg19"], "the browser cannot run adain-vgg19"),
        pytest.param(["--in-browser", "--site", "."], "is there already", marks=needs_runtime),
        pytest.param(["--in-browser", "--site", "not/there"], "no folder", marks=needs_runtime),
    ],
)
def test_wrong_options_are_answered_in_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["app", *arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file"]
