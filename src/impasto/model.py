"""A model is a folder: ``content.onnx``, ``weights.safetensors``, ``card.json`` and perhaps two files more.

``style.onnx`` makes a picture's style of the picture and its feature statistics, where these are not the style
themselves; ``gallery.safetensors`` holds the styles that come with the model; ``content-int8.xml`` and ``.bin`` are the
content graph in eight bits, for OpenVINO.

A graph whose weights may not ship (the paper's network holds VGG-19) names an external ``weights.bin`` instead of
carrying them. That file is put together once, in the cache, from the encoder found on this machine and the trained
weights in the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from impasto import __version__
from impasto.errors import ImpastoError
from impasto.files import write_file
from impasto.style import Style, gallery, read_gallery
from impasto.tensors import read_tensors
from impasto.vgg19 import cache_folder, find_weights, locate

_SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "adain"
#: The content graph in eight bits; its weights lie beside it, in a ``.bin``.
INT8 = "content-int8.xml"

_LARGEST_CARD = 16_000_000  # bytes; a card with thousands of styles has less than one
_MOST = 8_192  # channels of a layer, and pixels of a stride or a reach, of any network that can be run

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model's ``card.json`` tells: a field for each of its keys, in their order; what is None is left out.

    Attributes:
        name: of the model.
        description: what it is, in a line.
        network, arguments: which of :data:`impasto.networks.NETWORKS`, and what it was made with.
        adaptive: channels of each adaptive layer.
        strides: pixels from one feature of each adaptive layer to the next.
        style_size: length of a style tensor, where that is not the length of the content statistics.
        styles: names of those that it was trained on; empty where it takes the style of any picture.
        made_with, licence: the version of impasto, and the terms of the weights.
        training: its stages, each with settings, seed, steps and pictures.
        encoder: "vgg19" where the network holds VGG-19, which does not ship with the model; else None.
        external: names of the weights that the graph does not carry, in the order it wants them in.
        fingerprint: see :func:`fingerprint`.
        gallery: where the styles that come with it are from.
        reach: how many pixels beyond a tile's edge count for what is inside; None where all do, and tiles are no use.
        reference: the means of 16 x 16 pixels of a test picture that it painted.
        quality: what it scored, see :func:`impasto.evaluate.report.record`.
        int8: "sha256" and "reference" of the graph in eight bits, and how it was made.
        fitted: how the styles that come with it were fitted to their paintings.
        judge: how the small VGG-19 was made that styles are fitted by, see :mod:`impasto.fitting`.
        more: keys that another version of impasto wrote.
    """

    name: str
    description: str | None = None
    network: str
    arguments: dict[str, Any] = field(default_factory=dict)
    adaptive: list[int]
    strides: list[int] | None = None
    style_size: int | None = None
    styles: list[str] = field(default_factory=list)
    made_with: str | None = None
    licence: str | None = None
    training: list[dict[str, Any]] = field(default_factory=list)
    encoder: str | None = None
    external: list[str] | None = None
    fingerprint: str
    gallery: str | None = None
    reach: int | None = None
    reference: list[Any] | None = None
    quality: dict[str, Any] | None = None
    int8: dict[str, Any] | None = None
    fitted: list[dict[str, Any]] | None = None
    judge: dict[str, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Reads the card of a model folder.

        Raises:
            ImpastoError: there is none, or it is damaged.
        """
        path = folder / "card.json"
        try:
            if path.stat().st_size > _LARGEST_CARD:
                raise ValueError("it is too long")
            told = json.loads(path.read_text("utf-8"), parse_constant=_refuse, parse_float=_read_float)
        except RecursionError:
            raise ImpastoError(f"{path} is not a model card: it is nested too deep") from None
        except (OSError, ValueError) as error:
            raise ImpastoError(f"{path} is not a model card: {error}") from error
        if not isinstance(told, dict):
            raise ImpastoError(f"{path} is not a model card: it holds no keys")
        kinds = get_type_hints(cls)
        del kinds["more"]
        known = {key: value for key, value in told.items() if key in kinds}
        for key in ("name", "network", "adaptive", "fingerprint", *known):
            value = known.get(key)
            if not _fits(value, kinds[key]) or (value is not None and key in _SOUND and not _SOUND[key](value)):
                raise ImpastoError(f"{path} is not a model card: its {key} is missing or damaged")
        return cls(**known, more={key: value for key, value in told.items() if key not in kinds})

    def write(self, folder: Path) -> None:
        """Writes ``card.json`` into a model folder."""
        told = {key: value for key, value in vars(self).items() if value is not None and key != "more"}
        write_file(folder / "card.json", (json.dumps(told | self.more, indent=1) + "\n").encode())


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON is of a type such as ``list[int] | None``."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(one, get_args(kind)[0]) for one in value)
    return kind is Any or (
        isinstance(value, get_origin(kind) or kind) and (kind is bool or not isinstance(value, bool))
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _read_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is too large")
    return value


def _is_name(value: Any) -> bool:
    """Whether a text can be shown in a line, and be a file's name or a part of it."""
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _is_reference(value: Any) -> bool:
    try:
        means = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    return means.shape == (4, 4, 3) and bool(np.all((means >= 0) & (means <= 255)))


def _are_sizes(values: list[int]) -> bool:
    return 0 < len(values) <= 1000 and all(0 < value <= _MOST for value in values)


#: What else the values of a card must be, for nothing that relies on them to fail later.
_SOUND: dict[str, Callable[[Any], bool]] = {
    "name": _is_name,
    "network": _is_name,
    "fingerprint": _is_name,
    "arguments": lambda value: all(
        isinstance(one, str) or (isinstance(one, int) and 0 <= one <= 1024) for one in value.values()
    ),
    "adaptive": _are_sizes,
    "strides": _are_sizes,
    "style_size": lambda value: 0 < value <= 1000 * _MOST,
    "styles": lambda value: all(map(_is_name, value)) and len(set(value)) == len(value),
    "encoder": lambda value: value == "vgg19",
    "reach": lambda value: 0 <= value <= _MOST,
    "reference": _is_reference,
    # Its reference is painted last, when a graph in eight bits is made.
    "int8": lambda value: (
        isinstance(value.get("sha256"), str) and ("reference" not in value or _is_reference(value["reference"]))
    ),
}


@dataclass(frozen=True)
class Model:
    """A model folder and what its card says.

    Attributes:
        folder: where its files lie.
        card: the contents of ``card.json``.
    """

    folder: Path
    card: Card

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def fingerprint(self) -> str:
        return self.card.fingerprint

    @property
    def channels(self) -> list[int]:
        """How many channels each adaptive layer has."""
        return self.card.adaptive

    @property
    def strides(self) -> list[int]:
        """How many pixels lie between features of each adaptive layer; a tile begins at a multiple of the largest."""
        return self._require(self.card.strides, "strides")

    @property
    def reach(self) -> int:
        """How many pixels beyond a tile's edge count for what is inside, see :func:`impasto.export.measure_reach`."""
        if self.card.reach is None:
            raise ImpastoError(f"the model {self.name} paints pictures in one piece alone: scale this one down")
        return self.card.reach

    def _require(self, told: T | None, key: str) -> T:
        if told is None:
            raise ImpastoError(f"the card of the model {self.name} does not tell its {key}: export the model again")
        return told

    def reference(self, precision: str) -> list[Any]:
        """The means of 16 x 16 pixels of what :func:`impasto.graph.paint_reference` paints, at "int8" or another."""
        in_bytes = (self.card.int8 or {}).get("reference")
        return self._require(in_bytes if precision == "int8" else self.card.reference, "reference")

    @property
    def stats_size(self) -> int:
        """T, the length of the content statistics."""
        return 2 * sum(self.channels)

    @property
    def style_size(self) -> int:
        """S, the length of a style tensor: T, unless the card says otherwise."""
        return self.card.style_size or self.stats_size

    @property
    def trained_styles(self) -> list[str]:
        """Names of the styles that the model was trained on; empty where it takes the style of any picture."""
        return self.card.styles

    @cached_property
    def gallery(self) -> dict[str, Style]:
        """The styles that come with the model, by name."""
        path = self.folder / "gallery.safetensors"
        styles = read_gallery(path, self.fingerprint, self.style_size, self.trained_styles or gallery())
        if missing := [name for name in self.trained_styles if name not in styles]:
            raise ImpastoError(f"{path} has no style {missing[0]}: export the model again")
        return styles

    def weights(self) -> dict[str, np.ndarray]:
        """Reads the network's weights by their PyTorch names, float32; the encoder's from where this machine has it.

        Raises:
            ImpastoError: the file is damaged, or the encoder is not on this machine.
        """
        path = self.folder / "weights.safetensors"
        try:
            trained: dict[str, np.ndarray] = dict(read_tensors(path).arrays)
        except (OSError, ValueError) as error:
            raise ImpastoError(f"{path} cannot be read: {error}") from error
        if self.card.encoder == "vgg19":
            trained |= {f"encoder.{key}": value for key, value in find_weights().items()}
        return trained

    @property
    def remedy(self) -> str:
        """What to do where its files are damaged."""
        return f"{'install impasto' if self.folder.parent == _SHIPPED else 'get the model'} again"

    def check(self) -> None:
        """Raises `ImpastoError` unless the files are those that the card was written for."""
        try:
            sound = fingerprint(self.folder) == self.fingerprint
        except OSError:
            sound = False
        if not sound:
            raise ImpastoError(f"the files of model {self.name} in {self.folder} are damaged: {self.remedy}")

    def push(self, repository: str, *, private: bool = False) -> str:
        """Uploads the model to the Hugging Face Hub, in one commit. Needs ``impasto[hub]`` and `hf auth login`.

        Args:
            repository: ``owner/name``; it is made if there is none.
            private: if it is made, let nobody else see it.

        Returns:
            the address of just this version, ``hf://owner/name@commit``, for :func:`impasto.load`.

        Raises:
            ImpastoError: the files are damaged, the Hub cannot be reached, or you may not write there.
        """
        from impasto.hub import upload_model

        return upload_model(self, repository, private=private)

    def graph(self) -> Path:
        """Gives the path of a complete content graph.

        Raises:
            ImpastoError: the files are damaged, or the encoder is not on this machine.
        """
        self.check()
        if self.card.external is None:
            return self.folder / "content.onnx"
        return self._assemble(self.card.external)

    def style_graph(self) -> Path | None:
        """Gives the path of the graph that makes a picture's style; None where that is its feature statistics."""
        path = self.folder / "style.onnx"
        return path if path.is_file() else None

    def int8_graph(self) -> Path | None:
        """Gives the path of the content graph in eight bits, for OpenVINO; None where there is none.

        Raises:
            ImpastoError: its files are damaged.
        """
        if self.card.int8 is None:
            return None
        path = self.folder / INT8
        try:
            files = path, path.with_suffix(".bin")
            sound = all(file.is_file() for file in files)  # a pipe would be waited for
            sound = sound and digest_of_int8(self.folder) == self.card.int8.get("sha256")
        except OSError:
            sound = False
        if not sound:
            raise ImpastoError(f"{path} is damaged: {self.remedy}, or give --precision fp32")
        return path

    def _assemble(self, external: list[str]) -> Path:
        """Puts the graph and its weights together in the cache, unless they lie there whole.

        What lies there is found by all that it is made of, so that no model can take another's place.
        """
        # Which VGG-19 it was made from is told by the file, not by its contents: those need not be read every time.
        source = locate() if self.card.encoder else None
        stamp = (str(source), source.stat().st_size, source.stat().st_mtime_ns) if source else ()
        recipe = repr((__version__, fingerprint(self.folder), self.card.encoder, external, stamp))
        folder = cache_folder() / f"graph-{hashlib.sha256(recipe.encode()).hexdigest()[:32]}"
        if _is_whole(folder):
            return folder / "content.onnx"
        weights = self.weights()
        if missing := [name for name in external if name not in weights]:
            raise ImpastoError(f"the model {self.name} has no weights {missing[0]!r}: export the model again")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as temporary:
                made = Path(temporary) / "model"
                made.mkdir()
                (made / "weights.bin").write_bytes(
                    b"".join(np.ascontiguousarray(weights[name]).tobytes() for name in external)
                )
                shutil.copyfile(self.folder / "content.onnx", made / "content.onnx")
                from impasto.session import open_session  # here: listing models wants no runtime

                open_session(made / "content.onnx", self.name)  # what does not open is not kept
                (made / "sha256").write_text(_digest_of_assembled(made))
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one
                try:
                    os.rename(made, folder)
                except OSError:
                    if not _is_whole(folder):  # else another process was first, with the same bytes
                        raise
        except OSError as error:
            raise ImpastoError(
                f"cannot write to the cache {folder.parent}: {error.strerror}; set IMPASTO_CACHE to another folder"
            ) from error
        return folder / "content.onnx"


def _is_whole(folder: Path) -> bool:
    """Whether a graph and its weights lie in the cache as they were put there."""
    try:
        return (folder / "sha256").read_text() == _digest_of_assembled(folder)
    except (OSError, ValueError):
        return False


def _digest_of_assembled(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("content.onnx", "weights.bin"):
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def fingerprint(folder: Path) -> str:
    """Identifies what a model computes: sha256 over its graphs and trained weights, 16 hex digits."""
    digest = hashlib.sha256()
    for name in ("content.onnx", "weights.safetensors", "style.onnx"):
        if name != "style.onnx" or (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def digest_of_int8(folder: Path) -> str:
    """Computes the sha256 of a content graph in eight bits and its weights."""
    path = folder / INT8
    return hashlib.sha256(path.read_bytes() + path.with_suffix(".bin").read_bytes()).hexdigest()


def shipped_models() -> list[Model]:
    """Reads the models that come with impasto, the default first."""
    folders = sorted((p.parent for p in _SHIPPED.glob("*/card.json")), key=lambda p: (p.name != DEFAULT, p.name))
    return [_read_model(folder) for folder in folders]


def find_model(name_or_path: str | os.PathLike[str] = DEFAULT) -> Model:
    """Finds the model of that name, in that folder, or on the Hugging Face Hub (``hf://owner/name@revision``)."""
    if str(name_or_path).startswith("hf://"):
        from impasto.hub import download_model

        return _read_model(download_model(str(name_or_path)))
    if (_SHIPPED / name_or_path / "card.json").is_file() and os.sep not in str(name_or_path):
        return _read_model(_SHIPPED / name_or_path)
    if (Path(name_or_path) / "card.json").is_file():
        return _read_model(Path(name_or_path))
    names = ", ".join(model.name for model in shipped_models())
    raise ImpastoError(f"no model {name_or_path}: choose {names}, or give a folder that holds a card.json")


def _read_model(folder: Path) -> Model:
    model = Model(folder, Card.read(folder))
    if missing := [n for n in ("content.onnx", "weights.safetensors") if not (folder / n).is_file()]:
        raise ImpastoError(f"the model folder {folder} has no {missing[0]}")
    return model
