"""Style losses against direct computations: loops over pixels, pairs and patches, in NumPy and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from impasto.errors import ImpastoError
from impasto.losses import STYLE_LOSSES, ExactGaussianMMD, GaussianMMD, PatchLoss, gram, style_loss, total_variation
from impasto.nets.patches import Patches, best_matches, swap

RNG = np.random.default_rng(0)
CHANNELS = 5
OURS = np.maximum(RNG.normal(0.7, 1, (CHANNELS, 9, 12)), 0)
STYLE = np.maximum(RNG.gamma(1.5, 0.8, (CHANNELS, 11, 8)) - 0.3, 0)
WEIGHT = RNG.uniform(0, 1, (9, 12)) * (np.arange(12) < 7)


def tensor(features: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(features)[None]


def computed(loss, weight: np.ndarray | None) -> float:
    mask = None if weight is None else tensor(weight)[None]
    return loss.distance(tensor(OURS), loss.summary(tensor(STYLE)), mask).item()


def points(features: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Feature vectors [M, C] and the share [M] of each."""
    vectors = features.reshape(CHANNELS, -1).T
    share = np.ones(len(vectors)) if weight is None else weight.ravel()
    return vectors, share / share.sum()


def moments(vectors: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, product = np.zeros(CHANNELS), np.zeros((CHANNELS, CHANNELS))
    for vector, part in zip(vectors, share, strict=True):
        mean += part * vector
        product += part * np.outer(vector, vector)
    return mean, product


def slow_gram(weight):
    (_, ours), (_, style) = moments(*points(OURS, weight)), moments(*points(STYLE))
    return ((ours - style) ** 2).sum() / CHANNELS**2


def slow_coral(weight):
    covariances = [p - np.outer(m, m) for m, p in (moments(*points(OURS, weight)), moments(*points(STYLE)))]
    return ((covariances[0] - covariances[1]) ** 2).sum() / CHANNELS**2


def slow_mean_std(weight):
    total = 0.0
    (ours, share), (style, _) = points(OURS, weight), points(STYLE)
    for x, y in zip(ours.T, style.T, strict=True):
        mean = np.average(x, weights=share)
        std = np.sqrt(np.average((x - mean) ** 2, weights=share) + 1e-5)
        total += (mean - y.mean()) ** 2 + (std - np.sqrt(y.var() + 1e-5)) ** 2
    return total / CHANNELS


def discrepancy(kernel, weight):
    """The biased estimate of the MMD, over all pairs."""
    (ours, p), (style, q) = points(OURS, weight), points(STYLE)

    def expected(xs, ps, ys, qs):
        return sum(a * b * kernel(x, y) for x, a in zip(xs, ps, strict=True) for y, b in zip(ys, qs, strict=True))

    return expected(ours, p, ours, p) + expected(style, q, style, q) - 2 * expected(ours, p, style, q)


def gaussian(x, y):
    return np.exp(-((x - y) ** 2).sum() / (2 * CHANNELS))


def slow_histogram(weight):
    """Sorts each channel and looks each value's rank up in the style's quantiles at (k + 1/2) / 256."""
    (ours, share), (style, _) = points(OURS, weight), points(STYLE)
    middles = (np.arange(256) + 0.5) / 256
    total = 0.0
    for x, y in zip(ours.T, style.T, strict=True):
        quantiles = np.quantile(y, middles, method="hazen")
        order = np.argsort(x, kind="stable")
        ranks = np.cumsum(share[order]) - share[order] / 2
        matched = np.interp(ranks, middles, quantiles)
        total += (share[order] * (x[order] - matched) ** 2).sum()
    return total / CHANNELS


def patches(features: np.ndarray, stride: int) -> list[np.ndarray]:
    _, height, width = features.shape
    return [features[:, y : y + 3, x : x + 3].ravel() for y in range(0, height - 2, stride)
            for x in range(0, width - 2, stride)]  # fmt: skip


def nearest(patch: np.ndarray, candidates: list[np.ndarray]) -> int:
    return int(np.argmax([patch @ c / np.linalg.norm(c) for c in candidates]))


def slow_mrf(weight):
    ours, style = (patches(np.pad(x, [(0, 0), (1, 1), (1, 1)], mode="reflect"), 2) for x in (OURS, STYLE))
    errors = [((p - style[nearest(p, style)]) ** 2).mean() for p in ours]
    return np.average(errors, weights=None if weight is None else weight[::2, ::2].ravel())


SLOW = {
    "gram": slow_gram,
    "mean_std": slow_mean_std,
    "coral": slow_coral,
    "histogram": slow_histogram,
    "mmd_linear": lambda weight: discrepancy(lambda x, y: x @ y / CHANNELS, weight),
    "mmd_polynomial": lambda weight: discrepancy(lambda x, y: (x @ y / CHANNELS + 1) ** 2, weight),
    "mmd_gaussian_exact": lambda weight: discrepancy(gaussian, weight),
    "mrf": slow_mrf,
}


def test_every_style_loss_is_tested_here():
    assert {*SLOW, "mmd_gaussian"} == {*STYLE_LOSSES}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["whole", "region"])
