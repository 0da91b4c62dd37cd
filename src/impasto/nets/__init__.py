"""The networks, in PyTorch; :mod:`impasto.networks` has their names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from impasto.errors import ImpastoError, first_line
from impasto.extras import explain_missing
from impasto.networks import NETWORKS

with explain_missing(__name__):
    import torch

    from impasto.nets.norm import Network

if TYPE_CHECKING:
    from impasto.model import Model

# The threads of OpenMP do not come along into a forked process, where whoever counts on them waits for ever.
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def make_network(kind: str, arguments: Mapping[str, Any] | None = None) -> Network:
    """Makes a fresh network of the kind and with the arguments that a model card or a checkpoint tells."""
    network: Network = NETWORKS[kind].network_class()(**arguments or {})
    return network


def load_network(model: Model) -> Network:
    """Loads the network of a model with its trained weights, ready to run.

    Raises:
        ImpastoError: there is no such network, its arguments or weights do not fit it, or they are damaged.
    """
    kind, weights = model.card.network, model.weights()
    if kind not in NETWORKS:
        raise ImpastoError(f"the model {model.name} is of a network {kind}, which this impasto does not know")
    sizes = [value for value in model.card.arguments.values() if isinstance(value, int)]
    # What the files have, and what the card tells of layers and styles, bounds what a network can be made with.
    largest = min(
        max([len(weights), *(side for weight in weights.values() for side in weight.shape)]),
        max(*model.channels, len(model.channels), len(model.trained_styles)),
    )
    try:
        if any(size > largest for size in sizes):  # before it takes memory for a network that no weight is of
            raise ValueError(f"{max(sizes)} is more than they are of")
        network = make_network(kind, model.card.arguments)
        network.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ImpastoError(f"arguments or weights of the model {model.name} are no {kind} network's: "
                           f"{first_line(error)}") from error  # fmt: skip
    return network.eval().requires_grad_(False)
