"""The history of a shop is read page by page, resumable at any crash (W7, F31)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from connector.db import Database
from connector.domain.orders import OrderRef
from connector.domain.platform import Overdue, Throttled
from connector.models import OrderRow
from connector.services import outbox
from connector.services.outbox import Later
from jobs import drain, shops
from jobs.handlers import HANDLERS
from jobs.site import Site
from tests.jobs.readers import Died, Mortal, Shop, alarmed, begun, claimed, drained, known, site_of, stocked, sync
from tests.services.acts import at_once, everything, told
from tests.world import START, Clock, World

SECOND = timedelta(seconds=1)


@pytest.fixture
def shop(clock: Clock) -> Iterator[Shop]:
    shop = Shop(":memory:", clock=lambda: clock.now)
    yield shop
    shop.far.close()


@pytest.fixture
def world(database: Database, shop: Shop, clock: Clock) -> World:
    world = World(database, shop, clock)
    begun(world)
    clock.advance(timedelta(hours=1))
    return world


def imports(world: World) -> None:
    shops.import_history(site_of(world), world.shop.id)


def imported(world: World) -> list[dict[str, object]]:
    return [facts for what, _, facts in told(world.db) if what == "shop.imported"]


def test_w7_all_of_the_history_is_read_page_by_page_and_its_end_is_told(world: World, shop: Shop) -> None:
    stocked(world, 230)

    assert drained(world, "import") == 3

    found = sync(world)
    assert (known(world), found.imported, found.imported_until) == (230, 230, START)
    assert found.import_done_at is not None
    assert [line for line in shop.asked if line.startswith("import")] == ["import None", "import 100", "import 200"]
    assert imported(world) == [{"orders": 230}]


def test_w7_the_next_page_is_read_a_second_later(world: World) -> None:
    stocked(world, 130)

    with pytest.raises(Later) as later:
        imports(world)

    assert later.value.delay == SECOND
    assert (sync(world).imported, sync(world).import_done_at) == (100, None)


def test_a_shop_without_history_is_done_at_once(world: World) -> None:
    imports(world)

    assert sync(world).import_done_at == world.clock.now
    assert imported(world) == [{"orders": 0}]


def test_what_is_done_is_not_begun_again(world: World, shop: Shop) -> None:
    stocked(world, 3)
    imports(world)
    before = everything(world.db)
    imports(world)

    assert everything(world.db) == before
    assert shop.asked == ["import None"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("strikes", range(1, 6))
def test_f31_an_import_that_dies_at_any_commit_goes_on_and_counts_every_order_once(
    world: World, database_url: str, strikes: int, after: bool
) -> None:
    stocked(world, 230)
    mortal = Mortal(database_url, world, strikes, after=after)
    with pytest.raises(Died):
        until_it_dies(replace(site_of(world), db=mortal), world)
    mortal.dispose()

    drained(world, "import")

    assert (known(world), sync(world).imported) == (230, 230)
    assert imported(world) == [{"orders": 230}]


def until_it_dies(site: Site, world: World) -> None:
    """Page after page, without a pause."""
    for _ in range(9):
        with suppress(Later):
            shops.import_history(site, world.shop.id)


def test_two_imports_at_once_count_every_order_once(world: World) -> None:
    stocked(world, 230)

    outcome = at_once(*[lambda: drained(world, "import")] * 2, *[lambda: imports(world)] * 3)
    drained(world, "import")

    assert not [each for each in outcome if isinstance(each, Exception) and not isinstance(each, Later)]
    assert (known(world), sync(world).imported) == (230, 230)
    assert len(imported(world)) == 1


def test_no_transaction_holds_more_than_fifty_orders(world: World, database_url: str) -> None:
    stocked(world, 130)
    for strikes, whole in ((1, 50), (2, 100)):
        mortal = Mortal(database_url, world, strikes, after=True)
        with pytest.raises(Died):
            shops.import_history(replace(site_of(world), db=mortal), world.shop.id)
        mortal.dispose()

        assert known(world) == whole


def test_a_busy_shop_is_asked_for_the_same_page_later(world: World, shop: Shop) -> None:
    stocked(world, 130)
    with pytest.raises(Later):
        imports(world)

    @dataclass(slots=True)
    class Busy(Shop):
        def import_orders(self, cursor: str | None) -> object:  # type: ignore[override]
            raise Throttled(SECOND)

    busy = Busy(":memory:")
    with pytest.raises(Throttled):
        shops.import_history(replace(site_of(world), open_store=lambda _keys: busy), world.shop.id)  # type: ignore[arg-type, return-value]
    busy.far.close()
    imports(world)

    assert (known(world), sync(world).imported) == (130, 130)


def test_f04_a_page_that_takes_too_long_is_asked_for_again_much_later(world: World, caplog: pytest.LogCaptureFixture) -> None:
    stocked(world, 3)

    @dataclass(slots=True)
    class Slow(Shop):
        def import_orders(self, cursor: str | None) -> object:  # type: ignore[override]
            raise Overdue(SECOND)

    slow = Slow(":memory:")
    with pytest.raises(Later) as later:
        shops.import_history(replace(site_of(world), open_store=lambda _keys: slow), world.shop.id)  # type: ignore[arg-type, return-value]
    slow.far.close()
    assert later.value.delay == timedelta(minutes=10)
    assert "import.stands_still" in [each.message for each in caplog.records]
    imports(world)

    assert (known(world), sync(world).imported) == (3, 3)


def test_the_history_overwrites_nothing_that_was_read_later(world: World, shop: Shop) -> None:
    (order,) = stocked(world, 1)
    with world.db.transaction() as session:
        session.add(OrderRow(shop_id=world.shop.id, ref=order.ref, number="newer", snapshot=None, read_began_at=world.clock.now + SECOND))

    imports(world)

    with world.db.reading() as session:
        assert session.get_one(OrderRow, (world.shop.id, order.ref)).number == "newer"


def test_f39_orders_that_nobody_can_show_or_keep_hold_up_no_other_and_are_named(world: World, shop: Shop) -> None:
    stocked(world, 130)
    shop.unread, shop.numbers = {"00100"}, {"00120": "10\ud80002"}  # half a character: no encoding has it

    drained(world, "import")

    assert (known(world), sync(world).imported) == (128, 128)
    assert sync(world).import_done_at is not None
    assert alarmed(world) == [{"orders": ["00100", "00120"], "unnamed": False}]


def test_f41_history_is_claimed_after_all_other_work(world: World) -> None:
    assert list(HANDLERS)[-1] == "import"
    assert next(iter(HANDLERS)) == "settle"


def test_a_row_that_waits_for_its_next_page_counts_no_failure(world: World) -> None:
    stocked(world, 130)
    (row,) = claimed(world, "import")

    drain.work_one(site_of(world), row)

    with world.db.transaction() as session:
        assert outbox.claim(session, kinds=["import"], limit=1, now=world.clock.now) == []
        (again,) = outbox.claim(session, kinds=["import"], limit=1, now=world.clock.now + SECOND)
        assert again.attempts == 0
        assert session.execute(text("SELECT count(*) FROM outbox WHERE kind = 'import'")).scalar_one() == 1
        assert session.get(OrderRow, (world.shop.id, OrderRef("00130"))) is not None
