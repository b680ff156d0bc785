"""The outbox: put, claim by lease, and say what became of it. Delivery is at least once.

A claim raises the row's fence; done, later and parked count only for who holds the current fence, so a worker that
slept through its lease changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.ids import ordered_id
from connector.models import Kind, OutboxRow, Shop, ShopStatus

LEASE: Final = timedelta(seconds=20)
CALLS_PLATFORM: Final = frozenset({Kind.SETTLE, Kind.MIRROR, Kind.REFRESH, Kind.POLL, Kind.PROBE, Kind.REISSUE, Kind.IMPORT})
HEALS: Final = frozenset({Kind.PROBE})  # may call a shop whose keys were refused: so it is noticed that they are good again
_SHORTEST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=15)


class Later(Exception):
    """Not now: come back after `delay`. Not a failure."""

    def __init__(self, delay: timedelta, why: str = "") -> None:
        """`why` is a code for the log."""
        super().__init__(why or f"later, in {delay}")
        self.delay = delay


class NeedsAPerson(Exception):
    """No machine can decide this. `why` is a code; `words` are the far side's own."""

    def __init__(self, why: str, words: str = "") -> None:
        """Neither holds anything personal."""
        super().__init__(why)
        self.why, self.words = why, words


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row in hand. `at`: when it was claimed, by the database's clock."""

    id: uuid.UUID
    shop_id: uuid.UUID
    kind: str
    subject_id: uuid.UUID
    fence: int
    attempts: int
    at: datetime


def put(session: Session, kind: Kind, subject: uuid.UUID, *, shop: uuid.UUID, now: datetime, delay: timedelta = timedelta(0)) -> None:
    """Ask for work in the transaction of the fact that causes it. The bell rings after its commit."""
    session.add(OutboxRow(id=ordered_id(now), shop_id=shop, kind=kind.value, subject_id=subject, put_at=now, available_at=now + delay))
    db.will_ring(session)


def claim(
    session: Session,
    *,
    kinds: Collection[str],
    limit: int,
    now: datetime,
    served: Sequence[uuid.UUID] = (),
    room: Mapping[uuid.UUID, int] | None = None,
    most: int | None = None,
) -> Sequence[Claimed]:
    """Lease at most `limit` rows that can start now, taking turns between shops, oldest first within a shop.

    `served` are the shops that the caller served of late, the last one last: where turns are equal, the others come first,
    so that a flood from one shop costs the others one place, also where places come free one by one. `most` is how many rows
    a shop may get, `room` how many where it has some in hand already: a slow shop never holds all of a worker's threads.

    Rows of a paused, revoked or uninstalled shop that would call its platform stay where they are, but for `HEALS` in a revoked one.
    """
    if not kinds or limit < 1:
        return []
    startable = and_(_due(now), OutboxRow.kind.in_(sorted(kinds)), _may_call(now))
    waiting = select(OutboxRow.shop_id).join(Shop, Shop.id == OutboxRow.shop_id).where(startable).group_by(OutboxRow.shop_id)
    lately = {shop: place for place, shop in enumerate(served, start=1)}
    ranked = session.execute(waiting.order_by(func.min(OutboxRow.available_at), OutboxRow.shop_id)).scalars().all()
    shops = sorted(ranked, key=lambda shop: lately.get(shop, 0))  # stable: the longest waiting first
    in_turn: dict[uuid.UUID, list[uuid.UUID]] = {}
    for shop in shops:
        if len(in_turn) >= limit:
            break  # each of them has a row to start: nobody gets a second one
        places = min(limit, (room or {}).get(shop, limit if most is None else most))
        oldest = select(OutboxRow.id).join(Shop, Shop.id == OutboxRow.shop_id).where(startable, OutboxRow.shop_id == shop)
        query = oldest.order_by(OutboxRow.available_at, OutboxRow.id).limit(max(0, places))
        if found := list(session.execute(db.skip_locked(session, query, of=OutboxRow)).scalars()):
            in_turn[shop] = found
    chosen = [rows[turn] for turn in range(limit) for rows in in_turn.values() if turn < len(rows)]
    return _lease(session, chosen[:limit], now=now)


def _lease(session: Session, ids: Sequence[uuid.UUID], *, now: datetime) -> Sequence[Claimed]:
    if not ids:
        return []
    statement = (
        update(OutboxRow)
        .where(OutboxRow.id.in_(ids))
        .values(leased_until=now + LEASE, fence=OutboxRow.fence + 1)
        .returning(OutboxRow.id, OutboxRow.shop_id, OutboxRow.kind, OutboxRow.subject_id, OutboxRow.fence, OutboxRow.attempts)
        .execution_options(synchronize_session=False)
    )
    return [Claimed(*row, now) for row in session.execute(statement)]


