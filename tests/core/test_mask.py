"""Masks: shares, coverage and weights for statistics."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from impasto.errors import ImpastoError
from impasto.mask import Regions, read_masks

SHAPE = (40, 60)
LEFT = np.zeros(SHAPE, bool)
LEFT[:, :20] = True
RAMP = np.tile(np.linspace(0, 1, 60), (40, 1))


def read(masks, shape: tuple[int, int], count: int) -> Regions:
    """One mask for each of so many styles of equal weight."""
    return read_masks(masks, shape, np.ones((count, 1, 1, 1), np.float32))


def test_masks_that_divide_the_photo_are_taken_as_they_are():
    mask, coverage = read([LEFT, ~LEFT], SHAPE, 2)
    assert mask.shape == (2, 1, *SHAPE)
    assert mask.dtype == coverage.dtype == np.float32
    assert np.array_equal(mask[0, 0], LEFT)
    assert np.array_equal(mask[1, 0], ~LEFT)
    assert (coverage == 1).all()


def test_soft_masks_share_a_pixel():
    mask, coverage = read([RAMP, 1 - RAMP], SHAPE, 2)
    np.testing.assert_allclose(mask[:, 0], [RAMP, 1 - RAMP], atol=1e-6)
    np.testing.assert_allclose(coverage, 1, atol=1e-6)


def test_overlap_is_shared_in_proportion():
    mask, coverage = read([np.ones(SHAPE), np.full(SHAPE, 0.5)], SHAPE, 2)
    np.testing.assert_allclose(mask[0], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(mask[1], 1 / 3, rtol=1e-6)
    assert (coverage == 1).all()


def test_where_no_mask_is_the_photo_stays():
    half = np.where(LEFT, 0.25, 0)
    mask, coverage = read([half, half * 2], SHAPE, 2)
    np.testing.assert_allclose(coverage, np.where(LEFT, 0.75, 0), rtol=1e-6)
    shares = mask / mask.sum(axis=0)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(shares[:, 0, LEFT], np.tile([[1 / 3], [2 / 3]], LEFT.sum()), rtol=1e-6)


def test_statistics_come_from_where_the_mask_is():
    """The left third of a photo, the rest uncovered: its weighted mean is the mean of that third."""
    photo = data.astronaut()[:40, :60].astype(np.float64)
    photo[~LEFT] = 10_000  # would be noticed
    mask, _ = read([LEFT], SHAPE, 1)
    weights = mask[0, 0, :, :, None].astype(np.float64)
    mean = (photo * weights).sum(axis=(0, 1)) / weights.sum()
    np.testing.assert_allclose(mean, photo[LEFT].mean(axis=0), atol=0.03)


def test_uint8_pillow_and_files_agree(tmp_path):
    values = np.rint(RAMP * 255).astype(np.uint8)
    image = Image.fromarray(values)
    image.save(tmp_path / "mask.png")
    for source in (values, values[..., None], np.dstack([values] * 3), image, tmp_path / "mask.png", values / 255):
        mask, coverage = read([source], SHAPE, 1)
        np.testing.assert_allclose(coverage, values / 255, atol=1e-6)
        np.testing.assert_allclose(mask[0, 0], np.maximum(values / 255, 1e-6), atol=1e-6)


def test_colour_counts_by_luma_and_transparent_parts_as_black():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [(0, 255, 0, 255), (255, 255, 255, 0), (255, 255, 255, 51)]
    _, coverage = read([pixels], (1, 3), 1)
    np.testing.assert_allclose(coverage, [[0.587, 0, 0.2]], atol=1e-6)


def test_one_array_of_masks():
    mask, _ = read(np.stack([LEFT, ~LEFT]), SHAPE, 2)
    assert np.array_equal(mask[:, 0], np.stack([LEFT, ~LEFT]))


@pytest.mark.parametrize(
    ("masks", "count", "message"),
    [
        ([LEFT], 2, "1 masks for 2 styles"),
        ([LEFT, LEFT.T], 2, r"mask 2 is 40 x 60 but the photo is 60 x 40 \(width x height\)"),
        ([LEFT, np.zeros(SHAPE)], 2, "mask 2 selects nothing"),
        ([np.zeros(SHAPE, np.uint8)], 1, "mask 1 selects nothing"),
        ([np.where(LEFT, np.nan, 0)], 1, "mask 1 must hold values from 0 to 1"),
        ([LEFT - 0.5], 1, "mask 1 must hold values from 0 to 1, not from -0.5 to 0.5"),
        ([LEFT * 255.0], 1, "mask 1 must hold values from 0 to 1, not from 0 to 255"),
        ([LEFT.astype(np.int64)], 1, "mask 1: an array must be bool, uint8, or floating point from 0 to 1, not int64"),
        ([np.zeros((0, 0))], 1, "mask 1 is 0 x 0 but the photo is 60 x 40"),
        (["gone.png"], 1, r"mask 1: cannot read gone\.png: there is no such file"),
    ],
)
def test_bad_masks_are_one_line(masks, count, message):
    with pytest.raises(ImpastoError, match=message) as raised:
        read(masks, SHAPE, count)
    assert "\n" not in str(raised.value)
