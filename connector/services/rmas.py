"""RMA rows: moves along the state table, units along theirs, what other RMAs hold, and how the platform sees one."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain.orders import LineRef, Order, OrderRef, Worth
from connector.domain.platform import ReturnedLine, ReturnRef, ReturnView
from connector.domain.rma import ACCEPTED, HOLDS_UNITS, Disposition, Move, RmaState, after, disposed
from connector.models import Refund, Resolution, Rma, RmaLine, Units
from connector.services import orders, timeline
from connector.services.shops import ShopKeys, keys_of
from connector.services.timeline import Fact


class NotEnoughUnits(ValueError):
    """More units were to change their disposition than are there."""


def move(session: Session, rma: Rma, by: Move, *, who: str, now: datetime, **facts: Fact) -> None:
    """Move the case along its table, with an entry in the timeline. Raises `IllegalMove`."""
    rma.state = after(rma.state, by)
    timeline.record(session, f"rma.{by.value}", shop=rma.shop_id, rma=rma.id, who=who, at=now, for_shopper=True, facts=facts)


def reopen(session: Session, rma_id: uuid.UUID, *, who: str, now: datetime) -> None:
    """A resolution did not come about: the case may be resolved anew."""
    rma = session.get_one(Rma, rma_id)
    if rma.state is RmaState.RESOLVED:
        move(session, rma, Move.REOPEN, who=who, now=now)


def lines(session: Session, rma: uuid.UUID) -> Sequence[RmaLine]:
    """The claimed lines, in the order of their references."""
    return session.execute(select(RmaLine).where(RmaLine.rma_id == rma).order_by(RmaLine.line_ref)).scalars().all()


def units(session: Session, rma: uuid.UUID) -> Mapping[LineRef, Mapping[Disposition, int]]:
    """How many units of each line are in which disposition."""
    query = (
        select(RmaLine.line_ref, Units.disposition, Units.quantity)
        .join(Units, Units.rma_line_id == RmaLine.id)
        .where(RmaLine.rma_id == rma)
    )
    found: dict[LineRef, dict[Disposition, int]] = {}
    for ref, disposition, quantity in session.execute(query.order_by(RmaLine.line_ref, Units.disposition)):
        found.setdefault(LineRef(ref), {})[disposition] = quantity
    return found


def dispose(session: Session, line: RmaLine, was: Disposition, becomes: Disposition, quantity: int) -> None:
    """Move units of one line from one disposition to another.

    Raises:
        IllegalMove: the table does not allow it.
        NotEnoughUnits: there are not that many.
    """
    disposed(was, becomes)
    rows = {row.disposition: row for row in session.execute(select(Units).where(Units.rma_line_id == line.id)).scalars()}
    source = rows.get(was)
    if quantity < 1 or source is None or source.quantity < quantity:
        raise NotEnoughUnits(f"{line.line_ref}: {quantity} of {source.quantity if source else 0} {was.value}")
    if source.quantity == quantity:
        session.delete(source)
    else:
        source.quantity -= quantity
    if (target := rows.get(becomes)) is not None:
        target.quantity += quantity
    else:
        session.add(Units(rma_line_id=line.id, disposition=becomes, quantity=quantity))
    session.flush()


def taken(session: Session, shop: uuid.UUID, order: Order) -> Counter[LineRef]:
    """Units of each line that nobody can claim again: refunded, as the order shows, and held by RMAs that it does not show yet.

    A brief read shows a refund without its units: they are counted with the RMA until a full one shows them.
    """
    held = Counter({line.id: line.refunded_quantity for line in order.lines})
    full = [record for record in order.refunds if record.units]
    shown = {record.ref for record in full} | {record.key for record in full if record.key}
    for rma in session.execute(select(Rma).where(Rma.shop_id == shop, Rma.order_ref == order.ref, Rma.state.in_(HOLDS_UNITS))).scalars():
        if rma.state is RmaState.RESOLVED and _booked_by(session, rma.id) & shown:
            continue
        for ref, by_disposition in units(session, rma.id).items():
            held[ref] += sum(count for disposition, count in by_disposition.items() if _holds(rma.state, disposition))
    return held


def accepted(session: Session, rma: uuid.UUID) -> Mapping[LineRef, tuple[tuple[Disposition, int], ...]]:
    """The units that the shopper is given something for, by line."""
    found = {
        ref: tuple((disposition, count) for disposition, count in by.items() if disposition in ACCEPTED)
        for ref, by in units(session, rma).items()
    }
    return {ref: judged for ref, judged in found.items() if judged}


def mirrored(session: Session, rma_id: uuid.UUID) -> tuple[ShopKeys, ReturnView]:
    """The RMA as its platform should show it."""
    rma = session.get_one(Rma, rma_id)
    claimed = units(session, rma_id)
    shown = tuple(ReturnedLine(ref, sum(by.values()), Worth(0), tuple(by.items())) for ref, by in claimed.items())
    return keys_of(session, rma.shop_id), ReturnView(f"rma:{rma.number}", rma.number, OrderRef(rma.order_ref), rma.state.value, shown)


def shown(session: Session, rma_id: uuid.UUID, reference: ReturnRef) -> None:
    """The platform's own name for the RMA."""
    session.get_one(Rma, rma_id).platform_return_ref = reference


def _holds(state: RmaState, disposition: Disposition) -> bool:
    return disposition in ACCEPTED if state is RmaState.RESOLVED else disposition is not Disposition.SENT_BACK


def _booked_by(session: Session, rma: uuid.UUID) -> set[str]:
    """The platform's records that book this RMA's units, by reference and by our key: of a decision with several calls, only one does."""
    query = select(Refund).join(Resolution, Resolution.id == Refund.resolution_id)
    rows = session.execute(query.where(Resolution.rma_id == rma, Refund.platform_reference.is_not(None))).scalars()
    booking = [row for row in rows if orders.instruction(row).lines]
    return {name for row in booking for name in (row.platform_reference, row.id.hex) if name}
