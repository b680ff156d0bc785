"""Money: parsing, printing, rounding, portions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.money import CurrencyMismatch, MalformedAmount, Money, MoneyBag, decimals, half_up, parse, portion, show


@pytest.mark.parametrize(("currency", "places"), [("JPY", 0), ("HUF", 2), ("EUR", 2), ("ISK", 0), ("KWD", 3), ("CLF", 4), ("XXX", 2)])
def test_a_currency_has_the_decimals_of_iso_4217(currency: str, places: int) -> None:
    assert decimals(currency) == places


@pytest.mark.parametrize("code", ["", "eur", "EU", "EURO", "E1R", "ÉUR", "EUR\n"])
def test_a_currency_code_is_three_capital_letters(code: str) -> None:
    with pytest.raises(MalformedAmount, match="three capital letters"):
        decimals(code)


@pytest.mark.parametrize(
    ("text", "places", "minor"),
    [("12.50", 2, 1250), ("12.5", 2, 1250), ("12", 2, 1200), ("-0.01", 2, -1), ("-0.00", 2, 0), ("007", 0, 7), ("1.005", 3, 1005)],
)
def test_a_plain_decimal_is_read(text: str, places: int, minor: int) -> None:
    assert parse(text, places) == minor


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "1.", ".5", "1,00", "1e3", "NaN", "inf", "\uff11", "\u0663", "0x10", "1_000", "--1", "1\n"]
)
def test_anything_else_is_no_amount(text: str) -> None:
    with pytest.raises(MalformedAmount, match="no plain decimal amount"):
        parse(text, 2)


@pytest.mark.parametrize(("text", "places"), [("1.005", 2), ("1.000", 2), ("1.0", 0)])
def test_more_digits_than_the_currency_has_are_not_forgiven(text: str, places: int) -> None:
    with pytest.raises(MalformedAmount, match=f"more than {places} decimals"):
        parse(text, places)


@pytest.mark.parametrize(
    ("minor", "places", "text"),
    [(1250, 2, "12.50"), (5, 2, "0.05"), (-5, 2, "-0.05"), (0, 2, "0.00"), (7, 0, "7"), (-1, 3, "-0.001"), (0, 0, "0")],
)
def test_an_amount_is_shown_with_its_decimals(minor: int, places: int, text: str) -> None:
    assert show(minor, places) == text


@given(st.integers(), st.integers(0, 6))
def test_what_is_shown_reads_back(minor: int, places: int) -> None:
    assert parse(show(minor, places), places) == minor


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [(1, 2, 1), (-1, 2, -1), (1, -2, -1), (-1, -2, 1), (49, 100, 0), (5, 10, 1), (7, 2, 4), (0, 3, 0), (6, 3, 2)],
)
def test_halves_are_rounded_away_from_zero(numerator: int, denominator: int, rounded: int) -> None:
    assert half_up(numerator, denominator) == rounded


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        half_up(1, 0)


@pytest.mark.parametrize(
    ("whole", "taken", "more", "of", "part"),
    [(1000, 0, 1, 3, 333), (1000, 1, 1, 3, 333), (1000, 2, 1, 3, 334), (-1000, 0, 1, 3, -333), (1000, 1, 0, 3, 0)],
)
def test_a_portion_telescopes(whole: int, taken: int, more: int, of: int, part: int) -> None:
    assert portion(whole, taken, more, of) == part


@given(st.integers(), st.integers(1, 50), st.data())
def test_portions_in_any_steps_add_up_to_the_whole(whole: int, of: int, data: st.DataObject) -> None:
    taken = total = 0
    while taken < of:
        more = data.draw(st.integers(1, of - taken))
        total += portion(whole, taken, more, of)
        taken += more

    assert total == whole


@pytest.mark.parametrize(("taken", "more", "of"), [(0, 0, 0), (-1, 1, 3), (1, -1, 3), (2, 2, 3)])
def test_there_is_no_portion_of_units_that_are_not_there(taken: int, more: int, of: int) -> None:
    with pytest.raises(ValueError, match=f"cannot take {more} after {taken} of {of}"):
        portion(100, taken, more, of)


def test_amounts_of_one_currency_add_and_subtract() -> None:
    assert Money(1250, "EUR") + Money(50, "EUR") == Money(1300, "EUR")
    assert Money(1250, "EUR") - Money(50, "EUR") == Money(1200, "EUR")


def test_amounts_of_two_currencies_do_not() -> None:
    with pytest.raises(CurrencyMismatch, match="EUR and USD"):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(CurrencyMismatch, match="USD and EUR"):
        Money(1, "USD") - Money(1, "EUR")


def test_money_is_shown_with_its_currency() -> None:
    assert str(Money(1250, "EUR")) == "12.50 EUR"
    assert str(Money(1250, "JPY")) == "1250 JPY"


def test_a_bag_may_know_only_what_the_shopper_paid_in() -> None:
    assert MoneyBag(Money(1, "EUR")).shop is None
