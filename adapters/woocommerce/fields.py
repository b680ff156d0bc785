"""Reading JSON that somebody else wrote: every value is asked for by type, and a wrong one is named by its key.

Texts are read without control characters and lone surrogates, which no database takes; amounts are never floats.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NoReturn

from connector.domain import money
from connector.domain.platform import PlatformError

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_LARGEST = 2**63 - 1  # ids and minor units have to fit a database
_LONGEST_AMOUNT = 40


class Untranslatable(PlatformError):
    """The platform's words make no order. `key` says where, `found` what stood there; neither holds anything personal."""

    def __init__(self, key: str, found: str) -> None:
        super().__init__(f"{key}: {found}")
        self.key, self.found = key, found


@dataclass(frozen=True, slots=True)
class At:
    """A JSON value and where it stands."""

    value: object
    path: str = ""

    def refuse(self, found: str) -> NoReturn:
        raise Untranslatable(self.path or "the answer", found)

    def table(self) -> dict[str, object]:
        return self.value if isinstance(self.value, dict) else self.refuse(f"{_kind(self.value)} where an object was expected")

    def has(self, name: str) -> bool:
        """Whether the key is there and not null."""
        return self.table().get(name) is not None

    def key(self, name: str) -> At:
        inner = At(self.table().get(name), f"{self.path}.{name}" if self.path else name)
        if name not in self.table():
            inner.refuse("missing")
        return inner

    def items(self) -> Iterator[At]:
        if not isinstance(self.value, list):
            self.refuse(f"{_kind(self.value)} where a list was expected")
        yield from (At(one, f"{self.path}[{place}]") for place, one in enumerate(self.value))

    def text(self, name: str) -> str:
        inner = self.key(name)
        if not isinstance(inner.value, str):
            inner.refuse(f"{_kind(inner.value)} where a text was expected")
        if inner.value.isprintable():
            return inner.value.strip()
        return "".join(char for char in inner.value if unicodedata.category(char) not in {"Cc", "Cs"}).strip()

    def text_or_nothing(self, name: str) -> str:
        """An empty text where the key is missing or null."""
        return self.text(name) if self.has(name) else ""

    def truth(self, name: str) -> bool:
        inner = self.key(name)
        return inner.value if isinstance(inner.value, bool) else inner.refuse(f"{_kind(inner.value)} where true or false was expected")

    def whole(self, name: str, *, lowest: int = -_LARGEST) -> int:
        """A whole number of at most 63 bits: ids, and quantities."""
        inner = self.key(name)
        if type(inner.value) is not int or not lowest <= inner.value <= _LARGEST:
            inner.refuse(f"{_kind(inner.value)} where a whole number was expected")
        return inner.value

    def instant(self, name: str) -> datetime | None:
        """A time that is UTC without saying so (`…_gmt`), or None for null."""
        inner = self.key(name)
        if inner.value is None:
            return None
        try:
            if isinstance(inner.value, str) and _TIME.fullmatch(inner.value):
                return datetime.fromisoformat(inner.value).replace(tzinfo=UTC)
        except ValueError:  # the 31st of June
            pass
        return inner.refuse(f"{_kind(inner.value)} where a time was expected")

    def day(self, name: str) -> date | None:
        """The day of a time in the shop's own time zone, or None for null."""
        found = self.instant(name)
        return None if found is None else found.date()

    def amount(self, name: str, places: int) -> int:
        """Minor units. Zeroes beyond the currency's decimals are trimmed, any other digit there is an error.

        A number is read when it is whole; parse answers with `parse_float=str` where others may come.
        """
        inner = self.key(name)
        text = inner.digits()
        whole, _, fraction = text.partition(".")
        if len(fraction) > places and not fraction[places:].strip("0"):
            text = f"{whole}.{fraction[:places]}" if places else whole
        minor = _minor(text, places)
        return inner.refuse(f"{text[:40]!r} where an amount with {places} decimals was expected") if minor is None else minor

    def rounded(self, name: str, places: int) -> int:
        """Minor units of an amount that may show more decimals than its currency has, half away from zero."""
        inner = self.key(name)
        text = inner.digits()
        more = max(0, len(text.partition(".")[2]) - places)
        minor = _minor(text, places + more)
        return inner.refuse(f"{text[:40]!r} where an amount was expected") if minor is None else money.half_up(minor, 10**more)

    def digits(self) -> str:
        """What stands here as an amount is written: a text, or a whole number."""
        if not isinstance(self.value, str) and type(self.value) is not int:
            self.refuse(f"{_kind(self.value)} where an amount was expected")
        return self.value if isinstance(self.value, str) else str(max(min(self.value, _LARGEST), -_LARGEST))


def _minor(text: str, places: int) -> int | None:
    """None where it is no plain decimal, or too large."""
    try:
        minor = money.parse(text, places) if len(text) <= _LONGEST_AMOUNT else _LARGEST
    except money.MalformedAmount:
        return None
    return minor if abs(minor) < _LARGEST else None


def _kind(value: object) -> str:
    """What a value is, without saying it: it may be somebody's name."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a number out of range"
        case float():
            return "a number with a point"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__
