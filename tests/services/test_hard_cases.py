"""Promises where two of them meet: a decision of two calls, a limit and one person, turns taken one place at a time, pauses."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from connector.db import Database
from connector.domain.orders import RefundRecord, RefundRef, TenderRef
from connector.domain.rma import MoneyState
from connector.models import Kind, Refund, Shop
from connector.services import orders, outbox, receipts, rmas
from connector.services.limits import NeedsConfirmation
from jobs.drain import HANDLER_GRACE, Drain
from jobs.site import Site
from tests.services.acts import PLAIN, decide, placed, two_tenders
from tests.services.conftest import MakeWorld
from tests.world import World, an_order


def test_m9_the_same_person_twice_is_not_a_second_person(make_world: MakeWorld) -> None:
    world = make_world(policy='format = 1\n[authorise]\nautomatic = true\n[limits]\nconfirm_above = { EUR = "5.00" }\n')
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})

    with pytest.raises(NeedsConfirmation):
        decide(world, rma, order, 1200, replace(PLAIN, confirmed_by="sam"))

    decide(world, rma, order, 1200, replace(PLAIN, confirmed_by="olga"))
    assert [row.state for row in world.rows(rma)] == [MoneyState.PENDING]


def test_m4_units_stay_taken_while_only_the_cash_half_of_a_decision_is_shown(world: World) -> None:
    """The card's call books the units; that the platform shows the cash proves nothing about them."""
    order = placed(world, an_order(tenders=two_tenders))
    rma = world.received(order, {"line-1": 3})
    decide(world, rma, order, 3600)
    cash = next(row for row in world.rows(rma) if row.state is MoneyState.PARKED)
    with world.db.transaction() as session:
        receipts.answer_paid(session, cash.id, RefundRef("admin-1"), who="sam", now=world.clock.now)
    shown = replace(order, refunds=(*order.refunds, RefundRecord(RefundRef("admin-1"), cash.minor)), refunded=cash.minor)

    with world.db.reading() as session:
        assert rmas.taken(session, world.shop.id, shown)[order.lines[0].id] == 3


def test_m4_a_refused_call_stays_promised_while_its_decision_stands(world: World) -> None:
    order = placed(world, an_order(tenders=two_tenders))
    rma = world.received(order, {"line-1": 3})
    decide(world, rma, order, 3600)
    card, cash = sorted(world.rows(rma), key=lambda row: row.state)[::-1]
    with world.db.transaction() as session:
        session.execute(update(Refund).where(Refund.id == card.id).values(state=MoneyState.REFUSED))

    with world.db.reading() as session:
        standing = orders.ours(session, world.shop.id, order.ref)

    assert sorted(one.minor for one in standing) == sorted([card.minor, cash.minor])
    assert [one.parts[0].tender for one in standing if one.lines] == [TenderRef("card")]


def test_f41_turns_are_taken_also_where_places_come_free_one_by_one(make_world: MakeWorld) -> None:
    flooding, other = make_world(), make_world()
    with flooding.db.transaction() as session:
        for _ in range(50):
            outbox.put(session, Kind.MIRROR, uuid.uuid4(), shop=flooding.shop.id, now=flooding.clock.now)
    flooding.clock.advance(timedelta(seconds=5))
    with other.db.transaction() as session:
        outbox.put(session, Kind.MIRROR, uuid.uuid4(), shop=other.shop.id, now=other.clock.now)

    served: tuple[uuid.UUID, ...] = ()
    for _ in range(2):
        with other.db.transaction() as session:
            (row,) = outbox.claim(session, kinds=[Kind.MIRROR], limit=1, now=other.clock.now, served=served)
        served = (*served, row.shop_id)

    assert set(served) == {flooding.shop.id, other.shop.id}


def test_f11_a_shorter_pause_does_not_end_a_longer_one(world: World) -> None:
    for wait in (timedelta(minutes=10), timedelta(seconds=1)):
        with world.db.transaction() as session:
            outbox.pause(session, world.shop.id, wait=wait, now=world.clock.now)

    with world.db.reading() as session:
        assert session.get_one(Shop, world.shop.id).paused_until == world.clock.now + timedelta(minutes=10)


def test_a_handler_that_hangs_for_good_costs_the_process_and_not_the_shop(world: World, database: Database) -> None:
    with world.db.transaction() as session:
        outbox.put(session, Kind.MIRROR, uuid.uuid4(), shop=world.shop.id, now=world.clock.now)
    gate, parted = threading.Event(), threading.Event()

    def part() -> None:
        parted.set()
        gate.set()  # in production the process is gone by now

    drain = Drain(
        Site(database, lambda _keys: world.toy), handlers={"mirror": lambda _site, _id: _wait(gate)}, deadline=-HANDLER_GRACE, part=part
    )
    drain.run()

    assert parted.is_set()


def _wait(gate: threading.Event) -> None:
    gate.wait(30)
