"""The drain, with real threads: leases, turns, failures (F39, F12, F27), stops, and two at once (F58)."""

from __future__ import annotations

import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from adapters.simulators.toy import ToyStore
from connector import migrate
from connector.db import Busy, Database
from connector.domain.platform import OutcomeUnknown, Revoked, Throttled
from connector.models import Kind, OutboxRow, Shop, ShopStatus
from connector.services import outbox
from connector.services.outbox import Later, NeedsAPerson
from jobs.drain import ATTEMPTS, Drain, work_one
from jobs.handlers import HANDLERS, Handler
from jobs.site import Site
from tests.jobs.workers import wait_until
from tests.servers import Postgres
from tests.services.acts import work
from tests.services.conftest import MakeWorld
from tests.world import START, Clock, World

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
SOON = timedelta(milliseconds=20)


@dataclass(slots=True)
class Bench:
    """What handlers did, and a gate that they may have to wait at."""

    worked: list[uuid.UUID] = field(default_factory=list)
    begun: Counter[str] = field(default_factory=Counter)
    gate: threading.Event = field(default_factory=threading.Event)
    most: Counter[str] = field(default_factory=Counter)
    _now: Counter[str] = field(default_factory=Counter)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def waits(self, kind: str) -> Handler:
        """A handler that works until the gate opens, and counts how many are at it at once."""

        def handler(_site: Site, subject: uuid.UUID) -> None:
            with self._mutex:
                self.begun[kind] += 1
                self._now[kind] += 1
                self.most[kind] = max(self.most[kind], self._now[kind])
            self.gate.wait(30)
            with self._mutex:
                self._now[kind] -= 1
                self.worked.append(subject)

        return handler

    def quick(self, _site: Site, subject: uuid.UUID) -> None:
        """Done at once."""
        with self._mutex:
            self.worked.append(subject)

    def says(self, *errors: Exception) -> Handler:
        """Raises these, one after the other, and then works."""
        left = list(errors)

        def handler(site: Site, subject: uuid.UUID) -> None:
            if left:
                raise left.pop(0)
            self.quick(site, subject)

        return handler


@pytest.fixture
def bench() -> Bench:
    return Bench()


@contextmanager
def running(drain: Drain) -> Iterator[threading.Thread]:
    """The drain in a thread of its own; it ends with the block."""
    thread = threading.Thread(target=drain.run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)
        assert not thread.is_alive()


def site_of(world: World) -> Site:
    return Site(world.db, lambda _keys: world.toy)


def put(world: World, kind: str = "mirror", times: int = 1) -> list[uuid.UUID]:
    """Rows of any kind, also of one that no platform is called for."""
    subjects = [uuid.uuid4() for _ in range(times)]
    with world.db.transaction() as session:
        for subject in subjects:
            now = world.clock.now
            session.add(OutboxRow(shop_id=world.shop.id, kind=kind, subject_id=subject, put_at=now, available_at=now))
    return subjects


def drained(world: World, handlers: Mapping[str, Handler], *, threads: int = 4) -> int:
    return Drain(site_of(world), threads, handlers=handlers).run()


def only(world: World) -> OutboxRow:
    (row,) = work(world.db)
    return row


# ── Work ──


def test_everything_that_is_due_is_worked_once_and_done(world: World, bench: Bench) -> None:
    subjects = put(world, times=30)

    assert drained(world, {"mirror": bench.quick}) == 30

    assert Counter(bench.worked) == Counter(subjects)
    assert {row.done_at for row in work(world.db)} == {START}
    assert drained(world, {"mirror": bench.quick}) == 0


def test_the_bell_is_cleared_before_the_first_claim(world: World, bench: Bench) -> None:
    cleared: list[int] = []
    put(world)

    Drain(site_of(world), handlers={"mirror": bench.quick}, clear_bell=lambda: cleared.append(len(bench.worked))).run()

    assert cleared == [0]


