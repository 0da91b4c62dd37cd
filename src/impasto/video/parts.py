"""Keeps work in progress beside the file to write, so that a killed run can be taken up again.

A hidden folder holds ``settings.json`` (what was asked for), ``frames.txt`` (a line with time stamp and duration for
each frame that went to the encoder) and one file of encoded video for each run, named by the number of its first frame.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error

from impasto.errors import ImpastoError
from impasto.files import open_work_folder, reason, write_file
from impasto.video.source import file_url

_ROUNDING = Fraction(1, 2000)  # seconds that a time stamp may be off in Matroska, which counts milliseconds
_NOTED = re.compile(r"(-?\d+) (\d+)\n")


@dataclass(frozen=True)
class Part:
    """A file of encoded video, of which the first `frames` packets count."""

    path: Path
    frames: int


class Parts:
    """The folder in which a run keeps the video that it has encoded so far.

    Args:
        out: the file to write in the end.
        settings: everything that the painted frames depend on, ready for ``json.dumps``.
        time_base: seconds in a unit of time stamps.
        resume: go on from what is there, if there is anything.

    Attributes:
        count: how many frames there are.
        last: time stamp and duration of the last of them; None if there is none.
        path: where this run's video goes.
        whole: where the file is put together.

    Raises:
        ImpastoError: what is there was made with other settings, or the folder cannot be made.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], time_base: Fraction, *, resume: bool) -> None:
        self._time_base = time_base
        try:
            self.folder, left = open_work_folder(out, settings, resume=resume)
            times = self._keep_whole() if left else []
            log = self.folder / "frames.txt"
            write_file(log, "".join(f"{pts} {duration}\n" for pts, duration in times).encode())
            self._log = open(log, "a", encoding="ascii")  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise ImpastoError(f"cannot write {out}: {reason(error, str(out))}") from None
        self.count, self.last = len(times), times[-1] if times else None
        self.path, self.whole = self.folder / f"{self.count:09}.mp4", self.folder / "whole"

    def note(self, pts: int, duration: int) -> None:
        """Writes down a frame, before it goes to the encoder."""
        self._log.write(f"{pts} {duration}\n")
        self._log.flush()
        self.count, self.last = self.count + 1, (pts, duration)

    def files(self) -> list[Part]:
        """Lists the files of video, in order."""
        paths = sorted(self.folder.glob("*.mp4"))
        bounds = [*(int(path.stem) for path in paths), self.count]
        return [Part(path, stop - first) for path, (first, stop) in zip(paths, pairwise(bounds), strict=True)]

    def close(self, *, keep: bool) -> None:
        """Ends the run; the folder goes unless it is to be kept."""
        self._log.close()
        with contextlib.suppress(OSError):
            self.whole.unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _keep_whole(self) -> list[tuple[int, int]]:
        """Finds the frames of earlier runs that are whole; a file without any is removed.

        An encoder writes frames in another order than they are shown, so of the last file, which was cut off
        somewhere, those count up to where as many packets are there as frames are due: what they are predicted from
        is then among them.
        """
        times = self._read_log()
        for path in sorted(self.folder.glob("*.mp4"), reverse=True):
            first = int(path.stem)
            due = [pts for pts, _ in times[first:]]
            whole, latest = 0, due[0] - 1 if due else 0
            for number, (pts, expected) in enumerate(zip(self._read_time_stamps(path), due, strict=False), 1):
                latest = max(latest, pts)
                if abs(latest - expected) * self._time_base <= _ROUNDING:
                    whole = number
            times = times[: first + whole]
            if whole:
                break
            path.unlink()
        else:
            times = []
        return times

    def _read_log(self) -> list[tuple[int, int]]:
        """Reads what `note` wrote, up to the first line that is not whole: a power cut may damage it, or leave none."""
        log = self.folder / "frames.txt"
        text = log.read_text("ascii", "replace") if log.exists() else ""
        times: list[tuple[int, int]] = []
        at = 0
        while line := _NOTED.match(text, at):
            times.append((int(line[1]), int(line[2])))
            at = line.end()
        return times

    def _read_time_stamps(self, path: Path) -> Iterator[int]:
        """Reads the time stamps of a file's packets in the order of decoding, up to the first that is damaged."""
        with contextlib.suppress(av.error.FFmpegError), av.open(file_url(path)) as container:
            for packet in packets(container):
                yield round(packet.pts * packet.time_base / self._time_base)


def packets(container: av.container.InputContainer) -> Iterator[Any]:
    """Reads the packets of the first video stream, in the order of decoding."""
    return (packet for packet in container.demux(container.streams.video[0]) if packet.dts is not None)
