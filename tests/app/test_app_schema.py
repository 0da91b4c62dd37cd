"""The HTTP API against its own OpenAPI page: schemathesis makes requests up, right ones and wrong ones."""

from __future__ import annotations

import io
import itertools
import tempfile
from pathlib import Path

import pytest
from clips import make_clip, pan
from hypothesis import HealthCheck, settings
from PIL import Image

import impasto
from impasto.app import Limits, build

schemathesis = pytest.importorskip("schemathesis")

APP = build(impasto.load(engine="onnxruntime", threads=1), Limits(max_pixels=600 * 600, clip_queue=99), page=False)
ENDS = [*APP.state.studio.on_close]
APP.state.studio.on_close.clear()  # schemathesis starts and ends the application for every request
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


def picture(width: int, height: int, format: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, format)
    return stream.getvalue()


PICTURES = [picture(40, 30, "PNG"), picture(16, 50, "JPEG"), picture(40, 30, "WEBP")]
WRONG = [picture(601, 601, "PNG"), b"no picture", b""]
with tempfile.TemporaryDirectory() as FOLDER:
    CLIP = make_clip(Path(FOLDER) / "a.mp4", pan(2, 64, 48)).read_bytes()
SENT: list[str] = []  # ids of clips
TURN = itertools.count()


@SCHEMA.hook
def map_case(context, case):
    """Real pictures and names where a request is to be right, since nobody makes them up by chance; one in four not."""
    if not case.meta.generation.mode.is_positive:
        return case
    chance = next(TURN)
    if "id" in (case.path_parameters or {}) and SENT and chance % 4:
        case.path_parameters["id"] = SENT[chance % len(SENT)]
    if not isinstance(case.body, dict):
        return case
    pictures = PICTURES if chance % 4 else WRONG
    for name in {"photo", "file"} & case.body.keys():
        case.body[name] = pictures[chance % 3]
    if "fit" in case.body:
        case.body["fit"] = False  # fitting takes ten seconds
    if "clip" in case.body:
        case.body["clip"] = CLIP if chance % 4 else WRONG[chance % 3]
    if {"photo", "clip"} & case.body.keys():
        case.body["style"] = ["klimt-kiss", "munch-scream"][: 1 + chance % 2]
        for name in ("style_file", "mask", "weight"):
            case.body.pop(name, None)
    return case


@SCHEMA.hook
def after_call(context, case, response):
    """Notes the clips that were taken, so that there are some to ask about."""
    if response.status_code == 202:
        SENT.append(response.json()["id"])


@pytest.fixture(scope="module", autouse=True)
def ended():
    yield
    for end in ENDS:
        end()


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_does_what_its_page_says(case):
    # A request may be right field by field and yet not as a whole (a weight too few, a photo that is no photo), which
    # no schema can say; so not every one that fits the schema need be accepted.
    case.call_and_validate(excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")], timeout=60)
