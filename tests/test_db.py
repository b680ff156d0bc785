"""The database: what a transaction promises, whose turn it is, and what is left after a crash. F43, F45 to F47, F57, A71."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session

from connector import db, migrate, revisions
from connector.db import Busy, Database
from connector.models import Shop, ShopStatus, Spending
from tests.processes import Link, child, together
from tests.servers import Postgres

SHORT = 0.3  # seconds of patience
SECRET = "kim@example.com"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An almost empty database of either kind, with little patience."""
    made = Database(database_url, patience=SHORT)
    with made.transaction() as session:
        session.execute(text("CREATE TABLE notes (word VARCHAR PRIMARY KEY, n BIGINT CHECK (n >= 0))"))
    yield made
    made.dispose()


only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def note(session: Session, word: str, n: int = 0) -> None:
    session.execute(text("INSERT INTO notes (word, n) VALUES (:word, :n)"), {"word": word, "n": n})


def words(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.execute(text("SELECT word FROM notes ORDER BY n, word")).scalars())


def path_of(database: Database) -> Path:
    assert database.url.database
    return Path(database.url.database)


# ── What a transaction promises ─────────────────────────────────────────────────────────────────────────────────────


def test_what_a_transaction_wrote_is_there_for_everybody(database: Database, database_url: str) -> None:
    with database.transaction() as session:
        note(session, "kept")

    other = Database(database_url)
    assert words(other) == words(database) == ["kept"]
    other.dispose()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_takes_everything_back_and_is_not_swallowed(database: Database, error: type[BaseException]) -> None:
    def break_off() -> None:
        with database.transaction() as session:
            note(session, "gone")
            raise error

    with pytest.raises(error):
        break_off()

    assert words(database) == []


def test_a_failed_commit_takes_everything_back_and_leaves_the_connection_usable(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
        session.execute(text("CREATE TABLE orphans (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)"))

    with pytest.raises(IntegrityError), database.transaction() as session:
        session.execute(text("INSERT INTO orphans VALUES (7)"))  # found out by the COMMIT

    write_one(database, "then")
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM orphans")).scalar_one() == 0
    assert words(database) == ["then"]


def test_rows_can_still_be_looked_at_after_the_commit(database: Database) -> None:
    migrate.to(database)

    with database.transaction() as session:
        shop = Shop(platform="toy", domain="one.example", credentials=b"", installed_at=database.now(session))
        session.add(shop)

    assert (shop.domain, shop.status) == ("one.example", ShopStatus.ACTIVE)
    with database.reading() as session:
        assert session.get_one(Shop, shop.id).installed_at == shop.installed_at


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO notes (word) VALUES ('x')",
        "UPDATE notes SET n = 1",
        "DELETE FROM notes",
        "CREATE TABLE more (id INTEGER)",
        "DROP TABLE notes",
    ],
)
def test_reading_cannot_write_because_the_database_refuses(database: Database, statement: str) -> None:
    with database.transaction() as session:
        note(session, "kept")

    with pytest.raises(DBAPIError, match=r"read-?only"), database.reading() as session:
        session.execute(text(statement))

    with database.transaction() as session:  # the same connection may write again
        note(session, "more", 1)
    assert words(database) == ["kept", "more"]


def test_reading_sees_one_state_whatever_is_committed_meanwhile(database: Database) -> None:
    with database.reading() as session:
        before = session.execute(text("SELECT count(*) FROM notes")).scalar_one()
        with database.transaction() as writing:
            note(writing, "new")
        after = session.execute(text("SELECT count(*) FROM notes")).scalar_one()

    assert (before, after) == (0, 0)
    assert words(database) == ["new"]


def test_who_only_reads_waits_for_no_writer(database: Database) -> None:
    with database.transaction() as session:
        note(session, "not yet")
        began = time.monotonic()
        seen = words(database)
        revision = revisions.current(database)

    assert (seen, revision) == ([], None)
    assert time.monotonic() - began < SHORT


