"""Two reads of one order: what happened in between, and what a brief read must not make us forget."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from connector.domain.changes import Changes, between, remembering
from connector.domain.orders import Charge, ChargeRef, LineRef, Order, OrderLine, OrderRef, RefundRecord, RefundRef, Worth

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SHIRT, SOCKS = LineRef("shirt"), LineRef("socks")
POST, GIFT = ChargeRef("post"), ChargeRef("gift")
FIRST = RefundRecord(RefundRef("r1"), moved=900, booked=1000, units=((SHIRT, 1),), made_at=AT, key="k1")
SECOND = RefundRecord(RefundRef("r2"), moved=700, booked=700, units=((SHIRT, 1), (SOCKS, 1)), made_at=AT)

ORDER = Order(
    OrderRef("1"),
    "EUR",
    5000,
    lines=(OrderLine(SHIRT, 3, Worth(3000)), OrderLine(SOCKS, 2, Worth(1000))),
    shipping=(Charge(POST, Worth(900)),),
    fees=(Charge(GIFT, Worth(100)),),
)
# The shirt came back for 1000, of which 100 were kept, and 50 of the shipping.
FULL = replace(
    ORDER,
    refunded=900,
    kept=100,
    refunds=(FIRST,),
    lines=(replace(ORDER.lines[0], refunded_quantity=1, refunded=Worth(950)), ORDER.lines[1]),
    shipping=(replace(ORDER.shipping[0], refunded=Worth(50)),),
)


def brief(*records: RefundRecord, order: Order = ORDER) -> Order:
    """The order as a list of orders shows it: refunds with their amounts, without times and lines."""
    bare = tuple(RefundRecord(record.ref, record.moved, record.moved, key=record.key) for record in records)
    return replace(order, refunds=bare, refunded=sum(record.moved for record in bare))


def test_two_equal_reads_tell_nothing() -> None:
    assert not between(FULL, FULL)
    assert between(FULL, FULL) == Changes()


def test_refunds_appear_and_vanish_by_reference() -> None:
    found = between(FULL, brief(SECOND))

    assert [record.ref for record in found.appeared] == ["r2"]
    assert found.vanished == (FIRST,)
    assert found


def test_an_order_is_cancelled_once_and_comes_back_once() -> None:
    off = replace(ORDER, cancelled=True)

    assert between(ORDER, off) == Changes(cancelled=True)
    assert between(off, off) == Changes()
    assert between(off, ORDER) == Changes(reopened=True)


def test_lines_lose_units_or_go_away_and_what_grew_is_no_news() -> None:
    fewer = replace(ORDER, lines=(replace(ORDER.lines[0], quantity=2),))

    assert between(ORDER, fewer).fewer == {SHIRT: 2, SOCKS: 0}
    assert not between(fewer, ORDER)


def test_a_full_order_is_kept_as_it_is() -> None:
    later = replace(FULL, kept=0, refunds=(replace(FIRST, booked=900),))

    assert remembering(FULL, later) is later
    assert remembering(ORDER, FULL) is FULL
    assert remembering(brief(FIRST), FULL) is FULL


def test_a_brief_order_is_completed_with_what_was_read_before() -> None:
    assert remembering(FULL, brief(FIRST)) == FULL


def test_a_brief_order_after_a_brief_one_stays_brief() -> None:
    assert remembering(brief(FIRST), brief(FIRST, SECOND)) == brief(FIRST, SECOND)


def test_a_new_refund_in_a_brief_order_takes_nothing_from_the_earlier_ones() -> None:
    found = remembering(FULL, brief(FIRST, SECOND))

    assert found.refunds == (FIRST, brief(SECOND).refunds[0])
    assert (found.refunded, found.kept) == (1600, 100)
    assert found.lines == FULL.lines
    assert found.shipping == FULL.shipping
    assert found.fees == FULL.fees


def test_where_a_refund_was_deleted_the_units_of_the_others_stay_and_no_line_claims_its_money() -> None:
    """How much of the line's money the deleted refund had booked cannot be told from sums."""
    both = replace(FULL, refunds=(FIRST, SECOND), lines=(replace(FULL.lines[0], refunded_quantity=2), FULL.lines[1]))

    found = remembering(both, brief(FIRST))

    assert found.refunds == (FIRST,)
    assert [(line.refunded_quantity, line.refunded) for line in found.lines] == [(1, Worth(0)), (0, Worth(0))]
    assert found.shipping == ORDER.shipping


def test_a_refund_whose_amount_differs_is_another_story() -> None:
    other = brief(replace(FIRST, moved=800))

    assert remembering(FULL, other) is other


def test_a_line_that_is_new_to_the_brief_order_has_nothing_to_remember() -> None:
    new = OrderLine(LineRef("hat"), 1, Worth(10))
    found = remembering(FULL, replace(brief(FIRST), lines=(*ORDER.lines, new), fees=()))

    assert found.lines == (*FULL.lines, new)
    assert found.fees == ()
