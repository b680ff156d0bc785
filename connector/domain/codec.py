"""Frozen values to canonical JSON and back: order snapshots, instructions, pre-images, decisions.

cattrs does the work. Canonical means sorted keys, no blanks, UTF-8: equal values give equal bytes.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final, TypeVar

from cattrs import Converter

from connector.domain.steps import Fact

T = TypeVar("T")


def _exactly(value: Any, kind: type[T]) -> T:  # noqa: ANN401 - JSON
    """What JSON has a form for comes back as it is or not at all: a null is no text, and a text no number."""
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _fraction(text: str, _kind: object) -> Fraction:
    try:
        return Fraction(_exactly(text, str))
    except ZeroDivisionError:
        raise ValueError("a fraction of zero parts") from None


def _fact(fact: Any, _kind: object) -> Fact:  # noqa: ANN401 - JSON
    if isinstance(fact, dict):
        return _fraction(fact["fraction"], Fraction)
    return fact if isinstance(fact, str) else _exactly(fact, int)


_CONVERTER: Final = Converter(detailed_validation=False, unstruct_collection_overrides={frozenset: sorted, set: sorted})
for _json in (bool, int, str):
    _CONVERTER.register_structure_hook(_json, _exactly)
_CONVERTER.register_structure_hook(StrEnum, lambda text, kind: kind(text))
_CONVERTER.register_unstructure_hook(datetime, lambda value: value.isoformat())
_CONVERTER.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
_CONVERTER.register_unstructure_hook(date, lambda value: value.isoformat())
_CONVERTER.register_structure_hook(date, lambda text, _: date.fromisoformat(text))
_CONVERTER.register_unstructure_hook(Fraction, str)
_CONVERTER.register_structure_hook(Fraction, _fraction)
# A step's facts are of several types; only a fraction has no form of its own in JSON.
_CONVERTER.register_unstructure_hook(Fact, lambda fact: {"fraction": str(fact)} if isinstance(fact, Fraction) else fact)
_CONVERTER.register_structure_hook(Fact, _fact)


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """`value` as dicts, lists, strings, numbers."""
    return _CONVERTER.unstructure(value)


def write(value: object) -> bytes:
    """Canonical JSON of a frozen value."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(data: bytes, kind: type[T]) -> T:
    """The value that `write` wrote. Raises `ValueError`, `KeyError` or `TypeError` on anything else."""
    return _CONVERTER.structure(json.loads(data), kind)