@pytest.mark.parametrize("url", ["mysql://localhost/retour", "oracle://localhost/retour"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="only sqlite and postgresql"):
        Database(url)


# ── The bell ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bell_rings_after_a_commit_that_put_something(database: Database, database_url: str) -> None:
    heard: list[list[str]] = []
    other = Database(database_url, patience=SHORT)

    def ring() -> None:
        with other.transaction() as session:  # the turn is over: a bell may take its time
            note(session, f"rung {len(heard)}", 9)
        heard.append(words(other))

    rung = Database(database_url, ring=ring)
    with rung.transaction() as session:
        note(session, "first")
        db.will_ring(session)
        db.will_ring(session)
        assert not heard
    with rung.transaction() as session:
        note(session, "nothing put", 1)

    assert heard == [["first", "rung 0"]]
    rung.dispose()
    other.dispose()


def test_the_bell_never_rings_for_what_was_taken_back(database: Database, database_url: str) -> None:
    heard: list[bool] = []
    rung = Database(database_url, ring=lambda: heard.append(True))

    def put(word: str, n: int) -> None:
        with rung.transaction() as session:
            db.will_ring(session)
            note(session, word, n)
            raise ZeroDivisionError

    with pytest.raises(IntegrityError):
        put("negative", -1)
    with pytest.raises(ZeroDivisionError):
        put("fine", 1)
    with rung.reading() as session:
        db.will_ring(session)

    assert not heard
    assert words(database) == []
    rung.dispose()


# ── The clock ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_f42_the_databases_clock_is_aware_utc_and_goes_on_within_a_transaction(database: Database) -> None:
    with database.transaction() as session:
        first = database.now(session)
        time.sleep(0.002)
        second = database.now(session)

    assert first.tzinfo is second.tzinfo is UTC
    assert timedelta(0) < second - first < timedelta(seconds=5)
    assert abs(second - datetime.now(UTC)) < timedelta(seconds=5)


def test_f42_the_databases_clock_knows_no_time_zone_of_its_clients(database_url: str) -> None:
    with child(tell_time_in_auckland, database_url) as process:
        told = process.result()

    assert told.tzinfo is UTC
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=5)


def tell_time_in_auckland(_link: Link, url: str) -> datetime:
    os.environ["TZ"] = os.environ["PGTZ"] = "Pacific/Auckland"
    time.tzset()
    database = Database(url)
    with database.reading() as session:
        return database.now(session)


def test_a_given_clock_replaces_the_databases_own(database_url: str) -> None:
    at = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    database = Database(database_url, clock=lambda _session: at)

    with database.reading() as session:
        assert database.now(session) is at
        assert db.database_clock(session) > at
    database.dispose()


def test_f42_the_clock_of_the_machine_only_goes_forward() -> None:
    told = [db.boot_clock() for _ in range(1000)]

    assert told == sorted(told)
    assert told[0] > timedelta(0)


# ── SQLite: what every connection is set to ─────────────────────────────────────────────────────────────────────────


@only_sqlite
def test_every_connection_of_sqlite_is_durable_and_checks_references(database: Database) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1, "busy_timeout": SHORT * 1000}

    for kind in (database.transaction, database.reading):
        with kind() as one, database.reading() as another:
            for session in (one, another):
                assert {name: session.execute(text(f"PRAGMA {name}")).scalar_one() for name in wanted} == wanted


@only_sqlite
def test_sqlite_really_refuses_an_orphan(database: Database) -> None:
    migrate.to(database)

    with pytest.raises(IntegrityError, match="FOREIGN KEY"), database.transaction() as session:
        session.execute(text("INSERT INTO spending (shop_id, day, currency, minor) VALUES ('00', '2026-03-02', 'EUR', 1)"))


@only_sqlite
def test_the_first_two_processes_of_a_fresh_sqlite_do_not_quarrel(database_url: str, tmp_path: Path) -> None:
    del database_url
    urls = [f"sqlite:///{tmp_path / f'{n}.db'}" for n in range(10)]

    assert together(open_all, [(urls,), (urls,), (urls,)]) == [10, 10, 10]


def open_all(meet: Callable[[], object], urls: list[str]) -> int:
    for url in urls:
        meet()
        database = Database(url)
        with database.reading() as session:
            session.execute(text("SELECT 1"))
        with database.transaction() as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS notes (word VARCHAR)"))
        database.dispose()
    return len(urls)


