"""The probe says what a shop is and can do, names what is wrong, and brings a shop back to life (I2, F27, F29, F30)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from connector.db import Database
from connector.domain.connecting import Misfortune, NotConnectable
from connector.domain.platform import Throttled
from connector.models import Kind, ShopStatus
from connector.models import Shop as ShopRow
from connector.services import outbox, syncing
from connector.services import shops as installed
from connector.services.shops import REINSTALL_WITHIN
from jobs import drain, shops
from tests.jobs.readers import Shop, begun, claimed, drained, site_of, sync
from tests.services.acts import everything, placed, told, work
from tests.world import Clock, World, an_order

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def shop(clock: Clock) -> Iterator[Shop]:
    shop = Shop(":memory:", clock=lambda: clock.now)
    yield shop
    shop.far.close()


@pytest.fixture
def world(database: Database, shop: Shop, clock: Clock) -> World:
    world = World(database, shop, clock)
    begun(world)
    return world


def probe(world: World) -> None:
    shops.probe(site_of(world), world.shop.id)


def standing(world: World) -> tuple[ShopStatus, str | None, str | None]:
    with world.db.reading() as session:
        row = session.get_one(ShopRow, world.shop.id)
        return row.status, row.trouble, row.trouble_detail


def ticks(world: World) -> None:
    """The clock asks for what is due, and workers do it."""
    with world.db.transaction() as session:
        syncing.due(session, now=world.clock.now)
    for row in claimed(world, "probe"):
        drain.work_one(site_of(world), row)


def test_what_the_shop_says_of_itself_is_what_its_store_is_opened_with_next(world: World, shop: Shop) -> None:
    shop.finds = {"version": "10.5.0", "currency": "EUR"}

    probe(world)

    with world.db.reading() as session:
        assert installed.keys_of(session, world.shop.id).facts == {"version": "10.5.0", "currency": "EUR"}
    assert (sync(world).probed_at, standing(world)) == (world.clock.now, (ShopStatus.ACTIVE, None, None))


@pytest.mark.parametrize("why", [why for why in Misfortune if why is not Misfortune.WRONG_KEYS])
def test_a_misfortune_is_kept_by_its_name_and_stops_nothing(world: World, shop: Shop, why: Misfortune) -> None:
    shop.finds = NotConnectable(why, "a detail")

    probe(world)

    assert standing(world) == (ShopStatus.ACTIVE, why.value, "a detail")


def test_f27_keys_that_were_taken_back_stop_the_shop_and_delete_nothing(world: World, shop: Shop) -> None:
    placed(world, an_order())
    world.requested(an_order(), {"line-1": 1})
    before = everything(world.db)
    shop.finds = NotConnectable(Misfortune.WRONG_KEYS)

    probe(world)

    assert standing(world)[:2] == (ShopStatus.REVOKED, "wrong_keys")
    after = everything(world.db)
    for table in ("orders", "rmas", "contacts", "outbox"):
        assert after[table] == before[table]


def test_f27_a_shop_whose_keys_work_again_is_found_by_itself_and_goes_on(world: World, shop: Shop) -> None:
    subject = uuid.uuid4()
    with world.db.transaction() as session:
        installed.revoke(session, world.shop.id, used_since=world.clock.now)  # as the drain does it after a 401
        outbox.put(session, Kind.MIRROR, subject, shop=world.shop.id, now=world.clock.now)
    shop.finds = NotConnectable(Misfortune.WRONG_KEYS)
    ticks(world)
    assert (shop.asked.count("probe"), standing(world)[1]) == (1, "wrong_keys")
    assert claimed(world, "mirror") == []

    shop.finds = {}
    for _ in range(13):
        world.clock.advance(5 * MINUTE)
        ticks(world)

    assert (shop.asked.count("probe"), standing(world)) == (2, (ShopStatus.ACTIVE, None, None))
    assert [row.subject_id for row in claimed(world, "mirror")] == [subject]
    assert [what for what, _, _ in told(world.db) if what.startswith("shop.")] == ["shop.trouble", "shop.healed"]


def test_keys_that_are_refused_now_and_then_make_nobody_ask_all_the_time(world: World, shop: Shop) -> None:
    for _ in range(60):
        ticks(world)
        with world.db.transaction() as session:
            installed.revoke(session, world.shop.id, used_since=world.clock.now)
        world.clock.advance(MINUTE)

    assert shop.asked.count("probe") == 1


def test_a_shop_that_is_busy_is_probed_later(world: World, shop: Shop) -> None:
    shop.finds = Throttled(MINUTE)
    ticks(world)
    assert standing(world) == (ShopStatus.ACTIVE, None, None)
    shop.finds = {}
    world.clock.advance(MINUTE)
    ticks(world)

    assert shop.asked.count("probe") == 2
    assert sync(world).probed_at == world.clock.now


def test_a_probe_may_run_twice_at_the_same_time(world: World, shop: Shop) -> None:
    shop.finds = {"version": "10.5.0"}
    probe(world)
    before = everything(world.db)

    probe(world)

    assert everything(world.db) == before


def test_a71_the_log_names_the_misfortune_and_never_what_the_shop_said(world: World, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shop.finds = NotConnectable(Misfortune.OTHER_STORE, "https://secret.example")

    probe(world)

    (line,) = [record for record in caplog.records if record.getMessage() == "shop.unwell"]
    assert {"shop": world.shop.id.hex, "why": "other_store"}.items() <= vars(line).items()
    assert "secret" not in caplog.text


# ── Leaving ──


def test_i4_a_shop_that_left_is_forgotten_by_its_own_work_once_its_time_is_over(world: World) -> None:
    placed(world, an_order())
    world.requested(an_order(), {"line-1": 1})
    with world.db.transaction() as session:
        installed.uninstall(session, world.shop.id, who="owner", now=world.clock.now)

    drained(world, "redact")
    assert [row["sealed"] is None for row in everything(world.db)["contacts"]] == [False]
    world.clock.advance(REINSTALL_WITHIN)
    drained(world, "redact")

    assert [row["sealed"] is None for row in everything(world.db)["contacts"]] == [True]
    with world.db.reading() as session:
        assert session.get_one(ShopRow, world.shop.id).redacted_at is not None
    redacts = [row for row in work(world.db) if row.kind == "redact"]
    assert all(row.done_at is not None for row in redacts)
