"""A training run on disk: what it needs to go on, and what a model is made of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from impasto.errors import ImpastoError
from impasto.networks import Settings
from impasto.train.task import Task

#: What every checkpoint holds, however old.
_NEEDED = {"kind", "network", "average", "stages"}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what :func:`impasto.train.loop.train` saved."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ImpastoError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # on other files unpickling raises nearly anything
        state = None
    if not (isinstance(state, dict) and state.keys() >= _NEEDED):
        raise ImpastoError(f"{path} is not a readable checkpoint: give one that impasto train wrote")
    return state


def check_same(state: Mapping[str, Any], task: Task, settings: Settings, checkpoint: Path) -> None:
    """Complains of a checkpoint whose weights, or whose optimiser's state, would not fit."""
    made = state["kind"], state.get("arguments", {}), state.get("styles", [])
    wanted = task.kind, {**task.arguments}, [*task.styles]
    optimiser = state["stages"][-1]["settings"].get("optimiser", "adam")
    if made != wanted:
        raise ImpastoError(f"{checkpoint} is of another network: --resume with that, or choose another --out")
    if optimiser != settings.optimiser:
        raise ImpastoError(f"{checkpoint} is of another optimiser, {optimiser}: --resume with that")


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint under another name first, so that a killed run leaves the one before."""
    temporary = path.with_suffix(".tmp")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)
