"""Evidence of money: record every receipt, settle its row, raise the alarms, and take a person's answer.

A receipt is recorded whoever brings it and whatever became of the lease or the attempt that asked for it.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector import db
from connector.domain.money import Money
from connector.domain.orders import Order, OrderRef, RefundRef
from connector.domain.platform import CreditOrder, Receipt
from connector.domain.rma import OPEN, MoneyMove, MoneyState, Move, money_after, open_to
from connector.models import AlarmKind, Kind, MoneyKind, ReceiptRow, Refund, Resolution, Rma, Shop
from connector.services import limits, mails, orders, outbox, refunds, rmas, store_credit, timeline
from connector.services.mails import Event
from connector.services.raising import raise_alarm

MACHINE: Final = "machine"  # who records what a platform told
UNNAMED: Final = "unnamed:"  # with the row's id: the reference of a payment that its platform does not name
_LONGEST_REFERENCE: Final = 200
_LARGEST: Final = 2**63 - 1


def settle(session: Session, row_id: uuid.UUID, receipt: Receipt, *, attempt: int, who: str, now: datetime) -> bool:
    """Record a receipt: always, whoever brings it. True where it settled the row.

    A row that was closed as unpaid is settled too, and its decision stands again, where nothing took its place. A receipt for a row
    that is settled otherwise, or that something took the place of, raises the alarm *paid twice*. One that another row has already
    parks this row, with an alarm; one of another amount settles it, with an alarm.
    """
    row = session.get_one(Refund, row_id)
    orders.lock(session, row.shop_id, OrderRef(row.order_ref))
    session.refresh(row)
    receipt = _storable(row, receipt)
    _keep_receipt(session, row, receipt, attempt=attempt, who=who, now=now)
    if row.platform_reference == receipt.reference:
        return False
    if row.state is MoneyState.SETTLED and who == MACHINE and _typed(session, row) and not _taken(session, row, receipt.reference):
        row.platform_reference = receipt.reference  # the same payment, by the name that the platform gives it
        return False
    if row.state is MoneyState.SETTLED or (row.state is MoneyState.REFUSED and _replaced(session, row)):
        _alarm(
            session, row, AlarmKind.PAID_TWICE, now=now, state=row.state.value, settled_by=row.platform_reference, also=receipt.reference
        )
        return False
    if _taken(session, row, receipt.reference):
        _alarm(session, row, AlarmKind.REFERENCE_TAKEN, now=now, reference=receipt.reference)
        if row.state in OPEN:
            row.state, row.parked_because = money_after(row.state, MoneyMove.PARK), "reference_taken"
        return False
    if receipt.amount != Money(row.minor, row.currency):
        _alarm(
            session, row, AlarmKind.AMOUNT_DIFFERS, now=now, asked=row.minor, moved=receipt.amount.minor, currency=receipt.amount.currency
        )
    resolution = session.get_one(Resolution, row.resolution_id)
    if row.state is MoneyState.REFUSED:
        _stands_again(session, resolution, who=who, now=now)
    row.state = money_after(row.state, MoneyMove.SETTLE)
    row.platform_reference, row.parked_because = receipt.reference, None
    outbox.finish(session, Kind.SETTLE, row.id, now=now)
    facts = refunds.amount_facts(receipt.amount) | {"row": row.id.hex, "reference": receipt.reference, "attempt": attempt}
    told = orders.instruction(row)
    if isinstance(told, CreditOrder):
        store_credit.issued(session, row, told, receipt, now=now)
    timeline.record(session, "money.settled", shop=row.shop_id, rma=resolution.rma_id, who=who, at=now, for_shopper=True, facts=facts)
    outbox.put(session, Kind.MIRROR, resolution.rma_id, shop=row.shop_id, now=now)
    _tell(session, row, resolution.rma_id, who=who, now=now)
    return True


def _tell(session: Session, row: Refund, rma: uuid.UUID, *, who: str, now: datetime) -> None:
    """Write to the shopper, unless their shop did so of its own accord, about a refund of its own (WooCommerce 10.9: it always does)."""
    if row.kind is MoneyKind.CREDIT:
        mails.about(session, Event.CREDITED, rma, shop=row.shop_id, subject=row.id, now=now)
        return
    tells = (session.get_one(Shop, row.shop_id).facts or {}).get("tells_of_refunds") == "yes"
    if not (tells and (who == MACHINE or _shown(session, row))):
        mails.about(session, Event.REFUNDED, rma, shop=row.shop_id, subject=row.id, now=now)


def _shown(session: Session, row: Refund) -> bool:
    """Whether the order shows the refund that a person named: then the store made it, and no hand alone."""
    order = orders.snapshot(session, row.shop_id, OrderRef(row.order_ref))
    return order is not None and any(record.key == row.id.hex or record.ref == row.platform_reference for record in order.refunds)


def _typed(session: Session, row: Refund) -> bool:
    """Whether the reference that settled the row is one that a person typed, and no platform told."""
    told = select(ReceiptRow.id).where(
        ReceiptRow.refund_id == row.id, ReceiptRow.reference == row.platform_reference, ReceiptRow.recorded_by == MACHINE
    )
    return session.execute(told).first() is None


def _storable(row: Refund, receipt: Receipt) -> Receipt:
    """The receipt as both databases take it: evidence is recorded, whatever a far side writes into it (A15, A84)."""
    reference = receipt.reference.encode("utf-8", "replace").decode().replace("\0", "").strip()[:_LONGEST_REFERENCE]
    minor = max(-_LARGEST, min(receipt.amount.minor, _LARGEST))
    return replace(receipt, reference=RefundRef(reference or f"{UNNAMED}{row.id.hex}"), amount=replace(receipt.amount, minor=minor))


def _replaced(session: Session, row: Refund) -> bool:
    """Whether something else is to pay, or paid, what this refused row was to pay: itself made anew, or another decision of its RMA."""
    if session.execute(select(Refund.id).where(Refund.made_again_from == row.id)).first() is not None:
        return True
    mine = session.get_one(Resolution, row.resolution_id, populate_existing=True)
    others = select(Resolution.id).where(Resolution.rma_id == mine.rma_id, Resolution.voided_at.is_(None), Resolution.id != mine.id)
    return mine.voided_at is not None and session.execute(others).first() is not None


def _stands_again(session: Session, resolution: Resolution, *, who: str, now: datetime) -> None:
    """A decision that had come to nothing was paid after all: it counts, and the case is resolved by it."""
    if resolution.voided_at is None:
        return
    resolution.voided_at = None
    session.flush()
    limits.count(session, resolution, time_zone=session.get_one(Shop, resolution.shop_id).time_zone)
    rma = session.get_one(Rma, resolution.rma_id)
    if Move.RESOLVE in open_to(rma.state):
        rmas.move(session, rma, Move.RESOLVE, who=who, now=now, total=resolution.total, currency=resolution.currency, paid_after_all=True)


def came_after_all(session: Session, rma: uuid.UUID, order: Order) -> Receipt | None:
    """A refund of this RMA that the order shows although its row was closed as unpaid; None: there is none."""
    shown = {record.key: record for record in order.refunds if record.key}
    query = select(Refund).join(Resolution, Resolution.id == Refund.resolution_id)
    for row in session.execute(query.where(Resolution.rma_id == rma, Refund.state == MoneyState.REFUSED)).scalars():
        if (record := shown.get(row.id.hex)) is not None:
            return Receipt(record.ref, Money(record.moved, row.currency))
    return None


def book_what_came(session: Session, rma: uuid.UUID, order: Order, *, who: str, now: datetime) -> bool:
    """Book such a refund before anything else of its RMA is decided or paid. True: there was one.

    It settles its row, or raises the alarm *paid twice* where something took the row's place.
    """
    receipt = came_after_all(session, rma, order)
    if receipt is None:
        return False
    key = next(record.key for record in order.refunds if record.ref == receipt.reference)
    settle(session, uuid.UUID(key), receipt, attempt=session.get_one(Refund, uuid.UUID(key)).attempt, who=who, now=now)
    return True


class TooEarly(Exception):
    """A request of ours may still be carried out over there: nobody can say yet that it was not paid."""

    def __init__(self, until: datetime) -> None:
        """`until` is the database's time from which on it can be said."""
        super().__init__(until)
        self.until = until


