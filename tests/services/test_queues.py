"""Queues: counted truly, ordered by age, read page by page, each shop its own (D2, A35, A67, A68)."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from connector.domain.orders import LineRef
from connector.domain.policy import Outcome
from connector.domain.rma import Disposition, RmaState
from connector.models import Alarm, AlarmKind, Rma
from connector.services import alarms, desk, queues, returnless, rmas
from connector.services.desk import Judged
from connector.services.queues import PAGE, Counts, Place, Queue
from tests.services.acts import in_cash
from tests.services.conftest import MakeWorld
from tests.world import POLICY, World, an_order

ASKING = POLICY.replace("automatic = true", "automatic = false")
ONE = {"line-1": 1}


def counts(world: World) -> Counts:
    with world.db.reading() as session:
        return queues.counts(session, world.shop.id)


def numbers(world: World, queue: Queue, after: Place | None = None) -> tuple[list[uuid.UUID], Place | None]:
    with world.db.reading() as session:
        page = queues.page(session, world.shop.id, queue, after)
    return [each.id for each in page.returns], page.rest


def requested(world: World, ref: str) -> uuid.UUID:
    order = an_order(ref)
    world.toy.place(order)
    world.clock.advance(timedelta(minutes=1))
    return world.requested(order, ONE)


def test_d2_a_return_is_in_exactly_one_queue_at_each_step_of_its_life(make_world: MakeWorld) -> None:
    world = make_world(policy=ASKING)
    assert counts(world) == Counts(0, 0, 0, 0, 0)
    rma = requested(world, "1001")
    assert counts(world) == Counts(decide=1, parcel=0, inspect=0, resolve=0, money=0)
    with world.db.transaction() as session:
        desk.authorise(session, rma, who="sam", now=world.clock.now)
    assert counts(world) == Counts(decide=0, parcel=1, inspect=0, resolve=0, money=0)
    with world.db.transaction() as session:
        desk.receive(session, rma, {LineRef("line-1"): 1}, who="dock", now=world.clock.now)
    assert counts(world) == Counts(decide=0, parcel=0, inspect=1, resolve=0, money=0)
    with world.db.transaction() as session:
        desk.inspect(session, rma, [Judged(LineRef("line-1"), Disposition.RESTOCK, 1)], who="dock", now=world.clock.now)
    assert counts(world) == Counts(decide=0, parcel=0, inspect=0, resolve=1, money=0)
    for queue, there in ((Queue.DECIDE, 0), (Queue.PARCEL, 0), (Queue.INSPECT, 0), (Queue.RESOLVE, 1), (Queue.ALL, 1)):
        assert len(numbers(world, queue)[0]) == there, queue
    world.resolve(rma)
    assert counts(world) == Counts(0, 0, 0, 0, 0)


def test_d2_money_that_waits_for_a_hand_and_alarms_are_counted(world: World) -> None:
    order = an_order(tenders=in_cash)
    world.toy.place(order)
    world.resolve(world.received(order, ONE))
    assert counts(world).money == 1

    with world.db.transaction() as session:
        alarm = Alarm(
            id=uuid.uuid4(), shop_id=world.shop.id, kind=AlarmKind.PAID_TWICE, subject="x", facts=b'{"also":"9"}', raised_at=world.clock.now
        )
        session.add(alarm)
    assert counts(world).money == 2
    with world.db.transaction() as session:
        assert alarms.clear(session, world.shop.id, alarm.id, who="sam", now=world.clock.now)
        assert not alarms.clear(session, world.shop.id, alarm.id, who="sam", now=world.clock.now)
    assert counts(world).money == 1


def test_d2_pages_are_whole_and_in_order_although_the_queue_moves(make_world: MakeWorld) -> None:
    world = make_world(policy=ASKING)
    made = [requested(world, str(number)) for number in range(PAGE + 3)]

    first, rest = numbers(world, Queue.DECIDE)
    with world.db.transaction() as session:  # the first one is decided while somebody reads
        desk.authorise(session, made[0], who="sam", now=world.clock.now)
    second, end = numbers(world, Queue.DECIDE, rest)

    assert (first, second) == (made[:PAGE], made[PAGE:])
    assert end is None
    newest, rest = numbers(world, Queue.ALL)
    assert newest == made[::-1][:PAGE]
    assert numbers(world, Queue.ALL, rest)[0] == made[::-1][PAGE:]


def test_a35_a68_a_shop_sees_its_own_returns_alone_whatever_place_it_names(make_world: MakeWorld) -> None:
    world, other = make_world(policy=ASKING), make_world(policy=ASKING)
    mine, theirs = requested(world, "1001"), requested(other, "1001")

    assert numbers(world, Queue.ALL)[0] == [mine]
    assert numbers(world, Queue.DECIDE, Place(world.clock.now - timedelta(days=9), theirs))[0] == [mine]
    with world.db.reading() as session:
        number = session.get_one(Rma, theirs).number
        assert queues.search(session, world.shop.id, number).returns == ()
        assert [each.id for each in queues.search(session, other.shop.id, number).returns] == [theirs]


def test_a_row_says_why_a_person_is_asked_and_what_it_would_give(make_world: MakeWorld) -> None:
    world = make_world(policy=ASKING)
    requested(world, "1001")

    with world.db.reading() as session:
        (row,) = queues.page(session, world.shop.id, Queue.DECIDE).returns

    assert (row.order_number, row.state, row.minor, row.currency, row.decided) == ("1001", RmaState.REQUESTED, 1200, "EUR", False)
    assert [(item.product.title, item.quantity) for item in row.items] == [("Shirt 1", 1)]
    assert [(found.rule.value, found.outcome) for found in row.because] == [("authorise", Outcome.PERSON)]


def test_an_amount_takes_what_was_paid_out_meanwhile_into_account(make_world: MakeWorld) -> None:
    world = make_world(policy=ASKING)
    order = an_order(units=1)
    world.toy.place(order)
    rma = world.requested(order, ONE)
    with world.db.transaction() as session:
        desk.authorise(session, rma, who="sam", now=world.clock.now)
        desk.receive(session, rma, {LineRef("line-1"): 1}, who="dock", now=world.clock.now)
        desk.inspect(session, rma, [Judged(LineRef("line-1"), Disposition.RESTOCK, 1)], who="dock", now=world.clock.now)
    world.resolve(rma)

    with world.db.reading() as session:
        (row,) = queues.page(session, world.shop.id, Queue.ALL).returns
    assert (row.minor, row.decided) == (3600, True)


@pytest.mark.parametrize("spelled", ["1001", "#1001", " 1001 "])
def test_an_order_number_finds_its_returns(world: World, spelled: str) -> None:
    rma = requested(world, "1001")
    requested(world, "10012")

    with world.db.reading() as session:
        assert [each.id for each in queues.search(session, world.shop.id, spelled).returns] == [rma]


@pytest.mark.parametrize("typed", ["", "%", "1001%", "' OR 1=1 --", "1" * 5000, "\0", "10\n01"])
def test_a67_what_is_no_number_finds_nothing(world: World, typed: str) -> None:
    requested(world, "1001")

    with world.db.reading() as session:
        assert queues.search(session, world.shop.id, typed).returns == ()


def test_nothing_needs_to_come_back_and_all_of_it_counts(world: World) -> None:
    order = an_order()
    world.toy.place(order)
    rma = world.requested(order, {"line-1": 2})

    with world.db.transaction() as session:
        returnless.waive(session, rma, who="sam", now=world.clock.now)

    with world.db.reading() as session:
        assert session.get_one(Rma, rma).state is RmaState.RECEIVED
        assert rmas.accepted(session, rma) == {LineRef("line-1"): ((Disposition.KEPT, 2),)}
    assert counts(world).resolve == 1
