"""What happens to an order on its platform shows up here: keep what was read, and tell the order's open RMAs what changed (W5).

Every change is told once, however often the same order is read and by however many at once: the reads of one order take turns at
its lock, each is compared with the one before it, and one that began earlier than what is kept changes nothing at all.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Update, and_, or_, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain import codec
from connector.domain.changes import Changes, between, remembering
from connector.domain.orders import LineRef, Order, OrderRef, RefundRecord
from connector.domain.rma import RESERVES, RmaState
from connector.models import CreditUseRow, OrderRow, Refund, Resolution, Rma
from connector.secrets import Vault
from connector.services import orders, rmas, store_credit, timeline
from connector.services.shops import ShopKeys
from connector.services.timeline import Fact

WHO: Final = "platform"


def apply_all(session: Session, shop: ShopKeys, found: Iterable[Order], *, read_began: datetime, vault: Vault, now: datetime) -> int:
    """Some orders were read, beginning at `read_began` (database clock): keep them, and tell their open RMAs what changed.

    They are locked in the order of their references. Of one that came twice, the last counts. Returns how many were never read before.
    """
    latest = sorted({order.ref: order for order in found}.items())
    orders.lock_all(session, shop.id, [ref for ref, _ in latest])
    return _keep(session, shop.id, [order for _, order in latest], read_began=read_began, vault=vault, now=now).new


def apply(session: Session, shop: ShopKeys, order: Order, *, read_began: datetime, vault: Vault, now: datetime) -> None:
    """The same for one order."""
    apply_all(session, shop, [order], read_began=read_began, vault=vault, now=now)


def keep(session: Session, shop: uuid.UUID, order: Order, *, read_began: datetime, vault: Vault, now: datetime) -> bool:
    """The same for who holds the order's lock already. False where a later read is kept: then nothing changed."""
    return _keep(session, shop, [order], read_began=read_began, vault=vault, now=now).kept > 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """How many orders were kept, and how many of those for the first time."""

    kept: int
    new: int


def _keep(session: Session, shop: uuid.UUID, found: Sequence[Order], *, read_began: datetime, vault: Vault, now: datetime) -> _Kept:
    refs = [order.ref for order in found]
    rows = session.execute(
        select(OrderRow.ref, OrderRow.snapshot, OrderRow.gone_at).where(OrderRow.shop_id == shop, OrderRow.ref.in_(refs))
    ).all()
    before = {row.ref: codec.read(row.snapshot, Order) for row in rows if row.snapshot is not None}
    back = {row.ref for row in rows if row.gone_at is not None}
    whole = [remembering(before[order.ref], order) if order.ref in before else order for order in found]
    kept = orders.keep_all(session, shop, whole, read_began=read_began, vault=vault)
    spending = set(
        session.execute(select(CreditUseRow.order_ref).where(CreditUseRow.shop_id == shop, CreditUseRow.order_ref.in_(kept))).scalars()
    )
    for order in whole:
        if order.ref not in kept:
            continue
        if order.ref in back:
            session.execute(_row(shop, order.ref).values(gone_at=None))
        if order.ref in before:
            _tell(session, shop, order, between(before[order.ref], order), back=order.ref in back and not order.cancelled, now=now)
        if order.discount_codes or order.ref in spending:
            store_credit.seen_in(session, shop, order, now=now)
    return _Kept(len(kept), len(set(kept) - before.keys()))


def gone(session: Session, shop: ShopKeys, ref: OrderRef, *, now: datetime) -> None:
    """The platform does not know the order any more. Told once; an order that we never knew leaves no trace."""
    if db.changed(session, _row(shop.id, ref).where(OrderRow.gone_at.is_(None)).values(gone_at=now)) == 1:
        for rma in _open(session, shop.id, ref):
            _record(session, rma, "order.gone", now=now)


def is_open() -> ColumnElement[bool]:
    """RMAs that something can still come of: those not decided, and those whose money is on its way or with a person."""
    paying = select(Resolution.rma_id).join(Refund, Refund.resolution_id == Resolution.id).where(Refund.state.in_(RESERVES))
    undecided = Rma.state.in_((RmaState.REQUESTED, RmaState.AUTHORISED, RmaState.RECEIVED))
    return or_(undecided, and_(Rma.state == RmaState.RESOLVED, Rma.id.in_(paying)))


