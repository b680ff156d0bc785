"""Give money back once. Every function here may die at any line, be paused at any line, and run twice at the same time.

    read -> look (only if an earlier attempt may have left) -> read the order -> mark -> send -> record

No network inside a transaction, no write outside one. What each step proves is told in `connector/services/refunds.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never

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

WHO = "machine"
_SOON = timedelta(seconds=1)
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
        sighting = _look(store, errand, seen) if seen.may_have_left else None
        receipt = sighting.receipt if sighting else None
        attempt = None if receipt else _mark(site, store, seen, sighting)
    if attempt is not None:
        seen = replace(seen, attempt=attempt.number)
        with _or_ask_a_person(site, seen):
            receipt = _send(site, errand, seen, attempt)

    if receipt is not None:
        with site.db.transaction() as session:
            receipts.settle(session, row_id, receipt, attempt=seen.attempt, who=WHO, now=site.db.now(session))


def _look(store: Store, errand: _Errand, seen: Unsettled) -> Sighting:
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
            wait = seen.quiet_in(store.capabilities().quiet_period)
            if wait > timedelta(0):
                raise Later(min(wait, seen.next_look), "money.in_doubt")
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
            paid_before = receipts.book_what_came(session, seen.id, order, who=WHO, now=site.db.now(session))
        if paid_before:
            raise NeedsAPerson("paid_before", "the order shows a refund of this return that was closed as unpaid")
    started = site.stopwatch()  # before the mark: our window can only be shorter than the database thinks
    with site.db.transaction() as session:
        attempt = refunds.mark(session, seen, order, sighting, now=site.db.now(session))

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
        raise Later(_SOON, "money.voided") from None
    except OutcomeUnknown as unknown:
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


def give_up(site: Site, row_id: uuid.UUID) -> None:
    """Its work failed too often: a person is asked, so that the row holds up no other row of its order."""
    with site.db.reading() as session:
        seen = refunds.unsettled(session, row_id, now=site.db.now(session))
    if seen is not None:
        with site.db.transaction() as session:
            refunds.park(session, seen, why="failed_too_often", words="", now=site.db.now(session))


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
