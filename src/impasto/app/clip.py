"""The video tab of the page."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from impasto.app.guard import describe_excess
from impasto.app.look import line, warn
from impasto.app.studio import Studio, read_chosen
from impasto.app.visits import Visits
from impasto.app.work import Work
from impasto.controls import Controls, Mix, read_keep_color
from impasto.errors import ImpastoError, TooLargeError
from impasto.progress import pace

_SIZES = {"Small (360)": 360, "Medium (640)": 640, "Large (1280)": 1280}
_TELL_EVERY = 0.4  # seconds


@dataclass(frozen=True)
class ClipTab:
    """The parts of the tab that take part in events."""

    clip: gr.Video
    size: gr.Radio
    begin: gr.Button
    cancel: gr.Button
    said: gr.HTML
    result: gr.Video


@dataclass
class ClipJob:
    """A clip in the making."""

    stop: threading.Event
    begun: bool = False
    done: int = 0
    total: int | None = None
    since: float = 0.0  # the first frame

    def progress(self, done: int, total: int | None) -> None:
        """Called from the thread that paints."""
        self.since = self.since or time.monotonic()
        self.done, self.total = done, total

    def __str__(self) -> str:
        if not self.since:
            return "Waiting for its turn ..."
        of = f" of {self.total}" if self.total else ""
        seconds = time.monotonic() - self.since
        speed = pace(self.done, self.total, seconds) if self.total else f"{self.done / max(seconds, 1e-9):.2f}/s"
        return f"Frame {self.done}{of}, {speed}"


def tab() -> ClipTab:
    """Lays the tab out."""
    clip = gr.Video(label="Clip", sources=["upload"], height=360, elem_id="clip")
    size = gr.Radio(list(_SIZES), value="Medium (640)", label="Long side in pixels", elem_id="clip-size")
    with gr.Row():
        begin = gr.Button("Paint the clip", variant="primary", elem_id="clip-begin")
        cancel = gr.Button("Cancel", interactive=False, elem_id="clip-cancel")
    said = gr.HTML(elem_id="clip-said")
    result = gr.Video(label="Painted", interactive=False, visible=False, height=360, elem_id="clip-result")
    return ClipTab(clip, size, begin, cancel, said, result)


def connect(page: gr.Blocks, studio: Studio, parts: ClipTab, controls: list[Any], visits: Visits) -> None:
    """Ties the tab to the work.

    Clips have a queue of their own, one at a time, so that pictures need not wait for a film to end.

    Args:
        page: what the tab is on.
        studio: what paints.
        parts: the tab.
        controls: the components that say how: picker, strength, colours, stroke size.
        visits: where results go.
    """
    limits = studio.limits
    clips = Work(workers=1, waiting=2, timeout=2 * limits.clip_timeout)
    studio.on_close.append(clips.close)
    jobs: dict[str, ClipJob] = {}  # by visit

    async def paint(
        path: str | None, size: str, picked: Any, strength: float, color: Any, stroke: float,
        request: gr.Request,
    ) -> AsyncIterator[tuple[Any, ...]]:  # fmt: skip
        idle = gr.update(interactive=True), gr.update(interactive=False)
        if path is None:
            yield *idle, line("There is no clip yet: choose one first.", wrong=True), gr.skip()
            return
        visit = str(request.session_hash)
        if visit in jobs:
            yield gr.skip(), gr.skip(), line("Your other clip is not done: cancel it first.", wrong=True), gr.skip()
            return
        job = jobs[visit] = ClipJob(threading.Event())
        target = visits.new_path(f"{Path(path).stem}-painted.mp4")

        def work() -> Any:
            from impasto.video import StoppedError, stylize_video

            job.begun = True
            if os.path.getsize(path) > limits.max_clip:
                raise TooLargeError(f"the clip has {describe_excess(limits.max_clip)}")
            names, weights = read_chosen(picked)
            mix = Mix([studio.style(name) for name in names], weights)
            with contextlib.suppress(StoppedError):
                return stylize_video(
                    studio.painter,
                    path,
                    mix,
                    target,
                    Controls(strength, read_keep_color(color), stroke),
                    max_size=_SIZES.get(size, 640),
                    max_pixels=limits.max_pixels,
                    end=limits.max_clip_seconds,
                    progress=job.progress,
                    stop=job.stop,
                )
            return None

        async def run() -> Any:
            with studio.count_job("clip"):
                return await clips.run(work)

        task = asyncio.create_task(run())
        try:
            yield gr.update(interactive=False), gr.update(interactive=True), line(str(job)), gr.update(visible=False)
            while not (await asyncio.wait({task}, timeout=_TELL_EVERY))[0]:
                if job.since and time.monotonic() - job.since > limits.clip_timeout:
                    job.stop.set()
                if job.stop.is_set() and not job.begun:
                    task.cancel()  # it only waits: nothing of it is to be finished
                yield gr.skip(), gr.skip(), line("Finishing ..." if job.stop.is_set() else str(job)), gr.skip()
            made = task.result()
            if made is None:
                yield *idle, line("Cancelled."), gr.skip()
                return
            cut = " before it was stopped" if job.stop.is_set() else ""
            words = f"{made.frames} frames in {made.seconds:.0f} s{cut}."
            yield *idle, line(words), gr.update(value=str(target), visible=True)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # it is this that is ended, not the job
            yield *idle, line("Cancelled."), gr.skip()
        except ImpastoError as error:
            error = ImpastoError(str(error).replace(path, "the clip"))
            warn(error)
            yield *idle, line(str(error), wrong=True), gr.skip()
        finally:
            job.stop.set()  # the visitor has gone, or it is done
            jobs.pop(visit, None)

    def leave(request: gr.Request) -> None:
        if job := jobs.get(str(request.session_hash)):
            job.stop.set()

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    shown = [parts.begin, parts.cancel, parts.said, parts.result]
    parts.begin.click(paint, [parts.clip, parts.size, *controls], shown, **quiet)
    parts.cancel.click(leave, None, None, **quiet)
    page.unload(leave)