def test_what_is_put_meanwhile_is_worked_too(world: World, bench: Bench) -> None:
    put(world)

    def more(site: Site, subject: uuid.UUID) -> None:
        if not bench.worked:
            put(world, times=3)
        bench.quick(site, subject)

    assert drained(world, {"mirror": more}) == 4


def test_no_kind_takes_more_than_half_of_the_threads(make_world: MakeWorld, bench: Bench) -> None:
    worlds = [make_world(), make_world()]
    for shop in worlds:
        put(shop, "settle", 3)
        put(shop, "mirror", 3)
    drain = Drain(site_of(worlds[0]), threads=4, handlers={kind: bench.waits(kind) for kind in ("settle", "mirror")})

    with running(drain):
        wait_until(lambda: bench.begun.total() == 4)
        threading.Event().wait(1.2)  # long enough for another look at what is due
        assert bench.begun == {"settle": 2, "mirror": 2}
        bench.gate.set()

    assert bench.most == {"settle": 2, "mirror": 2}
    assert len(bench.worked) == 12


def test_f41_a_slow_shop_never_holds_all_the_threads_of_a_kind(make_world: MakeWorld, bench: Bench) -> None:
    slow, other = make_world(), make_world()
    put(slow, "settle", 6)
    drain = Drain(site_of(slow), threads=4, handlers={"settle": bench.waits("settle"), "mirror": bench.quick})

    with running(drain):
        wait_until(lambda: bench.begun["settle"] == 1)
        put(other, "settle")
        wait_until(lambda: bench.begun["settle"] == 2)  # it waits for nobody
        bench.gate.set()

    assert len(bench.worked) == 7


def test_a_worker_for_one_kind_uses_all_its_threads(make_world: MakeWorld, bench: Bench) -> None:
    worlds = [make_world() for _ in range(4)]
    for world in worlds:
        put(world, "settle")
    handlers = {"settle": bench.waits("settle"), "mirror": bench.quick}

    with running(Drain(site_of(worlds[0]), threads=4, handlers=handlers, kinds=["settle"])):
        wait_until(lambda: bench.begun["settle"] == 4)
        bench.gate.set()

    assert bench.most["settle"] == 4


def test_f47_a_hung_handler_is_parted_with_although_the_database_went_away(world: World, bench: Bench, database_url: str) -> None:
    put(world)
    gone, parted = threading.Event(), threading.Event()

    def clock(_session: Session) -> datetime:
        if gone.is_set():
            raise OperationalError("SELECT 1", None, ConnectionError("the server went away"))
        return world.clock.now

    def part() -> None:
        parted.set()
        bench.gate.set()

    away = Database(database_url, clock=clock)
    drain = Drain(
        Site(away, lambda _keys: world.toy),
        handlers={"mirror": bench.waits("mirror")},
        deadline=timedelta(seconds=-59),  # with its grace: a second
        part=part,
    )
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(drain.run)
        wait_until(lambda: bench.begun["mirror"] == 1)
        gone.set()
        assert parted.wait(20)
        with pytest.raises(OperationalError):
            ended.result(30)
    away.dispose()


def test_f28_an_old_call_that_is_refused_does_not_revoke_a_shop_that_was_connected_anew_meanwhile(world: World, bench: Bench) -> None:
    (row,) = put(world)

    def connected_anew(site: Site, subject: uuid.UUID) -> None:
        if world.clock.now > START:  # the second time, with the new token
            return bench.quick(site, subject)
        world.clock.advance(SECOND)
        with world.db.transaction() as session:
            session.get_one(Shop, world.shop.id).connected_at = world.clock.now
        raise Revoked("the old token")

    drained(world, {"mirror": connected_anew})

    with world.db.reading() as session:
        assert session.get_one(Shop, world.shop.id).status is ShopStatus.ACTIVE
    assert bench.worked == [row]


