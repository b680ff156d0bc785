"""Numbers as WooCommerce has them: PHP's loose strings, and decimals of six places behind the two that are shown."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from typing import Final, TypeAlias

Loose: TypeAlias = str | Decimal | None
Json: TypeAlias = int | float

PRECISION: Final = 6  # wc_get_rounding_precision
_LEADING: Final = re.compile(r"[ \t\n\r\v\f]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_NOT_THE_LAST_DOT: Final = re.compile(r"\.(?![^.]+$)|[^0-9.-]")
_CENT: Final = Decimal(1)


def is_numeric(text: str) -> bool:
    """PHP 8: blanks around a number are allowed."""
    return _LEADING.fullmatch(text.rstrip(" \t\n\r\v\f")) is not None


def number(text: Loose) -> Decimal:
    """PHP's cast to float: what stands at the front counts, nothing is zero."""
    if isinstance(text, Decimal):
        return text
    found = _LEADING.match(text or "")
    return Decimal(found[0].strip()) if found else Decimal(0)


def greater(left: str | None, right: str) -> bool:
    """PHP 8's `left > right`: numbers where both are numeric, else letter by letter. This is why "1,50" passes for less than "76.97"."""
    if left is None:
        return False
    if is_numeric(left) and is_numeric(right):
        return number(left) > number(right)
    return left > right


def stored(value: Loose) -> str:
    """wc_format_decimal without decimals: everything but digits, the last dot and signs is dropped ("1,50" becomes "150")."""
    return plain(value) if isinstance(value, Decimal) else _NOT_THE_LAST_DOT.sub("", value or "")


def plain(value: Decimal) -> str:
    """Six decimals at most, without idle zeroes."""
    text = f"{half_up(value, PRECISION):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def fixed(value: Loose, places: int) -> str:
    """number_format: exactly so many decimals."""
    text = f"{half_up(number(value), places):f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def half_up(value: Decimal, places: int) -> Decimal:
    """Rounded half away from zero."""
    return value.quantize(_CENT.scaleb(-places), ROUND_HALF_UP)


def half_down(value: Decimal, places: int) -> Decimal:
    """Rounded half towards zero: discounts, and taxes where prices include them."""
    return value.quantize(_CENT.scaleb(-places), ROUND_HALF_DOWN)


def raw(value: Decimal) -> Json:
    """A PHP float in JSON: whole ones lose the point (`price`, `rate_percent`)."""
    return int(value) if value == value.to_integral_value() else float(value)
