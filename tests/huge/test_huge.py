"""Pictures of any size, painted from file to file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import impasto
from impasto.cli import main
from impasto.errors import ImpastoError
from impasto.graph import GraphStylizer
from impasto.huge import stylize_file
from impasto.stylizer import Plan

WIDTH, HEIGHT = 341, 250
STYLE, OTHER = "munch-scream", "hokusai-great-wave"


@pytest.fixture
def painter() -> GraphStylizer:
    painter = impasto.load(engine="onnxruntime")
    assert isinstance(painter, GraphStylizer)
    return painter


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, photo) -> Path:
    """The current folder, with a photo and two masks in it."""
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(photo).resize((WIDTH, HEIGHT))
    picture.save("photo.png")
    picture.save("photo.tif", compression="tiff_adobe_deflate")
    disc = np.hypot(*np.mgrid[-HEIGHT / 2 : HEIGHT / 2, -WIDTH / 2 : WIDTH / 2]) < 80
    Image.fromarray((255 * disc).astype(np.uint8)).save("disc.png")
    Image.fromarray(np.linspace(0, 200, WIDTH, dtype=np.uint8)[None].repeat(HEIGHT, 0)).save("ramp.png")
    return tmp_path


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


CONTROLS = {
    "plain": ([STYLE], {}),
    "strength": ([STYLE, OTHER], {"strength": 0.6}),
    "masks": ([STYLE, OTHER], {"masks": ["disc.png", "ramp.png"], "keep_color": "luminance"}),
    "colours of the result": ([STYLE], {"keep_color": "match"}),
    "colours of the style": (["cat.png"], {"keep_color": "match", "style_size": 200}),
    "strokes": ([STYLE], {"stroke_size": 2.5, "masks": ["disc.png"]}),
    "other colours": ([STYLE], {"palette": "ramp.png", "keep": "face", "keep_share": 0.5}),
}


@pytest.mark.parametrize("controls", CONTROLS)
def test_the_file_is_what_memory_gives(painter, painting, folder, controls):
    Image.fromarray(painting).save("cat.png")
    styles, options = CONTROLS[controls]
    assert stylize_file(painter, "photo.tif", styles, "painted.tif", **options) == (WIDTH, HEIGHT)
    expected = np.asarray(painter.stylize("photo.tif", styles, **options)).astype(int)
    difference = np.abs(pixels("painted.tif") - expected)
    if controls == "colours of the result":  # the map stretches colours, and a level here and there with them
        assert (difference > 1).mean() < 1e-3
        assert difference.max() < 10
    elif controls == "strokes":  # masks are made small in eight bits here
        assert difference.mean() < 0.1
    elif controls == "other colours":  # they are measured on the last octave here
        assert difference.mean() < 2
    else:
        assert difference.max() <= 1
    assert left_over(folder) == []


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_kinds_of_files(painter, folder, ending):
    stylize_file(painter, "photo.png", STYLE, f"painted.{ending}")
    expected = np.asarray(painter.stylize("photo.png", STYLE)).astype(int)
    painted = pixels(f"painted.{ending}")
    assert Image.open(f"painted.{ending}").format == {"png": "PNG", "tif": "TIFF", "jpg": "JPEG"}[ending]
    assert np.abs(painted - expected).mean() < (2 if ending == "jpg" else 0.01)


def test_what_a_file_can_hold_is_settled_as_in_memory(painter, folder):
    """A turn in EXIF, a title, alpha; grey; 16 bit; inks in 16 bit; TIFF that libvips reads wrong; colours by cHRM."""
    rgb = np.asarray(Image.open("photo.png"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a title"
    alpha = np.linspace(0, 255, WIDTH).astype(np.uint8)[None].repeat(HEIGHT, 0)
    Image.fromarray(np.dstack([rgb, alpha])).save("turned.png", exif=exif)
    Image.fromarray(rgb[..., 1]).save("grey.png")
    Image.fromarray(rgb[..., 1].astype(np.uint16) * 257).save("deep.png")
    inks = [255 - rgb[..., 0], 255 - rgb[..., 1], 255 - rgb[..., 2], rgb.min(2) // 4]
    tifffile.imwrite("inks.tif", np.dstack(inks).astype(np.uint16) * 257, photometric="separated")
    half = (rgb / 255).astype(np.float16)
    tifffile.imwrite("half.tif", half, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    tifffile.imwrite("white.tif", rgb[..., 1].astype(np.uint16) * 257, photometric="miniswhite")
    photo = Path("photo.png").read_bytes()
    gamma = b"gAMA" + (100_000).to_bytes(4, "big")
    chunk = (4).to_bytes(4, "big") + gamma + zlib.crc32(gamma).to_bytes(4, "big")
    Path("linear.png").write_bytes(photo[:33] + chunk + photo[33:])
    for file in ("turned.png", "grey.png", "deep.png", "inks.tif", "half.tif", "white.tif", "linear.png"):
        name = Path(file).stem
        stylize_file(painter, file, STYLE, f"{name}-painted.png")
        ours, expected = Image.open(f"{name}-painted.png"), painter.stylize(file, STYLE)
        assert ours.size == expected.size
        assert ours.mode == expected.mode
        assert np.abs(np.asarray(ours).astype(int) - np.asarray(expected)).max() <= 1
    turned = Image.open("turned-painted.png")
    assert turned.size == (HEIGHT, WIDTH)
    assert turned.getexif().get(0x010E) == "a title"
    assert turned.getexif().get(0x0112, 1) == 1
    stylize_file(painter, "turned.png", STYLE, "turned.jpg")  # alpha on white
    painted, alpha = (np.asarray(turned)[..., part].astype(float) for part in (slice(3), slice(3, 4)))
    assert np.abs(pixels("turned.jpg") - (painted * alpha + 255 * (255 - alpha)) / 255).mean() < 2


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_exif_and_resolution_are_handed_on(painter, folder, ending):
    exif = Image.Exif()
    exif[0x010F] = "Impasto Optics"
    block = exif.tobytes().replace(b"Impasto", "Łódź".encode())
    Image.open("photo.png").save("titled.jpg", exif=block, dpi=(240, 240))
    stylize_file(painter, "titled.jpg", STYLE, f"painted.{ending}")
    assert "Łódź Optics".encode() in Path(f"painted.{ending}").read_bytes()
    with Image.open(f"painted.{ending}") as painted:
        assert painted.getexif().get(0x010F)
        assert np.allclose(painted.info["dpi"], 240, atol=0.01)
        assert painted.size == (WIDTH, HEIGHT)
        painted.load()


@pytest.mark.parametrize("controls", ["plain", "masks", "colours of the result", "colours of the style"])
def test_what_is_not_seen_decides_nothing(painter, painting, folder, controls):
    Image.fromarray(painting).save("cat.png")
    styles, options = CONTROLS[controls]
    photo, alpha = np.array(Image.open("photo.png")), np.asarray(Image.open("disc.png"))
    for name, ground in {"red": (255, 0, 0), "green": (0, 255, 0)}.items():
        photo[alpha == 0] = ground
        Image.fromarray(np.dstack([photo, alpha])).save(f"{name}.png")
        stylize_file(painter, f"{name}.png", styles, f"{name}.tif", **options)
    assert np.array_equal(pixels("red.tif"), pixels("green.tif"))
    expected = np.asarray(painter.stylize("red.png", styles, **options)).astype(int)
    difference = np.abs(pixels("red.tif") - expected)
    assert (difference > 1).mean() < 1e-3
    assert difference.max() < 10


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.slow
def test_a_stopped_run_is_taken_up_again(painter, folder, monkeypatch):
    Image.open("photo.png").resize((900, 3000)).save("tall.tif")  # three strips
    stylize_file(painter, "tall.tif", STYLE, "whole.tif")
    finish, done = Plan.finish_part, []

    def finish_or_stop(plan, *parts):
        if len(done) == 2:
            raise Stop
        done.append(1)
        return finish(plan, *parts)

    monkeypatch.setattr(Plan, "finish_part", finish_or_stop)
    with pytest.raises(Stop):
        stylize_file(painter, "tall.tif", STYLE, "painted.tif")
    assert not Path("painted.tif").exists()
    assert left_over(folder) == [".painted.tif.impasto"]
    done.clear()
    for other in ({"strength": 0.5}, {"stroke_size": 2}):
        with pytest.raises(ImpastoError, match="other settings"):
            stylize_file(painter, "tall.tif", STYLE, "painted.tif", **other, resume=True)
    style = painter.style(STYLE)
    paler = replace(style, palette=style.palette._replace(mean=style.palette.mean / 2))
    with pytest.raises(ImpastoError, match="other settings"):
        stylize_file(painter, "tall.tif", paler, "painted.tif", resume=True)
    monkeypatch.setattr(painter.engine, "run", None)  # what was painted is not painted again
    stylize_file(painter, "tall.tif", STYLE, "painted.tif", resume=True)
    assert len(done) == 1
    assert Path("painted.tif").read_bytes() == Path("whole.tif").read_bytes()
    assert left_over(folder) == []


def test_a_killed_command_and_ctrl_c(folder):
    """From outside, at some moment of painting: nothing half-written, and the next run makes the same bytes."""
    Image.open("photo.png").resize((700, 2000)).save("large.png")  # three strips
    command = [sys.executable, "-m", "impasto", "stylize", "large.png", STYLE, "-o", "painted.png", "--huge",
               "--stroke-size", "1.5", "--engine", "onnxruntime", "--resume"]  # fmt: skip
    work = Path(".painted.png.impasto/painted.raw")
    for kill in (signal.SIGINT, signal.SIGKILL):
        # A suite that runs in the background of a shell ignores Ctrl-C, and its children would.
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
        wanted = work.stat().st_size + 1 if work.exists() else 1
        while process.poll() is None and not (work.exists() and work.stat().st_size >= wanted):
            time.sleep(0.01)
        process.send_signal(kill)
        _, errors = process.communicate()
        assert process.returncode == (130 if kill == signal.SIGINT else -signal.SIGKILL)
        assert "--resume goes on" in errors or kill == signal.SIGKILL
        assert "Traceback" not in errors
        assert not Path("painted.png").exists()
        assert work.stat().st_size >= wanted
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert left_over(folder) == []
    model = impasto.load(engine="onnxruntime")
    expected = model.stylize("large.png", STYLE, stroke_size=1.5)
    assert np.abs(pixels("painted.png") - np.asarray(expected)).max() <= 1


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main([*map(str, arguments), "--engine", "onnxruntime"])
    return int(exit.value.code or 0)


def test_the_command_line_paints_several_with_masks(folder, capsys):
    shutil.copy("photo.png", "second.png")
    code = command("stylize", "photo.png", "second.png", "-s", STYLE, "-s", OTHER, "--mask", "disc.png",
                   "--mask", "ramp.png", "--huge", "-o", "{photo}-painted.tif", "--json")  # fmt: skip
    assert code == 0
    assert capsys.readouterr().out.count('"width": 341, "height": 250') == 2
    assert np.array_equal(pixels("photo-painted.tif"), pixels("second-painted.tif"))


def test_a_broken_photo_does_not_stop_the_others(folder, capsys):
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:20000])
    assert command("stylize", "cut.png", "photo.png", "-s", STYLE, "--huge", "-o", "{photo}-painted.tif") == 2
    said = capsys.readouterr()
    assert said.err.startswith("impasto: cannot read cut.png")
    assert said.out == "photo-painted.tif\n"
    assert pixels("photo-painted.tif").shape == (HEIGHT, WIDTH, 3)


def test_the_pixel_limit_names_the_way(folder, capsys):
    assert command("stylize", "photo.png", STYLE, "--max-pixels", 1000) == 2
    assert "--huge" in capsys.readouterr().err


WRONG = {
    "no such file": (["none.tif", STYLE, "-o", "o.tif"], "no such file"),
    "no picture": (["text.tif", STYLE, "-o", "o.tif"], "known kind"),
    "cut off": (["cut.png", STYLE, "-o", "o.tif"], "damaged"),
    "another kind": (["photo.webp", STYLE, "-o", "o.tif"], "TIFF, PNG and JPEG"),
    "complex numbers": (["complex.tif", STYLE, "-o", "o.tif"], "complex samples"),
    "another kind of output": (["photo.png", STYLE, "-o", "o.webp"], ".tif, .png or .jpg"),
    "too wide for JPEG": (["wide.png", STYLE, "-o", "o.jpg"], "65535"),
    "small mask": (["photo.png", STYLE, "--mask", "small.png", "-o", "o.tif"], "scale the mask"),
    "black mask": (["photo.png", STYLE, "--mask", "black.png", "-o", "o.tif"], "selects nothing"),
    "too few masks": (["photo.png", STYLE, OTHER, "--mask", "disc.png", "-o", "o.tif"], "1 masks for 2"),
    "quality": (["photo.png", STYLE, "-o", "o.jpg", "--quality", "0"], "quality"),
    "strength": (["photo.png", STYLE, "-o", "o.tif", "--strength", "2"], "strength"),
    "no folder": (["photo.png", STYLE, "-o", "none/o.tif"], "no folder"),
    "another size": (["photo.png", STYLE, "-o", "o.tif", "--max-size", "100"], "--max-size"),
    "stdout": (["photo.png", STYLE, "-o", "-"], "--huge"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_input_is_one_line(folder, capsys, wrong):
    arguments, message = WRONG[wrong]
    Path("text.tif").write_text("no picture at all")
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:20000])
    Image.open("photo.png").save("photo.webp")
    tifffile.imwrite("complex.tif", np.ones((50, 50), np.complex64))
    Image.new("L", (70000, 16)).save("wide.png")
    Image.new("L", (10, 10), 255).save("small.png")
    Image.new("L", (WIDTH, HEIGHT)).save("black.png")
    before = sorted(path.name for path in folder.iterdir())
    assert command("stylize", *arguments, "--huge") == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_resume_without_huge_is_refused(capsys):
    assert command("stylize", "photo.png", STYLE, "--resume") == 2
    assert "--huge" in capsys.readouterr().err


def test_a_full_disk_is_told_before_anything_is_done(painter, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(ImpastoError, match="free some space"):
        stylize_file(painter, "photo.png", STYLE, "painted.tif")
    assert left_over(folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_must_not_be_written_to(painter, folder):
    folder.joinpath("locked").mkdir(mode=0o500)
    with pytest.raises(ImpastoError, match="no permission"):
        stylize_file(painter, "photo.png", STYLE, "locked/painted.tif")


def test_methods_cannot(vgg19):
    pytest.importorskip("torch")
    with pytest.raises(ImpastoError, match="cannot paint by strips"):
        stylize_file(impasto.load("style-swap"), "photo.png", STYLE, "painted.tif")
