"""The networks, in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from impasto.extras import explain_missing

with explain_missing(__name__):
    import torch

    from impasto.nets.adain import AdaIN
    from impasto.nets.compact import Compact
    from impasto.nets.feedforward import Feedforward
    from impasto.nets.norm import Network
    from impasto.nets.stylebank import StyleBank

if TYPE_CHECKING:
    from impasto.model import Model

#: Networks by the name that a model card gives under "network".
NETWORKS: dict[str, type[Network]] = {
    "adain": AdaIN,
    "compact": Compact,
    "feedforward": Feedforward,
    "cin": Feedforward,
    "stylebank": StyleBank,
}


def make_network(kind: str, arguments: Mapping[str, Any]) -> Network:
    """A fresh network as a model card or a checkpoint describes it: its kind, and the arguments it was made with."""
    return NETWORKS[kind](**arguments)


def load_network(model: Model) -> Network:
    """The network of a model with its trained weights, ready to run."""
    network = make_network(model.card.network, model.card.arguments)
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in model.weights().items()})
    return network.eval().requires_grad_(False)
