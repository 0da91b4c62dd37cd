"""The command line, run as people run it; most of it in this process, which saves the start of Python."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from skimage import data
from typer.main import get_command

import impasto
from impasto.cli import COMMANDS, RENAMED, build, main
from impasto.model import find_model
from impasto.networks import AdaINSettings, CompactSettings, Settings
from impasto.style import Style

ASTRONAUT = Image.fromarray(data.astronaut()).resize((96, 96))
CAT = Image.fromarray(data.chelsea()).resize((97, 64))
COFFEE = Image.fromarray(data.coffee()).resize((90, 60))


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Impasto = Callable[..., Result]


@pytest.fixture
def impasto_(capsys: pytest.CaptureFixture[str]) -> Impasto:
    def run(*arguments: object) -> Result:
        if arguments[:1] in [("stylize",), ("style",), ("sheet",)] and "--engine" not in arguments:
            arguments = (*arguments, "--engine", "onnxruntime")  # the quickest to load
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(exit.value.code or 0, captured.out, captured.err)  # type: ignore[arg-type]

    return run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two photos and a painting in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / ".cache"))
    ASTRONAUT.save("astronaut.png")
    CAT.save("cat.jpg", quality=95)
    COFFEE.save("coffee.png")
    return tmp_path


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def difference(first: str | Path, second: str | Path) -> float:
    return float(np.abs(pixels(first) - pixels(second)).mean())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def process(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "check": False, **options}
    return subprocess.run([sys.executable, "-m", "impasto", *arguments], **options)  # type: ignore[call-overload, no-any-return]


# Painting


def test_a_photo_in_the_style_of_a_picture(impasto_: Impasto) -> None:
    result = impasto_("stylize", "cat.jpg", "coffee.png", "--engine", "auto")
    assert (result.code, result.out, result.err) == (0, "cat-coffee.jpg\n", "")
    assert Image.open("cat-coffee.jpg").size == CAT.size
    assert difference("cat-coffee.jpg", "cat.jpg") > 10


def test_a_shipped_style_by_its_name_into_a_named_file(impasto_: Impasto) -> None:
    assert impasto_("stylize", "cat.jpg", "munch-scream", "-o", "out.png").out == "out.png\n"
    with Image.open("out.png") as image:
        assert (image.format, image.size) == ("PNG", CAT.size)


def test_json_tells_what_was_made(impasto_: Impasto) -> None:
    result = impasto_(
        "stylize", "cat.jpg", "munch-scream", "coffee.png", "--weights", "3,1", "--strength", 0.5, "--max-size", 48,
        "--engine", "onnxruntime", "--json",
    )  # fmt: skip
    made = json.loads(result.out)
    assert made.pop("seconds") > 0
    assert made == {
        "photo": "cat.jpg",
        "out": "cat-munch-scream+coffee.jpg",
        "width": 48,
        "height": 32,
        "styles": ["munch-scream", "coffee"],
        "weights": [3, 1],
        "strength": 0.5,
        "stroke_size": 1.0,
        "plain": False,
        "model": "adain",
        "engine": "onnxruntime",
        "device": "cpu",
    }
    assert Image.open(made["out"]).size == (48, 32)


def test_weights_mix(impasto_: Impasto) -> None:
    for name, *arguments in (
        ["first", "munch-scream"],
        ["second", "coffee.png"],
        ["all-first", "munch-scream", "coffee.png", "--weights", "2,0"],
        ["equal", "munch-scream", "coffee.png"],
        ["mixed", "munch-scream", "coffee.png", "--weights", "1,1"],
    ):
        assert impasto_("stylize", "cat.jpg", *arguments, "-o", f"{name}.png").code == 0
    assert difference("all-first.png", "first.png") < 0.5
    assert difference("equal.png", "mixed.png") == 0
    apart = difference("first.png", "second.png")
    assert 2 < difference("equal.png", "first.png") < apart
    assert 2 < difference("equal.png", "second.png") < apart


def test_masks_put_styles_where_they_say(impasto_: Impasto) -> None:
    left = np.zeros((64, 97), np.uint8)
    left[:, :48] = 255
    Image.fromarray(left).save("left.png")
    assert impasto_("stylize", "cat.jpg", "munch-scream", "--mask", "left.png", "-o", "half.png").code == 0
    changed = np.abs(pixels("half.png") - pixels("cat.jpg")).mean(axis=(0, 2))
    assert changed[:48].mean() > 10
    assert changed[48:].max() == 0

    Image.fromarray(255 - left).save("right.png")
    both = ["munch-scream", "coffee.png", "--mask", "left.png", "--mask", "right.png"]
    assert impasto_("stylize", "cat.jpg", *both, "-o", "both.png").code == 0
    assert np.abs(pixels("both.png") - pixels("cat.jpg")).mean(axis=(0, 2))[48:].mean() > 5


def test_the_photos_colours_can_be_kept(impasto_: Impasto) -> None:
    impasto_("stylize", "cat.jpg", "munch-scream", "-o", "plain.png")
    for mode in ("match", "luminance"):
        assert impasto_("stylize", "cat.jpg", "munch-scream", "--keep-color", mode, "-o", f"{mode}.png").code == 0
        off = np.abs(pixels(f"{mode}.png").mean(axis=(0, 1)) - pixels("cat.jpg").mean(axis=(0, 1)))
        plain = np.abs(pixels("plain.png").mean(axis=(0, 1)) - pixels("cat.jpg").mean(axis=(0, 1)))
        chroma, plain_chroma = np.ptp(off), np.ptp(plain)
        assert chroma < plain_chroma / 2


def test_red_stays_red_through_strength_0(impasto_: Impasto) -> None:
    Image.new("RGB", (64, 64), (230, 20, 20)).save("red.png")
    assert impasto_("stylize", "red.png", "hokusai-great-wave", "--strength", 0, "-o", "back.png").code == 0
    red, green, blue = pixels("back.png").mean(axis=(0, 1))
    assert red > 170
    assert max(green, blue) < 80


def test_stroke_size_matters(impasto_: Impasto) -> None:
    for size in (64, 512):
        impasto_("stylize", "cat.jpg", "coffee.png", "--style-size", size, "-o", f"{size}.png")
    assert difference("64.png", "512.png") > 1


def test_quality_is_the_jpegs(impasto_: Impasto) -> None:
    for quality in (20, 95):
        impasto_("stylize", "cat.jpg", "munch-scream", "--quality", quality, "-o", f"{quality}.jpg")
    assert 2 * Path("20.jpg").stat().st_size < Path("95.jpg").stat().st_size


@pytest.mark.parametrize(("name", "written"), [("clear.png", "png"), ("moving.gif", "png"), ("LOUD.JPG", "jpg")])
def test_the_result_has_the_photos_format(impasto_: Impasto, name: str, written: str) -> None:
    photo = ASTRONAUT.copy()
    if name == "clear.png":
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(name)
    out = f"{Path(name).stem}-munch-scream.{written}"
    assert impasto_("stylize", name, "munch-scream").out == f"{out}\n"
    if name == "clear.png":
        assert Image.open(out).getchannel("A").tobytes() == photo.getchannel("A").tobytes()


def test_many_photos_in_a_mix(impasto_: Impasto) -> None:
    result = impasto_("stylize", "cat.jpg", "astronaut.png", "-s", "munch-scream", "-s", "coffee.png")
    assert result.lines == ["cat-munch-scream+coffee.jpg", "astronaut-munch-scream+coffee.png"]
    assert Image.open("astronaut-munch-scream+coffee.png").size == ASTRONAUT.size


def test_many_photos_in_each_of_many_styles(impasto_: Impasto, folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "painted").mkdir()
    CAT.save("photos/b.jpg")
    ASTRONAUT.save("photos/a.png")
    (folder / "photos" / "notes.txt").write_text("no picture")
    result = impasto_("stylize", "photos", "munch-scream", "coffee.png", "--each", "-o", "painted", "--json")
    names = ["a-munch-scream.png", "a-coffee.png", "b-munch-scream.jpg", "b-coffee.jpg"]
    made = [json.loads(line) for line in result.lines]
    assert [line["out"] for line in made] == [os.path.join("painted", name) for name in names]
    assert [line["styles"] for line in made] == [["munch-scream"], ["coffee"]] * 2
    assert sorted(os.listdir("painted")) == sorted(names)
    impasto_("stylize", "photos/b.jpg", "coffee.png", "-o", "alone.png")
    impasto_("stylize", "photos", "munch-scream", "coffee.png", "--each", "-o", "{style}_{photo}.png")
    assert difference("coffee_b.png", "alone.png") == 0


def test_a_bad_photo_does_not_stop_the_others(impasto_: Impasto) -> None:
    Path("broken.jpg").write_bytes(Path("cat.jpg").read_bytes()[:500])
    result = impasto_("stylize", "broken.jpg", "cat.jpg", "-s", "munch-scream", "-o", "{photo}.out.png")
    assert result.code == 2
    assert result.lines == ["cat.out.png"]
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("impasto: cannot read broken.jpg")
    assert not Path("broken.out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["some", "nothing", "cat.jpg"], "there are no pictures in the folder nothing"),
        (["dangling", "cat.jpg"], "cannot read dangling/lost.jpg"),
        (["cat.jpg", "a/cat.jpg"], "several pictures would be written to out/cat-munch-scream.jpg"),
        ([f"{'x' * 250}.jpg", "cat.jpg"], "File name too long"),
        (["wide.webp", "cat.jpg"], "a side has at most 16383 pixels, not 17000 x 8; choose png or tiff"),
        (["cat.jpg", "-s", "no-such-style", "--each"], "no file and no shipped style no-such-style"),
        (["cat.jpg", "-s", "nothing", "--each"], "there are no pictures in the folder nothing"),
        (["cat.jpg", "coffee.png", "--mask", "white.png"], "mask 1 is 97 x 64 but the photo is 90 x 60"),
        (["cat.jpg", "coffee.png", "-o", "{photo}/{photo}-munch-scream.jpg"], "there is no folder coffee"),
    ],
)
def test_what_cannot_be_made_does_not_stop_the_others(
    impasto_: Impasto, folder: Path, arguments: list[str], said: str
) -> None:
    for name in ("some", "nothing", "dangling", "a", "out", "cat"):
        Path(name).mkdir()
    CAT.save("a/cat.jpg")
    CAT.save(f"{'x' * 250}.jpg")
    Image.new("L", CAT.size, 255).save("white.png")
    Image.new("RGB", (17_000, 8)).save("wide.jpg")
    Path("wide.jpg").rename("wide.webp")
    ASTRONAUT.save("some/one.jpg")
    Path("dangling/lost.jpg").symlink_to("nowhere")
    out = () if "-o" in arguments else ("-o", "out/")
    result = impasto_("stylize", *arguments, "-s", "munch-scream", *out)
    assert result.code == 2
    assert said in result.err
    assert "cat-munch-scream.jpg" in [Path(line).name for line in result.lines]
    assert all(Path(line).is_file() for line in result.lines)
    assert {line.startswith("impasto: ") for line in result.err.splitlines()} == {True}
    assert not list(folder.rglob(".impasto*"))


def test_a_full_disk_takes_what_it_can(impasto_: Impasto, small_disk: Path) -> None:
    Image.fromarray(data.astronaut()).save("noise.jpg")
    result = impasto_("stylize", "noise.jpg", "cat.jpg", "-s", "munch-scream", "-o", f"{small_disk}/")
    assert (result.code, result.lines) == (2, [f"{small_disk}/cat-munch-scream.jpg"])
    assert result.err.startswith("impasto: cannot write")
    assert "the disk is full" in result.err
    assert os.listdir(small_disk) == ["cat-munch-scream.jpg"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("file systems can be mounted by root alone")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_name_that_stdout_cannot_write(folder: Path) -> None:
    Path("cat.jpg").rename("\u732b.jpg")
    for options in ([], ["--json"]):
        arguments = ["\u732b.jpg", "astronaut.png", "-s", "munch-scream", "--engine", "onnxruntime", *options]
        run = process("stylize", *arguments, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert (run.returncode, run.stderr) == (0, b"")
        first, second = run.stdout.decode().splitlines()
        assert (json.loads(first)["out"] if options else first) == "\u732b-munch-scream.jpg"
        assert "astronaut-munch-scream.png" in second
        for painted in folder.glob("*-munch-scream.*"):
            painted.unlink()


def test_from_stdin_to_stdout(folder: Path) -> None:
    before = contents(folder)
    run = process("stylize", "-", "munch-scream", input=Path("cat.jpg").read_bytes())
    assert (run.returncode, run.stderr) == (0, b"")
    with Image.open(io.BytesIO(run.stdout)) as image:
        assert (image.format, image.size) == ("PNG", CAT.size)
    run = process("stylize", "cat.jpg", "-", "-o", "-", "--format", "jpg", input=Path("coffee.png").read_bytes())
    with Image.open(io.BytesIO(run.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", CAT.size)
    assert contents(folder) == before


def test_pipes_are_read_and_written(folder: Path) -> None:
    before = contents(folder)
    command = (
        "mkfifo pipe.png; cat pipe.png > piped.png & "
        "cat coffee.png | {0} -m impasto stylize <(cat cat.jpg) /dev/stdin --mask <(cat mask.png) -o pipe.png; wait; "
        "{0} -m impasto stylize cat.jpg munch-scream -o /dev/stdout --format jpg | cat > out.jpg"
    )
    Image.new("L", CAT.size, 255).save("mask.png")
    run = subprocess.run(["bash", "-c", command.format(sys.executable)], capture_output=True, text=True)
    assert run.stderr == ""
    assert Path("pipe.png").is_fifo()
    for file, kind in {"out.jpg": "JPEG", "piped.png": "PNG"}.items():
        with Image.open(file) as image:
            assert (image.format, image.size) == (kind, CAT.size)
    assert set(contents(folder)) - set(before) == {"mask.png", "out.jpg", "piped.png"}


def test_a_photo_that_lacks_its_end_is_painted_and_a_damaged_one_told_in_one_line(folder: Path) -> None:
    Path("cut.jpg").write_bytes(Path("cat.jpg").read_bytes()[:-30])
    Image.open("cat.jpg").save("torn.tif", compression="tiff_lzw")
    file = bytearray(Path("torn.tif").read_bytes())
    file[500:-2000] = bytes(len(file) - 2500)  # of which libtiff has much to say
    Path("torn.tif").write_bytes(file)
    run = process("stylize", "cut.jpg", "torn.tif", "-s", "munch-scream", "-o", "{photo}-out.png")
    assert run.returncode == 2
    [cut, torn] = run.stderr.decode().splitlines()
    assert cut == "impasto: cut.jpg is damaged or incomplete: its end is missing"
    assert torn.startswith("impasto: cannot read torn.tif: the file is damaged or incomplete")
    assert Path("cut-out.png").exists()
    assert not Path("torn-out.png").exists()


def test_painting_does_not_load_pytorch() -> None:
    code = """if True:
        import sys
        from impasto.cli import main
        try:
            main(["stylize", "cat.jpg", "munch-scream", "--engine", "onnxruntime"])
        except SystemExit as exit:
            print(exit.code, "torch" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["cat-munch-scream.jpg", "0 False"]


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["stylize", "--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""if True:
        import sys
        from impasto.cli import main
        try:
            main({arguments})
        except SystemExit as exit:
            heavy = {{"torch", "onnxruntime", "openvino", "onnx"}} & set(sys.modules)
            print(exit.code, sorted(heavy))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "0 []"


def test_damaged_exif_is_passed_over_in_silence(impasto_: Impasto) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Impasto Optics"
    block = bytearray(exif.tobytes())
    block[-20:] = b"\xff" * 20
    CAT.save("odd.jpg", exif=bytes(block))
    result = impasto_("stylize", "odd.jpg", "munch-scream")
    assert (result.code, result.err) == (0, "")


# Styles


def test_a_style_is_saved_and_used_in_place_of_its_picture(impasto_: Impasto) -> None:
    assert impasto_("style", "coffee.png").out == "coffee.style\n"
    assert Path("coffee.style").stat().st_size < 20_000
    impasto_("stylize", "cat.jpg", "coffee.style", "-o", "from-style.png")
    impasto_("stylize", "cat.jpg", "coffee.png", "-o", "from-picture.png")
    assert difference("from-style.png", "from-picture.png") == 0


def test_people_are_painted_less(impasto_: Impasto) -> None:
    for name, options in {"all": [], "some": ["--keep", "person=0.5"], "none": ["--keep", "person"]}.items():
        assert impasto_("stylize", "astronaut.png", "munch-scream", *options, "-o", f"{name}.png").code == 0
    away = [difference("astronaut.png", f"{name}.png") for name in ("none", "some", "all")]
    assert away == sorted(away)
    assert away[0] < 0.8 * away[2]


def test_a_style_is_taken_from_a_part(impasto_: Impasto) -> None:
    COFFEE.crop((10, 0, 60, 40)).save("part.png")
    Image.fromarray(np.uint8(255) * (np.mgrid[:60, :90][1] >= 45)).save("right.png")
    Image.new("L", (90, 60), "white").save("all.png")
    assert impasto_("style", "part.png", "--name", "coffee").code == 0
    assert impasto_("style", "coffee.png", "--style-box", "10,0,60,40", "-o", "box.style").code == 0
    part, box = (Style.load(f"{name}.style") for name in ("part", "box"))
    assert np.array_equal(part.tensor, box.tensor)
    mixed = ["stylize", "astronaut.png", "coffee.png", "cat.jpg"]
    assert impasto_(*mixed, "--style-box", "0,0,60,40", "--palette", "photo", "-o", "one.png").code == 0
    assert impasto_(*mixed, "--style-box", "0,0,60,40", "-o", "two.png").code == 0
    assert impasto_(*mixed, "--style-box", "0,0,60,40", "--style-box", "0,0,97,64", "-o", "three.png").code == 0
    assert min(difference("two.png", other) for other in ("one.png", "three.png")) > 0.3
    for masks in (["all.png"], ["right.png"]):
        options = [part for mask in masks for part in ("--style-mask", mask)]
        assert impasto_("stylize", "astronaut.png", "coffee.png", *options, "-o", masks[0][:3] + "-out.png").code == 0
    assert difference("all-out.png", "rig-out.png") > 0.5


def test_a_style_can_be_named(impasto_: Impasto) -> None:
    assert impasto_("style", "coffee.png", "-o", "a.style", "--name", "espresso", "--style-size", 64).code == 0
    assert impasto.Style.load("a.style").name == "espresso"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coffee.png", "-o", "coffee.png"], "end its name in .style"),
        (["coffee.style", "-o", "coffee.style"], "is an input"),
        (["missing.png"], "no file and no shipped style missing.png"),
        (["coffee.png", "-o", "nowhere/coffee.style"], "there is no folder nowhere"),
    ],
)
def test_styles_that_cannot_be_saved(impasto_: Impasto, folder: Path, arguments: list[str], message: str) -> None:
    Path("coffee.style").write_bytes(b"precious")
    expect_error(impasto_, folder, ["style", *arguments], message)


