"""Random schedules of the money procedure: kills, pauses, races, lost and late answers, a broken database, an emptied Redis.

    python -m tests.schedules --seeds 10000 [--first 1] [--shop woocommerce] [--database postgresql+psycopg://…] [--jobs 2]
    python -m tests.schedules --shop woocommerce --seed 4711 --trace

One seed is one schedule: a few workers, one thread at a time, hand over at every step that matters (before and after each
transaction, around the check, the payment and the answer), and the seed decides who goes on, who dies, who sleeps, and how
late it is. The code under test is the real one; only the clock is ours. The far side's books are the judge: those of a toy shop, or
the gateway's of a simulated WooCommerce over HTTP, where also the shop stops at each of its steps, and the merchant refunds as well.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import select

from adapters.simulators.toy import Proof
from connector import migrate
from connector.db import Database
from connector.domain.orders import RefundRef
from connector.domain.platform import Store
from connector.domain.rma import MoneyState, RmaState
from connector.domain.wanted import Payout
from connector.models import Alarm, Kind, OutboxRow, Refund, Resolution, Rma
from connector.secrets import Vault, new_key
from connector.services import desk, inbox, outbox, receipts, seals
from connector.services.inbox import Delivery
from connector.services.shops import ShopKeys
from jobs.site import Site
from tests.far_shops import BEHIND, Far, ToyFar, WooFar
from tests.machinery import Stepped, Worker
from tests.world import Clock

STEPS: Final = 20_000  # far more than any schedule needs; more means that something goes round in circles
PAUSES: Final = (0.5, 9.9, 10.1, 21, 95, 300, 900)
UNDER_WAY: Final = (0.5, 9.9, 21)  # a request that has left: the far side gives it up after its longest run
Open: TypeAlias = Callable[[random.Random, Clock], Far]


@dataclass(eq=False)
class Schedule:
    """One seed's run."""

    seed: int
    db: Stepped
    clock: Clock
    vault: Vault
    open: Open
    trace: Callable[[str], object] | None = None
    rung: bool = True
    broken: list[str] = field(default_factory=list)
    parked: int = 0
    merchant: bool = False  # gave something back: what we promised may not fit any more
    tidied: bool = False  # a record was deleted in the admin: who had read the order just before finds that nothing fits
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Draw the shop, its orders, what shoppers want, and what goes wrong."""
        self.rng = random.Random(self.seed)  # noqa: S311 - a schedule, not a secret
        self.far = self.open(self.rng, self.clock)
        self.world = self.far.open(self.db, self.vault)
        self.workers = [self._worker(f"worker {n}") for n in range(self.rng.randint(*self.far.workers))]
        self.start = self.clock.now
        self.rmas: dict[uuid.UUID, tuple[Payout, int]] = {}
        order = self.far.sell(
            f"order-{self.seed}",
            units=self.rng.randint(1, 4),
            net=self.rng.randint(100, 9999),
            tax=self.rng.randint(0, 2000),
            lines=max(self.far.lines),
        )
        for line in order.lines[: self.rng.randint(*self.far.lines)]:
            for share in self._shares(line.quantity):
                rma = self.world.received(order, {line.id: share})
                payout = self.rng.choice(self.far.payouts)
                self.rmas[rma] = (payout, 0)
        for _ in range(self.rng.randint(0, 4)):
            self.events[self.far.trouble(self.rng)] += 1
        for rma, (payout, _) in self.rmas.items():
            self._resolve(rma, payout)

    def _worker(self, name: str) -> Worker:
        def store(_keys: ShopKeys) -> Store:
            return self.far.store(worker)

        site = Site(self.db, store, stopwatch=lambda: self.clock.now - self.start_of_time, platforms=self.far.platforms(), vault=self.vault)
        worker = Worker(name, self, site)
        return worker

    start_of_time = Clock().now

    def _shares(self, units: int) -> list[int]:
        first = self.rng.randint(1, units)
        return [first] if first == units or self.rng.random() < 0.4 else [first, units - first]

    def _resolve(self, rma: uuid.UUID, payout: Payout) -> bool:
        """Staff decide. False where the merchant has given back so much that nothing can be decided any more."""
        try:
            resolution = self.world.resolve(rma, payout)
        except desk.NotPriceable:
            if not self.merchant:
                raise
            self.rmas[rma] = (payout, 0)
            return False
        with self.db.reading() as session:
            self.rmas[rma] = (payout, session.get_one(Resolution, resolution).total)
        self.rung = True
        return True

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
        try:
            return self._judge()
        finally:
            self.far.close()

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
                self.clock.advance(timedelta(seconds=self.rng.choice(self.far.leaps)))
                continue
            self._one(self.rng.choice(ready))
        raise Stuck(f"still not done after {STEPS} steps")

    def _one(self, worker: Worker) -> None:
        """One decision of the schedule."""
        if worker.at == "in the gateway" and self.rng.random() < 0.4:  # it takes its time: others must wait for it
            self._fate(worker, "paused in the gateway", self.rng.choice(UNDER_WAY))
            return
        luck, trouble = self.rng.random() * self.far.pace, 0.08 if worker.row == Kind.SETTLE else 0.02
        if luck < trouble and worker.at != "idle":
            self._fate(worker, self.rng.choice(("killed", "killed before the commit", "database gone", "database gone before the commit")))
        elif luck < 2 * trouble and worker.at != "idle":
            nap = self.rng.choice(UNDER_WAY if worker.at in BEHIND else PAUSES)
            self._fate(worker, f"paused {nap} s", nap)
            return
        elif luck < 0.18:
            self.events["redis emptied"] += 1
            self.rung = False
        elif luck < 0.28:
            self.clock.advance(timedelta(seconds=self.rng.choice(self.far.leaps)))
        elif luck < 0.31:
            self._people_answer()
        elif luck < 0.33:
            self._meanwhile()
        self.note(f"{worker.name} goes on from {worker.at} {worker.row} {worker.fate}")
        worker.proceed()

    def _meanwhile(self) -> None:
        """Something happens over there, and the shop says so to the web."""
        what, bodies = self.far.meanwhile(self.rng, {worker.at for worker in self.workers})
        if what:
            self.events[what] += 1
            self.note(what)
        self.merchant = self.merchant or "admin" in what
        with self.db.transaction() as session:
            for body in bodies:
                row = uuid.uuid4()
                hidden = self.vault.encrypt("hint", row.hex, body)
                delivery = Delivery(row, self.world.shop.id, "order.updated", inbox.digest(body), hidden)
                inbox.put(session, [delivery], now=self.db.now(session))
        self.rung = self.rung or bool(bodies)

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
            if state is RmaState.RECEIVED and self._resolve(rma, payout):
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
        if self.far.can_tell(row.kind) and row.parked_because == "outcome_unknown":
            self.broken.append(f"{row.id} was parked although this shop can tell")
        if row.asked_first_at is None and not ((self.merchant or self.tidied) and row.parked_because == "no_longer_fits"):
            self.broken.append(f"{row.id} was parked although no request can have left: {row.parked_because}")
        paid = [moved for moved in self.far.moved() if moved.key == row.id.hex]
        try:
            with self.db.transaction() as session:
                if paid:
                    receipts.answer_paid(session, row.id, RefundRef(paid[0].reference), who="sam", now=self.db.now(session))
                else:
                    receipts.answer_unpaid(session, row.id, who="sam", now=self.db.now(session))
            self.tidied = (not paid and self.far.tidy(row.id.hex)) or self.tidied
        except receipts.TooEarly as early:  # a request may still act over there: they look again when it cannot
            self.events["asked too early"] += 1
            return early.until
        return None

    # ── judging ──

    def _judge(self) -> Verdict:
        books = [moved for moved in self.far.moved() if moved.key]
        keys = Counter(moved.key for moved in books)
        twice = [key for key, times in keys.items() if times > 1]
        lost: list[str] = []
        for rma, (_, promised) in self.rmas.items():
            rows = self.world.rows(rma)
            paid = [moved for moved in books if moved.key in {row.id.hex for row in rows}]
            moved = sum(one.minor for one in paid)
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
        twice += self.far.torn(())
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


def toy(rng: random.Random, clock: Clock) -> Far:
    """A toy shop that can prove much or little, and whose clock may be off."""
    skew = timedelta(seconds=rng.choice((0, 0, -600, 600)))
    return ToyFar(rng.choice(list(Proof)), lambda: clock.now + skew)


def woocommerce(rng: random.Random, clock: Clock) -> Far:
    """A WooCommerce whose clock may be off."""
    skew = timedelta(seconds=rng.choice((0, 0, -600, 600)))
    return WooFar(lambda: clock.now + skew)


SHOPS: Final[Mapping[str, Open]] = {"toy": toy, "woocommerce": woocommerce}


def run(seeds: Sequence[int], url: str | None = None, trace: Callable[[str], object] | None = None, *, shop: str = "toy") -> list[Verdict]:
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
                verdicts.append(Schedule(seed, database, clock, vault, SHOPS[shop], trace).run())
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
    parser.add_argument("--shop", choices=sorted(SHOPS), default="toy", help="whose money it is")
    parser.add_argument("--database", help="a SQLAlchemy URL of an empty database; default: a fresh SQLite")
    parser.add_argument("--jobs", type=int, default=1, help="processes (SQLite only: each has a database of its own)")
    parser.add_argument("--trace", action="store_true", help="print every decision")
    asked = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # every schedule breaks things on purpose
    seeds = [asked.seed] if asked.seed is not None else list(range(asked.first, asked.first + asked.seeds))
    if asked.jobs > 1 and not asked.database:
        with ProcessPoolExecutor(asked.jobs) as pool:
            parts = pool.map(partial(run, shop=asked.shop), [seeds[n :: asked.jobs] for n in range(asked.jobs)])
            verdicts = sorted((verdict for part in parts for verdict in part), key=lambda verdict: verdict.seed)
    else:
        verdicts = run(seeds, asked.database, print if asked.trace else None, shop=asked.shop)
    return 0 if report(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
