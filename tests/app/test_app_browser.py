"""The web page in a real browser: Debian's chromium, with a camera of its own making.

Skipped where there is no chromium. With IMPASTO_SCREENSHOTS=FOLDER the pictures of the page are kept there.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.style import gallery

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
video = pytest.importorskip("impasto.video", reason="needs impasto[video]")
expect = sync_api.expect

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
EXAMPLE = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
PATIENCE = 90_000  # ms; machines that test are often busy
expect.set_options(timeout=PATIENCE)


COUNT_CAMERAS = """() => {
  const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
  window.opened = 0;
  media.getUserMedia = (wish) => { window.opened += 1; return ask(wish); };
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a server listens, one started for these tests."""
    process = subprocess.Popen(
        [sys.executable, "-m", "impasto", "app", "--port", "0", "--threads", "1", "--engine", "onnxruntime"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ready = process.stderr.readline()
    yield re.search(r"http://[\d.:]+", ready).group()
    process.terminate()
    process.wait(20)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory, photo) -> Iterator[sync_api.Browser]:
    film = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    film.write_bytes(b"".join(jpeg(np.roll(photo[:384], 8 * step, 1)) for step in range(64)))
    camera = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address, request) -> Iterator[sync_api.Page]:
    """The page, opened anew; it must neither raise an error nor ask any other site for anything."""
    page = browser.new_page(viewport=getattr(request, "param", {"width": 1280, "height": 960}))
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "js_on_load" in said.text else None)
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else faults.append(r.url))
    page.goto(address)
    expect(page.locator(".picker .style")).to_have_count(len(gallery()))
    yield page
    page.close()
    assert faults == []


@pytest.fixture
def shoot(page, tmp_path):
    """Takes a picture of the page, and checks that there is something on it."""

    def shoot(name: str, **options) -> None:
        folder = Path(os.environ.get("IMPASTO_SCREENSHOTS", tmp_path))
        folder.mkdir(exist_ok=True)
        if "IMPASTO_SCREENSHOTS" in os.environ:
            page.wait_for_timeout(500)  # until all that fades in is there
        data = page.screenshot(path=folder / f"{name}.png", **options)
        assert np.asarray(Image.open(io.BytesIO(data)).convert("L")).std() > 10

    return shoot


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def upload(page, path: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)
    expect(page.locator("#said")).to_contain_text("Painted in")


def painted(page) -> np.ndarray:
    """The painted side of the before and after slider, as the server has it."""
    addresses = page.locator("#result img").evaluate_all("images => images.map(image => image.src)")
    return np.asarray(Image.open(io.BytesIO(page.request.get(addresses[-1]).body())).convert("RGB")).astype(int)


def wait_for_change(page, before: np.ndarray) -> np.ndarray:
    """The painted side once it is another and stays so."""
    last = before
    for _ in range(PATIENCE // 1000):
        page.wait_for_timeout(1000)
        now = painted(page)
        if np.array_equal(now, last) and not np.array_equal(now, before):
            return now
        last = now
    raise AssertionError("the picture stays as it was")


def test_a_photo_is_painted_changed_and_downloaded(page, shoot):
    shoot("page-empty")
    upload(page, EXAMPLE)
    first = painted(page)
    page.locator("[data-id=van-gogh-starry-night]").click()
    both = wait_for_change(page, first)
    expect(page.locator(".picker .mix label")).to_have_count(2)
    share = page.get_by_label("Share of The Starry Night")
    share.focus()
    share.press("End")
    mixed = wait_for_change(page, both)
    shoot("page-photo")
    page.locator("#strength input[type=number]").fill("0.5")
    page.locator("#strength input[type=number]").press("Enter")
    page.locator("#strength input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    weaker = wait_for_change(page, mixed)
    photo = np.asarray(Image.open(EXAMPLE)).astype(int)
    assert np.abs(weaker - photo).mean() < np.abs(mixed - photo).mean()
    page.get_by_label("The photo's own").check()
    wait_for_change(page, weaker)

    with page.expect_download(timeout=PATIENCE) as download:
        page.locator("#full").click()
    assert download.value.suggested_filename == "astronaut-painted.jpg"
    with Image.open(download.value.path()) as file:
        assert file.size == (512, 512)


def test_a_mask_keeps_the_second_style_in_its_place(page, shoot):
    upload(page, EXAMPLE)
    first = painted(page)
    page.locator("[data-id=munch-scream]").click()
    both = wait_for_change(page, first)
    page.locator("#regions button").first.click()
    canvas = page.locator("#brush canvas").first
    expect(canvas).to_be_visible()
    page.wait_for_timeout(1500)  # the editor settles
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    middle, top = box["x"] + box["width"] / 2, box["y"]
    page.mouse.move(middle + 100, top + 0.2 * box["height"])
    page.mouse.down()
    for step in range(4):
        page.mouse.move(middle + 100 + 20 * (step % 2), top + (0.2 + 0.15 * step) * box["height"])
    page.mouse.up()
    page.locator("#apply").click()
    masked = wait_for_change(page, both)
    shoot("page-mask", full_page=True)
    change = np.abs(masked - first).mean(2)
    assert change[:, 400:].mean() > 2 * change[:, :100].mean()  # the brush was on the right


def test_a_style_of_ones_own(page, painting, tmp_path):
    upload(page, EXAMPLE)
    first = painted(page)
    (tmp_path / "my cat.png").write_bytes(jpeg(painting))
    page.locator(".picker input[type=file]").set_input_files(tmp_path / "my cat.png")
    both = wait_for_change(page, first)
    expect(page.locator(".picker .mix")).to_contain_text("my cat")
    stroke = page.locator("#stroke input[type=range]")
    stroke.focus()
    page.keyboard.press("Home")
    wait_for_change(page, both)
    page.locator(".picker input[type=file]").set_input_files(tmp_path / "my cat.png")  # the same once more
    expect(page.locator(".picker .note")).to_have_text("")
    expect(page.locator(".picker .style")).to_have_count(len(gallery()) + 1)
    expect(page.locator(".picker .mix")).to_contain_text("my cat")


@pytest.mark.parametrize("name", ["broken.jpg", "notes.png"])
def test_a_file_that_is_no_picture_is_answered_in_words(page, shoot, tmp_path, name):
    (tmp_path / name).write_bytes(EXAMPLE.read_bytes()[:900] if name == "broken.jpg" else b"just some text")
    page.locator("#photo input[type=file]").set_input_files(tmp_path / name)
    expect(page.locator("#said")).to_contain_text("Cannot read the photo")
    expect(page.locator("#said [role=alert]")).to_be_visible()
    shoot(f"page-{name.split('.')[0]}")
    page.locator(".picker input[type=file]").set_input_files(tmp_path / name)
    expect(page.locator(".picker .note")).to_contain_text("cannot read")
    upload(page, EXAMPLE)  # and all is well again


def test_a_clip_is_painted_and_another_cancelled(page, shoot, tmp_path, photo):
    clip(tmp_path / "clip.mp4", photo, 24)
    page.get_by_role("tab", name="Video").click()
    page.locator("#clip input[type=file]").set_input_files(tmp_path / "clip.mp4")
    page.get_by_label("Small (360)").check()
    page.locator("#clip-begin").click()
    expect(page.locator("#clip-said")).to_contain_text(re.compile(r"24 frames in \d+ s"))
    expect(page.locator("#clip-result video")).to_be_visible()
    shoot("page-video", full_page=True)
    address = page.locator("#clip-result video").evaluate("video => video.src || video.querySelector('source').src")
    (tmp_path / "painted.mp4").write_bytes(page.request.get(address).body())
    assert frames(tmp_path / "painted.mp4") == 24

    clip(tmp_path / "long.mp4", photo, 900)
    page.locator("#clip button[aria-label=Clear], #clip button[aria-label=Remove]").first.click()
    page.locator("#clip input[type=file]").set_input_files(tmp_path / "long.mp4")
    page.locator("#clip-begin").click()
    expect(page.locator("#clip-said")).to_contain_text(re.compile(r"Frame \d+ of 900, .*/s, .* left"))
    page.locator("#clip-cancel").click()
    expect(page.locator("#clip-said")).to_contain_text("before it was stopped")


def test_the_camera_is_live(page, shoot):
    page.get_by_role("tab", name="Camera").click()
    page.evaluate(COUNT_CAMERAS)
    page.locator(".camera button").evaluate("button => { button.click(); button.click(); }")
    said = page.locator(".camera .said")
    expect(said).to_contain_text(re.compile(r"[1-9][\d.]* frames/s · \d+ ms behind · 384 x 288"))
    page.wait_for_timeout(1000)
    delay = int(re.search(r"(\d+) ms", said.inner_text()).group(1))
    look = "() => document.querySelector('.camera canvas').toDataURL()"
    first = page.evaluate(look)
    shoot("page-camera")
    assert page.evaluate("window.opened") == 1
    page.wait_for_timeout(1500)
    assert page.evaluate(look) != first
    assert int(re.search(r"(\d+) ms", said.inner_text()).group(1)) < 5 * delay + 500  # the delay does not pile up
    page.get_by_role("button", name="Stop").click()
    expect(said).to_contain_text("Stopped")


@pytest.mark.parametrize("page", [{"width": 390, "height": 844}], indirect=True)
def test_it_fits_a_phone(page, shoot):
    upload(page, EXAMPLE)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    shoot("page-phone")
    page.locator("[data-id=klimt-kiss]").click()
    expect(page.locator(".picker .mix label")).to_have_count(2)
    shoot("page-phone-all", full_page=True)
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is None or box["width"] <= 390


def test_the_keyboard_alone_is_enough(page):
    page.locator("#example").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("Painted in")
    first = painted(page)
    page.locator(".picker input[type=file]").focus()
    for _ in range(5):
        page.keyboard.press("Tab")
    chosen = page.evaluate("() => document.activeElement.dataset.id")
    assert chosen
    page.keyboard.press("Space")
    wait_for_change(page, first)
    assert page.evaluate("() => document.activeElement.dataset.id") == chosen  # the place is not lost
    assert page.locator(f"[data-id={chosen}]").get_attribute("aria-pressed") == "true"
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.get_by_role("tab", name="Video").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#clip-begin")).to_be_visible()


def clip(path: Path, photo: np.ndarray, count: int) -> None:
    """A clip of a photo that moves, 24 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for step in range(count):
            pixels = np.ascontiguousarray(np.roll(photo[:240, :320], 4 * step, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def frames(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
