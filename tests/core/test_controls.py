"""What every front end builds and hands on: controls, and the mix of styles."""

from __future__ import annotations

import io
import json
import typing
from dataclasses import asdict

import numpy as np
import pytest
from skimage import data

import impasto
from impasto.controls import (
    ControlOptions,
    Controls,
    Mix,
    change_controls,
    cross_fade,
    read_range,
    read_weights,
)
from impasto.errors import ImpastoError
from impasto.networks import AdaINSettings
from impasto.sheet import sheet
from impasto.style import Style, blend


def style(name: str, *values: float, model: str = "model") -> Style:
    return Style(name, np.array(values, np.float32), model)


CALM, WILD = style("calm", 0, 0, 1, 1), style("wild", 4, 8, 1, 5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("strength", 1.5, "strength must be a number from 0 to 1, not 1.5"),
        ("strength", float("nan"), "strength must be a number from 0 to 1, not nan"),
        ("strength", "1", "strength must be a number from 0 to 1, not 1"),
        ("keep_color", "chroma", "keep_color must be match or luminance, not chroma"),
        ("style_size", 15, "style size must be a whole number from 16 to 4096, not 15"),
        ("style_size", 99.5, "style size must be a whole number from 16 to 4096, not 99.5"),
        ("stroke_size", 0, "stroke size must be a number from 0.25 to 4, not 0"),
        ("stroke_size", -1, "stroke size must be a number from 0.25 to 4, not -1"),
        ("stroke_size", float("nan"), "stroke size must be a number from 0.25 to 4, not nan"),
        ("stroke_size", 1e9, "stroke size must be a number from 0.25 to 4, not 1000000000.0"),
        ("stroke_size", "large", "stroke size must be a number from 0.25 to 4, not large"),
        ("plain", "yes", "plain must be true or false, not yes"),
    ],
)
def test_a_control_out_of_its_range_is_one_line(field: str, value: object, message: str) -> None:
    with pytest.raises(ImpastoError, match=message):
        change_controls(None, {field: value})


WHOLE = {
    "whole": [64, np.int64(64), np.uint8(64), np.array(64)],
    "real": [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), np.array(0.5, np.float16)],
}
NONE = [True, np.bool_(True), np.array(True), float("nan"), np.float32("nan"), np.array(np.nan), "64", np.array([64])]


@pytest.fixture(scope="module")
def model() -> impasto.Stylizer:
    return impasto.load(engine="onnxruntime", threads=np.int64(1))


def takers(model: impasto.Stylizer) -> dict[str, tuple[str, typing.Callable[[typing.Any], object]]]:
    """What takes a number, of which kind: each gives what can be compared."""
    grey, scream = np.full((80, 96, 3), 128, np.uint8), model.gallery["munch-scream"]
    picture = impasto.read_image(grey)

    def write(quality: int) -> bytes:
        stream = io.BytesIO()
        impasto.write_image(stream, picture, format="jpg", quality=quality)
        return stream.getvalue()

    return {
        "Controls strength": ("real", lambda value: json.dumps(asdict(Controls(strength=value)))),
        "Controls stroke_size": ("real", lambda value: json.dumps(asdict(Controls(stroke_size=value)))),
        "Controls style_size": ("whole", lambda value: json.dumps(asdict(Controls(style_size=value)))),
        "Mix weights": ("real", lambda value: json.dumps(Mix([CALM, WILD], [value, 1]).weights)),
        "blend": ("real", lambda value: blend({CALM: value, WILD: 1}).tensor.tolist()),
        "load threads": ("whole", lambda value: impasto.load(engine="onnxruntime", threads=value).name),
        "read_image max_pixels": ("whole", lambda value: impasto.read_image(grey, max_pixels=value).size),
        "write_image quality": ("whole", write),
        "limit_size": ("whole", lambda value: picture.limit_size(value).size),
        "style size": ("whole", lambda value: model.style(grey, size=value).tensor.tolist()),
        "stylize max_size": ("whole", lambda value: model.stylize(grey, scream, max_size=value).size),
        "sheet size": ("whole", lambda value: sheet(model, grey, [scream], max_size=value).size),
        "sheet columns": ("whole", lambda value: sheet(model, grey, [scream], max_size=32, columns=value).size),
        "training steps": ("whole", lambda value: json.dumps(asdict(AdaINSettings(steps=value)))),
        "training scale": ("real", lambda value: json.dumps(asdict(AdaINSettings(scale=(value, 1))))),
        "training lr": ("real", lambda value: json.dumps(asdict(AdaINSettings(lr=value)))),
    }


def test_numbers_may_be_those_of_numpy(model: impasto.Stylizer) -> None:
    for name, (kind, take) in takers(model).items():
        first, *others = WHOLE[kind]
        expected = take(first)
        for value in others:
            assert take(value) == expected, f"{name}: {value!r}"