@pytest.mark.parametrize("outcome", [Throttled(MINUTE), Revoked("refused")], ids=["throttled", "revoked"])
def test_f57_who_lost_the_lease_neither_pauses_nor_revokes_the_shop(world: World, bench: Bench, outcome: Exception) -> None:
    put(world)
    with world.db.transaction() as session:
        (mine,) = outbox.claim(session, kinds=["mirror"], limit=1, now=world.clock.now)
    world.clock.advance(outbox.LEASE + SECOND)
    with world.db.transaction() as session:
        assert outbox.claim(session, kinds=["mirror"], limit=1, now=world.clock.now)

    work_one(site_of(world), mine, {"mirror": bench.says(outcome)})

    with world.db.reading() as session:
        shop = session.get_one(Shop, world.shop.id)
    assert (shop.status, shop.paused_until) == (ShopStatus.ACTIVE, None)


def test_f39_what_the_database_refuses_for_good_is_a_failure_and_not_an_absence(database: Database, world: World) -> None:
    def broken(site: Site, _subject: uuid.UUID) -> None:
        with site.db.reading() as session:
            session.execute(text("SELECT no_such_column FROM shops"))

    put(world)
    drained(world, {"mirror": broken})

    assert only(world).attempts == 1


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 1), (3, 1), (6, 2)])
def test_one_kind_alone_leaves_the_other_half_free(world: World, bench: Bench, threads: int, most: int) -> None:
    put(world, "settle", 6)
    drain = Drain(site_of(world), threads=threads, handlers={"settle": bench.waits("settle"), "mirror": bench.quick})

    with running(drain):
        wait_until(lambda: bench.begun["settle"] == most)
        put(world, "mirror")
        if threads > 1:
            wait_until(lambda: len(bench.worked) == 1, seconds=5)
        bench.gate.set()

    assert bench.most["settle"] == most


def test_a_worker_for_some_kinds_leaves_the_others_and_kinds_that_nobody_knows(world: World, bench: Bench) -> None:
    for kind in ("settle", "mirror", "teleport"):
        put(world, kind)
    handlers = {"settle": bench.quick, "mirror": bench.quick}

    assert Drain(site_of(world), handlers=handlers, kinds=["mirror", "teleport"]).run() == 1
    assert Drain(site_of(world), handlers=handlers).run() == 1

    assert [row.kind for row in work(world.db) if row.done_at is None] == ["teleport"]


def test_f41_a_shop_that_floods_does_not_keep_another_waiting(make_world: MakeWorld, bench: Bench) -> None:
    flood, other = make_world(), make_world()
    put(flood, times=200)
    (subject,) = put(other)

    drained(flood, {"mirror": bench.quick}, threads=4)

    assert subject in bench.worked[:4]


# ── What handlers say ──


def test_later_is_no_failure_and_comes_back_when_it_said(world: World, bench: Bench) -> None:
    put(world)
    handlers = {"mirror": bench.says(Later(MINUTE, "not yet"))}

    drained(world, handlers)
    assert (only(world).available_at, only(world).attempts, only(world).leased_until) == (START + MINUTE, 0, None)
    assert drained(world, handlers) == 0
    world.clock.advance(MINUTE)
    assert drained(world, handlers) == 1
    assert only(world).done_at == START + MINUTE


def test_f11_f12_a_busy_shop_is_left_in_peace_for_as_long_as_it_says_within_bounds(world: World, bench: Bench) -> None:
    put(world, times=2)
    ten_years = Throttled(timedelta(days=3650))

    drained(world, {"mirror": bench.says(ten_years)}, threads=1)

    with world.db.reading() as session:
        assert session.get_one(Shop, world.shop.id).paused_until == START + timedelta(minutes=15)
    assert [row.attempts for row in work(world.db)] == [0, 0]
    assert drained(world, {"mirror": bench.quick}) == 0
    world.clock.advance(timedelta(minutes=15))
    assert drained(world, {"mirror": bench.quick}) == 2


