"""Whole data sets in the styles of many pictures, small ones in this process, on Ray else. Needs ``impasto[ray]``.

from impasto.dataset import Recipe, stylize_dataset
stylize_dataset("imagenet/train", ["wikiart"], "imagenet-stylized/train", Recipe(per_image=1, seed=0))
"""

from impasto.extras import explain_missing

with explain_missing(__name__):
    from impasto.dataset.recipe import Recipe
    from impasto.dataset.run import DatasetResult, stylize_dataset

__all__ = ["DatasetResult", "Recipe", "stylize_dataset"]
