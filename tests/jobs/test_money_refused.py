"""M6: what promises that nothing happened (Rejected, Throttled, Revoked, Voided), and orders that changed: F11, F15, F25, F27."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from adapters.simulators.toy import Fault
from connector.domain.money import Money
from connector.domain.orders import Order, RefundRecord, RefundRef
from connector.domain.platform import Receipt, Revoked, Sighting, SightingKind, Throttled
from connector.domain.rma import MoneyState, RmaState
from connector.models import OutboxRow, Resolution, Shop, ShopStatus
from connector.services import limits, refunds, shops
from jobs import money
from tests.jobs.tills import BOTH, EACH_PROOF, EVERY, PROVES_NOTHING, REPLAYS, Till, why
from tests.services.acts import everything, refunded_in_the_admin, state_of, told
from tests.world import START

PENDING, SENT, SETTLED, PARKED, REFUSED = (
    MoneyState.PENDING,
    MoneyState.SENT,
    MoneyState.SETTLED,
    MoneyState.PARKED,
    MoneyState.REFUSED,
)  # fmt: skip
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def given_today(till: Till) -> int:
    with till.db.reading() as session:
        return limits.given_on(session, till.world.shop.id, START.date(), "EUR")


def message(till: Till) -> OutboxRow:
    with till.db.reading() as session:
        return session.execute(select(OutboxRow).where(OutboxRow.subject_id == till.row_id)).scalar_one()


# ── Busy, or not connected any more ──


@EVERY
def test_f11_a_throttled_attempt_is_taken_back_and_the_next_one_has_a_new_number(till: Till) -> None:
    till.fails(Fault.THROTTLE, seconds=600)

    assert isinstance(till.settle(), Throttled)
    assert (till.stands(), till.row().marked_at, till.row().before) == ((PENDING, 1, None), None, None)
    assert till.settle() is None

    assert till.stands() == (SETTLED, 2, 2)
    assert till.paid() == [till.row_id.hex]


@BOTH
def test_f11_ten_minutes_of_throttling_pause_the_shop_and_count_as_no_attempt(till: Till) -> None:
    till.fails(*[Fault.THROTTLE] * 10, seconds=60)

    for _ in range(10):
        assert till.drained() == 1
        till.passes(MINUTE)
    till.drained()

    assert (message(till).attempts, message(till).parked_at) == (0, None)
    assert till.stands() == (SETTLED, 11, 11)
    assert till.paid() == [till.row_id.hex]


@BOTH
@pytest.mark.parametrize("step", ["order", "look"])
def test_a_read_that_fails_changes_nothing(till: Till, step: str) -> None:
    if step == "look":
        till.fails(Fault.LOSE_ANSWER)
        till.settle()
    before = everything(till.db)
    till.shop.fail_next(step, Fault.THROTTLE)

    assert isinstance(till.settle(), Throttled)

    assert everything(till.db) == before
    assert till.settle() is None


@REPLAYS
def test_a_later_attempt_that_was_throttled_leaves_the_doubt_about_the_first(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST, Fault.THROTTLE)
    till.settle()

    assert isinstance(till.settle(), Throttled)
    assert till.stands() == (SENT, 2, 1)
    assert till.settle() is None

    assert till.stands() == (SETTLED, 3, 1)


@EVERY
def test_f27_refused_keys_stop_the_shop_and_what_was_in_flight_is_paid_once_it_is_connected_again(till: Till) -> None:
    till.fails(Fault.REVOKE)

    assert till.drained() == 1
    assert (till.stands(), message(till).attempts) == ((PENDING, 1, None), 0)
    with till.db.reading() as session:
        assert session.get_one(Shop, till.world.shop.id).status is ShopStatus.REVOKED
    till.passes(timedelta(days=3))
    assert till.drained() == 0

    with till.db.transaction() as session:
        shop, vault = till.world.shop, till.world.vault
        shops.connect(session, platform="toy", domain=shop.domain, credentials={}, vault=vault, time_zone="UTC", now=till.clock.now)
    assert till.drained() == 1
    assert till.paid() == [till.row_id.hex]


@BOTH
def test_f27_keys_that_are_refused_at_a_look_leave_the_row_in_doubt(till: Till) -> None:
    till.fails(Fault.LOSE_ANSWER)
    till.settle()
    till.shop.fail_next("look", Fault.REVOKE)

    assert isinstance(till.settle(), Revoked)

    assert till.stands() == (SENT, 1, 1)


# ── No ──


@EVERY
def test_a_refusal_releases_the_amount_and_the_return_may_be_resolved_anew(till: Till) -> None:
    till.fails(Fault.REFUSE)
    assert given_today(till) == 1200

    assert till.settle() is None

    row = till.row()
    assert (row.state, row.words, row.platform_reference) == (REFUSED, "the gateway says no", None)
    assert (state_of(till.world, till.rma), given_today(till)) == (RmaState.RECEIVED, 0)
    with till.db.reading() as session:
        assert session.get_one(Resolution, row.resolution_id).voided_at == START
    refused, reopened = told(till.db, till.rma)[-2:]
    facts = {"row": row.id.hex, "why": "rejected", "words": "the gateway says no"}
    assert (refused, reopened) == (("money.refused", "platform", facts), ("rma.reopen", "platform", {}))


@EVERY
def test_a_refused_row_is_never_sent_again_and_the_new_one_pays(till: Till) -> None:
    till.fails(Fault.REFUSE)
    till.settle()
    till.world.resolve(till.rma, till.payout)
    (new,) = [row for row in till.world.rows(till.rma) if row.id != till.row_id]

    assert [till.settle(), till.settle(new.id)] == [None, None]

    assert till.paid() == [new.id.hex]
    assert (given_today(till), state_of(till.world, till.rma)) == (1200, RmaState.RESOLVED)


@REPLAYS
def test_a_refusal_after_an_attempt_that_may_have_left_asks_a_person_where_nothing_is_found(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST, Fault.REFUSE)
    till.settle()

    assert why(till.settle()) == ("money.parked", timedelta(0))

    row = till.row()
    assert (row.state, row.parked_because, row.words) == (PARKED, "rejected_late", "connection reset; the gateway says no")
    facts = {
        "row": row.id.hex,
        "why": "rejected_late",
        "words": "connection reset; the gateway says no",
        "attempt": 2,
        "may_have_left": True,
    }
    assert told(till.db, till.rma)[-1] == ("money.parked", "machine", facts)
    assert state_of(till.world, till.rma) is RmaState.RESOLVED


@REPLAYS
def test_a_refusal_because_an_earlier_attempt_has_paid_meanwhile_is_a_payment(till: Till) -> None:
    till.fails(Fault.SLOW, seconds=15)
    till.fails(Fault.REFUSE)
    till.settle()
    till.passes(10 * SECOND)
    asked = iter([False, True])  # first to read, then to mark, after the look and the read of the order

    def passes() -> None:
        if next(asked, False):
            till.clock.advance(6 * SECOND)

    till.time.asked = passes

    assert till.settle() is None

    assert till.stands() == (SETTLED, 2, 1)
    assert till.paid() == [till.row_id.hex]


@BOTH
def test_a_refusal_of_an_attempt_that_was_overtaken_changes_nothing(till: Till) -> None:
    seen, first = till.seen(), till.marked()
    with till.db.transaction() as session:
        refunds.unmark(session, seen, first.number)
    till.marked()
    before = everything(till.db)

    def refuse() -> bool:
        with till.db.transaction() as session:
            return refunds.refuse(session, seen, first.number, words="no", now=START)

    assert not refuse()
    now = everything(till.db)
    assert now.pop("orders") != before.pop("orders")  # only the order was locked
    assert now == before


@BOTH
def test_an_unmark_of_an_attempt_that_was_overtaken_changes_nothing(till: Till) -> None:
    seen, first = till.seen(), till.marked()
    with till.db.transaction() as session:
        refunds.unmark(session, seen, first.number)
    till.marked()

    with till.db.transaction() as session:
        refunds.unmark(session, seen, first.number)

    assert till.stands() == (SENT, 2, 2)


# ── The order changed since it was decided ──


def without_line(order: Order) -> Order:
    return replace(order, lines=())


def without_card(order: Order) -> Order:
    return replace(order, tenders=())


def two_units_back(order: Order) -> Order:
    return replace(order, lines=(replace(order.lines[0], refunded_quantity=3),))


@EVERY
def test_f15_a_refund_in_the_admin_meanwhile_asks_a_person_with_the_figures_and_is_not_tried_for_ever(till: Till) -> None:
    till.shop.place(refunded_in_the_admin(till.order, 3000))

    assert till.drained() == 2  # once to find out, once to see that a person has it

    row = till.row()
    assert (row.state, row.parked_because, row.words) == (PARKED, "no_longer_fits", "order: 1200 asked, 600 there")
    assert (till.stands(), till.paid(), message(till).done_at) == ((PARKED, 0, None), [], START)
    assert told(till.db, till.rma)[-1][2]["may_have_left"] is False


@REPLAYS
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_line, "line:line-1: 1 asked, 0 there"),
        (without_card, "tender:card: 1200 asked, 0 there"),
        (two_units_back, "line:line-1: 1 asked, 0 there"),
    ],
)
def test_f25_what_was_edited_away_is_not_paid(till: Till, change: object, words: str) -> None:
    assert callable(change)
    till.shop.place(change(till.order))

    till.settle()

    assert (till.row().parked_because, till.row().words, till.paid()) == ("no_longer_fits", words, [])


@EACH_PROOF
def test_f25_an_order_that_is_gone_asks_a_person(till: Till) -> None:
    till.shop.far._db.execute("DELETE FROM orders")

    assert why(till.settle()) == ("money.parked", timedelta(0))

    assert (till.row().state, till.row().parked_because, till.row().words) == (PARKED, "order_unreadable", "no order 1001")


@REPLAYS
def test_f15_a_refund_in_the_admin_while_ours_is_unanswered_says_that_ours_may_have_left(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    till.shop.place(refunded_in_the_admin(till.order, 3600))

    till.settle()

    assert (till.stands(), till.row().parked_because) == ((PARKED, 1, 1), "no_longer_fits")
    assert told(till.db, till.rma)[-1][2]["may_have_left"] is True


@BOTH
def test_a_small_refund_in_the_admin_that_leaves_enough_is_none_of_our_business(till: Till) -> None:
    till.shop.place(refunded_in_the_admin(till.order, 2400))

    assert till.settle() is None


# ── Books that are older than the shop's ──


@EVERY
def test_an_order_that_shows_our_refund_although_we_never_asked_for_it_asks_a_person(till: Till) -> None:
    """Our database was restored from a backup, say."""
    shown = RefundRecord(RefundRef("toy-9"), 1200, 1200, key=till.row_id.hex)
    till.shop.place(replace(till.order, refunded=1200, refunds=(shown,)))

    assert why(till.settle())[0] == "money.parked"

    row = till.row()
    assert (row.state, row.attempt, row.parked_because, till.paid()) == (PARKED, 0, "already_there", [])


@REPLAYS
def test_a_payment_that_appears_between_look_and_order_is_looked_for_again(till: Till) -> None:
    till.fails(Fault.SLOW, seconds=15)
    till.settle()
    till.passes(10 * SECOND)
    till.shop.meanwhile = lambda: till.passes(6 * SECOND)

    assert why(till.settle()) == ("money.already_there", 10 * SECOND)
    assert till.stands() == (SENT, 1, 1)
    assert till.settle() is None

    assert till.paid() == [till.row_id.hex]


# ── Two who would ask a person ──


@PROVES_NOTHING
def test_of_two_who_find_out_that_nobody_can_tell_one_asks_the_person(till: Till) -> None:
    till.fails(Fault.LOSE_REQUEST)
    till.settle()
    till.passes(timedelta(hours=1))
    other: list[Exception | None] = []
    till.shop.meanwhile = lambda: other.append(till.settle())

    outcome = till.settle()

    assert (why(outcome), [why(each) for each in other]) == (("money.parked", SECOND), [("money.parked", timedelta(0))])
    assert [what for what, _, _ in told(till.db, till.rma)].count("money.parked") == 1


@BOTH
def test_who_was_overtaken_cannot_park_the_row(till: Till) -> None:
    seen = till.seen()
    till.marked()

    with till.db.transaction() as session:
        assert not refunds.park(session, seen, why="tired", words="", now=START)

    assert till.stands() == (SENT, 1, 1)


# ── Small promises ──


@BOTH
def test_an_attempt_is_ours_while_it_is_the_latest_and_younger_than_its_window(till: Till) -> None:
    attempt = till.marked()

    def mine(number: int, age: timedelta) -> bool:
        with till.db.reading() as session:
            return refunds.still_mine(session, till.row_id, replace(attempt, number=number), now=START + age)

    assert mine(1, timedelta(0))
    assert mine(1, refunds.WINDOW - timedelta(microseconds=1))
    assert not mine(1, refunds.WINDOW)
    assert not mine(2, timedelta(0))
    till.settle()
    assert not mine(1, timedelta(0))


@BOTH
def test_what_is_settled_is_not_given_up(till: Till) -> None:
    till.settle()
    before = everything(till.db)

    with till.db.transaction() as session:
        money.give_up(session, till.row_id, START)

    assert everything(till.db) == before


@pytest.mark.parametrize("kind", SightingKind)
def test_settled_names_its_receipt_and_nothing_else_has_one(kind: SightingKind) -> None:
    """Settled without a receipt would be read as not paid, and paid again."""
    receipt = Receipt(RefundRef("toy-1"), Money(1200, "EUR"))
    settled = kind is SightingKind.SETTLED

    with pytest.raises(ValueError, match="receipt"):
        Sighting(kind, None if settled else receipt)

    assert Sighting(kind, receipt if settled else None).kind is kind
