"""How an order stands with our own rows beside it, each counted once as if the platform showed it; and what no longer fits it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connector.domain.orders import (
    NOTHING,
    Charge,
    ChargeRef,
    LineRef,
    Order,
    OrderLine,
    OrderRef,
    RateRef,
    RefundRecord,
    RefundRef,
    Tax,
    Tender,
    TenderRef,
    Worth,
)
from connector.domain.platform import ReturnedLine, TenderPart
from connector.domain.quote import Quote, price
from connector.domain.refundable import left
from connector.domain.standing import Misfit, Ours, as_it_stands, misfit
from connector.domain.wanted import Payout
from tests.domain.at_random import after, orders, wishes

SHIRT, SOCKS, POST, WRAP = LineRef("shirt"), LineRef("socks"), ChargeRef("post"), ChargeRef("wrap")
CARD, GIFT = TenderRef("card"), TenderRef("gift")


def of(net: int, vat: int) -> Worth:
    return Worth(net, (Tax(RateRef("vat"), vat),))


ORDER = Order(
    OrderRef("1001"),
    "EUR",
    9000,
    lines=(OrderLine(SHIRT, 3, of(3000, 600)), OrderLine(SOCKS, 2, of(4000, 800))),
    shipping=(Charge(POST, of(500, 100)),),
    fees=(Charge(WRAP, of(0, 0)),),
    tenders=(Tender(CARD, 7000), Tender(GIFT, 2000)),
)
# One shirt and the shipping, 18.00, less 2.00 withheld: 16.00 to the card.
ROW = Ours(
    1600,
    200,
    key="row-1",
    parts=(TenderPart(CARD, 1600),),
    lines=(ReturnedLine(SHIRT, 1, of(1000, 200)),),
    charges=(ReturnedLine(LineRef(POST), 0, of(500, 100)),),
)
RECORD = RefundRecord(RefundRef("re_1"), moved=1600, booked=1800, units=((SHIRT, 1),), key="row-1")


def shown(order: Order, row: Ours, record: RefundRecord) -> Order:
    """The order once the platform shows the row: what it kept is what it booked less what it moved."""
    folded = as_it_stands(order, [row])
    return replace(folded, kept=order.kept + max(0, record.booked - record.moved), refunds=(*order.refunds, record))


# ── Folding in ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_rows_of_ours_an_order_stands_as_it_was_read() -> None:
    assert as_it_stands(ORDER, []) == ORDER


def test_a_row_that_the_snapshot_lacks_is_counted_on_the_order_its_lines_charges_and_tenders() -> None:
    now = as_it_stands(ORDER, [ROW])

    assert (now.refunded, now.kept, left(now)) == (1600, 200, 7200)
    assert [(line.refunded_quantity, line.refunded) for line in now.lines] == [(1, of(1000, 200)), (0, NOTHING)]
    assert [charge.refunded for charge in (*now.shipping, *now.fees)] == [of(500, 100), NOTHING]
    assert [tender.refunded for tender in now.tenders] == [1600, 0]
    assert now.refunds == ()


def test_what_was_back_before_is_added_to() -> None:
    twice = as_it_stands(ORDER, [ROW, replace(ROW, key="row-2", charges=())])

    assert (twice.refunded, twice.kept) == (3200, 400)
    assert (twice.lines[0].refunded_quantity, twice.lines[0].refunded) == (2, of(2000, 400))
    assert twice.shipping[0].refunded == of(500, 100)
    assert twice.tenders[0].refunded == 3200


def test_a_credit_takes_nothing_from_a_tender_and_a_decision_that_paid_nothing_takes_its_deduction() -> None:
    credit = as_it_stands(ORDER, [replace(ROW, parts=())])
    nothing = as_it_stands(ORDER, [Ours(0, 1200, key="x", lines=ROW.lines)])

    assert ([tender.refunded for tender in credit.tenders], credit.refunded) == ([0, 0], 1600)
    assert (nothing.refunded, nothing.kept, nothing.lines[0].refunded_quantity) == (0, 1200, 1)


def test_a_line_and_a_charge_of_one_name_are_two_things() -> None:
    order = replace(ORDER, lines=(OrderLine(LineRef("7"), 3, of(3000, 600)),), shipping=(Charge(ChargeRef("7"), of(500, 100)),))
    row = replace(ROW, lines=(ReturnedLine(LineRef("7"), 1, of(1000, 200)),), charges=(ReturnedLine(LineRef("7"), 0, of(500, 100)),))

    now = as_it_stands(order, [row])

    assert (now.lines[0].refunded, now.shipping[0].refunded) == (of(1000, 200), of(500, 100))
    assert misfit(order, [], row) is None


def test_a_part_that_the_order_no_longer_has_still_counts_on_the_whole() -> None:
    bare = replace(ORDER, lines=(), shipping=(), fees=(), tenders=())

    now = as_it_stands(bare, [ROW])

    assert (now.refunded, now.kept) == (1600, 200)
    assert replace(now, refunded=0, kept=0) == bare


@pytest.mark.parametrize(
    ("row", "record"),
    [
        (replace(ROW, reference=RefundRef("re_1")), RECORD),
        (replace(ROW, reference=RefundRef("re_1")), replace(RECORD, key="")),  # no marker: found by its reference alone
        (ROW, RECORD),  # paid, and its answer lost: found by its key alone
        (ROW, replace(RECORD, ref=RefundRef("another"))),
        (replace(ROW, reference=RefundRef("re_1 (Stripe)")), RECORD),  # F35: as a person typed it
    ],
    ids=["both", "by reference", "by key", "by key under another reference", "by key though the reference was typed otherwise"],
)
def test_a_record_of_ours_is_counted_once_however_it_is_found(row: Ours, record: RefundRecord) -> None:
    order = shown(ORDER, row, record)

    now = as_it_stands(order, [row])

    assert replace(now, refunds=()) == as_it_stands(ORDER, [row])


@pytest.mark.parametrize(
    ("row", "record"),
    [
        (replace(ROW, key="row-2"), RECORD),
        (replace(ROW, key="row-2", reference=RefundRef("re_2")), RECORD),
        (replace(ROW, key=""), replace(RECORD, key="")),  # no marker is no likeness
    ],
)
def test_a_record_of_somebody_else_is_not_taken_for_ours(row: Ours, record: RefundRecord) -> None:
    order = shown(ORDER, ROW, record)

    now = as_it_stands(order, [row])

    assert now.refunded == order.refunded + 1600
    assert now.lines[0].refunded_quantity == 2


@pytest.mark.parametrize(
    ("booked", "deducted"),
    [(1800, 200), (1600, 200), (0, 200), (1801, 200), (1800, 0), (1900, 300)],
    ids=["exact", "lines not booked in full", "lines not booked", "their rounding", "a part withheld by another row", "more withheld"],
)
def test_for_a_record_of_ours_what_was_kept_is_what_we_wrote_down_and_not_what_the_platform_makes_of_it(booked: int, deducted: int) -> None:
    row, record = replace(ROW, deducted=deducted), replace(RECORD, booked=booked)
    elsewhere = replace(ORDER, kept=50)

    now = as_it_stands(shown(elsewhere, row, record), [row])

    assert now.kept == 50 + deducted


def test_for_a_record_of_somebody_else_what_was_kept_is_what_the_adapter_says() -> None:
    order = shown(ORDER, ROW, replace(RECORD, key="", booked=1900))

    assert as_it_stands(order, []).kept == 300
    assert as_it_stands(order, [Ours(0, 10, key="x")]).kept == 310


@st.composite
def decided(draw: st.DrawFn) -> tuple[Order, Quote, list[Ours]]:
    """An order, a return of it, and the rows that the desk makes of it: what machines pay and what a person pays, or one credit."""
    order = draw(orders())
    quote = price(order, draw(wishes(order)))
    assume(isinstance(quote, Quote))
    assert isinstance(quote, Quote)
    lines = tuple(ReturnedLine(part.id, part.quantity, part.worth) for part in quote.lines)
    charges = tuple(ReturnedLine(LineRef(part.id), 0, part.worth) for part in (*quote.shipping, *quote.fees))
    withheld = sum(fee.minor for fee in quote.deductions)
    first = quote.tenders[: draw(st.integers(1, max(1, len(quote.tenders))))] if quote.payout is Payout.ORIGINAL else ()
    rest = quote.tenders[len(first) :]
    later = sum(part.minor for part in rest)
    rows = [Ours(quote.total - later, withheld, key="first", parts=first, lines=lines, charges=charges)]
    return order, quote, rows + ([Ours(later, 0, key="second", parts=rest)] if later else [])


@given(decided())
def test_folding_a_decision_in_is_the_same_as_carrying_it_out(case: tuple[Order, Quote, list[Ours]]) -> None:
    order, quote, rows = case

    assert as_it_stands(order, rows) == after(order, quote)


@given(decided(), st.data())
def test_however_many_of_our_rows_the_platform_shows_the_order_stands_the_same(
    case: tuple[Order, Quote, list[Ours]], data: st.DataObject
) -> None:
    order, _, rows = case
    folded = as_it_stands(order, rows)

    read, known = order, list[Ours]()
    for row in rows:
        record = RefundRecord(RefundRef(f"re_{row.key}"), row.minor, data.draw(st.integers(0, 40_000)), key=row.key)
        if data.draw(st.booleans()):
            read = shown(read, row, record)
        known.append(replace(row, reference=record.ref) if data.draw(st.booleans()) else row)
    now = as_it_stands(read, data.draw(st.permutations(known)))

    assert replace(now, refunds=()) == folded


@given(decided())
def test_a_decision_fits_its_order_and_beside_itself_only_what_is_left_fits(case: tuple[Order, Quote, list[Ours]]) -> None:
    order, quote, rows = case

    for place, row in enumerate(rows):
        assert misfit(order, rows[:place] + rows[place + 1 :], row) is None
    assert left(as_it_stands(order, rows)) == quote.remaining
    if quote.remaining < rows[0].minor + rows[0].deducted:
        again = misfit(order, rows, replace(rows[0], key="again"))
        assert again is not None
        assert again.part == "order"


# ── F15, F25: what no longer fits ───────────────────────────────────────────────────────────────────────────────────


def test_f15_what_is_left_is_fit_for_an_instruction() -> None:
    assert misfit(ORDER, [], ROW) is None
    assert misfit(ORDER, [replace(ROW, key="other", charges=())], ROW) is None


@pytest.mark.parametrize(
    ("total", "refunded", "kept", "there"),
    [(1799, 0, 0, 1799), (9000, 7201, 0, 1799), (9000, 7000, 201, 1799), (9000, 9500, 0, -500)],
)
def test_f15_no_more_than_the_order_has_left_with_what_is_withheld(total: int, refunded: int, kept: int, there: int) -> None:
    order, row = replace(ORDER, total=total, refunded=refunded, kept=kept, tenders=()), replace(ROW, parts=())

    assert misfit(order, [], row) == Misfit("order", 1800, there)
    assert misfit(replace(order, total=total + 1800 - there), [], row) is None


@pytest.mark.parametrize(("refunded", "kept"), [(7201, 0), (7000, 201)])
def test_a22_no_more_than_was_captured_where_that_is_less_than_the_order_cost(refunded: int, kept: int) -> None:
    order, credit = replace(ORDER, total=20_000, refunded=refunded, kept=kept), replace(ROW, parts=())

    assert misfit(order, [], credit) == Misfit("captured", 1800, 1799)
    assert misfit(order, [], replace(credit, deducted=199)) is None
    assert misfit(replace(order, tenders=()), [], credit) is None  # nothing is known of payments


def test_a21_no_more_units_than_the_line_has() -> None:
    order = replace(ORDER, lines=(replace(ORDER.lines[0], refunded_quantity=2), ORDER.lines[1]))
    row = replace(ROW, lines=(replace(ROW.lines[0], quantity=2),))

    assert misfit(order, [], row) == Misfit("line:shirt", 2, 1)
    assert misfit(order, [], ROW) is None
    assert misfit(order, [replace(ROW, key="other", charges=())], ROW) == Misfit("line:shirt", 1, 0)


def test_an_amount_without_units_fits_a_line_of_which_more_units_came_back_than_were_bought() -> None:
    order = replace(ORDER, lines=(replace(ORDER.lines[0], refunded_quantity=4), ORDER.lines[1]))
    amount = replace(ROW, lines=(ReturnedLine(SHIRT, 0, of(1000, 200)),))

    assert misfit(order, [], amount) is None
    assert misfit(order, [], ROW) == Misfit("line:shirt", 1, 0)


def test_f25_a_line_that_was_removed_from_the_order_has_no_units() -> None:
    order = replace(ORDER, lines=ORDER.lines[1:])

    assert misfit(order, [], ROW) == Misfit("line:shirt", 1, 0)


def test_a26_shipping_that_went_back_elsewhere_does_not_go_back_twice() -> None:
    order = replace(ORDER, shipping=(replace(ORDER.shipping[0], refunded=of(400, 80)),))

    assert misfit(order, [], ROW) == Misfit("charge:post", 600, 120)
    assert misfit(ORDER, [replace(ROW, key="other", lines=())], ROW) == Misfit("charge:post", 600, 0)
    assert misfit(order, [], replace(ROW, charges=(ReturnedLine(LineRef(POST), 0, of(100, 20)),))) is None


def test_f25_a_charge_that_was_removed_from_the_order_is_nothing() -> None:
    assert misfit(replace(ORDER, shipping=()), [], ROW) == Misfit("charge:post", 600, 0)


def test_a_negative_fee_fits_as_long_as_it_was_not_given_back() -> None:
    discount = Charge(ChargeRef("loyalty"), of(-500, -100))
    row = replace(ROW, minor=400, parts=(), charges=(*ROW.charges, ReturnedLine(LineRef("loyalty"), 0, of(-500, -100))))

    assert misfit(replace(ORDER, fees=(discount,)), [], row) is None
    assert misfit(replace(ORDER, fees=(replace(discount, refunded=of(-500, -100)),)), [], row) == Misfit("charge:loyalty", -600, 0)


def test_no_more_than_a_tender_can_take_back() -> None:
    order = replace(ORDER, tenders=(Tender(CARD, 7000, 5401), Tender(GIFT, 2000)))

    assert misfit(order, [], ROW) == Misfit("tender:card", 1600, 1599)
    assert misfit(replace(order, tenders=(Tender(CARD, 1000, 5000), Tender(GIFT, 8000))), [], ROW) == Misfit("tender:card", 1600, 0)
    assert misfit(ORDER, [replace(ROW, key="other", lines=(), charges=(), parts=(TenderPart(CARD, 5401),))], ROW) == Misfit(
        "tender:card", 1600, 1599
    )


def test_a_tender_that_the_order_does_not_have_takes_nothing() -> None:
    assert misfit(replace(ORDER, tenders=(Tender(GIFT, 9000),)), [], ROW) == Misfit("tender:card", 1600, 0)


def test_the_first_part_that_does_not_fit_is_named_from_the_whole_to_the_tenders() -> None:
    parts: dict[str, dict[str, object]] = {
        "order": {"total": 100},
        "captured": {"tenders": (Tender(CARD, 100),)},
        "line:shirt": {"lines": ()},
        "charge:post": {"shipping": ()},
        "tender:card": {"tenders": (Tender(GIFT, 9000),)},
    }

    named = []
    for part in parts:
        broken: dict[str, object] = {}
        for change in reversed(list(parts)[list(parts).index(part) :]):
            broken |= parts[change]
        found = misfit(replace(ORDER, **broken), [], ROW)  # type: ignore[arg-type]
        named.append(found.part if found else "")

    assert named == list(parts)


def test_a_misfit_says_in_one_line_what_is_asked_and_what_there_is() -> None:
    assert str(Misfit("line:shirt", 2, 1)) == "line:shirt: 2 asked, 1 there"


def test_a_line_whose_money_went_back_elsewhere_without_its_units_no_longer_fits() -> None:
    line = OrderLine(LineRef("a"), 2, Worth(2000), refunded=Worth(1500))
    order = Order(OrderRef("1"), "EUR", 5000, refunded=1500, lines=(line,))
    row = Ours(1000, 0, lines=(ReturnedLine(LineRef("a"), 1, Worth(1000)),))

    assert misfit(order, [], row) == Misfit("line:a", 1000, 500)
