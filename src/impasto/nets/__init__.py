"""The networks, in PyTorch; :mod:`impasto.networks` has their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from impasto.extras import explain_missing
from impasto.networks import NETWORKS

with explain_missing(__name__):
    import torch

    from impasto.nets.norm import Network

if TYPE_CHECKING:
    from impasto.model import Model


def make_network(kind: str, arguments: Mapping[str, Any] | None = None) -> Network:
    """Makes a fresh network of the kind and with the arguments that a model card or a checkpoint tells."""
    network: Network = NETWORKS[kind].network_class()(**arguments or {})
    return network


def load_network(model: Model) -> Network:
    """Loads the network of a model with its trained weights, ready to run."""
    network = make_network(model.card.network, model.card.arguments)
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in model.weights().items()})
    return network.eval().requires_grad_(False)
