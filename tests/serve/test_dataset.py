"""Whole data sets: what is drawn, what is written, and that no fault loses, doubles or changes a painting."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image
from skimage import data

import impasto
from impasto.cli import main
from impasto.dataset import Recipe, crew, stylize_dataset
from impasto.dataset.manifest import Manifest, ManifestRow
from impasto.dataset.paint import SourcePainter
from impasto.errors import ImpastoError, UnreadableError
from impasto.place import Place

STYLES = ["hokusai-great-wave", "munch-scream", "klimt-kiss"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two cores, shared by the tests with workers, so that it starts once."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """120 pictures in two classes, cut out of a few photos, JPEG and PNG, every hundredth damaged."""
    root = tmp_path_factory.mktemp("source")
    photos = [data.astronaut(), data.coffee(), data.chelsea()]
    place = random.Random(0)
    for number in range(120):
        photo = photos[number % 3]
        top, left = (place.randrange(side - 64) for side in photo.shape[:2])
        path = root / ("cat" if number % 2 else "dog") / f"{number:03}.{'png' if number % 10 == 3 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(photo[top : top + 56, left : left + 64]).save(path)
        if number % 100 == 99:
            path.write_bytes(path.read_bytes()[:700])
    return root


def run(source: Path, out: Path, recipe: Recipe | None = None, **options):
    return stylize_dataset(str(source), STYLES, str(out), recipe, engine="onnxruntime", **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "undisturbed"
    run(source, out, Recipe(strength=(0.5, 1.0)), workers=1)
    return out


def again(source: Path, out: Path, **options):
    return run(source, out, Recipe(strength=(0.5, 1.0)), **options)


def test_every_picture_is_there_as_its_row_says(source, undisturbed):
    rows = pq.read_table(undisturbed / "manifest.parquet").to_pylist()
    names = {str(path.relative_to(source)) for path in source.rglob("*.*g")}
    assert [row["input"] for row in rows] == sorted(names)
    assert {row["input"] for row in rows if row["error"]} == {"cat/099.jpg"}
    model = impasto.load(engine="onnxruntime", threads=1)
    for row in rows:
        if row["error"]:
            assert "damaged" in row["error"]
            assert not (undisturbed / row["output"]).exists()
            continue
        painting = (undisturbed / row["output"]).read_bytes()
        assert hashlib.sha256(painting).hexdigest() == row["sha256"]
        assert Image.open(io.BytesIO(painting)).size == (64, 56)
        assert row["model"] == model.fingerprint
        assert 0.5 <= row["strength"] <= 1
    assert {row["style"] for row in rows} == set(STYLES)
    assert len(contents(undisturbed)) == 120  # 119 paintings and the manifest: nothing else is left behind
    row = next(row for row in rows if row["output"].endswith(".png"))
    expected = model.stylize(source / row["input"], row["style"], strength=row["strength"])
    assert np.array_equal(np.asarray(Image.open(undisturbed / row["output"])), np.asarray(expected))


def test_workers_and_a_rerun_give_the_same_bytes(cluster, source, undisturbed, tmp_path):
    again(source, tmp_path / "one", workers=2)
    assert contents(tmp_path / "one") == contents(undisturbed)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*.*g")}
    (tmp_path / "one" / "cat" / "001.jpg").unlink()
    (tmp_path / "one" / "dog" / "000.jpg").write_bytes(b"not what the manifest says")
    (tmp_path / "one" / "dog" / ".impasto-0123456789abcdef.tmp").write_bytes(b"half of what a killed worker wrote")
    again(source, tmp_path / "one")
    assert contents(tmp_path / "one") == contents(undisturbed)
    changed = {path.name for path, made in before.items() if path.stat().st_mtime_ns != made}
    assert changed == {"001.jpg", "000.jpg"}


@pytest.mark.slow
def test_workers_that_take_over_give_the_same_bytes(cluster, source, undisturbed, tmp_path, monkeypatch):
    for name in ("WORTH", "_TRIAL"):
        monkeypatch.setattr(crew, name, 0.0)
    assert len(again(source, tmp_path / "out").rows) == 120
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_small_set_is_painted_and_checked_without_a_word_and_without_ray(source, tmp_path):
    code = """if True:
        import sys
        from impasto.cli import main
        try:
            main(sys.argv[1:])
        finally:
            print({"ray", "torch"} & sys.modules.keys())
    """
    small = tmp_path / "small"
    small.mkdir()
    for number in range(2):
        shutil.copy(source / "dog" / f"00{2 * number}.jpg", small)
    arguments = ["dataset", small, "-s", STYLES[0], "-o", tmp_path / "out", "--engine", "onnxruntime"]
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
        assert (ended.stdout, ended.stderr) == (f"{tmp_path / 'out'}: 2 paintings\nset()\n", "")


@pytest.mark.slow
def test_workers_killed_at_random_moments(cluster, source, undisturbed, tmp_path):
    out, chance = tmp_path / "out", random.Random(1)
    killed = []

    def kill() -> None:
        for due in sorted(chance.sample(range(5, 100), 5)):
            while len(list(out.rglob("*.*g"))) < due and not done.is_set():
                time.sleep(0.01)
            workers = [p for p in psutil.process_iter(["cmdline"]) if "MapWorker" in " ".join(p.info["cmdline"] or [])]
            if workers and not done.is_set():
                victim = chance.choice(workers)
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim.pid)

    done = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        again(source, out, workers=2)
    finally:
        done.set()
        killer.join()
    assert len(killed) >= 3
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
def test_the_driver_killed_and_started_again(source, undisturbed, tmp_path):
    out = tmp_path / "out"
    command = ["impasto", "dataset", str(source), "--out", str(out), "--strength", "0.5..1", "--engine", "onnxruntime"]
    command += ["--workers", "2", *(word for style in STYLES for word in ("--style", style))]
    driver = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True)
    while len(list(out.rglob("*.*g"))) < 20:
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    _, said = driver.communicate()
    assert not [line for line in said.splitlines() if not line.startswith(("Taking styles:", "Painting:"))]
    assert not (out / "manifest.parquet").exists()
    again(source, out)
    assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize("workers", [1, 2])
def test_fail_fast(cluster, source, tmp_path, workers):
    with pytest.raises(ImpastoError, match=r"^cat/099.jpg: .*damaged"):
        again(source, tmp_path / "out", fail_fast=True, workers=workers)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems can be mounted by root alone")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk(cluster, source, undisturbed, small_disk):
    with pytest.raises(ImpastoError, match=r"the disk is full.*; what is done stays, run it again to go on$"):
        again(source, small_disk / "out", workers=2)
    assert not list(small_disk.rglob(".impasto-*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    again(source, small_disk / "out")
    assert contents(small_disk / "out") == contents(undisturbed)


def test_a_read_only_output(source, small_disk, capsys):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(SystemExit) as exit:
        main(["dataset", str(source), "--style", STYLES[0], "--out", str(small_disk / "out")])
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("impasto: cannot write")
    assert error.count("\n") == 1


def test_shards_come_out_as_shards(source, tmp_path):
    shards, out = tmp_path / "shards", tmp_path / "out"
    shards.mkdir()
    files = [*sorted((source / "cat").iterdir())[:6], source / "cat" / "099.jpg"]
    with tarfile.open(shards / "train-000.tar", "w") as tar:
        for file in files:
            tar.add(file, f"{file.stem}{file.suffix}")
            label = tarfile.TarInfo(f"{file.stem}.cls")
            label.size = 1
            tar.addfile(label, io.BytesIO(b"7"))
    result = run(shards, out, Recipe(per_image=2, short_side=32, crop=32))
    assert len(result.rows) == 14
    assert {row.input for row in result.errors} == {"train-000.tar/099.jpg"}
    with tarfile.open(out / "train-000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    keys = [f"{file.stem}-{number}" for file in files[:-1] for number in (1, 2)]
    assert sorted(members) == sorted(
        [f"{key}{file.suffix}" for file in files[:-1] for key in (f"{file.stem}-1", f"{file.stem}-2")]
        + [f"{key}.cls" for key in keys]
    )
    for name, member in members.items():
        if name.endswith(".cls"):
            assert member == b"7"
        else:
            assert Image.open(io.BytesIO(member)).size == (32, 32)
    for file in files[:-1]:  # two styles for each picture, and not the same
        assert members[f"{file.stem}-1{file.suffix}"] != members[f"{file.stem}-2{file.suffix}"]
    before = (out / "train-000.tar").stat().st_mtime_ns
    run(shards, out, Recipe(per_image=2, short_side=32, crop=32))
    assert (out / "train-000.tar").stat().st_mtime_ns == before
    run(shards, out, Recipe(per_image=2, short_side=32, crop=32, seed=1), overwrite=True)
    with tarfile.open(out / "train-000.tar") as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} != members


def test_paths_from_here_hold_wherever_the_workers_are(cluster, source, tmp_path, monkeypatch):
    """Workers have the working folder of the cluster, not that of the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes((source / "cat" / "001.jpg").read_bytes())
    (tmp_path / "styles").mkdir()
    Image.fromarray(data.coffee()).save(tmp_path / "styles" / "coffee.png")
    impasto.load(engine="onnxruntime", threads=1).style("klimt-kiss").save("kiss.style")
    model = Path(impasto.__file__).parent / "weights" / "adain"
    (tmp_path / "mine").symlink_to(model, target_is_directory=True)
    result = stylize_dataset("in", ["styles", "kiss.style"], "out", engine="onnxruntime", model="mine", workers=2)
    assert [row.error for row in result.rows] == [""]
    assert (tmp_path / "out" / "a.jpg").exists()


