"""How many hints a second the drain works off, against one RQ job for each; and what a bell on a commit costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import func, select, update

from bench import naive
from bench.deliveries import FIRST_ORDER, moulds
from bench.intake import Untrue
from bench.shop import Shop
from bench.stage import ROOT, Stage
from connector import wiring
from connector.bell import Bell
from connector.db import Database
from connector.models import HintRow, Kind, OrderRow, OutboxRow
from connector.models import Shop as ShopRow
from connector.services import inbox, outbox
from connector.services.inbox import Delivery
from jobs.drain import Drain
from jobs.site import Site

PER_ORDER = 4  # deliveries about each order, as in the burst


@dataclass(frozen=True, slots=True)
class Pace:
    """How many hints a second, and how many requests a hundred of them became."""

    rate: float
    requests: float


def drained(stage: Stage, shop: Shop, hints: int) -> Pace:
    """Put hints as the web does, and let the drain work them off; every order must have been read."""
    with stage.database("sqlite") as url:
        settings = stage.settings(url)
        platforms, vault, database = wiring.platforms(settings), wiring.vault(settings), stage.open(url)
        with database.reading() as session:
            owner = session.execute(select(ShopRow.id)).scalar_one()
        shapes = list(moulds(hints // PER_ORDER))
        for start in range(0, hints, inbox.BATCH):
            rows = [(uuid.uuid4(), b"".join(shapes[n % len(shapes)].delivery(n)[3:])) for n in range(start, start + inbox.BATCH)]
            put = [Delivery(id_, owner, "order.updated", inbox.digest(body), vault.encrypt("hint", id_.hex, body)) for id_, body in rows]
            with database.transaction() as session:
                inbox.put(session, put, now=database.now(session))
        site = Site(database, wiring.opener(settings, platforms), platforms=platforms, vault=vault)
        shop.asked()
        begun = time.perf_counter()
        while _left(database):
            _now_due(database)
            Drain(site, settings.threads).run()
        took = time.perf_counter() - begun
        with database.reading() as session:
            read: int = session.execute(select(func.count()).select_from(OrderRow)).scalar_one()
        database.dispose()
    if read != len(shapes):
        raise Untrue(f"the drain read {read:,} orders of {len(shapes):,}")
    return Pace(hints / took, shop.asked() * 100 / hints)


def one_by_one(stage: Stage, shop: Shop, hints: int, *, forks: bool) -> Pace:
    """One RQ job for each hint: it reads its order and keeps it. RQ's own worker forks for each; a simple one does not."""
    with stage.database("sqlite") as url:
        environ = stage.environ(url)
        queue = Queue(naive.QUEUE, connection=Redis.from_url(stage.valkey), serializer=JSONSerializer)
        for n in range(hints):
            queue.enqueue(naive.FUNCTION, str(FIRST_ORDER + n // PER_ORDER), result_ttl=0)
        shop.asked()
        command = (sys.executable, "-m", "bench.naive", "forking" if forks else "simple")
        told = subprocess.run(command, env=environ, stdout=subprocess.PIPE, cwd=ROOT, check=True)  # noqa: S603 - our own command
        took: float = json.loads(told.stdout.splitlines()[-1])
        database = stage.open(url)
        with database.reading() as session:
            read: int = session.execute(select(func.count()).select_from(OrderRow)).scalar_one()
        database.dispose()
    if read != -(-hints // PER_ORDER):
        raise Untrue(f"RQ's jobs read {read:,} orders of {-(-hints // PER_ORDER):,}")
    return Pace(hints / took, shop.asked() * 100 / hints)


def commits(stage: Stage, seconds: float, rounds: int) -> tuple[float, float]:
    """Commits a second that put one row of work, without a bell and with one that nobody hears, in turns."""
    bell = Bell(stage.valkey)
    with stage.database("sqlite", paused=True) as url, _opened(stage, url, None) as silent, _opened(stage, url, bell.ring) as ringing:
        with silent.reading() as session:
            owner = session.execute(select(ShopRow.id)).scalar_one()
        counts = {silent: 0, ringing: 0}
        for _ in range(rounds * 4):
            for database in counts:
                until = time.perf_counter() + seconds / rounds / 4
                while time.perf_counter() < until:
                    with database.transaction() as session:
                        outbox.put(session, Kind.MIRROR, owner, shop=owner, now=database.now(session))
                    counts[database] += 1
        bell.clear()
    return counts[silent] / seconds, counts[ringing] / seconds


@contextmanager
def _opened(stage: Stage, url: str, ring: Callable[[], object] | None) -> Iterator[Database]:
    database = wiring.database(stage.settings(url), ring=ring)
    try:
        yield database
    finally:
        database.dispose()


def _left(database: Database) -> bool:
    with database.reading() as session:
        return session.execute(select(HintRow.id).limit(1)).first() is not None


def _now_due(database: Database) -> None:
    """What waits for its two seconds is due: it is the work that is timed."""
    with database.transaction() as session:
        session.execute(
            update(OutboxRow).where(OutboxRow.done_at.is_(None)).values(available_at=database.now(session) - timedelta(seconds=1))
        )