def test_the_shipped_styles_are_listed_and_known(impasto_: Impasto) -> None:
    listed = json.loads(impasto_("styles", "--json").out)
    assert len(listed) >= 24
    assert {"name": "munch-scream", "title": "The Scream", "artist": "Edvard Munch", "year": "1893"} in listed
    table = impasto_("styles").out
    for painting in listed:
        line = next(line for line in table.splitlines() if line.split()[0] == painting["name"])
        assert painting["title"] in line
        assert painting["artist"] in line
    assert {painting["name"] for painting in listed} == set(impasto.load().model.gallery)


def test_the_styles_of_a_model_that_was_trained_on_some(impasto_: Impasto, folder: Path) -> None:
    """One of them may be called like a shipped painting, the others are not."""
    model = find_model()
    shutil.copytree(model.folder, "mine")
    replace(model.card, styles=["munch-scream", "brick"]).write(Path("mine"))
    scream = model.gallery["munch-scream"].tensor
    save_file({"munch-scream": scream, "brick": scream}, "mine/gallery.safetensors")
    assert impasto_("styles", "--model", "mine").lines == ["munch-scream", "brick"]


def test_a_sheet_of_chosen_styles(impasto_: Impasto) -> None:
    result = impasto_("sheet", "cat.jpg", "munch-scream", "coffee.png", "--max-size", 97, "--columns", 1)
    assert (result.code, result.out) == (0, "cat-sheet.jpg\n")
    page = Image.open("cat-sheet.jpg")
    assert page.height > 3 * 64
    assert page.width < 2 * 97
    assert impasto_("sheet", "cat.jpg", "coffee.png", "-o", "other.png", "--max-size", 50).out == "other.png\n"


