"""How far a shop is read: the reconciliation poll, the probe, and the import of its history (W4, W7).

The poll asks for what changed since the watermark less an overlap, because platforms count whole seconds, clocks differ and slow
transactions show late. The watermark follows what was applied, never the clock, and at the end of a poll never passes its beginning.
`Sync.polled_at` is when the last poll began that came to its end; it is empty before the first, and while a long one stopped half-way.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, and_, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain.connecting import Facts, Misfortune
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import WebhookHealth
from connector.models import AlarmKind, Kind, OrderRow, OutboxRow, Rma, Shop, ShopStatus, Sync
from connector.services import mirroring, outbox, shops, timeline
from connector.services.raising import raise_alarm
from connector.services.shops import PROBE_IN_TROUBLE, ShopKeys, keys_of

OVERLAP: Final = timedelta(minutes=10)
TIE: Final = timedelta(seconds=1)  # orders of one second may lie on both sides of where a read stopped
POLL_EVERY: Final = timedelta(minutes=5)
PROBE_EVERY: Final = timedelta(days=1)
READ_AGAIN: Final = timedelta(days=1)
_NAMED: Final = 20  # orders in one alarm
_AT_ONCE: Final = 50  # of a kind in one pass: a row is put and a time moved for each


def begin(session: Session, shop: uuid.UUID, *, now: datetime) -> None:
    """A shop was connected: poll, probe and import it. One that is connected again goes on from where its reads stopped."""
    watermark = now - OVERLAP - _clock_gap(session.get_one(Shop, shop).facts or {})
    fresh = {"shop_id": shop, "watermark": watermark, "poll_at": now, "probe_at": now, "deliveries_mended": 0, "imported": 0}
    session.execute(db.upsert(session, Sync).values(fresh).on_conflict_do_nothing(index_elements=["shop_id"]))
    sync = _locked(session, shop)
    sync.poll_at, sync.probe_at, sync.deliveries_ok = now + POLL_EVERY, now, None
    ask(session, Kind.POLL, shop, now=now)
    if sync.import_done_at is None:
        ask(session, Kind.IMPORT, shop, now=now)


def ask(session: Session, kind: Kind, shop: uuid.UUID, *, now: datetime) -> None:
    """See to it that one row of a kind about the whole shop is open. One that was parked is tried again."""
    mine = (OutboxRow.shop_id == shop, OutboxRow.kind == kind.value, OutboxRow.subject_id == shop, OutboxRow.done_at.is_(None))
    rows = session.execute(select(OutboxRow).where(*mine).order_by(OutboxRow.id)).scalars().all()
    if not rows:
        outbox.put(session, kind, shop, shop=shop, now=now)
    elif all(row.parked_at is not None for row in rows):
        outbox.retry(session, rows[0].id, now=now)


def anything_due(session: Session, *, now: datetime) -> bool:
    """Whether `due` would find a shop."""
    return any(session.execute(_due(kind, now).limit(1)).first() is not None for kind in _TIMES)


def due(session: Session, *, now: datetime) -> int:
    """Ask for the polls and probes whose time has come, the longest overdue first; how many. Two at once share them."""
    asked = 0
    for kind in _TIMES:
        for sync, status, trouble in session.execute(db.skip_locked(session, _due(kind, now).limit(_AT_ONCE), of=Sync)).all():
            if kind is Kind.POLL:
                sync.poll_at = now + POLL_EVERY
            else:
                sync.probe_at = now + (PROBE_EVERY if status is ShopStatus.ACTIVE and trouble is None else PROBE_IN_TROUBLE)
            ask(session, kind, sync.shop_id, now=now)
            asked += 1
    return asked


# ── The poll ──


@dataclass(frozen=True, slots=True)
class Polling:
    """A poll as it begins. `since`: what to ask for; `began`: the database's clock at that."""

    shop: ShopKeys = field(repr=False)
    since: datetime
    began: datetime
    check_deliveries: bool
    watermark: datetime
    polled_at: datetime | None


class Overtaken(Exception):
    """Another run has read on from the same place: it has our work too."""