def test_a_single_shard_is_a_source(source, tmp_path):
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        tar.add(source / "cat" / "001.jpg", "001.jpg")
    result = run(tmp_path / "one.tar", tmp_path / "out", workers=1)
    assert [row.input for row in result.rows] == ["one.tar/001.jpg"]
    with tarfile.open(tmp_path / "out" / "one.tar") as tar:
        assert tar.getnames() == ["001.jpg"]
    with pytest.raises(ImpastoError, match="lie in one another"):
        run(tmp_path / "one.tar", tmp_path, workers=1)


def test_a_finished_set_of_other_styles_is_replaced_only_if_told_to(source, tmp_path, capsys):
    """Of one photo more it is the same set; what was painted otherwise is not, and its names go, too."""
    photos, out = tmp_path / "in", tmp_path / "out"
    photos.mkdir()
    for number in range(2):
        shutil.copy(source / "dog" / f"00{2 * number}.jpg", photos)
        first = run(photos, out)
    assert len(first.rows) == 2
    before = contents(out)
    command = ["dataset", str(photos), "--out", str(out), "--engine", "onnxruntime"]
    two = ["--style", STYLES[0], "--style", STYLES[1]]
    three = [*two, "--style", STYLES[2]]
    for options, how in [
        (["--style", "monet-parasol"], f"in {', '.join(sorted({row.style for row in first.rows}))}"),
        ([*three, "--seed", "5"], "that were painted otherwise"),
    ]:
        with pytest.raises(SystemExit) as exit:
            main([*command, *options])
        assert exit.value.code == 2
        said = f"impasto: {out} holds a finished set of 2 paintings {how}: give another --out, or --overwrite to"
        assert capsys.readouterr().err == f"{said} replace it\n"
        assert contents(out) == before
    with pytest.raises(SystemExit) as exit:
        main([*command, *two, "--per-image", "2", "--overwrite"])
    assert not exit.value.code
    assert {*contents(out)} == {"000-1.jpg", "000-2.jpg", "002-1.jpg", "002-2.jpg", "manifest.parquet"}


