"""The door for deliveries while things break: what was not kept for certain is a 503, and it heals. F31-F33, F39, F43-F45, F47."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Final

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from adapters.woocommerce.platform import WooPlatform
from connector.db import Busy, Database
from connector.ids import ordered_id
from connector.models import Kind, Shop
from connector.secrets import Vault, new_key
from connector.services import inbox
from connector.services.inbox import Delivery
from connector.web.intake import Intake, Writer
from connector.web.server import Server, serve
from tests.processes import Link, child
from tests.servers import Postgres
from tests.services.acts import work
from tests.web.postbox import (
    PATH,
    Watched,
    ask,
    at_once,
    connected,
    everything_of,
    full,
    genuine,
    hints,
    house,
    of_order,
    said,
    signed,
    status_of,
    until,
)  # fmt: skip

KEYS: Final = (new_key(), new_key())


@pytest.fixture
def vault() -> Vault:
    return Vault.of(KEYS[:1], KEYS[1])


@pytest.fixture
def watched(database_url: str, database: Database, vault: Vault) -> Iterator[Watched]:
    """The database of a web process, with a shop in it."""
    connected(database, vault)
    watched = Watched(database_url, patience=0.2)
    yield watched
    watched.dispose()


only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@contextmanager
def refusing(db: Database, topic: str, state: str = "23514") -> Iterator[None]:
    """The database takes no hint of this topic; PostgreSQL says so with this SQLSTATE."""
    if db.dialect == "sqlite":
        make = [
            f"CREATE TRIGGER refusing BEFORE INSERT ON hints WHEN NEW.topic = '{topic}' BEGIN SELECT RAISE(ABORT, 'no'); END",
        ]
        undo = ["DROP TRIGGER refusing"]
    else:
        make = [
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END$$",
            f"CREATE TRIGGER refusing BEFORE INSERT ON hints FOR EACH ROW WHEN (NEW.topic = '{topic}') EXECUTE FUNCTION refuse()",
        ]
        undo = ["DROP TRIGGER refusing ON hints", "DROP FUNCTION refuse()"]
    with db.transaction() as session:
        for statement in make:
            session.execute(text(statement))
    try:
        yield
    finally:
        with db.transaction() as session:
            for statement in undo:
                session.execute(text(statement))


# ── many share one commit ──


def delivery(vault: Vault, db: Database, n: int) -> Delivery:
    """One for the writer, of the only shop."""
    with db.reading() as session:
        shop = session.execute(select(Shop.id)).scalar_one()
    row = ordered_id(datetime.now(UTC))
    body = b'{"id":%d}' % n
    return Delivery(row, shop, "order.updated", inbox.digest(body), vault.encrypt("hint", row.hex, body))


def test_f40_who_comes_while_others_are_written_shares_the_next_commit(watched: Watched, vault: Vault) -> None:
    deliveries = [delivery(vault, watched, n) for n in range(251)]
    writer = Writer(watched)
    watched.gate.clear()
    came: list[bool] = []

    def keep(each: Delivery) -> None:
        came.append(writer.keep(each))

    threads = [threading.Thread(target=keep, args=(each,)) for each in deliveries]
    threads[0].start()
    assert watched.begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(writer._waiting) == 250)
    watched.gate.set()
    for thread in threads:
        thread.join()
    writer.close()

    assert came == [True] * 251
    assert watched.commits == 1 + 3  # 1, 100, 100 and 50
    assert len(hints(watched)) == 251


def test_a_writer_that_closes_writes_what_waits_and_takes_no_more(watched: Watched, vault: Vault) -> None:
    first, second, late = (delivery(vault, watched, n) for n in range(3))
    writer = Writer(watched)
    watched.gate.clear()
    came: list[bool] = []
    threads = [threading.Thread(target=lambda each=each: came.append(writer.keep(each))) for each in (first, second)]
    threads[0].start()
    assert watched.begun.wait(30)
    threads[1].start()
    until(lambda: len(writer._waiting) == 1)
    closing = threading.Thread(target=writer.close)
    closing.start()
    until(lambda: writer._closed)
    assert not writer.keep(late)
    watched.gate.set()
    for thread in (*threads, closing):
        thread.join()

    assert came == [True, True]
    assert {hint.id for hint in hints(watched)} == {first.id, second.id}


def test_f43_while_the_database_hangs_nobody_waits_for_ever_and_nothing_piles_up(watched: Watched, vault: Vault) -> None:
    writer = Writer(watched, patience=0.05)
    watched.gate.clear()

    assert [writer.keep(delivery(vault, watched, n)) for n in range(5)] == [False] * 5
    assert len(writer._waiting) == 0
    watched.gate.set()
    until(lambda: len(hints(watched)) == 1)  # the one that was in hand, which does no harm
    writer.close()


# ── one that the database cannot take ──


def test_f39_one_that_the_database_cannot_take_fails_alone(watched: Watched, vault: Vault) -> None:
    with house(watched, vault) as here, refusing(watched, "order.poisoned"):
        assert here.posted(of_order(0)) == 200
        watched.gate.clear()
        watched.begun.clear()
        answers: list[object] = []
        sent = [of_order(n) for n in range(1, 5)] + [signed(b"{}", topic="order.poisoned")] + [of_order(n) for n in range(5, 9)]
        together = threading.Thread(target=lambda: answers.extend(at_once([lambda each=each: here.posted(each) for each in sent])))  # type: ignore[misc]
        together.start()
        assert watched.begun.wait(30)
        watched.gate.set()
        together.join()

    assert answers == [200] * 4 + [503] + [200] * 4
    assert len(hints(watched)) == 9


@only_postgresql
@pytest.mark.parametrize("state", ["40P01", "40001"])
def test_f47_a_deadlock_is_tried_once_more(watched: Watched, vault: Vault, state: str) -> None:
    met: list[str] = []

    def first_time(_session: object) -> None:
        if not met:
            met.append(state)
            with watched.engine.connect() as other:
                other.exec_driver_sql(f"DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END$$")

    watched.before_commit = first_time
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 200
    assert met == [state]
    assert len(hints(watched)) == 1


@pytest.mark.parametrize("trouble", [RuntimeError("whatever"), MemoryError(), Busy("somebody writes")])
def test_the_writer_outlives_whatever_it_meets(watched: Watched, vault: Vault, trouble: Exception) -> None:
    with house(watched, vault) as here:
        watched.trouble = [trouble] * 2
        answer = here.post(of_order(1))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        watched.trouble = []
        assert here.posted(of_order(2)) == 200


def test_a71_nothing_of_a_delivery_reaches_the_log(watched: Watched, vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with house(watched, vault) as here, refusing(watched, "order.poisoned"):
        here.posted(genuine("order-created").but(topic="order.poisoned"))
        here.posted(genuine("order-created").but(signature="forged"))
        here.posted(genuine("order-created"))

    told = "\n".join(repr(vars(record)) for record in caplog.records)
    assert "delivery.unkept" in told
    assert "delivery.refused" in told
    assert not any(word in told for word in ("zoe", "Test St", "forged", PATH, "whsec"))


# ── the database is away ──


@only_postgresql
def test_f43_while_the_database_is_down_nothing_is_promised_and_it_heals_by_itself(
    watched: Watched, vault: Vault, postgres_server: Postgres
) -> None:
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 200
        postgres_server._keeper.end(signal.SIGINT)
        assert set(at_once([lambda n=n: here.posted(of_order(n)) for n in range(2, 8)])) == {503}  # type: ignore[misc]
        assert here.posted(of_order(8), "/webhooks/woocommerce/a-door-never-seen") == 503  # and not: nobody lives here
        assert here.posted(of_order(9, secret="forged")) == 503  # nor: your signature is wrong, for it may have been changed
        postgres_server.revive()

        assert here.posted(of_order(2)) == 200
        assert here.posted(of_order(9, secret="forged")) == 401
        assert len(here.hints()) == 2


@only_postgresql
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_f47_a_database_that_was_restarted_is_found_again(watched: Watched, vault: Vault, postgres_server: Postgres, mode: str) -> None:
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 200
        postgres_server.restart(mode)  # type: ignore[arg-type]  # one of its modes
        assert here.posted(of_order(2)) == 200
        assert len(here.hints()) == 2


@only_postgresql
@pytest.mark.parametrize("late", [False, True], ids=["before the commit", "after the commit"])
def test_f47_a_connection_that_is_cut_at_the_commit_is_no_promise(watched: Watched, vault: Vault, late: bool) -> None:
    """Whether it was committed is then unknown: the answer is 503, and what is kept after all is one hint more."""

    def cut(session: object = None) -> None:
        watched.before_commit = lambda _session: None
        watched.after_commit = lambda: None
        if late:
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("the connection is lost"))
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()  # type: ignore[attr-defined]  # a session
        address = watched.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as other:  # in one transaction it would see the same state for ever
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
            until(lambda: other.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() == (0,))

    if late:
        watched.after_commit = cut
    else:
        watched.before_commit = cut
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 503
        assert len(here.hints()) == int(late)
        assert here.posted(of_order(1)) == 200
        assert len(here.hints()) == 1


@only_postgresql
@pytest.mark.parametrize("state", ["53100", "53200", "53300", "57P01", "55P03"])
def test_f44_f47_no_room_no_memory_no_connection_is_503_for_all_and_tried_by_nobody_alone(
    watched: Watched, vault: Vault, state: str
) -> None:
    with house(watched, vault) as here:
        with refusing(watched, "order.updated", state):
            done = watched.commits
            assert here.posted(of_order(1)) == 503
            assert watched.commits == done
        assert here.posted(of_order(1)) == 200


@only_sqlite
def test_f44_a_full_disk_is_503_until_there_is_room(database_url: str, watched: Watched, vault: Vault) -> None:
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 200
        make_room = full(watched)
        answers = [here.posted(of_order(n)) for n in range(2, 12)]
        assert answers[-1] == 503
        kept = 1 + answers.count(200)
        assert len(here.hints()) == kept
        make_room()
        assert here.posted(of_order(12)) == 200
        assert len(here.hints()) == kept + 1


@only_sqlite
def test_f45_a_locked_database_is_503_until_it_is_free(watched: Watched, vault: Vault) -> None:
    assert watched.url.database
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 200
        other = sqlite3.connect(watched.url.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert here.posted(of_order(2)) == 503
        other.execute("ROLLBACK")
        other.close()
        assert here.posted(of_order(2)) == 200
        assert len(here.hints()) == 2


@only_postgresql
def test_f45_a_locked_table_is_503_until_it_is_free(watched: Watched, vault: Vault) -> None:
    with house(watched, vault) as here:
        assert here.posted(of_order(1)) == 200
        with watched.engine.connect() as other:
            other.exec_driver_sql("LOCK TABLE hints IN ACCESS EXCLUSIVE MODE")
            assert here.posted(of_order(2)) == 503
            other.rollback()
        assert here.posted(of_order(2)) == 200
        assert len(here.hints()) == 2


# ── the process dies ──


def web_process(link: Link, url: str, keys: tuple[str, str], dies: str) -> int:
    """A web process that is killed at its first commit, if it is to be."""
    db = Watched(url)

    def die(_session: object = None) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if dies == "before the commit":
        db.before_commit = die
    elif dies == "after the commit":
        db.after_commit = die
    platform = WooPlatform(dev=True)
    intake = Intake(_nothing, db=db, platforms={platform.name: platform}, vault=Vault.of(keys[:1], keys[1]), base_url="http://127.0.0.1")
    server = Server(intake, "127.0.0.1", 0)
    link.say(server.port)
    return serve(server, intake)


def _nothing(_environ: object, start: object) -> list[bytes]:
    start("404 Not Found", [("Content-Length", "0")])  # type: ignore[operator]  # WSGI
    return []


@pytest.mark.parametrize(("dies", "kept"), [("after the commit", 1), ("before the commit", 0)], ids=["F31", "F32"])
def test_f31_f32_a_web_process_that_is_killed_at_the_commit_has_promised_nothing(
    database: Database, database_url: str, vault: Vault, dies: str, kept: int
) -> None:
    connected(database, vault)
    with child(web_process, database_url, KEYS, dies) as web, pytest.raises((HTTPException, ConnectionError)):
        ask(web.hear(), "POST", PATH, genuine("order-created"))
    assert len(hints(database)) == kept

    with child(web_process, database_url, KEYS, "never") as web:
        assert ask(web.hear(), "POST", PATH, genuine("order-created")).status == 200
    assert len(hints(database)) == 1
    assert len(work(database, Kind.REFRESH.value)) == 1


def test_f33_told_to_stop_it_finishes_every_request_that_was_begun(database: Database, database_url: str, vault: Vault) -> None:
    connected(database, vault)
    with child(web_process, database_url, KEYS, "never") as web:
        port = web.hear()
        lines = []
        for n in range(40):
            sent = of_order(n)
            request = said(sent, length=str(len(sent.body)))
            line = socket.create_connection(("127.0.0.1", port), timeout=60)
            line.sendall(request[: 100 + n * 50])
            lines.append((line, request[100 + n * 50 :]))
        os.kill(web.pid, signal.SIGTERM)
        until(lambda: not listens(port))
        for line, rest in lines:
            line.sendall(rest)
        answers = [everything_of(line) for line, _ in lines]
        for line, _ in lines:
            line.close()
        assert web.result() == 0

    assert [status_of(answer) for answer in answers] == [200] * 40
    assert all(b"Connection: close" in answer for answer in answers)
    assert len(hints(database)) == 40


def test_f33_told_to_stop_under_load_it_breaks_no_promise(database: Database, database_url: str, vault: Vault) -> None:
    connected(database, vault)
    outcomes: list[int] = []
    counting = threading.Lock()

    def deliver(first: int) -> None:
        for n in range(first, 100_000, 8):
            try:
                status = ask(port, "POST", PATH, of_order(n)).status
            except ConnectionRefusedError:
                return
            except (HTTPException, OSError):
                status = 0  # it came to the socket as that closed: no answer, no promise
            with counting:
                outcomes.append(status)

    with child(web_process, database_url, KEYS, "never") as web:
        port = web.hear()
        threads = [threading.Thread(target=deliver, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(outcomes) > 50)
        os.kill(web.pid, signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert web.result() == 0

    assert set(outcomes) <= {200, 0}
    assert outcomes.count(0) <= 8
    assert len(hints(database)) >= outcomes.count(200)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True