def renew(session: Session, rows: Collection[Claimed], *, now: datetime) -> None:
    """One heartbeat for everything in hand. A row whose lease was given back a moment ago is not leased again."""
    if rows:
        held = and_(OutboxRow.leased_until.is_not(None), or_(*(_held(row) for row in rows)))
        session.execute(update(OutboxRow).where(held).values(leased_until=now + LEASE).execution_options(synchronize_session=False))


def done(session: Session, row: Claimed, *, now: datetime) -> bool:
    """The work is done; False where somebody else holds the row by now."""
    return _say(session, row, done_at=now, leased_until=None)


def later(session: Session, row: Claimed, *, at: datetime, failed: bool = False) -> bool:
    """Not before `at`. Only a failure counts as an attempt."""
    if failed:
        return _say(session, row, available_at=at, leased_until=None, attempts=row.attempts + 1)
    return _say(session, row, available_at=at, leased_until=None)


def park(session: Session, row: Claimed, *, why: str, now: datetime) -> bool:
    """A person has to look; shown at the desk until somebody retries it."""
    return _say(session, row, parked_at=now, parked_because=why, leased_until=None)


def finish(session: Session, kind: Kind, subject: uuid.UUID, *, now: datetime) -> None:
    """What a parked row was to do has been done otherwise: a person answered."""
    mine = (OutboxRow.kind == kind.value, OutboxRow.subject_id == subject, OutboxRow.parked_at.is_not(None), OutboxRow.done_at.is_(None))
    session.execute(update(OutboxRow).where(*mine).values(done_at=now).execution_options(synchronize_session=False))


def retry(session: Session, row_id: uuid.UUID, *, now: datetime) -> bool:
    """A person says: again. False where the row is not parked, or what it was to do has been done otherwise."""
    values = {"parked_at": None, "parked_because": None, "attempts": 0, "available_at": now}
    parked = (OutboxRow.id == row_id, OutboxRow.parked_at.is_not(None), OutboxRow.done_at.is_(None))
    again = db.changed(session, update(OutboxRow).where(*parked).values(values)) == 1
    if again:
        db.will_ring(session)
    return again


def pause(session: Session, shop: uuid.UUID, *, wait: timedelta, now: datetime) -> None:
    """Hold back the shop's calls for `wait`, bounded: what the far side says may be negative or ten years."""
    until = now + max(_SHORTEST_PAUSE, min(wait, _LONGEST_PAUSE))
    sooner = or_(Shop.paused_until.is_(None), Shop.paused_until < until)  # a longer pause stands
    session.execute(update(Shop).where(Shop.id == shop, sooner).values(paused_until=until).execution_options(synchronize_session=False))


def forget(session: Session, *, before: datetime) -> int:
    """Delete at most a hundred rows that were done before then."""
    old = select(OutboxRow.id).where(OutboxRow.done_at < before).order_by(OutboxRow.done_at).limit(100)
    return db.changed(session, delete(OutboxRow).where(OutboxRow.id.in_(old)).execution_options(synchronize_session=False))


def anything_due(session: Session, *, kinds: Collection[str], now: datetime) -> bool:
    """Whether a worker that knows `kinds` would find something to start."""
    query = (
        select(OutboxRow.id)
        .join(Shop, Shop.id == OutboxRow.shop_id)
        .where(_due(now), OutboxRow.kind.in_(sorted(kinds)), _may_call(now))
        .limit(1)
    )
    return session.execute(query).first() is not None


def _due(now: datetime) -> ColumnElement[bool]:
    return and_(
        OutboxRow.done_at.is_(None),
        OutboxRow.parked_at.is_(None),
        OutboxRow.available_at <= now,
        or_(OutboxRow.leased_until.is_(None), OutboxRow.leased_until < now),
    )


def _may_call(now: datetime) -> ColumnElement[bool]:
    heals = and_(Shop.status == ShopStatus.REVOKED, OutboxRow.kind.in_(sorted(HEALS)))
    ready = and_(or_(Shop.status == ShopStatus.ACTIVE, heals), or_(Shop.paused_until.is_(None), Shop.paused_until <= now))
    return or_(OutboxRow.kind.not_in(sorted(CALLS_PLATFORM)), ready)


def _held(row: Claimed) -> ColumnElement[bool]:
    return and_(OutboxRow.id == row.id, OutboxRow.fence == row.fence, OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None))


def _say(session: Session, row: Claimed, **values: Any) -> bool:  # noqa: ANN401 - columns
    return db.changed(session, update(OutboxRow).where(_held(row)).values(values).execution_options(synchronize_session=False)) == 1