class NoReference(ValueError):
    """A payment is named by the reference that the shop's books show."""


def answer_paid(session: Session, row_id: uuid.UUID, reference: RefundRef, *, who: str, now: datetime) -> None:
    """A person looked: it was paid, under this reference. A reference that another row has leaves the row parked, with an alarm.

    Raises:
        NoReference: nothing was typed, or what no books show.
    """
    typed = RefundRef(reference.strip())
    if not typed or len(typed) > _LONGEST_REFERENCE or not typed.isprintable():
        raise NoReference("type the number under which the shop's books show the payment")
    row = session.get_one(Refund, row_id)
    settle(session, row_id, Receipt(typed, Money(row.minor, row.currency)), attempt=row.attempt, who=who, now=now)


def answer_unpaid(session: Session, row_id: uuid.UUID, *, who: str, now: datetime) -> bool:
    """A person looked: it was not paid. The row is closed and never sent again; the RMA may be resolved anew.

    False where the row is not parked any more (a receipt came meanwhile).

    Raises:
        TooEarly: a request of ours may still act. However the books look now, it could pay after the new decision did.
    """
    row = session.get_one(Refund, row_id)
    orders.lock(session, row.shop_id, OrderRef(row.order_ref))
    session.refresh(row)
    if row.state is not MoneyState.PARKED:
        return False
    if row.asked_first_at is not None and row.quiet_until is not None and now < row.quiet_until:
        raise TooEarly(row.quiet_until)
    row.state, row.parked_because = money_after(row.state, MoneyMove.REFUSE), None
    session.flush()
    outbox.finish(session, Kind.SETTLE, row.id, now=now)
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
    rma = session.get_one(Resolution, row.resolution_id).rma_id
    raise_alarm(session, kind, subject, facts, shop=row.shop_id, rma=rma, now=now, entry={"row": row.id.hex, **facts})
