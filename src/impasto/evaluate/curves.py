"""Loss curves: a short training whose every step counts, for the experiments that compare trainings."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

from impasto.extras import explain_missing
from impasto.progress import track

with explain_missing(__name__):
    import torch

    from impasto.networks import Settings
    from impasto.train.data import Pictures, batches
    from impasto.train.hardware import autocast_where_faster
    from impasto.train.task import Task


def device() -> torch.device:
    """Tells which device such trainings run on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def loss_curves(
    task: Task, content: Pictures, style: Pictures | None, settings: Settings, label: str
) -> dict[str, list[float]]:
    """Trains a task for `settings.steps` and returns the values of each of its losses at every step.

    Args:
        content, style: what crops are drawn from, the same ones for the same seed; see :func:`batches`.
        label: what to call the training while it runs.
    """
    where = device()
    task.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(task.network.parameters(), settings.lr)
    curves: dict[str, list[float]] = {}
    with closing(batches(content, style, settings.crop, settings.scale, settings.batch, settings.seed, 0, 0)) as source:
        for step, crops in enumerate(track(islice(source, settings.steps), label, settings.steps)):
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * settings.learning_rate(step)
            with autocast_where_faster(where):
                losses = task(*crops, step)
            optimiser.zero_grad()
            losses["loss"].backward()
            torch.nn.utils.clip_grad_norm_(task.network.parameters(), settings.clip)
            optimiser.step()
            for name, loss in losses.items():
                curves.setdefault(name, []).append(loss.item())
    return curves