# ── The turn ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_f45_processes_and_threads_that_hammer_all_get_their_turn(database: Database, database_url: str) -> None:
    """'database is locked' is never seen, and nobody starves: without the queue one process kept the turn for seconds."""
    waits = [wait for per_process in together(hammer, [(database_url, f"p{n}") for n in range(2)]) for wait in per_process]

    assert len(waits) == len(words(database)) == 2 * 2 * 100
    assert max(waits) < 2.0
    if database.dialect == "sqlite":  # while both were at it, both got somewhere
        first_half = Counter(word.split()[0] for word in words(database)[:200])
        assert min(first_half["p0"], first_half["p1"]) >= 20


def hammer(meet: Callable[[], object], url: str, name: str) -> list[float]:
    database = Database(url, patience=5)
    with database.transaction() as session:  # connected before the race begins
        session.execute(text("SELECT 1"))
    meet()

    def write(thread: int) -> list[float]:
        waits = []
        for n in range(100):
            began = time.monotonic()
            with database.transaction() as session:
                waits.append(time.monotonic() - began)
                note(session, f"{name} {thread} {n}", time.monotonic_ns())
        return waits

    with ThreadPoolExecutor(2) as threads:
        return [wait for waits in threads.map(write, range(2)) for wait in waits]


def stay_in_a_transaction(link: Link, url: str) -> None:
    database = Database(url)
    with database.transaction() as session:
        note(session, "elsewhere")
        link.say("in")
        link.hear()


@only_sqlite
def test_f45_another_process_that_does_not_end_its_turn_makes_us_busy_in_time(database: Database, database_url: str) -> None:
    with child(stay_in_a_transaction, database_url) as process:
        process.hear()
        began = time.monotonic()
        with pytest.raises(Busy, match="another process"), database.transaction() as session:
            note(session, "never")
        waited = time.monotonic() - began
        process.tell("go on")
        process.result()
        with database.transaction() as session:  # the thread lock was given back
            note(session, "later", 1)

    assert SHORT <= waited < SHORT + 1
    assert words(database) == ["elsewhere", "later"]


@only_sqlite
def test_f45_another_thread_that_does_not_end_its_turn_makes_us_busy_in_time(database: Database) -> None:
    with ThreadPoolExecutor(3) as threads, database.transaction() as session:
        note(session, "first")
        began = time.monotonic()
        waiting = [threads.submit(write_one, database, "never") for _ in range(3)]
        errors = [str(future.exception()) for future in waiting]
        waited = time.monotonic() - began

    assert errors == ["another thread is writing"] * 3
    assert SHORT <= waited < SHORT + 1
    write_one(database, "second")
    assert words(database) == ["first", "second"]


def write_one(database: Database, word: str) -> None:
    with database.transaction() as session:
        note(session, word)


@only_sqlite
def test_f57_a_process_that_was_stopped_in_the_queue_only_slows_the_others_down(database: Database) -> None:
    with (path_of(database).with_name("retour.db.next")).open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        began = time.monotonic()
        write_one(database, "went past")

    assert words(database) == ["went past"]
    assert 0.2 < time.monotonic() - began < SHORT + 1


@only_sqlite
def test_f45_a_writer_that_knows_no_turns_makes_us_busy_in_time(database: Database) -> None:
    stranger = sqlite3.connect(path_of(database), isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")

    began = time.monotonic()
    with pytest.raises(Busy, match="holds the lock"):
        write_one(database, "never")
    waited = time.monotonic() - began
    stranger.execute("ROLLBACK")
    stranger.close()

    write_one(database, "later")
    assert SHORT <= waited < SHORT + 1
    assert words(database) == ["later"]


@only_sqlite
def test_whoever_writes_holds_the_file_also_after_another_thread_gave_its_turn_back(database: Database, database_url: str) -> None:
    """The order of the locks: first the thread's, then the file's. The other way about, the first to leave would open it for all."""
    second_is_in, second_may_go = threading.Event(), threading.Event()

    def second() -> None:
        with database.transaction() as session:
            note(session, "second", 1)
            second_is_in.set()
            assert second_may_go.wait(20)

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            note(session, "first")
            waiting = threads.submit(second)
            time.sleep(0.05)
            assert not second_is_in.is_set()
        assert second_is_in.wait(20)
        with child(try_the_file, str(path_of(database))) as process:
            while_it_writes = process.result()
        second_may_go.set()
        waiting.result()
    with child(try_the_file, str(path_of(database))) as process:
        afterwards = process.result()

    assert (while_it_writes, afterwards) == (False, True)
    assert words(database) == ["first", "second"]


def try_the_file(_link: Link, path: str) -> bool:
    with Path(f"{path}.turn").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@only_sqlite
def test_the_side_files_belong_to_their_owner_alone(database: Database) -> None:
    path = path_of(database)

    assert sorted(file.name for file in path.parent.iterdir() if file.suffix in {".turn", ".next"}) == ["retour.db.next", "retour.db.turn"]
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir() if file.suffix in {".turn", ".next"}} == {0o600}