def test_what_is_no_number_is_one_line(model: impasto.Stylizer) -> None:
    for name, (_, take) in takers(model).items():
        for value in NONE:
            try:
                take(value)
            except ImpastoError as error:
                assert "\n" not in str(error)  # noqa: PT017  which of them it was is to be said
            else:
                pytest.fail(f"{name} took {value!r}")


def test_changes_leave_the_rest_and_are_checked() -> None:
    controls = Controls(strength=0.5, keep_color="match")
    assert change_controls(controls, {"strength": 1}) == Controls(1, "match")
    assert change_controls(controls, {}) == controls
    with pytest.raises(TypeError, match="strenght"):
        change_controls(controls, {"strenght": 1})


def test_keyword_options_are_the_fields_of_controls() -> None:
    hints = typing.get_type_hints(Controls)
    assert typing.get_type_hints(ControlOptions) == hints


def test_a_style_may_stand_in_a_mix_twice() -> None:
    mix = Mix([CALM, WILD, CALM], [1, 1, 2])
    assert len(mix) == 3
    assert [name.name for name, _ in mix] == ["calm", "wild", "calm"]
    assert mix.shares == [0.25, 0.25, 0.5]
    assert np.array_equal(mix.blend().tensor, blend({CALM: 3, WILD: 1}).tensor)
    assert mix.tensors(by_region=True).shape == (3, 4)
    assert mix.tensors(by_region=False).shape == (1, 4)
    assert mix.region_weights.ravel().tolist() == [0.5, 0.5, 1]
    assert Mix([CALM, WILD], [0, 1]).region_weights.min() > 0  # where its mask is, it is still the only style


@pytest.mark.parametrize(
    ("styles", "weights", "message"),
    [
        ([], [], "no style given"),
        ([CALM], [1, 2], "2 weights for 1 styles"),
        ([CALM, WILD], [-1, 2], "style weights must be numbers of 0 or more, not -1, 2"),
        ([CALM, WILD], [0, 0], "the style weights sum to 0"),
        ([CALM, style("other", 0, 0, 0, 0, model="another")], [], "styles of different models cannot be mixed"),
    ],
)
def test_a_mix_that_is_none_is_one_line(styles: list[Style], weights: list[float], message: str) -> None:
    with pytest.raises(ImpastoError, match=message):
        Mix(styles, weights)


def test_cross_fading_goes_by_shares_however_large_the_weights() -> None:
    mix = cross_fade([(Mix([CALM], [7]), 0.75), (Mix([WILD, CALM], [1, 1]), 0.25)])
    assert np.allclose(mix.blend().tensor, 0.875 * CALM.tensor + 0.125 * WILD.tensor)
    only = Mix([CALM])
    assert cross_fade([(only, 1.0)]) is only


def test_text_becomes_controls() -> None:
    assert read_weights("2,1.5", 2) == [2, 1.5]
    assert read_weights(None, 3) == [1, 1, 1]
    assert read_range("0.5..1") == (0.5, 1)
    assert read_range("0.8") == (0.8, 0.8)
    for read, text in ((lambda t: read_weights(t, 2), "a,b"), (read_range, "much")):
        with pytest.raises(ImpastoError, match=text):
            read(text)


def test_what_read_image_gives_goes_in_everywhere(tmp_path) -> None:
    """Photo, style and mask; and alpha and EXIF come out again."""
    model = impasto.load(engine="onnxruntime")
    photo, painting = data.astronaut()[:96, :128], data.chelsea()[:100, :100]
    mask = np.zeros((96, 128), np.uint8)
    mask[:, :64] = 255
    impasto.write_image(tmp_path / "photo.png", np.dstack([photo, mask]))
    read = impasto.read_image(tmp_path / "photo.png")
    painted = model.stylize(read, impasto.read_image(painting), masks=[impasto.read_image(mask)], style_size=64)
    expected = model.stylize(np.dstack([photo, mask]), model.style(painting, size=64), masks=[mask])
    assert np.array_equal(np.asarray(painted), np.asarray(expected))
    assert np.array_equal(np.asarray(painted)[..., 3], mask)


def test_controls_and_a_mix_can_be_handed_to_all_that_paints() -> None:
    model = impasto.load(engine="onnxruntime")
    photo = data.astronaut()[:64, :64]
    mix = model.mix(["munch-scream", "klimt-kiss"])
    painted = model.stylize(photo, mix, Controls(strength=0.7), keep_color="luminance")
    expected = model.stylize(photo, ["munch-scream", "klimt-kiss"], strength=0.7, keep_color="luminance")
    assert np.array_equal(np.asarray(painted), np.asarray(expected))
