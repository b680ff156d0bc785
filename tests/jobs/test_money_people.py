"""M4, M6: what people say about money, receipts that come from elsewhere, alarms, and calls that are made again."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.simulators.toy import Fault, Proof
from connector.domain import codec
from connector.domain.money import Money
from connector.domain.orders import RefundRef
from connector.domain.platform import Receipt, RefundOrder
from connector.domain.rma import MoneyState, RmaState
from connector.models import Alarm, Refund, Resolution
from connector.services import receipts, refunds
from connector.services.outbox import NeedsAPerson
from jobs import money
from jobs.site import Site
from tests.jobs.tills import BOTH, PROVES_NOTHING, Till
from tests.services.acts import decide, everything, facts_of, in_cash, placed, refunded_in_the_admin, state_of, told, two_tenders, work
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

SETTLED, PARKED, REFUSED, PENDING = MoneyState.SETTLED, MoneyState.PARKED, MoneyState.REFUSED, MoneyState.PENDING


def receipt(reference: str = "toy-1", minor: int = 1200) -> Receipt:
    return Receipt(RefundRef(reference), Money(minor, "EUR"))


def brings(till: Till, what: Receipt, row_id: uuid.UUID | None = None, *, attempt: int = 1, who: str = "webhook") -> bool:
    with till.db.transaction() as session:
        return receipts.settle(session, row_id or till.row_id, what, attempt=attempt, who=who, now=till.clock.now)


def says_paid(till: Till, reference: str, row_id: uuid.UUID | None = None) -> None:
    with till.db.transaction() as session:
        receipts.answer_paid(session, row_id or till.row_id, RefundRef(reference), who="sam", now=till.clock.now)


def says_unpaid(till: Till) -> bool:
    with till.db.transaction() as session:
        return receipts.answer_unpaid(session, till.row_id, who="sam", now=till.clock.now)


def parked(till: Till) -> Till:
    """The row of a shop that can prove nothing, an hour after a request that nobody answered."""
    till.fails(Fault.LOSE_REQUEST)
    till.settle_at_last()
    assert till.row().state is PARKED
    return till


# ── A person's answer ──


@PROVES_NOTHING
def test_it_was_paid_says_a_person_and_the_row_is_settled_in_their_name(till: Till) -> None:
    says_paid(parked(till), "bank 4711")

    row = till.row()
    (kept,) = till.receipts()
    assert (row.state, row.platform_reference, row.parked_because) == (SETTLED, "bank 4711", None)
    assert (kept.reference, kept.minor, kept.attempt, kept.recorded_by) == ("bank 4711", 1200, 1, "sam")
    assert told(till.db, till.rma)[-1][:2] == ("money.settled", "sam")
    assert till.settle() is None
    assert till.paid() == []


@PROVES_NOTHING
def test_it_was_not_paid_says_a_person_and_the_return_may_be_resolved_anew(till: Till) -> None:
    assert says_unpaid(parked(till))

    row = till.row()
    assert (row.state, row.parked_because, row.platform_reference) == (REFUSED, None, None)
    assert state_of(till.world, till.rma) is RmaState.RECEIVED
    facts = {"row": row.id.hex, "why": "not_paid", "words": ""}
    assert told(till.db, till.rma)[-2:] == [("money.refused", "sam", facts), ("rma.reopen", "sam", {})]


@PROVES_NOTHING
def test_what_a_person_closed_as_unpaid_is_never_sent_again(till: Till) -> None:
    says_unpaid(parked(till))

    assert till.settle() is None
    assert till.paid() == []
    till.world.resolve(till.rma)
    till.settle(till.world.rows(till.rma)[-1].id)

    assert till.paid() == [till.world.rows(till.rma)[-1].id.hex]


@BOTH
def test_a_person_cannot_say_unpaid_of_what_nobody_asked_them(till: Till) -> None:
    assert not says_unpaid(till)
    till.settle()
    assert not says_unpaid(till)

    assert till.row().state is SETTLED


@PROVES_NOTHING
def test_a_person_who_answers_twice_answers_once(till: Till) -> None:
    says_paid(parked(till), "bank 4711")
    before = everything(till.db)

    says_paid(till, "bank 4711")

    after = everything(till.db)
    assert after.pop("orders") != before.pop("orders")  # only the order was locked
    assert after == before
    assert not says_unpaid(till)


# ── Receipts, whoever brings them ──


@BOTH
def test_a_receipt_that_comes_before_our_own_answer_settles_the_row(till: Till) -> None:
    """F35: a webhook may be quicker than the call that it is about."""
    till.fails(Fault.LOSE_ANSWER)
    till.settle()

    assert brings(till, receipt())

    assert (till.stands()[0], till.alarms(), till.settle()) == (SETTLED, [], None)


@BOTH
def test_a_receipt_for_a_row_that_was_never_sent_is_evidence_all_the_same(till: Till) -> None:
    assert brings(till, receipt("toy-7"), attempt=0)

    assert (till.row().state, till.row().platform_reference) == (SETTLED, "toy-7")
    assert till.settle() is None
    assert till.paid() == []


@BOTH
def test_the_same_receipt_again_is_the_same_evidence(till: Till) -> None:
    till.settle()

    assert not brings(till, receipt())

    assert len(till.receipts()) == 1
    assert till.alarms() == []


@BOTH
def test_a_second_receipt_for_a_settled_row_is_recorded_and_raises_the_alarm_once(till: Till) -> None:
    till.settle()

    assert not brings(till, receipt("toy-2"))
    assert not brings(till, receipt("toy-2"))

    assert [kept.reference for kept in till.receipts()] == ["toy-1", "toy-2"]
    assert (till.alarms(), till.row().platform_reference) == (["paid_twice"], "toy-1")
    facts = {"state": "settled", "settled_by": "toy-1", "also": "toy-2"}
    assert facts_of(till.db, "alarm.paid_twice") == facts | {"row": till.row_id.hex}
    with till.db.reading() as session:
        alarm = session.query(Alarm).one()
        assert codec.read(alarm.facts, dict[str, str]) == facts
        assert alarm.subject.startswith(till.row_id.hex)


@PROVES_NOTHING
def test_a_receipt_after_unpaid_settles_what_it_was_for_and_is_recorded(till: Till) -> None:
    says_unpaid(parked(till))
    assert state_of(till.world, till.rma) is RmaState.RECEIVED

    assert brings(till, receipt())

    assert (till.alarms(), till.row().state) == ([], SETTLED)
    assert state_of(till.world, till.rma) is RmaState.RESOLVED
    assert [kept.reference for kept in till.receipts()] == ["toy-1"]


@PROVES_NOTHING
def test_a_payment_that_came_later_than_anyone_waits_is_found_out_as_paid_twice(till: Till) -> None:
    """A shop that broke its promise: it went on with a request for ten minutes."""
    till.fails(Fault.LATE, seconds=600)
    till.settle_at_last()
    says_unpaid(till)
    till.world.resolve(till.rma)
    again = till.world.rows(till.rma)[-1].id
    till.settle(again)
    till.passes(timedelta(minutes=10))
    late = next(payment for payment in till.shop.payments() if payment.key == till.row_id.hex)

    brings(till, Receipt(late.reference, late.told.amount))

    assert till.alarms() == ["paid_twice"]
    assert till.row(again).state is SETTLED


@BOTH
def test_a_reference_that_another_row_has_parks_the_row_with_an_alarm(till: Till) -> None:
    _, second = till.resolved()
    till.settle()

    assert not brings(till, receipt("toy-1"), second)

    row = till.row(second)
    assert (row.state, row.parked_because, row.platform_reference) == (PARKED, "reference_taken", None)
    assert till.alarms() == ["reference_taken"]
    assert facts_of(till.db, "alarm.reference_taken") == {"row": second.hex, "reference": "toy-1"}


@BOTH
def test_a_person_who_names_another_rows_reference_is_not_believed(till: Till) -> None:
    _, second = till.resolved()
    till.settle()
    brings(till, receipt("toy-1"), second)
    with till.db.transaction() as session:
        session.get_one(Refund, second).parked_because = "outcome_unknown"

    says_paid(till, "toy-1", second)

    assert (till.row(second).state, till.row(second).parked_because) == (PARKED, "outcome_unknown")
    assert till.alarms() == ["reference_taken"]


@BOTH
def test_a_platform_that_moved_another_amount_is_believed_and_the_alarm_raised(till: Till) -> None:
    assert brings(till, receipt("toy-1", 1199))

    assert (till.row().state, till.alarms()) == (SETTLED, ["amount_differs"])
    assert facts_of(till.db, "alarm.amount_differs") == {"row": till.row_id.hex, "asked": 1200, "moved": 1199, "currency": "EUR"}
    assert [kept.minor for kept in till.receipts()] == [1199]


@BOTH
def test_two_rows_of_two_shops_may_have_the_same_reference(till: Till) -> None:
    other = World(till.db, till.shop, till.clock)
    till.shop.place(an_order("2002"))
    rma = other.received(an_order("2002"), {"line-1": 1})
    other.resolve(rma)
    brings(till, receipt("toy-1"))

    assert brings(till, receipt("toy-1"), other.rows(rma)[0].id)
    assert till.alarms() == []


# ── Again: one call of a decision came to nothing, another stands ──


@pytest.fixture
def split(make_world: MakeWorld) -> tuple[World, uuid.UUID]:
    """A return of 12.00: 9.00 in cash wait for a person, and the card's 3.00 were refused by the gateway."""
    world = make_world()
    order = placed(world, an_order(units=3, tenders=two_tenders))
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 1200)
    world.toy.fail_next("refund", Fault.REFUSE)
    money.settle(site(world), machine(world, rma).id)
    return world, rma