@dataclass(frozen=True, slots=True)
class _Ours:
    """The money rows of an order: whose RMA each is, by its key and by the platform's reference."""

    by_key: Mapping[str, Rma]
    by_reference: Mapping[str, Rma]

    def owner(self, record: RefundRecord) -> Rma | None:
        """Whose refund it is; None: somebody else's. A key that is no row of this order proves nothing: anybody can type one."""
        return self.by_key.get(record.key) or self.by_reference.get(record.ref)


def _tell(session: Session, shop: uuid.UUID, order: Order, changes: Changes, *, back: bool, now: datetime) -> None:
    if not changes and not back:
        return
    told = _open(session, shop, order.ref)
    _tell_of_refunds(session, shop, order, changes, told, now=now)
    for rma in told:
        if changes.cancelled:
            _record(session, rma, "order.cancelled", now=now)
        if changes.reopened or back:
            _record(session, rma, "order.reopened", now=now)
        if short := _short(session, rma, changes.fewer):
            _record(session, rma, "order.changed", now=now, lines=short)


def _tell_of_refunds(session: Session, shop: uuid.UUID, order: Order, changes: Changes, told: Sequence[Rma], *, now: datetime) -> None:
    """Refunds that are not ours, and those that somebody deleted: the platform forgets them, and the money went out all the same."""
    if not changes.appeared and not changes.vanished:
        return
    ours = _ours(session, shop, order.ref)
    for record in changes.appeared:
        for rma in told if ours.owner(record) is None else ():
            _record(session, rma, "order.refunded_elsewhere", now=now, **_refund(record, order))
    for record in changes.vanished:
        owner = ours.owner(record)  # told too where its case is over
        for rma in {rma.id: rma for rma in (*told, *((owner,) if owner else ()))}.values():
            _record(session, rma, "order.refund_deleted", now=now, ours=owner is not None, **_refund(record, order))


def _short(session: Session, rma: Rma, fewer: Mapping[LineRef, int]) -> Sequence[Fact]:
    """The claimed lines that the order has fewer units of than are claimed: line, claimed, there."""
    if not fewer:
        return ()
    lines = [(LineRef(line.line_ref), line.quantity) for line in rmas.lines(session, rma.id)]
    return [[ref, claimed, fewer[ref]] for ref, claimed in lines if ref in fewer and fewer[ref] < claimed]


def _refund(record: RefundRecord, order: Order) -> dict[str, Fact]:
    return {
        "reference": record.ref,
        "minor": record.moved,
        "currency": order.currency,
        "units": [[line, count] for line, count in record.units],
        "doubtful": record.doubtful,
    }


def _open(session: Session, shop: uuid.UUID, ref: OrderRef) -> Sequence[Rma]:
    query = select(Rma).where(Rma.shop_id == shop, Rma.order_ref == ref, is_open()).order_by(Rma.requested_at, Rma.id)
    return session.execute(query).scalars().all()


def _ours(session: Session, shop: uuid.UUID, ref: OrderRef) -> _Ours:
    query = select(Refund, Rma).join(Resolution, Resolution.id == Refund.resolution_id).join(Rma, Rma.id == Resolution.rma_id)
    rows = session.execute(query.where(Refund.shop_id == shop, Refund.order_ref == ref)).all()
    by_reference = {row.platform_reference: rma for row, rma in rows if row.platform_reference is not None}
    return _Ours({row.id.hex: rma for row, rma in rows}, by_reference)


def _record(session: Session, rma: Rma, what: str, *, now: datetime, **facts: Fact) -> None:
    timeline.record(session, what, shop=rma.shop_id, rma=rma.id, who=WHO, at=now, facts={"order": rma.order_ref, **facts})


def _row(shop: uuid.UUID, ref: OrderRef) -> Update:
    return update(OrderRow).where(OrderRow.shop_id == shop, OrderRow.ref == ref).execution_options(synchronize_session=False)
