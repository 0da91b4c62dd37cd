"""The networks, in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from impasto.nets.adain import AdaIN
from impasto.nets.compact import Compact
from impasto.nets.norm import Network

if TYPE_CHECKING:
    from impasto.model import Model

#: Networks by the name that a model card gives under "network".
NETWORKS: dict[str, type[Network]] = {"adain": AdaIN, "compact": Compact}


def load_network(model: Model) -> Network:
    """The network of a model with its trained weights, ready to run."""
    network = NETWORKS[model.card["network"]]()
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in model.weights().items()})
    return network.eval().requires_grad_(False)
