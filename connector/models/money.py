"""Money: what was decided, each call to a platform, each receipt, and the alarms."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from connector.domain.rma import MoneyState
from connector.models.base import Base, ByValue

_STANDING = text("voided_at IS NULL")
_SENT = text("state = 'sent'")


class MoneyKind(StrEnum):
    """How money is given back."""

    REFUND = "refund"
    CREDIT = "credit"


class Resolution(Base):
    """What was decided for an RMA, with its whole arithmetic. `voided_at` says that it did not come about. Minor units."""

    __tablename__ = "resolutions"
    __table_args__ = (
        ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"]),
        CheckConstraint("total >= 0 AND deducted >= 0 AND bonus >= 0", name="not_negative"),
        UniqueConstraint("shop_id", "form_token", name="one_per_form"),
        Index("ix_resolutions_of_order", "shop_id", "order_ref"),
        Index("uq_resolutions_one_standing", "rma_id", unique=True, sqlite_where=_STANDING, postgresql_where=_STANDING),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    rma_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rmas.id"), index=True)
    order_ref: Mapped[str]
    kind: Mapped[MoneyKind] = mapped_column(ByValue(MoneyKind))
    currency: Mapped[str]
    total: Mapped[int]
    deducted: Mapped[int]
    bonus: Mapped[int]
    quote: Mapped[bytes]  # the whole arithmetic, as it was shown
    booked: Mapped[bytes]  # lines with their units and dispositions, and charges, in full
    form_token: Mapped[str]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    confirmed_by: Mapped[str | None]  # a second look above the shop's limit
    voided_at: Mapped[datetime | None]


class Refund(Base):
    """One call to a platform that gives money back. The row reserves the amount before anyone is asked to pay.

    `minor` is presentment money: what moves (for a credit, the value given up; the bonus stands beside it).
    `asked_first_at` is the mark of the first attempt that may have left; while it is null, nothing can have happened.
    `quiet_until`: from then on nothing can come of any attempt any more, whatever became of its answer.
    """

    __tablename__ = "refunds"
    __table_args__ = (
        ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"]),
        CheckConstraint("minor > 0", name="positive"),
        CheckConstraint("deducted >= 0", name="deducted_not_negative"),
        CheckConstraint("(state = 'settled') = (platform_reference IS NOT NULL)", name="settled_has_reference"),
        CheckConstraint("(state = 'parked') = (parked_because IS NOT NULL)", name="parked_says_why"),
        CheckConstraint("state <> 'sent' OR asked_first_at IS NOT NULL", name="sent_was_asked"),
        CheckConstraint("state <> 'pending' OR asked_first_at IS NULL", name="pending_was_not_asked"),
        CheckConstraint("(asked_first_at IS NULL) = (asked_first_attempt IS NULL)", name="asked_by_an_attempt"),
        CheckConstraint("asked_first_attempt IS NULL OR asked_first_attempt <= attempt", name="asked_before_now"),
        CheckConstraint("asked_first_at IS NULL OR (marked_at IS NOT NULL AND quiet_until IS NOT NULL)", name="asked_was_marked"),
        CheckConstraint("platform_reference IS NULL OR platform_reference <> ''", name="reference_says_something"),
        UniqueConstraint("shop_id", "platform_reference", name="one_row_per_receipt"),
        UniqueConstraint("made_again_from", name="made_again_once"),
        Index("ix_refunds_of_order", "shop_id", "order_ref"),
        Index("ix_refunds_by_state", "shop_id", "state"),
        Index("uq_refunds_one_sent", "shop_id", "order_ref", unique=True, sqlite_where=_SENT, postgresql_where=_SENT),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    resolution_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("resolutions.id"), index=True)
    order_ref: Mapped[str]
    kind: Mapped[MoneyKind] = mapped_column(ByValue(MoneyKind))
    state: Mapped[MoneyState] = mapped_column(ByValue(MoneyState), default=MoneyState.PENDING)
    minor: Mapped[int]
    deducted: Mapped[int]
    currency: Mapped[str]
    instruction: Mapped[bytes]  # the exact instruction, canonical; a resend sends what these bytes say
    attempt: Mapped[int] = mapped_column(default=0)
    marked_at: Mapped[datetime | None]
    quiet_until: Mapped[datetime | None]
    asked_first_at: Mapped[datetime | None]
    asked_first_attempt: Mapped[int | None]  # whose mark that was
    before: Mapped[bytes | None]  # the pre-image of the last attempt
    platform_reference: Mapped[str | None]
    parked_because: Mapped[str | None]
    words: Mapped[str | None]  # the far side's own, for the desk
    reserved_at: Mapped[datetime]
    made_again_from: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("refunds.id"))


class ReceiptRow(Base):
    """A platform's word that money moved. Append-only: the database refuses to change or delete one."""

    __tablename__ = "receipts"
    __table_args__ = (UniqueConstraint("refund_id", "reference", name="once"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    refund_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("refunds.id"), index=True)
    attempt: Mapped[int]
    reference: Mapped[str]
    minor: Mapped[int]
    currency: Mapped[str]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]


class AlarmKind(StrEnum):
    """What a merchant is woken for."""

    PAID_TWICE = "paid_twice"
    AMOUNT_DIFFERS = "amount_differs"
    REFERENCE_TAKEN = "reference_taken"
    CREDIT_TWICE = "credit_twice"  # a used credit was given back, spent elsewhere, and its first order came to life again
    DELIVERIES_UNREADABLE = "deliveries_unreadable"  # signed, and its sender may not see what it is about
    DELIVERIES_OFF = "deliveries_off"  # the platform had stopped sending
    POISONED = "poisoned"  # a delivery or an order that nobody can make sense of


class Alarm(Base):
    """Something that must not be, with its facts. Stands until a person clears it."""

    __tablename__ = "alarms"
    __table_args__ = (UniqueConstraint("shop_id", "kind", "subject", name="once"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    kind: Mapped[AlarmKind] = mapped_column(ByValue(AlarmKind))
    subject: Mapped[str]
    facts: Mapped[bytes]
    raised_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]
    cleared_by: Mapped[str | None]