def test_a_sheet_goes_without_the_styles_that_cannot_be_taken(impasto_: Impasto) -> None:
    result = impasto_("sheet", "cat.jpg", "munch-scream", "no-such-style", "--max-size", "64", "-o", "sheet.png")
    assert (result.code, result.lines) == (2, ["sheet.png"])
    assert result.err.startswith("impasto: no file and no shipped style no-such-style")
    impasto_("sheet", "cat.jpg", "munch-scream", "--max-size", "64", "-o", "alone.png")
    assert difference("sheet.png", "alone.png") == 0
    assert impasto_("sheet", "cat.jpg", "no-such-style", "-o", "none.png").code == 2
    assert not Path("none.png").exists()


def test_a_sheet_does_not_overwrite_its_photo(impasto_: Impasto, folder: Path) -> None:
    expect_error(impasto_, folder, ["sheet", "cat.jpg", "munch-scream", "-o", "cat.jpg"], "is an input")


# Looking around


def test_the_version(impasto_: Impasto) -> None:
    assert impasto_("--version").out == f"impasto {impasto.__version__}\n"


def test_help_names_every_command(impasto_: Impasto) -> None:
    for text in (impasto_("--help").out, impasto_().out):
        for command in COMMANDS:
            assert re.search(rf"\b{command}\b", text)


