"""The clock, with a real Valkey: rings for what is due and for nothing else, seals, forgets, and outlives its database (F43, F58)."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import func, select

from adapters.simulators.toy import ToyStore
from connector import migrate
from connector.bell import QUEUE, Bell
from connector.db import Database
from connector.models import Kind, OutboxRow, Seal, Shop, ShopStatus, Unsealed
from connector.services import outbox, seals, timeline
from connector.signals import StopSignals
from jobs.clock import KEPT, Clock
from jobs.handlers import HANDLERS
from tests.jobs.workers import wait_until
from tests.servers import Postgres, Valkey
from tests.services.acts import at_once, work
from tests.services.conftest import MakeWorld
from tests.world import START, World
from tests.world import Clock as Time

KEY = b"seal"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def ticking(database: Database, valkey_server: Valkey) -> Clock:
    return Clock(database, Bell(valkey_server.url), KEY)


def rings(valkey: Valkey) -> int:
    """How many drains wait."""
    return int(Redis.from_url(valkey.url).llen(f"rq:queue:{QUEUE}"))


def put(world: World, kind: str = "settle") -> OutboxRow:
    with world.db.transaction() as session:
        now = world.clock.now
        row = OutboxRow(shop_id=world.shop.id, kind=kind, subject_id=uuid.uuid4(), put_at=now, available_at=now)
        session.add(row)
    return row


def write(world: World, times: int) -> None:
    """So many entries in the shop's timeline."""
    with world.db.transaction() as session:
        for number in range(times):
            timeline.record(session, "something", shop=world.shop.id, rma=None, who="sam", at=world.clock.now, facts={"number": number})


def sealed(world: World) -> int:
    with world.db.reading() as session:
        verdict = seals.verify_one(session, world.shop.id, KEY)
    assert verdict.faults == ()
    return verdict.sealed


# ── Rings ──


def test_nothing_due_is_no_ring(ticking: Clock, world: World, valkey_server: Valkey) -> None:
    ticking.tick()

    assert rings(valkey_server) == 0


def test_what_is_due_is_one_ring_however_often_the_clock_ticks(ticking: Clock, world: World, valkey_server: Valkey) -> None:
    put(world)
    put(world)

    ticking.tick()
    ticking.tick()

    assert rings(valkey_server) == 1


def not_yet(world: World, row: OutboxRow) -> None:
    row.available_at = START + SECOND


def leased(world: World, row: OutboxRow) -> None:
    row.leased_until = START + SECOND


def paused(world: World, row: OutboxRow) -> None:
    with world.db.transaction() as session:
        outbox.pause(session, world.shop.id, wait=SECOND, now=START)


@pytest.mark.parametrize("hold_back", [not_yet, leased, paused])
def test_it_rings_when_the_time_has_come_and_not_before(
    ticking: Clock, world: World, valkey_server: Valkey, hold_back: Callable[[World, OutboxRow], None]
) -> None:
    row = put(world)
    hold_back(world, row)
    with world.db.transaction() as session:
        session.merge(row)

    ticking.tick()
    assert rings(valkey_server) == 0
    world.clock.now = START + SECOND + timedelta(microseconds=1)
    ticking.tick()

    assert rings(valkey_server) == 1


def done(world: World, row: OutboxRow) -> None:
    row.done_at = START


def parked(world: World, row: OutboxRow) -> None:
    row.parked_at, row.parked_because = START, "because"


def unknown(world: World, row: OutboxRow) -> None:
    row.kind = "teleport"


def revoked(world: World, row: OutboxRow) -> None:
    with world.db.transaction() as session:
        session.get_one(Shop, world.shop.id).status = ShopStatus.REVOKED


@pytest.mark.parametrize("settled", [done, parked, unknown, revoked])
def test_it_never_rings_for_what_no_worker_would_start(
    ticking: Clock, world: World, valkey_server: Valkey, settled: Callable[[World, OutboxRow], None]
) -> None:
    row = put(world)
    settled(world, row)
    with world.db.transaction() as session:
        session.merge(row)
    world.clock.advance(timedelta(days=1))

    ticking.tick()

    assert rings(valkey_server) == 0


def test_f49_a_redis_that_is_away_keeps_the_clock_from_nothing_else(ticking: Clock, world: World, valkey_server: Valkey) -> None:
    put(world)
    write(world, 3)
    valkey_server.kill()

    ticking.tick()
    valkey_server.restart()
    ticking.tick()

    assert (sealed(world), rings(valkey_server)) == (3, 1)


