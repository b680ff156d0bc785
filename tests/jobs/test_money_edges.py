"""Where two stories meet: a late payment and a new decision, a decision of two calls, a worker that slept, a row that fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from adapters.simulators.toy import Fault
from connector.domain.money import Money
from connector.domain.orders import LineRef, OrderRef, RefundRef
from connector.domain.platform import Receipt
from connector.domain.rma import MoneyState, RmaState
from connector.models import OutboxRow, Resolution, Rma
from connector.services import limits, outbox, receipts, refunds, rmas
from connector.services.desk import PaidBefore
from connector.services.orders import StaleRead
from connector.services.receipts import TooEarly
from jobs import drain
from jobs.site import Site
from tests.jobs.tills import PROVES_NOTHING, REPLAYS, Till, why

LONG = timedelta(minutes=10)


def parked_and_late(till: Till) -> None:
    """The request arrives when everybody has given up: parked, and a person saw no payment in the books."""
    till.fails(Fault.LATE, seconds=LONG.total_seconds())
    till.settle_at_last()
    assert till.row().state is MoneyState.PARKED
    with till.db.transaction() as session:
        assert receipts.answer_unpaid(session, till.row_id, who="sam", now=till.db.now(session))


@PROVES_NOTHING
def test_a_payment_that_comes_after_all_stops_a_new_decision(till: Till) -> None:
    parked_and_late(till)
    till.passes(LONG)

    with pytest.raises(PaidBefore) as told:
        till.world.resolve(till.rma)

    assert told.value.receipt.reference == till.shop.payments()[0].reference
    assert len(till.paid()) == 1


@PROVES_NOTHING
def test_a_payment_that_comes_after_all_settles_what_it_was_for_where_nothing_took_its_place(till: Till) -> None:
    parked_and_late(till)
    till.passes(LONG)
    order = till.shop.order(till.order.ref)

    with till.db.transaction() as session:
        assert receipts.book_what_came(session, till.rma, order, who="sam", now=till.db.now(session))

    assert (till.row().state, till.row().platform_reference) == (MoneyState.SETTLED, till.shop.payments()[0].reference)
    with till.db.reading() as session:
        rma, resolution = session.get_one(Rma, till.rma), session.get_one(Resolution, till.row().resolution_id)
        given = limits.given_on(session, till.world.shop.id, till.world.clock.now.date(), "EUR")
        taken = rmas.taken(session, till.world.shop.id, order)
    assert (rma.state, resolution.voided_at, given) == (RmaState.RESOLVED, None, till.row().minor)
    assert taken[LineRef("line-1")] == 1
    assert till.alarms() == []


@REPLAYS
def test_m6_nobody_can_say_that_it_was_not_paid_while_a_request_may_still_act(till: Till) -> None:
    """F10: the first request pays late, the second is refused; the books look empty, and "not paid" would be paid twice."""
    till.fails(Fault.SLOW, seconds=29)
    till.settle()
    till.passes(timedelta(seconds=11))
    till.fails(Fault.REFUSE)
    till.settle()
    assert (till.row().state, till.row().parked_because) == (MoneyState.PARKED, "rejected_late")

    with pytest.raises(TooEarly) as early, till.db.transaction() as session:
        receipts.answer_unpaid(session, till.row_id, who="sam", now=till.db.now(session))

    assert early.value.until == till.row().quiet_until
    till.passes(timedelta(seconds=30))
    assert till.paid() == [till.row_id.hex]
    till.passes(timedelta(minutes=3))
    with till.db.transaction() as session:
        receipts.answer_paid(session, till.row_id, till.shop.payments()[0].reference, who="sam", now=till.db.now(session))
    assert till.row().state is MoneyState.SETTLED


@PROVES_NOTHING
def test_f35_a_payment_that_a_person_named_otherwise_than_the_shop_is_one_payment(till: Till) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle()
    with till.db.transaction() as session:
        refunds.park(session, till.seen(), why="outcome_unknown", words="", now=till.db.now(session))
        receipts.answer_paid(session, till.row_id, RefundRef("  re_3Nabc (Stripe) "), who="sam", now=till.db.now(session))
    assert till.row().platform_reference == "re_3Nabc (Stripe)"
    order = till.shop.order(till.order.ref)

    with till.db.reading() as session:
        assert rmas.taken(session, till.world.shop.id, order)[LineRef("line-1")] == 1
    theirs = Receipt(till.shop.payments()[0].reference, Money(1200, "EUR"))
    with till.db.transaction() as session:
        receipts.settle(session, till.row_id, theirs, attempt=1, who=receipts.MACHINE, now=till.db.now(session))

    assert (till.row().platform_reference, till.alarms()) == (theirs.reference, [])


@PROVES_NOTHING
@pytest.mark.parametrize("typed", ["", "  ", "x" * 201, "re\n1"])
def test_a_payment_is_named_by_what_the_books_show(till: Till, typed: str) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle_at_last()

    with pytest.raises(receipts.NoReference), till.db.transaction() as session:
        receipts.answer_paid(session, till.row_id, RefundRef(typed), who="sam", now=till.db.now(session))


@PROVES_NOTHING
@pytest.mark.parametrize(
    ("reference", "minor", "kept"),
    [
        ("a\0b", 1200, ("ab", 1200)),
        ("\ud800", 1200, ("?", 1200)),
        ("x" * 999, 2**70, ("x" * 200, 2**63 - 1)),
        (" ", 1200, ("unnamed:", 1200)),
    ],
    ids=["NUL", "half a character", "a novel and more money than there is", "nothing"],
)
def test_a15_a84_a_receipt_is_recorded_whatever_a_far_side_writes_into_it(
    till: Till, reference: str, minor: int, kept: tuple[str, int]
) -> None:
    with till.db.transaction() as session:
        told = Receipt(RefundRef(reference), Money(minor, "EUR"))
        assert receipts.settle(session, till.row_id, told, attempt=1, who=receipts.MACHINE, now=till.db.now(session))

    (receipt,) = till.receipts()
    assert (receipt.reference.removesuffix(till.row_id.hex), receipt.minor) == kept


@PROVES_NOTHING
def test_f58_who_lost_the_row_does_not_park_it_while_another_pays(till: Till) -> None:
    """The worker that fails for the tenth time holds no lease any more; the one that does is asking the shop."""
    with till.db.transaction() as session:
        (mine,) = outbox.claim(session, kinds=["settle"], limit=1, now=till.db.now(session))
    till.passes(outbox.LEASE + timedelta(seconds=1))
    with till.db.transaction() as session:
        assert outbox.claim(session, kinds=["settle"], limit=1, now=till.db.now(session))
    till.marked()

    def nowhere(_keys: object) -> None:
        raise LookupError("no such adapter")

    drain.work_one(Site(till.db, nowhere), replace(mine, attempts=drain.ATTEMPTS - 1))  # type: ignore[arg-type]

    assert till.row().state is MoneyState.SENT


@PROVES_NOTHING
def test_work_that_fails_too_often_before_anything_left_asks_nobody_and_goes_on_when_it_is_told_to(till: Till) -> None:
    """A key that was taken off the list too early must not turn every refund that is due into a question."""
    for _ in range(drain.ATTEMPTS):
        till.passes(timedelta(minutes=11))
        fail_once(till)
    assert till.row().state is MoneyState.PENDING
    with till.db.transaction() as session:
        (row,) = session.execute(select(OutboxRow).where(OutboxRow.subject_id == till.row_id)).scalars()
        assert outbox.retry(session, row.id, now=till.db.now(session))

    till.settle()

    assert till.row().state is MoneyState.SETTLED


@PROVES_NOTHING
def test_the_gateways_own_words_reach_the_person_who_is_asked(till: Till) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle()
    with till.db.transaction() as session:
        refunds.note(session, till.seen(), 1, words="cURL error 28: the processor did not answer")
        refunds.park(session, till.seen(), why="outcome_unknown", words="no such payment listed", now=till.db.now(session))

    assert till.row().words == "cURL error 28: the processor did not answer; no such payment listed"


@PROVES_NOTHING
def test_a_row_whose_mark_was_taken_back_meanwhile_is_not_parked(till: Till) -> None:
    """Found by 4 schedules in 10,000: who looked while it was asked must not park it once it is proven that nothing left."""
    attempt = till.marked()
    seen = till.seen()
    with till.db.transaction() as session:
        refunds.unmark(session, seen, attempt.number)

    with till.db.transaction() as session:
        assert not refunds.park(session, seen, why="outcome_unknown", words="", now=till.db.now(session))

    assert till.row().state is MoneyState.PENDING


@REPLAYS
@pytest.mark.parametrize("change", [{"currency": "JPY"}, {"ref": OrderRef("999")}, {"paid": False}], ids=["currency", "order", "paid"])
def test_f25_a24_an_order_that_is_another_by_now_is_not_paid(till: Till, change: dict[str, Any]) -> None:
    other = replace(till.shop.order(till.order.ref), **change)
    seen = till.seen()

    with pytest.raises(outbox.NeedsAPerson, match="no_longer_fits"), till.db.transaction() as session:
        refunds.mark(session, seen, other, None, quiet_period=timedelta(minutes=2), now=till.db.now(session))

    assert till.row().state is MoneyState.PENDING


@REPLAYS
def test_a_payment_that_is_always_too_late_to_be_written_asks_a_person_in_the_end(till: Till) -> None:
    """A clock over there that is far off: every attempt is void, ever more slowly, and not for ever."""
    delays = []

    def slept(where: str) -> None:
        till.elapsed += timedelta(seconds=11 if where == "before the check" else 0)

    till.shop.step = slept
    for _ in range(25):
        outcome = till.settle()
        if till.row().state is MoneyState.PARKED:
            break
        delays.append(why(outcome)[1])
        till.passes(delays[-1])

    assert till.row().parked_because == "voided_too_often"
    assert delays[0] == timedelta(seconds=1)
    assert max(delays) == timedelta(minutes=2)
    assert till.paid() == []


@PROVES_NOTHING
def test_a_payment_that_comes_after_all_stops_the_second_one_and_raises_the_alarm(till: Till) -> None:
    """The new decision was made while nobody could know; the last read before the request shows it."""
    parked_and_late(till)
    till.world.resolve(till.rma)
    till.passes(LONG)

    second = next(row.id for row in till.world.rows(till.rma) if row.state is MoneyState.PENDING)
    till.settle(second)

    assert till.paid() == [till.row_id.hex]
    assert till.row(second).parked_because == "paid_before"
    assert till.alarms() == ["paid_twice"]
    assert [receipt.refund_id for receipt in till.receipts()] == [till.row_id]


@REPLAYS
def test_a_worker_that_slept_between_its_look_and_its_mark_starts_anew(till: Till) -> None:
    """F20, F57: the proof that nothing happened, and the order that was read, are as old as its sleep."""
    seen, order = till.seen(), till.shop.order(till.order.ref)
    till.passes(timedelta(seconds=31))

    with pytest.raises(outbox.Later, match=r"money\.slept"), till.db.transaction() as session:
        refunds.mark(session, seen, order, None, quiet_period=timedelta(minutes=2), now=till.db.now(session))

    assert till.stands() == (MoneyState.PENDING, 0, None)


@PROVES_NOTHING
def test_a_row_whose_work_fails_again_and_again_asks_a_person_and_holds_up_nobody(till: Till) -> None:
    """F39: its outcome is unknown, and every look fails; after the last one a person is asked."""
    till.fails(Fault.LOSE_ANSWER)
    till.settle()
    other_rma, other = till.resolved()
    assert why(till.settle(other)) == ("money.order_busy", timedelta(seconds=10))

    for _ in range(drain.ATTEMPTS):
        till.passes(timedelta(minutes=11))
        fail_once(till)

    assert till.row().parked_because == "failed_too_often"
    assert till.settle(other) is None
    assert till.row(other).state is MoneyState.SETTLED
    assert other_rma != till.rma


def fail_once(till: Till) -> None:
    """One claim of the first row, by a worker that cannot open the shop."""

    def nowhere(_keys: object) -> None:
        raise LookupError("no such adapter")

    with till.db.transaction() as session:
        claimed = outbox.claim(session, kinds=["settle"], limit=9, now=till.db.now(session))
    for row in claimed:
        if row.subject_id == till.row_id:
            drain.work_one(Site(till.db, nowhere), row)  # type: ignore[arg-type]
        else:
            with till.db.transaction() as session:
                outbox.later(session, row, at=till.db.now(session))


@REPLAYS
def test_a_call_is_not_made_anew_on_an_old_read(till: Till) -> None:
    began, order = till.clock.now, till.shop.order(till.order.ref)
    till.fails(Fault.REFUSE)
    till.settle_at_last()
    till.passes(timedelta(days=3))

    with pytest.raises(StaleRead), till.db.transaction() as session:
        refunds.again(session, till.row_id, order, read_began=began, who="sam", now=till.db.now(session))


@PROVES_NOTHING
def test_every_further_double_payment_raises_an_alarm_of_its_own(till: Till) -> None:
    till.settle()

    for reference in ("toy-98", "toy-99", "toy-99"):
        receipt = Receipt(RefundRef(reference), Money(1200, "EUR"))
        with till.db.transaction() as session:
            receipts.settle(session, till.row_id, receipt, attempt=1, who="machine", now=till.db.now(session))

    assert till.alarms() == ["paid_twice", "paid_twice"]
