"""RMA rows: units that are spoken for, their dispositions, the timeline, and how the platform sees a case (R1 to R3, A21)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy import select

from connector.domain.orders import NOTHING, LineRef, Order, Worth
from connector.domain.platform import ReturnedLine, ReturnRef
from connector.domain.rma import HOLDS_UNITS, Disposition, IllegalMove, Move, RmaState
from connector.models import Entry, EntryText, Rma, RmaLine, Unsealed
from connector.services import desk, rmas, timeline
from connector.services.desk import Judged
from connector.services.rmas import NotEnoughUnits
from jobs import money
from jobs.site import Site
from tests.services.acts import everything, placed, state_of, told
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

LINE = LineRef("line-1")


def taken(world: World, order: Order) -> int:
    with world.db.reading() as session:
        return rmas.taken(session, world.shop.id, order)[LINE]


def judge(world: World, rma: uuid.UUID, found: Mapping[Disposition, int]) -> None:
    with world.db.transaction() as session:
        desk.receive(session, rma, {LINE: sum(found.values())}, who="dock", now=START)
        desk.inspect(session, rma, [Judged(LINE, disposition, count) for disposition, count in found.items()], who="dock", now=START)


# ── Whose units ──


def test_a21_units_are_spoken_for_from_the_request_until_the_case_is_closed(world: World) -> None:
    order = placed(world, an_order(units=5))
    rma = world.requested(order, {"line-1": 2})

    assert taken(world, order) == 2
    with world.db.transaction() as session:
        desk.close(session, rma, Move.CANCEL, who="sam", now=START)
    assert taken(world, order) == 0


@pytest.mark.parametrize("state", RmaState)
def test_the_states_that_hold_units_are_those_of_the_table(world: World, state: RmaState) -> None:
    order = placed(world, an_order(units=5))
    rma = world.received(order, {"line-1": 2})

    with world.db.transaction() as session:
        session.get_one(Rma, rma).state = state

    assert taken(world, order) == (2 if state in HOLDS_UNITS else 0)


def test_goods_that_were_sent_back_count_no_more(world: World) -> None:
    order = placed(world, an_order(units=5))
    rma = world.requested(order, {"line-1": 4})

    judge(world, rma, {Disposition.RESTOCK: 1, Disposition.SENT_BACK: 2})

    assert taken(world, order) == 2  # one accepted, one awaited


def test_a_resolved_case_holds_what_it_gave_something_for(world: World) -> None:
    order = placed(world, an_order(units=5))
    rma = world.requested(order, {"line-1": 4})
    judge(world, rma, {Disposition.RESTOCK: 1, Disposition.DAMAGED: 1, Disposition.SENT_BACK: 1})

    world.resolve(rma)

    assert taken(world, order) == 2


def test_units_that_the_platform_shows_as_refunded_are_not_counted_twice(world: World) -> None:
    order = placed(world, an_order(units=5))
    rma = world.received(order, {"line-1": 2})
    world.resolve(rma)
    before = taken(world, order)

    money.settle(Site(world.db, lambda _keys: world.toy), world.rows(rma)[0].id)

    shown = world.read(order.ref)
    assert shown.lines[0].refunded_quantity == 2
    assert (before, taken(world, shown), taken(world, order)) == (2, 2, 2)


def test_units_stay_taken_while_a_brief_read_shows_the_refund_without_them(world: World) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 2})
    world.resolve(rma)
    money.settle(Site(world.db, lambda _keys: world.toy), world.rows(rma)[0].id)
    full = world.read(order.ref)
    brief = replace(
        full,
        lines=tuple(replace(line, refunded_quantity=0, refunded=NOTHING) for line in full.lines),
        refunds=tuple(replace(record, units=()) for record in full.refunds),
    )

    assert brief.refunds
    assert (taken(world, full), taken(world, brief)) == (2, 2)


def test_units_refunded_elsewhere_are_taken_too(world: World) -> None:
    order = an_order(units=5)

    assert taken(world, replace(order, lines=(replace(order.lines[0], refunded_quantity=3),))) == 3


def test_the_units_of_another_shop_are_none_of_ours(world: World, make_world: MakeWorld) -> None:
    order = placed(world, an_order(units=5))
    world.requested(order, {"line-1": 2})

    assert taken(make_world(), order) == 0


# ── One unit's way ──


def dispose(world: World, rma: uuid.UUID, was: Disposition, becomes: Disposition, quantity: int) -> Mapping[Disposition, int]:
    with world.db.transaction() as session:
        (line,) = rmas.lines(session, rma)
        rmas.dispose(session, line, was, becomes, quantity)
        return rmas.units(session, rma)[LINE]


def test_r2_units_split_and_join_and_always_add_up_to_what_was_claimed(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=5)), {"line-1": 5})
    awaited, received, restock = Disposition.AWAITED, Disposition.RECEIVED, Disposition.RESTOCK

    assert dispose(world, rma, awaited, received, 2) == {awaited: 3, received: 2}
    assert dispose(world, rma, received, restock, 2) == {awaited: 3, restock: 2}
    assert dispose(world, rma, awaited, restock, 1) == {awaited: 2, restock: 3}
    assert dispose(world, rma, awaited, restock, 2) == {restock: 5}


@pytest.mark.parametrize("quantity", [0, -1, 6])
def test_units_that_are_not_there_do_not_move(world: World, quantity: int) -> None:
    rma = world.requested(placed(world, an_order(units=5)), {"line-1": 5})
    before = everything(world.db)

    with pytest.raises(NotEnoughUnits):
        dispose(world, rma, Disposition.AWAITED, Disposition.RECEIVED, quantity)
    with pytest.raises(NotEnoughUnits):
        dispose(world, rma, Disposition.RECEIVED, Disposition.RESTOCK, 1)

    assert everything(world.db) == before


def test_r2_a_unit_goes_only_where_its_table_leads(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=5)), {"line-1": 5})

    with pytest.raises(IllegalMove):
        dispose(world, rma, Disposition.AWAITED, Disposition.SENT_BACK, 1)


def test_accepted_are_the_judged_and_the_kept_line_by_line(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=5, lines=2)), {"line-1": 5, "line-2": 1})
    judge(world, rma, {Disposition.RESTOCK: 1, Disposition.DISPOSE: 2, Disposition.SENT_BACK: 1})

    with world.db.reading() as session:
        accepted = rmas.accepted(session, rma)

    assert accepted == {LINE: ((Disposition.DISPOSE, 2), (Disposition.RESTOCK, 1))}


# ── The case and its timeline ──


@pytest.mark.parametrize("state", RmaState)
def test_r2_only_a_resolved_case_is_reopened_and_any_other_stays_as_it_is(world: World, state: RmaState) -> None:
    rma = world.requested(placed(world, an_order()), {"line-1": 1})
    with world.db.transaction() as session:
        session.get_one(Rma, rma).state = state
    before = told(world.db, rma)

    with world.db.transaction() as session:
        rmas.reopen(session, rma, who="machine", now=START)

    resolved = state is RmaState.RESOLVED
    assert state_of(world, rma) is (RmaState.RECEIVED if resolved else state)
    assert told(world.db, rma)[len(before) :] == ([("rma.reopen", "machine", {})] if resolved else [])


def test_r3_an_entry_has_its_text_apart_bound_by_a_salted_digest_and_waits_for_its_seal(world: World) -> None:
    rma = world.requested(placed(world, an_order()), {"line-1": 1})

    with world.db.reading() as session:
        found = session.execute(select(Entry, EntryText, Unsealed).join(EntryText).join(Unsealed, Unsealed.entry_id == Entry.id)).all()
        assert len(found) == 2
        for entry, kept, _ in found:
            assert (entry.rma_id, entry.shop_id, entry.happened_at) == (rma, world.shop.id, START)
            assert entry.commitment == timeline.commitment(kept.salt, kept.text)
        assert len({kept.salt for _, kept, _ in found}) == 2


def test_r3_the_shopper_sees_the_moves_of_the_case_and_not_the_shops_own_business(world: World) -> None:
    rma = world.received(placed(world, an_order()), {"line-1": 1})
    world.resolve(rma)

    with world.db.reading() as session:
        shown = set(session.execute(select(Entry.what).where(Entry.rma_id == rma, Entry.for_shopper)).scalars())

    assert shown == {"rma.requested", "rma.authorise", "rma.receive", "rma.resolve"}


def test_the_lines_are_kept_as_they_were_claimed(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=5, lines=3)), {"line-3": 2, "line-1": 1})

    with world.db.reading() as session:
        found = [(line.line_ref, line.quantity) for line in rmas.lines(session, rma)]
        assert session.execute(select(RmaLine.rma_id).distinct()).scalars().all() == [rma]

    assert found == [("line-1", 1), ("line-3", 2)]


def test_the_platform_is_shown_the_case_as_it_stands(world: World) -> None:
    rma = world.requested(placed(world, an_order(units=5)), {"line-1": 3})
    judge(world, rma, {Disposition.RESTOCK: 1, Disposition.DAMAGED: 1})

    with world.db.reading() as session:
        keys, view = rmas.mirrored(session, rma)
        number = session.get_one(Rma, rma).number

    dispositions = ((Disposition.AWAITED, 1), (Disposition.DAMAGED, 1), (Disposition.RESTOCK, 1))
    assert keys == world.shop
    assert (view.marker, view.rma, view.order, view.state) == (f"rma:{number}", number, "1001", "received")
    assert view.lines == (ReturnedLine(LINE, 3, Worth(0), dispositions),)


def test_the_platforms_own_name_for_the_case_is_kept(world: World) -> None:
    rma = world.requested(placed(world, an_order()), {"line-1": 1})

    with world.db.transaction() as session:
        rmas.shown(session, rma, ReturnRef("gid://return/1"))

    with world.db.reading() as session:
        assert session.get_one(Rma, rma).platform_return_ref == "gid://return/1"
