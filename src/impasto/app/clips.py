"""Clips over the HTTP API: jobs that one asks about while they are painted, one at a time, beside the pictures."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, HTTPException, Request, Response, UploadFile
from fastapi import Path as PathField
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from impasto.app.answers import BINARY, Answers, problems
from impasto.app.guard import UNFORESEEN
from impasto.app.look import Look, MaxSize, look_of
from impasto.app.studio import Studio, give_up_when_gone
from impasto.app.work import Work
from impasto.controls import Controls, Mix
from impasto.errors import ImpastoError, TooLargeError, UnreadableError

_LOG = logging.getLogger(__name__)
_USUAL = 30.0  # seconds that a clip takes, before one has been painted
_LOOK_EVERY = 1.0  # seconds, at most
_MAX_SIZE = 640  # long side in pixels, unless a client asks for another
_ACCEPTED: Answers = {
    202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Where to ask how far it is."}}}
}
_VIDEO: Answers = {
    200: {"description": "The painted clip.", "content": {"video/mp4": BINARY}},
    206: {"description": "The part of it that the header Range asks for.", "content": {"video/mp4": BINARY}},
}
_NO_VIDEO = {
    "waiting": "the clip waits for its turn",
    "painting": "the clip is being painted",
    "failed": "the clip could not be painted",
    "cancelled": "the clip was cancelled",
}
_GONE = "there is no such clip: it was removed, or kept for long enough"

ClipId = Annotated[str, PathField(description="Of the answer to `POST /v1/clips`.")]
State = Literal["waiting", "painting", "done", "failed", "cancelled"]


class ClipReport(BaseModel):
    """How far a clip is."""

    id: str = Field(description="What to ask for it by.", examples=["7f3c9b1e5a0d4c2f8e6b1a9d3c5f7e20"])
    state: State
    done: int = Field(description="Frames that are painted.")
    total: int | None = Field(
        description="Frames that there will be, as far as that is known; at the end more than `done` if time was up."
    )
    rate: float | None = Field(description="Frames a second.")
    seconds_left: float | None = Field(description="While it is painted, as far as that is known.")
    error: str | None = Field(description="Why it failed or was cancelled.")


@dataclass(eq=False)
class ClipJob:
    """A clip that was sent, and what comes of it; times are those of `time.monotonic`.

    Attributes:
        folder: its own; it goes with the job.
        name: what the result is called where it is saved.
        mix, controls, max_size: see :func:`impasto.video.stylize_video`.
        came, asked, begun, ended: when it was sent, asked about last, begun and ended.
        span: when the first and the last frame were done.
    """

    folder: tempfile.TemporaryDirectory[str]
    name: str
    mix: Mix
    controls: Controls
    max_size: int | None
    came: float
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    state: State = "waiting"
    asked: float = field(default_factory=time.monotonic)
    begun: float | None = None
    ended: float | None = None
    span: tuple[float, float] | None = None
    done: int = 0
    total: int | None = None
    error: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    future: Future[None] | None = None

    @property
    def video(self) -> Path:
        """Where the result lies."""
        return Path(self.folder.name) / "painted.mp4"

    def note_progress(self, done: int, total: int | None) -> None:
        """Called after each frame, from the thread that paints."""
        now = time.monotonic()
        self.span = (self.span[0] if self.span else now, now)
        self.done, self.total = done, total

    def report(self) -> ClipReport:
        """How far it is."""
        seconds = self.span[1] - self.span[0] if self.span else 0
        rate = (self.done - 1) / seconds if self.done > 1 and seconds else None
        left = None
        if self.state == "painting" and rate and self.total is not None:
            left = round(max(0, self.total - self.done) / rate, 1)
        return ClipReport(
            id=self.id,
            state=self.state,
            done=self.done,
            total=self.total,
            rate=rate and round(rate, 2),
            seconds_left=left,
            error=self.error,
        )


class Clips:
    """The clips of a server: one is painted, by a worker of its own so that pictures need not wait, and a few wait.

    Args:
        studio: what paints; its limits say how many clips, and how long they are kept.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio, self._limits = studio, studio.limits
        self._work = Work(1, self._limits.clip_queue, usual=_USUAL)
        self._jobs: dict[str, ClipJob] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None
        studio.on_close.append(self.close)

    def check_room(self) -> None:
        """Raises `BusyError` if no more clips may wait."""
        self._work.check_room()

    def add(self, job: ClipJob) -> None:
        """Puts a job into the queue; its folder is removed with it from now on.

        Raises:
            BusyError: as many wait as may.
        """
        with self._lock:
            job.future = self._work.submit(partial(self._paint, job))
            self._jobs[job.id] = job
            if self._watch is None:
                self._watch = threading.Thread(target=self._keep_watch, name="impasto-clips", daemon=True)
                self._watch.start()

    def find(self, key: str) -> ClipJob:
        """Finds a job, and notes that somebody has asked about it.

        Raises:
            HTTPException: 404, there is none of that id.
        """
        with self._lock:
            job = self._jobs.get(key)
        if job is None:
            raise HTTPException(404, _GONE)
        job.asked = time.monotonic()
        return job

    def remove(self, job: ClipJob) -> None:
        """Forgets a job, whether it has ended or not, and removes its files."""
        self._cancel(job, "removed")
        with self._lock:
            self._jobs.pop(job.id, None)
        if job.state == "done":
            job.folder.cleanup()

    def close(self) -> None:
        """Ends and removes everything."""
        self._closed.set()
        for job in list(self._jobs.values()):
            self.remove(job)
        self._work.close(wait=True)

    def _cancel(self, job: ClipJob, why: str) -> None:
        """Ends a job that has not ended; the files of one that is being painted go when the painter has let go."""
        with self._lock:
            if job.ended is not None:
                return
            job.state, job.error, job.ended = "cancelled", why, time.monotonic()
        job.stop.set()
        if job.future is not None and job.future.cancel():
            job.folder.cleanup()

    def _paint(self, job: ClipJob) -> None:
        """Paints a clip, in the worker's thread."""
        from impasto.video import StoppedError, stylize_video

        with self._lock:
            if job.ended is None:
                job.state, job.begun = "painting", time.monotonic()
        clip, error = _upload_in(job.folder), None
        try:
            with self._studio.count_job("clip", job.came):
                made = stylize_video(
                    self._studio.painter,
                    clip,
                    job.mix,
                    job.video,
                    job.controls,
                    max_size=job.max_size,
                    max_pixels=self._limits.max_pixels,
                    end=self._limits.max_clip_seconds,
                    progress=job.note_progress,
                    stop=job.stop,
                )
            job.done, job.total = made.frames, job.total if made.stopped else made.frames
            clip.unlink()
        except StoppedError:
            error = f"not one frame was painted in {self._limits.clip_timeout:g} s"
        except ImpastoError as problem:
            error = str(problem).replace(str(clip), "the clip").replace(str(job.video), "the painted clip")
        except Exception:
            _LOG.exception("painting a clip")
            error = UNFORESEEN
        with self._lock:
            if job.ended is None:
                job.state, job.error, job.ended = "failed" if error else "done", error, time.monotonic()
        if job.state != "done":
            job.folder.cleanup()

    def _keep_watch(self) -> None:
        limits = self._limits
        times = limits.clip_unasked, limits.clip_timeout, limits.clip_kept
        while not self._closed.wait(min(_LOOK_EVERY, *(seconds / 4 for seconds in times))):
            now = time.monotonic()
            jobs = list(self._jobs.values())
            for job in jobs:
                if job.ended is None and now - job.asked > limits.clip_unasked:
                    self._cancel(job, f"nobody asked about it for {limits.clip_unasked:g} s")
                elif job.begun is not None and now - job.begun > limits.clip_timeout:
                    job.stop.set()  # what is done is finished
            ended = sorted((job for job in jobs if job.ended is not None), key=lambda job: job.ended or 0)
            for place, job in enumerate(reversed(ended)):
                if place >= limits.clips_kept or now - (job.ended or 0) > limits.clip_kept:
                    self.remove(job)