# ── Seals ──


def test_r3_entries_are_sealed_shop_by_shop_a_hundred_at_a_time(ticking: Clock, world: World, make_world: MakeWorld) -> None:
    other = make_world()
    write(world, 130)
    write(other, 2)

    ticking.tick()
    assert (sealed(world), sealed(other)) == (100, 2)
    ticking.tick()

    assert (sealed(world), sealed(other)) == (130, 2)
    with world.db.reading() as session:
        assert session.execute(select(func.count()).select_from(Unsealed)).scalar_one() == 0


def test_the_end_of_a_chain_goes_into_the_log_so_that_a_cut_is_seen(ticking: Clock, world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(world, 3)

    ticking.tick()
    ticking.tick()

    (line,) = [record for record in caplog.records if record.getMessage() == "timeline.sealed"]
    with world.db.reading() as session:
        last = seals.last(session, world.shop.id)
    assert last is not None
    assert {"shop": world.shop.id.hex, "position": 3, "hash": last.hash.hex()}.items() <= vars(line).items()


def test_f58_two_clocks_at_once_seal_every_entry_once(ticking: Clock, world: World, make_world: MakeWorld) -> None:
    worlds = [world, make_world(), make_world()]
    for each in worlds:
        write(each, 40)

    outcome = at_once(*[ticking.tick] * 3)
    ticking.tick()

    assert outcome == [None] * 3
    assert [sealed(each) for each in worlds] == [40] * 3
    with world.db.reading() as session:
        assert session.execute(select(func.count()).select_from(Seal)).scalar_one() == 120


# ── Forgets ──


def test_finished_work_is_forgotten_after_a_week(ticking: Clock, world: World) -> None:
    old, new, unfinished = put(world), put(world), put(world)
    old.done_at, new.done_at = START, START + timedelta(days=1)
    with world.db.transaction() as session:
        session.merge(old)
        session.merge(new)

    world.clock.now = START + KEPT + SECOND
    ticking.tick()

    assert {row.id: row.done_at for row in work(world.db)} == {new.id: START + timedelta(days=1), unfinished.id: None}


# ── Runs ──


@contextmanager
def running(clock: Clock, every: float) -> Iterator[None]:
    """The clock as its process runs it, until it is asked to stop as a process is."""
    with StopSignals() as signals:
        thread = threading.Thread(target=clock.run, args=(signals, every))
        thread.start()
        try:
            yield
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            thread.join(20)
    assert not thread.is_alive()


def test_it_ticks_until_it_is_told_to_stop(ticking: Clock, world: World, valkey_server: Valkey) -> None:
    with running(ticking, 0.02):
        put(world)
        wait_until(lambda: rings(valkey_server) == 1)
        write(world, 1)
        wait_until(lambda: sealed(world) == 1)


def test_it_does_not_wait_for_its_time_when_it_is_told_to_stop(ticking: Clock, world: World) -> None:
    began = time.monotonic()
    with running(ticking, 60):
        wait_until(lambda: time.monotonic() > began)

    assert time.monotonic() - began < 15


def test_f43_a_database_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, valkey_server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")

    with running(Clock(database, Bell(valkey_server.url), KEY), 0.02):
        wait_until(lambda: any(record.getMessage() == "clock.failed" for record in caplog.records))
        migrate.to(database)
        world = World(database, ToyStore(":memory:"), Time())
        write(world, 1)
        wait_until(lambda: sealed(world) == 1)

    world.toy.far.close()
    database.dispose()
    assert not any(record.exc_info for record in caplog.records)  # a trace may hold rows


def test_f43_f47_a_database_that_goes_away_and_comes_back_is_waited_for(
    postgres_server: Postgres, postgres_url: str, valkey_server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(postgres_url)
    migrate.to(database)
    world = World(database, ToyStore(":memory:"), Time())

    with running(Clock(database, Bell(valkey_server.url), KEY), 0.02):
        postgres_server._keeper.end(signal.SIGQUIT)
        wait_until(lambda: any(record.getMessage() == "clock.failed" for record in caplog.records))
        postgres_server.revive()
        with database.transaction() as session:
            outbox.put(session, Kind.SETTLE, uuid.uuid4(), shop=world.shop.id, now=START)
        wait_until(lambda: rings(valkey_server) == 1)

    world.toy.far.close()
    database.dispose()


def test_the_clock_rings_for_every_kind_that_is_worked_off() -> None:
    assert set(HANDLERS) == {kind.value for kind in Kind}
