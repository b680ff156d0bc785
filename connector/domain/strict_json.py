"""JSON from strangers, read strictly: no float is ever made, no key passes unread, and every complaint names its key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NoReturn, TypeVar

from connector.domain.money import MalformedAmount, parse

# Digits in a row; longer than any amount, and products of two such numbers still print (Python stops at 4300 digits).
LONGEST: Final = 1000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
T = TypeVar("T")


class Malformed(ValueError):
    """A document that is not what its format says; the message names the key and what was expected."""


def loads(raw: bytes) -> object:
    """The document in `raw` (UTF-8, no byte order mark), without floats, duplicate keys or endless numbers.

    Raises:
        Malformed: it is no such JSON.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from None
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_float=_inexact, parse_constant=_inexact, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Malformed("not JSON that anyone wrote: nested too deeply") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"the key {brief(key)} stands twice in one object")
        found[key] = value
    return found


def _inexact(text: str) -> NoReturn:
    raise Malformed(f"the number {brief(text)}: amounts are strings, quantities whole numbers without point or exponent")


def _whole(text: str) -> int:
    if len(text) > LONGEST:
        raise Malformed(f"the number {brief(text)} is too long")
    return int(text)


def brief(value: object) -> str:
    """`value` in a message: escaped and cut, whatever it holds."""
    text = ascii(value) if not isinstance(value, dict | list) else "an object" if isinstance(value, dict) else "a list"
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True, slots=True)
class Fields:
    """The keys of one JSON object. `path` is where it stands, for messages; `places` the decimals of its amounts."""

    values: dict[str, object]
    path: str
    places: int = 0

    @classmethod
    def of(cls, value: object, path: str, known: str, places: int = 0) -> Fields:
        """The object `value`, whose keys are among the words of `known`. Raises `Malformed`."""
        if not isinstance(value, dict):
            raise Malformed(f"{path or 'the case'}: expected an object, got {brief(value)}")
        fields = cls(value, path, places)
        for key in value:
            if key not in known.split():
                raise Malformed(f"{fields.at('')}unknown key {brief(key)}; known are {known}")
        return fields

    def at(self, key: str) -> str:
        """The full name of `key`, for messages."""
        return f"{self.path}.{key}" if self.path and key else f"{self.path}: " if self.path else key

    def wrong(self, key: str, expected: str) -> Malformed:
        """The complaint about `key`, to be raised."""
        got = brief(self.values[key]) if key in self.values else "nothing"
        return Malformed(f"{self.at(key)}: expected {expected}, got {got}")

    def has(self, key: str) -> bool:
        """Whether `key` is there at all."""
        return key in self.values

    def text(self, key: str) -> str:
        """A string that can be stored and printed."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        if _UNSTORABLE.search(value):
            raise self.wrong(key, "a string without NUL and lone surrogates")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole JSON number of any sign."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "a whole number")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """A whole JSON number from zero."""
        value = self.whole(key, default)
        if value < 0:
            raise self.wrong(key, "a whole number from zero")
        return value

    def amount(self, key: str) -> int:
        """Minor units of a decimal string; zero where it is omitted."""
        if key not in self.values:
            return 0
        try:
            return parse(self._decimal(key), self.places)
        except MalformedAmount as error:
            raise Malformed(f"{self.at(key)}: {error}") from None

    def positive(self, key: str) -> int:
        """Minor units of a decimal string that is not negative; zero where it is omitted."""
        value = self.amount(key)
        if value < 0:
            raise self.wrong(key, "an amount that is not negative")
        return value

    def percent(self, key: str) -> Fraction:
        """An exact percentage with any number of decimals; zero where it is omitted."""
        if key not in self.values:
            return Fraction(0)
        text = self._decimal(key)
        places = len(text.partition(".")[2])
        try:
            return Fraction(parse(text, places), 10**places)
        except MalformedAmount as error:
            raise Malformed(f"{self.at(key)}: {error}") from None

    def _decimal(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or len(value) > LONGEST:
            raise self.wrong(key, 'a decimal string such as "12.50"')
        return value

    def inner(self, key: str, known: str) -> Fields:
        """The object under `key`; empty where it is omitted."""
        return Fields.of(self.values.get(key, {}), self.at(key), known, self.places)

    def each(self, key: str, known: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """Every object of the list under `key`, read by `read`; none where it is omitted."""
        return tuple(read(Fields.of(value, path, known, self.places)) for path, value in self.entries(key))

    def entries(self, key: str) -> Iterator[tuple[str, object]]:
        """The values of the list under `key`, each with its path."""
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        for place, one in enumerate(value):
            yield f"{self.at(key)}[{place}]", one
