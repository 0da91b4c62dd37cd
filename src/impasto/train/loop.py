"""The training loop that every network shares: optimiser, schedule, checkpoints, logs, any number of devices.

What is trained is a :class:`impasto.train.task.Task`.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from impasto.checks import make_folder
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.interrupt import StopRequest
from impasto.networks import Settings
from impasto.progress import pace
from impasto.train.checkpoint import check_same, read_checkpoint, write_checkpoint
from impasto.train.data import Pictures, batches, manifest
from impasto.train.hardware import has_fast_bf16, keep_freed_memory, name_device
from impasto.train.task import Task

with explain_missing(__name__):
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from torch.utils.tensorboard import SummaryWriter

_SMALLEST_MATRIX = 16  # inputs and outputs of what Muon updates: the convolution that gives out colours is Adam's


def train(
    task: Task,
    content: list[str],
    style: list[str] | None,
    settings: Settings,
    out: Path,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
    save_minutes: float = 10.0,
    short_side: int = 512,
    device: str | None = None,
) -> Path:
    """Trains a task and returns the path of its checkpoint, ``out/checkpoint.pt``.

    Args:
        content, style: folders or tar shards of pictures, by path or URL. Without style, a task that has its own styles
            gets the content batch in its place.
        resume: go on from the checkpoint in `out`, if there is one.
        max_minutes: stop (and save) after so long, reading the pictures included; the schedule still counts steps.
        save_minutes: time between checkpoints.
        short_side: size that training pictures are kept at.
        device: "cpu" to leave an accelerator alone.
    """
    began = time.monotonic()
    if device not in (None, "cpu"):
        raise ImpastoError(f"device can only be cpu, not {device}: leave it out to train on the accelerator there is")
    keep_freed_memory()
    accelerator = Accelerator(
        mixed_precision="no",  # autocast below does it, whatever an earlier run in this process has chosen
        gradient_accumulation_steps=settings.accumulate,
        cpu=device == "cpu",
    )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    set_seed(settings.seed + accelerator.process_index)
    checkpoint = out / "checkpoint.pt"
    state = read_checkpoint(checkpoint) if resume and checkpoint.exists() else None
    if state is None and checkpoint.exists():
        raise ImpastoError(f"{checkpoint} exists: pass --resume to go on from it, or choose another --out")
    if state is not None:
        check_same(state, task, settings, checkpoint)
        if state["step"] >= settings.steps:
            accelerator.print(f"Done at step {state['step']}: {checkpoint}")
            return checkpoint
    make_folder(out)
    photos = Pictures(content, short_side, accelerator.device, label="content pictures")
    paintings = photos if style is None else Pictures(style, short_side, accelerator.device, label="style pictures")
    run = _Run(task, settings, photos, None if style is None else paintings, accelerator, checkpoint, state)
    run.go(None if max_minutes is None else began + 60 * max_minutes, 60 * save_minutes)
    return checkpoint


class _Run:
    """One run of :func:`train`: its optimiser, schedule and running mean of the weights, and where it stands."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        photos: Pictures,
        paintings: Pictures | None,
        accelerator: Accelerator,
        checkpoint: Path,
        state: dict[str, Any] | None,
    ) -> None:
        self._task, self._settings, self._accelerator, self._checkpoint = task, settings, accelerator, checkpoint
        self._photos, self._paintings = photos, paintings
        where = accelerator.device
        self._bf16 = settings.precision == "bf16" or (settings.precision == "auto" and has_fast_bf16(where))
        task.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad(), self._autocast():
            task.prepare(photos, paintings or photos)
        if state is None:
            task.begin(photos, paintings or photos)
        optimiser = _make_optimiser(task, settings)
        self._average = AveragedModel(task.network, multi_avg_fn=_ema(settings.ema))
        self._step, self._stages = 0, list(task.stages)
        if state is not None:
            task.network.load_state_dict(state["network"])
            self._average.load_state_dict(state["average"])
            optimiser.load_state_dict(state["optimiser"])
            if task.rival is not None:
                task.rival.load_state_dict(state["rival"])
            self._step, self._stages = state["step"], state["stages"]
            task.memory = state.get("memory", {})
            torch.set_rng_state(state["random"]["torch"])
        self._wrapped, self._optimiser = accelerator.prepare(task, optimiser)
        # The schedule is a function of the step and the settings alone, so a resumed run may change its settings.
        for group in self._optimiser.param_groups:
            group["initial_lr"] = settings.lr
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda at: settings.learning_rate(at), self._step - 1
        )
        self._stage: dict[str, Any] = {
            "settings": asdict(settings),
            "first_step": self._step,
            "device": name_device(accelerator),
            "precision": "bf16" if self._bf16 else "fp32",
            "content": manifest(photos.entries, "content pictures"),
            "style": manifest(paintings.entries, "style pictures") if paintings else list(task.styles),
        }
        self._means = _Means()
        self._writer = SummaryWriter(str(checkpoint.parent / "log")) if accelerator.is_main_process else None
        self._sample = [
            pictures.crops(4, settings.crop, (1.0, 1.0), torch.Generator().manual_seed(settings.seed))
            for pictures in (photos, paintings or photos)
        ]

    def go(self, deadline: float | None, save_every: float) -> None:
        """Takes step after step until all are done, it is asked to stop, or time is up; saves now and then.

        Args:
            deadline: of `time.monotonic`, or None.
            save_every: seconds.
        """
        settings, accelerator = self._settings, self._accelerator
        self._start = saved = time.monotonic()
        self._first, self._logged = self._step, self._start
        source = batches(
            self._photos,
            self._paintings,
            settings.crop,
            settings.scale,
            settings.batch,
            settings.seed,
            accelerator.process_index,
            self._step * settings.accumulate,
            self._task.alter_styles,
        )
        self._wrapped.train()
        try:
            with closing(source), StopRequest(signal.SIGTERM, signal.SIGINT) as stop:
                while self._step < settings.steps:
                    self._take_step(source)
                    self._tell()
                    out_of_time = deadline is not None and time.monotonic() > deadline
                    # All processes stop after the same step, or one would wait for the others' gradients for ever.
                    asked = torch.tensor(float(stop.asked or out_of_time), device=accelerator.device)
                    if accelerator.reduce(asked, "sum").item():
                        break
                    if time.monotonic() - saved > save_every:
                        saved = time.monotonic()
                        self._save()
                self._save()
        finally:
            if self._writer is not None:
                self._writer.close()
        broken = sum(len(pictures.broken) for pictures in {self._photos, self._paintings or self._photos})
        skipped = self._means.skipped
        accelerator.print(
            f"{'Done' if self._step >= settings.steps else 'Stopped'} at step {self._step}: {self._checkpoint}"
            + (f"; {broken} broken pictures skipped" if broken else "")
            + (f"; {skipped} steps without finite gradients skipped" if skipped else "")
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._accelerator.device.type, torch.bfloat16, enabled=self._bf16)

    def _take_step(self, source: Iterator[tuple[Tensor, Tensor, torch.Generator]]) -> None:
        """Draws the batches of one step, and moves the weights and their running mean."""
        task, settings, accelerator = self._task, self._settings, self._accelerator
        for _ in range(settings.accumulate):
            with accelerator.accumulate(self._wrapped):
                with self._autocast():
                    losses = self._wrapped(*next(source), self._step)
                accelerator.backward(losses["loss"])
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(task.network.parameters(), settings.clip)
                    task.adjust_gradients(self._step)  # after the clip, which would undo what it scales
                    if bool(torch.isfinite(norm)):
                        self._optimiser.step()
                    else:
                        self._means.skipped += 1
                self._optimiser.zero_grad()
        self._scheduler.step()
        # The average of the first weights would drag for a thousand steps; follow them closely at first.
        self._average.multi_avg_fn = _ema(min(settings.ema, (self._step + 1) / (self._step + 10)))
        self._average.update_parameters(task.network)
        self._step += 1
        self._means.add(losses)

    def _tell(self) -> None:
        """Prints and logs the losses, at each of the first steps and then every ten seconds."""
        settings, now, step = self._settings, time.monotonic(), self._step
        done = step - self._first
        if self._writer is None or not (now - self._logged > 10 or done <= 20 or step == settings.steps):
            return
        self._logged = now
        values = self._means.values()
        for name, value in {**values, "lr": settings.lr * settings.learning_rate(step)}.items():
            self._writer.add_scalar(name, value, step)
        images = settings.batch * settings.accumulate * self._accelerator.num_processes
        text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        print(f"step {step}/{settings.steps}  {text}  {done * images / (now - self._start):.1f} images/s  "
              f"{pace(done, settings.steps - self._first, now - self._start)}", flush=True)  # fmt: skip

    def _save(self) -> None:
        """Writes the checkpoint, and a preview to the log."""
        if self._writer is None:
            return
        task = self._task
        record = {
            **self._stage,
            "last_step": self._step,
            "seconds": round(time.monotonic() - self._start),
            "losses": self._means.values(),
        }
        contents = {
            "step": self._step,
            "kind": task.kind,
            "arguments": dict(task.arguments),
            "styles": list(task.styles),
            "network": task.network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "rival": task.rival.state_dict() if task.rival else None,
            "memory": task.memory,
            "random": {"torch": torch.get_rng_state()},
            "stages": [*self._stages, record],
        }
        write_checkpoint(self._checkpoint, contents)
        self._writer.add_image("preview", task.preview(self._average.module, *self._sample), self._step)
        self._writer.flush()


