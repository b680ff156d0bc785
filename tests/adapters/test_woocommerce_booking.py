"""What is written into a shop for a refund or a credit: it adds up per rate, also over any sequence of returns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.woocommerce import booking
from adapters.woocommerce.booking import Booked, Scale
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.translate import order as translated
from connector.domain import money
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, OrderRef, RateRef, RefundRef, Tax, TenderRef, Worth
from connector.domain.platform import CreditOrder, RefundOrder, Rejected, ReturnedLine, TenderPart
from connector.domain.quote import Quote, price
from connector.domain.wanted import Wanted, WantedCharge, WantedLine
from tests.adapters.woo_simulator import sample

CENTS: Final = Scale(2, 2)
GENUINE: Final = ("order-taxed-coupon-variation", "order-guest-fees", "order-tax-inclusive-round-at-subtotal")
VAT: Final = RateRef("1")
_KINDS: Final = ("line_items", "shipping_lines", "fee_lines")


def told_by(quote: Quote, order: Order, key: str = "k") -> RefundOrder:
    lines = tuple(ReturnedLine(part.id, part.quantity, part.worth) for part in quote.lines)
    charges = tuple(ReturnedLine(LineRef(part.id), 0, part.worth) for part in (*quote.shipping, *quote.fees))
    amount = Money(quote.total, order.currency)
    return RefundOrder(key, order.ref, "2222222X", amount, (TenderPart(TenderRef("t"), quote.total),), lines, charges)


def recorded(body: Mapping[str, Any], number: int, genuine: Mapping[str, Any]) -> dict[str, Any]:
    """The record that WooCommerce makes of such a request: negative lines that name the order's items."""
    record: dict[str, Any] = {"id": number, "date_created_gmt": "2026-11-22T10:00:00", "reason": body["reason"], "meta_data": []}
    record |= {"amount": body["amount"], "refunded_payment": True, **{kind: [] for kind in _KINDS}}
    for line in body["line_items"]:
        kind = next(kind for kind in _KINDS if any(item["id"] == line["id"] for item in genuine[kind]))
        taxes = [{"id": tax["id"], "total": negative(tax["refund_total"])} for tax in line["refund_tax"]]
        whole = money.show(sum(money.parse(tax["total"], 2) for tax in taxes), 2)
        meta = [{"id": 1, "key": "_refunded_item_id", "value": str(line["id"])}]
        units = {"quantity": -line["quantity"]} if kind == "line_items" else {}
        record[kind].append(
            {
                "id": 9000 + line["id"],
                "total": negative(line["refund_total"]),
                "total_tax": whole,
                "taxes": taxes,
                "meta_data": meta,
                **units,
            }
        )
    return record


def negative(text: str) -> str:
    return money.show(-money.parse(text, 2), 2)


def booked_of(records: Sequence[Mapping[str, Any]]) -> Counter[tuple[int, int]]:
    """By item and rate (0: net), minor units."""
    sums: Counter[tuple[int, int]] = Counter()
    for line in (line for record in records for kind in _KINDS for line in record[kind]):
        item = line["id"] - 9000
        sums[item, 0] -= money.parse(line["total"], 2)
        for tax in line["taxes"]:
            sums[item, tax["id"]] -= money.parse(tax["total"], 2)
    return sums


def stored_in(genuine: Mapping[str, Any]) -> Counter[tuple[int, int]]:
    sums: Counter[tuple[int, int]] = Counter()
    for line in (line for kind in _KINDS for line in genuine[kind]):
        sums[line["id"], 0] += money.parse(line["total"], 2)
        for tax in line["taxes"]:
            sums[line["id"], tax["id"]] += money.parse(tax["total"], 2)
    return sums


