"""The plug-in for Krita, in Krita itself: its dialog, what it puts into a document, what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from screen import screen

import impasto

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("krita") or bool(os.system("/usr/bin/python3 -c 'import PyQt5.QtNetwork'")),
        reason="needs Krita: apt-get install krita python3-pyqt5",
    ),
]
PLUGIN = Path(__file__).parents[2] / "examples" / "krita"
DRIVER = "[Desktop Entry]\nType=Service\nServiceTypes=Krita/PythonPlugin\nX-KDE-Library=driver\nName=driver\n"
NOBODY = "http://127.0.0.1:9"
SETTINGS = f"[python]\nenable_impasto=true\nenable_driver=true\n[impasto]\naddress={NOBODY}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory, photo, painting) -> Iterator[Path]:
    """A home that Krita was used in, with the pictures before and after; `found.json` is what was seen there."""
    home = tmp_path_factory.mktemp("home")
    plugins = home / ".local/share/krita/pykrita"
    shutil.copytree(PLUGIN, plugins)
    (plugins / "driver").mkdir()
    shutil.copy(Path(__file__).with_name("krita_driver.py"), plugins / "driver" / "__init__.py")
    (plugins / "driver.desktop").write_text(DRIVER)
    (home / ".config").mkdir()
    (home / ".config/kritarc").write_text(SETTINGS)
    Image.fromarray(photo[:120, 150:310]).save(home / "photo.png")
    Image.fromarray(painting).save(home / "painting.png")
    server = subprocess.Popen(
        [sys.executable, "-m", "impasto", "app", "--port", "0", "--threads", "1", "--engine", "onnxruntime"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = re.search(r"http://\S+", server.stderr.readline())[0]
        with screen() as display:
            environment = {
                "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(home), "TMPDIR": str(home),
                "XDG_RUNTIME_DIR": str(home), "DISPLAY": display, "SERVER": address,
            }  # fmt: skip
            subprocess.run(["krita", "--nosplash"], env=environment, cwd=home, capture_output=True, timeout=300)
    finally:
        server.terminate()
        server.communicate(timeout=20)
    yield home
    shutil.rmtree(home)  # Krita fills it with 80 MB


@pytest.fixture(scope="module")
def found(home) -> dict[str, Any]:
    found = json.loads((home / "found.json").read_text())
    assert "error" not in found, found["error"]
    return found


@pytest.fixture(scope="module")
def painter() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=1)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGBA")).astype(float)


def test_the_dialog_says_that_there_is_no_server_and_stays_open(found) -> None:
    said = found["without a server"]
    assert said == f"No answer from {NOBODY} (Connection refused): start impasto app, or correct the address."
    assert found["still open"]
    assert found["styles"] == len(impasto.load().gallery)
    assert found["closed"]  # once it has painted


def test_what_cannot_be_painted_is_said(found) -> None:
    assert found["munch-scram"] == "there is no style 'munch-scram' here: did you mean munch-scream?"
    assert found["munch-scream"].startswith("What is selected lies outside of the picture")


def test_the_dialog_paints_as_the_library_does(home, found, painter, photo) -> None:
    assert found["dialog"]["name"] == "The Scream, Edvard Munch, 1893"
    wanted = painter.stylize(photo[:120, 150:310], "munch-scream", strength=0.8, stroke_size=2, keep_color="luminance")
    np.testing.assert_array_equal(pixels(home / "dialog-after.png")[..., :3], np.asarray(wanted))


def test_documents_of_16_bit_are_painted(home, found, painter, photo) -> None:
    assert (found["RGBAU16"]["kind"], found["RGBAU16"]["profile"]) == (["paintlayer", "RGBA", "U16"], True)
    wanted = np.asarray(painter.stylize(photo[:120, 150:310], "munch-scream")).astype(float)
    assert np.abs(pixels(home / "RGBAU16-after.png")[..., :3] - wanted).mean() < 1


def test_grey_documents_are_painted_in_grey(home, found, painter, photo) -> None:
    assert (found["GRAYAU8"]["kind"], found["GRAYAU8"]["profile"]) == (["paintlayer", "GRAYA", "U8"], True)
    sent = np.repeat(to_grey(photo[:120, 150:310])[..., None], 3, -1).round().astype(np.uint8)
    assert np.abs(pixels(home / "GRAYAU8-before.png")[..., :3] - sent).mean() < 1
    painted = painter.stylize(home / "GRAYAU8-before.png", "munch-scream").convert("RGB")
    wanted = to_grey(np.asarray(painted))[..., None]
    assert np.abs(pixels(home / "GRAYAU8-after.png")[..., :3] - wanted).mean() < 1


def to_grey(image: np.ndarray) -> np.ndarray:
    """The luminance of sRGB, as a grey of the same curve (IEC 61966-2-1), 0 to 255."""
    share = image / 255
    light = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92) @ [0.2126, 0.7152, 0.0722]
    return 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)


def test_of_a_selection_its_shape_is_painted(home, painter, photo) -> None:
    got = pixels(home / "selection-after.png")
    cover = np.zeros((120, 160))
    cover[30:90, :80] = 255
    cover[50:60, 60:70] = 128
    np.testing.assert_array_equal(got[..., 3], cover)
    wanted = np.asarray(painter.stylize(photo[30:90, 150:230], home / "painting.png")).astype(float)
    apart = np.abs(got[30:90, :80, :3] - wanted)
    assert apart.mean() < 1
    assert apart.max() <= 2


def test_the_document_itself_is_left_as_it_was(found) -> None:
    """And one undo takes the layer away: the driver goes on only then."""
    names = ["dialog", "RGBAU16", "GRAYAU8", "selection"]
    assert [found[name]["below as it was"] for name in names] == [True] * 4
    assert [found[name]["above"] for name in names] == [True] * 4
