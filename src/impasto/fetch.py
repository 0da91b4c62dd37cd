"""Fetches weights that do not ship with impasto, once, into the cache, and checks them before they are used."""

from __future__ import annotations

import hashlib
import http.client
import importlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from impasto import __version__
from impasto.errors import ImpastoError
from impasto.extras import explain_missing
from impasto.progress import track
from impasto.vgg16 import check_vgg16
from impasto.vgg19 import cache_folder, read_weights


@dataclass(frozen=True)
class Source:
    """A file on the web.

    Attributes:
        url: where it is.
        file: what to call it in the cache.
        sha256: of its bytes, or the first digits of it; None where nobody published it: then `check` alone decides.
        check: raises `ImpastoError` unless the file at a path holds what it should.
        needs: the module without which the file cannot be read, if any.
    """

    url: str
    file: str
    sha256: str | None
    check: Callable[[Path], None]
    needs: str | None = None


def check_vgg19(path: Path) -> None:
    """Raises `ImpastoError` unless a file holds the normalised VGG-19: shapes, and fingerprints to relu4_1."""
    weights = read_weights(path)
    for key, expected in _VGG19.items():
        weight = weights[key]
        if not np.all(np.abs(np.subtract(fingerprint(weight), expected)) < _TOLERANCE * expected[1]):
            raise ImpastoError(f"{path} is not the normalised VGG-19: {key} holds other numbers")


def fingerprint(weight: np.ndarray) -> tuple[float, float, float]:
    """Takes mean, standard deviation, and projection on cos(0), cos(1), cos(2) ..., which depends on the order too."""
    values = weight.ravel().astype(np.float64)
    return values.mean(), values.std(), np.cos(np.arange(values.size)) @ values / np.sqrt(values.size)


SOURCES = {
    "vgg19": Source(
        url="https://github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0/vgg_normalised.pth",
        file="vgg_normalised.pth",
        sha256=None,  # its author gives none, and one that nobody has checked would be worse than none
        check=check_vgg19,
        needs="torch",
    ),
    "vgg16": Source(
        url="https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
        file="vgg16_features-amdegroot-88682ab5.pth",
        sha256="88682ab5",  # PyTorch publishes so many digits, in the file's name
        check=check_vgg16,
        needs="torch",
    ),
}

#: `fingerprint` of each weight of the normalised VGG-19 up to relu4_1.
_VGG19: dict[str, tuple[float, float, float]] = {
    "0.weight": (85, 120.21, -9.3177),
    "0.bias": (-114.8, 8.1799, -66.722),
    "2.weight": (-8.1058e-05, 0.011521, -0.0066664),
    "2.bias": (0.024675, 0.013867, -0.007331),
    "5.weight": (0.00087099, 0.014392, 0.0072282),
    "5.bias": (-0.00059838, 0.0063757, 0.0044607),
    "9.weight": (-0.00084603, 0.037067, 0.0024065),
    "9.bias": (0.00056498, 0.0018152, 0.0012605),
    "12.weight": (-0.00072114, 0.037422, 0.0099282),
    "12.bias": (1.8026e-05, 0.0019317, -0.0012446),
    "16.weight": (-0.00040151, 0.020256, 0.0010781),
    "16.bias": (0.00015243, 0.00063097, -0.00013625),
    "19.weight": (-2.174e-05, 0.011626, -0.0057571),
    "19.bias": (0.00029308, 0.00054731, -1.5645e-05),
    "22.weight": (0.00034809, 0.0056352, -0.0021517),
    "22.bias": (0.00012479, 0.00022487, 0.00012979),
    "25.weight": (0.00020868, 0.0098549, 0.00058927),
    "25.bias": (2.872e-05, 9.1703e-05, -8.3975e-05),
    "29.weight": (-0.00010738, 0.010798, 0.0005103),
    "29.bias": (3.7083e-05, 6.5666e-05, -3.4621e-05),
}
#: In standard deviations of the weight. Copies in float16 or with 8 bits a weight are within; another VGG-19 is not.
_TOLERANCE = 0.03

_CHUNK = 2**20
_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 5  # in a row, without a byte gained
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others in a moment


def fetch(
    name: str,
    *,
    url: str | None = None,
    sha256: str | None = None,
    sources: dict[str, Source] = SOURCES,
    pause: float = 1,
) -> Path:
    """Fetches a file into the cache, unless it is there, and returns its path.

    What has arrived when a connection breaks is kept and gone on from, now and at the next call. Nothing stands under
    the file's own name before it has been checked.

    Args:
        name: which of `sources`.
        url: where to fetch it from instead.
        sha256: what its bytes must hash to, in full or the first digits.
        sources: what can be fetched.
        pause: seconds before the first new try; each further one waits twice as long.
    """
    if name not in sources:
        raise ImpastoError(f"nothing to fetch is called {name}: choose {', '.join(sources)}")
    source = sources[name]
    url, sha256 = url or source.url, sha256 or source.sha256
    if source.needs:
        with explain_missing(f"reading {source.file}"):
            importlib.import_module(source.needs)  # now, and not after the fetching
    path = cache_folder() / source.file
    part = path.with_name(f"{path.name}.part")
    if path.is_file():
        try:
            _verify(path, source, sha256)
        except ImpastoError as error:
            raise ImpastoError(f"{error}; delete it to fetch it again") from error
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, pause)
        try:
            _verify(part, source, sha256)
        except ImpastoError as error:
            part.unlink()
            raise ImpastoError(f"{url} gave a wrong file, which was deleted: {error}") from error
        os.replace(part, path)
    except OSError as error:
        raise ImpastoError(
            f"cannot write to the cache {path.parent}: {error.strerror}; free space there or set IMPASTO_CACHE"
        ) from error
    return path


def _verify(path: Path, source: Source, sha256: str | None) -> None:
    if sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(sha256.lower()):
            raise ImpastoError(f"the sha256 of {path} is {found}, not {sha256.lower()}")
    source.check(path)


def _download(url: str, part: Path, pause: float) -> None:
    """Fetches a file from where an earlier call left off, and tries again when the connection fails."""
    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            if _go_on(url, part, have):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code not in _PASSING:
                raise ImpastoError(f"cannot fetch {url}: {error.code} {error.reason}; give another --url") from None
            reason = f"{error.code} {error.reason}"
        except _NetworkError as error:
            reason = str(error)
        failures = 0 if part.exists() and part.stat().st_size > have else failures + 1
        if failures == _TRIES:
            raise ImpastoError(f"cannot fetch {url}: {reason}; run the command again later, or give another --url")
        time.sleep(pause * 2 ** max(0, failures - 1))


class _NetworkError(Exception):
    """The network failed, which is worth another try; an error of the disk, an OSError as well, is not."""


def _go_on(url: str, part: Path, have: int) -> bool:
    """Fetches what is missing after the first `have` bytes; tells whether everything is there now."""
    headers = {"User-Agent": f"impasto/{__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except ValueError:
        raise ImpastoError(f"{url} is not a web address: begin it with https://") from None
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()  # longer than the file on the server: what is here belongs to another
        return False
    except (OSError, http.client.HTTPException) as error:
        raise _NetworkError(getattr(error, "reason", None) or error) from error
    with response:
        resumed = re.match(rf"bytes {have}-", response.headers.get("Content-Range", "")) if have else None
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file:
            for block in track(
                _read_blocks(response), f"Fetching {part.stem} (MB)", ((total or start) - start) // _CHUNK
            ):
                file.write(block)
        return total is None or part.stat().st_size == total


def _read_blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read(_CHUNK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _NetworkError(error) from error
