"""The shared values of an order."""

from __future__ import annotations

from connector.domain.orders import NOTHING, Buyer, CustomerRef, LineRef, Order, OrderLine, OrderRef, RateRef, Tax, Worth

VAT, GST = RateRef("vat"), RateRef("gst")


def test_gross_is_net_and_all_taxes() -> None:
    assert Worth(100, (Tax(VAT, 19), Tax(GST, 5))).gross == 124
    assert NOTHING.gross == 0


def test_a_rate_that_is_not_there_is_zero() -> None:
    assert Worth(100, (Tax(VAT, 19),)).of(VAT) == 19
    assert Worth(100, (Tax(VAT, 19),)).of(GST) == 0


def test_worths_add_by_component_and_new_rates_come_last() -> None:
    sum_of_both = Worth(100, (Tax(VAT, 19),)).plus(Worth(10, (Tax(GST, 1), Tax(VAT, 2))))

    assert sum_of_both == Worth(110, (Tax(VAT, 21), Tax(GST, 1)))


def test_an_order_finds_its_lines() -> None:
    line = OrderLine(LineRef("a"), 1, Worth(100))
    order = Order(OrderRef("1"), "EUR", 100, lines=(line,))

    assert order.line(LineRef("a")) is line
    assert order.line(LineRef("b")) is None


def test_a_buyer_does_not_show_who_they_are() -> None:
    assert "jo" not in repr(Buyer("jo@example.com", "12345", "DE", CustomerRef("7")))
    assert "12345" not in repr(Buyer("jo@example.com", "12345", "DE"))