def site(world: World) -> Site:
    return Site(world.db, lambda _keys: world.toy)


def machine(world: World, rma: uuid.UUID) -> Refund:
    """The latest row that a machine pays."""
    return [row for row in world.rows(rma) if row.parked_because is None][-1]


def again(world: World, row_id: uuid.UUID) -> uuid.UUID:
    order = world.read(an_order().ref)
    with world.db.transaction() as session:
        return refunds.again(session, row_id, order, read_began=world.clock.now, who="sam", now=world.clock.now)


def test_f22_while_a_part_of_the_decision_stands_the_decision_stands(split: tuple[World, uuid.UUID]) -> None:
    world, rma = split

    assert state_of(world, rma) is RmaState.RESOLVED
    with world.db.reading() as session:
        resolution = session.query(Resolution).one()
        assert resolution.voided_at is None
        assert sorted(row.state.value for row in refunds.of(session, resolution.id)) == ["parked", "refused"]
    assert "rma.reopen" not in [what for what, _, _ in told(world.db, rma)]


def test_the_call_that_came_to_nothing_is_made_again_as_a_row_of_its_own(split: tuple[World, uuid.UUID]) -> None:
    world, rma = split
    refused = machine(world, rma)
    world.clock.advance(timedelta(hours=1))

    fresh = again(world, refused.id)

    rows = {row.id: row for row in world.rows(rma)}
    old, new = codec.read(refused.instruction, RefundOrder), codec.read(rows[fresh].instruction, RefundOrder)
    assert (rows[fresh].state, rows[fresh].made_again_from, rows[fresh].minor) == (PENDING, refused.id, 300)
    assert new == replace(old, key=fresh.hex)
    assert fresh in [message.subject_id for message in work(world.db, "settle")]
    assert ("money.again", "sam", {"row": fresh.hex, "instead_of": refused.id.hex}) in told(world.db, rma)
    money.settle(site(world), fresh)
    assert [payment.key for payment in world.toy.payments()] == [fresh.hex]


