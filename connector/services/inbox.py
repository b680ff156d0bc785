"""The inbox: verified deliveries as hints that something is to be read again. Put by the web, taken by a refresh, worked off, gone.

A hint says nothing but what to read: a doubled one costs nothing, a replayed one costs a read, and one that is worked twice no harm.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from connector import db
from connector.domain.connecting import Hint
from connector.domain.orders import OrderRef
from connector.models import AlarmKind, HintRow, Kind, OutboxRow, Shop, ShopStatus
from connector.services import outbox
from connector.services.raising import raise_alarm
from connector.services.shops import ShopKeys, keys_of

BATCH: Final = 100  # rows in one transaction
REFRESH_AFTER: Final = timedelta(seconds=2)  # how long hints of a shop gather before they are read
POLL_AFTER: Final = timedelta(seconds=30)  # how long hints at everything gather: a poll costs several requests
TAKEN_FOR: Final = timedelta(minutes=2)  # past this, whoever took a hint has died, and another reads it
KEPT: Final = timedelta(days=7)  # a body that nobody can make sense of, encrypted, for whoever looks into it
_LAGGING: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery to be put: verified over its raw bytes, of which `body` is the ciphertext, bound to `id`.

    `delivery` is the sender's id of it where it names one delivery only.
    """

    id: uuid.UUID
    shop_id: uuid.UUID
    topic: str
    digest: bytes = field(repr=False)
    body: bytes = field(repr=False)
    delivery: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A hint in hand. `body` is ciphertext, and empty where `ref` is known already."""

    id: uuid.UUID
    topic: str
    body: bytes | None = field(repr=False)
    ref: OrderRef | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in a shop's inbox: not taken yet, in somebody's hand, and given up. `since`: the oldest that was not taken."""

    pending: int
    taken: int
    poisoned: int
    since: datetime | None


def behind(session: Session, platform: str, door: str) -> tuple[ShopKeys, ShopStatus] | None:
    """Whose deliveries come to the address with this door (its digest), and whether they are still wanted."""
    found = session.execute(select(Shop.id, Shop.status).where(Shop.door == door, Shop.platform == platform)).one_or_none()
    return None if found is None else (keys_of(session, found.id), found.status)


def digest(body: bytes) -> bytes:
    """What tells two bodies apart: SHA-256 of the raw bytes."""
    return hashlib.sha256(body).digest()


def put(session: Session, deliveries: Collection[Delivery], *, now: datetime) -> None:
    """Keep at most `BATCH` deliveries, each where the same one is not waiting yet, and see to it that their shops will be refreshed.

    Those of a shop that was uninstalled meanwhile are dropped.
    """
    connection, shops = session.connection(), {delivery.shop_id for delivery in deliveries}
    served = set(connection.execute(_SERVED, {"shops": list(shops)}).scalars())
    rows = [_row(delivery, now) for delivery in sorted(deliveries, key=_place) if delivery.shop_id in served]
    if rows:
        connection.execute(_KEEP[connection.dialect.name], rows)
        _see_to_a_refresh(session, served, now=now)


def take(session: Session, shop: uuid.UUID, *, limit: int = BATCH, now: datetime) -> Sequence[Taken]:
    """Take some of a shop's hints: those that wait, and those that somebody took long ago and never worked off.

    A taken hint is never put back among the waiting: the same bytes may wait there anew by then.
    """
    free = select(HintRow.id).where(HintRow.shop_id == shop, HintRow.poisoned_at.is_(None), _free(now)).limit(min(limit, BATCH))
    mine = db.skip_locked(session, free).cte("mine")
    taken = (
        update(HintRow)
        .where(HintRow.id.in_(select(mine.c.id)))
        .values(taken_at=now)
        .returning(HintRow.id, HintRow.topic, HintRow.body, HintRow.ref, HintRow.received_at)
        .execution_options(synchronize_session=False)
    )
    return [Taken(id_, topic, body, None if ref is None else OrderRef(ref), at) for id_, topic, body, ref, at in session.execute(taken)]