@pytest.fixture
def painter(tmp_path) -> SourcePainter:
    """Paints what is in `in` into `out`, without a cluster."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    model = impasto.load(engine="onnxruntime", threads=1)
    places = (Place(str(tmp_path / name)) for name in ("in", "out"))
    return SourcePainter(lambda: model, *places, [model.gallery[STYLES[0]]], Recipe())


ENDINGS = frozenset(["jpg", "tar"])


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(path.parent)  # the path of a socket may not be long
        bound.bind(path.name)


def cut_tar(path: Path) -> None:
    shard(path, {"1.txt": bytes(1000), "2.txt": bytes(1000)})
    path.write_bytes(path.read_bytes()[:2000])


def spoil_tar(path: Path) -> None:
    """Has the second header of a shard overwritten, where tarfile alone would see the end."""
    shard(path, {"1.txt": bytes(1000), "2.txt": bytes(1000)})
    path.write_bytes(path.read_bytes()[:1536] + b"x" * 512 + path.read_bytes()[2048:])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "dangling.jpg": (lambda path: path.symlink_to("nowhere"), "there is no such file"),
    "dangling_class": (lambda path: path.symlink_to("nowhere"), "there is no such file"),
    "itself.jpg": (lambda path: path.symlink_to(path), "symbolic links"),
    "folder.jpg": (Path.mkdir, "Is a directory"),
    "fifo.jpg": (os.mkfifo, "it is a pipe, a socket or a device"),
    "socket.jpg": (bind_socket, "it is a pipe, a socket or a device"),
    "device.jpg": (lambda path: path.symlink_to("/dev/zero"), "it is a pipe, a socket or a device"),
    "fifo.tar": (os.mkfifo, "it is a pipe, a socket or a device"),
    "input_output.jpg": (lambda path: path.symlink_to("/proc/self/mem"), "cannot read the file"),
    "text.tar": (lambda path: path.write_bytes(b"not a tar file"), "the shard cannot be read"),
    "cut.tar": (cut_tar, "the shard cannot be read"),
    "spoilt.tar": (spoil_tar, "no member where one should be, after 1 of them"),
    "packed.tar.gz": (lambda path: path.write_bytes(gzip.compress(bytes(10240))), "unpack a compressed one first"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_and_passed_over(painter, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, why = BROKEN[name]
    make(tmp_path / "in" / name)
    assert painter.source.find(ENDINGS) == [name]
    [row] = painter.paint(name, {})
    assert (row.input, row.output, row.sha256) == (name, name, "")
    assert why in row.error
    assert not list((tmp_path / "out").iterdir())


def test_what_is_gone_since_it_was_listed_or_may_not_be_read(painter, tmp_path):
    [row] = painter.paint("gone.jpg", {})
    assert row.error == "cannot read the file: there is no such file"
    with tempfile.TemporaryDirectory() as shared:  # pytest's own folders are for their owner alone
        Path(shared).chmod(0o755)
        (Path(shared) / "closed").mkdir(mode=0)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:  # as somebody for whom permissions hold
            if os.getuid() == 0:
                os.setuid(65534)
            source = Place(shared)
            try:
                os.write(writer, f"{source.find(ENDINGS)} ".encode())
                source.read("closed")
            except ImpastoError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with open(reader) as said:
            assert said.read() == "['closed'] cannot read the file: Permission denied"


def test_links_to_folders_are_followed_but_never_in_a_circle(tmp_path):
    for name in ("in/a", "in/b", "in/photo.jpg", "elsewhere/class"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").touch()
    links = {"c": "../elsewhere/class", "d": "../elsewhere/class", "a/b": "../b", "b/a": "../a", "up": "..", "a/o": "."}
    for link, target in links.items():
        (tmp_path / "in" / link).symlink_to(target)
    names = ["a/1.jpg", "a/b/1.jpg", "b/1.jpg", "b/a/1.jpg", "c/1.jpg", "d/1.jpg", "photo.jpg/1.jpg"]
    for url in (str(tmp_path / "in"), f"file://{tmp_path}/in"):
        assert Place(url).find(ENDINGS) == names


NO_TEXT = os.fsdecode(b"caf\xe9")


@pytest.mark.slow
def test_names_that_are_no_text_and_others_that_look_like_them(cluster, source, tmp_path, capsys):
    """In a folder, in a shard and of the style. One cannot be read."""
    picture = (source / "cat" / "001.jpg").read_bytes()
    names = [f"{NO_TEXT}/{NO_TEXT}.jpg", "caf\\xe9.jpg", "new\nline.jpg"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "in" / name).write_bytes(picture)
    shard(tmp_path / "in" / "s.tar", {f"{NO_TEXT}.jpg": picture, f"{NO_TEXT}.txt": b"it"})
    (tmp_path / "in" / f"\x1b[31m{NO_TEXT}.jpg").symlink_to("nowhere")
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / f"{NO_TEXT}.jpg").write_bytes(picture)
    places = [str(tmp_path / name) for name in ("in", "styles", "out")]
    with pytest.raises(SystemExit) as exit:
        main(["dataset", places[0], "--style", places[1], "--out", places[2], "--workers", "2"])
    assert exit.value.code == 2
    said = capsys.readouterr()
    assert said.out == f"{places[2]}: 4 paintings, 1 passed over\n"
    assert said.err.endswith(r"passed over \x1b[31mcaf\udce9.jpg: cannot read the file: there is no such file" "\n")
    assert {*contents(tmp_path / "out")} == {*names, "s.tar", "manifest.parquet"}
    with tarfile.open(tmp_path / "out" / "s.tar") as tar:
        assert tar.getnames() == [f"{NO_TEXT}.jpg", f"{NO_TEXT}.txt"]
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet")["output"].to_pylist()
    escaped = [r"caf\xe9/caf\xe9.jpg", r"caf\\xe9.jpg", "new\nline.jpg", r"s.tar/caf\xe9.jpg"]
    assert set(rows) == {*escaped, "\x1b[31m" r"caf\xe9.jpg"}
    known = Manifest(Place(places[2])).known  # as the next run reads it
    assert {row.output for row in known.values() if row.sha256} == {*names, f"s.tar/{NO_TEXT}.jpg"}
    assert {row.style for row in known.values()} == {f"{NO_TEXT}.jpg"}


def test_a_name_that_is_too_long_for_a_painting(painter, source, tmp_path):
    painter = replace(painter, recipe=Recipe(per_image=2))
    name = "x" * 251 + ".jpg"
    (tmp_path / "in" / name).write_bytes((source / "cat" / "001.jpg").read_bytes())
    rows = painter.paint(name, {})
    assert [row.input for row in rows] == [name, name]
    assert all("File name too long" in row.error for row in rows)
    assert not list((tmp_path / "out").iterdir())


def test_a_painting_that_its_format_cannot_hold_is_named_and_passed_over(painter, tmp_path):
    Image.fromarray(np.resize(data.coffee(), (16, 17_000, 3))).save(tmp_path / "wide.jpg")
    (tmp_path / "wide.jpg").rename(tmp_path / "in" / "wide.webp")
    [row] = painter.paint("wide.webp", {})
    assert row.input == "wide.webp"
    assert "cannot write" in row.error
    assert not row.sha256
    assert not list((tmp_path / "out").iterdir())


def test_what_is_not_seen_decides_nothing(painter, tmp_path):
    photo = data.coffee()[:60, :90].copy()
    alpha = np.zeros((60, 90), np.uint8)
    alpha[10:40, 20:60] = 255
    for name, ground in {"red": (255, 0, 0), "green": (0, 255, 0)}.items():
        photo[alpha == 0] = ground
        Image.fromarray(np.dstack([photo, alpha])).save(tmp_path / "in" / f"{name}.png")
    scaled = replace(painter, recipe=Recipe(short_side=48, crop=40))
    [red], [green] = (scaled.paint(f"{name}.png", {}) for name in ("red", "green"))
    assert (red.error, red.strength) == ("", green.strength)
    assert red.sha256 == green.sha256


def shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_what_is_not_a_picture_is_taken_over_when_it_changes(painter, source, tmp_path):
    picture = (source / "cat" / "001.jpg").read_bytes()
    known: dict[str, ManifestRow] = {}
    for caption in (b"a cat", b"a dog"):
        shard(tmp_path / "in" / "a.tar", {"1.jpg": picture, "1.txt": caption})
        known = {row.output: row for row in painter.paint("a.tar", known)}
        with tarfile.open(tmp_path / "out" / "a.tar") as tar:
            assert tar.extractfile("1.txt").read() == caption
    before = (tmp_path / "out" / "a.tar").stat().st_mtime_ns
    painter.paint("a.tar", known)
    assert (tmp_path / "out" / "a.tar").stat().st_mtime_ns == before


def test_names_in_shards_may_be_long(painter, source, tmp_path):
    name = f"{'x' * 130}/{'y' * 130}.jpg"
    shard(tmp_path / "in" / "a.tar", {name: (source / "cat" / "001.jpg").read_bytes()})
    assert [row.error for row in painter.paint("a.tar", {})] == [""]
    with tarfile.open(tmp_path / "out" / "a.tar") as tar:
        assert tar.getnames() == [name]


def test_a_single_file_stays_one(source):
    place = Place(str(source / "cat" / "001.jpg"))
    for _ in range(2):
        assert [entry.name for entry in place.pictures()] == ["001.jpg"]
        assert place.read("001.jpg") == (source / "cat" / "001.jpg").read_bytes()
    assert place.exists()
    assert place.absolute_url.endswith("001.jpg")


def test_members_of_a_shard_that_are_no_plain_files(painter, source, tmp_path):
    """Links are what they lead to, whatever is nothing is named, and names are taken over as they are."""
    picture = (source / "cat" / "001.jpg").read_bytes()
    with tarfile.open(tmp_path / "in" / "a.tar", "w") as tar:
        for name, kind, content in [
            ("./1.jpg", tarfile.REGTYPE, picture),
            ("d/hard.jpg", tarfile.LNKTYPE, "./1.jpg"),
            ("d/soft.jpg", tarfile.SYMTYPE, "../1.jpg"),
            ("d/soft.cls", tarfile.SYMTYPE, "../1.cls"),
            ("1.cls", tarfile.REGTYPE, b"7"),
            ("/abs.jpg", tarfile.REGTYPE, picture),
            ("../up.jpg", tarfile.REGTYPE, picture),
            ("._1.jpg", tarfile.REGTYPE, b"what a Mac leaves"),
            ("lost.jpg", tarfile.SYMTYPE, "nowhere"),
            ("round.jpg", tarfile.SYMTYPE, "round.jpg"),
            ("device.jpg", tarfile.CHRTYPE, ""),
            ("folder.jpg", tarfile.DIRTYPE, ""),
        ]:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.size, entry.linkname = (len(content), "") if isinstance(content, bytes) else (0, content)
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    rows = painter.paint("a.tar", {})
    broken = {row.input for row in rows if row.error}
    assert broken == {"a.tar/lost.jpg", "a.tar/round.jpg", "a.tar/device.jpg"}
    with tarfile.open(tmp_path / "out" / "a.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    photos = {"./1.jpg", "d/hard.jpg", "d/soft.jpg", "/abs.jpg", "../up.jpg"}
    assert {row.output.partition("/")[2] for row in rows if row.sha256} == photos
    assert members.keys() == photos | {"1.cls", "d/soft.cls", "._1.jpg"}
    assert (members["d/soft.cls"], members["._1.jpg"]) == (b"7", b"what a Mac leaves")
    assert all(Image.open(io.BytesIO(members[name])).size == (64, 56) for name in photos)


@pytest.mark.parametrize(
    ("pattern", "painted"),
    [
        (None, {"1.jpg", "d/2.png", "3.left.jpg", "3.right.jpg", "4.JPG"}),
        ("*.jpg", {"1.jpg", "3.left.jpg", "3.right.jpg"}),
        ("*.seg.png", {"1.seg.png"}),
        ("d/*", {"d/2.png"}),
    ],
)
def test_which_members_are_photos_and_that_all_others_go_along(painter, source, tmp_path, pattern, painted):
    stream = io.BytesIO()
    Image.open(source / "cat" / "001.jpg").save(stream, "PNG")
    png, jpg = stream.getvalue(), (source / "cat" / "001.jpg").read_bytes()
    given = {"1.jpg": jpg, "1.seg.png": png, "1.png": png, "d/2.png": png, "d/2.json": b"{}", "3.left.jpg": jpg,
             "3.right.jpg": jpg, "4.JPG": jpg, "4.depth.tiff": b"as it is"}  # fmt: skip
    shard(tmp_path / "in" / "a.tar", given)
    painter = replace(painter, recipe=Recipe(members=pattern))
    rows = painter.paint("a.tar", {})
    assert {row.input.partition("/")[2] for row in rows} == painted
    assert not any(row.error for row in rows)
    with tarfile.open(tmp_path / "out" / "a.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert list(members) == list(given)
    assert {name for name in given if members[name] != given[name]} == painted
    assert {row.recipe for row in rows}.isdisjoint({Recipe(members="other").digest(painter.styles[0].digest())})
    if pattern is None:
        assert {entry.name for entry in painter.source.pictures()} == painted


def test_a_sample_with_a_broken_photo_is_left_out_whole_and_its_rows_say_so(painter, source, tmp_path):
    picture = (source / "cat" / "001.jpg").read_bytes()
    shard(tmp_path / "in" / "a.tar", {"1.left.jpg": picture, "1.right.jpg": b"broken", "1.txt": b"", "2.jpg": picture})
    rows = {row.input: row for row in painter.paint("a.tar", {})}
    assert {name for name, row in rows.items() if not row.error} == {"a.tar/2.jpg"}
    assert rows["a.tar/1.left.jpg"].error == "a.tar/1.right.jpg, of the same sample, could not be painted"
    assert {name for name, row in rows.items() if row.sha256} == {"a.tar/2.jpg"}
    with tarfile.open(tmp_path / "out" / "a.tar") as tar:
        assert tar.getnames() == ["2.jpg"]


def test_places_far_away(source, tmp_path):
    """Training reads what only this process sees; Ray's workers cannot."""
    far = fsspec.filesystem("memory")
    far.pipe_file("/photos/a.jpg", (source / "cat" / "001.jpg").read_bytes())
    assert [entry.name for entry in Place("memory://photos").pictures()] == ["a.jpg"]
    far.pipe_file("/photos/b.tar", b"not a tar file")
    with pytest.raises(ImpastoError, match=r"cannot read b\.tar in memory://photos: not an uncompressed tar file"):
        Place("memory://photos").pictures()
    with pytest.raises(UnreadableError, match="cannot read the file: there is no such file"):
        Place("memory://photos").read("c.jpg")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        packed.writestr("class/a.jpg", (source / "cat" / "001.jpg").read_bytes())
    [entry] = Place(f"zip://::{tmp_path}/photos.zip").pictures()
    assert (entry.name, entry.read()) == ("class/a.jpg", (source / "cat" / "001.jpg").read_bytes())
    with pytest.raises(ImpastoError, match=r"^memory://photos is in the memory of this process"):
        stylize_dataset("memory://photos", STYLES, "memory://out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "file"], "cannot write"),
        (["--out", "file/out"], "cannot write"),
        (["--out", "out", "--workers", "-1"], "workers must be 1 or more, not -1"),
        (["--out", "out", "--workers", "0"], "workers must be 1 or more, not 0"),
        (["--out", "out", "--per-image", "2"], "there is only 1 style: give more of them"),
    ],
)
def test_wrong_options_are_answered_in_one_line(source, tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit:
        main(["dataset", str(source), "--style", STYLES[0], *options])
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]


