"""Systems that optimise or match while they paint: no training, any style, seconds to minutes a picture.

Each is a :class:`impasto.stylizer.Stylizer` whose styles are the pictures themselves, and whose options are the fields
of a dataclass. They need PyTorch and VGG-19.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from impasto.checks import plain
from impasto.errors import ImpastoError
from impasto.extras import explain_missing

if TYPE_CHECKING:
    from impasto.stylizer import Stylizer


class Entry(NamedTuple):
    """Where a method is, and what it is."""

    module: str
    kind: str
    description: str


#: The methods by name.
METHODS: Mapping[str, Entry] = MappingProxyType({
    "gatys": Entry("gatys", "Gatys", "optimises each picture (Gatys 2016): swirling textures; minutes a picture"),
    "mrf": Entry("mrf", "MRF", "optimises each picture by patches (Li and Wand 2016): its pieces; minutes a picture"),
    "style-swap": Entry("swap", "StyleSwap", "swaps feature patches (Chen and Schmidt 2016): softly; half a minute"),
})  # fmt: skip


def method_options(name: str) -> Any:
    """The dataclass whose fields are the options of a method."""
    return _method(name).Options


def open_method(name: str, threads: int | None, options: dict[str, Any]) -> Stylizer:
    """A method by its name in `METHODS`.

    Args:
        threads: processor threads; None leaves one for each physical core.
        options: fields of the method's `Options`; text is read as what the field takes. And `preset`, a name of several
            that go together, which the others go before.
    """
    kind, presets, options = method_options(name), _method(name).presets, dict(options)
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)] + ["preset"] * bool(presets)
    if presets and (preset := options.pop("preset", None)) is not None:
        if preset not in presets:
            raise ImpastoError(f"{name} has no preset {preset}: choose {', '.join(presets)}")
        options = {**presets[preset], **options}
    if unknown := [option for option in options if option not in known]:
        raise ImpastoError(f"{name} has no option {unknown[0]}: it has {', '.join(known)}")
    values = {option: _read(f"{name}: {option}", value, hints[option]) for option, value in options.items()}
    stylizer: Stylizer = _method(name)(kind(**values), threads)
    return stylizer


def _method(name: str) -> Any:
    entry = METHODS[name]
    with explain_missing(name):
        module = importlib.import_module(f"impasto.methods.{entry.module}")
    return getattr(module, entry.kind)


def _read(name: str, value: Any, hint: Any) -> Any:
    """The value of an option as its type hint wants it; raises `ImpastoError` where it cannot be that.

    Hints are int, float, bool (in text true or false), other classes, Literal, tuple[X, ...] (in text with commas
    between) and unions of these.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for kind in kinds:
        try:
            return _convert(name, value, kind)
        except (TypeError, ValueError):
            continue
    raise ImpastoError(f"{name} must be {' or '.join(map(_describe, kinds))}, not {value}")


def _convert(name: str, value: Any, kind: Any) -> Any:
    value = plain(value)
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
    elif get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        return tuple(_read(name, item, get_args(kind)[0]) for item in items)
    elif kind is bool and value in ("true", "false"):
        return value == "true"
    elif kind in (int, float) and not isinstance(value, bool) and kind(value) == float(value):
        return kind(value)
    elif kind not in (int, float) and isinstance(value, kind):
        return value
    raise ValueError


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is tuple:
        return f"{_describe(get_args(kind)[0])}, or several with commas between"
    names: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false",
                             type(None): "left out"}  # fmt: skip
    return names.get(kind) or str(kind.__name__)
