"""Nothing needs to come back: the shopper keeps the goods and is given their worth all the same."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from connector.domain.orders import LineRef, OrderRef
from connector.domain.rma import Disposition, Move
from connector.models import Kind, Rma
from connector.services import orders, outbox, rmas


def waive(session: Session, rma_id: uuid.UUID, *, who: str, now: datetime) -> None:
    """Every unit that is awaited stays with the shopper, and counts as accepted. Raises `IllegalMove`."""
    rma = session.get_one(Rma, rma_id)
    orders.lock(session, rma.shop_id, OrderRef(rma.order_ref))
    session.refresh(rma)
    rmas.move(session, rma, Move.WAIVE_RECEIPT, who=who, now=now)
    units = rmas.units(session, rma.id)
    for line in rmas.lines(session, rma.id):
        awaited = units.get(LineRef(line.line_ref), {}).get(Disposition.AWAITED, 0)
        if awaited:
            rmas.dispose(session, line, Disposition.AWAITED, Disposition.KEPT, awaited)
    outbox.put(session, Kind.MIRROR, rma.id, shop=rma.shop_id, now=now)