def test_draws_depend_on_the_name_and_the_seed_alone():
    recipe = Recipe(per_image=3, strength=(0.2, 0.8))
    drawn = {name: recipe.draw(name, 10) for name in map(str, range(1000))}
    assert drawn == {name: Recipe(per_image=3, strength=(0.2, 0.8)).draw(name, 10) for name in reversed(drawn)}
    assert all(len({style for style, _ in draw}) == 3 for draw in drawn.values())
    counts = np.bincount([style for draw in drawn.values() for style, _ in draw], minlength=10)
    assert counts.min() > 240  # of 300 expected
    strengths = [strength for draw in drawn.values() for _, strength in draw]
    assert min(strengths) < 0.21
    assert max(strengths) > 0.79
    assert np.mean(strengths) == pytest.approx(0.5, abs=0.02)
    assert Recipe(per_image=3, seed=1).draw("0", 10) != recipe.draw("0", 10)
    assert [style for style, _ in Recipe(per_image=4).draw("0", 2)][:2] in ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": (0.9, 0.2)}, "strength must go up"),
        ({"strength": (0.0, 1.5)}, "both from 0 to 1"),
        ({"per_image": 0}, "per-image must be 1 or more"),
        ({"short_side": 64, "crop": 96}, "a crop of 96 is larger"),
        ({"short_side": True}, "short-side must be a whole number, not True"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ({"seed": 2**63}, "seed must be from -9223372036854775808 to"),
        ({"strength": (float("nan"), 1.0)}, "strength must go up"),
    ],
)
def test_bad_recipes(options, message):
    with pytest.raises(ImpastoError, match=message):
        Recipe(**options)


