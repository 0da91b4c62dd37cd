"""Settings of a network without its recipe, so that tests say what they count on."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from impasto.networks import NETWORKS, AdaINSettings, Settings

_OFF = {"guess_weight": 0.0, "encoder_steps": 0, "tv_weight": 0.0}


def plain_settings(network: str, **chosen: Any) -> Settings:
    """The paper's settings with what is chosen, and all that the paper does not have switched off."""
    kind = NETWORKS[network].settings
    known = {field.name for field in fields(kind)}
    values = {name: value for name, value in (asdict(AdaINSettings()) | _OFF).items() if name in known}
    return kind(**{**values, **chosen})