def _make_optimiser(task: Task, settings: Settings) -> torch.optim.Optimizer:
    """Adam, or Muon (Jordan et al. 2024) with steps of Adam's size and Adam for what is no matrix.

    Muon makes the update of a matrix (a convolution is one, of outputs by all else) orthogonal: all directions alike,
    however badly scaled the gradient is. A decoder without normalisation gains much by that. Its iterations run on the
    matrix times its transpose, which is small, and in float32: some processors multiply float16, which is the package's
    choice, so slowly that a step took thirty times as long.
    """
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    if settings.optimiser == "adam":
        return torch.optim.Adam(trained, settings.lr)
    from pytorch_optimizer import Muon
    from pytorch_optimizer.optimizer.utils import zero_power_via_gram_newton_schulz as orthogonal

    class MuonInFloat32(Muon):
        @staticmethod
        def _orthogonalize(group: dict[str, Any], updates: list[Tensor]) -> list[Tensor]:
            return [orthogonal(update.flatten(1), group["ns_steps"], dtype=torch.float32) for update in updates]

    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for parameter in trained:
        matrix = parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) >= _SMALLEST_MATRIX
        (matrices if matrix else others).append(parameter)
    groups = [
        {"params": matrices, "use_muon": True, "lr": settings.lr, "weight_decay": 0.0},
        {"params": others, "use_muon": False, "lr": settings.lr, "weight_decay": 0.0, "betas": (0.9, 0.99)},
    ]
    return MuonInFloat32([group for group in groups if group["params"]], use_adjusted_lr=True)


def _ema(decay: float) -> Callable[..., None]:
    average: Callable[..., None] = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return average


class _Means:
    """Running means of the losses, over some fifty steps; of all steps until there are that many."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._count: dict[str, int] = {}
        self.skipped = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            value = loss.item()
            if math.isfinite(value):
                self._count[name] = min(50, self._count.get(name, 0) + 1)
                mean = self._means.get(name, value)
                self._means[name] = mean + (value - mean) / self._count[name]

    def values(self) -> dict[str, float]:
        return dict(self._means)
