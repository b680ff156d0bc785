"""Where two stories meet: a late payment and a new decision, a decision of two calls, a worker that slept, a row that fails."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.simulators.toy import Fault
from connector.domain.money import Money
from connector.domain.orders import RefundRef
from connector.domain.platform import Receipt
from connector.domain.rma import MoneyState
from connector.services import outbox, receipts, refunds
from connector.services.desk import PaidBefore
from connector.services.orders import StaleRead
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