@given(name=st.sampled_from(GENUINE), picks=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=8))
def test_a23_a26_any_sequence_of_returns_books_each_rate_of_each_item_to_the_cent(name: str, picks: list[tuple[int, int]]) -> None:
    """Whatever comes back first: what is booked is the quote's, and once all is back it is exactly what the shop had stored."""
    genuine = sample(name)
    records: list[dict[str, Any]] = []

    def take(wanted: Wanted) -> None:
        seen = translated({**genuine, "refunds": [{"id": each["id"]} for each in records]}, records)
        quote = price(seen, wanted)
        assert isinstance(quote, Quote)
        body: Any = booking.refund_body(told_by(quote, seen), CENTS)
        records.append(recorded(body, 500 + len(records), genuine))
        sums = booked_of(records[-1:])
        assert sum(sums.values()) == sum(part.worth.gross for part in quote.parts)
        assert all(sums[int(part.id), 0] == part.worth.net for part in quote.parts)
        assert all(sums[int(part.id), int(tax.rate)] == tax.minor for part in quote.parts for tax in part.worth.tax)
        assert money.parse(body["amount"], 2) == quote.total

    left = {line["id"]: line["quantity"] for line in genuine["line_items"]}
    for place, units in picks:
        item = genuine["line_items"][place % len(left)]["id"]
        if units <= left[item]:
            left[item] -= units
            take(Wanted(lines=(WantedLine(LineRef(str(item)), units),)))
    rest = tuple(WantedLine(LineRef(str(item)), units) for item, units in left.items() if units)
    whole = translated(genuine, [])
    take(
        Wanted(
            lines=rest,
            shipping=tuple(WantedCharge(charge.id) for charge in whole.shipping),
            fees=tuple(WantedCharge(charge.id) for charge in whole.fees),
        )
    )

    assert {at: minor for at, minor in booked_of(records).items() if minor} == {
        at: minor for at, minor in stored_in(genuine).items() if minor
    }
    moved = sum(money.parse(record["amount"], 2) for record in records)
    assert moved == whole.total


@given(
    net=st.integers(-(10**9), 10**9),
    taxes=st.dictionaries(st.integers(0, 9), st.integers(-(10**6), 10**6), max_size=3),
    amount=st.integers(1, 10**12),
    currency=st.sampled_from(["JPY", "EUR", "KWD"]),
)
def test_a20_a25_every_amount_is_a_plain_decimal(net: int, taxes: dict[int, int], amount: int, currency: str) -> None:
    worth = Worth(net, tuple(Tax(RateRef(str(rate)), minor) for rate, minor in taxes.items()))
    line, places = ReturnedLine(LineRef("7"), 1, worth), money.decimals(currency)
    told = RefundOrder("k", OrderRef("1"), "R", Money(amount, currency), (), (line,))

    body: Any = booking.refund_body(told, Scale(places, places))

    plain = rf"-?[0-9]+\.[0-9]{{{places}}}" if places else "-?[0-9]+"
    (item,) = body["line_items"]
    said = [body["amount"], item["refund_total"], *(tax["refund_total"] for tax in item["refund_tax"])]
    assert all(re.fullmatch(plain, text, re.ASCII) for text in said)
    assert [money.parse(text, places) for text in said] == [amount, net, *(minor for minor in taxes.values() if minor)]


@pytest.mark.parametrize("ref", ["", "0", "-1", "7x", "\uff17", "1.0", "9" * 19, "7/../8"])
def test_a28_an_item_that_can_be_none_is_refused(ref: str) -> None:
    told = RefundOrder("k", OrderRef("1"), "R", Money(100, "EUR"), (), (ReturnedLine(LineRef(ref), 1, Worth(100)),))

    with pytest.raises(Rejected):
        booking.refund_body(told, CENTS)


# ── What a coupon has to say ────────────────────────────────────────────────────────────────────────────────────────


def a_credit(amount: int, bonus: int = 0, worth: Worth | None = None, currency: str = "EUR") -> CreditOrder:
    lines = (ReturnedLine(LineRef("7"), 1, worth),) if worth else ()
    return CreditOrder("k", OrderRef("1"), "R", Money(amount, currency), Money(bonus, currency), lines, code="CODE")


AN_ORDER: Final = replace(translated(sample("order-taxed-coupon-variation"), []), total=12100)