def told(session: Session, shop: uuid.UUID, hints: Mapping[uuid.UUID, Hint], *, now: datetime) -> None:
    """What each of these hints is about. Their bodies, which are personal, are gone with this.

    A hint at everything becomes a poll, which reads after this, by `POLL_AFTER`; a hint of nothing is done with. Trouble raises an
    alarm, one while it stands.
    """
    known = [{"hint": id_, "of": hint.order} for id_, hint in hints.items() if hint.order is not None]
    if known:
        about = update(HintRow.__table__).where(HintRow.__table__.c.id == bindparam("hint"))  # type: ignore[arg-type]  # a table
        session.execute(about.values(ref=bindparam("of"), body=None), known)
    worked(session, [id_ for id_, hint in hints.items() if hint.order is None])
    if any(hint.sweep for hint in hints.values()):
        _see_to_a_poll(session, shop, now=now)
    if trouble := next((hint.trouble for hint in hints.values() if hint.trouble), ""):
        raise_alarm(session, AlarmKind.DELIVERIES_UNREADABLE, "deliveries", {"code": trouble}, shop=shop, now=now, again=True)


def poison(session: Session, shop: uuid.UUID, hints: Collection[uuid.UUID], *, now: datetime) -> None:
    """Nobody can make sense of these, now or later: set aside for `KEPT`, with an alarm, one while it stands."""
    if hints:
        aside = update(HintRow).where(HintRow.id.in_(hints)).values(poisoned_at=now)
        session.execute(aside.execution_options(synchronize_session=False))
        raise_alarm(session, AlarmKind.POISONED, "deliveries", {"hint": min(hints).hex}, shop=shop, now=now, again=True)


def worked(session: Session, hints: Collection[uuid.UUID]) -> None:
    """What these at most `BATCH` hints hinted at was read."""
    if hints:
        session.execute(delete(HintRow).where(HintRow.id.in_(hints)).execution_options(synchronize_session=False))


def lay_aside(session: Session, hints: Collection[uuid.UUID], *, now: datetime) -> None:
    """Whoever took these at most `BATCH` hints stops here: the next run may take them at once."""
    if hints:
        free = update(HintRow).where(HintRow.id.in_(hints)).values(taken_at=now - TAKEN_FOR)
        session.execute(free.execution_options(synchronize_session=False))


def next_run(session: Session, shop: uuid.UUID, *, now: datetime) -> timedelta | None:
    """How long until the shop's inbox is to be looked into again; None: nothing is there.

    Hints that another run has in hand are waited for: it may die.
    """
    mine = select(HintRow.taken_at).where(HintRow.shop_id == shop, HintRow.poisoned_at.is_(None))
    if session.execute(mine.where(HintRow.taken_at.is_(None)).limit(1)).first() is not None:
        return REFRESH_AFTER
    oldest = session.execute(mine.order_by(HintRow.taken_at).limit(1)).scalar_one_or_none()
    return None if oldest is None else max(oldest + TAKEN_FOR - now, timedelta(0))


def take_over(session: Session, shop: uuid.UUID, *, now: datetime) -> None:
    """A refresh begins: it does the work of the shop's other refreshes that are due and that nobody has in hand."""
    due = and_(_refreshes(), OutboxRow.shop_id == shop, OutboxRow.available_at <= now)
    some = db.skip_locked(session, select(OutboxRow.id).where(due).limit(BATCH))
    session.execute(update(OutboxRow).where(OutboxRow.id.in_(some)).values(done_at=now).execution_options(synchronize_session=False))


def forget_poisoned(session: Session, *, before: datetime) -> int:
    """Delete at most `BATCH` hints that were set aside before then."""
    old = select(HintRow.id).where(HintRow.poisoned_at < before).order_by(HintRow.poisoned_at).limit(BATCH)
    return db.changed(session, delete(HintRow).where(HintRow.id.in_(old)).execution_options(synchronize_session=False))


