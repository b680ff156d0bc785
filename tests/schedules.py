"""Random schedules of the money procedure: kills, pauses, races, lost and late answers, a broken database, an emptied Redis.

    python -m tests.schedules --seeds 10000 [--first 1] [--database postgresql+psycopg://…] [--jobs 2]
    python -m tests.schedules --seed 4711 --trace

One seed is one schedule: a few workers, one thread at a time, hand over at every step that matters (before and after each
transaction, around the check, the payment and the answer), and the seed decides who goes on, who dies, who sleeps, and how
late it is. The code under test is the real one; only the clock is ours. The toy shop's books are the judge.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select

from adapters.simulators.toy import Fault, Proof, ToyStore
from connector import migrate
from connector.db import Database
from connector.domain.orders import RefundRef
from connector.domain.rma import MoneyState, RmaState
from connector.domain.wanted import Payout
from connector.models import Alarm, Kind, OutboxRow, Refund, Resolution, Rma
from connector.secrets import Vault, new_key
from connector.services import outbox, receipts, seals
from jobs.site import Site
from tests.machinery import Stepped, Worker, step
from tests.world import Clock, World, an_order

STEPS: Final = 6000  # far more than any schedule needs; more means that something goes round in circles
PAUSES: Final = (0.5, 9.9, 10.1, 21, 95, 300, 900)
UNDER_WAY: Final = (0.5, 9.9, 21)  # a request that has left: the far side gives it up after its longest run
LEAPS: Final = (0.05, 0.3, 1, 5, 12, 31)


@dataclass(eq=False)
class Schedule:
    """One seed's run."""

    seed: int
    db: Stepped
    clock: Clock
    vault: Vault
    trace: Callable[[str], object] | None = None
    rung: bool = True
    broken: list[str] = field(default_factory=list)
    parked: int = 0
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Draw the shop, its orders, what shoppers want, and what goes wrong."""
        self.rng = random.Random(self.seed)  # noqa: S311 - a schedule, not a secret
        skew = timedelta(seconds=self.rng.choice((0, 0, -600, 600)))
        self.proof = self.rng.choice(list(Proof))
        self.toy = ToyStore(":memory:", self.proof, clock=lambda: self.clock.now + skew, step=step)
        self.world = World(self.db, self.toy, self.clock, vault=self.vault)
        self.workers = [Worker(f"worker {n}", self, self._site()) for n in range(self.rng.randint(1, 3))]
        self.start = self.clock.now
        self.rmas: dict[uuid.UUID, tuple[Payout, int]] = {}
        order = an_order(
            f"order-{self.seed}",
            units=self.rng.randint(1, 4),
            net=self.rng.randint(100, 9999),
            tax=self.rng.randint(0, 2000),
            lines=2,
            delivered=self.clock.now.date(),
        )
        self.toy.place(order)
        self.order = order
        for line in order.lines[: self.rng.randint(1, 2)]:
            for share in self._shares(line.quantity):
                rma = self.world.received(order, {line.id: share})
                payout = self.rng.choice((Payout.ORIGINAL, Payout.STORE_CREDIT))
                self.rmas[rma] = (payout, 0)
        self._order_faults(self.rng.randint(0, 4))
        for rma, (payout, _) in self.rmas.items():
            self._resolve(rma, payout)

    def _site(self) -> Site:
        return Site(self.db, lambda _keys: self.toy, stopwatch=lambda: self.clock.now - self.start_of_time)

    start_of_time = Clock().now

    def _shares(self, units: int) -> list[int]:
        first = self.rng.randint(1, units)
        return [first] if first == units or self.rng.random() < 0.4 else [first, units - first]

    def _order_faults(self, how_many: int) -> None:
        for _ in range(how_many):
            where = self.rng.choice(("refund", "credit", "refund", "credit", "look", "order", "mirror"))
            if where in ("refund", "credit"):
                what = self.rng.choice(
                    (Fault.REFUSE, Fault.THROTTLE, Fault.LOSE_REQUEST, Fault.LATE, Fault.SLOW, Fault.LOSE_ANSWER, Fault.LOSE_ANSWER)
                )
            else:
                what = Fault.THROTTLE
            self.toy.fail_next(where, what, self.rng.choice((0.1, 3, 11, 29)))
            self.events[f"{where} {what.value}"] += 1

    def _resolve(self, rma: uuid.UUID, payout: Payout) -> None:
        resolution = self.world.resolve(rma, payout)
        with self.db.reading() as session:
            self.rmas[rma] = (payout, session.get_one(Resolution, resolution).total)
        self.rung = True

    # ── running ──

    def run(self) -> Verdict:
        """Play until nothing is left to do, with people answering for what is parked; then judge."""
        try:
            for _ in range(8):
                self._play()
                if not self._people_answer():
                    break
        except Stuck as stuck:
            self.broken.append(str(stuck))
        finally:
            for worker in self.workers:
                worker.end()
        return self._judge()

    def _play(self) -> None:
        sweep = self.clock.now
        for _ in range(STEPS):
            if self.clock.now >= sweep:  # the clock process: rings for what is due
                self.rung, sweep = True, self.clock.now + timedelta(seconds=5)
            busy = [worker for worker in self.workers if worker.at != "idle"]
            ready = [
                worker
                for worker in self.workers
                if worker.asleep_until <= self.clock.now - self.start_of_time and (worker.at != "idle" or self.rung)
            ]
            if not busy and self._finished():
                return
            if not ready:
                self.clock.advance(timedelta(seconds=self.rng.choice(LEAPS)))
                continue
            self._one(self.rng.choice(ready))
        raise Stuck(f"still not done after {STEPS} steps")

    def _one(self, worker: Worker) -> None:
        """One decision of the schedule."""
        luck, trouble = self.rng.random(), 0.08 if worker.row == Kind.SETTLE else 0.02
        if luck < trouble and worker.at != "idle":
            self._fate(worker, self.rng.choice(("killed", "killed before the commit", "database gone", "database gone before the commit")))
        elif luck < 2 * trouble and worker.at != "idle":
            nap = self.rng.choice(UNDER_WAY if worker.at == "before the payment" else PAUSES)
            self._fate(worker, f"paused {nap} s", nap)
            return
        elif luck < 0.18:
            self.events["redis emptied"] += 1
            self.rung = False
        elif luck < 0.28:
            self.clock.advance(timedelta(seconds=self.rng.choice(LEAPS)))
        elif luck < 0.31:
            self._people_answer()
        self.note(f"{worker.name} goes on from {worker.at} {worker.row} {worker.fate}")
        worker.proceed()

    def _fate(self, worker: Worker, what: str, nap: float = 0) -> None:
        self.events[f"{what.split(' ', maxsplit=1)[0]} at: {worker.row} {worker.at}"] += 1
        self.note(f"{worker.name} at {worker.at}: {what}")
        if nap:
            worker.asleep_until = self.clock.now - self.start_of_time + timedelta(seconds=nap)
        else:
            worker.fate = what

    def _finished(self) -> bool:
        with Database.reading(self.db) as session:
            query = select(OutboxRow.id).where(
                OutboxRow.shop_id == self.world.shop.id, OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None)
            )
            return session.execute(query.limit(1)).first() is None

    def _people_answer(self) -> bool:
        """Somebody looks into the shop's books for every parked row and says what is there; what was not paid is resolved anew."""
        waits = [until for row in self.world.rows() if row.state is MoneyState.PARKED and (until := self._answer(row)) is not None]
        if waits and all(worker.at == "idle" for worker in self.workers) and self._finished():  # nothing else is left to do
            self.clock.advance(max(waits) - self.clock.now)
        again = bool(waits)
        for rma, (payout, _) in list(self.rmas.items()):
            with self.db.reading() as session:
                state = session.get_one(Rma, rma).state
            if state is RmaState.RECEIVED:
                self._resolve(rma, payout)
                again = True
        with Database.reading(self.db) as session:
            mine = (OutboxRow.shop_id == self.world.shop.id, OutboxRow.done_at.is_(None))
            parked = select(OutboxRow).where(*mine, OutboxRow.parked_at.is_not(None))
            stuck = [row.id for row in session.execute(parked).scalars()]
        for row_id in stuck:
            with self.db.transaction() as session:
                outbox.retry(session, row_id, now=self.db.now(session))
        return again or bool(stuck) or not self._finished()

    def _answer(self, row: Refund) -> datetime | None:
        """One answer, as true as can be. From when on it can be given, where it is too early for it."""
        self.parked += 1
        if self.proof is not Proof.NONE and row.parked_because == "outcome_unknown":
            self.broken.append(f"{row.id} was parked although this shop can tell")
        if row.asked_first_at is None:
            self.broken.append(f"{row.id} was parked although no request can have left: {row.parked_because}")
        paid = [payment for payment in self.toy.payments() if payment.key == row.id.hex]
        try:
            with self.db.transaction() as session:
                if paid:
                    receipts.answer_paid(session, row.id, RefundRef(paid[0].reference), who="sam", now=self.db.now(session))
                else:
                    receipts.answer_unpaid(session, row.id, who="sam", now=self.db.now(session))
        except receipts.TooEarly as early:  # a request may still act over there: they look again when it cannot
            self.events["asked too early"] += 1
            return early.until
        return None

    # ── judging ──

    def _judge(self) -> Verdict:
        keys = Counter(payment.key for payment in self.toy.payments())
        twice = [key for key, times in keys.items() if times > 1]
        lost: list[str] = []
        for rma, (_, promised) in self.rmas.items():
            rows = self.world.rows(rma)
            paid = [payment for payment in self.toy.payments() if payment.key in {row.id.hex for row in rows}]
            moved = sum(payment.told.amount.minor for payment in paid)
            if moved > promised:
                twice.append(f"rma {rma}: {moved} moved, {promised} promised")
            if moved < promised:
                lost.append(f"rma {rma}: {moved} moved, {promised} promised")
            for row in rows:
                if row.state is MoneyState.SETTLED and [p.reference for p in paid if p.key == row.id.hex] != [row.platform_reference]:
                    lost.append(f"row {row.id} says {row.platform_reference}, the books do not")
                if row.state is MoneyState.REFUSED and row.id.hex in keys:
                    twice.append(f"row {row.id} is refused, and was paid")
                if row.state not in (MoneyState.SETTLED, MoneyState.REFUSED):
                    lost.append(f"row {row.id} is left {row.state}")
        with Database.reading(self.db) as session:
            alarms = session.execute(select(Alarm.kind).where(Alarm.shop_id == self.world.shop.id)).scalars().all()
        if alarms:
            twice.append(f"alarms: {alarms}")
        self._check_seals()
        return Verdict(self.seed, tuple(twice), tuple(lost), self.parked, tuple(self.broken), self.events)

    def _check_seals(self) -> None:
        """Now and then: the timeline that all this left seals and verifies."""
        if self.seed % 16 == 0:
            with self.db.transaction() as session:
                while seals.seal(session, self.world.shop.id, b"key"):
                    pass
            with self.db.reading() as session:
                verdict = seals.verify_one(session, self.world.shop.id, b"key")
            if verdict.faults or verdict.unsealed:
                self.broken.append(f"timeline: {verdict}")

    def note(self, what: str) -> None:
        """For --trace."""
        if self.trace is not None:
            self.trace(f"{(self.clock.now - self.start).total_seconds():9.2f}  {what}")