def _upload_in(folder: tempfile.TemporaryDirectory[str]) -> Path:
    return Path(folder.name) / "clip"


def add_routes(api: APIRouter, studio: Studio) -> None:
    """Adds the routes of clips, which are kept in this process."""
    clips, limits = Clips(studio), studio.limits

    @api.post(
        "/v1/clips",
        summary="Paint a clip",
        status_code=202,
        responses=_ACCEPTED | problems(400, 401, 413, 415, 422, 503, 504),
        description=f"Takes a clip of up to {limits.max_clip / 1e6:g} MB, of which {limits.max_clip_seconds:g} s are "
        f"painted. Ask how far it is now and then: a clip that nobody asks about for {limits.clip_unasked:g} s is "
        "cancelled, unless it is done. "
        f"A result is kept for {limits.clip_kept:g} s, the last {limits.clips_kept} of them.",
    )
    async def add_clip(
        request: Request,
        response: Response,
        clip: Annotated[UploadFile, File(description="The clip: MP4, MOV, MKV, WebM, AVI, GIF and the like.")],
        max_size: MaxSize = _MAX_SIZE,
        look: Look = Depends(look_of(studio)),  # noqa: B008
    ) -> ClipReport:
        came = time.monotonic()
        folder = tempfile.TemporaryDirectory(prefix="impasto-", ignore_cleanup_errors=True)
        upload = _upload_in(folder)

        def save() -> None:
            with open(upload, "wb") as file:
                shutil.copyfileobj(clip.file, file)

        def check() -> tuple[Mix, Controls]:
            from impasto.video.clip import Clip

            try:
                Clip(upload, max_pixels=limits.max_pixels)
            except ImpastoError as error:
                kind = TooLargeError if isinstance(error, TooLargeError) else UnreadableError
                raise kind(str(error).replace(str(upload), "the clip")) from None
            return look()

        try:
            with studio.count_refusals("clip"):
                clips.check_room()
                await run_in_threadpool(save)
                mix, controls = await give_up_when_gone(request, studio.work.run(check))
                job = ClipJob(folder, _name_result(clip.filename), mix, controls, max_size, came)
                clips.add(job)
        except BaseException:
            folder.cleanup()
            raise
        response.headers["location"] = f"{request.scope.get('root_path', '')}/v1/clips/{job.id}"
        return job.report()

    @api.get("/v1/clips/{id}", summary="How far is a clip?", responses=problems(401, 404))
    async def get_clip(id: ClipId) -> ClipReport:
        return clips.find(id).report()

    @api.get(
        "/v1/clips/{id}/video",
        summary="Get a painted clip",
        response_class=FileResponse,
        responses=_VIDEO | problems(400, 401, 404, 409, 416),
        description="An MP4 with the clip's sound. Parts of it are given, by the header Range.",
    )
    async def get_video(id: ClipId) -> FileResponse:
        job = clips.find(id)
        if job.state != "done":
            raise HTTPException(409, f"{_NO_VIDEO[job.state]}: {job.error or f'GET /v1/clips/{id} says how far it is'}")
        return FileResponse(job.video, media_type="video/mp4", filename=job.name, headers={"cache-control": "no-store"})

    @api.delete("/v1/clips/{id}", summary="Cancel and remove a clip", status_code=204, responses=problems(401, 404))
    async def remove_clip(id: ClipId) -> None:
        clips.remove(clips.find(id))


def _name_result(sent: str | None) -> str:
    """Names what is made of a file that a client calls so, with or without its folders."""
    name = re.split(r"[/\\]", sent or "")[-1]
    return f"{Path(name).stem[:100] or 'clip'}-painted.mp4"
