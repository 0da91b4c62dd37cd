"""Training: the pictures, one loop for all networks, and the task of each. Needs ``impasto[train]``."""

from impasto.extras import explain_missing

with explain_missing(__name__):
    import torch  # noqa: F401  # every module here needs it; said once, here