#: How options are spelled, and how their help begins, in every command that has them.
MEANINGS = {
    "--style -s": "A ",
    "--content": "A folder or tar shard of photos",
    "--out -o": "",
    "--model -m": "",
    "--size": "Exact size of the pictures in pixels: the side of a square",
    "--max-size": "Long side of the result in pixels; what is smaller stays as it is.",
    "--short-side": "Short side in pixels that pictures are scaled to first.",
    "--style-size": "Short side in pixels",
    "--stroke-size": "How large strokes are",
    "--keep-color": "Keep the colours there were",
    "--seed": "",
}
A_STYLE, STYLE_PICTURES = "A style: a picture, a .style file, or a name", "A folder or tar shard of style pictures"
TAKEN = dict.fromkeys(["stylize", "video", "dataset", "export"], A_STYLE)
TAKEN |= dict.fromkeys(["train", "quantize", "evaluate", "reproduce"], STYLE_PICTURES)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_means_the_same_in_every_command(command: str) -> None:
    options = [p for p in get_command(build([command])).commands[command].params if p.param_type_name == "option"]
    spelled = {" ".join(option.opts): option.help or "" for option in options}
    for spelling, help in spelled.items():
        for names, meaning in MEANINGS.items():
            if set(spelling.split()) & set(names.split()):
                assert spelling == names
                assert help.startswith(meaning)
    assert spelled.get("--style -s", "").startswith(TAKEN.get(command, ""))
    assert ("--style -s" in spelled) == (command in TAKEN)