# ── Forks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@only_postgres
def test_a_forked_child_shares_no_connection_with_its_parent(database: Database, database_url: str) -> None:
    with child(fork_while_a_thread_writes, database_url) as process:
        told = process.result()

    assert told == ["wrote", "wrote"]
    assert sorted(words(database)) == sorted(["held", "at once", "afterwards", *(f"{who} {n}" for who in "ab" for n in range(50))])


@only_sqlite
def test_a_child_that_was_forked_off_while_sqlite_was_open_is_refused_and_does_no_harm(database: Database, database_url: str) -> None:
    with child(fork_while_a_thread_writes, database_url) as process:
        told = process.result()

    assert told == ["Busy", "RuntimeError"]
    assert words(database) == sorted(["held", *(f"a {n}" for n in range(50))])


def fork_while_a_thread_writes(_link: Link, url: str) -> list[str]:
    """A grandchild is forked off while a thread is in a transaction and connections are pooled. Both then go on writing."""
    database = Database(url, patience=SHORT)
    holds, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction() as session:
            note(session, "held")
            holds.set()
            assert may_go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(20)
    hearing, answering = os.pipe()
    waiting, waking = os.pipe()
    if not (pid := os.fork()):
        answers = [attempt(database, "at once")]
        os.write(answering, b"x")
        os.read(waiting, 1)
        answers.append(attempt(database, "afterwards"))
        if answers[-1] == "wrote":
            write_many(database, "b")
        os.write(answering, " ".join(answers).encode())
        os._exit(0)
    os.read(hearing, 1)
    may_go.set()
    thread.join()
    os.write(waking, b"x")
    write_many(database, "a")
    os.waitpid(pid, 0)
    return os.read(hearing, 1000).decode().split()


@only_sqlite
def test_a_child_that_was_forked_off_before_sqlite_was_opened_takes_its_own_turn(database: Database, database_url: str) -> None:
    with child(fork_before_it_is_opened, database_url) as process:
        told = process.result()

    assert told == "Busy"
    assert words(database) == sorted(["held", *(f"{who} {n}" for who in "ab" for n in range(50))])


def fork_before_it_is_opened(_link: Link, url: str) -> str:
    database = Database(url, patience=SHORT)
    hearing, answering = os.pipe()
    waiting, waking = os.pipe()
    if not (pid := os.fork()):
        os.read(waiting, 1)
        os.write(answering, attempt(database, "never").encode())
        os.read(waiting, 1)
        write_many(database, "b")
        os._exit(0)
    with database.transaction() as session:
        note(session, "held")
        os.write(waking, b"x")
        told = os.read(hearing, 100).decode()
    os.write(waking, b"x")
    write_many(database, "a")
    os.waitpid(pid, 0)
    return told


def attempt(database: Database, word: str) -> str:
    try:
        write_one(database, word)
    except (Busy, RuntimeError) as error:
        return type(error).__name__
    return "wrote"


def write_many(database: Database, who: str) -> None:
    patient = time.monotonic() + 20
    for n in range(50):
        while attempt(database, f"{who} {n}") != "wrote":
            assert time.monotonic() < patient


