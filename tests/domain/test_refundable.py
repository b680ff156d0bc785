"""What may still be given back: rules 2 and 5."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.orders import NOTHING, Charge, ChargeRef, LineRef, Order, OrderLine, OrderRef, RateRef, Tax, Tender, TenderRef, Worth
from connector.domain.refundable import Bounds, Component, bounds, components, direction, left, left_of, units_left
from connector.domain.wanted import Payout
from tests.domain.at_random import refunds_of, worths

X, Y = RateRef("x"), RateRef("y")


def worth(net: int, x: int = 0, y: int = 0) -> Worth:
    return Worth(net, (Tax(X, x), Tax(Y, y)))


def lefts(paid: Worth, refunded: Worth) -> list[int]:
    return [component.left for component in components(paid, refunded)]


def test_an_order_has_left_what_was_neither_refunded_nor_kept() -> None:
    assert left(Order(OrderRef("1"), "EUR", 1000, refunded=300, kept=50)) == 650
    assert left(Order(OrderRef("1"), "EUR", 1000, refunded=1200)) == -200


@pytest.mark.parametrize(("quantity", "refunded", "units"), [(3, 0, 3), (3, 2, 1), (3, 3, 0), (3, 4, 0), (0, 0, 0)])
def test_units_left_are_never_negative(quantity: int, refunded: int, units: int) -> None:
    assert units_left(OrderLine(LineRef("a"), quantity, worth(1), refunded_quantity=refunded)) == units


def test_only_what_is_worth_less_than_nothing_is_negative() -> None:
    assert [direction(worth(1)), direction(worth(0)), direction(worth(-1)), direction(worth(0, -1))] == [1, 1, -1, -1]


@pytest.mark.parametrize(
    ("refunded", "rest"),
    [
        (worth(0), [1000, 100, 200]),
        (worth(400, 40, 80), [600, 60, 120]),
        (worth(1000, 100, 200), [0, 0, 0]),
        (worth(0, 150), [950, 0, 200]),  # a rate lowers net first
        (worth(1050), [0, 50, 200]),  # net lowers the rates as listed
        (worth(1150), [0, 0, 150]),
        (worth(0, 0, 1250), [0, 50, 0]),  # a rate lowers net, then the other rate
        (worth(9999), [0, 0, 0]),
        (worth(980, 130, 230), [0, 0, 0]),  # two of them lower the third
        (worth(900, 130, 230), [40, 0, 0]),
    ],
)
def test_what_is_left_of_each_component(refunded: Worth, rest: list[int]) -> None:
    assert lefts(worth(1000, 100, 200), refunded) == rest
    assert lefts(worth(-1000, -100, -200), Worth(0).plus(minus(refunded))) == [-one for one in rest]


def minus(one: Worth) -> Worth:
    return Worth(-one.net, tuple(Tax(tax.rate, -tax.minor) for tax in one.tax))


def test_a_component_tells_how_it_came_about() -> None:
    assert components(Worth(1000, (Tax(X, 100),)), Worth(300, (Tax(X, 150),))) == (
        Component(None, 1000, 300, 50, 650),
        Component(X, 100, 150, 0, 0),
    )


def test_a_refunded_rate_that_was_never_paid_lowers_what_was() -> None:
    assert lefts(Worth(1000), Worth(0, (Tax(X, 300),))) == [700]


def test_a_refund_of_the_wrong_sign_adds_nothing() -> None:
    assert lefts(worth(1000, 100), worth(-300, -5)) == [1000, 100, 0]
    assert lefts(Worth(-1000), Worth(300)) == [-1000]
    assert lefts(Worth(0), Worth(-500)) == [0]


def test_a_part_of_two_signs_is_no_more_than_its_sum() -> None:
    assert lefts(Worth(1000, (Tax(X, -200),)), NOTHING) == [800, 0]
    assert lefts(Worth(500, (Tax(X, -500),)), NOTHING) == [0, 0]


@given(worths(), st.data())
def test_gross_left_is_paid_less_refunded_and_never_negative(paid: Worth, data: st.DataObject) -> None:
    refunded = data.draw(refunds_of(paid))

    assert left_of(Charge(ChargeRef("a"), paid, refunded)) == max(0, paid.gross - refunded.gross)


def order(*tenders: Tender) -> Order:
    return Order(OrderRef("1"), "EUR", 1000, refunded=200, kept=100, tenders=tenders)


def test_without_tenders_the_order_alone_is_the_bound() -> None:
    assert bounds(order(), Payout.ORIGINAL) == Bounds(700, None, None)
    assert bounds(order(), Payout.ORIGINAL).least == 700


def test_what_was_captured_and_what_tenders_can_take_are_bounds_too() -> None:
    paid = order(Tender(TenderRef("a"), 500, refunded=600), Tender(TenderRef("b"), 400, refunded=50))

    assert bounds(paid, Payout.ORIGINAL) == Bounds(700, 600, 350)
    assert bounds(paid, Payout.ORIGINAL).least == 350
    assert bounds(paid, Payout.STORE_CREDIT) == Bounds(700, 600, None)
    assert bounds(paid, Payout.STORE_CREDIT).least == 600
