"""Evidence of money: record every receipt, settle its row, raise the alarms, and take a person's answer.

A receipt is recorded whoever brings it and whatever became of the lease or the attempt that asked for it.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector import db
from connector.domain import codec
from connector.domain.money import Money
from connector.domain.orders import Order, OrderRef, RefundRef
from connector.domain.platform import CreditOrder, Receipt
from connector.domain.rma import OPEN, MoneyMove, MoneyState, money_after
from connector.models import Alarm, AlarmKind, Kind, ReceiptRow, Refund, Resolution
from connector.services import orders, outbox, refunds, store_credit, timeline


def settle(session: Session, row_id: uuid.UUID, receipt: Receipt, *, attempt: int, who: str, now: datetime) -> bool:
    """Record a receipt: always, whoever brings it. True where it settled the row.

    A receipt for a row that is settled otherwise, or that was closed as unpaid, raises the alarm *paid twice*. One that another
    row has already parks this row, with an alarm; one of another amount settles it, with an alarm.
    """
    row = session.get_one(Refund, row_id)
    orders.lock(session, row.shop_id, OrderRef(row.order_ref))
    session.refresh(row)
    _keep_receipt(session, row, receipt, attempt=attempt, who=who, now=now)
    if row.platform_reference == receipt.reference:
        return False
    if row.state not in OPEN and row.state is not MoneyState.PARKED:
        _alarm(
            session, row, AlarmKind.PAID_TWICE, now=now, state=row.state.value, settled_by=row.platform_reference, also=receipt.reference
        )
        return False
    if _taken(session, row, receipt.reference):
        _alarm(session, row, AlarmKind.REFERENCE_TAKEN, now=now, reference=receipt.reference)
        if row.state is not MoneyState.PARKED:
            row.state, row.parked_because = money_after(row.state, MoneyMove.PARK), "reference_taken"
        return False
    if receipt.amount != Money(row.minor, row.currency):
        _alarm(
            session, row, AlarmKind.AMOUNT_DIFFERS, now=now, asked=row.minor, moved=receipt.amount.minor, currency=receipt.amount.currency
        )
    row.state = money_after(row.state, MoneyMove.SETTLE)
    row.platform_reference, row.parked_because = receipt.reference, None
    resolution = session.get_one(Resolution, row.resolution_id)
    facts = refunds.amount_facts(receipt.amount) | {"row": row.id.hex, "reference": receipt.reference, "attempt": attempt}
    told = orders.instruction(row)
    if isinstance(told, CreditOrder):
        store_credit.issued(session, row, told, receipt, now=now)
    timeline.record(session, "money.settled", shop=row.shop_id, rma=resolution.rma_id, who=who, at=now, for_shopper=True, facts=facts)
    outbox.put(session, Kind.MIRROR, resolution.rma_id, shop=row.shop_id, now=now)
    return True


def came_after_all(session: Session, rma: uuid.UUID, order: Order) -> Receipt | None:
    """A refund of this RMA that the order shows although its row was closed as unpaid; None: there is none."""
    shown = {record.key: record for record in order.refunds if record.key}
    query = select(Refund).join(Resolution, Resolution.id == Refund.resolution_id)
    for row in session.execute(query.where(Resolution.rma_id == rma, Refund.state == MoneyState.REFUSED)).scalars():
        if (record := shown.get(row.id.hex)) is not None:
            return Receipt(record.ref, Money(record.moved, row.currency))
    return None


def book_what_came(session: Session, row_id: uuid.UUID, order: Order, *, who: str, now: datetime) -> bool:
    """Book such a refund, which raises the alarm *paid twice*, before another row of its RMA is paid. True: there was one.

    `row_id` is the row that was about to be paid.
    """
    rma = session.get_one(Resolution, session.get_one(Refund, row_id).resolution_id).rma_id
    receipt = came_after_all(session, rma, order)
    if receipt is None:
        return False
    key = next(record.key for record in order.refunds if record.ref == receipt.reference)
    settle(session, uuid.UUID(key), receipt, attempt=session.get_one(Refund, uuid.UUID(key)).attempt, who=who, now=now)
    return True


def answer_paid(session: Session, row_id: uuid.UUID, reference: RefundRef, *, who: str, now: datetime) -> None:
    """A person looked: it was paid, under this reference. A reference that another row has leaves the row parked, with an alarm."""
    row = session.get_one(Refund, row_id)
    settle(session, row_id, Receipt(reference, Money(row.minor, row.currency)), attempt=row.attempt, who=who, now=now)


def answer_unpaid(session: Session, row_id: uuid.UUID, *, who: str, now: datetime) -> bool:
    """A person looked: it was not paid. The row is closed and never sent again; the RMA may be resolved anew.

    False where the row is not parked any more (a receipt came meanwhile).
    """
    row = session.get_one(Refund, row_id)
    orders.lock(session, row.shop_id, OrderRef(row.order_ref))
    session.refresh(row)
    if row.state is not MoneyState.PARKED:
        return False
    row.state, row.parked_because = money_after(row.state, MoneyMove.REFUSE), None
    session.flush()
    refunds.came_to_nothing(session, row_id, who=who, why="not_paid", words="", now=now)
    return True


def _keep_receipt(session: Session, row: Refund, receipt: Receipt, *, attempt: int, who: str, now: datetime) -> None:
    values = {
        "id": uuid.uuid4(), "shop_id": row.shop_id, "refund_id": row.id, "attempt": attempt, "reference": receipt.reference,
        "minor": receipt.amount.minor, "currency": receipt.amount.currency, "recorded_at": now, "recorded_by": who,
    }  # fmt: skip
    session.execute(db.upsert(session, ReceiptRow).values(values).on_conflict_do_nothing(index_elements=["refund_id", "reference"]))


def _taken(session: Session, row: Refund, reference: str) -> bool:
    query = select(Refund.id).where(Refund.shop_id == row.shop_id, Refund.platform_reference == reference, Refund.id != row.id)
    return session.execute(query).first() is not None


def _alarm(session: Session, row: Refund, kind: AlarmKind, *, now: datetime, **facts: str | int | None) -> None:
    subject = ":".join([row.id.hex, *(str(facts[name]) for name in ("also", "reference") if name in facts)])  # each receipt its own
    values = {
        "id": uuid.uuid4(),
        "shop_id": row.shop_id,
        "kind": kind,
        "subject": subject,
        "facts": codec.write(facts),
        "raised_at": now,
    }
    fresh = db.upsert(session, Alarm).values(values).on_conflict_do_nothing(index_elements=["shop_id", "kind", "subject"])
    if db.changed(session, fresh) == 1:
        resolution = session.get_one(Resolution, row.resolution_id)
        timeline.record(
            session,
            f"alarm.{kind.value}",
            shop=row.shop_id,
            rma=resolution.rma_id,
            who="machine",
            at=now,
            facts={"row": row.id.hex, **facts},
        )
