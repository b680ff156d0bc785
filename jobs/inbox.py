"""Read again what deliveries hinted at: many hints become few reads.

    take hints -> say what they are about -> ask the shop for those orders, outside any transaction -> write down at most fifty at a time

Every step may be done twice and at the same time: an order that is read again changes nothing. A hint whose run died is taken anew.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from connector.domain.connecting import Hint
from connector.domain.orders import OrderRef
from connector.domain.platform import Revoked, Throttled
from connector.services import inbox
from connector.services.inbox import Taken
from connector.services.outbox import Later
from connector.services.shops import ShopKeys, keys_of
from jobs.reading import SENSELESS, Reading, batches
from jobs.site import Site

_ASKED: Final = 100  # orders of one read
_MOST: Final = 500  # orders of one run, so that a shop with much to tell takes turns with the others
_TAKES: Final = 20  # of a hundred hints each
_LONGEST: Final = timedelta(seconds=45)  # of one run, for the same reason; then no other read begins
_STUBBORN: Final = timedelta(hours=1)  # an order that cannot be read for so long is given up

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """One refresh of one shop: which hints ask for which order."""

    site: Site
    keys: ShopKeys
    reading: Reading
    hints: dict[OrderRef, list[Taken]] = field(default_factory=dict)


def refresh(site: Site, shop_id: uuid.UUID) -> None:
    """Read again what was hinted at since the last refresh.

    Raises:
        Later: more hints wait, or another run has some in hand.
        Throttled, Revoked: as the store raises them; the hints in hand are taken anew later.
    """
    with site.db.transaction() as session:
        inbox.take_over(session, shop_id, now=site.db.now(session))
        keys = keys_of(session, shop_id)
    run = _Run(site, keys, Reading(site, keys, site.store(keys)))
    _gather(run)
    try:
        rest = _read(run)
    except (Throttled, Revoked):
        _lay_aside(run, run.hints)
        raise
    _lay_aside(run, rest)
    _give_up(run)
    with site.db.reading() as session:
        wait = inbox.next_run(session, shop_id, now=site.db.now(session))
    if wait is not None:
        raise Later(timedelta(0) if rest else wait, "inbox.goes_on")


def _gather(run: _Run) -> None:
    """Take hints until they name enough orders or none is left."""
    for _ in range(_TAKES):
        with run.site.db.transaction() as session:
            taken = inbox.take(session, run.keys.id, now=run.site.db.now(session))
        known = {hint.id: hint for hint in taken}
        told = {hint.id: Hint(hint.ref) for hint in taken if hint.ref is not None}
        told |= {id_: about for id_, about in _about(run, taken) if about is not None}
        senseless = known.keys() - told.keys()
        with run.site.db.transaction() as session:
            now = run.site.db.now(session)
            inbox.told(session, run.keys.id, told, now=now)
            inbox.poison(session, run.keys.id, senseless, now=now)
        for id_, about in told.items():
            if about.order is not None:
                run.hints.setdefault(about.order, []).append(known[id_])
        if len(taken) < inbox.BATCH or len(run.hints) >= _MOST:
            return


def _about(run: _Run, taken: Iterable[Taken]) -> Iterator[tuple[uuid.UUID, Hint | None]]:
    """What each hint with a body is about; None: nobody can say."""
    platform, vault = run.site.platforms[run.keys.platform], run.site.need_vault()
    for hint in taken:
        if hint.ref is None and hint.body is not None:
            try:
                yield hint.id, platform.hint(hint.topic, vault.decrypt_bytes("hint", hint.id.hex, hint.body))
            except SENSELESS as trouble:
                log.warning("hint.senseless", extra={"shop": run.keys.id.hex, "hint": hint.id.hex, "error": type(trouble).__name__})
                yield hint.id, None


def _read(run: _Run) -> Mapping[OrderRef, Sequence[Taken]]:
    """Read the orders and write them down, and work off their hints. What no time was left for is returned."""
    started = run.site.stopwatch()
    rest = dict(run.hints)
    for refs in batches(run.hints, _ASKED):
        if run.site.stopwatch() - started > _LONGEST:
            break
        for done in run.reading.again(refs):
            for hints in batches([hint.id for ref in done for hint in run.hints[ref]], inbox.BATCH):
                with run.site.db.transaction() as session:
                    inbox.worked(session, hints)
        for ref in refs:
            del rest[ref]
    return rest


def _lay_aside(run: _Run, rest: Mapping[OrderRef, Sequence[Taken]]) -> None:
    for hints in batches([hint.id for taken in rest.values() for hint in taken], inbox.BATCH):
        with run.site.db.transaction() as session:
            inbox.lay_aside(session, hints, now=run.site.db.now(session))


def _give_up(run: _Run) -> None:
    """Hints at orders that could not be read stay in hand and are taken anew a little later; in the end they are set aside."""
    stubborn = [hint for ref in sorted(run.reading.failed) for hint in run.hints[ref]]
    for hints in batches(stubborn, inbox.BATCH):
        with run.site.db.transaction() as session:
            now = run.site.db.now(session)
            inbox.poison(session, run.keys.id, [hint.id for hint in hints if hint.received_at + _STUBBORN < now], now=now)
