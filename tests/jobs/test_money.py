"""M6: the way of the money, step by step; F01 to F10, F19 to F21, F56, F57."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from adapters.simulators.toy import Fault, Proof
from connector.domain import codec
from connector.domain.platform import OutcomeUnknown
from connector.domain.rma import MoneyState
from connector.models import Refund
from connector.services import refunds
from connector.services.outbox import Later
from jobs.site import Impatient
from tests.jobs.tills import BOTH, EVERY, FENCED, PROVES_NOTHING, REPLAYS, Till, why
from tests.services.acts import at_once, everything, told, work
from tests.world import START

PENDING, SENT, SETTLED, PARKED = MoneyState.PENDING, MoneyState.SENT, MoneyState.SETTLED, MoneyState.PARKED
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


# ── The way ──


@EVERY
def test_m6_the_money_moves_once_and_its_receipt_is_recorded(till: Till) -> None:
    assert till.settle() is None

    (payment,) = till.shop.payments()
    (receipt,) = till.receipts()
    row = till.row()
    assert (payment.key, payment.kind, payment.told.amount.minor) == (till.row_id.hex, till.step, 1200)
    assert (row.state, row.attempt, row.platform_reference) == (SETTLED, 1, payment.reference)
    assert (receipt.refund_id, receipt.attempt, receipt.reference) == (row.id, 1, payment.reference)
    assert (receipt.minor, receipt.currency, receipt.recorded_by) == (1200, "EUR", "machine")
    assert till.alarms() == []


@BOTH
def test_m6_running_again_changes_nothing(till: Till) -> None:
    till.settle()
    before = everything(till.db)

    assert [till.settle(), till.settle()] == [None, None]

    assert everything(till.db) == before
    assert till.paid() == [till.row_id.hex]


@BOTH
def test_r3_the_timeline_tells_the_way_and_the_platform_hears_of_the_end(till: Till) -> None:
    before = len(work(till.db, "mirror"))

    till.settle()

    asked, settled = told(till.db, till.rma)[-2:]
    reference = till.row().platform_reference
    facts = {"minor": 1200, "currency": "EUR", "row": till.row_id.hex, "reference": reference, "attempt": 1}
    assert asked == ("money.asked", "machine", {"row": till.row_id.hex, "attempt": 1})
    assert settled == ("money.settled", "machine", facts)
    assert len(work(till.db, "mirror")) == before + 1


@BOTH
def test_nothing_personal_is_written_on_the_whole_way(till: Till) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle()
    till.settle()

    kept = everything(till.db)
    assert all(kept[table] for table in ("contacts", "orders", "outbox", "receipts", "refunds", "resolutions", "timeline_texts"))
    for table, rows in kept.items():
        for row in rows:
            for column, value in row.items():
                shown = value if isinstance(value, bytes) else str(value).encode()
                assert b"kim@example.com" not in shown, f"{table}.{column}"


@BOTH
def test_a_row_that_is_not_there_is_nothing_to_do(till: Till) -> None:
    before = everything(till.db)

    assert till.settle(uuid.uuid4()) is None
    assert everything(till.db) == before


@BOTH
def test_the_mark_stands_before_the_request_leaves_and_no_transaction_is_open_meanwhile(till: Till) -> None:
    seen: list[tuple[str, tuple[MoneyState, int, int | None]]] = []

    def look(name: str) -> None:
        with till.db.transaction():  # nobody keeps the database's turn, nor the order's lock
            seen.append((name, till.stands()))

    till.shop.step = look

    till.settle()

    sent = (SENT, 1, 1)
    assert seen == [("before the check", sent), ("before the payment", sent), ("after the payment", sent)]


@BOTH
def test_the_mark_keeps_what_the_order_showed_before(till: Till) -> None:
    till.settle()
    _, second = till.resolved()

    till.settle(second)

    before = codec.read(till.row(second).before or b"", dict[str, str])
    assert before == {"refunded": "1200", "refunds": "toy-1", "line:line-1": "1"}
    assert codec.read(till.row().before or b"", dict[str, str]) == {"refunded": "0", "refunds": "", "line:line-1": "0"}


@BOTH
def test_m6_two_returns_of_one_order_are_paid_one_after_the_other(till: Till) -> None:
    """F18 too: what one request may be doing to the order is not judged by the other."""
    _, second = till.resolved()
    till.fails(Fault.LOSE_ANSWER)
    till.settle()

    assert why(till.settle(second)) == ("money.order_busy", 10 * SECOND)
    assert till.row(second).attempt == 0
    till.settle()
    till.settle(second)

    assert till.paid() == [till.row_id.hex, second.hex]


# ── F04 to F10: nobody answers ──


@EVERY
def test_an_unanswered_request_is_unknown_and_looked_for_in_ten_seconds(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)

    outcome = till.settle()

    assert why(outcome) == ("money.unknown", 10 * SECOND)
    assert isinstance(outcome.__cause__ if outcome else None, OutcomeUnknown)
    assert till.stands() == (SENT, 1, 1)


@EVERY
def test_f02_f03_f04_a_payment_whose_answer_was_lost_is_found_and_not_made_again(till: Till) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle()

    assert till.settle() is None

    assert till.stands() == (SETTLED, 1, 1)
    assert till.paid() == [till.row_id.hex]
    assert [receipt.attempt for receipt in till.receipts()] == [1]


@REPLAYS
def test_f01_f05_where_keys_are_kept_the_same_request_is_sent_again(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    instruction = till.row().instruction
    till.passes(10 * SECOND)

    assert till.settle() is None

    row = till.row()
    assert till.stands() == (SETTLED, 2, 1)  # still counted from the first that may have left
    assert (row.asked_first_at, row.marked_at) == (START, START + 10 * SECOND)
    assert row.instruction == instruction == codec.write(till.shop.payments()[0].told)  # F19: not a byte of it changes


@FENCED
def test_f01_f05_where_a_fence_burned_the_attempt_the_next_one_is_the_first(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    till.passes(10 * SECOND)

    assert till.settle() is None

    assert till.stands() == (SETTLED, 2, 2)
    assert till.row().asked_first_at == START + 10 * SECOND


@EVERY
@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.LATE, Fault.SLOW])
def test_whatever_becomes_of_the_answer_the_money_moves_once(till: Till, fault: Fault) -> None:
    till.fails(fault, seconds=25)

    till.settle_at_last()
    till.passes(timedelta(hours=1))

    assert till.paid() == [till.row_id.hex]
    assert till.stands()[0] is SETTLED
    assert till.alarms() == []


@FENCED
def test_a_request_that_arrives_after_its_attempt_was_burned_does_nothing(till: Till) -> None:
    till.fails(Fault.LATE, seconds=15)
    till.settle()
    till.passes(10 * SECOND)

    till.settle()
    till.passes(MINUTE)

    assert till.stands()[:2] == (SETTLED, 2)
    assert till.paid() == [till.row_id.hex]


@REPLAYS
def test_f21_the_same_key_while_the_first_request_is_still_at_work_pays_once(till: Till) -> None:
    till.fails(Fault.SLOW, seconds=25)
    till.settle()
    till.passes(10 * SECOND)

    till.settle()
    till.passes(MINUTE)

    assert till.paid() == [till.row_id.hex]
    assert till.row().platform_reference == till.shop.payments()[0].reference


@REPLAYS
def test_f20_once_the_keys_are_forgotten_only_the_list_speaks(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    till.passes(timedelta(hours=23))

    assert why(till.settle())[0] == "money.parked"

    assert (till.stands()[0], till.row().parked_because, till.paid()) == (PARKED, "outcome_unknown", [])


@REPLAYS
def test_f20_a_payment_is_found_in_the_list_however_late(till: Till) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle()
    till.passes(timedelta(days=30))

    till.settle()

    assert till.stands()[0] is SETTLED


# ── Patience ──


@PROVES_NOTHING
def test_what_is_in_doubt_is_looked_for_after_ten_seconds_thirty_seconds_and_two_minutes(till: Till) -> None:
    till.shop.quiet = timedelta(minutes=10)
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    delays = {}

    for age in (0, 29, 30, 119, 120, 500, 590, 599):
        till.clock.now = START + age * SECOND
        code, delays[age] = why(till.settle())
        assert code == "money.in_doubt"

    seconds = {age: delay.total_seconds() for age, delay in delays.items()}
    assert seconds == {0: 10, 29: 10, 30: 30, 119: 30, 120: 120, 500: 100, 590: 10, 599: 1}
    assert till.stands() == (SENT, 1, 1)


@PROVES_NOTHING
def test_f03_after_the_quiet_period_a_person_is_asked_with_the_facts(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)

    reasons = till.settle_at_last()

    assert reasons == ["money.unknown", *["money.in_doubt"] * (len(reasons) - 2), "money.parked"]
    row, words = till.row(), "connection reset; no such payment listed"  # to the request, and to the looks
    assert (row.state, row.parked_because, row.words) == (PARKED, "outcome_unknown", words)
    facts = {"row": row.id.hex, "why": "outcome_unknown", "words": words, "attempt": 1, "may_have_left": True}
    assert told(till.db, till.rma)[-1] == ("money.parked", "machine", facts)
    assert till.clock.now - START == till.shop.capabilities().quiet_period
    assert till.paid() == []


@FENCED
def test_what_still_runs_over_there_is_waited_for(till: Till) -> None:
    till.fails(Fault.SLOW, seconds=25)

    assert till.settle_at_last() == ["money.unknown", "money.in_doubt", "money.in_doubt"]
    assert till.stands() == (SETTLED, 1, 1)


@BOTH
def test_a_shop_whose_quiet_period_could_end_too_early_is_not_asked_for_money(till: Till) -> None:
    least = timedelta(seconds=10 + 20 + 30 + 60)
    till.shop.quiet = least - SECOND

    outcome = till.settle()

    assert isinstance(outcome, Impatient)
    assert "0:01:59" in str(outcome)
    assert (till.stands(), till.paid()) == ((PENDING, 0, None), [])
    till.shop.quiet = least
    assert till.settle() is None


# ── F56, F57: killed, paused, overtaken ──


class Killed(BaseException):
    """Nothing after this line happens."""


@EVERY
@pytest.mark.parametrize("at", ["before the check", "before the payment", "after the payment"])
def test_f56_a_worker_that_dies_on_the_way_leaves_a_row_that_the_next_run_brings_to_its_end(till: Till, at: str) -> None:
    def die(name: str) -> None:
        if name == at:
            till.shop.step = lambda _name: None
            raise Killed

    till.shop.step = die
    with pytest.raises(Killed):
        till.settle()
    assert till.stands() == (SENT, 1, 1)

    till.settle_at_last()

    in_doubt = till.shop.proof is Proof.NONE and at != "after the payment"  # nobody can tell, so a person is asked
    assert till.stands()[0] is (PARKED if in_doubt else SETTLED)
    assert till.paid() == ([] if in_doubt else [till.row_id.hex])


@BOTH
@pytest.mark.parametrize(("seconds", "pays"), [(9.999, True), (10, False), (300, False)])
@pytest.mark.parametrize("whose", ["machine", "database"])
def test_f57_who_slept_ten_seconds_between_mark_and_request_does_not_pay(till: Till, whose: str, seconds: float, pays: bool) -> None:
    def sleep(name: str) -> None:
        if name == "before the check" and whose == "machine":
            till.elapsed += timedelta(seconds=seconds)
        elif name == "before the check":
            till.clock.advance(timedelta(seconds=seconds))

    till.shop.step = sleep

    outcome = till.settle()

    if pays:
        assert (outcome, till.paid()) == (None, [till.row_id.hex])
    else:
        assert why(outcome) == ("money.voided", SECOND)
        assert (till.stands(), till.row().marked_at, till.paid()) == ((PENDING, 1, None), None, [])


@BOTH
def test_f57_the_stopwatch_starts_before_the_mark_is_written(till: Till) -> None:
    """Asked for the time, first to read, then to mark: a worker that sleeps in its mark's transaction comes too late."""
    times = iter([0, 10])

    def asked() -> None:
        till.elapsed += next(times, 0) * SECOND

    till.time.asked = asked

    assert why(till.settle())[0] == "money.voided"
    assert till.paid() == []


