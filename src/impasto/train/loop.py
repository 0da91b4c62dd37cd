"""The training loop that every network shares: optimiser, schedule, checkpoints, logs, any number of devices.

What is trained is a *task*: a module whose ``forward(content, style, generator, step)`` returns its losses by name, the
one to minimise under ``"loss"``; whose ``network`` holds the trained weights; and whose
``preview(network, content, style)`` returns a picture grid.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Literal

from impasto.checks import SMALLEST, make_folder, require_at_least, require_between
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.progress import pace
from impasto.train.augment import altered
from impasto.train.data import Pictures, batches, manifest

with explain_missing(__package__):
    import torch
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from torch import Tensor, nn
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from torch.utils.tensorboard import SummaryWriter

_LARGEST_SEED = 10**8  # seeds of single batches are 10^11 times as large, and have 64 bits
_SMALLEST_MATRIX = 16  # inputs and outputs of what Muon updates: the convolution that gives out colours is Adam's


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes; recorded in the checkpoint and in the model card."""

    steps: int = 160_000
    batch: int = 8
    accumulate: int = 1
    crop: int = 256
    scale: tuple[float, float] = (0.5, 1.0)
    """The crop's side as a fraction of the picture's short side, drawn between these."""
    optimiser: Literal["adam", "muon"] = "adam"
    lr: float = 1e-4
    schedule: Literal["paper", "cosine"] = "paper"
    warmup: int = 0
    clip: float = 5.0
    ema: float = 0.999
    content_weight: float = 1.0
    content_target: Literal["adain", "photo"] = "adain"
    """What relu4_1 of a painted picture is held to: the paper's t, or relu4_1 of the photo, as quality is measured."""
    style_weight: float = 10.0
    style_softness: float = 0.0
    """k: a picture's style loss L counts as k log(1 + L / k), lest the farthest drown the others; 0: as L."""
    identity_weight: float = 0.0
    tv_weight: float = 0.0
    smooth_weight: float = 0.0
    """Of the total variation of what becomes of smooth pictures with a little noise: skies shall stay skies."""
    style_size: int = 256
    """Short side that the pictures of a network's own styles are scaled to."""
    guess_weight: float = 0.0
    """Of how far the style encoder's guess is from the features of VGG-19."""
    encoder_steps: int = 0
    """First steps, spent on the style encoder alone."""
    fit_crops: int = 0
    """Crops that a fresh decoder is fitted to before the first step, see :mod:`impasto.train.inverse`."""
    autoencoder_steps: int = 0
    """First steps, spent on reconstruction alone."""
    pairings: int = 1
    """Styles that each content crop of a batch is painted in: amortises the encoding of both."""
    style_emphasis: float = 0.0
    """Style pictures are drawn in proportion to their difficulty, how far photos are from them, to this power."""
    varied_share: float = 0.0
    """Of the style pictures of a batch, made into others: turned, recoloured, stretched, pasted together."""
    brushed_share: float = 0.0
    """Of the style pictures of a batch, made up in the colours of those they replace: strokes, outlined forms."""
    bold_share: float = 0.0
    """Of the style pictures of a batch, made bolder: sharper, with more contrast."""
    graphic_share: float = 0.0
    """Of the style pictures of a batch, drawn instead of taken from the style set: shapes, outlines, lines, dots."""
    grained_share: float = 0.0
    """Of the style pictures of a batch, given the grain of paper or the weave of canvas."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in ("steps", "batch", "accumulate", "pairings"):
                require_at_least(1, **{name: value})
            elif name in ("crop", "style_size"):
                require_at_least(SMALLEST, **{name: value})
            elif name == "ema" or name.endswith("_share"):
                require_between(0, 1, **{name: value})
            elif name == "seed":
                require_between(0, _LARGEST_SEED, seed=value)
            elif isinstance(value, int | float):
                require_between(0, math.inf, **{name: value})
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ImpastoError("scale must be two shares of the short side above 0, the larger last and at most 1, "
                               f"not {self.scale[0]:g} {self.scale[1]:g}")  # fmt: skip

    def weigh(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses, and under "loss" their sum, each weighted by the setting of its name: "content", "style", ..."""
        weighted = [getattr(self, f"{name}_weight") * loss for name, loss in losses.items()]
        return {"loss": torch.stack(weighted).sum(), **losses}

    def alter(self, style: Tensor, generator: torch.Generator) -> Tensor:
        """Style crops with the shares of them altered that the settings say."""
        return altered(
            style,
            generator,
            varied_share=self.varied_share,
            brushed_share=self.brushed_share,
            bold_share=self.bold_share,
            graphic_share=self.graphic_share,
            grained_share=self.grained_share,
        )

    def learning_rate(self, step: int) -> float:
        """Share of `lr` at a step: linear warm-up, then 1 / (1 + 5e-5 t) as in the paper's code, or a cosine to 2 %."""
        ramp = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "paper":
            return ramp / (1 + 5e-5 * step)
        return ramp * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))))


