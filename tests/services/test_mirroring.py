"""What happens to an order elsewhere is told to its open RMAs, once (W5): F25, F34, F35, A09."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from connector.db import Database
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, OrderRef, RefundRecord, RefundRef
from connector.domain.platform import Receipt
from connector.domain.rma import Move
from connector.domain.wanted import Payout
from connector.models import Credit, CreditUseRow, OrderRow, Refund
from connector.services import desk, mirroring, orders, receipts
from tests.services.acts import at_once, decide, everything, placed, refunded_in_the_admin, told, work
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

SECOND = timedelta(seconds=1)
ELSEWHERE = RefundRecord(RefundRef("admin-1"), moved=700)


def applied(world: World, order: Order, *, began: datetime | None = None) -> None:
    """The order is read now, or was read then."""
    now = world.clock.now
    with world.db.transaction() as session:
        mirroring.apply(session, world.shop, order, read_began=began or now, vault=world.vault, now=now)


def changed(world: World, order: Order, **facts: object) -> Order:
    """The order is read again a second later, with other facts."""
    world.clock.advance(SECOND)
    after = replace(order, **facts)  # type: ignore[arg-type]
    applied(world, after)
    return after


def news(world: World, rma: uuid.UUID | None = None) -> list[tuple[str, dict[str, object]]]:
    """What the timeline says of orders."""
    return [(what, facts) for what, who, facts in told(world.db, rma) if what.startswith("order.") and who == "platform"]


def names(world: World, rma: uuid.UUID | None = None) -> list[str]:
    return [what for what, _ in news(world, rma)]


def snapshot(world: World, ref: str = "1001") -> Order | None:
    with world.db.reading() as session:
        return orders.snapshot(session, world.shop.id, OrderRef(ref))


def row(world: World, ref: str = "1001") -> OrderRow | None:
    with world.db.reading() as session:
        return session.get(OrderRow, (world.shop.id, ref))


def settle(world: World, mine: Refund) -> None:
    """The shop's receipt for a money row."""
    receipt = Receipt(RefundRef("r-1"), Money(mine.minor, mine.currency))
    with world.db.transaction() as session:
        receipts.settle(session, mine.id, receipt, attempt=1, who="machine", now=world.clock.now)


@pytest.fixture
def order(world: World) -> Order:
    return placed(world, an_order())


# ── Refunds elsewhere ──


def test_w5_a_refund_made_elsewhere_is_told_to_every_open_rma_of_its_order(world: World, order: Order) -> None:
    first, second = world.requested(order, {"line-1": 1}), world.received(order, {"line-1": 1})
    other = world.requested(placed(world, an_order("1002")), {"line-1": 1})

    changed(world, order, refunds=(replace(ELSEWHERE, units=((LineRef("line-1"), 2),)),), refunded=700)

    facts = {
        "order": "1001",
        "reference": "admin-1",
        "minor": 700,
        "currency": "EUR",
        "units": [["line-1", 2]],
        "doubtful": False,
    }
    assert news(world, first) == news(world, second) == [("order.refunded_elsewhere", facts)]
    assert news(world, other) == []


def test_w3_what_is_read_again_is_not_told_again(world: World, order: Order) -> None:
    world.requested(order, {"line-1": 1})
    after = changed(world, order, refunds=(ELSEWHERE,), refunded=700)
    changed(world, after)
    changed(world, after)

    assert names(world) == ["order.refunded_elsewhere"]


def test_f34_read_at_the_same_time_by_many_it_is_told_once(world: World, order: Order) -> None:
    world.requested(order, {"line-1": 1})
    world.clock.advance(SECOND)
    after = refunded_in_the_admin(order, 700)

    outcome = at_once(*[lambda: applied(world, after)] * 6)

    assert outcome == [None] * 6
    assert names(world) == ["order.refunded_elsewhere"]


def test_f35_a_read_that_began_earlier_changes_nothing_at_all(world: World, order: Order) -> None:
    world.requested(order, {"line-1": 1})
    changed(world, order)
    with world.db.transaction() as session:
        orders.lock(session, world.shop.id, order.ref)
        session.get_one(OrderRow, (world.shop.id, order.ref)).gone_at = START
    before = everything(world.db)

    with world.db.transaction() as session:
        kept = mirroring.keep(
            session, world.shop.id, refunded_in_the_admin(order, 700), read_began=START, vault=world.vault, now=world.clock.now
        )

    assert not kept
    assert everything(world.db) == before


@pytest.mark.parametrize("by", ["key", "reference"])
def test_f35_our_own_refund_is_recognised_whenever_it_shows(world: World, order: Order, by: str) -> None:
    """Its webhook may come before the answer to our own call does: then only the key says that it is ours."""
    rma, another = world.received(order, {"line-1": 1}), world.requested(order, {"line-1": 1})
    world.resolve(rma)
    (mine,) = world.rows(rma)
    record = RefundRecord(RefundRef("r-1"), mine.minor, key=mine.id.hex if by == "key" else "")
    if by == "reference":
        settle(world, mine)

    changed(world, order, refunds=(record,), refunded=mine.minor)

    assert news(world, rma) == news(world, another) == []


