"""What staff may do: R2, R3, F13, F15 to F17, F19, A22, A38, and what a resolution promises (M1, M3, M7)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import date

import pytest

from connector.domain.orders import LineRef, Order, OrderRef
from connector.domain.rma import MOVES, Disposition, IllegalMove, Move, RmaState
from connector.models import Rma
from connector.services import desk, rmas
from connector.services.desk import Judged, Settlement
from connector.services.rmas import NotEnoughUnits
from tests.services.acts import everything, placed, state_of, told, work
from tests.services.conftest import MakeWorld
from tests.world import World, an_order

BY_HAND = "format = 1\n[authorise]\nautomatic = false\n"
FEES = 'format = 1\nresolutions = ["refund"]\n[restocking_fee]\npercent = 10\n[return_shipping_fee]\namount = { EUR = "4.90" }\n'
LINE = LineRef("line-1")
Case = tuple[World, uuid.UUID, Order]


def brought_to(world: World, state: RmaState, order: Order) -> uuid.UUID:
    """An RMA that went all the way to `state`."""
    rma = world.requested(order, {"line-1": 2})
    way: Mapping[RmaState, tuple[Callable[[], object], ...]] = {
        RmaState.AUTHORISED: (lambda: act(world, rma, Move.AUTHORISE),),
        RmaState.DECLINED: (lambda: act(world, rma, Move.DECLINE),),
        RmaState.CANCELLED: (lambda: act(world, rma, Move.CANCEL),),
        RmaState.EXPIRED: (lambda: act(world, rma, Move.AUTHORISE), lambda: act(world, rma, Move.EXPIRE)),
        RmaState.RECEIVED: (lambda: act(world, rma, Move.AUTHORISE), lambda: act(world, rma, Move.RECEIVE)),
    }
    for walk in way.get(state, way[RmaState.RECEIVED] if state is RmaState.RESOLVED else ()):
        walk()
    if state is RmaState.RESOLVED:
        with world.db.transaction() as session:
            desk.inspect(session, rma, [Judged(LINE, Disposition.RESTOCK, 1)], who="sam", now=world.clock.now)
        act(world, rma, Move.RESOLVE)
    assert state_of(world, rma) is state
    return rma


class Undone(Exception):
    """Nothing of the transaction stays."""


def act(world: World, rma: uuid.UUID, move: Move, *, undo: bool = False) -> RmaState:
    """Let staff do it, for good or only to see whether they may."""
    now, who = world.clock.now, "sam"
    with world.db.reading() as session:
        order = world.read(OrderRef(session.get_one(Rma, rma).order_ref))
    with world.db.transaction() as session:
        match move:
            case Move.AUTHORISE:
                desk.authorise(session, rma, who=who, now=now)
            case Move.RECEIVE:
                desk.receive(session, rma, {LINE: 1}, who=who, now=now)
            case Move.RESOLVE:
                settlement = Settlement(expected=1200, form_token=uuid.uuid4().hex)
                desk.resolve(session, rma, order, settlement, read_began=now, vault=world.vault, who=who, now=now)
            case _:
                desk.close(session, rma, move, who=who, now=now, why="so")
        state = session.get_one(Rma, rma).state
        if undo:
            raise Undone(state)
    return state


# ── R2: the table's moves, and no others ──

BUTTONS = (Move.AUTHORISE, Move.DECLINE, Move.CANCEL, Move.EXPIRE, Move.RECEIVE, Move.RESOLVE)


@pytest.mark.parametrize("state", RmaState)
def test_r2_staff_may_do_what_the_table_says_and_a_refused_move_leaves_nothing_behind(make_world: MakeWorld, state: RmaState) -> None:
    world = make_world(policy=BY_HAND)
    rma = brought_to(world, state, placed(world, an_order()))
    if state is RmaState.RECEIVED:
        with world.db.transaction() as session:
            desk.inspect(session, rma, [Judged(LINE, Disposition.RESTOCK, 1)], who="sam", now=world.clock.now)
    before = everything(world.db)

    for move in BUTTONS:
        with pytest.raises((Undone, IllegalMove)) as outcome:
            act(world, rma, move, undo=True)
        went = outcome.value.args[0] if isinstance(outcome.value, Undone) else None
        assert went == MOVES.get((state, move)), move
        assert everything(world.db) == before, move


@pytest.mark.parametrize("move", [Move.RESOLVE, Move.REOPEN, Move.WAIVE_RECEIPT, Move.AUTHORISE, Move.RECEIVE])
def test_a38_closing_a_case_is_declining_cancelling_or_expiring_it_and_nothing_else(make_world: MakeWorld, move: Move) -> None:
    """Whoever could close a case by any move could have it resolved without a payment."""
    world = make_world(policy=BY_HAND)

    for state in (RmaState.REQUESTED, RmaState.AUTHORISED, RmaState.RECEIVED, RmaState.RESOLVED):
        rma = brought_to(world, state, placed(world, an_order(state)))
        before = everything(world.db)
        with pytest.raises(IllegalMove), world.db.transaction() as session:
            desk.close(session, rma, move, who="sam", now=world.clock.now)
        assert everything(world.db) == before


def test_a_refused_move_that_somebody_catches_leaves_nothing_behind_either(make_world: MakeWorld) -> None:
    """A bulk action goes on after the one that could not be authorised."""
    world = make_world(policy=BY_HAND)
    rma = brought_to(world, RmaState.DECLINED, placed(world, an_order()))

    with world.db.transaction() as session, pytest.raises(IllegalMove):
        desk.authorise(session, rma, who="sam", now=world.clock.now)

    with world.db.reading() as session:
        found = session.get_one(Rma, rma)
        assert (found.state, found.expires_on) == (RmaState.DECLINED, None)


def test_r3_every_act_of_staff_is_an_entry_with_who_and_what(make_world: MakeWorld) -> None:
    world = make_world(policy=BY_HAND)

    rma = brought_to(world, RmaState.RESOLVED, placed(world, an_order()))

    found = [(what, who) for what, who, _ in told(world.db, rma)]
    by_staff = ["rma.authorise", "rma.receive", "rma.inspected", "money.reserved", "rma.resolve"]
    assert found == [("rma.requested", "shopper"), *((what, "sam") for what in by_staff)]
    facts = {what: facts for what, _, facts in told(world.db, rma)}
    assert facts["rma.receive"] == {"arrived": {"line-1": 1}}
    assert facts["rma.inspected"] == {"units": ["line-1: 1 restock"]}
    assert facts["rma.resolve"] == {"total": 1200, "currency": "EUR", "resolution": "refund"}


def test_r4_an_authorisation_by_staff_expires_as_the_pinned_policy_says(make_world: MakeWorld) -> None:
    world = make_world(policy="format = 1\nexpires_after_days = 7\n[authorise]\nautomatic = false\n")

    rma = brought_to(world, RmaState.AUTHORISED, placed(world, an_order()))

    with world.db.reading() as session:
        assert session.get_one(Rma, rma).expires_on == date(2026, 3, 9)


def test_the_platform_hears_of_every_change_of_the_case(make_world: MakeWorld) -> None:
    world = make_world(policy=BY_HAND)

    brought_to(world, RmaState.EXPIRED, placed(world, an_order()))

    assert len(work(world.db, "mirror")) == 3


# ── Receive and inspect ──


def units_of(world: World, rma: uuid.UUID) -> Mapping[LineRef, Mapping[Disposition, int]]:
    with world.db.reading() as session:
        return rmas.units(session, rma)


def test_units_that_did_not_come_stay_awaited_for_a_second_parcel(world: World) -> None:
    order = placed(world, an_order(units=3, lines=2))
    rma = world.requested(order, {"line-1": 3, "line-2": 1})

    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: 2, LineRef("line-2"): 0}, who="dock", now=world.clock.now)
    first = units_of(world, rma)
    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: 1, LineRef("line-2"): 1}, who="dock", now=world.clock.now)

    assert first == {"line-1": {Disposition.RECEIVED: 2, Disposition.AWAITED: 1}, "line-2": {Disposition.AWAITED: 1}}
    assert units_of(world, rma) == {"line-1": {Disposition.RECEIVED: 3}, "line-2": {Disposition.RECEIVED: 1}}


@pytest.mark.parametrize("arrived", [{"line-1": 3}, {"line-1": -1}, {"line-1": 1, "line-9": 1}, {"variant-1": 1}])
def test_a28_a_parcel_with_more_than_was_announced_is_refused_whole(world: World, arrived: Mapping[str, int]) -> None:
    rma = world.requested(placed(world, an_order(units=3)), {"line-1": 2})
    before = everything(world.db)

    with pytest.raises(NotEnoughUnits), world.db.transaction() as session:
        desk.receive(session, rma, {LineRef(ref): count for ref, count in arrived.items()}, who="dock", now=world.clock.now)

    assert everything(world.db) == before


def test_units_are_judged_apart_and_always_add_up(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=5)), {"line-1": 5})
    judged = [Judged(LINE, Disposition.RESTOCK, 2), Judged(LINE, Disposition.DAMAGED, 1), Judged(LINE, Disposition.SENT_BACK, 1)]

    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: 4}, who="dock", now=world.clock.now)
        desk.inspect(session, rma, judged, who="dock", now=world.clock.now)

    found = units_of(world, rma)[LINE]
    assert found == {Disposition.AWAITED: 1, Disposition.RESTOCK: 2, Disposition.DAMAGED: 1, Disposition.SENT_BACK: 1}


@pytest.mark.parametrize(
    ("judged", "why"),
    [
        (Judged(LINE, Disposition.RESTOCK, 3), NotEnoughUnits),
        (Judged(LINE, Disposition.RESTOCK, 0), NotEnoughUnits),
        (Judged(LINE, Disposition.RESTOCK, -1), NotEnoughUnits),
        (Judged(LineRef("line-2"), Disposition.RESTOCK, 1), NotEnoughUnits),
        (Judged(LINE, Disposition.KEPT, 1), IllegalMove),
        (Judged(LINE, Disposition.AWAITED, 1), IllegalMove),
    ],
)
def test_r2_units_that_are_not_there_or_may_not_become_that_are_not_judged(world: World, judged: Judged, why: type[Exception]) -> None:
    rma = world.requested(placed(world, an_order(units=3, lines=2)), {"line-1": 3})
    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: 2}, who="dock", now=world.clock.now)
    before = everything(world.db)

    with pytest.raises(why), world.db.transaction() as session:
        desk.inspect(session, rma, [Judged(LINE, Disposition.RESTOCK, 1), judged], who="dock", now=world.clock.now)

    assert everything(world.db) == before


def test_r2_what_is_judged_once_the_money_was_decided_would_never_be_paid_and_is_refused(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=2)), {"line-1": 2})
    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: 2}, who="dock", now=world.clock.now)
        desk.inspect(session, rma, [Judged(LINE, Disposition.RESTOCK, 1)], who="dock", now=world.clock.now)
    world.resolve(rma)
    before = everything(world.db)

    with pytest.raises(IllegalMove), world.db.transaction() as session:
        desk.inspect(session, rma, [Judged(LINE, Disposition.RESTOCK, 1)], who="dock", now=world.clock.now)

    assert everything(world.db) == before