@pytest.mark.parametrize("name", SLOW)
def test_against_the_slow_way(name, weight):
    assert computed(STYLE_LOSSES[name], weight) == pytest.approx(SLOW[name](weight), rel=1e-5)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["whole", "region"])
def test_gaussian_mmd_comes_to_the_exact_kernel(weight):
    expected = discrepancy(gaussian, weight)
    assert computed(GaussianMMD(frequencies=20_000), weight) == pytest.approx(expected, rel=0.1)
    assert computed(GaussianMMD(), weight) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_nothing_between_a_style_and_itself(name):
    loss = STYLE_LOSSES[name]
    features = tensor(STYLE)
    start = loss.distance(tensor(OURS), loss.summary(features)).item()
    # Near nothing: the histogram's ranks are looked up between its 256 steps.
    assert loss.distance(features, loss.summary(features)).item() < 0.01 * start


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_descending_its_gradient_lowers_it(name):
    loss, features = STYLE_LOSSES[name], tensor(OURS).requires_grad_()
    target = loss.summary(tensor(STYLE))
    before = loss.distance(features, target)
    before.backward()
    step = 0.1 * before.item() / features.grad.square().sum()
    assert loss.distance(features.detach() - step * features.grad, target) < before


def test_chunks_change_memory_alone():
    pairs = (
        (GaussianMMD(), GaussianMMD(chunk=7)),
        (ExactGaussianMMD(), ExactGaussianMMD(pairs=300)),
        (PatchLoss(), PatchLoss(chunk=3)),
    )
    for whole, chunked in pairs:
        assert computed(chunked, WEIGHT) == pytest.approx(computed(whole, WEIGHT), rel=1e-9)
    all_patches = Patches([tensor(STYLE), tensor(STYLE[:, ::-1].copy())])
    whole = best_matches(tensor(OURS), all_patches, chunk=len(all_patches))
    for chunk in (1, 10, len(all_patches) - 1):
        assert torch.equal(best_matches(tensor(OURS), all_patches, chunk=chunk), whole)


def test_swap_is_overlapping_best_patches():
    style = patches(STYLE, 1)
    total, covered = np.zeros_like(OURS), np.zeros_like(OURS)
    for y in range(OURS.shape[1] - 2):
        for x in range(OURS.shape[2] - 2):
            best = style[nearest(OURS[:, y : y + 3, x : x + 3].ravel(), style)].reshape(CHANNELS, 3, 3)
            total[:, y : y + 3, x : x + 3] += best
            covered[:, y : y + 3, x : x + 3] += 1
    candidates = Patches([tensor(STYLE)])
    swapped = swap(tensor(OURS), candidates, best_matches(tensor(OURS), candidates))
    assert np.allclose(swapped[0].numpy(), total / covered)


def test_too_small_for_patches_is_said():
    with pytest.raises(ImpastoError, match="2 x 8 holds no 3 x 3 patch"):
        Patches([torch.ones(1, 4, 2, 8)])


def test_gram_of_a_batch_and_total_variation():
    batch = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    expected = np.einsum("nchw,ndhw->ncd", batch, batch) / 20
    assert np.allclose(gram(batch), expected, rtol=1e-5)
    x = batch.numpy()
    squares = ((x[:, :, :, 1:] - x[:, :, :, :-1]) ** 2).mean() + ((x[:, :, 1:] - x[:, :, :-1]) ** 2).mean()
    assert total_variation(batch).item() == pytest.approx(squares)


@pytest.mark.parametrize("weight", [None, torch.rand(1, 1, 16, 16)], ids=["plain", "weighted"])
def test_gram_is_as_exact_where_a_step_is_in_half_precision(weight):
    features = torch.rand(1, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        made = gram(features, weight)
    assert torch.equal(made, gram(features, weight))


@pytest.mark.parametrize("softness", [0.0, 0.7])
def test_style_loss_of_a_batch(softness):
    ours, theirs = RNG.gamma(1.0, 1.0, (2, 2, 2, 3, CHANNELS))  # of two taps, mean and deviation, of three pictures
    expected = 0.0
    for picture in range(3):
        loss = sum(((ours[t, k, picture] - theirs[t, k, picture]) ** 2).mean() for t in range(2) for k in range(2))
        expected += (softness * np.log(1 + loss / softness) if softness else loss) / 3
    found = style_loss(*([tuple(torch.from_numpy(s)) for s in side] for side in (ours, theirs)), softness)
    assert found.item() == pytest.approx(expected, rel=1e-12)
