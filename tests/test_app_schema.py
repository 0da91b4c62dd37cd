"""The HTTP API against its own OpenAPI page: schemathesis makes requests up, right ones and wrong ones."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

import impasto
from impasto.app import Limits, build

schemathesis = pytest.importorskip("schemathesis")


APP = build(impasto.load(engine="onnxruntime", threads=1), Limits(max_pixels=300 * 300), page=False)
APP.state.studio.on_close.clear()  # schemathesis starts and ends the application for every request
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


def picture(width: int, height: int, format: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, format)
    return stream.getvalue()


PICTURES = [picture(40, 30, "PNG"), picture(16, 50, "JPEG"), picture(301, 301, "PNG"), b"no picture", b""]
NAMES = ["klimt-kiss", "munch-scream"]


@SCHEMA.hook
def map_body(context, body):
    """Real pictures and names now and then, since nobody makes them up by chance."""
    if not isinstance(body, dict):
        return body
    for number, (name, value) in enumerate(sorted(body.items())):
        chance = len(repr(value)) + number
        if name in ("photo", "file") and isinstance(value, str | bytes):
            body[name] = PICTURES[chance % len(PICTURES)]
        elif name in ("style_file", "mask") and isinstance(value, list):
            body[name] = [PICTURES[(chance + n) % len(PICTURES)] for n in range(len(value))]
        elif name == "style" and isinstance(value, list) and chance % 3:
            body[name] = [NAMES[n % 2] for n in range(len(value))]
    return body


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_api_does_what_its_page_says(case):
    # A request may be right field by field and yet not as a whole (a weight too few, a photo that is no photo), which
    # no schema can say; so not every one that fits the schema need be accepted.
    case.call_and_validate(excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")])