@only_sqlite
def test_a_child_that_outlives_its_killed_parent_does_not_keep_the_turn(database: Database, database_url: str) -> None:
    with child(be_killed_in_a_transaction, database_url) as process:
        orphan = process.hear()
        process.kill()
        try:
            write_one(database, "after the kill")
        finally:
            os.kill(orphan, signal.SIGKILL)

    assert words(database) == ["after the kill"]


def be_killed_in_a_transaction(link: Link, url: str) -> None:
    database = Database(url)
    ready, saying = os.pipe()
    with database.transaction() as session:
        note(session, "gone")
        if not (pid := os.fork()):
            os.write(saying, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(ready, 1)
        link.say(pid)
        time.sleep(60)


# ── PostgreSQL: locks, and a server that goes away ──────────────────────────────────────────────────────────────────


@only_postgres
def test_a_row_that_is_held_too_long_makes_us_busy_in_time(database: Database) -> None:
    write_one(database, "held")
    hold = text("UPDATE notes SET n = n + 1")

    with database.transaction() as first:
        first.execute(hold)
        began = time.monotonic()
        with pytest.raises(Busy, match="holds the lock"), database.transaction() as second:
            second.execute(hold)
        waited = time.monotonic() - began
    with database.transaction() as second:
        second.execute(hold)

    assert SHORT <= waited < SHORT + 1


@only_postgres
def test_f47_a_deadlock_costs_one_transaction_and_no_more(database_url: str, database: Database) -> None:
    write_one(database, "a")
    write_one(database, "b")
    patient, both = Database(database_url, patience=10), threading.Barrier(2)

    def lock(first: str, second: str) -> str:
        try:
            with patient.transaction() as session:
                session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
                session.execute(text("UPDATE notes SET n = n + 1 WHERE word = :word"), {"word": first})
                both.wait(20)
                session.execute(text("UPDATE notes SET n = n + 1 WHERE word = :word"), {"word": second})
        except OperationalError as error:
            return str(getattr(error.orig, "sqlstate", ""))
        return "done"

    with ThreadPoolExecutor(2) as threads:
        outcome = list(threads.map(lock, "ab", "ba"))

    assert sorted(outcome) == ["40P01", "done"]
    with patient.reading() as session:
        assert session.execute(text("SELECT sum(n) FROM notes")).scalar_one() == 2
    patient.dispose()


@only_postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_f47_after_a_restart_of_the_server_the_next_transaction_works(
    database: Database, postgres_server: Postgres, mode: Literal["fast", "immediate"]
) -> None:
    write_one(database, "before")
    with database.reading() as one, database.reading() as another:  # two connections wait in the pool
        one.execute(text("SELECT 1"))
        another.execute(text("SELECT 1"))

    postgres_server.restart(mode)

    write_one(database, "then")
    with database.reading() as one, database.reading() as another:
        one.execute(text("SELECT 1"))
        another.execute(text("SELECT 1"))
    assert sorted(words(database)) == ["before", "then"]


@only_postgres
def test_f47_a_transaction_whose_server_is_restarted_is_lost_and_the_next_one_works(database: Database, postgres_server: Postgres) -> None:
    heard: list[bool] = []
    database._ring = lambda: heard.append(True)

    def lose() -> None:
        with database.transaction() as session:
            db.will_ring(session)
            note(session, "lost")
            postgres_server.restart("immediate")

    with pytest.raises(OperationalError):
        lose()
    write_one(database, "then")

    assert words(database) == ["then"]
    assert not heard


@only_postgres
def test_f47_a_connection_that_is_cut_before_the_commit_is_an_error_and_never_a_success(database: Database) -> None:
    """What became of the commit is unknown to us in production; here the server is known to have forgotten it."""

    def lose() -> None:
        with database.transaction() as session:
            note(session, "lost")
            backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with database.transaction() as admin:
                admin.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})

    with pytest.raises(OperationalError):
        lose()

    write_one(database, "then")
    assert words(database) == ["then"]


@only_postgres
def test_f47_a_transaction_that_idles_is_ended_by_the_server(database: Database) -> None:
    with database.reading() as session:
        assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "30s"

    def idle() -> None:
        with database.transaction() as session:
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '20ms'"))
            note(session, "lost")
            time.sleep(0.1)
            note(session, "lost too")

    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        idle()
    write_one(database, "then")

    assert words(database) == ["then"]


