"""Training for real, on a handful of small pictures: reproducible, resumable, and it learns."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from plain import plain_settings
from skimage import data

import impasto
from impasto.cli import main
from impasto.controls import Controls, Mix
from impasto.errors import ImpastoError
from impasto.image import read_image, to_float, to_uint8
from impasto.model import find_model
from impasto.networks import AdaINSettings, choose_settings
from impasto.octaves import shrink
from impasto.place import find_pictures
from impasto.stylizer import Plan
from impasto.train.augment import add_grain, alter_styles, brush, draw_graphic, embolden, vary
from impasto.train.checkpoint import read_checkpoint
from impasto.train.data import Pictures, batches, manifest
from impasto.train.loop import train
from impasto.train.task import make_task

TINY = {"steps": 20, "batch": 2, "crop": 32, "scale": (0.5, 1.0), "lr": 1e-3, "schedule": "cosine", "pairings": 2,
                "autoencoder_steps": 8, "identity_weight": 50, "precision": "fp32", "seed": 3}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """A folder of photos, one of them broken, and a tar of textures."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "content" / "deep").mkdir(parents=True)
    for index, picture in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
        image = Image.fromarray(picture)
        image.thumbnail((128, 128))
        image.save(root / "content" / "deep" / f"{index}.png")
    (root / "content" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    with tarfile.open(root / "style.tar", "w") as tar:
        for index, picture in enumerate((data.brick(), data.grass(), data.gravel())):
            stream = io.BytesIO()
            Image.fromarray(picture).convert("RGB").resize((96, 96)).save(stream, "webp")
            member = tarfile.TarInfo(f"{index}.webp")
            member.size = stream.tell()
            stream.seek(0)
            tar.addfile(member, stream)
    return str(root / "content"), str(root / "style.tar")


def losses(output: str) -> list[str]:
    return re.findall(r"^step \d+/\d+  (loss .*?)  [\d.]+ images/s", output, re.MULTILINE)


def run(kind, settings, folders, out, start=None, **options) -> Path:
    task = make_task(kind, plain_settings(kind, **settings), start)
    content, style = folders
    return train(task, [content], [style], task.settings, out, short_side=64, device="cpu", **options)


@pytest.mark.parametrize("kind", ["compact", "adain"])
def test_same_seed_same_losses(vgg19, folders, tmp_path, capsys, kind):
    settings = dict(TINY, steps=8)
    run(kind, settings, folders, tmp_path / "a")
    first = capsys.readouterr().out
    run(kind, settings, folders, tmp_path / "b")
    second = capsys.readouterr().out
    assert len(losses(first)) == 8
    assert losses(first) == losses(second)
    run(kind, dict(TINY, seed=4, steps=2), folders, tmp_path / "c")
    assert losses(capsys.readouterr().out) != losses(first)[:2]
    assert "1 broken pictures skipped" in first


def test_the_compact_network_learns_to_give_its_input_back(vgg19, folders, tmp_path, capsys):
    run("compact", dict(TINY, steps=40, autoencoder_steps=40), folders, tmp_path)
    identity = [float(re.search(r"identity ([\d.]+)", line)[1]) for line in losses(capsys.readouterr().out)]
    assert identity[-1] < 0.8 * identity[0]


def test_the_style_encoder_learns_what_vgg19_sees(vgg19, folders, tmp_path, capsys):
    settings = dict(TINY, steps=40, encoder_steps=40)
    state = read_checkpoint(run("compact", settings, folders, tmp_path, start="adain"))
    guess = [float(re.search(r"guess ([\d.]+)", line)[1]) for line in losses(capsys.readouterr().out)]
    assert guess[-1] < 0.9 * guess[0]
    learnt = {name for name, weight in find_model("adain").weights().items()
              if not np.allclose(state["network"][name], weight)}  # fmt: skip
    assert {name.split(".")[0] for name in learnt} == {"style_encoder", "style_head"}
    assert {name for name in learnt if "head" in name} == {"style_head.seen_mean", "style_head.seen_std"}


def test_muon_turns_every_direction_of_a_matrix_alike(vgg19, folders, tmp_path):
    settings = dict(TINY, steps=1, optimiser="muon", autoencoder_steps=0)
    before = make_task("adain", plain_settings("adain", **settings), layer="relu3_1").network.state_dict()
    task = make_task("adain", plain_settings("adain", **settings), layer="relu3_1")
    train(task, [folders[0]], [folders[1]], task.settings, tmp_path, short_side=64, device="cpu")
    change = (task.network.state_dict()["1.weight"] - before["1.weight"]).flatten(1)
    spread = torch.linalg.svdvals(change) / (0.2 * settings["lr"] * max(change.shape) ** 0.5)  # steps as long as Adam's
    assert spread.median() > 0.7
    assert spread.max() < 1.3


@pytest.mark.slow
def test_a_fitted_decoder_gives_pictures_back_before_it_is_trained(vgg19, folders, tmp_path, capsys):
    identity = []
    for crops in (0, 40):
        settings = dict(TINY, steps=1, lr=0.0, crop=64, fit_crops=crops)
        task = make_task("adain", plain_settings("adain", **settings), layer="relu3_1")
        train(task, [folders[0]], [folders[1]], task.settings, tmp_path / str(crops), short_side=64, device="cpu")
        identity.append(float(re.search(r"identity ([\d.]+)", capsys.readouterr().out)[1]))
    fresh, fitted = identity
    assert fitted < 0.1 * fresh
    with pytest.raises(ImpastoError, match=r"only the paper's decoder .* leave out --fit-crops"):
        make_task("adain", plain_settings("adain", **settings), decoder="bn")
    with pytest.raises(ImpastoError, match=r"adain-vgg19 has weights .* leave out --fit-crops"):
        make_task("adain", plain_settings("adain", **settings), "adain-vgg19")


def test_training_starts_from_a_model(vgg19, folders, tmp_path):
    settings = dict(TINY, steps=1, lr=0.0)
    state = read_checkpoint(run("compact", settings, folders, tmp_path, start="adain"))
    assert state["stages"][:-1] == find_model("adain").card.training
    shipped = find_model("adain").weights()
    assert all(np.allclose(state["network"][name], weight) for name, weight in shipped.items())
    with pytest.raises(ImpastoError, match="not adain"):
        run("adain", settings, folders, tmp_path / "other", start="adain")


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_resumed_run_is_the_undisturbed_one(vgg19, folders, tmp_path, optimiser):
    settings = dict(TINY, steps=5, autoencoder_steps=2, optimiser=optimiser)
    whole = read_checkpoint(run("compact", settings, folders, tmp_path / "whole"))
    half = run("compact", settings, folders, tmp_path / "half", max_minutes=0)
    assert read_checkpoint(half)["step"] == 1
    resumed = read_checkpoint(run("compact", settings, folders, tmp_path / "half", resume=True))
    assert resumed["step"] == 5
    assert [stage["last_step"] for stage in resumed["stages"]] == [1, 5]
    for name, weight in whole["network"].items():
        assert torch.allclose(weight, resumed["network"][name], atol=1e-6), name
    for name, weight in whole["average"].items():
        assert torch.allclose(weight, resumed["average"][name], atol=1e-6), name


def test_a_checkpoint_of_several_gpus_goes_on_without_them(vgg19, folders, tmp_path):
    """As checkpoints were once: with the random state of every GPU, and nothing of the task's own."""
    settings = dict(TINY, steps=2)
    path = run("compact", dict(settings, steps=1), folders, tmp_path / "run")
    state = read_checkpoint(path)
    state["random"]["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * 4
    torch.save({key: value for key, value in state.items() if key != "memory"}, path)
    assert read_checkpoint(run("compact", settings, folders, tmp_path / "run", resume=True))["step"] == 2


def test_a_run_that_is_over_records_nothing_more(vgg19, folders, tmp_path, capsys):
    settings = dict(TINY, steps=1)
    path = run("compact", settings, folders, tmp_path)
    before, _ = path.read_bytes(), capsys.readouterr()
    run("compact", settings, folders, tmp_path, resume=True)
    assert "Done at step 1" in capsys.readouterr().out
    assert path.read_bytes() == before


def test_the_time_limit_counts_what_comes_before_the_first_step(vgg19, folders, tmp_path):
    settings = dict(TINY, steps=10_000)
    task = make_task("compact", plain_settings("compact", **settings))
    task.begin = lambda content, style: time.sleep(2.5)
    path = train(
        task, [folders[0]], [folders[1]], task.settings, tmp_path, max_minutes=2 / 60, short_side=64, device="cpu"
    )
    assert read_checkpoint(path)["step"] == 1


#: Trains four steps, and has Ctrl-C twice in the second, so many seconds apart.
INTERRUPTED = """if True:
    import os, signal, sys, time
    from pathlib import Path
    from impasto.networks import CompactSettings
    from impasto.train.loop import train
    from impasto.train.task import make_task

    content, style, out, again_after = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it would be ignored
    settings = CompactSettings(steps=4, batch=2, crop=32, precision="fp32", encoder_steps=0, autoencoder_steps=4)
    task = make_task("compact", settings)
    forward = task.forward

    def interrupted(*batch):
        if batch[-1] == 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(float(again_after))
            os.kill(os.getpid(), signal.SIGINT)
        return forward(*batch)

    task.forward = interrupted
    train(task, [content], [style], settings, Path(out), short_side=64, device="cpu")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize("again_after", [pytest.param(0, marks=pytest.mark.slow), 1.2])
def test_ctrl_c_saves_and_a_second_one_ends_the_run_at_once(vgg19, folders, tmp_path, again_after):
    """Two at once are one: launchers of several processes hand on what each has had from the terminal."""
    arguments = [*folders, str(tmp_path), str(again_after)]
    run = subprocess.run([sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True, check=False)
    if again_after:
        assert run.stderr.endswith("KeyboardInterrupt\n")
        assert not (tmp_path / "checkpoint.pt").exists()
    else:
        assert run.returncode == 0, run.stderr
        assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2


@pytest.mark.parametrize("layer", ["relu4_1", "relu3_1"])
def test_crops_need_be_no_multiple_of_what_the_encoder_divides_by(vgg19, folders, tmp_path, layer):
    settings = dict(TINY, steps=2, crop=35, autoencoder_steps=1, fit_crops=2)
    task = make_task("adain", plain_settings("adain", **settings), layer=layer)
    state = read_checkpoint(
        train(task, [folders[0]], [folders[1]], task.settings, tmp_path, short_side=64, device="cpu")
    )
    assert state["step"] == 2
    picture = task.preview(task.network, torch.rand(2, 3, 35, 35), torch.rand(2, 3, 35, 35))
    assert picture.shape == (3, 3 * 35, 3 * 35)


def test_made_up_skies_are_drawn_with_their_batch(vgg19):
    """And not from what the process's own random state happens to be, which a resumed one does not share."""
    settings = dict(TINY, autoencoder_steps=0, smooth_weight=1.0)
    task = make_task("compact", plain_settings("compact", **settings))
    photos, paintings = torch.rand(2, 2, 3, 32, 32)

    def smooth(seed: int, elsewhere: int) -> float:
        torch.manual_seed(elsewhere)
        with torch.no_grad():
            return task(photos, paintings, torch.Generator().manual_seed(seed), 0)["smooth"].item()

    assert smooth(1, 1) == smooth(1, 2)
    assert smooth(1, 1) != smooth(2, 1)


def test_a_second_painting_is_trained_as_it_is_painted(vgg19):
    """That of the library, octave for octave, up to its rounding to whole levels."""
    photos = shrink(data.astronaut()[:256, :256], [(128, 128), (256, 256)])
    painter = impasto.load("adain", engine="onnxruntime")
    style = replace(painter.style("munch-scream"), palette=None)
    plan = Plan(Mix((style,)), Controls())
    whole, _ = painter.paint_octaves(photos, plan)
    first, _ = painter.paint_octaves(photos[:1], plan)
    task = make_task("compact", choose_settings("compact", finer_chance=1.0), "adain")
    batches = [torch.from_numpy(to_float(picture)) for picture in (photos[1], first.painting)]
    with torch.no_grad():
        finer = task.paint_finer(*batches, torch.from_numpy(style.tensor)[None])
    assert np.abs(to_uint8(finer.numpy()).astype(int) - whole.painting).mean() < 0.5


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_some_steps_paint_a_second_time(vgg19, chance):
    settings = dict(TINY, autoencoder_steps=0, crop=64, finer_chance=chance)
    task = make_task("compact", plain_settings("compact", **settings))
    losses = task(*torch.rand(2, 2, 3, 64, 64), torch.Generator().manual_seed(0), 0)
    assert ("finer" in losses) == bool(chance)
    if chance:
        without = sum(
            losses[name] * getattr(task.settings, f"{name}_weight") for name in losses.keys() - {"loss", "finer"}
        )
        assert losses["loss"].item() == pytest.approx((without + losses["finer"]).item(), rel=1e-5)


def test_a_run_does_not_go_on_as_another(vgg19, folders, tmp_path):
    run("compact", dict(TINY, steps=1), folders, tmp_path)
    with pytest.raises(ImpastoError, match="another optimiser"):
        run("compact", dict(TINY, optimiser="muon"), folders, tmp_path, resume=True)
    with pytest.raises(ImpastoError, match="another network"):
        run("adain", TINY, folders, tmp_path, resume=True)


def test_a_run_is_never_overwritten(vgg19, folders, tmp_path):
    run("compact", dict(TINY, steps=1), folders, tmp_path)
    with pytest.raises(ImpastoError, match="--resume"):
        run("compact", dict(TINY, steps=1), folders, tmp_path)


def test_checkpoint_records_what_made_it(vgg19, folders, tmp_path):
    state = read_checkpoint(run("compact", dict(TINY, steps=2, accumulate=2), folders, tmp_path))
    (stage,) = state["stages"]
    assert state["kind"] == "compact"
    assert stage["settings"]["seed"] == 3
    assert stage["content"] == manifest(find_pictures([folders[0]]))
    assert len(list((tmp_path / "log").iterdir())) == 1  # TensorBoard events


def test_sigterm_saves_and_stops(vgg19, folders, tmp_path):
    command = [sys.executable, "-m", "impasto", "train", "compact", "--content", folders[0], "--style", folders[1],
               "--out", str(tmp_path / "run"), "--crop", "32", "--batch", "2", "--steps", "100000",
               "--short-side", "64", "--device", "cpu"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 3/"):
            break
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - start < 30
    assert "Stopped at step" in rest
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] >= 3


@pytest.mark.slow
def test_two_processes_train_one_network(vgg19, folders, tmp_path):
    # What `accelerate launch` does for GPUs, torchrun does for processes on a CPU.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611",
               "-m", "impasto", "train", "compact", "--content", folders[0], "--style", folders[1],
               "--out", str(tmp_path / "run"), "--crop", "32", "--batch", "2", "--steps", "4",
               "--autoencoder-steps", "2", "--short-side", "64", "--device", "cpu"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    state = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 4
    assert state["stages"][0]["device"].startswith("2 x")


def test_learning_rate_schedules():
    paper = AdaINSettings(schedule="paper", warmup=0)
    assert paper.learning_rate(0) == 1
    assert paper.learning_rate(20_000) == pytest.approx(0.5)
    cosine = AdaINSettings(schedule="cosine", steps=1000, warmup=100)
    assert cosine.learning_rate(0) < 0.01
    assert cosine.learning_rate(100) == pytest.approx(1, abs=0.03)
    assert cosine.learning_rate(1000) == pytest.approx(0.02)


def test_crops_cover_the_picture_and_both_flips(tmp_path):
    ramp = np.zeros((64, 96, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, 96)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    pictures = Pictures([str(tmp_path)], short_side=64)
    crops = pictures.crops(64, 16, (0.4, 1.0), torch.Generator().manual_seed(0))
    assert crops.shape == (64, 3, 16, 16)
    assert crops.min() >= 0
    assert crops.max() <= 1
    red = crops[:, 0]
    assert red.min() < 0.05
    assert red.max() > 0.95
    rising = (red[:, :, -1] > red[:, :, 0]).float().mean()
    assert 0.2 < rising < 0.8


def test_pictures_too_large_to_keep_are_decoded_as_drawn(folders):
    generator = torch.Generator().manual_seed(0)
    kept, streamed = Pictures([folders[1]], 64), Pictures([folders[1]], 64, memory=0)
    assert kept.resident
    assert not streamed.resident
    same = [pictures.crops(4, 24, (0.5, 1.0), generator.manual_seed(1)) for pictures in (kept, streamed)]
    assert torch.equal(*same)


def test_pictures_are_read_as_everywhere_else(tmp_path):
    """Deep greys are no white, photos stand upright, large ones are small, and what is damaged is passed over."""
    photo = Image.fromarray(data.coffee())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a right angle
    photo.save(tmp_path / "turned.jpg", exif=exif)
    ramp = np.linspace(0, 65535, 64 * 96).reshape(64, 96).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    photo.convert("CMYK").save(tmp_path / "print.jpg")
    stream = io.BytesIO()
    photo.resize((96, 64)).save(stream, "avif")
    (tmp_path / "damaged.avif").write_bytes(stream.getvalue()[:-200])

    for memory in (None, 0):
        pictures = Pictures([str(tmp_path)], short_side=64, memory=memory)
        squares = [square for square in pictures.squares(64) if square is not None]
        assert pictures.broken == {"damaged.avif"}
        for name, square in zip(("deep.png", "print.jpg", "turned.jpg"), squares, strict=True):
            whole = torch.from_numpy(to_float(read_image(tmp_path / name).pixels))
            top, left = ((side - min(whole.shape[2:])) // 2 for side in whole.shape[2:])
            part = whole[..., top : top + min(whole.shape[2:]), left : left + min(whole.shape[2:])]
            assert (F.interpolate(part, (64, 64), mode="area") - square).abs().mean() < 0.03, name


def test_what_cannot_be_read_is_a_broken_picture_and_links_are_followed(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(data.astronaut()).resize((64, 64)).save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "elsewhere" / "a.png").rename(tmp_path / "elsewhere" / name)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "class").symlink_to("../elsewhere")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "lost.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    pictures = Pictures([tmp_path / "in"], short_side=64)
    assert [entry.name for entry in pictures.entries] == [f"class/{name}", "lost.png", "pipe.png"]
    assert pictures.broken == {"lost.png", "pipe.png"}
    assert len(pictures) == 1
    marked = manifest(pictures.entries)
    (tmp_path / "in" / "lost.png").unlink()
    assert manifest(find_pictures([tmp_path / "in"])) != marked


def test_difficult_styles_are_drawn_more_often(vgg19, folders, tmp_path):
    content, styles = Pictures([folders[0]], 64), Pictures([folders[1]], 64)
    task = make_task("compact", plain_settings("compact", **TINY))
    with torch.no_grad():
        difficulty = task.difficulty(content, styles)
        assert torch.allclose(task.difficulty(content, Pictures([folders[1]], 64, memory=0)), difficulty)
    assert (difficulty > 0).all()
    assert difficulty.argmin() == 2  # of bricks, grass and gravel the last has the statistics nearest to photos
    styles.weights = difficulty**2
    crops = styles.crops(200, 8, (1.0, 1.0), torch.Generator().manual_seed(0)).mean((1, 2, 3))
    shares = [(abs(crops - square.mean()) < 0.02).float().mean() for square in styles.squares(8)]
    assert shares == pytest.approx((styles.weights / styles.weights.sum()).tolist(), abs=0.1)


def test_bolder_pictures_have_more_contrast_and_sharper_edges(folders):
    crops = Pictures([folders[0]], 64).crops(16, 64, (1.0, 1.0), torch.Generator().manual_seed(0))
    assert torch.equal(embolden(crops, 0.0, torch.Generator().manual_seed(1)), crops)
    stark = embolden(crops, 1.0, torch.Generator().manual_seed(1))
    assert stark.min() >= 0
    assert stark.max() <= 1
    assert (stark.std((1, 2, 3)) > crops.std((1, 2, 3))).all()
    assert (stark.diff(dim=-1).abs().mean((1, 2, 3)) > crops.diff(dim=-1).abs().mean((1, 2, 3))).all()


def test_varied_pictures_are_turned_recoloured_stretched_pasted_flattened_or_negatives(folders):
    crops = Pictures([folders[0]], 64).crops(100, 64, (0.5, 1.0), torch.Generator().manual_seed(0))
    assert torch.equal(vary(crops, 0.0, torch.Generator().manual_seed(1)), crops)
    made = vary(crops, 1.0, torch.Generator().manual_seed(1))
    assert torch.equal(made, vary(crops, 1.0, torch.Generator().manual_seed(1)))
    assert made.shape == crops.shape
    assert made.min() >= 0
    assert made.max() <= 1

    def values(pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1).sort().values

    turned = (values(made) == values(crops)).all(1)  # the same pixels and channels, in other places
    negative = torch.isclose(values(1 - made), values(crops)).all(1)
    flat = torch.tensor([len(picture.unique()) <= 5 for picture in made])
    still = (made == crops).flatten(1).all(1)
    for kind, share in ((turned, 0.37), (negative, 0.05), (flat, 0.25), (still, 0.05)):
        assert 0 < kind.float().mean() < 2 * share
    assert not (turned | negative | flat).all()  # the others are stretched or pasted together


def test_graphics_are_drawn_by_their_seed_and_are_starker_than_photos(folders):
    drawn = [draw_graphic(64, seed) for seed in range(40)]
    assert all(torch.equal(picture, draw_graphic(64, seed)) for seed, picture in enumerate(drawn[:5]))
    assert all(picture.shape == (3, 64, 64) and picture.min() >= 0 and picture.max() <= 1 for picture in drawn)
    photos = Pictures([folders[0]], 64).crops(40, 64, (1.0, 1.0), torch.Generator().manual_seed(0))
    steepest = [pictures.diff(dim=-1).abs().amax((1, 2, 3)).mean() for pictures in (torch.stack(drawn), photos)]
    assert steepest[0] > steepest[1]


def test_made_up_paintings_have_the_colours_of_a_picture_and_directions():
    color = torch.tensor([0.8, 0.3, 0.1])[:, None, None]
    noise = (color + 0.02 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    made = [brush(noise, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert torch.equal(made[7], brush(noise, torch.Generator().manual_seed(7)))
    assert all(picture.shape == noise.shape for picture in made)
    assert all(0 <= picture.min() <= picture.max() <= 1 for picture in made)
    typical = torch.stack(made).median(0)[0]  # some have dark outlines
    assert (typical - color).abs().mean() < 0.05
    assert np.mean([directed(picture) for picture in made]) > 3 * directed(noise)


def test_grain_is_fine_and_leaves_the_picture_as_it_is():
    picture = torch.linspace(0.3, 0.7, 64).expand(3, 64, 64)
    made = torch.stack([add_grain(picture, torch.Generator().manual_seed(seed)) for seed in range(20)])
    assert torch.equal(made[3], add_grain(picture, torch.Generator().manual_seed(3)))
    assert (made - picture).std((1, 2, 3)).max() < 0.15
    coarse = F.avg_pool2d(made - picture, 16)
    assert coarse.abs().max() < 0.03
    finest = (made - F.avg_pool2d(made, 3, 1, 1))[..., 1:-1, 1:-1].std((1, 2, 3))
    assert finest.median() > 0.01


def directed(picture: torch.Tensor) -> float:
    """How much the gradients of a patch lie along one line: 0 to 1, by the eigenvalues of its structure tensor."""
    down, right = torch.gradient(picture, dim=(1, 2))
    xx, xy, yy = (F.avg_pool2d((a * b).mean(0)[None], 21) for a, b in ((right, right), (right, down), (down, down)))
    return float((((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy)).mean())


def test_shares_of_the_style_pictures_are_altered(folders):
    content, style = Pictures([folders[0]], 64), Pictures([folders[1]], 64)

    def first(**shares: float) -> torch.Tensor:
        source = batches(
            content, style, 32, (0.5, 1.0), 8, 0, 0, 0, partial(alter_styles, **shares) if shares else None
        )
        pictures = next(source)[1]
        source.close()
        return pictures

    plain = first()
    for kind in ("graphic", "brushed", "bold", "varied", "grained"):
        shares = {f"{kind}_share": 0.5}
        made = first(**shares)
        assert 0 < (plain != made).flatten(1).any(1).sum() < 8
        assert torch.equal(first(**shares), made)


def uploaded(source: Path, url: str) -> str:
    """A copy of a folder or file at a URL."""
    system, root = fsspec.core.url_to_fs(url)
    files = [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]
    for file in files:
        path = f"{root}/{file.name if file == source else file.relative_to(source).as_posix()}"
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.pipe_file(path, file.read_bytes())
    return f"{url}/{source.name}" if source.is_file() else url


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_pictures_from_a_url_are_those_of_the_folder(folders, tmp_path, scheme):
    for number, source in enumerate(map(Path, folders)):
        url = uploaded(source, f"{scheme}://{tmp_path}/{number}")
        here, there = find_pictures([source]), find_pictures([url])
        assert [entry.name for entry in there] == [entry.name for entry in here]
        assert manifest(there) == manifest(here)
        crops = [
            Pictures([place], 64, memory=0).crops(4, 24, (0.5, 1.0), torch.Generator().manual_seed(1))
            for place in (str(source), url)
        ]
        assert torch.equal(*crops)


def test_training_from_shards_by_url_is_training_from_the_folder(vgg19, folders, tmp_path, capfd):
    """WebDataset shards: samples of a picture and its label, in two files of a folder."""
    shards = tmp_path / "shards"
    shards.mkdir()
    pictures = [entry for entry in find_pictures([folders[0]]) if entry.name != "broken.jpg"]
    for number, part in enumerate((pictures[:2], pictures[2:])):
        with tarfile.open(shards / f"photos-{number:03}.tar", "w") as tar:
            for entry in part:
                key = Path(entry.name).stem
                for name, contents in {f"{key}.cls": b"7", f"{key}.png": entry.read()}.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(contents)
                    tar.addfile(member, io.BytesIO(contents))
    settings = dict(TINY, steps=2, autoencoder_steps=1)
    run("compact", settings, folders, tmp_path / "folder")
    whole = losses(capfd.readouterr().out)
    url = uploaded(shards, f"memory://{tmp_path}/shards")
    run("compact", settings, (url, folders[1]), tmp_path / "url")
    assert len(whole) == 2
    assert losses(capfd.readouterr().out) == whole


def test_damaged_shards_and_places_out_of_reach_are_named(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"not a tar file" * 100)
    for source, words in {tmp_path: "bad.tar in .*not an uncompressed tar", "nosuch://place": "cannot reach"}.items():
        with pytest.raises(ImpastoError, match=words):
            find_pictures([source])
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        member = tarfile.TarInfo("a.png")
        member.size = 5000
        tar.addfile(member, io.BytesIO(bytes(5000)))
    (tmp_path / "bad.tar").write_bytes(whole.getvalue()[:3000])
    with pytest.raises(ImpastoError, match="damaged"):
        find_pictures([tmp_path / "bad.tar"])


def test_folders_without_pictures_are_named(tmp_path):
    with pytest.raises(ImpastoError, match=re.escape(str(tmp_path))):
        find_pictures([tmp_path])
    with pytest.raises(ImpastoError, match="nowhere"):
        find_pictures([tmp_path / "nowhere"])
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ImpastoError, match="readable"):
        Pictures([str(tmp_path)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": 0}, "crop must be 16 or more, not 0"),
        ({"batch": 0}, "batch must be 1 or more, not 0"),
        ({"steps": 0}, "steps must be 1 or more, not 0"),
        ({"accumulate": 0}, "accumulate must be 1 or more, not 0"),
        ({"pairings": 0}, "pairings must be 1 or more, not 0"),
        ({"lr": -1.0}, "lr must be 0 or more, not -1"),
        ({"lr": float("nan")}, "lr must be 0 or more, not nan"),
        ({"style_weight": -1.0}, "style_weight must be 0 or more, not -1"),
        ({"ema": 2.0}, "ema must be from 0 to 1, not 2"),
        ({"bold_share": 1.5}, "bold_share must be from 0 to 1, not 1.5"),
        ({"seed": -1}, "seed must be from 0 to 100000000, not -1"),
        ({"seed": 5_000_000_000}, "seed must be from 0 to 100000000, not 5000000000"),
        ({"scale": (2.0, 3.0)}, "scale must be two shares .* not 2 3"),
        ({"scale": (0.8, 0.5)}, "scale must be two shares .* not 0.8 0.5"),
    ],
)
def test_settings_out_of_range_are_one_line(changes, said):
    with pytest.raises(ImpastoError, match=f"^{said}$"):
        AdaINSettings(**changes)


def test_the_largest_seed_is_one(folders):
    source = batches(
        Pictures([folders[0]], 64), None, 32, (0.5, 1.0), 1, AdaINSettings(seed=100_000_000).seed, 7, 10**6
    )
    assert next(source)[0].shape == (1, 3, 32, 32)
    source.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--out {file}", "is a file: name a folder"),
        ("--out run --device cuda:7", "device can only be cpu, not cuda:7"),
        ("--out run --short-side 0", "short_side must be 1 or more, not 0"),
        ("--out run --threads 0", "'--threads': "),
        ("--out run --crop 0", "crop must be 16 or more, not 0"),
        ("--out run --smooth-weight 5", "smooth_weight has no meaning for adain, only for compact: leave it out"),
    ],
)
def test_wrong_options_are_one_line(vgg19, folders, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("text")
    arguments = options.format(file="file").split()
    if "--device" not in arguments:
        arguments += ["--device", "cpu"]
    with pytest.raises(SystemExit) as exit_:
        main(["train", "adain", "--content", folders[0], "--style", folders[1], "--steps", "1", *arguments])
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert said in error
    assert len(error.splitlines()) == 1