def test_a_recipe_takes_numbers_of_numpy():
    plain = Recipe(2, (0.5, 1.0), 3, 64, 32, stroke_size=2.0, style_size=128)
    of_numpy = Recipe(np.int64(2), np.array([0.5, 1.0]), np.uint8(3), np.array(64), np.int32(32),
                      stroke_size=np.float32(2), style_size=np.int16(128))  # fmt: skip
    assert of_numpy == plain
    assert of_numpy.digest("") == plain.digest("")
    assert of_numpy.draw("a", 5) == plain.draw("a", 5)


def test_bad_places(source, tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for folder, out, message in [
        (tmp_path / "nowhere", tmp_path / "out", "there is no folder"),
        (tmp_path / "empty", tmp_path / "out", "no pictures and no tar shards"),
        (source, source / "painted", "lie in one another"),
        ("nosuch://place", tmp_path / "out", "cannot reach"),
        (f"zip://::{tmp_path}/none.zip", tmp_path / "out", "cannot reach"),
        (tmp_path / "pipe", tmp_path / "out", "is no file but a pipe"),
    ]:
        with pytest.raises(ImpastoError, match=message):
            stylize_dataset(str(folder), STYLES, str(out))
    with pytest.raises(ImpastoError, match="is no file but a pipe"):
        stylize_dataset(str(source), [str(tmp_path / "pipe")], str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ImpastoError, match="no style can be taken; no-such-style"):
        stylize_dataset(str(source), ["no-such-style"], str(tmp_path / "out"))