@pytest.mark.parametrize(
    ("command", "old", "new"), [(name, *pair) for name, renamed in RENAMED.items() for pair in renamed.items()]
)
def test_old_names_of_options_go_on_working_and_say_the_new_ones(
    impasto_: Impasto, command: str, old: str, new: str
) -> None:
    helped = impasto_(command, "--help").out
    assert new in helped
    assert f"{old} " not in helped
    warning = f"impasto: {old} is now {new}; the old name will be gone in the next release\n"
    if command == "sheet":
        told = impasto_("sheet", "cat.jpg", "coffee.png", "-o", "out.png", old, "50")
        assert (told.err, told.code) == (warning, 0)
        assert Image.open("out.png").width < 150
    else:
        told = impasto_("dataset", "nowhere", "-o", "out", "-s", "coffee.png", f"{old}=50")
        assert told.err == f"{warning}impasto: there is no folder or file nowhere\n"


def test_a_command_alone_helps_and_flags_take_no_value(impasto_: Impasto) -> None:
    for arguments, code in ((["reproduce"], 2), (["stylize", "--help"], 0)):
        told = impasto_(*arguments)
        assert told.code == code
        assert f"Usage: impasto {arguments[0]}" in told.out
        assert "<bool>" not in told.out


def test_models_and_whether_they_run_here(impasto_: Impasto) -> None:
    default, *_ = json.loads(impasto_("models", "--json").out)
    assert default["name"] == "adain"
    assert default["usable"] is True
    assert default["styles"] >= 24
    assert 1e6 < default["bytes"] < 14e6  # the weights for PyTorch, and once more in graphs
    assert "adain" in impasto_("models").out


def test_info(impasto_: Impasto, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(impasto_("info", "--json").out)
    assert facts["impasto"] == impasto.__version__
    assert "onnxruntime" in facts["engines"]
    assert "CPUExecutionProvider" in facts["onnxruntime providers"]
    assert facts["cache"] == str(folder / ".cache")
    (folder / "vgg_normalised.pth").touch()
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(folder))
    assert str(folder / "vgg_normalised.pth") in impasto_("info").out


# Errors: one line on stderr, exit code 2, no file touched


