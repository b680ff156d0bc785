"""Order rows: the lock, snapshots without their buyer, and what of ours stands on an order (F15, A35)."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain import codec
from connector.domain.orders import Buyer, CustomerRef, Order, OrderRef, Product, RefundRef
from connector.domain.platform import CreditOrder, RefundOrder
from connector.domain.rma import MoneyState
from connector.domain.standing import Ours
from connector.domain.wanted import Payout
from connector.models import OrderRow, Refund, Resolution
from connector.services import orders
from tests.services.acts import PLAIN, decide, placed
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

REF = OrderRef("1001")


def lock(world: World, ref: OrderRef = REF) -> int:
    with world.db.transaction() as session:
        return orders.lock(session, world.shop.id, ref)


def keep(world: World, order: Order, *, began: datetime = START) -> bool:
    with world.db.transaction() as session:
        return orders.keep(session, world.shop.id, order, read_began=began, vault=world.vault)


def kept(world: World) -> OrderRow:
    with world.db.reading() as session:
        return session.get_one(OrderRow, (world.shop.id, REF))


def snapshot(world: World) -> Order | None:
    with world.db.reading() as session:
        return orders.snapshot(session, world.shop.id, REF)


# ── The lock ──


def test_locking_makes_the_row_and_counts(world: World) -> None:
    assert [lock(world), lock(world), lock(world, OrderRef("other"))] == [1, 2, 1]
    assert snapshot(world) is None


# ── Snapshots ──


def test_a_snapshot_keeps_the_order_without_its_buyer(world: World) -> None:
    buyer = Buyer("CANARY@example.com", "CANARY 1012", "NL", CustomerRef("customer-7"))
    order = replace(an_order(), buyer=buyer, placed_at=datetime(2026, 3, 1, 12, tzinfo=UTC), channel="web")
    order = replace(order, lines=tuple(replace(line, product=Product("Shirt", tags=("cotton",))) for line in order.lines))

    assert keep(world, order)

    assert snapshot(world) == replace(order, buyer=Buyer(country="NL", customer=CustomerRef("customer-7")))
    assert b"CANARY" not in (kept(world).snapshot or b"")


def test_the_buyer_is_found_again_by_keyed_digests_however_they_spell_it(world: World) -> None:
    keep(world, replace(an_order(), buyer=Buyer("Kim@Example.com", "sw1a 1aa")))

    assert kept(world).email_digest == world.vault.email_digest("kim@example.com")
    assert kept(world).postal_digest == world.vault.postal_digest("SW1A1AA")


def test_an_order_without_address_is_found_by_none(world: World) -> None:
    keep(world, replace(an_order(), buyer=Buyer()))

    assert (kept(world).email_digest, kept(world).postal_digest) == (None, None)


@pytest.mark.parametrize(("seconds", "replaces"), [(-1, False), (0, True), (1, True)])
def test_an_older_read_never_replaces_a_newer_one(world: World, seconds: int, replaces: bool) -> None:
    keep(world, an_order(net=1000), began=START)

    assert keep(world, an_order(net=2000), began=START + timedelta(seconds=seconds)) is replaces

    found = snapshot(world)
    assert found is not None
    assert found.lines[0].worth.net == (2000 if replaces else 1000)
    assert kept(world).read_began_at == START + timedelta(seconds=max(seconds, 0))


def test_a_snapshot_fills_a_row_that_was_only_locked_and_keeps_its_count(world: World) -> None:
    lock(world)

    assert keep(world, an_order())
    assert (kept(world).lock_version, kept(world).number) == (1, "1001")


def test_a35_the_same_order_number_in_two_shops_is_two_orders(world: World, make_world: MakeWorld) -> None:
    other = make_world()
    keep(world, an_order(net=1000))

    assert snapshot(other) is None
    assert keep(other, an_order(net=2000), began=START - timedelta(days=1))
    found = snapshot(world)
    assert found is not None
    assert found.lines[0].worth.net == 1000


# ── What of ours stands ──


def ours(world: World, *, but: uuid.UUID | None = None) -> list[Ours]:
    with world.db.reading() as session:
        return list(orders.ours(session, world.shop.id, REF, but=but))


@pytest.mark.parametrize("payout", Payout)
def test_a_money_row_counts_with_its_lines_tenders_and_deductions(world: World, payout: Payout) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 2})
    decide(world, rma, order, 2400, replace(PLAIN, payout=payout))

    (found,) = ours(world)

    (row,) = world.rows(rma)
    told = orders.instruction(row)
    assert isinstance(told, RefundOrder if payout is Payout.ORIGINAL else CreditOrder)
    assert codec.write(told) == row.instruction
    assert (found.minor, found.deducted, found.reference, found.key) == (2400, 0, None, row.id.hex)
    assert [(line.line, line.quantity) for line in found.lines] == [("line-1", 2)]
    assert [part.minor for part in found.parts] == ([2400] if payout is Payout.ORIGINAL else [])
    assert ours(world, but=row.id) == []


@pytest.mark.parametrize("state", MoneyState)
@pytest.mark.parametrize("voided", [False, True])
def test_every_row_stands_but_a_refused_one_whose_decision_came_to_nothing(world: World, state: MoneyState, voided: bool) -> None:
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 1200)
    with world.db.transaction() as session:
        row = session.get_one(Refund, world.rows(rma)[0].id)
        if state is not MoneyState.PENDING:
            row.attempt = row.asked_first_attempt = 1
            row.marked_at = row.asked_first_at = row.quiet_until = START
        row.state = state
        row.platform_reference = "toy-1" if state is MoneyState.SETTLED else None
        row.parked_because = "because" if state is MoneyState.PARKED else None
        session.get_one(Resolution, row.resolution_id).voided_at = START if voided else None

    references = [] if voided and state is MoneyState.REFUSED else [RefundRef("toy-1") if state is MoneyState.SETTLED else None]
    assert [one.reference for one in ours(world)] == references


def test_a_decision_that_paid_nothing_counts_with_what_it_kept(make_world: MakeWorld) -> None:
    world = make_world(policy="format = 1\n[restocking_fee]\npercent = 100\n[authorise]\nautomatic = true\n")
    order = placed(world, an_order())
    rma = world.received(order, {"line-1": 1})
    decide(world, rma, order, 0)

    (found,) = ours(world)

    assert (found.minor, found.deducted, found.reference) == (0, 1200, None)
    assert [(line.line, line.quantity, line.worth.gross) for line in found.lines] == [("line-1", 1, 1200)]


def test_another_shops_rows_are_none_of_ours(world: World, make_world: MakeWorld) -> None:
    order = placed(world, an_order())
    decide(world, world.received(order, {"line-1": 1}), order, 1200)

    assert ours(make_world()) == []
