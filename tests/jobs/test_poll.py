"""The reconciliation poll finds what deliveries lost (W4, W5): F31, F37, F38, F40, F41, and a death at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from connector.db import Database
from connector.domain.orders import OrderRef
from connector.domain.platform import Attempt, OutcomeUnknown, Overdue, PlatformError, Rejected, Revoked, Throttled, WebhookHealth
from connector.models import Alarm, OrderRow, Refund, ShopStatus
from connector.models import Shop as ShopRow
from connector.services import orders
from connector.services.outbox import Later
from connector.services.syncing import OVERLAP, POLL_EVERY, TIE
from jobs import shops
from tests.jobs.readers import BASE, Died, Shop, alarmed, begun, drained, known, site_of, stocked, sync
from tests.services.acts import at_once, everything, placed, refunded_in_the_admin, told, work
from tests.world import START, Clock, World, an_order

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MENDED = WebhookHealth(active=True, mended=("order.updated: enabled",))


@pytest.fixture
def shop(clock: Clock) -> Iterator[Shop]:
    shop = Shop(":memory:", clock=lambda: clock.now)
    yield shop
    shop.far.close()


@pytest.fixture
def world(database: Database, shop: Shop, clock: Clock) -> World:
    world = World(database, shop, clock)
    begun(world)
    clock.advance(HOUR)
    return world


def poll(world: World, **site: object) -> None:
    shops.poll(site_of(world, **site), world.shop.id)  # type: ignore[arg-type]


def since(shop: Shop) -> list[datetime]:
    """What polls asked for."""
    return [datetime.fromisoformat(line.removeprefix("changed ")) for line in shop.asked if line.startswith("changed ")]


def news(world: World) -> list[str]:
    return [what for what, who, _ in told(world.db) if who == "platform"]


# ── What it finds ──


def test_f37_what_no_delivery_told_is_found_and_told_to_the_rma(world: World, shop: Shop) -> None:
    order = placed(world, an_order())
    rma = world.requested(order, {"line-1": 1})
    world.clock.advance(MINUTE)
    shop.place(replace(refunded_in_the_admin(order, 700), cancelled=True, changed_at=world.clock.now))

    poll(world)

    assert [(what, facts.get("reference")) for what, _, facts in told(world.db, rma)][-2:] == [
        ("order.refunded_elsewhere", "admin-1"),
        ("order.cancelled", None),
    ]


def test_a_refund_that_did_not_change_its_order_is_found_and_moves_no_watermark(world: World, shop: Shop) -> None:
    order = placed(world, replace(an_order("99999"), changed_at=START - 90 * DAY))
    world.requested(order, {"line-1": 1})
    for old in stocked(world, 50, at=START - 90 * DAY, start=100):
        shop.place(replace(old, channel="refunded"))
    stocked(world, 2)
    shop.place(replace(refunded_in_the_admin(order, 700), channel="refunded"))
    world.clock.advance(SECOND)
    shop.after = dies_at(51)
    with pytest.raises(Died):
        poll(world)
    shop.after = lambda _count: None

    poll(world)

    assert news(world) == ["order.refunded_elsewhere"]
    assert since(shop) == [START - OVERLAP - TIE] * 2
    assert sync(world).watermark == START + SECOND


def test_polling_again_changes_nothing_that_anybody_sees(world: World) -> None:
    order = placed(world, replace(an_order(), changed_at=START))
    world.requested(order, {"line-1": 1})
    poll(world)
    before = told(world.db)
    for _ in range(3):
        world.clock.advance(POLL_EVERY)
        poll(world)

    assert told(world.db) == before


def test_f34_polls_at_the_same_time_tell_everything_once(world: World, shop: Shop) -> None:
    order = placed(world, an_order())
    world.requested(order, {"line-1": 1})
    world.clock.advance(SECOND)
    shop.place(replace(refunded_in_the_admin(order, 700), changed_at=world.clock.now))
    stocked(world, 120, start=2)

    outcome = at_once(*[lambda: poll(world)] * 4)

    assert outcome == [None] * 4
    assert news(world) == ["order.refunded_elsewhere"]
    assert known(world) == 121


def test_a_shop_that_was_never_begun_is_not_asked(database: Database, shop: Shop, clock: Clock) -> None:
    poll(World(database, shop, clock))

    assert shop.asked == []


# ── Where it reads on ──


def test_it_asks_for_what_is_new_since_the_last_one(world: World, shop: Shop) -> None:
    stocked(world, 3, at=world.clock.now - 3 * SECOND)
    poll(world)
    newest = world.clock.now - SECOND
    world.clock.advance(POLL_EVERY)
    poll(world)

    assert since(shop)[1] == newest - OVERLAP
    assert (sync(world).watermark, sync(world).polled_at) == (newest, world.clock.now)


def dies_at(place: int) -> Callable[[int], None]:
    """The worker is killed once so many orders have come."""

    def after(count: int) -> None:
        if count == place:
            raise Died

    return after


@pytest.mark.parametrize("place", [0, 49, 50, 51, 99, 100, 119])
def test_f31_a_poll_that_dies_anywhere_loses_nothing(world: World, shop: Shop, place: int) -> None:
    stocked(world, 120)
    shop.after = dies_at(place)
    with pytest.raises(Died):
        poll(world)
    whole = place // 50 * 50
    assert known(world) == whole

    shop.after = lambda _count: None
    world.clock.advance(MINUTE)
    poll(world)

    assert known(world) == 120
    begins = START + (whole - 1) * SECOND - TIE if whole else START - OVERLAP - TIE
    assert since(shop)[1] == begins
    assert sync(world).watermark == START + 119 * SECOND


def test_f40_f41_a_long_poll_is_read_in_stretches_and_each_goes_on_where_the_last_stopped(world: World, shop: Shop) -> None:
    stocked(world, 1230)

    runs = drained(world, "poll")

    assert (runs, known(world)) == (3, 1230)
    assert since(shop) == [START - OVERLAP - TIE, *(START + (count - 1) * SECOND - TIE for count in (500, 999))]
    assert sync(world).polled_at is not None
    assert work(world.db, "poll")[-1].done_at is not None


def test_f40_a_thousand_orders_of_one_second_are_neither_lost_nor_read_for_ever(world: World, shop: Shop) -> None:
    stocked(world, 1100, every=timedelta(0))
    stocked(world, 20, at=START + SECOND, start=1101)

    drained(world, "poll", times=6)

    assert known(world) == 1120
    assert len(since(shop)) <= 3


def test_a_poll_of_a_slow_shop_stops_in_time_and_goes_on(world: World, shop: Shop) -> None:
    stocked(world, 120)
    passed = [timedelta(0), timedelta(0), timedelta(minutes=1), timedelta(minutes=4)]

    with pytest.raises(Later) as later:
        poll(world, elapsed=lambda: passed.pop(0))

    assert (later.value.delay, known(world)) == (timedelta(0), 100)
    poll(world)
    assert known(world) == 120
    assert since(shop)[1] == START + 99 * SECOND - TIE


@pytest.mark.parametrize("trouble", [Throttled(MINUTE), Revoked("no")])
def test_f27_a_shop_that_stops_answering_half_way_keeps_what_was_read(world: World, shop: Shop, trouble: Exception) -> None:
    stocked(world, 120)

    def after(count: int) -> None:
        if count == 110:
            raise trouble

    shop.after = after
    with pytest.raises(type(trouble)):
        poll(world)

    assert known(world) == 100
    assert sync(world).watermark == START + 99 * SECOND


@pytest.mark.parametrize("count", [2, 49, 50, 119])
def test_f04_a_sweep_whose_time_is_over_keeps_all_that_it_was_given_and_goes_on(world: World, shop: Shop, count: int) -> None:
    stocked(world, 120)
    shop.after = overdue_at(count)
    with pytest.raises(Later) as later:
        poll(world)
    assert (known(world), str(later.value), later.value.delay) == (count, "poll.goes_on", 30 * SECOND)

    shop.after = lambda _count: None
    poll(world)

    assert known(world) == 120
    assert since(shop)[1] == START + (count - 1) * SECOND - TIE


def test_f04_a_sweep_that_reached_nothing_backs_off_and_shows_that_it_stands_still(
    world: World, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    stocked(world, 3)
    shop.after = overdue_at(0)
    before = sync(world).watermark
    with pytest.raises(Later) as later:
        poll(world)

    assert later.value.delay > POLL_EVERY
    assert (sync(world).watermark, sync(world).polled_at) == (before, None)
    assert "poll.stands_still" in [each.message for each in caplog.records]


def test_f04_how_far_a_sweep_came_is_kept_where_no_order_shows_it(world: World, shop: Shop) -> None:
    """Refunds that changed no order."""
    for old in stocked(world, 2, at=START - 90 * DAY):
        shop.place(replace(old, channel="refunded"))
    shop.reached = world.clock.now - MINUTE
    shop.after = overdue_at(2)
    with pytest.raises(Later) as later:
        poll(world)

    assert (str(later.value), sync(world).watermark, known(world)) == ("poll.goes_on", world.clock.now - MINUTE, 2)


def overdue_at(place: int) -> Callable[[int], None]:
    """The time of the sweep is over once so many orders have come."""

    def after(count: int) -> None:
        if count == place:
            raise Overdue(SECOND)

    return after


def test_f04_a_poll_that_took_long_begins_nothing_more(world: World, shop: Shop) -> None:
    world.requested(placed(world, an_order()), {"line-1": 1})
    world.clock.advance(DAY + SECOND)
    shop.asked.clear()
    passed = [timedelta(0), timedelta(0), timedelta(minutes=4)]

    poll(world, elapsed=lambda: passed.pop(0))

    assert not [line for line in shop.asked if line.startswith("orders")]
    assert sync(world).polled_at == world.clock.now
    poll(world)
    assert shop.asked[-1] == "orders 1001"


# ── Deliveries ──


def webhooks(shop: Shop) -> int:
    return shop.asked.count(f"webhooks {BASE}")


def test_f38_deliveries_that_the_shop_had_stopped_are_found_mended_and_backfilled(world: World, shop: Shop) -> None:
    poll(world)
    world.clock.advance(HOUR)
    shop.health = [MENDED]
    poll(world)

    found = sync(world)
    assert (found.deliveries_ok, found.deliveries_mended, found.poll_at) == (True, 1, world.clock.now)
    with world.db.reading() as session:
        assert [alarm.kind.value for alarm in session.execute(select(Alarm)).scalars()] == ["deliveries_off"]


def test_deliveries_are_looked_after_at_most_once_an_hour(world: World, shop: Shop) -> None:
    for _ in range(24):
        poll(world)
        world.clock.advance(POLL_EVERY)

    assert webhooks(shop) == 2


def test_without_an_address_of_our_own_nobody_asks_for_deliveries(world: World, shop: Shop) -> None:
    site = replace(site_of(world), base_url="")

    shops.poll(site, world.shop.id)

    assert (webhooks(shop), sync(world).deliveries_ok) == (0, None)


@pytest.mark.parametrize("trouble", [Rejected("no"), OutcomeUnknown("html"), Throttled(MINUTE), Revoked("no"), PlatformError("odd")])
def test_f30_a_shop_that_lets_nobody_mend_its_deliveries_is_polled_all_the_same(world: World, shop: Shop, trouble: Exception) -> None:
    stocked(world, 2)
    shop.health = [trouble]

    poll(world)

    assert (known(world), sync(world).deliveries_ok, sync(world).polled_at) == (2, False, world.clock.now)
    assert shop.health == []


def test_f38_deliveries_that_are_off_and_stay_off_are_seen(world: World, shop: Shop) -> None:
    shop.health = [WebhookHealth(active=False)]

    poll(world)

    assert sync(world).deliveries_ok is False


# ── What nobody can read or keep ──


UNFIT = "10\ud80002"  # half a character: no encoding has it


def test_f39_an_order_that_the_database_cannot_take_holds_up_no_other(world: World, shop: Shop) -> None:
    stocked(world, 120)
    shop.numbers = {"00060": UNFIT}

    poll(world)

    assert known(world) == 119
    assert (sync(world).polled_at, sync(world).watermark) == (world.clock.now, START + 119 * SECOND)
    assert alarmed(world) == [{"orders": ["00060"], "unnamed": False}]


def test_f39_an_order_that_the_shop_cannot_show_holds_up_no_other(world: World, shop: Shop) -> None:
    stocked(world, 120)
    shop.unread = {"00060"}

    poll(world)
    poll(world)

    assert (known(world), sync(world).polled_at) == (119, world.clock.now)
    assert alarmed(world) == [{"orders": ["00060"], "unnamed": False}]


def test_f39_what_is_unreadable_is_asked_for_until_a_later_order_was_read(world: World, shop: Shop) -> None:
    stocked(world, 10)
    shop.unread = {f"{number:05}" for number in range(4, 11)}
    poll(world)
    assert sync(world).watermark == START + 2 * SECOND
    shop.unread = set()
    world.clock.advance(POLL_EVERY)

    poll(world)

    assert known(world) == 10


def test_f39_an_order_of_an_open_return_that_the_database_cannot_take_is_put_off(world: World, shop: Shop) -> None:
    placed_orders = [placed(world, refunded_in_the_admin(an_order(str(ref)), 700)) for ref in range(1001, 1004)]
    for order in placed_orders:
        world.requested(order, {"line-1": 1})
        shop.place(an_order(order.ref))
    shop.numbers = {"1002": UNFIT}
    world.clock.advance(DAY + SECOND)
    shop.asked.clear()

    poll(world)
    world.clock.advance(POLL_EVERY)
    poll(world)

    assert news(world) == ["order.refund_deleted"] * 2
    assert [line for line in shop.asked if line.startswith("orders")] == ["orders 1001 1002 1003"]  # once, and not the next time
    assert alarmed(world) == [{"orders": ["1002"], "unnamed": False}]


# ── Read again ──


def test_w5_a_refund_that_somebody_deleted_is_found_within_a_day(world: World, shop: Shop) -> None:
    """Deleting a refund changes no date of its order, and no platform tells."""
    order = placed(world, refunded_in_the_admin(an_order(), 700))
    world.requested(order, {"line-1": 1})
    shop.place(an_order())
    poll(world)
    assert news(world) == []
    world.clock.advance(DAY + SECOND)

    poll(world)

    assert news(world) == ["order.refund_deleted"]
    assert shop.asked[-1] == "orders 1001"


def test_an_order_that_the_platform_deleted_for_good_is_told(world: World, shop: Shop) -> None:
    """A permanent deletion sends nothing (WooCommerce 10.5)."""
    order = placed(world, an_order())
    rma = world.requested(order, {"line-1": 1})
    with shop.far.open() as books:
        books.execute("DELETE FROM orders")
    world.clock.advance(DAY + SECOND)
    poll(world)
    world.clock.advance(DAY)
    poll(world)

    assert [what for what, _, _ in told(world.db, rma)][-1] == "order.gone"
    assert news(world) == ["order.gone"]
    with world.db.reading() as session:
        assert session.get_one(OrderRow, (world.shop.id, order.ref)).gone_at is not None


def test_f39_an_order_that_nobody_can_read_holds_up_no_other_and_is_tried_again_a_day_later(world: World, shop: Shop) -> None:
    placed_orders = [placed(world, refunded_in_the_admin(an_order(str(ref)), 700)) for ref in range(1001, 1008)]
    for order in placed_orders:
        world.requested(order, {"line-1": 1})
        shop.place(an_order(order.ref))
    shop.garbled = {"1003"}
    world.clock.advance(DAY + SECOND)
    shop.asked.clear()
    poll(world)
    assert news(world) == ["order.refund_deleted"] * 6
    asked = len(shop.asked)
    world.clock.advance(POLL_EVERY)
    poll(world)
    assert not [line for line in shop.asked[asked:] if line.startswith("orders")]

    shop.garbled = set()
    world.clock.advance(DAY)
    poll(world)

    assert news(world) == ["order.refund_deleted"] * 7
    assert "order.gone" not in news(world)


@pytest.mark.parametrize(("takes", "told"), [(0, 4), (40, 2)])
def test_f04_orders_that_take_too_long_together_are_asked_for_by_halves_and_not_for_long(
    world: World, shop: Shop, takes: int, told: int
) -> None:
    for ref in range(1001, 1005):
        order = placed(world, refunded_in_the_admin(an_order(str(ref)), 700))
        world.requested(order, {"line-1": 1})
        shop.place(an_order(order.ref))
    world.clock.advance(DAY + SECOND)
    shop.asked.clear()
    shop.most = 2

    poll(world, elapsed=lambda: takes * SECOND * len([line for line in shop.asked if line.startswith("orders")]))

    assert news(world) == ["order.refund_deleted"] * told
    assert alarmed(world) == []


@pytest.mark.parametrize("trouble", [Throttled(MINUTE), Revoked("no")])
def test_a_shop_that_is_busy_is_not_asked_by_halves(world: World, shop: Shop, trouble: Exception) -> None:
    for ref in ("1001", "1002"):
        world.requested(placed(world, an_order(ref)), {"line-1": 1})
    world.clock.advance(DAY + SECOND)
    shop.busy = trouble
    shop.asked.clear()

    with pytest.raises(type(trouble)):
        poll(world)

    assert [line for line in shop.asked if line.startswith("orders")] == ["orders 1001 1002"]
    assert sync(world).polled_at == world.clock.now


# ── With the rest ──


def test_a_poll_leaves_money_alone(world: World, shop: Shop) -> None:
    order = placed(world, replace(an_order(), changed_at=START))
    rma = world.received(order, {"line-1": 1})
    world.resolve(rma)
    before = everything(world.db)["refunds"]

    poll(world)

    assert everything(world.db)["refunds"] == before
    assert len(shop.payments()) == 0


def test_f35_a_poll_that_sees_our_refund_before_its_answer_came_takes_it_for_ours(world: World, shop: Shop) -> None:
    order = placed(world, replace(an_order(), changed_at=START))
    rma = world.received(order, {"line-1": 1})
    world.requested(order, {"line-1": 1})
    world.resolve(rma)
    with world.db.reading() as session:
        row = session.execute(select(Refund)).scalar_one()
        instruction = orders.instruction(row)
    now = world.clock.now
    shop.far.pay("refund", instruction, Attempt(1, row.id.hex, now, now, now, now))
    world.clock.advance(SECOND)

    poll(world)

    assert news(world) == []
    with world.db.reading() as session:
        kept = orders.snapshot(session, world.shop.id, OrderRef("1001"))
    assert kept is not None
    assert [record.key for record in kept.refunds] == [row.id.hex]


def test_f27_a_shop_that_left_is_not_polled(world: World, shop: Shop) -> None:
    with world.db.transaction() as session:
        session.get_one(ShopRow, world.shop.id).status = ShopStatus.UNINSTALLED

    drained(world, "poll")

    assert shop.asked == []