def expect_error(impasto_: Impasto, folder: Path, arguments: list[object], message: str) -> None:
    before = contents(folder)
    result = impasto_(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("impasto: ")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert contents(folder) == before


@pytest.fixture
def bad_files(folder: Path) -> None:
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("This is no picture.\n" * 50)
    Path("cut.jpg").write_bytes(Path("cat.jpg").read_bytes()[:1500])
    Path("nothing").mkdir()
    Path("some").mkdir()
    CAT.save("some/cat.jpg")
    Image.new("L", CAT.size, 0).save("black.png")
    Image.new("L", (20, 20), 255).save("small.png")
    Image.new("L", (1190, 10)).save("strip.png")
    Image.new("L", CAT.size, 255).save("white.png")
    impasto.Style("foreign", np.ones(8, np.float32), "0123456789abcdef").save("foreign.style")
    Path("fake.style").write_text("no style")


def test_names_that_are_no_text(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    Path("cat.jpg").rename(name)
    for arguments in (["style", name], ["stylize", name, "munch-scream"]):
        run = process(*arguments, "--engine", "onnxruntime", env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
        assert (run.returncode, run.stderr) == (0, b"")
        assert Path(os.fsdecode(run.stdout.strip())).is_file()


def test_a_stdout_that_is_full_or_gone(folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        run = process("styles", stdout=full)
    assert (run.returncode, run.stderr) == (2, b"impasto: cannot write to stdout: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone:
        run = process("styles", stdout=gone)
    assert (run.returncode, run.stderr) == (1, b"")


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jpg", "munch-scream"], "cannot read missing.jpg: there is no such file"),
        (["nothing", "munch-scream"], "no pictures in the folder nothing"),
        (["empty.jpg", "munch-scream"], "cannot read empty.jpg: it is empty"),
        (["text.jpg", "munch-scream"], "cannot read text.jpg: it is not a picture"),
        (["cut.jpg", "munch-scream"], "cannot read cut.jpg: the file is damaged"),
        (["cat.jpg", "munch-scream", "--max-pixels", "1000"], "97 x 64 pixels are more than the limit of 1000"),
        (["cat.jpg"], "no style given: impasto stylize PHOTO STYLE"),
        (["cat.jpg", "munch-screem"], "did you mean munch-scream?"),
        (["cat.jpg", "great-wave"], "did you mean hokusai-great-wave?"),
        (["cat.jpg", "monet"], "did you mean monet-"),
        (["munch-scream", "cat.jpg"], "munch-scream is a style: give the photo first, impasto stylize PHOTO STYLE"),
        (["cat.jpg", "text.jpg"], "cannot read text.jpg"),
        (["cat.jpg", "foreign.style"], "take it again from its picture"),
        (["cat.jpg", "fake.style"], "fake.style is not a style file"),
        (["cat.jpg", "munch-scream", "--strength", "nan"], "strength must be a number from 0 to 1, not nan"),
        (["cat.jpg", "munch-scream", "--strength", "-0.5"], "strength must be a number from 0 to 1, not -0.5"),
        (["cat.jpg", "munch-scream", "--strength", "1.5"], "strength must be a number from 0 to 1, not 1.5"),
        (["cat.jpg", "munch-scream", "--strength", "strong"], "see impasto stylize --help"),
        (["cat.jpg", "munch-scream", "--stroke-size", "0"], "stroke size must be a number from 0.25 to 4, not 0"),
        (["cat.jpg", "munch-scream", "--stroke-size", "nan"], "stroke size must be a number from 0.25 to 4, not nan"),
        (["cat.jpg", "munch-scream", "--stroke-size", "1e9"], "stroke size must be a number from 0.25 to 4, not 1"),
        (["cat.jpg", "munch-scream", "--stroke-size", "large"], "see impasto stylize --help"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--weights", "0,0"], "the style weights sum to 0"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--weights", "nan,1"], "style weights must be numbers of 0 or more"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--weights", "-1,2"], "style weights must be numbers of 0 or more"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--weights", "1"], "1 weights for 2 styles"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--weights", "1;2"], "numbers with commas between them"),
        (["cat.jpg", "munch-scream", "--mask", "small.png"], "mask 1 is 20 x 20 but the photo is 97 x 64"),
        (["cat.jpg", "munch-scream", "--mask", "black.png"], "mask 1 selects nothing"),
        (["cat.jpg", "munch-scream", "--mask", "missing.png"], "mask 1: cannot read missing.png"),
        (["cat.jpg", "munch-scream", "--mask", "some"], "mask 1: cannot read some: it is a folder"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--mask", "white.png"], "1 masks for 2 styles"),
        (["cat.jpg", "munch-scream", "--keep-color", "hue"], "see impasto stylize --help"),
        (["cat.jpg", "munch-scream", "--style-size", "99"], "--style-size needs the picture of a style"),
        (["cat.jpg", "munch-scream", "--style-box", "0,0,9,9"], "munch-scream has no picture to take a part of"),
        (["cat.jpg", "coffee.png", "--style-box", "0,0,9"], "a box is left, top, right and bottom in pixels, like"),
        (["cat.jpg", "coffee.png", "--style-box", "0,0,91,9"], "does not lie in the style coffee, which is 90 x 60"),
        (["cat.jpg", "coffee.png", "--style-mask", "small.png"], "is 20 x 20 but the picture is 90 x 60"),
        (["cat.jpg", *["coffee.png"] * 3, *["--style-mask", "white.png"] * 2], "2 times --style-mask for 3 styles"),
        (["cat.jpg", "coffee.png", "--palette", "sepia"], "the palette is painting, photo or a picture: cannot read"),
        (["cat.jpg", "coffee.png", "--palette", "photo", "--keep-color", "match"], "leave one of them out"),
        (["cat.jpg", "coffee.png", "--keep", "dog"], "what is kept is person or face, or a share of it like face=0.7"),
        (["cat.jpg", "coffee.png", "--keep", "face=2"], "keep_share must be a number from 0 to 1, not 2.0"),
        (["cat.jpg", "coffee.png", "--style-size", "0"], "style size must be a whole number from 16 to 4096"),
        (["cat.jpg", "munch-scream", "--max-size", "0"], "the maximal size must be a whole number of pixels"),
        (["cat.jpg", "munch-scream", "--quality", "0"], "quality must be from 1 to 100, not 0"),
        (["cat.jpg", "munch-scream", "--engine", "steam"], "no engine steam: choose auto, onnxruntime"),
        (["cat.jpg", "munch-scream", "--threads", "0"], "'--threads': Input should be greater than or equal to 1"),
        (["cat.jpg", "x" * 300], "no file and no shipped style xxx"),
        (["cat.jpg", "munch-scream", "-o", "x" * 300 + ".jpg"], "File name too long"),
        (["cat.jpg", "strip.png"], "the style strip would be 60928 x 512 pixels large"),
        (["cat.jpg", "munch-scream", "klimt-kiss", "--weights", "1e308,1e308"], "style weights must be numbers"),
        (["cat.jpg", "munch-scream", "--model", "adane"], "no model adane: "),
        (["cat.jpg", "munch-scream", "-o", "nowhere/out.jpg"], "there is no folder nowhere; create it first"),
        (["cat.jpg", "munch-scream", "-o", "out.psd"], "end its name in one of jpg, jpeg, png"),
        (["cat.jpg", "munch-scream", "--format", "psd"], "unknown picture format 'psd'"),
        (["cat.jpg", "munch-scream", "-o", "-", "--json"], "cannot both go to stdout"),
        (["some", "cat.jpg", "-s", "munch-scream", "-o", "one.jpg"], "2 pictures cannot all be written to one.jpg"),
        (["some", "cat.jpg", "-s", "munch-scream", "-o", "-"], "2 pictures cannot all go to stdout"),
        (["-", "-"], "only one picture can come from stdin"),
        (["cat.jpg", "munch-scream", "--each", "--weights", "1"], "leave out --weights and --mask"),
        (["cat.jpg", "munch-scream", "--each", "--mask", "white.png"], "leave out --weights and --mask"),
        (["cat.jpg", "munch-scream", "--sepia"], "--sepia"),
        ([], "see impasto stylize --help"),
    ],
)
def test_bad_input_is_one_line(impasto_: Impasto, folder: Path, arguments: list[object], message: str) -> None:
    expect_error(impasto_, folder, ["stylize", *arguments], message)


@pytest.mark.parametrize("arguments", [["paint"], ["fetch", "vgg20"]])
def test_bad_commands_are_one_line(impasto_: Impasto, folder: Path, arguments: list[object]) -> None:
    expect_error(impasto_, folder, arguments, arguments[-1])  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 300), (15, 17)])
