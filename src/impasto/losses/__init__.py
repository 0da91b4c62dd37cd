"""Losses on pictures and on the features of the normalised VGG-19.

All are averages, over pixels and over channels, so that their size depends on neither.
"""

from impasto.extras import explain_missing

with explain_missing(__name__):
    from impasto.losses.content import content_loss, diversity_loss, total_variation
    from impasto.losses.style import (
        STYLE_LOSSES,
        Coral,
        ExactGaussianMMD,
        GaussianMMD,
        Gram,
        Histogram,
        LinearMMD,
        MeanStd,
        PatchLoss,
        PolynomialMMD,
        Statistics,
        StyleLoss,
        Summary,
        gram,
        style_loss,
        style_statistics,
    )

__all__ = [
    "STYLE_LOSSES",
    "Coral",
    "ExactGaussianMMD",
    "GaussianMMD",
    "Gram",
    "Histogram",
    "LinearMMD",
    "MeanStd",
    "PatchLoss",
    "PolynomialMMD",
    "Statistics",
    "StyleLoss",
    "Summary",
    "content_loss",
    "diversity_loss",
    "gram",
    "style_loss",
    "style_statistics",
    "total_variation",
]
