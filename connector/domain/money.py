"""Money: whole numbers of a currency's minor unit, never a float.

An `Order` has one currency, so inside it amounts are plain `int` minor units; `Money` carries the currency
wherever an amount leaves its order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# ISO 4217, list one: every currency whose minor unit is not a hundredth.
_DECIMALS: Final[dict[str, int]] = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
_CODE = re.compile(r"[A-Z]{3}", re.ASCII)
_PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)


class MalformedAmount(ValueError):
    """A text that is not a plain decimal amount of its currency."""


class CurrencyMismatch(ValueError):
    """Two amounts of different currencies were to be added or compared."""


def decimals(currency: str) -> int:
    """How many decimals ISO 4217 gives `currency` (0 for JPY, 2 for EUR, 3 for KWD).

    Raises:
        MalformedAmount: the code is not three capital letters.
    """
    if not _CODE.fullmatch(currency):
        raise MalformedAmount(f"{currency!r} is no ISO 4217 currency code (three capital letters)")
    return _DECIMALS.get(currency, 2)


def parse(text: str, places: int) -> int:
    """Minor units of a plain decimal such as `-12.50`; `places` is the currency's number of decimals.

    Zeroes beyond the currency's decimals are not forgiven here: who reads a shop that prints more digits trims them first.

    Raises:
        MalformedAmount: signs other than a leading minus, exponents, blanks, full-width digits, too many digits.
    """
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise MalformedAmount(f"{text!r} is no plain decimal amount")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    if len(fraction) > places:
        raise MalformedAmount(f"{text!r} has more than {places} decimals")
    minor = int(whole + fraction.ljust(places, "0"))
    return -minor if sign else minor


def show(minor: int, places: int) -> str:
    """The plain decimal that `parse` reads back: `1250` with two places is `12.50`."""
    sign, digits = "-" if minor < 0 else "", str(abs(minor)).rjust(places + 1, "0")
    return f"{sign}{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else f"{sign}{digits}"


def half_up(numerator: int, denominator: int) -> int:
    """The quotient rounded to a whole number, halves away from zero.

    Raises:
        ZeroDivisionError: the denominator is zero.
    """
    negative = (numerator < 0) != (denominator < 0)
    rounded = (2 * abs(numerator) + abs(denominator)) // (2 * abs(denominator))
    return -rounded if negative else rounded


def portion(whole: int, taken: int, more: int, of: int) -> int:
    """What `more` further units of `of` are worth once `taken` have gone, in minor units of `whole`.

    Telescoping: successive partial returns always add up to the whole, so nobody is ever a cent short or a cent over.

    Raises:
        ValueError: there are not that many units.
    """
    if of < 1 or taken < 0 or more < 0 or taken + more > of:
        raise ValueError(f"cannot take {more} after {taken} of {of}")
    size = abs(whole)
    part = size * (taken + more) // of - size * taken // of
    return -part if whole < 0 else part


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount, counted in the currency's minor unit."""

    minor: int
    currency: str

    def __add__(self, other: Money) -> Money:
        """The sum; raises `CurrencyMismatch`."""
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        """The difference; raises `CurrencyMismatch`."""
        return Money(self.minor - self._same(other), self.currency)

    def __str__(self) -> str:
        """For people: `12.50 EUR`."""
        return f"{show(self.minor, decimals(self.currency))} {self.currency}"

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return other.minor


@dataclass(frozen=True, slots=True)
class MoneyBag:
    """One amount in two currencies: what the shopper paid in, and the shop's own, which is for reports only."""

    presentment: Money
    shop: Money | None = None
