"""Frozen values to canonical JSON and back: order snapshots, instructions, pre-images, decisions.

cattrs does the work. Canonical means sorted keys, no blanks, UTF-8: equal values give equal bytes.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from fractions import Fraction
from typing import Any, Final, TypeVar

from cattrs import Converter

from connector.domain.steps import Fact

T = TypeVar("T")
_FRACTION: Final = re.compile(r"-?[0-9]+/[0-9]+", re.ASCII)  # always with its denominator, so that a step's texts and fractions differ
_CONVERTER: Final = Converter(detailed_validation=False, unstruct_collection_overrides={frozenset: sorted, set: sorted})
_CONVERTER.register_unstructure_hook(datetime, lambda value: value.isoformat())
_CONVERTER.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
_CONVERTER.register_unstructure_hook(date, lambda value: value.isoformat())
_CONVERTER.register_structure_hook(date, lambda text, _: date.fromisoformat(text))
_CONVERTER.register_unstructure_hook(Fraction, lambda value: f"{value.numerator}/{value.denominator}")
_CONVERTER.register_structure_hook(Fraction, lambda text, _: Fraction(text))
_CONVERTER.register_structure_hook(Fact, lambda fact, _: Fraction(fact) if _FRACTION.fullmatch(str(fact)) else fact)


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """`value` as dicts, lists, strings, numbers."""
    return _CONVERTER.unstructure(value)


def write(value: object) -> bytes:
    """Canonical JSON of a frozen value."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(data: bytes, kind: type[T]) -> T:
    """The value that `write` wrote. Raises `ValueError`, `KeyError` or `TypeError` on anything else."""
    return _CONVERTER.structure(json.loads(data), kind)