def test_a_call_is_made_again_once(split: tuple[World, uuid.UUID]) -> None:
    world, rma = split
    refused = machine(world, rma)
    fresh = again(world, refused.id)

    with pytest.raises(NeedsAPerson, match="made_already"):
        again(world, refused.id)
    with pytest.raises(NeedsAPerson, match="not_refused") as asked:
        again(world, fresh)

    assert asked.value.words == "pending"


def test_a_call_that_no_longer_fits_is_not_made_again(split: tuple[World, uuid.UUID]) -> None:
    world, rma = split
    world.toy.place(refunded_in_the_admin(an_order(units=3, tenders=two_tenders), 2600))

    with pytest.raises(NeedsAPerson, match="no_longer_fits") as asked:
        again(world, machine(world, rma).id)

    assert asked.value.words == "order: 300 asked, 100 there"


def test_a_call_of_a_decision_that_came_to_nothing_is_not_made_again(split: tuple[World, uuid.UUID]) -> None:
    world, rma = split
    by_hand = next(row for row in world.rows(rma) if row.state is PARKED)
    with world.db.transaction() as session:
        receipts.answer_unpaid(session, by_hand.id, who="sam", now=START)
    assert state_of(world, rma) is RmaState.RECEIVED

    with pytest.raises(NeedsAPerson, match="not_refused"):
        again(world, machine(world, rma).id)


def test_m4_what_goes_out_by_hand_is_made_again_for_a_person_and_never_for_a_machine(make_world: MakeWorld) -> None:
    world = make_world()
    order = placed(world, an_order(units=3, tenders=two_tenders))
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 1200)
    by_hand = next(row for row in world.rows(rma) if row.state is PARKED)
    money.settle(site(world), machine(world, rma).id)
    with world.db.transaction() as session:
        receipts.answer_unpaid(session, by_hand.id, who="sam", now=START)
    before = len(work(world.db, "settle"))

    fresh = again(world, by_hand.id)

    row = next(row for row in world.rows(rma) if row.id == fresh)
    assert (row.state, row.parked_because, row.minor) == (PARKED, "paid_by_hand", 900)
    assert len(work(world.db, "settle")) == before


def test_m4_cash_that_two_people_hand_out_is_two_rows_with_two_references(make_world: MakeWorld) -> None:
    world = make_world(proof=Proof.NONE)
    order = placed(world, an_order(units=3, tenders=in_cash))
    rmas = [world.received(order, {"line-1": 1}) for _ in range(2)]
    for rma in rmas:
        decide(world, rma, order, 1200)

    for rma in rmas:
        with world.db.transaction() as session:
            receipts.answer_paid(session, world.rows(rma)[0].id, RefundRef(f"till {rma}"), who="sam", now=START)

    assert [row.state for row in world.rows()] == [SETTLED, SETTLED]
    assert world.toy.payments() == []
