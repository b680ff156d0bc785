"""The clock: rings for what is due, asks for polls and probes, seals the timeline, forgets. Two of them at once do no harm.

It holds nothing itself: whatever it misses while it is down, the next pass finds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from connector.bell import Bell
from connector.config import Settings
from connector.db import Database
from connector.models import Kind
from connector.services import budgets, inbox, lookup, outbox, privacy, seals, staff, syncing
from connector.signals import StopSignals

log = logging.getLogger(__name__)

_KINDS: Final = tuple(Kind)  # what `jobs/handlers.py` works off, without loading it
EVERY: Final = 2.0  # seconds between two passes
KEPT: Final = timedelta(days=7)  # how long finished outbox rows stay for whoever wonders
INSTALLS_KEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """One process' clock."""

    db: Database
    bell: Bell
    seal_key: bytes

    def tick(self) -> None:
        """One pass. Each part is a transaction of its own, so that a pass may die anywhere."""
        with self.db.reading() as session:
            due = outbox.anything_due(session, kinds=_KINDS, now=self.db.now(session))
            unsealed = seals.waiting(session)
            untold = syncing.anything_due(session, now=self.db.now(session))
        if due:
            self.bell.ring(force=True)
        for shop in unsealed:
            with self.db.transaction() as session:
                sealed = seals.seal(session, shop, self.seal_key)
                last = seals.last(session, shop)
            if sealed and last is not None:  # in the log, so that a chain whose end was cut off is noticed
                log.info("timeline.sealed", extra={"shop": shop.hex, "position": last.position, "hash": last.hash.hex()})
        with self.db.transaction() as session:
            outbox.forget(session, before=self.db.now(session) - KEPT)
            inbox.forget_poisoned(session, before=self.db.now(session) - inbox.KEPT)
            privacy.forget_installs(session, before=self.db.now(session) - INSTALLS_KEPT)
            budgets.forget(session, before=self.db.now(session) - budgets.KEPT)
            staff.forget(session, before=self.db.now(session) - staff.LINKS_KEPT)
            lookup.forget(session, before=self.db.now(session) - lookup.CODES_KEPT)
        if untold:
            with self.db.transaction() as session:
                syncing.due(session, now=self.db.now(session))

    def run(self, signals: StopSignals, every: float = EVERY) -> None:
        """Tick until told to stop. A database that is away is waited for."""
        while True:
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 - the next pass tries again
                log.error("clock.failed", extra={"error": type(error).__name__})  # noqa: TRY400 - a trace may hold rows
            if signals.wait(every):
                return


def main(settings: Settings) -> int:
    """The clock process."""
    clock = Clock(Database(settings.database_url), Bell(settings.redis_url), settings.seal_key.encode())
    with StopSignals() as signals:
        clock.run(signals)
    return 0
