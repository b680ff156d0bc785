"""The one RQ job: work off what is due, then return. The database is the memory; RQ only rang.

Rows are claimed by lease, fairly over shops, and handed to threads; a heartbeat keeps the leases of everything in hand.
A row's outcome is recorded under the fence of its claim, so a drain that slept through its lease changes nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Final

from sqlalchemy.exc import OperationalError

from connector import wiring
from connector.bell import Bell
from connector.config import Settings
from connector.db import Busy
from connector.domain.platform import Revoked, Throttled
from connector.services import outbox, shops
from connector.services.outbox import Claimed, Later, NeedsAPerson
from jobs.handlers import GIVE_UP, HANDLERS, Handler
from jobs.site import Site

log = logging.getLogger(__name__)

HEARTBEAT: Final = timedelta(seconds=5)
ATTEMPTS: Final = 10
HANDLER_GRACE: Final = timedelta(minutes=1)  # past its deadline, before the whole process goes
HANDLER_DEADLINE: Final = timedelta(minutes=4)  # a handler that takes longer hangs: its lease is left to run out
LONGEST: Final = timedelta(minutes=5)  # of one drain; the sweep rings again for what is left
_REMEMBERED: Final = 100  # shops that were served of late
_FIRST_BACKOFF: Final = timedelta(seconds=2)
_LONGEST_BACKOFF: Final = timedelta(minutes=10)


def work_one(site: Site, row: Claimed, handlers: Mapping[str, Handler] = HANDLERS) -> None:
    """Run one claimed row's handler and record what became of it.

    A throttled or revoked shop is not an attempt: it holds back the shop. Nor is a database that is busy or away. Any
    other error backs off, and parks the row after `ATTEMPTS` of them; so every exception is caught here.
    """
    try:
        handlers[row.kind](site, row.subject_id)
    except Later as later:
        log.info("work.later", extra={"kind": row.kind, "subject": row.subject_id.hex, "why": str(later)})
        _say(site, row, wait_for=later.delay)
    except Throttled as busy:
        _say(site, row, wait_for=timedelta(0), pause=busy.retry_after)
    except Revoked:
        log.warning("shop.revoked", extra={"shop": row.shop_id.hex})
        _say(site, row, wait_for=timedelta(0), revoked=True)
    except NeedsAPerson as question:
        _say(site, row, park=question.why)
    except (Busy, OperationalError) as away:
        log.warning("database.away", extra={"kind": row.kind, "subject": row.subject_id.hex, "error": type(away).__name__})
        _say(site, row, wait_for=_FIRST_BACKOFF)
    except Exception as error:  # noqa: BLE001 - see above
        _failed(site, row, error)
    else:
        with site.db.transaction() as session:
            outbox.done(session, row, now=site.db.now(session))


def _failed(site: Site, row: Claimed, error: Exception) -> None:
    extra = {"kind": row.kind, "subject": row.subject_id.hex, "attempt": row.attempts + 1, "error": type(error).__name__}
    log.error("work.failed", extra=extra, exc_info=error)
    if row.attempts + 1 >= ATTEMPTS:
        if row.kind in GIVE_UP:
            GIVE_UP[row.kind](site, row.subject_id)
        _say(site, row, park=f"failed {ATTEMPTS} times: {type(error).__name__}")
    else:
        _say(site, row, wait_for=min(_FIRST_BACKOFF * 2**row.attempts, _LONGEST_BACKOFF), failed=True)


def _say(
    site: Site,
    row: Claimed,
    *,
    wait_for: timedelta | None = None,
    pause: timedelta | None = None,
    revoked: bool = False,
    park: str | None = None,
    failed: bool = False,
) -> None:
    with site.db.transaction() as session:
        now = site.db.now(session)
        if pause is not None:
            outbox.pause(session, row.shop_id, wait=pause, now=now)
        if revoked:
            shops.revoke(session, row.shop_id)
        if park is not None:
            outbox.park(session, row, why=park, now=now)
        elif wait_for is not None:
            outbox.later(session, row, at=now + wait_for, failed=failed)


@dataclass(slots=True)
class Drain:
    """Work off due rows with a few threads until nothing is due, the time is up, or `stop` is called."""

    site: Site
    threads: int = 4
    clear_bell: Callable[[], object] = lambda: None
    ring: Callable[[], object] = lambda: None
    handlers: Mapping[str, Handler] = field(default_factory=lambda: HANDLERS)
    kinds: Collection[str] | None = None
    heartbeat: timedelta = HEARTBEAT
    deadline: timedelta = HANDLER_DEADLINE
    longest: timedelta = LONGEST
    part: Callable[[], object] = lambda: os._exit(os.EX_TEMPFAIL)  # the supervisor starts another
    _stopping: threading.Event = field(default_factory=threading.Event)
    _served: tuple[uuid.UUID, ...] = ()
    _in_hand: dict[Future[None], Claimed] = field(default_factory=dict)
    _started: dict[Future[None], float] = field(default_factory=dict)

    def run(self) -> int:
        """Drain once; returns how many rows were worked."""
        self.clear_bell()  # before the first claim, so that a ring meanwhile is not lost
        until, worked = time.monotonic() + self.longest.total_seconds(), 0
        quiet = threading.Event()
        heart = threading.Thread(target=self._beat, args=(quiet,), name="lease-heartbeat", daemon=True)
        heart.start()
        try:
            with ThreadPoolExecutor(self.threads, thread_name_prefix="drain") as pool:
                while True:
                    claims = not self._stopping.is_set() and time.monotonic() < until
                    claimed = self._claim() if claims else []
                    for row in claimed:
                        future = pool.submit(work_one, self.site, row, self.handlers)
                        self._in_hand[future], self._started[future] = row, time.monotonic()
                    worked += len(claimed)
                    if not self._in_hand:
                        break
                    self._reap(wait(self._in_hand, timeout=1.0, return_when=FIRST_COMPLETED).done)
                    self._part_with_the_hung()
        finally:
            quiet.set()
            heart.join()
            self._reap({future for future in self._in_hand if future.done()})
        if time.monotonic() >= until:
            self.ring()
        return worked

    def stop(self) -> None:
        """Claim nothing more; what is in hand is finished."""
        self._stopping.set()

    def _claim(self) -> list[Claimed]:
        """As many rows as threads are free, no kind on more than half of them."""
        half = max(1, self.threads // 2)
        busy = Counter(row.kind for row in self._in_hand.values())
        room = [kind for kind in (self.kinds or self.handlers) if kind in self.handlers and busy[kind] < half]
        free = self.threads - len(self._in_hand)
        claimed: list[Claimed] = []
        if not room or not free:
            return claimed
        with self.site.db.transaction() as session:
            for kind in room:
                limit = min(half - busy[kind], free - len(claimed))
                claimed += outbox.claim(session, kinds=[kind], limit=limit, now=self.site.db.now(session), served=self._served)
        for row in claimed:
            self._served = (*(shop for shop in self._served if shop != row.shop_id), row.shop_id)[-_REMEMBERED:]
        return claimed

    def _part_with_the_hung(self) -> None:
        """A thread cannot be ended, only its process: what else it has in hand comes back by its lease, like after any crash."""
        oldest = min(self._started.values(), default=time.monotonic())
        if time.monotonic() - oldest > (self.deadline + HANDLER_GRACE).total_seconds():
            log.critical("work.hung")
            self.part()

    def _reap(self, finished: Collection[Future[None]]) -> None:
        for future in finished:
            row, _ = self._in_hand.pop(future), self._started.pop(future)
            if (error := future.exception()) is not None:  # the database went away while the outcome was recorded: the lease brings it back
                log.error("work.unrecorded", extra={"kind": row.kind, "subject": row.subject_id.hex, "error": type(error).__name__})

    def _beat(self, quiet: threading.Event) -> None:
        while not quiet.wait(self.heartbeat.total_seconds()):
            longest = time.monotonic() - self.deadline.total_seconds()
            rows = [row for future, row in list(self._in_hand.items()) if self._started.get(future, longest) > longest]
            try:
                with self.site.db.transaction() as session:
                    outbox.renew(session, rows, now=self.site.db.now(session))
            except Exception as error:  # noqa: BLE001 - a missed beat costs a lease, never the heart
                log.warning("lease.unrenewed", extra={"error": type(error).__name__})


@cache
def _drain() -> Drain:
    """This process' drain, made of the environment when the bell first rings."""
    settings = Settings.from_env()
    bell = Bell(settings.redis_url)
    served = wiring.platforms(settings)
    site = Site(
        wiring.database(settings, ring=bell.ring),
        wiring.opener(settings, served),
        platforms=served,
        vault=wiring.vault(settings),
        base_url=settings.base_url,
    )
    clear = bell.clear if settings.kinds is None else (lambda: None)  # a ring may be for kinds that another worker serves
    return Drain(site, settings.threads, clear_bell=clear, ring=bell.ring, kinds=settings.kinds)


def run() -> None:
    """Work off what is due. The one function that RQ may name."""
    _drain().run()


def stop() -> None:
    """Claim nothing more; `run` returns once what is in hand is finished."""
    _drain().stop()