def test_f27_a_shop_whose_keys_are_refused_is_not_called_again_and_nothing_of_it_is_lost(world: World, bench: Bench) -> None:
    put(world, times=2)
    put(world, "mail")

    assert drained(world, {"mirror": bench.says(Revoked("unknown key")), "mail": bench.quick}, threads=2) == 2

    with world.db.reading() as session:
        assert session.get_one(Shop, world.shop.id).status is ShopStatus.REVOKED
    assert [(row.kind, row.attempts) for row in work(world.db) if row.done_at is None] == [("mirror", 0)] * 2
    assert len(bench.worked) == 1


def test_what_needs_a_person_is_parked_with_its_code(world: World, bench: Bench) -> None:
    put(world)

    drained(world, {"mirror": bench.says(NeedsAPerson("no_such_return", "words of the far side"))})

    assert (only(world).parked_because, only(world).parked_at, only(world).attempts) == ("no_such_return", START, 0)


@pytest.mark.parametrize("error", [RuntimeError("broken"), OutcomeUnknown("timed out"), KeyError("x")])
def test_f39_an_error_backs_off_and_is_parked_after_ten_times(world: World, error: Exception) -> None:
    put(world)
    waits = []

    def broken(_site: Site, _subject: uuid.UUID) -> None:
        raise error

    while only(world).parked_at is None:
        assert drained(world, {"mirror": broken}) == 1
        waits.append((only(world).available_at - world.clock.now).total_seconds())
        world.clock.now = max(world.clock.now, only(world).available_at)

    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 0]
    assert only(world).parked_because == f"failed {ATTEMPTS} times: {type(error).__name__}"
    assert drained(world, {"mirror": broken}) == 0


@pytest.mark.parametrize("away", [Busy("another is writing"), OperationalError("SELECT 1", None, ConnectionError("gone"))])
def test_f43_f45_a_database_that_is_busy_or_away_is_no_failure_of_the_row(world: World, bench: Bench, away: Exception) -> None:
    put(world)

    drained(world, {"mirror": bench.says(away)})

    assert (only(world).attempts, only(world).available_at, only(world).parked_at) == (0, START + 2 * SECOND, None)


def test_f39_a_poisoned_row_holds_up_nobody(world: World, bench: Bench) -> None:
    poison, *others = put(world, times=20)

    def handler(site: Site, subject: uuid.UUID) -> None:
        if subject == poison:
            raise RuntimeError("again and again")
        bench.quick(site, subject)

    assert drained(world, {"mirror": handler}, threads=2) == 20

    assert Counter(bench.worked) == Counter(others)
    assert [(row.subject_id, row.attempts) for row in work(world.db) if row.done_at is None] == [(poison, 1)]


# ── Leases ──


def test_the_heart_keeps_the_lease_of_a_slow_handler(world: World, bench: Bench) -> None:
    put(world)
    drain = Drain(site_of(world), handlers={"mirror": bench.waits("mirror")}, heartbeat=SOON)

    with running(drain):
        wait_until(lambda: bench.begun["mirror"] == 1)
        for _ in range(4):
            world.clock.advance(outbox.LEASE - SECOND)
            wait_until(lambda: only(world).leased_until == world.clock.now + outbox.LEASE)
            assert drained(world, {"mirror": bench.quick}) == 0
        bench.gate.set()

    assert len(bench.worked) == 1
    assert only(world).done_at == world.clock.now


def test_a_handler_that_hangs_loses_its_lease_and_what_it_says_at_last_changes_nothing(world: World, bench: Bench) -> None:
    (subject,) = put(world)
    drain = Drain(site_of(world), handlers={"mirror": bench.waits("mirror")}, heartbeat=SOON, deadline=timedelta(0))

    with running(drain):
        wait_until(lambda: bench.begun["mirror"] == 1)
        world.clock.advance(outbox.LEASE + SECOND)
        threading.Event().wait(0.2)  # ten heartbeats
        assert drained(world, {"mirror": bench.says(Later(MINUTE))}) == 1
        bench.gate.set()

    assert bench.worked == [subject]
    assert (only(world).done_at, only(world).available_at, only(world).fence) == (None, world.clock.now + MINUTE, 2)