def test_f47_a_pool_that_is_used_up_makes_us_busy_in_time(database: Database, database_url: str) -> None:
    small = Database(database_url, pool=1, patience=SHORT)

    with ExitStack() as readers:
        for _ in range(11):  # one, and ten more in need
            readers.enter_context(small.reading()).execute(text("SELECT 1"))
        for kind in (small.reading, small.transaction):
            with pytest.raises(Busy, match="every connection"), kind() as session:
                session.execute(text("SELECT 1"))

    write_one(small, "then")
    assert words(database) == ["then"]
    small.dispose()


@only_sqlite
def test_f44_a_disk_that_is_full_is_an_error_and_the_next_transaction_works(database: Database) -> None:
    def fill() -> None:
        with database.transaction() as session:
            session.execute(text("PRAGMA max_page_count = 50"))
            for n in range(100):
                note(session, f"{n}: {'x' * 4000}")

    with pytest.raises(OperationalError, match="full"):
        fill()
    with database.transaction() as session:
        session.execute(text("PRAGMA max_page_count = 1000000"))
        note(session, "then")

    assert words(database) == ["then"]


# ── Locks by name and by row ────────────────────────────────────────────────────────────────────────────────────────


@only_postgres
def test_an_advisory_lock_is_had_by_one_transaction_until_it_ends(database: Database) -> None:
    with database.transaction() as first, database.transaction() as second:
        assert db.advisory(first, "seal:1")
        assert not db.advisory(second, "seal:1")
        assert db.advisory(second, "seal:2")
    with database.transaction() as third:
        assert db.advisory(third, "seal:1")


@only_sqlite
def test_on_sqlite_whoever_writes_is_alone_anyway(database: Database) -> None:
    with database.transaction() as session:
        assert db.advisory(session, "seal:1")
        assert db.for_update(session, "statement") == db.skip_locked(session, "statement") == "statement"


@only_postgres
def test_rows_are_locked_for_an_update_and_those_of_others_are_skipped(database: Database) -> None:
    migrate.to(database)
    with database.transaction() as session:
        shop = "00000000-0000-0000-0000-000000000001"
        columns = "(id, platform, domain, status, credentials, time_zone, installed_at, connected_at)"
        session.execute(text(f"INSERT INTO shops {columns} VALUES ('{shop}', 'toy', 'x', 'active', '', 'UTC', now(), now())"))  # noqa: S608
        days = "VALUES (:shop, '2026-03-01', 'EUR', 1), (:shop, '2026-03-02', 'EUR', 2)"
        session.execute(text(f"INSERT INTO spending (shop_id, day, currency, minor) {days}"), {"shop": shop})

    with database.transaction() as first, database.transaction() as second:
        one = first.execute(db.for_update(first, select(Spending.minor).order_by(Spending.day).limit(1))).scalars().all()
        rest = second.execute(db.skip_locked(second, select(Spending.minor).order_by(Spending.day))).scalars().all()

    assert (one, rest) == ([1], [2])


def test_a_compare_and_set_says_how_many_rows_it_met(database: Database) -> None:
    with database.transaction() as session:
        note(session, "a")
        note(session, "b")
        assert db.changed(session, text("UPDATE notes SET n = 1 WHERE n = 0")) == 2
        assert db.changed(session, text("UPDATE notes SET n = 1 WHERE n = 0")) == 0


# ── A71: no value in an error ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO notes (word) VALUES (:secret)", IntegrityError),  # there already
        ("INSERT INTO notes (word, n) VALUES (:secret || '!', -1)", IntegrityError),  # the check: PostgreSQL quotes the whole row
        ("INSERT INTO notes (n, word) VALUES (1, nullif(:secret, :secret))", IntegrityError),
        ("INSERT INTO nowhere (word) VALUES (:secret)", DBAPIError),
        ("INSERT INTO notes (word, n) VALUES (:secret || '?', :large)", (DBAPIError, OverflowError)),
    ],
)
def test_a71_an_error_names_no_value(database: Database, statement: str, error: type[Exception] | tuple[type[Exception], ...]) -> None:
    with database.transaction() as session:
        session.execute(text("DROP TABLE notes"))
        session.execute(text("CREATE TABLE notes (word VARCHAR NOT NULL PRIMARY KEY, n BIGINT CHECK (n >= 0))"))
        note(session, SECRET)

    with pytest.raises(error) as raised, database.transaction() as session:
        session.execute(text(statement), {"secret": SECRET, "large": 2**70})

    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + str(raised.value.args)
    assert SECRET not in told
    assert str(2**70) not in told


