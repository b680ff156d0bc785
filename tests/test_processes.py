"""Real processes: workers and a clock as they run in production, killed, paused and cut off from Redis and the database.

Nothing here is simulated but the shop, whose books are a file. F47, F49-F51, F55, F57, F58, F01-F02 with a real `kill -9`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from adapters.simulators.toy import Fault, Proof, ToyStore
from connector import migrate
from connector.bell import Bell
from connector.db import Busy, Database
from connector.domain.orders import Order
from connector.domain.rma import MoneyState
from connector.models import OutboxRow, Refund
from connector.secrets import Vault, new_key
from connector.services import seals
from tests.servers import Postgres, Valkey
from tests.world import Clock, World, an_order

PATIENCE = 120.0
KEYS = {"RETOUR_SECRET_KEYS": new_key(), "RETOUR_DIGEST_KEY": new_key(), "RETOUR_SEAL_KEY": new_key()}


class Site:
    """A shop with returns to pay, and the processes that pay them."""

    def __init__(self, url: str, redis_url: str, directory: Path, proof: Proof) -> None:
        self.environ = {**os.environ, **KEYS, "DATABASE_URL": url, "REDIS_URL": redis_url, "RETOUR_DEV": "1", "RETOUR_DATA": str(directory)}
        self.db = Database(url, ring=Bell(redis_url).ring)
        migrate.to(self.db)
        toy = ToyStore(directory / "books.db", proof)
        vault = Vault.of([KEYS["RETOUR_SECRET_KEYS"]], KEYS["RETOUR_DIGEST_KEY"])
        self.world = World(self.db, toy, Clock(), vault=vault)
        self.toy = toy
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """One process of ours."""
        process = subprocess.Popen([sys.executable, "-m", "jobs", name], env=self.environ, stderr=subprocess.DEVNULL)
        self.running.append(process)
        return process

    def stop(self) -> None:
        """All of them."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def to_pay(self, count: int) -> list[uuid.UUID]:
        """So many returns, received; each of an order of its own."""
        made = []
        for n in range(count):
            order = self._fresh(an_order(f"{1000 + n}"))
            self.toy.place(order)
            made.append(self.world.received(order, {"line-1": 1}))
        return made

    def _fresh(self, order: Order) -> Order:
        lines = tuple(replace(line, delivered_on=datetime.now(UTC).date() - timedelta(days=2)) for line in order.lines)
        return replace(order, lines=lines, placed_at=datetime.now(UTC) - timedelta(days=5))

    def states(self) -> list[MoneyState]:
        """Where the money rows stand."""
        return [row.state for row in self.world.rows()]

    def halt(self, process: subprocess.Popen[bytes]) -> None:
        """SIGSTOP between two writes. Who is stopped within one keeps every writer waiting, on any database, which is another story.

        So does who is stopped while it waits to be the next one on SQLite: then it is let go, and stopped again.
        """
        impatient = Database(self.db.url.render_as_string(hide_password=False), patience=1.0)
        try:
            for _ in range(20):
                with self.db.transaction() as session:  # on SQLite the turn is ours now, and nobody is writing
                    if self.db.dialect == "postgresql":
                        session.execute(text("LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE"))
                    process.send_signal(signal.SIGSTOP)
                with suppress(Busy), impatient.transaction() as session:
                    session.execute(text("SELECT 1"))
                    return
                process.send_signal(signal.SIGCONT)
            raise AssertionError("it was never between two writes")
        finally:
            impatient.dispose()

    def lapse(self) -> None:
        """The leases run out now, instead of in twenty seconds."""
        with self.db.transaction() as session:
            past = self.db.now(session) - timedelta(seconds=1)
            session.execute(update(OutboxRow).where(OutboxRow.leased_until.is_not(None)).values(leased_until=past))

    def judge(self, returns: int) -> None:
        """Every return is paid once, and both books agree."""
        payments = self.toy.payments()
        rows = self.world.rows()
        assert len(payments) == len(rows) == returns
        assert {row.id.hex: row.platform_reference for row in rows} == {payment.key: payment.reference for payment in payments}


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for the outside world; a minute or two is far more than it needs."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.05)


@contextmanager
def a_site(url: str, valkey: Valkey, directory: Path, proof: Proof = Proof.REPLAY) -> Iterator[Site]:
    """The site, and nothing of it left afterwards."""
    site = Site(url, valkey.url, directory, proof)
    try:
        yield site
    finally:
        site.stop()
        site.db.dispose()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("proof", list(Proof))
