"""The documentation: its links lead somewhere, and what it tells people to type works.

Of a page's fenced blocks those in Python and those of a shell (no language) are tried in order, in one folder of small
files. A comment before a block, which no reader sees, says what it needs beyond a bare installation
(`<!-- needs: video, vgg19 -->`), or why it is not run (`<!-- not run: a camera -->`). Then it is only parsed, and so it
is where something that it needs is missing.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from skimage import data

from impasto.cli import build, main
from impasto.errors import ImpastoError
from impasto.vgg19 import find_weights

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "src/**/*.md") for page in ROOT.glob(pattern)
)
TRIED = [ROOT / "README.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def links(page: Path) -> tuple[str, ...]:
    """Where a page's links and pictures lead, as they are written; code is passed over. A picture leads nowhere."""
    if page.suffix != ".md":
        return ()
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.S | re.M)
    return tuple(re.findall(r"(?<=\]\()[^()\s]+(?=\))", text))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.is_file(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link} leads to no heading"


def test_everything_in_docs_can_be_reached_from_the_index() -> None:
    found, waiting = set[Path](), [ROOT / "docs/index.md"]
    while waiting:
        page = waiting.pop()
        if page not in found:
            found.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
    files = [file for file in (ROOT / "docs").rglob("*") if file.is_file()]
    assert [name_of(file) for file in files if file not in found] == []


@dataclass(frozen=True)
class Block:
    """A fenced block: the line it begins on, its language, its text, and the comment before it."""

    line: int
    language: str
    text: str
    note: str

    @property
    def runs(self) -> bool:
        return not self.note or (self.note.startswith("needs: ") and all(map(is_here, self.note[7:].split(", "))))

    def commands(self) -> Iterator[list[str]]:
        for line in self.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in re.finditer(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", text, flags=re.S | re.M):
        note, language, code = found.groups(default="")
        yield Block(text.count("\n", 0, found.start()) + 1, language, code, note)


@cache
def is_here(need: str) -> bool:
    """Whether an extra is installed; of vgg19 whether the weights are there, and of web what `make web` makes."""
    if need == "web":
        return (ROOT / "src/impasto/app/web/ort").is_dir()
    try:
        if need == "vgg19":
            find_weights()
            return True
        for requirement in EXTRAS[need]:
            name, extras = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", requirement).groups()
            if name == "impasto" and not all(map(is_here, extras.split(","))):
                return False
            distribution(name)
    except (ImpastoError, PackageNotFoundError):
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: what the pages call photo.jpg, painting.jpg and so on, a hundred pixels wide."""
    photo = Image.fromarray(data.astronaut()).resize((96, 64))
    painting = Image.fromarray(data.chelsea()).resize((97, 64))
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg", "scan.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo.save(tmp_path / name)
    for name in ("painting.jpg", "paintings/a.jpg", "paintings/b.jpg", "sky.jpg", "ground.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        painting.save(tmp_path / name)
    for name, rows in {"sky.png": (0, 32), "ground.png": (32, 64)}.items():
        mask = Image.new("L", photo.size)
        mask.paste(255, (0, rows[0], 96, rows[1]))
        mask.save(tmp_path / name)
    if is_here("video"):
        from clips import make_clip, pan

        for name in ("clip.mp4", "sky.mp4", "ground.mp4"):
            make_clip(tmp_path / name, pan(6))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", TRIED, ids=name_of)
def test_what_people_type_works(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs a page's blocks in order, each with what those before it have made."""
    variables: dict[str, Any] = {}
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        assert re.match(r"$|needs: |not run: ", block.note), f"{where}: a comment that no test understands"
        if block.language == "python":
            code = compile(block.text, where, "exec")
            if block.runs:
                exec(code, variables)
        elif not block.language:
            for words in block.commands():
                try_command(words, block, where, capsys)


def try_command(words: list[str], block: Block, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    if words[:2] == ["pip", "install"]:
        named = ",".join(re.findall(r"\[([\w,]+)\]", " ".join(words)))
        assert set(filter(None, named.split(","))) <= EXTRAS.keys(), f"{where}: no such extra: {named}"
    elif words[0] == "impasto" and block.runs:
        with pytest.raises(SystemExit) as exit:
            main(words[1:])
        assert not exit.value.code, f"{where}: {shlex.join(words)}: {capsys.readouterr().err}"
    elif words[0] == "impasto" or words[:2] == ["accelerate", "launch"]:
        command, *arguments = words[words.index("impasto") + 1 :]
        typer.main.get_command(build([command])).commands[command].make_context(command, arguments)
    else:
        assert block.note.startswith("not run: "), f"{where}: who tries {words[0]}?"