@only_postgres
@pytest.mark.parametrize("cast", ["integer", "uuid", "timestamptz", "boolean", "jsonb", "numeric"])
def test_a71_input_that_postgresql_cannot_read_is_not_quoted(database: Database, cast: str) -> None:
    with pytest.raises(DBAPIError) as raised, database.reading() as session:
        session.execute(text(f"SELECT CAST(CAST(:secret AS text) AS {cast})"), {"secret": SECRET})

    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert SECRET not in told
    assert "the input does not fit" in told


def test_a71_an_error_still_says_what_was_broken(database: Database) -> None:
    with pytest.raises(IntegrityError, match=r"notes_n_check|n >= 0"), database.transaction() as session:
        note(session, "x", -1)
    with pytest.raises(DBAPIError, match="nowhere"), database.reading() as session:
        session.execute(text("SELECT * FROM nowhere"))


def test_a71_a_value_that_never_reached_the_database_is_not_quoted_either(database: Database) -> None:
    migrate.to(database)

    with pytest.raises(StatementError) as raised, database.transaction() as session:
        session.execute(insert(Spending).values(shop_id=SECRET, day=SECRET, currency="EUR", minor=1))

    assert SECRET not in "".join(traceback.format_exception(raised.value))


# ── F46: a SQLite writer that is killed ─────────────────────────────────────────────────────────────────────────────


@only_sqlite
def test_f46_a_writer_that_is_killed_again_and_again_leaves_a_whole_database(database: Database, database_url: str) -> None:
    """Nothing that was committed is lost, nothing half done is there, and the next writer goes on at once."""
    dice, promised = random.Random(46), set[int]()  # noqa: S311 - a schedule, not a secret

    for life in range(30):
        with child(write_pairs, database_url, life * 1_000_000) as process:
            promised.add(process.hear())
            time.sleep(dice.uniform(0, 0.02))
            promised.update(process.kill())
        with sqlite3.connect(path_of(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()

    with database.transaction() as session:
        found = session.execute(text("SELECT n, count(*) FROM notes GROUP BY n")).all()
    assert promised <= {n for n, _ in found}
    assert {pieces for _, pieces in found} == {20}
    assert len(promised) > 30


def write_pairs(link: Link, url: str, start: int) -> None:
    database = Database(url)
    for n in range(start, sys.maxsize):
        with database.transaction() as session:
            for piece in range(20):
                note(session, f"{n}:{piece}:{'x' * 200}", n)
        link.say(n)


@only_sqlite
def test_f46_a_wal_that_is_cut_or_lost_takes_the_newest_transactions_and_no_more(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    with child(write_pairs, database_url, 0) as process:
        while process.hear() < 5:
            pass
        process.kill()
    path = path_of(database)
    wal = path.with_name(path.name + "-wal").read_bytes()
    sizes = {*range(0, len(wal), max(1, len(wal) // 15)), len(wal) - 1}

    survivors = []
    for size in sorted(sizes):
        copy = tmp_path / "copy"
        copy.mkdir()
        shutil.copy(path, copy / "retour.db")
        (copy / "retour.db-wal").write_bytes(wal[:size])
        database = Database(f"sqlite:///{copy / 'retour.db'}")
        with database.transaction() as session:
            assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
            tables = session.execute(text("SELECT count(*) FROM sqlite_schema WHERE name = 'notes'")).scalar_one()
            found = session.execute(text("SELECT n, count(*) FROM notes GROUP BY n ORDER BY n")).all() if tables else []
        database.dispose()
        shutil.rmtree(copy)
        assert [tuple(row) for row in found] == [(n, 20) for n in range(len(found))]
        survivors.append(len(found))

    assert survivors == sorted(survivors)
    assert survivors[0] < survivors[-1]
