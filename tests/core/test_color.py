"""Keeping colours, against numpy's own statistics and Pillow's own Y'CbCr."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from impasto.color import color_map, keep_chroma, luma, match_color
from impasto.errors import ImpastoError

STYLE, CONTENT = data.coffee()[::2, ::2], data.astronaut()[::2, ::2]


def statistics(colors):
    return np.mean(colors, axis=0), np.cov(np.reshape(colors, (-1, 3)), rowvar=False, bias=True)


def test_color_map_gives_the_contents_mean_and_covariance():
    matrix, offset = color_map(STYLE, CONTENT)
    mean, covariance = statistics(STYLE.reshape(-1, 3) @ matrix.T + offset)
    content_mean, content_covariance = statistics(CONTENT.reshape(-1, 3))
    np.testing.assert_allclose(mean, content_mean, atol=1e-6)
    np.testing.assert_allclose(covariance, content_covariance, atol=1e-6)


def test_color_map_of_a_picture_to_itself_is_no_change():
    matrix, offset = color_map(STYLE, STYLE)
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(offset, 0, atol=1e-6)
    assert np.array_equal(match_color(STYLE, STYLE), STYLE)


def test_match_color_is_the_map_rounded_and_clipped():
    matched = match_color(STYLE, CONTENT)
    assert matched.shape == STYLE.shape
    assert matched.dtype == np.uint8
    matrix, offset = color_map(STYLE, CONTENT)
    for y, x in ((0, 0), (50, 120), (199, 299)):
        assert np.abs(matched[y, x] - np.clip(matrix @ STYLE[y, x] + offset, 0, 255)).max() <= 0.5
    # Where little is clipped the statistics hold for the 8 bit picture too.
    soft = (CONTENT // 3 + 85).astype(np.uint8)
    mean, covariance = statistics(match_color(STYLE, soft).reshape(-1, 3))
    soft_mean, soft_covariance = statistics(soft.reshape(-1, 3))
    np.testing.assert_allclose(mean, soft_mean, atol=0.2)
    np.testing.assert_allclose(covariance, soft_covariance, rtol=0.02)


def test_grey_and_flat_styles_are_not_blown_up():
    grey = np.repeat(STYLE[..., :1], 3, axis=2)
    matrix, offset = color_map(grey, CONTENT)
    mapped = grey.reshape(-1, 3) @ matrix.T + offset
    np.testing.assert_allclose(mapped.mean(axis=0), CONTENT.reshape(-1, 3).mean(axis=0), atol=1e-6)
    deviation = CONTENT.reshape(-1, 3).std(axis=0)
    assert (mapped.std(axis=0) < 1.5 * deviation).all()
    assert mapped.std() > 10  # and not flattened either
    flat = np.full((20, 30, 3), 77, np.uint8)
    expected = np.rint(CONTENT.reshape(-1, 3).mean(axis=0))
    assert (match_color(flat, CONTENT) == expected).all()


def test_grey_content_makes_a_grey_style():
    grey = np.repeat(CONTENT[..., :1], 3, axis=2)
    matched = match_color(STYLE, grey).astype(int)
    assert np.ptp(matched, axis=-1).max() <= 1
    assert matched.std() > 20


def test_luma():
    assert luma(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)) == pytest.approx([76.245, 149.685, 29.07])


def ycbcr(pixels):
    return np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(int)


def test_content_chroma_keeps_luma_everywhere():
    content = CONTENT[:200, :256]
    stylized = STYLE[:200, :256]
    result = keep_chroma(stylized, content)
    assert result.shape == content.shape
    assert result.dtype == np.uint8
    assert np.abs(ycbcr(result)[..., 0] - ycbcr(stylized)[..., 0]).max() <= 1


def test_content_chroma_has_the_contents_chroma_where_it_fits():
    content = CONTENT[:200, :256]
    stylized = STYLE[:200, :256]
    difference = content - luma(content)[..., None]
    wanted = luma(stylized)[..., None] + difference
    fits = ((wanted >= 0) & (wanted <= 255)).all(axis=-1)
    assert 0.2 < fits.mean() < 1  # both cases occur
    result = ycbcr(keep_chroma(stylized, content))[..., 1:]
    assert np.abs(result - ycbcr(content)[..., 1:])[fits].max() <= 1
    # Elsewhere chroma shrinks towards grey, and keeps its hue.
    kept, full = result[~fits] - 128, ycbcr(content)[..., 1:][~fits] - 128
    assert (np.abs(kept) <= np.abs(full) + 1).all()
    assert (kept * full >= -np.abs(full)).all()


def test_content_chroma_of_itself_and_of_grey():
    assert np.array_equal(keep_chroma(CONTENT, CONTENT), CONTENT)
    grey = np.repeat(CONTENT[..., :1], 3, axis=2)
    assert np.ptp(keep_chroma(CONTENT, grey), axis=-1).max() == 0


def test_content_chroma_at_black_and_white():
    red = np.full((1, 2, 3), (200, 30, 30), np.uint8)
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert np.array_equal(keep_chroma(ends, red), ends)


def test_content_chroma_needs_one_size():
    with pytest.raises(ImpastoError, match=r"\[200, 300, 3\] and \[256, 256, 3\]"):
        keep_chroma(STYLE, CONTENT)