def test_odd_sizes_are_painted_to_the_pixel(impasto_: Impasto, size: tuple[int, int]) -> None:
    ASTRONAUT.resize(size).save("odd.png")
    assert impasto_("stylize", "odd.png", "munch-scream", "-o", "out.png").code == 0
    assert Image.open("out.png").size == size


@pytest.mark.parametrize("out", ["cat.jpg", "./cat.jpg", "link.jpg", "coffee.png", "white.png"])
def test_no_input_is_overwritten(impasto_: Impasto, folder: Path, out: str) -> None:
    Image.new("L", CAT.size, 255).save("white.png")
    Path("link.jpg").symlink_to("cat.jpg")
    arguments = ["stylize", "cat.jpg", "coffee.png", "--mask", "white.png", "-o", out]
    expect_error(impasto_, folder, arguments, "is an input and would be overwritten")


def test_a_pattern_that_hits_an_input_is_refused_before_any_work(impasto_: Impasto, folder: Path) -> None:
    arguments = ["stylize", "astronaut.png", "cat.jpg", "-s", "munch-scream", "-o", "{photo}.jpg"]
    expect_error(impasto_, folder, arguments, "cat.jpg is an input")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that even root cannot write in")
def test_no_permission_to_write(impasto_: Impasto, folder: Path) -> None:
    arguments = ["stylize", "cat.jpg", "munch-scream", "-o", "/sys/kernel/out.png"]
    expect_error(impasto_, folder, arguments, "no permission to write in /sys/kernel")