class Stuck(Exception):
    """The schedule does not come to an end."""


@dataclass(frozen=True)
class Verdict:
    """What the books say of one seed."""

    seed: int
    twice: tuple[str, ...]
    lost: tuple[str, ...]
    parked: int
    broken: tuple[str, ...]
    events: Counter[str]


def run(seeds: Sequence[int], url: str | None = None, trace: Callable[[str], object] | None = None) -> list[Verdict]:
    """Run these seeds on one database, brought to the newest version first. Without a URL: a SQLite of their own, gone afterwards."""
    with nullcontext(url) if url else _fresh_sqlite() as address:
        clock = Clock()
        database = Stepped(address, clock)
        migrate.to(database)
        vault = Vault.of([new_key()], new_key())
        try:
            verdicts = []
            for seed in seeds:
                clock.advance(timedelta(hours=1))
                verdicts.append(Schedule(seed, database, clock, vault, trace).run())
            return verdicts
        finally:
            database.dispose()


@contextmanager
def _fresh_sqlite() -> Iterator[str]:
    """A new SQLite database, in memory-backed storage where the machine has some: durability is not what is tested here."""
    shm = Path("/dev/shm")
    where = shm if shm.is_dir() and os.access(shm, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="retour-schedules-", dir=where) as directory:
        yield f"sqlite:///{directory}/s.db"


