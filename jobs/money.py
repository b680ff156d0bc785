"""Give money back once. Every function here may die at any line, be paused at any line, and run twice at the same time.

    read -> look (only if an earlier attempt may have left) -> read the order -> mark -> send -> record

No network inside a transaction, no write outside one. What each step proves is told in `connector/services/refunds.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from sqlalchemy.orm import Session

from connector.db import Busy
from connector.domain.platform import (
    Attempt,
    CreditOrder,
    OutcomeUnknown,
    Receipt,
    RefundOrder,
    Rejected,
    Revoked,
    Sighting,
    SightingKind,
    Store,
    Throttled,
    Voided,
)  # fmt: skip
from connector.services import receipts, refunds
from connector.services.outbox import Later, NeedsAPerson
from connector.services.refunds import WINDOW, Unsettled
from jobs.site import Site

WHO = receipts.MACHINE
_SOON = timedelta(seconds=1)
_SLOWLY = timedelta(minutes=2)
_TOO_OFTEN = 20  # attempts, all of which came too late to be written
_FIRST_LOOK = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Errand:
    """One row's two questions to its store, refund and credit alike."""

    ask: Callable[[Attempt], Receipt]
    look: Callable[[Attempt], Sighting]


def settle(site: Site, row_id: uuid.UUID) -> None:
    """Give the money of one row back, or leave it where the next run can go on.

    Raises:
        Later: not now. Also after an unanswered request, and after the row was parked: the next run finds nothing to do.
        Throttled, Revoked: the shop does not answer us; this run moved nothing.
    """
    with site.db.reading() as session:
        seen = refunds.unsettled(session, row_id, now=site.db.now(session))
    if seen is None:
        return
    store = site.store(seen.shop)
    errand = _errand(store, seen.told)

    with _or_ask_a_person(site, seen):
        sighting = _look(errand, seen) if seen.may_have_left else None
        receipt = sighting.receipt if sighting else None
        attempt = None if receipt else _mark(site, store, seen, sighting)
    if attempt is not None:
        seen = replace(seen, attempt=attempt.number)
        with _or_ask_a_person(site, seen):
            receipt = _send(site, errand, seen, attempt)

    if receipt is not None:
        _record(site, row_id, receipt, attempt=seen.attempt)


def _look(errand: _Errand, seen: Unsettled) -> Sighting:
    """What became of the attempts so far: a receipt, or the proof that there will never be one.

    Raises:
        Later: nobody can tell yet.
        NeedsAPerson: nobody can tell, and nothing can happen over there any more.
    """
    sighting = errand.look(seen.last_attempt())
    match sighting.kind:
        case SightingKind.SETTLED | SightingKind.ABSENT:
            return sighting
        case SightingKind.IN_DOUBT:
            if seen.quiet_in > timedelta(0):
                raise Later(min(seen.quiet_in, seen.next_look), "money.in_doubt")
            raise NeedsAPerson("outcome_unknown", sighting.words)
        case _:
            assert_never(sighting.kind)


def _mark(site: Site, store: Store, seen: Unsettled, sighting: Sighting | None) -> Attempt:
    """The next attempt, ours alone. The order is read first: the row must still fit, and what it shows is the pre-image."""
    try:
        order = store.order(seen.order)
    except Rejected as no:  # it is gone, or not ours to read any more: asking again is pointless
        raise NeedsAPerson("order_unreadable", str(no)) from no
    if any(record.key for record in order.refunds):
        with site.db.transaction() as session:
            paid_before = receipts.book_what_came(session, seen.rma_id, order, who=WHO, now=site.db.now(session))
        if paid_before:
            raise NeedsAPerson("paid_before", "the order shows a refund of this return that was closed as unpaid")
    quiet_period = store.capabilities().quiet_period
    started = site.stopwatch()  # before the mark: our window can only be shorter than the database thinks
    with site.db.transaction() as session:
        attempt = refunds.mark(session, seen, order, sighting, quiet_period=quiet_period, now=site.db.now(session))

    def still_mine() -> bool:
        with site.db.reading() as session:
            mine = refunds.still_mine(session, seen.id, attempt, now=site.db.now(session))
        return mine and site.stopwatch() - started < WINDOW  # last: it is the nearest to the request

    return replace(attempt, still_mine=still_mine)


def _send(site: Site, errand: _Errand, seen: Unsettled, attempt: Attempt) -> Receipt | None:
    """Ask once. What promises that nothing happened takes the mark back; what promises nothing leaves it.

    None: the platform said no, and the reservation is released.
    """
    try:
        return errand.ask(attempt)
    except (Throttled, Revoked):
        _unmark(site, seen, attempt)
        raise
    except Voided:
        _unmark(site, seen, attempt)
        if attempt.number >= _TOO_OFTEN:  # a clock over there is far off, or this machine never gets a turn
            raise NeedsAPerson("voided_too_often") from None
        raise Later(min(_SOON * 2 ** (attempt.number - 1), _SLOWLY), "money.voided") from None
    except OutcomeUnknown as unknown:
        with site.db.transaction() as session:
            refunds.note(session, seen, attempt.number, words=unknown.words)
        raise Later(_FIRST_LOOK, "money.unknown") from unknown
    except Rejected as no:
        with site.db.transaction() as session:
            released = refunds.refuse(session, seen, attempt.number, words=str(no), now=site.db.now(session))
        if released:
            return None
        receipt = errand.look(attempt).receipt  # an earlier attempt may have paid
        if receipt is None:
            raise NeedsAPerson("rejected_late", str(no)) from no
        return receipt


def _unmark(site: Site, seen: Unsettled, attempt: Attempt) -> None:
    with site.db.transaction() as session:
        refunds.unmark(session, seen, attempt.number)


def _record(site: Site, row_id: uuid.UUID, receipt: Receipt, *, attempt: int) -> None:
    """Write the receipt down, with some patience: what is lost here has to be found again by a look."""
    for last in (False, False, True):
        try:
            with site.db.transaction() as session:
                receipts.settle(session, row_id, receipt, attempt=attempt, who=WHO, now=site.db.now(session))
        except Busy:
            if last:
                raise
        else:
            return


def give_up(session: Session, row_id: uuid.UUID, now: datetime) -> None:
    """Its work failed too often: where a request may have left, a person is asked, so that the row holds up no other of its order.

    In the transaction that parks the work, which only its holder can: nobody else is paying this row. Where nothing can have
    left there is nothing to ask: the work waits, parked, until whatever is broken is mended and somebody says "again".
    """
    seen = refunds.unsettled(session, row_id, now=now)
    if seen is not None and seen.may_have_left:
        refunds.park(session, seen, why="failed_too_often", words="", now=now)


@contextmanager
def _or_ask_a_person(site: Site, seen: Unsettled) -> Iterator[None]:
    """Park the row with its facts where no machine can decide. Later, where another attempt owns the row by then."""
    try:
        yield
    except NeedsAPerson as question:
        with site.db.transaction() as session:
            parked = refunds.park(session, seen, why=question.why, words=question.words, now=site.db.now(session))
        raise Later(timedelta(0) if parked else _SOON, "money.parked") from question


def _errand(store: Store, told: RefundOrder | CreditOrder) -> _Errand:
    match told:
        case RefundOrder():
            return _Errand(lambda attempt: store.refund(told, attempt), lambda attempt: store.find_refund(told, attempt))
        case CreditOrder():
            return _Errand(lambda attempt: store.issue_credit(told, attempt), lambda attempt: store.find_credit(told, attempt))
        case _:
            assert_never(told)