@pytest.mark.parametrize("key", ["7f3a9c", "5d09142b860a4017b5bae1842fecf2f9", ""])
def test_a_marker_that_somebody_typed_proves_nothing(world: World, order: Order, key: str) -> None:
    rma = world.received(order, {"line-1": 1})
    world.resolve(rma)

    changed(world, order, refunds=(replace(ELSEWHERE, key=key),), refunded=700)

    assert names(world, rma) == ["order.refunded_elsewhere"]


def test_the_key_of_a_row_of_another_order_proves_nothing(world: World, order: Order) -> None:
    other = placed(world, an_order("1002"))
    elsewhere = world.received(other, {"line-1": 1})
    world.resolve(elsewhere)
    rma = world.requested(order, {"line-1": 1})

    changed(world, order, refunds=(replace(ELSEWHERE, key=world.rows(elsewhere)[0].id.hex),), refunded=700)

    assert names(world, rma) == ["order.refunded_elsewhere"]


def test_what_was_there_before_the_rma_is_no_news(world: World) -> None:
    order = placed(world, refunded_in_the_admin(an_order(), 700))
    applied(world, order)
    world.clock.advance(SECOND)
    rma = world.requested(order, {"line-1": 1})
    changed(world, order)

    assert news(world, rma) == []


def test_a_refund_that_staff_see_first_at_their_desk_is_told_too(world: World, order: Order) -> None:
    """Whoever reads the order first tells it: else the next read would find nothing new."""
    rma, other = world.received(order, {"line-1": 1}), world.requested(order, {"line-1": 1})
    world.clock.advance(SECOND)

    decide(world, rma, refunded_in_the_admin(order, 700), 1200)
    changed(world, refunded_in_the_admin(order, 700))

    assert names(world, rma) == names(world, other) == ["order.refunded_elsewhere"]


def test_a_refund_that_was_deleted_is_told_where_somebody_waits(world: World) -> None:
    """No webhook, no new date: only who compares two reads finds out."""
    order = placed(world, refunded_in_the_admin(an_order(), 700))
    rma = world.requested(order, {"line-1": 1})

    changed(world, order, refunds=(), refunded=0)

    ((what, facts),) = news(world, rma)
    assert (what, facts["reference"], facts["minor"], facts["ours"]) == ("order.refund_deleted", "admin-1", 700, False)


def test_our_own_refund_that_was_deleted_is_told_to_its_rma_although_that_is_over(world: World, order: Order) -> None:
    rma, waiting = (world.received(order, {"line-1": 1}) for _ in range(2))
    world.resolve(rma)
    (mine,) = world.rows(rma)
    settle(world, mine)
    settled = changed(world, order, refunds=(RefundRecord(RefundRef("r-1"), mine.minor),), refunded=mine.minor)
    changed(world, settled, refunds=(), refunded=0)

    assert names(world, rma) == names(world, waiting) == ["order.refund_deleted"]


# ── The order itself ──


def test_f25_an_order_that_is_cancelled_and_comes_back_is_told_each_time(world: World, order: Order) -> None:
    rma = world.requested(order, {"line-1": 1})

    off = changed(world, order, cancelled=True)
    changed(world, off)
    changed(world, off, cancelled=False)

    assert names(world, rma) == ["order.cancelled", "order.reopened"]


def test_f25_fewer_units_than_are_claimed_are_told_with_what_is_there(world: World) -> None:
    order = placed(world, an_order(lines=2))
    rma = world.requested(order, {"line-1": 2, "line-2": 1})
    unharmed = world.requested(order, {"line-1": 1})
    first, second = order.lines

    enough = changed(world, order, lines=(replace(first, quantity=2), second))
    assert news(world) == []
    short = changed(world, enough, lines=(replace(first, quantity=1), second))
    removed = changed(world, short, lines=(replace(first, quantity=1),))
    changed(world, removed)

    lines = [facts["lines"] for _, facts in news(world, rma)]
    assert lines == [[["line-1", 2, 1]], [["line-2", 1, 0]]]
    assert news(world, unharmed) == []


def test_rmas_that_are_over_are_told_nothing(world: World, order: Order) -> None:
    cancelled, settled = world.requested(order, {"line-1": 1}), world.received(order, {"line-1": 1})
    with world.db.transaction() as session:
        desk.close(session, cancelled, Move.CANCEL, who="sam", now=START)
    world.resolve(settled)
    (mine,) = world.rows(settled)
    settle(world, mine)

    changed(world, order, cancelled=True, refunds=(ELSEWHERE,), lines=())

    assert news(world) == []


