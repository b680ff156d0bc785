"""How far a shop is read, and when it is read and probed next (W4, W7): F37, F38, F42, F58."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connector.db import Database
from connector.domain import codec
from connector.domain.connecting import Misfortune
from connector.domain.orders import OrderRef
from connector.domain.platform import WebhookHealth
from connector.domain.rma import Move
from connector.models import Alarm, Kind, OrderRow, OutboxRow, Shop, ShopStatus, Sync
from connector.services import desk, mirroring, outbox, shops, syncing
from connector.services.syncing import OVERLAP, POLL_EVERY, PROBE_EVERY, TIE, Importing, Overtaken, Polling
from tests.services.acts import at_once, everything, placed, told, work
from tests.services.conftest import MakeWorld
from tests.world import START, World, an_order

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FINE = WebhookHealth(active=True)
MENDED = WebhookHealth(active=True, mended=("order.updated",))


def begin(world: World) -> None:
    with world.db.transaction() as session:
        syncing.begin(session, world.shop.id, now=world.clock.now)


def sync(world: World) -> Sync:
    with world.db.reading() as session:
        return session.get_one(Sync, world.shop.id)


def shop(world: World) -> Shop:
    with world.db.reading() as session:
        return session.get_one(Shop, world.shop.id)


def due(world: World) -> int:
    with world.db.transaction() as session:
        return syncing.due(session, now=world.clock.now)


def waiting(world: World) -> list[str]:
    """What is to be done for the shop, as claims would find it."""
    return sorted(row.kind for row in work(world.db) if row.done_at is None and row.shop_id == world.shop.id)


def works_off(world: World, *kinds: Kind) -> None:
    """A worker does all that waits."""
    with world.db.transaction() as session:
        claimed = outbox.claim(session, kinds=[kind.value for kind in kinds or Kind], limit=100, now=world.clock.now)
        assert claimed
        for row in claimed:
            outbox.done(session, row, now=world.clock.now)


def to_poll(world: World) -> Polling:
    with world.db.reading() as session:
        found = syncing.to_poll(session, world.shop.id, now=world.clock.now)
    assert found is not None
    return found


def polled(world: World, newest: datetime | None = None, health: WebhookHealth | None = None, *, polling: Polling | None = None) -> None:
    """A poll that ends as it begins, unless it began earlier."""
    mine = polling or to_poll(world)
    with world.db.transaction() as session:
        syncing.polled(session, mine, newest or mine.since, health, now=world.clock.now)


def read_on(world: World, polling: Polling, newest: datetime) -> Polling:
    with world.db.transaction() as session:
        return syncing.read_on(session, polling, newest)


@pytest.fixture
def begun(world: World) -> World:
    begin(world)
    return world


# ── Connected ──


def test_a_connected_shop_is_polled_probed_and_imported(begun: World) -> None:
    assert waiting(begun) == ["import", "poll"]
    due(begun)
    assert waiting(begun) == ["import", "poll", "probe"]
    assert to_poll(begun).since <= START - OVERLAP


@pytest.mark.parametrize("offset", ["600", "-600"])
def test_f42_the_first_poll_begins_earlier_by_what_the_clocks_differ(world: World, offset: str) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).facts = {"clock_offset": offset}

    begin(world)

    assert to_poll(world).since <= START - OVERLAP - timedelta(seconds=600)


@pytest.mark.parametrize("offset", ["", "soon", "1e9", "\uff19"])
def test_an_offset_that_is_none_shifts_nothing(world: World, offset: str) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).facts = {"clock_offset": offset}

    begin(world)

    assert sync(world).watermark == START - OVERLAP


def test_i4_a_shop_that_is_connected_again_reads_on_where_it_stopped(begun: World) -> None:
    polled(begun, START - HOUR)
    imported(begun, None)
    works_off(begun)
    before = sync(begun).watermark
    begun.clock.advance(10 * DAY)

    begin(begun)

    assert waiting(begun) == ["poll"]
    assert sync(begun).watermark == before
    assert sync(begun).deliveries_ok is None
    assert to_poll(begun).since < START


def test_connecting_twice_asks_for_nothing_twice(begun: World) -> None:
    begin(begun)

    assert waiting(begun) == ["import", "poll"]


# ── When ──


def test_w4_a_shop_is_polled_every_five_minutes_and_probed_every_day(begun: World) -> None:
    due(begun)
    works_off(begun)
    asked: list[tuple[int, list[str]]] = []
    for minute in [*range(1, 12), 24 * 60 - 1, 24 * 60]:
        begun.clock.now = START + minute * MINUTE
        if due(begun):
            asked.append((minute, waiting(begun)))
            works_off(begun)

    assert asked == [(5, ["poll"]), (10, ["poll"]), (24 * 60 - 1, ["poll"]), (24 * 60, ["probe"])]


def test_nothing_is_asked_for_before_its_time(begun: World) -> None:
    due(begun)
    works_off(begun)
    before = everything(begun.db)
    begun.clock.now = START + POLL_EVERY - SECOND

    with begun.db.reading() as session:
        assert not syncing.anything_due(session, now=begun.clock.now)
    assert due(begun) == 0
    assert everything(begun.db) == before


def test_while_one_waits_no_second_one_is_put(begun: World) -> None:
    due(begun)
    for _ in range(4):
        begun.clock.advance(POLL_EVERY)
        due(begun)

    assert waiting(begun) == ["import", "poll", "probe"]


def test_a_poll_that_failed_too_often_is_tried_again_and_leaves_one_row(begun: World) -> None:
    for _ in range(3):
        with begun.db.transaction() as session:
            (row,) = outbox.claim(session, kinds=["poll"], limit=9, now=begun.clock.now)
            outbox.park(session, row, why="failed 10 times", now=begun.clock.now)
        begun.clock.advance(POLL_EVERY)
        due(begun)

    assert [(row.parked_at, row.attempts) for row in work(begun.db, "poll")] == [(None, 0)]


@pytest.mark.parametrize(
    ("status", "asked"), [(ShopStatus.ACTIVE, ["poll", "probe"]), (ShopStatus.REVOKED, ["probe"]), (ShopStatus.UNINSTALLED, [])]
)
def test_f27_a_refused_shop_is_only_probed_and_an_uninstalled_one_left_alone(begun: World, status: ShopStatus, asked: list[str]) -> None:
    works_off(begun)
    with begun.db.transaction() as session:
        session.get_one(Shop, begun.shop.id).status = status
    begun.clock.advance(DAY)

    due(begun)

    assert waiting(begun) == asked
    with begun.db.transaction() as session:
        claimed = outbox.claim(session, kinds=["poll", "probe", "import"], limit=9, now=begun.clock.now)
    assert sorted(row.kind for row in claimed) == asked


def test_a_probe_of_a_paused_shop_waits_like_everything_else(begun: World) -> None:
    due(begun)
    with begun.db.transaction() as session:
        outbox.pause(session, begun.shop.id, wait=MINUTE, now=START)

        assert outbox.claim(session, kinds=["poll", "probe"], limit=9, now=START) == []


def test_a_shop_in_trouble_is_probed_every_hour_until_it_is_well(begun: World) -> None:
    unwell(begun, Misfortune.MAINTENANCE)
    assert sync(begun).probe_at == START + HOUR

    begun.clock.advance(HOUR)
    due(begun)
    works_off(begun, Kind.PROBE)
    assert sync(begun).probe_at == START + 2 * HOUR  # also where that probe was never answered
    probed(begun)

    assert sync(begun).probe_at == begun.clock.now + PROBE_EVERY


def test_a_shop_whose_keys_were_refused_is_probed_at_once_but_not_over_and_over(begun: World) -> None:
    """Keys that are refused now and then must not make us ask all the time."""
    probed(begun)
    begun.clock.advance(5 * HOUR)
    revoke(begun)
    assert sync(begun).probe_at <= begun.clock.now
    probed(begun)
    begun.clock.advance(MINUTE)
    revoke(begun)

    assert sync(begun).probe_at == begun.clock.now + HOUR - MINUTE


def test_f58_two_clocks_at_once_ask_once(begun: World, make_world: MakeWorld) -> None:
    worlds = [begun, make_world(), make_world()]
    for each in worlds[1:]:
        begin(each)
    begun.clock.advance(DAY)

    at_once(*[lambda: due(begun)] * 4)
    due(begun)

    assert [waiting(each) for each in worlds] == [["import", "poll", "probe"]] * 3


def test_f41_many_shops_are_asked_for_in_turns_the_longest_overdue_first(world: World, database: Database) -> None:
    ids = [uuid.UUID(int=n) for n in range(1, 121)]
    for some in (ids[:60], ids[60:]):
        with database.transaction() as session:
            session.add_all([Shop(id=one, platform="toy", domain=f"{one}.example", credentials=b"", installed_at=START) for one in some])
            session.flush()
            session.add_all([Sync(shop_id=one, watermark=START, poll_at=START - one.int * SECOND, probe_at=START + DAY) for one in some])

    found = [due(world), due(world), due(world), due(world)]

    assert found == [50, 50, 20, 0]
    asked = [row.subject_id.int for row in work(database, "poll")]
    assert asked == [*range(120, 0, -1)]


# ── The poll's place ──


def test_the_watermark_follows_what_was_seen_and_not_the_clock(begun: World) -> None:
    begun.clock.advance(HOUR)
    polled(begun, START + MINUTE)

    assert sync(begun).watermark == START + MINUTE
    begun.clock.advance(MINUTE)
    polled(begun)
    assert sync(begun).watermark == START + MINUTE


def test_the_watermark_never_goes_back_at_the_end_of_a_poll(begun: World) -> None:
    begun.clock.advance(HOUR)
    polled(begun, START + MINUTE)
    polled(begun, START)

    assert sync(begun).watermark == START + MINUTE


def test_f42_a_shop_whose_clock_is_ahead_moves_the_watermark_only_to_where_the_read_began(begun: World) -> None:
    begun.clock.advance(HOUR)
    mine = to_poll(begun)
    begun.clock.advance(MINUTE)
    polled(begun, START + 400 * DAY, polling=mine)

    assert sync(begun).watermark == START + HOUR


def test_what_shows_late_is_found_in_the_overlap(begun: World) -> None:
    """A slow transaction over there: its order carries an earlier time than what we have read meanwhile."""
    begun.clock.advance(HOUR)
    newest = begun.clock.now - SECOND
    polled(begun, newest)
    begun.clock.advance(POLL_EVERY)

    assert to_poll(begun).since == newest - OVERLAP


def test_what_was_read_again_after_the_overlap_is_not_read_a_third_time(begun: World) -> None:
    """Else a night after a thousand changes would read the same thousand every five minutes."""
    newest = START
    begun.clock.advance(OVERLAP - SECOND)
    polled(begun, newest)
    assert to_poll(begun).since == newest - OVERLAP
    begun.clock.advance(SECOND)
    polled(begun, newest)

    assert to_poll(begun).since == newest - TIE


def test_a_poll_that_stopped_half_way_begins_there_and_loses_no_tie(begun: World) -> None:
    begun.clock.advance(HOUR)
    mine = to_poll(begun)
    place = mine.since + MINUTE  # in the overlap, before the watermark

    mine = read_on(begun, mine, place)
    assert to_poll(begun).since == place - TIE
    mine = read_on(begun, mine, place + MINUTE)
    assert to_poll(begun).since == place + MINUTE - TIE
    polled(begun, START + MINUTE, polling=mine)

    assert (sync(begun).watermark, sync(begun).polled_at) == (START + MINUTE, START + HOUR)


def test_two_polls_at_once_do_not_take_turns_at_the_same_place(begun: World) -> None:
    begun.clock.advance(HOUR)
    first, second = to_poll(begun), to_poll(begun)
    read_on(begun, first, START)

    with pytest.raises(Overtaken):
        read_on(begun, second, START - MINUTE)
    with pytest.raises(Overtaken):
        polled(begun, START + MINUTE, polling=second)

    assert sync(begun).watermark == START


def test_a_shop_that_was_never_begun_has_nothing_to_poll_or_import(world: World) -> None:
    with world.db.reading() as session:
        assert syncing.to_poll(session, world.shop.id, now=START) is None
        assert syncing.to_import(session, world.shop.id, now=START) is None


# ── Deliveries ──


def alarms(world: World) -> list[tuple[str, bool]]:
    with world.db.reading() as session:
        return [(alarm.kind.value, alarm.cleared_at is None) for alarm in session.execute(select(Alarm)).scalars()]


def test_setting_up_the_deliveries_is_no_alarm(begun: World) -> None:
    polled(begun, health=MENDED)

    assert (sync(begun).deliveries_ok, sync(begun).deliveries_mended, alarms(begun)) == (True, 0, [])
    assert sync(begun).poll_at == START + POLL_EVERY


def test_f38_deliveries_that_stopped_are_mended_with_an_alarm_and_polled_after_at_once(begun: World) -> None:
    polled(begun, health=FINE)
    begun.clock.advance(HOUR)
    polled(begun, health=MENDED)

    assert (sync(begun).deliveries_ok, sync(begun).deliveries_mended) == (True, 1)
    assert sync(begun).poll_at == begun.clock.now
    assert alarms(begun) == [("deliveries_off", True)]
    assert [facts for what, _, facts in told(begun.db) if what == "alarm.deliveries_off"] == [{"mended": ["order.updated"]}]


def test_f38_one_alarm_while_it_stands_and_another_once_it_was_cleared(begun: World) -> None:
    polled(begun, health=FINE)
    for _ in range(3):
        begun.clock.advance(HOUR)
        polled(begun, health=MENDED)
    assert (alarms(begun), sync(begun).deliveries_mended) == ([("deliveries_off", True)], 3)
    with begun.db.transaction() as session:
        alarm = session.execute(select(Alarm)).scalar_one()
        alarm.cleared_at, alarm.cleared_by = begun.clock.now, "sam"
        assert codec.read(alarm.facts, dict[str, list[str]]) == {"mended": ["order.updated"]}

    polled(begun, health=MENDED)

    assert alarms(begun) == [("deliveries_off", True)]
    assert [what for what, _, _ in told(begun.db)].count("alarm.deliveries_off") == 2


def test_deliveries_are_looked_after_once_an_hour(begun: World) -> None:
    looked = []
    for minute in range(0, 180, 5):
        begun.clock.now = START + minute * MINUTE + 30 * MINUTE
        asks = to_poll(begun).check_deliveries
        looked += [minute + 30] if asks else []
        polled(begun, health=WebhookHealth(active=True) if asks else None)

    assert looked == [30, 60, 120, 180]


# ── Read again ──


def unread(world: World, limit: int = 50) -> list[OrderRef]:
    with world.db.reading() as session:
        return list(syncing.unread(session, world.shop.id, now=world.clock.now, limit=limit))


def test_w5_orders_of_open_rmas_are_read_again_after_a_day_the_longest_unread_first(world: World, make_world: MakeWorld) -> None:
    for ref in ("1", "2", "3", "4"):
        world.requested(placed(world, an_order(ref)), {"line-1": 1})
        world.clock.advance(SECOND)
    other = make_world()
    other.requested(placed(other, an_order("5")), {"line-1": 1})
    cancelled = world.requested(placed(world, an_order("6")), {"line-1": 1})
    with world.db.transaction() as session:
        desk.close(session, cancelled, Move.CANCEL, who="sam", now=START)
        mirroring.gone(session, world.shop, OrderRef("2"), now=START)
        mirroring.apply(session, world.shop, an_order("7"), read_began=START, vault=world.vault, now=START)

    assert unread(world) == []
    world.clock.now = START + DAY + 2 * SECOND
    assert unread(world) == ["1"]
    world.clock.advance(DAY)

    assert unread(world) == ["1", "3", "4"]
    assert unread(world, limit=2) == ["1", "3"]


# ── The probe ──


def probed(world: World, *, began: datetime | None = None, **facts: str) -> None:
    with world.db.transaction() as session:
        syncing.probed(session, world.shop.id, facts, began=began or world.clock.now, now=world.clock.now)


def unwell(world: World, why: Misfortune, detail: str = "", *, began: datetime | None = None) -> None:
    with world.db.transaction() as session:
        syncing.unwell(session, world.shop.id, why, detail, began=began or world.clock.now, now=world.clock.now)


def revoke(world: World) -> None:
    with world.db.transaction() as session:
        shops.revoke(session, world.shop.id, used_since=world.clock.now)


def entries(world: World) -> list[str]:
    return [what for what, _, _ in told(world.db) if what.startswith("shop.")]


def test_a_probe_keeps_its_facts_and_the_shops_time_zone(begun: World) -> None:
    probed(begun, version="10.5.0", time_zone="Europe/Vienna")

    found = shop(begun)
    assert (found.facts, found.time_zone) == ({"version": "10.5.0", "time_zone": "Europe/Vienna"}, "Europe/Vienna")
    assert (sync(begun).probed_at, sync(begun).probe_at) == (START, START + PROBE_EVERY)
    assert entries(begun) == []


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "\0"])
def test_a_zone_that_nobody_knows_changes_nothing(begun: World, zone: str) -> None:
    probed(begun, time_zone=zone)

    assert shop(begun).time_zone == "UTC"


def test_i2_trouble_is_kept_with_its_reason_and_told_when_it_changes(begun: World) -> None:
    unwell(begun, Misfortune.MAINTENANCE)
    unwell(begun, Misfortune.MAINTENANCE)
    unwell(begun, Misfortune.OTHER_STORE, "https://other.example\0" + "x" * 500)

    found = shop(begun)
    assert (found.status, found.trouble) == (ShopStatus.ACTIVE, "other_store")
    assert found.trouble_detail is not None
    assert found.trouble_detail.startswith("https://other.examplex")
    assert len(found.trouble_detail) == 200
    assert entries(begun) == ["shop.trouble", "shop.trouble"]


def test_f27_refused_keys_stop_the_shop_and_good_ones_start_it_again(begun: World) -> None:
    unwell(begun, Misfortune.WRONG_KEYS)
    assert (shop(begun).status, shop(begun).trouble) == (ShopStatus.REVOKED, "wrong_keys")
    unwell(begun, Misfortune.MAINTENANCE)
    assert shop(begun).status is ShopStatus.REVOKED
    probed(begun)

    found = shop(begun)
    assert (found.status, found.trouble, found.trouble_detail) == (ShopStatus.ACTIVE, None, None)
    assert entries(begun) == ["shop.trouble", "shop.trouble", "shop.healed"]


def test_a_probe_that_ends_after_the_shop_has_left_brings_nothing_back(begun: World) -> None:
    with begun.db.transaction() as session:
        shops.uninstall(session, begun.shop.id, who="owner", now=START)

    probed(begun, version="10.5.0")
    unwell(begun, Misfortune.WRONG_KEYS)

    assert (shop(begun).status, shop(begun).trouble) == (ShopStatus.UNINSTALLED, None)


def test_a_probe_with_the_old_keys_says_nothing_about_the_new_ones(begun: World) -> None:
    """The merchant connected again while it was under way."""
    began = begun.clock.now
    begun.clock.advance(SECOND)
    with begun.db.transaction() as session:
        shops.connect(
            session,
            platform="toy",
            domain=begun.shop.domain,
            credentials={},
            vault=begun.vault,
            time_zone="UTC",
            now=begun.clock.now,
            facts={"version": "new"},
        )

    unwell(begun, Misfortune.WRONG_KEYS, began=began)
    probed(begun, began=began, version="old")

    assert (shop(begun).status, shop(begun).trouble, shop(begun).facts) == (ShopStatus.ACTIVE, None, {"version": "new"})


# ── The import ──


def page(world: World) -> Importing | None:
    with world.db.reading() as session:
        return syncing.to_import(session, world.shop.id, now=world.clock.now)


def brought(world: World, *refs: str) -> None:
    """Orders of the history are applied, each a day older than the one before it."""
    found = [replace(an_order(ref), placed_at=START - int(ref) * DAY) for ref in refs]
    with world.db.transaction() as session:
        new = mirroring.apply_all(session, world.shop, found, read_began=world.clock.now, vault=world.vault, now=world.clock.now)
        syncing.brought(session, world.shop.id, found, new)


def imported(world: World, cursor: str | None, *, mine: Importing | None = None) -> None:
    found = mine or page(world)
    assert found is not None
    with world.db.transaction() as session:
        syncing.imported(session, found, cursor, now=world.clock.now)


def test_w7_the_import_goes_on_from_page_to_page_and_counts(begun: World) -> None:
    brought(begun, "1", "2")
    imported(begun, "next")
    found = page(begun)
    assert found is not None
    assert found.cursor == "next"
    assert (sync(begun).imported, sync(begun).imported_until) == (2, START - 2 * DAY)
    brought(begun, "3")
    imported(begun, None)

    assert page(begun) is None
    assert (sync(begun).imported, sync(begun).import_done_at) == (3, START)
    assert [facts for what, _, facts in told(begun.db) if what == "shop.imported"] == [{"orders": 3}]


def test_w7_an_order_that_comes_on_two_pages_counts_once(begun: World) -> None:
    """Pages overlap by what changed in one second, and a page that somebody died on is read again."""
    brought(begun, "1", "2")
    begun.clock.advance(SECOND)
    brought(begun, "2", "3")
    brought(begun)

    assert (sync(begun).imported, sync(begun).imported_until) == (3, START - 3 * DAY)


def test_w7_a_page_that_two_worked_on_is_turned_once(begun: World) -> None:
    first = page(begun)
    imported(begun, "next", mine=first)
    imported(begun, "next", mine=first)
    imported(begun, None)
    imported(begun, "next", mine=first)

    assert (sync(begun).import_cursor, page(begun)) == (None, None)
    assert entries(begun) == ["shop.imported"]


def test_a_snapshot_row_that_was_only_locked_is_nobodys_to_read_again(world: World) -> None:
    with world.db.transaction() as session:
        session.add(OrderRow(shop_id=world.shop.id, ref="locked", lock_version=1))
        session.add(OutboxRow(shop_id=world.shop.id, kind="poll", subject_id=world.shop.id, put_at=START, available_at=START))
    world.clock.advance(2 * DAY)

    assert unread(world) == []


def test_f39_orders_that_were_passed_over_are_named_in_one_alarm_while_it_stands(begun: World) -> None:
    for refs in ([OrderRef("7"), OrderRef("5")], [None], [OrderRef(str(number)) for number in range(100)]):
        with begun.db.transaction() as session:
            syncing.passed_over(session, begun.shop.id, refs, now=begun.clock.now)

    assert alarms(begun) == [("poisoned", True)]
    assert [facts for what, _, facts in told(begun.db) if what == "alarm.poisoned"] == [{"orders": ["5", "7"], "unnamed": False}]


def test_i2_a_shop_that_is_connected_again_has_its_deliveries_looked_after_at_once(world: World) -> None:
    begin(world)
    with world.db.transaction() as session:
        session.execute(update(Sync).values(polled_at=START, deliveries_ok=True))
        assert not _asks(world, session)
        session.execute(update(Sync).values(deliveries_ok=None))  # as `begin` leaves it
        assert _asks(world, session)


def _asks(world: World, session: Session) -> bool:
    session.expire_all()
    found = syncing.to_poll(session, world.shop.id, now=START + timedelta(minutes=1))
    assert found is not None
    return found.check_deliveries
