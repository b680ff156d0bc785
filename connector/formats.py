"""Money and time as a person reads them, in a language: for pages and mail."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_currency

from connector.domain.money import decimals

LOCALE = "en"


def amount(minor: int, currency: str, locale: str = LOCALE) -> str:
    """`4290` in EUR is `€42.90`, with the decimals of ISO 4217 and a sign in front of what is taken off."""
    places = decimals(currency)
    exact = Decimal(minor).scaleb(-places)
    return format_currency(exact, currency, locale=locale, currency_digits=True, decimal_quantization=False)


def day(on: date, locale: str = LOCALE) -> str:
    """`6 December 2026`."""
    pattern = "d MMMM y" if locale == "en" else "long"
    return format_date(on, format=pattern, locale=locale)


def moment(at: datetime, zone: ZoneInfo, locale: str = LOCALE) -> str:
    """`8 November 2026, 20:14`, in the shop's time zone."""
    pattern = "d MMMM y, HH:mm" if locale == "en" else "long"
    return format_datetime(at.astimezone(zone), format=pattern, locale=locale)
