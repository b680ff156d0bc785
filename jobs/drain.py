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
from connector.db import Busy, is_away
from connector.domain.platform import Revoked, Throttled
from connector.mail import Post
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
        _say(site, row, wait_for=timedelta(0), revoked=True)
    except NeedsAPerson as question:
        _say(site, row, park=question.why)
    except OperationalError as error:
        if not is_away(error):
            _failed(site, row, error)
        else:
            _away(site, row, error)
    except Busy as away:
        _away(site, row, away)
    except Exception as error:  # noqa: BLE001 - see above
        _failed(site, row, error)
    else:
        with site.db.transaction() as session:
            outbox.done(session, row, now=site.db.now(session))


def _away(site: Site, row: Claimed, error: Exception) -> None:
    log.warning("database.away", extra={"kind": row.kind, "subject": row.subject_id.hex, "error": type(error).__name__})
    _say(site, row, wait_for=_FIRST_BACKOFF)


def _failed(site: Site, row: Claimed, error: Exception) -> None:
    extra = {"kind": row.kind, "subject": row.subject_id.hex, "attempt": row.attempts + 1, "error": type(error).__name__}
    log.error("work.failed", extra=extra, exc_info=error)
    if row.attempts + 1 >= ATTEMPTS:
        _say(site, row, park=f"failed {ATTEMPTS} times: {type(error).__name__}", gave_up=True)
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
    gave_up: bool = False,
    failed: bool = False,
) -> None:
    """Record an outcome. What it means beyond its row counts only for who still holds the row."""
    with site.db.transaction() as session:
        now = site.db.now(session)
        if park is not None:
            if outbox.park(session, row, why=park, now=now) and gave_up and row.kind in GIVE_UP:
                GIVE_UP[row.kind](session, row.subject_id, now)
        elif wait_for is not None and outbox.later(session, row, at=now + wait_for, failed=failed):
            if pause is not None:
                outbox.pause(session, row.shop_id, wait=pause, now=now)
            if revoked and shops.revoke(session, row.shop_id, used_since=row.at):
                log.warning("shop.revoked", extra={"shop": row.shop_id.hex})


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
    _trouble: Exception | None = None

    def run(self) -> int:
        """Drain once; returns how many rows were worked."""
        self.clear_bell()  # before the first claim, so that a ring meanwhile is not lost
        until, worked = time.monotonic() + self.longest.total_seconds(), 0
        quiet, self._trouble = threading.Event(), None
        heart = threading.Thread(target=self._beat, args=(quiet,), name="lease-heartbeat", daemon=True)
        heart.start()
        try:
            with ThreadPoolExecutor(self.threads, thread_name_prefix="drain") as pool:
                while True:
                    claims = not self._stopping.is_set() and time.monotonic() < until and self._trouble is None
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
        if self._trouble is not None:
            raise self._trouble
        if time.monotonic() >= until:
            self.ring()
        return worked

    def stop(self) -> None:
        """Claim nothing more; what is in hand is finished."""
        self._stopping.set()

    def _claim(self) -> list[Claimed]:
        """As many rows as threads are free. A database that is away ends the claims; what is in hand is still seen to."""
        try:
            return self._claim_fairly()
        except (Busy, OperationalError) as error:
            self._trouble = error
            return []

    def _claim_fairly(self) -> list[Claimed]:
        """No kind on more than half of the threads, and no shop on all of its kind's."""
        kinds = [kind for kind in (self.kinds or self.handlers) if kind in self.handlers]
        half = max(1, self.threads // 2) if len(kinds) > 1 else self.threads
        busy = Counter(row.kind for row in self._in_hand.values())
        free = self.threads - len(self._in_hand)
        claimed: list[Claimed] = []
        if not free or all(busy[kind] >= half for kind in kinds):
            return claimed
        most = max(1, half - 1)
        with self.site.db.transaction() as session:
            for kind in kinds:
                theirs = Counter(row.shop_id for row in self._in_hand.values() if row.kind == kind)
                claimed += outbox.claim(
                    session,
                    kinds=[kind],
                    limit=min(half - busy[kind], free - len(claimed)),
                    now=self.site.db.now(session),
                    served=self._served,
                    most=most,
                    room={shop: max(0, most - count) for shop, count in theirs.items()},
                )
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
        post=Post.of(settings),
    )
    clear = bell.clear if settings.kinds is None else (lambda: None)  # a ring may be for kinds that another worker serves
    return Drain(site, settings.threads, clear_bell=clear, ring=bell.ring, kinds=settings.kinds)


def run() -> None:
    """Work off what is due. The one function that RQ may name."""
    _drain().run()


def stop() -> None:
    """Claim nothing more; `run` returns once what is in hand is finished."""
    _drain().stop()