def to_poll(session: Session, shop: uuid.UUID, *, now: datetime) -> Polling | None:
    """Where to read on; None where the shop was never begun."""
    sync = session.get(Sync, shop)
    if sync is None:
        return None
    keys, last = keys_of(session, shop), sync.polled_at
    # No overlap for a poll that stopped half-way (it had it at its start), nor once a poll that began late enough has read it again.
    settled = last is None or sync.watermark + OVERLAP + _clock_gap(keys.facts) <= last
    hourly = last is None or sync.deliveries_ok is None or last.replace(minute=0, second=0, microsecond=0) <= now - timedelta(hours=1)
    return Polling(keys, sync.watermark - (TIE if settled else OVERLAP), now, hourly, sync.watermark, last)


def read_on(session: Session, poll: Polling, watermark: datetime) -> Polling:
    """Everything up to `watermark` was applied, and the poll goes on: should it stop, the next run begins there.

    Raises:
        Overtaken: somebody else did the same.
    """
    sync = _locked(session, poll.shop.id)
    if (sync.watermark, sync.polled_at) != (poll.watermark, poll.polled_at):
        raise Overtaken(poll.shop.id.hex)
    sync.watermark, sync.polled_at = watermark, None
    return Polling(poll.shop, poll.since, poll.began, poll.check_deliveries, watermark, None)


def polled(session: Session, poll: Polling, newest: datetime, health: WebhookHealth | None, *, now: datetime) -> None:
    """The poll came to its end: `newest` is the latest change that it saw, or `since` where it saw none.

    `health`: what was found of the deliveries; None where nobody asked. Those that had to be mended are polled after at once, for
    what came between the poll and the mending.

    Raises:
        Overtaken: somebody else read on meanwhile.
    """
    sync = _locked(session, poll.shop.id)
    if (sync.watermark, sync.polled_at) != (poll.watermark, poll.polled_at):
        raise Overtaken(poll.shop.id.hex)
    sync.watermark = min(max(sync.watermark, newest), poll.began)
    sync.polled_at, sync.poll_at = poll.began, now + POLL_EVERY
    if health is not None:
        _deliveries(session, sync, health, now=now)


def _deliveries(session: Session, sync: Sync, health: WebhookHealth, *, now: datetime) -> None:
    """An alarm where they had stopped after they had come, one while it stands; setting them up is no news."""
    came_before, sync.deliveries_ok = sync.deliveries_ok is not None, health.active
    if not health.mended or not came_before:
        return
    sync.deliveries_mended, sync.poll_at = sync.deliveries_mended + len(health.mended), now
    facts = {"mended": list(health.mended)}
    raise_alarm(session, AlarmKind.DELIVERIES_OFF, "deliveries", facts, shop=sync.shop_id, now=now, again=True)


def unread(session: Session, shop: uuid.UUID, *, now: datetime, limit: int) -> Sequence[OrderRef]:
    """Orders of open RMAs that were not read for a day, the longest unread first: no platform tells of a refund that was deleted.

    WooCommerce 10.5: deleting a refund, and one that broke half-way, changes no date of the order and sends nothing (verified).
    """
    mine = and_(Rma.shop_id == OrderRow.shop_id, Rma.order_ref == OrderRow.ref, mirroring.is_open())
    stale = and_(OrderRow.shop_id == shop, OrderRow.gone_at.is_(None), OrderRow.read_began_at < now - READ_AGAIN)
    query = select(OrderRow.ref).where(stale, select(Rma.id).where(mine).exists()).order_by(OrderRow.read_began_at, OrderRow.ref)
    return [OrderRef(ref) for ref in session.execute(query.limit(limit)).scalars()]


def put_off(session: Session, shop: uuid.UUID, refs: Collection[OrderRef], *, began: datetime) -> None:
    """Nobody could make sense of these orders now: they count as read, so that they hold up no others until tomorrow."""
    mine = (OrderRow.shop_id == shop, OrderRow.ref.in_(refs), OrderRow.read_began_at < began)
    if refs:
        session.execute(update(OrderRow).where(*mine).values(read_began_at=began).execution_options(synchronize_session=False))