def test_f15_an_rma_whose_money_is_on_its_way_is_told(world: World, order: Order) -> None:
    rma = world.received(order, {"line-1": 1})
    world.resolve(rma)

    changed(world, order, refunds=(ELSEWHERE,), refunded=700)

    assert names(world, rma) == ["order.refunded_elsewhere"]


def test_an_order_that_is_new_to_us_is_kept_and_tells_nothing(world: World) -> None:
    applied(world, refunded_in_the_admin(an_order("2001"), 700))

    kept = snapshot(world, "2001")
    assert kept is not None
    assert kept.buyer.email == ""
    assert news(world) == []


def test_a_brief_read_takes_no_facts_from_a_full_one(world: World, order: Order) -> None:
    full = replace(
        order,
        refunded=700,
        refunds=(replace(ELSEWHERE, booked=900, units=((LineRef("line-1"), 1),), made_at=START),),
        lines=(replace(order.lines[0], refunded_quantity=1),),
        kept=200,
    )
    applied(world, full)
    changed(world, order, refunded=700, refunds=(replace(ELSEWHERE, booked=700),), total=order.total)

    kept = snapshot(world)
    assert kept is not None
    assert (kept.refunds, kept.kept, kept.lines[0].refunded_quantity) == (full.refunds, 200, 1)


# ── Gone ──


def gone(world: World, ref: str = "1001") -> None:
    with world.db.transaction() as session:
        mirroring.gone(session, world.shop, OrderRef(ref), now=world.clock.now)


def test_an_order_that_is_gone_is_told_once(world: World, order: Order) -> None:
    rma = world.requested(order, {"line-1": 1})

    gone(world)
    world.clock.advance(SECOND)
    gone(world)

    found = row(world)
    assert found is not None
    assert (found.gone_at, names(world, rma)) == (START, ["order.gone"])


def test_an_order_that_came_back_is_told_and_is_no_longer_gone(world: World, order: Order) -> None:
    rma = world.requested(order, {"line-1": 1})
    gone(world)

    changed(world, order)

    found = row(world)
    assert found is not None
    assert (found.gone_at, names(world, rma)) == (None, ["order.gone", "order.reopened"])


def test_an_order_that_we_never_knew_leaves_no_trace_when_it_goes(world: World) -> None:
    gone(world, "4711")

    assert row(world, "4711") is None


# ── Used store credit ──


def issue_credit(world: World, order: Order) -> str:
    """A credit of ours that its shop has issued: its code."""
    rma = world.received(order, {"line-1": 1})
    world.resolve(rma, Payout.STORE_CREDIT)
    (mine,) = world.rows(rma)
    settle(world, mine)
    with world.db.reading() as session:
        return session.execute(select(Credit.code)).scalar_one()


def test_m7_a_code_of_ours_in_an_order_is_followed_and_asked_for_once(world: World, order: Order) -> None:
    code = issue_credit(world, order)
    bought = replace(an_order("3001"), discount_codes=(code.lower(),), changed_at=START)

    applied(world, bought)
    changed(world, bought)

    with world.db.reading() as session:
        (use,) = session.execute(select(CreditUseRow)).scalars()
    assert [asked.subject_id for asked in work(world.db, "reissue")] == [use.id]
    assert use.order_ref == "3001"


def test_other_codes_are_nobodys_business(world: World) -> None:
    applied(world, replace(an_order("3001"), discount_codes=("summer10",)))

    assert work(world.db, "reissue") == []


# ── Many at once ──


def test_orders_of_one_read_are_locked_in_the_order_of_their_references(world: World) -> None:
    """Two runs with the same orders the other way about must not wait for each other."""
    found = [an_order(str(ref)) for ref in range(1000, 1020)]

    def run(mine: list[Order]) -> Callable[[], None]:
        def read() -> None:
            with world.db.transaction() as session:
                mirroring.apply_all(session, world.shop, mine, read_began=START, vault=world.vault, now=START)

        return read

    outcome = at_once(run(found), run(found[::-1]), run(found[5:] + found[:5]))

    assert outcome == [None] * 3
    assert all(snapshot(world, order.ref) for order in found)


def test_of_one_order_that_came_twice_in_a_read_the_last_counts(world: World, order: Order) -> None:
    with world.db.transaction() as session:
        mirroring.apply_all(
            session, world.shop, [order, replace(order, number="x")], read_began=world.clock.now, vault=world.vault, now=world.clock.now
        )

    kept = snapshot(world)
    assert kept is not None
    assert kept.number == "x"


def test_shops_share_no_orders(make_world: MakeWorld, database: Database) -> None:
    one, two = make_world(), make_world()
    mine, theirs = (each.requested(placed(each, an_order()), {"line-1": 1}) for each in (one, two))

    changed(one, an_order(), cancelled=True)
    gone(one)

    assert names(one, mine) == ["order.cancelled", "order.gone"]
    assert news(one, theirs) == []