@pytest.mark.parametrize(
    ("credit", "inclusive", "says"),
    [
        (a_credit(1210, worth=Worth(1000, (Tax(VAT, 210),))), False, 1000),
        (a_credit(1210, worth=Worth(1000, (Tax(VAT, 210),))), True, 1210),
        (a_credit(1210, 121, worth=Worth(1000, (Tax(VAT, 210),))), False, 1100),
        (a_credit(1210, 121, worth=Worth(1000, (Tax(VAT, 210),))), True, 1331),
        (a_credit(605, worth=Worth(1000, (Tax(VAT, 210),))), False, 500),  # a deduction took half
        (a_credit(1, worth=Worth(1000, (Tax(VAT, 210),))), False, 1),  # 0.83 cents
        (a_credit(1000, worth=Worth(1000)), False, 1000),  # no tax on it
        (a_credit(333, worth=Worth(275, (Tax(VAT, 58),))), False, 275),
        (a_credit(1210), False, 1000),  # no lines: as the order is
        (a_credit(1210), True, 1210),
        (a_credit(1210, worth=Worth(-100)), False, 1000),  # a discount alone says nothing
    ],
)
def test_m7_a_coupon_says_net_where_prices_are_net_and_gross_where_they_are_gross(credit: CreditOrder, inclusive: bool, says: int) -> None:
    assert booking.coupon_worth(credit, AN_ORDER, 10000, CENTS, inclusive=inclusive) == says


@given(
    net=st.integers(1, 10**7),
    tax=st.integers(0, 10**7),
    amount=st.integers(1, 10**7),
    bonus=st.integers(0, 10**6),
    step=st.sampled_from([1, 10, 100]),
)
def test_m7_what_a_coupon_buys_with_its_tax_is_what_was_promised_to_half_a_step(
    net: int, tax: int, amount: int, bonus: int, step: int
) -> None:
    scale = Scale(2, {1: 2, 10: 1, 100: 0}[step])
    credit = a_credit(amount, bonus, Worth(net, (Tax(VAT, tax),)))

    said = booking.coupon_worth(credit, AN_ORDER, 10000, scale, inclusive=False)

    exact = (amount + bonus) * net
    assert said % step == 0
    assert 2 * abs(said * (net + tax) - exact) <= step * (net + tax)


# ── What is found again ─────────────────────────────────────────────────────────────────────────────────────────────


def listed(ref: int, reason: str = "", *, meta: str | None = None, paid: bool = False, amount: str = "1.00") -> At:
    entries = [] if meta is None else [{"id": 1, "key": "_rma_ref", "value": meta}]
    return At({"id": ref, "reason": reason, "meta_data": entries, "refunded_payment": paid, "amount": amount})


def test_f02_a_refund_is_ours_by_its_reason_or_its_meta_and_the_one_that_paid_comes_first() -> None:
    refunds = [
        listed(1, "[rma:k]"),
        listed(2, "[rma:other]", paid=True),
        listed(3, "filtered away", meta="k", paid=True),
        listed(4, "[rma:k] [rma:other]"),
    ]

    assert booking.carrying(refunds, "k", 2) == (Booked(RefundRef("3"), 100, paid=True), Booked(RefundRef("1"), 100, paid=False))
    assert booking.found(refunds, "nobody", 2) is None


@pytest.mark.parametrize("amount", ["", "-"])
def test_a_refund_of_no_amount_says_nothing_about_what_moved(amount: str) -> None:
    assert booking.found([listed(1, "[rma:k]", paid=True, amount=amount)], "k", 2) == Booked(RefundRef("1"), None, paid=True)


@pytest.mark.parametrize("amount", ["1,00", "\uff11.00", "1e2", "1.005", None, True, "NaN"])
def test_a16_an_amount_of_ours_that_is_none_is_not_guessed(amount: Any) -> None:
    with pytest.raises(Untranslatable):
        booking.found([listed(1, "[rma:k]", paid=True, amount=amount)], "k", 2)