def test_a_heart_that_misses_the_database_beats_on(world: World, bench: Bench, database_url: str) -> None:
    put(world)
    gone = threading.Event()

    def clock(_session: Session) -> datetime:
        if gone.is_set() and threading.current_thread().name == "lease-heartbeat":
            raise OperationalError("SELECT 1", None, ConnectionError("the server went away"))
        return world.clock.now

    database = Database(database_url, clock=clock)
    drain = Drain(Site(database, lambda _keys: world.toy), handlers={"mirror": bench.waits("mirror")}, heartbeat=SOON)
    with running(drain):
        wait_until(lambda: bench.begun["mirror"] == 1)
        gone.set()
        threading.Event().wait(0.1)
        gone.clear()
        world.clock.advance(SECOND)
        wait_until(lambda: only(world).leased_until == START + SECOND + outbox.LEASE)
        bench.gate.set()
    database.dispose()

    assert only(world).done_at == START + SECOND


# ── Ends ──


def test_f33_a_stop_finishes_what_is_in_hand_and_claims_nothing_more(world: World, bench: Bench) -> None:
    put(world, times=10)
    drain = Drain(site_of(world), threads=2, handlers={"mirror": bench.waits("mirror")})

    with running(drain) as thread:
        wait_until(lambda: bench.begun["mirror"] == 1)
        drain.stop()
        thread.join(0.3)
        assert thread.is_alive()
        bench.gate.set()

    assert len(bench.worked) == 1
    assert sum(row.done_at is None for row in work(world.db)) == 9


def test_a_drain_whose_time_is_up_rings_for_what_is_left(world: World, bench: Bench) -> None:
    put(world, times=3)
    rung: list[int] = []
    site = site_of(world)

    done = Drain(site, handlers={"mirror": bench.quick}, longest=timedelta(0), ring=lambda: rung.append(len(bench.worked))).run()

    assert (done, rung) == (0, [0])
    assert Drain(site, handlers={"mirror": bench.quick}, ring=lambda: rung.append(9)).run() == 3
    assert rung == [0]


def test_f47_an_outcome_that_could_not_be_recorded_comes_back_by_its_lease(
    postgres_server: Postgres, postgres_url: str, clock: Clock, bench: Bench
) -> None:
    database = Database(postgres_url, clock=lambda _session: clock.now)
    migrate.to(database)
    world = World(database, ToyStore(":memory:"), clock)
    (subject,) = put(world)

    def crash(site: Site, done: uuid.UUID) -> None:
        bench.quick(site, done)
        postgres_server._keeper.end(signal.SIGQUIT)

    with pytest.raises(OperationalError):  # the drain itself cannot claim any more: the worker tries again
        drained(world, {"mirror": crash})
    postgres_server.revive()
    assert (only(world).done_at, drained(world, {"mirror": bench.quick})) == (None, 0)
    clock.advance(outbox.LEASE + SECOND)

    assert drained(world, {"mirror": bench.quick}) == 1

    assert bench.worked == [subject, subject]
    assert only(world).done_at == clock.now
    database.dispose()
    world.toy.far.close()


# ── Two at once ──


def test_f58_two_drains_at_once_work_every_row_once(world: World, make_world: MakeWorld, bench: Bench) -> None:
    subjects = put(world, times=40) + put(make_world(), times=20)
    drains = [Drain(site_of(world), handlers={"mirror": bench.quick}) for _ in range(2)]

    with running(drains[0]), running(drains[1]):
        pass

    assert Counter(bench.worked) == Counter(subjects)
    with world.db.reading() as session:
        assert session.execute(select(OutboxRow).where(OutboxRow.done_at.is_(None))).first() is None


def test_the_handlers_of_this_version_are_the_kinds_of_this_version() -> None:
    assert set(HANDLERS) == {kind.value for kind in Kind}