def waiting(session: Session) -> Mapping[uuid.UUID, Waiting]:
    """What lies in the inbox of each shop that has something there."""
    pending = and_(HintRow.taken_at.is_(None), HintRow.poisoned_at.is_(None))
    taken = and_(HintRow.taken_at.is_not(None), HintRow.poisoned_at.is_(None))
    counts = [func.count().filter(which) for which in (pending, taken, HintRow.poisoned_at.is_not(None))]
    query = select(HintRow.shop_id, *counts, func.min(HintRow.received_at).filter(pending)).group_by(HintRow.shop_id)
    return {shop: Waiting(*found) for shop, *found in session.execute(query)}


def _row(delivery: Delivery, now: datetime) -> dict[str, object]:
    return {
        "id": delivery.id,
        "shop_id": delivery.shop_id,
        "topic": delivery.topic,
        "digest": delivery.digest,
        "delivery": delivery.delivery,
        "body": delivery.body,
        "received_at": now,
        "sweep": False,
    }


def _place(delivery: Delivery) -> tuple[bytes, str, bytes]:
    """One order for everybody, so that two web processes with the same deliveries in hand do not deadlock."""
    return delivery.shop_id.bytes, delivery.topic, delivery.digest


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(HintRow.taken_at.is_(None), HintRow.taken_at <= now - TAKEN_FOR)


def _see_to_a_refresh(session: Session, shops: Collection[uuid.UUID], *, now: datetime) -> None:
    """One refresh of each shop will begin after this transaction has committed, and not at once: what comes meanwhile is read with it.

    A row that lies in the next two seconds will do, and is locked: nobody claims it before our hints can be seen. A row that is due does
    not count, for its run may have begun, and nobody could claim it while deliveries keep coming. One that is long overdue counts
    again: no worker is there, and rows must not pile up.
    """
    told = {"shops": list(shops), "now": now, "soon": now + REFRESH_AFTER, "lagging": now - _LAGGING}
    seen_to = set(session.connection().execute(db.skip_locked(session, _WILL_DO), told).scalars())
    for shop in sorted(set(shops) - seen_to):
        outbox.put(session, Kind.REFRESH, shop, shop=shop, now=now, delay=REFRESH_AFTER)


def _refreshes() -> ColumnElement[bool]:
    """Refreshes that wait and that nobody has in hand."""
    return and_(
        OutboxRow.kind == Kind.REFRESH.value, OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None), OutboxRow.leased_until.is_(None)
    )


def _see_to_a_poll(session: Session, shop: uuid.UUID, *, now: datetime) -> None:
    """A poll will read after this, soon and not at once: what comes meanwhile is read with it.

    One that waits will do, whenever it is due, and is not put off; of one that runs nobody knows how far it has read.
    """
    waits = and_(OutboxRow.done_at.is_(None), OutboxRow.parked_at.is_(None), OutboxRow.leased_until.is_(None))
    mine = select(OutboxRow.id).where(OutboxRow.shop_id == shop, OutboxRow.kind == Kind.POLL.value, waits)
    if session.execute(mine.limit(1)).first() is None:
        outbox.put(session, Kind.POLL, shop, shop=shop, now=now, delay=POLL_AFTER)


# What every batch of deliveries asks, built once: to build it anew took a third of the time of a batch of eight.
_SERVED: Final = select(Shop.id).where(Shop.id.in_(bindparam("shops", expanding=True)), Shop.status != ShopStatus.UNINSTALLED)
_KEEP: Final = {
    "sqlite": sqlite.insert(HintRow).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(HintRow).on_conflict_do_nothing(),
}
_WILL_DO: Final = select(OutboxRow.shop_id).where(
    _refreshes(),
    OutboxRow.shop_id.in_(bindparam("shops", expanding=True)),
    or_(
        and_(OutboxRow.available_at > bindparam("now"), OutboxRow.available_at <= bindparam("soon")),
        OutboxRow.available_at < bindparam("lagging"),
    ),
)