def test_f02_f55_a_worker_that_is_killed_after_the_shop_has_paid(
    database_url: str, valkey_server: Valkey, tmp_path: Path, proof: Proof
) -> None:
    with a_site(database_url, valkey_server, tmp_path, proof) as site:
        (rma,) = site.to_pay(1)
        site.toy.fail_next("refund", Fault.HANG, 120)
        worker = site.start("worker")
        site.world.resolve(rma)
        until(lambda: bool(site.toy.payments()), "the payment")

        worker.kill()
        worker.wait()
        assert site.states() == [MoneyState.SENT]
        site.lapse()
        site.start("worker")
        site.start("clock")

        until(lambda: site.states() == [MoneyState.SETTLED], "the settlement")
        site.judge(1)


@pytest.mark.timeout(300)
def test_f57_a_worker_that_is_stopped_while_the_shop_answers_and_wakes_when_another_has_recorded_it(
    database_url: str, valkey_server: Valkey, tmp_path: Path
) -> None:
    with a_site(database_url, valkey_server, tmp_path) as site:
        (rma,) = site.to_pay(1)
        site.toy.fail_next("refund", Fault.HANG, 3.0)
        sleeper = site.start("worker")
        site.world.resolve(rma)
        until(lambda: bool(site.toy.payments()), "the payment")

        site.halt(sleeper)
        site.lapse()
        site.start("worker")
        site.start("clock")
        until(lambda: site.states() == [MoneyState.SETTLED], "the settlement")
        sleeper.send_signal(signal.SIGCONT)
        site.world.resolve(site.to_pay(1)[0])
        until(lambda: site.states() == [MoneyState.SETTLED] * 2, "the next one")

        site.judge(2)


@pytest.mark.timeout(300)
def test_f49_f50_f51_redis_dies_comes_back_empty_and_is_emptied_while_two_workers_pay(
    database_url: str, valkey_server: Valkey, tmp_path: Path
) -> None:
    with a_site(database_url, valkey_server, tmp_path) as site:
        returns = site.to_pay(12)
        for name in ("worker", "worker", "clock", "clock"):
            site.start(name)
        for number, rma in enumerate(returns):
            site.world.resolve(rma)
            if number == 3:
                valkey_server.flush()
            if number == 6:
                valkey_server.kill()
            if number == 9:
                valkey_server.restart()

        until(lambda: site.states() == [MoneyState.SETTLED] * 12, "twelve payments")
        site.judge(12)


@pytest.mark.timeout(300)
def test_f47_postgresql_is_restarted_while_two_workers_pay(
    postgres_server: Postgres, postgres_url: str, valkey_server: Valkey, tmp_path: Path
) -> None:
    with a_site(postgres_url, valkey_server, tmp_path) as site:
        returns = site.to_pay(12)
        for name in ("worker", "worker", "clock"):
            site.start(name)
        for number, rma in enumerate(returns):
            site.world.resolve(rma)
            if number in (4, 8):
                postgres_server.restart("immediate")
                site.lapse()

        until(lambda: site.states() == [MoneyState.SETTLED] * 12, "twelve payments")
        site.judge(12)


@pytest.mark.timeout(300)
def test_f55_workers_that_are_killed_again_and_again_pay_everything_once(database_url: str, valkey_server: Valkey, tmp_path: Path) -> None:
    with a_site(database_url, valkey_server, tmp_path, Proof.FENCE) as site:
        returns = site.to_pay(10)
        site.start("clock")
        for rma in returns:
            site.world.resolve(rma)
        for nap in (0.55, 0.7, 0.8, 0.9, 1.0, 1.1):
            worker = site.start("worker")
            time.sleep(nap)
            worker.kill()
            worker.wait()
            site.lapse()
        site.start("worker")

        until(lambda: site.states() == [MoneyState.SETTLED] * 10, "ten payments")
        site.judge(10)


@pytest.mark.timeout(300)
def test_f58_two_clocks_and_a_killed_one_leave_one_whole_chain(database_url: str, valkey_server: Valkey, tmp_path: Path) -> None:
    with a_site(database_url, valkey_server, tmp_path) as site:
        clocks = [site.start("clock") for _ in range(2)]
        for rma in site.to_pay(6):
            site.world.resolve(rma)
        clocks[0].kill()
        site.start("worker")
        site.start("clock")

        until(lambda: site.states() == [MoneyState.SETTLED] * 6, "six payments")
        until(lambda: not _unsealed(site.db), "the seals")
        with site.db.reading() as session:
            (verdict,) = seals.verify(session, KEYS["RETOUR_SEAL_KEY"].encode())
        assert verdict.faults == ()
        assert verdict.sealed >= 6 * 5


def _unsealed(db: Database) -> bool:
    with db.reading() as session:
        unsettled = select(Refund.id).where(Refund.state != MoneyState.SETTLED)
        return bool(seals.waiting(session)) or session.execute(unsettled).first() is not None