class Task(nn.Module):
    """What :func:`train` needs of a task; see the module's first lines.

    What a task draws by lot it draws from the generator that comes with a batch: another one for each process and
    batch, the same one after a resumption.

    Attributes:
        kind: the network's name in :data:`impasto.nets.NETWORKS`.
        network: holds what is trained: those of its parameters that require a gradient.
        arguments: what the network was made with.
        styles: names of the styles that the network itself learns; empty where any picture will do.
        stages: records of the runs that the weights it begins with come from.
        memory: what the task itself must know in the next step, kept in the checkpoint.
    """

    kind: str
    network: nn.Module
    arguments: Mapping[str, Any] = MappingProxyType({})
    styles: Sequence[str] = ()
    stages: Sequence[dict[str, Any]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, Tensor] = {}

    def forward(self, content: Tensor, style: Tensor, generator: torch.Generator, step: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def begin(self, content: Pictures, style: Pictures) -> None:
        """Called once, before the first step of a run that does not go on from a checkpoint."""

    def adjust_gradients(self, step: int) -> None:
        """Called between the backward pass and the optimiser's step."""

    def difficulty(self, content: Pictures, style: Pictures) -> Tensor:
        """[number of style pictures], float64: how far photos are from each, for `Settings.style_emphasis`."""
        raise NotImplementedError

    def preview(self, network: nn.Module, content: Tensor, style: Tensor) -> Tensor:
        """[3, H, W] in 0..1: what the network makes of a few pairs."""
        raise NotImplementedError


def keep_freed_memory() -> None:
    """Asks glibc to keep freed blocks in the process instead of handing them back to the system.

    A training step frees and takes gigabytes; by default every large block is unmapped and its pages are faulted in
    again, which on a virtual machine took four fifths of a step's time.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 500_000_000)):  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD
            libc.mallopt(option, value)


@functools.cache
def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device computes convolutions faster in bfloat16 than in float32; a CPU is put to the test, once.

    What a processor says of itself does not tell: of two that have AVX-512's bfloat16 instructions and no AMX, an EPYC
    (Zen 4) took half the time of float32, a Xeon 1.7 times as long.
    """
    if device.type != "cpu":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def seconds(dtype: torch.dtype) -> float:
        features = torch.ones(1, 64, 96, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
        kernels = torch.ones(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        times = []
        for _ in range(5):  # the first prepares the kernels; of the rest the one least disturbed counts
            start = time.perf_counter()
            torch.nn.functional.conv2d(features, kernels)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    with torch.no_grad():
        return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


class _Stop:
    """Turns SIGTERM and SIGINT into a request to save and stop; Ctrl-C once more ends the run at once."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = math.inf
        self._previous = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        # Launchers of several processes hand on what the terminal has sent to each already: that is no second Ctrl-C.
        if number == signal.SIGINT and time.monotonic() - self._asked_at > 1:
            raise KeyboardInterrupt
        self._asked_at = min(self._asked_at, time.monotonic())
        self.asked = True

    def restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


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
    probe = torch.device("cuda" if torch.cuda.is_available() and device != "cpu" else "cpu")
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and has_fast_bf16(probe))
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
        _check_same(state, task, settings, checkpoint)
        if state["step"] >= settings.steps:
            accelerator.print(f"Done at step {state['step']}: {checkpoint}")
            return checkpoint
    make_folder(out)

    photos = Pictures(content, short_side, accelerator.device, label="content pictures")
    paintings = photos if style is None else Pictures(style, short_side, accelerator.device, label="style pictures")
    task.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.style_emphasis:
        with torch.no_grad(), torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
            paintings.weights = task.difficulty(photos, paintings) ** settings.style_emphasis
    if state is None:
        task.begin(photos, paintings)
    optimiser = _optimiser(task.network, settings)
    average = AveragedModel(task.network, multi_avg_fn=_ema(settings.ema))
    step, stages = 0, list(task.stages)
    if state is not None:
        task.network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, stages = state["step"], state["stages"]
        task.memory = state.get("memory", {})
        torch.set_rng_state(state["random"]["torch"])
    wrapped, optimiser = accelerator.prepare(task, optimiser)
    # The schedule is a function of the step and the settings alone, so a resumed run may change its settings.
    for group in optimiser.param_groups:
        group["initial_lr"] = settings.lr
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: settings.learning_rate(at), step - 1)
    stage: dict[str, Any] = {
        "settings": asdict(settings),
        "first_step": step,
        "device": _device_name(accelerator),
        "precision": "bf16" if bf16 else "fp32",
        "content": manifest(photos.entries, "content pictures"),
        "style": manifest(paintings.entries, "style pictures") if style else list(task.styles),
    }

    main = accelerator.is_main_process
    writer = SummaryWriter(str(out / "log")) if main else None
    sample = [
        p.crops(4, settings.crop, (1.0, 1.0), torch.Generator().manual_seed(settings.seed)) for p in (photos, paintings)
    ]

    def save() -> None:
        if not main:
            return
        record = {**stage, "last_step": step, "seconds": round(time.monotonic() - start), "losses": means.values()}
        contents = {
            "step": step,
            "kind": task.kind,
            "arguments": dict(task.arguments),
            "styles": list(task.styles),
            "network": task.network.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "memory": task.memory,
            "random": {"torch": torch.get_rng_state()},
            "stages": [*stages, record],
        }
        temporary = checkpoint.with_suffix(".tmp")
        torch.save(contents, temporary)
        os.replace(temporary, checkpoint)
        assert writer is not None
        writer.add_image("preview", task.preview(average.module, *sample), step)
        writer.flush()

    stop = _Stop()
    means = _Means()
    start = saved = logged = time.monotonic()
    first = step
    source = batches(
        photos,
        None if style is None else paintings,
        settings.crop,
        settings.scale,
        settings.batch,
        settings.seed,
        accelerator.process_index,
        step * settings.accumulate,
        settings.alter,
    )
    wrapped.train()
    try:
        while step < settings.steps:
            for _ in range(settings.accumulate):
                with accelerator.accumulate(wrapped):
                    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
                        losses = wrapped(*next(source), step)
                    accelerator.backward(losses["loss"])
                    if accelerator.sync_gradients:
                        task.adjust_gradients(step)
                        norm = accelerator.clip_grad_norm_(task.network.parameters(), settings.clip)
                        if bool(torch.isfinite(norm)):
                            optimiser.step()
                        else:
                            means.skipped += 1
                    optimiser.zero_grad()
            scheduler.step()
            # The average of the first weights would drag for a thousand steps; follow them closely at first.
            average.multi_avg_fn = _ema(min(settings.ema, (step + 1) / (step + 10)))
            average.update_parameters(task.network)
            step += 1
            means.add(losses)
            now = time.monotonic()
            if main and (now - logged > 10 or step - first <= 20 or step == settings.steps):
                logged = now
                _log(writer, step, means.values(), settings.lr * settings.learning_rate(step))
                images = settings.batch * settings.accumulate * accelerator.num_processes
                rate = (step - first) * images / (now - start)
                text = "  ".join(f"{name} {value:.4f}" for name, value in means.values().items())
                print(f"step {step}/{settings.steps}  {text}  {rate:.1f} images/s  "
                      f"{pace(step - first, settings.steps - first, now - start)}", flush=True)  # fmt: skip
            out_of_time = max_minutes is not None and now - began > 60 * max_minutes
            # All processes stop after the same step, or one would wait for the others' gradients for ever.
            asked = torch.tensor(float(stop.asked or out_of_time), device=accelerator.device)
            if accelerator.reduce(asked, "sum").item():
                break
            if now - saved > 60 * save_minutes:
                saved = now
                save()
        save()
    finally:
        stop.restore()
        source.close()
        if writer is not None:
            writer.close()
    broken = sum(len(p.broken) for p in {photos, paintings})
    if main:
        print(f"{'Done' if step >= settings.steps else 'Stopped'} at step {step}: {checkpoint}"
              + (f"; {broken} broken pictures skipped" if broken else "")
              + (f"; {means.skipped} steps without finite gradients skipped" if means.skipped else ""))  # fmt: skip
    return checkpoint


def _optimiser(network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Adam, or Muon (Jordan et al. 2024) with steps of Adam's size and Adam for what is no matrix.

    Muon makes the update of a matrix (a convolution is one, of outputs by all else) orthogonal: all directions alike,
    however badly scaled the gradient is. A decoder without normalisation gains much by that. Its iterations run on the
    matrix times its transpose, which is small, and in float32: some processors multiply float16, which is the package's
    choice, so slowly that a step took thirty times as long.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
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


def _log(writer: SummaryWriter | None, step: int, values: dict[str, float], lr: float) -> None:
    if writer is not None:
        for name, value in {**values, "lr": lr}.items():
            writer.add_scalar(name, value, step)


#: What every checkpoint holds, however old.
_NEEDED = {"kind", "network", "average", "stages"}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What :func:`train` saved."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ImpastoError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # on other files unpickling raises nearly anything
        state = None
    if not (isinstance(state, dict) and state.keys() >= _NEEDED):
        raise ImpastoError(f"{path} is not a readable checkpoint: give one that impasto train wrote")
    return state


def _check_same(state: Mapping[str, Any], task: Task, settings: Settings, checkpoint: Path) -> None:
    """Complains of a checkpoint whose weights, or whose optimiser's state, would not fit."""
    made = state["kind"], state.get("arguments", {}), state.get("styles", [])
    wanted = task.kind, {**task.arguments}, [*task.styles]
    optimiser = state["stages"][-1]["settings"].get("optimiser", "adam")
    if made != wanted:
        raise ImpastoError(f"{checkpoint} is of another network: --resume with that, or choose another --out")
    if optimiser != settings.optimiser:
        raise ImpastoError(f"{checkpoint} is of another optimiser, {optimiser}: --resume with that")


def _device_name(accelerator: Accelerator) -> str:
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return f"{accelerator.num_processes} x {name}"