def test_disk_full(folder: Path) -> None:
    Path("out.png").write_bytes(b"the old file")
    before = contents(folder)
    limit = (4000, 4000)  # bytes; the system itself stops the write there
    run = process(
        "stylize", "cat.jpg", "munch-scream", "-o", "out.png", "--engine", "onnxruntime",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr == b"impasto: cannot write out.png: the disk is full; free some space or write somewhere else\n"
    assert contents(folder) == before


# Training and measuring


@pytest.fixture(scope="module")
def blank_vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a VGG-19 that knows nothing."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    from safetensors.torch import save_file

    from impasto.nets.vgg import Encoder

    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("weights")
    save_file(Encoder().state_dict(), weights / "vgg19_relu4_1.safetensors")
    return weights


@pytest.fixture
def vgg19(blank_vgg19: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the VGG-19 that does not ship."""
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(blank_vgg19))


@pytest.mark.usefixtures("vgg19")
def test_from_training_to_a_painted_photo(impasto_: Impasto, folder: Path) -> None:
    from impasto.train.checkpoint import read_checkpoint

    train = ["train", "compact", "--content", folder, "--style", folder, "--out", "run", "--device", "cpu"]
    train += ["--crop", 32, "--batch", 2, "--scale", 0.5, 0.75, "--seed", 7]
    result = impasto_(*train, "--steps", 1)
    assert result.code == 0, result.err
    state = read_checkpoint(Path("run/checkpoint.pt"))
    settings = state["stages"][0]["settings"]
    given = {"steps": 1, "crop": 32, "batch": 2, "scale": (0.5, 0.75), "seed": 7}
    assert state["kind"] == "compact"
    assert CompactSettings(**settings) == CompactSettings(**given)

    again = impasto_(*train, "--steps", 2)
    assert again.code == 2
    assert "pass --resume" in again.err
    assert impasto_(*train, "--steps", 2, "--resume").code == 0
    assert read_checkpoint(Path("run/checkpoint.pt"))["step"] == 2

    assert impasto_("export", "run/checkpoint.pt", "mine").out == "mine\n"
    made = json.loads(impasto_("stylize", "cat.jpg", "coffee.png", "--model", "mine", "--json").out)
    assert made["model"] == "mine"
    assert Image.open(made["out"]).size == CAT.size
    assert impasto_("style", "coffee.png", "--model", "mine").code == 0
    assert "take it again from its picture" in impasto_("stylize", "cat.jpg", "coffee.style").err

    pictures = ["--content", folder, "--style", folder, "--size", 32, "--limit", 1]
    assert impasto_("evaluate", "mine", *pictures, "--engine", "onnxruntime", "--record").code == 0
    quality = json.loads(Path("mine/card.json").read_text())["quality"]
    assert quality["size"] == 32
    assert quality["style_loss"] > 0


@pytest.mark.usefixtures("vgg19")
def test_the_papers_decoder_is_trained_by_the_papers_recipe(impasto_: Impasto, folder: Path) -> None:
    from impasto.train.checkpoint import read_checkpoint

    train = ["train", "adain", "--content", folder, "--style", folder, "--out", "run", "--device", "cpu"]
    assert impasto_(*train, "--steps", 1, "--crop", 32, "--batch", 2).code == 0
    state = read_checkpoint(Path("run/checkpoint.pt"))
    assert state["kind"] == "adain"
    assert AdaINSettings(**state["stages"][0]["settings"]) == AdaINSettings(steps=1, crop=32, batch=2)
    assert Settings().lr == 1e-4
    assert Settings().schedule == "paper"


@pytest.mark.usefixtures("vgg19")
def test_training_on_nothing_is_one_line(impasto_: Impasto, folder: Path) -> None:
    arguments = ["train", "compact", "--content", "missing", "--style", folder, "--out", "run"]
    result = impasto_(*arguments)
    assert result.code == 2
    assert result.err == "impasto: there is no folder or file missing\n"


def test_exporting_nothing_is_one_line(impasto_: Impasto, folder: Path) -> None:
    pytest.importorskip("torch")
    expect_error(impasto_, folder, ["export", "missing.pt", "model"], "missing.pt")


@pytest.mark.usefixtures("vgg19")
def test_evaluating(impasto_: Impasto, folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "paintings").mkdir()
    CAT.save("photos/cat.png")
    ASTRONAUT.save("photos/astronaut.png")
    COFFEE.save("paintings/coffee.png")
    arguments = ["evaluate", "adain", "--content", "photos", "--style", "paintings", "--size", 64, "--limit", 1]
    result = impasto_(*arguments, "--json", "--html", "page.html")
    measured = json.loads(result.out)
    assert measured["size"] == 64
    assert len(measured["photos"]) == 1
    unchanged, adain = measured["models"]
    assert unchanged["content"] == 0 < adain["content"]
    assert "<html" in Path("page.html").read_text()
    table = impasto_(*arguments).out
    assert "adain" in table


def test_a_bench_of_an_unknown_engine_is_one_line(impasto_: Impasto, folder: Path) -> None:
    expect_error(impasto_, folder, ["bench", "--engine", "steam"], "no engine steam")


def test_a_folder_is_made_and_what_is_replaced_is_told(impasto_: Impasto, folder: Path) -> None:
    first = impasto_("stylize", "cat.jpg", "munch-scream", "-o", "new/painted/")
    assert (first.code, first.err) == (0, "")
    assert first.lines == ["new/painted/cat-munch-scream.jpg"]
    impasto_("stylize", "cat.jpg", "klimt-kiss", "-o", "one.jpg")
    again = impasto_("stylize", "cat.jpg", "munch-scream", "-o", "one.jpg")
    assert (again.code, again.err) == (0, "impasto: replaced one.jpg\n")
    assert difference("one.jpg", first.lines[0]) == 0
