"""What one key of a policy file may hold: readers from TOML's values to domain values, and how they say what they expected.

A reader raises marshmallow's `ValidationError` with codes (`code: detail`), so that whoever shows a fault can translate it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final, NoReturn, TypeVar

from marshmallow import ValidationError, fields

from connector.domain import money
from connector.domain.money import Money
from connector.domain.terms import Amounts

_LONGEST_TEXT: Final = 100
_MOST_ENTRIES: Final = 500
_LARGEST: Final = 10**12  # minor units: above any shop's limits, and every database can hold it
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)

Value = TypeVar("Value")
Word = TypeVar("Word", bound=StrEnum)
Reader = Callable[[object], Value]


class Expected(StrEnum):
    """What should have stood there."""

    TOML = "toml"
    SMALLER = "smaller"
    KNOWN_KEY = "known_key"
    KEY = "key"
    TABLE = "table"
    TABLES = "tables"
    WHOLE_NUMBER = "whole_number"
    PERCENT = "percent"
    AMOUNT = "amount"
    CURRENCY = "currency"
    YES_OR_NO = "yes_or_no"
    DATE = "date"
    TEXT = "text"
    LIST = "list"
    CODE = "code"
    ONE_OF = "one_of"
    ONCE = "once"
    ONLY_ONE = "only_one"


def fault(expected: Expected, detail: str = "") -> str:
    """A fault as marshmallow carries it."""
    return f"{expected}: {detail}"


def refuse(expected: Expected, detail: str = "") -> NoReturn:
    """Raise the fault."""
    raise ValidationError(fault(expected, detail))


class Key(fields.Field[Value]):
    """A key whose value a reader understands."""

    default_error_messages = {"required": fault(Expected.KEY)}  # noqa: RUF012 - marshmallow's own way

    def __init__(self, reader: Reader[Value], **options: Any) -> None:  # noqa: ANN401 - marshmallow's
        super().__init__(**options)
        self.reader = reader

    def _deserialize(self, value: object, attr: str | None, data: Mapping[str, Any] | None, **kwargs: object) -> Value:  # noqa: ARG002
        return self.reader(value)


def whole(lowest: int, highest: int) -> Reader[int]:
    """A whole number within bounds."""

    def reader(value: object) -> int:
        if type(value) is int and lowest <= value <= highest:
            return value
        refuse(Expected.WHOLE_NUMBER, f"{lowest} to {highest}" if lowest < highest else str(lowest))

    return reader


def truth(value: object) -> bool:
    """`true` or `false`."""
    return value if isinstance(value, bool) else refuse(Expected.YES_OR_NO)


def day(value: object) -> date:
    """A date such as 2026-11-21, without quotes and without time."""
    return value if isinstance(value, date) and not isinstance(value, datetime) else refuse(Expected.DATE, "2026-11-21")


def percent(value: object) -> Fraction:
    """A percentage from 0 to 100 with at most three decimals, exact: `Fraction(10)` for 10 %."""
    thousandths = _minor(value, 3)
    return Fraction(thousandths, 1000) if thousandths is not None and thousandths <= 100_000 else refuse(Expected.PERCENT, "0 to 100")


def text(value: object) -> str:
    """A short printable text."""
    if isinstance(value, str) and value.strip() and len(value) <= _LONGEST_TEXT and value.isprintable():
        return value
    refuse(Expected.TEXT, f"1 to {_LONGEST_TEXT} characters")


def code(value: object) -> str:
    """A code that templates translate: `changed_mind`."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else refuse(Expected.CODE, "a-z, 0-9, _: changed_mind")


def one_of(*words: Word) -> Reader[Word]:
    """One of a few words."""

    def reader(value: object) -> Word:
        found = next((word for word in words if word.value == value), None)
        return refuse(Expected.ONE_OF, ", ".join(words)) if found is None else found

    return reader


def several(entry: Reader[Value], *, least: int = 0) -> Reader[tuple[Value, ...]]:
    """A list of distinct entries."""

    def reader(value: object) -> tuple[Value, ...]:
        if not isinstance(value, list) or not least <= len(value) <= _MOST_ENTRIES:
            refuse(Expected.LIST, f"{least} to {_MOST_ENTRIES} entries")
        read: list[Value] = []
        faults: dict[int, Any] = {}
        for place, one in enumerate(value):
            try:
                found = entry(one)
            except ValidationError as error:
                faults[place] = error.messages
                continue
            if found in read:
                faults[place] = [fault(Expected.ONCE, str(one))]
            read.append(found)
        if faults:
            raise ValidationError(dict(faults))
        return tuple(read)

    return reader


def figures(value: object) -> Amounts:
    """An amount for each of some currencies: `{ EUR = "4.90", USD = "5.50" }`, in their own decimals."""
    if not isinstance(value, dict) or not value or len(value) > _MOST_ENTRIES:
        refuse(Expected.TABLE, '{ EUR = "4.90" }')
    read: list[Money] = []
    faults: dict[str, list[str]] = {}
    for currency, figure in value.items():
        try:
            places = money.decimals(currency)
        except money.MalformedAmount:
            faults[currency] = [fault(Expected.CURRENCY, "EUR")]
            continue
        minor = _minor(figure, places)
        if minor is None or minor > _LARGEST:
            faults[currency] = [fault(Expected.AMOUNT, money.show(49 * 10**places, places))]
        else:
            read.append(Money(minor, currency))
    if faults:
        raise ValidationError(dict(faults))
    return tuple(read)


def figure(value: object) -> Money:
    """An amount in one currency: `{ EUR = "4.90" }`."""
    found = figures(value)
    return found[0] if len(found) == 1 else refuse(Expected.TABLE, '{ EUR = "4.90" }')


def _minor(value: object, places: int) -> int | None:
    """Minor units of a number or text, None where it is no plain amount or negative. Texts only ever: no floats come here."""
    if type(value) not in {int, str}:
        return None
    try:
        minor = money.parse(str(value), places)
    except money.MalformedAmount:
        return None
    return minor if minor >= 0 else None