@BOTH
def test_a_voided_attempts_number_is_never_used_again(till: Till) -> None:
    till.shop.step = lambda _name: till.passes(10 * SECOND)
    till.settle()
    till.shop.step = lambda _name: None

    assert till.settle() is None

    assert till.stands() == (SETTLED, 2, 2)
    assert [facts["attempt"] for what, _, facts in told(till.db) if what == "money.asked"] == [1, 2]


@REPLAYS
def test_a_later_attempt_that_did_nothing_leaves_the_doubt_about_the_first(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    till.shop.step = lambda _name: till.passes(10 * SECOND)

    assert why(till.settle())[0] == "money.voided"

    assert till.stands() == (SENT, 2, 1)
    assert till.row().asked_first_at == START


@REPLAYS
def test_f57_who_was_overtaken_while_it_slept_changes_nothing_when_it_wakes(till: Till) -> None:
    def overtaken(name: str) -> None:
        till.shop.step = lambda _name: None
        assert name == "before the check"
        assert till.settle() is None
        assert till.stands() == (SETTLED, 2, 1)

    till.shop.step = overtaken

    assert why(till.settle())[0] == "money.voided"

    assert till.stands() == (SETTLED, 2, 1)
    assert till.paid() == [till.row_id.hex]


@EVERY
def test_f58_two_workers_at_once_pay_once(till: Till) -> None:
    outcome = at_once(*[till.settle] * 3)

    assert None in outcome
    assert {str(each) for each in outcome} <= {"None", "money.lost_the_race", "money.already_there", "money.in_doubt", "money.voided"}
    till.settle_at_last()
    assert till.paid() == [till.row_id.hex]
    assert (till.stands()[0], till.alarms()) == (SETTLED, [])


@BOTH
def test_of_two_that_read_the_same_only_one_marks(till: Till) -> None:
    order, seen = till.shop.order(till.order.ref), till.seen()
    till.marked()

    with pytest.raises(Later, match="lost_the_race"), till.db.transaction() as session:
        refunds.mark(session, seen, order, None, quiet_period=timedelta(minutes=2), now=START)

    assert till.stands() == (SENT, 1, 1)


@BOTH
def test_the_database_has_the_last_word_on_who_marks(till: Till) -> None:
    """Even where the row lies in the session from before somebody else's mark."""
    order, seen = till.shop.order(till.order.ref), till.seen()

    with till.db.transaction() as session:
        known = session.get_one(Refund, till.row_id)
        session.connection().exec_driver_sql("UPDATE refunds SET attempt = 7")
        with pytest.raises(Later, match="lost_the_race"):
            refunds.mark(session, seen, order, None, quiet_period=timedelta(minutes=2), now=START)
        assert known.attempt == 0

    assert till.stands() == (PENDING, 7, None)