def passed_over(session: Session, shop: uuid.UUID, refs: Collection[OrderRef | None], *, now: datetime) -> None:
    """Nobody could read or keep these orders, and the shop is read on past them: an alarm, one while it stands.

    None: the shop did not even say which order it is.
    """
    named = sorted(ref for ref in refs if ref is not None)[:_NAMED]
    facts: dict[str, timeline.Fact] = {"orders": named, "unnamed": None in refs}
    raise_alarm(session, AlarmKind.POISONED, "orders", facts, shop=shop, now=now, again=True)


# ── The probe ──


def probed(session: Session, shop: uuid.UUID, facts: Facts, *, began: datetime, now: datetime) -> None:
    """The probe that began then came through: its facts are kept, and the shop is well."""
    _probed(session, shop, PROBE_EVERY, now=now)
    shops.heal(session, shop, facts, used_since=began, now=now)


def unwell(session: Session, shop: uuid.UUID, why: Misfortune, detail: str, *, began: datetime, now: datetime) -> None:
    """The probe did not come through: why is kept, and the next one comes sooner."""
    _probed(session, shop, PROBE_IN_TROUBLE, now=now)
    shops.trouble(session, shop, why, detail, used_since=began, now=now)


def _probed(session: Session, shop: uuid.UUID, again: timedelta, *, now: datetime) -> None:
    sync = session.get(Sync, shop)
    if sync is not None:
        sync.probed_at, sync.probe_at = now, now + again


# ── The import ──


@dataclass(frozen=True, slots=True)
class Importing:
    """Where the import of a shop's history goes on. `began`: the database's clock."""

    shop: ShopKeys = field(repr=False)
    cursor: str | None
    began: datetime


def to_import(session: Session, shop: uuid.UUID, *, now: datetime) -> Importing | None:
    """The next page of the shop's history; None: it is all here."""
    sync = session.get(Sync, shop)
    if sync is None or sync.import_done_at is not None:
        return None
    return Importing(keys_of(session, shop), sync.import_cursor, now)


def brought(session: Session, shop: uuid.UUID, orders: Collection[Order], new: int) -> None:
    """Orders of the history were applied, `new` of them never read before: in the transaction of those orders, so each counts once."""
    sync = _locked(session, shop)
    times = [order.changed_at or order.placed_at for order in orders]
    sync.imported += new
    sync.imported_until = min((at for at in (sync.imported_until, *times) if at is not None), default=None)


def imported(session: Session, page: Importing, cursor: str | None, *, now: datetime) -> None:
    """A whole page was applied, whoever else worked on it: the next one lies at `cursor`, or this was the last."""
    sync = _locked(session, page.shop.id)
    if sync.import_done_at is not None or sync.import_cursor != page.cursor:
        return
    sync.import_cursor = cursor
    if cursor is None:
        sync.import_done_at = now
        facts: dict[str, timeline.Fact] = {"orders": sync.imported}
        timeline.record(session, "shop.imported", shop=page.shop.id, rma=None, who="machine", at=now, facts=facts)


_TIMES: Final = {Kind.POLL: Sync.poll_at, Kind.PROBE: Sync.probe_at}


def _due(kind: Kind, now: datetime) -> Select[Sync, ShopStatus, str | None]:
    served = (ShopStatus.ACTIVE, ShopStatus.REVOKED) if kind in outbox.HEALS else (ShopStatus.ACTIVE,)
    query = select(Sync, Shop.status, Shop.trouble).join(Shop, Shop.id == Sync.shop_id)
    return query.where(_TIMES[kind] <= now, Shop.status.in_(served)).order_by(_TIMES[kind])


def _locked(session: Session, shop: uuid.UUID) -> Sync:
    row: Sync = session.execute(
        db.for_update(session, select(Sync).where(Sync.shop_id == shop)), execution_options={"populate_existing": True}
    ).scalar_one()
    return row


def _clock_gap(facts: Facts) -> timedelta:
    """How far the shop's clock may be from ours, whichever way."""
    text = facts.get("clock_offset", "").removeprefix("-")
    return timedelta(seconds=min(int(text), 86_400)) if text.isascii() and text.isdecimal() else timedelta(0)