def report(verdicts: Sequence[Verdict], say: Callable[[str], object] = print) -> bool:
    """Say what went wrong, seed by seed, and the sum as the last line. True: nothing did."""
    for verdict in verdicts:
        for problem in (*verdict.twice, *verdict.lost, *verdict.broken):
            say(f"seed {verdict.seed}: {problem}")
    events = sum((verdict.events for verdict in verdicts), Counter[str]())
    say(
        f"{len(events)} kinds of trouble, {events.total()} in all; the rarest: "
        + "; ".join(f"{what} x{n}" for what, n in events.most_common()[:-4:-1])
    )
    broken = sum(1 for verdict in verdicts if verdict.broken)
    if broken:
        say(f"{broken} schedules broken")
    twice, lost = (sum(1 for verdict in verdicts if getattr(verdict, kind)) for kind in ("twice", "lost"))
    say(f"{len(verdicts)} schedules: {twice} paid twice, {lost} lost, {sum(verdict.parked for verdict in verdicts)} parked")
    return not (twice or lost or broken)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 1 where anything was paid twice, lost, or parked without cause."""
    parser = argparse.ArgumentParser(description="Random schedules of the money procedure.")
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--database", help="a SQLAlchemy URL of an empty database; default: a fresh SQLite")
    parser.add_argument("--jobs", type=int, default=1, help="processes (SQLite only: each has a database of its own)")
    parser.add_argument("--trace", action="store_true", help="print every decision")
    asked = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # every schedule breaks things on purpose
    seeds = [asked.seed] if asked.seed is not None else list(range(asked.first, asked.first + asked.seeds))
    if asked.jobs > 1 and not asked.database:
        with ProcessPoolExecutor(asked.jobs) as pool:
            parts = pool.map(run, [seeds[n :: asked.jobs] for n in range(asked.jobs)])
            verdicts = sorted((verdict for part in parts for verdict in part), key=lambda verdict: verdict.seed)
    else:
        verdicts = run(seeds, asked.database, print if asked.trace else None)
    return 0 if report(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
