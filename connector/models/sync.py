"""What keeps a shop current: hints that deliveries left, and how far the poll and the import of its history have come."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from connector.domain.connecting import CreditUse
from connector.models.base import Base, ByValue

_PENDING = text("taken_at IS NULL")
_POISONED = text("poisoned_at IS NOT NULL")


class HintRow(Base):
    """A verified delivery: something is to be read again.

    Pending until a refresh takes it. `body` is ciphertext and empty again as soon as `ref` or `sweep` says what it is about; a body that
    nobody can make sense of stays for some days. Two deliveries with the same bytes are one hint, but only while it is pending.
    """

    __tablename__ = "hints"
    __table_args__ = (
        Index("uq_hints_pending", "shop_id", "topic", "digest", unique=True, sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index("uq_hints_delivery", "shop_id", "delivery", unique=True),
        Index("ix_hints_shop_id_taken_at", "shop_id", "taken_at"),
        Index("ix_hints_poisoned_at", "poisoned_at", sqlite_where=_POISONED, postgresql_where=_POISONED),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    topic: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    delivery: Mapped[str | None]
    body: Mapped[bytes | None]
    received_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    ref: Mapped[str | None]
    sweep: Mapped[bool] = mapped_column(default=False)
    poisoned_at: Mapped[datetime | None]


class Sync(Base):
    """How far a shop is read. Times are the database's but `watermark` and `imported_until`, which are the shop's own.

    `poll_at` and `probe_at` say when each is due next.
    """

    __tablename__ = "syncs"
    __table_args__ = (Index("ix_syncs_poll_at", "poll_at"), Index("ix_syncs_probe_at", "probe_at"))

    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"), primary_key=True)
    watermark: Mapped[datetime]
    poll_at: Mapped[datetime]
    polled_at: Mapped[datetime | None]
    probe_at: Mapped[datetime]
    probed_at: Mapped[datetime | None]
    deliveries_ok: Mapped[bool | None]
    deliveries_mended: Mapped[int] = mapped_column(default=0)
    import_cursor: Mapped[str | None]
    imported: Mapped[int] = mapped_column(default=0)
    imported_until: Mapped[datetime | None]
    import_done_at: Mapped[datetime | None]


class Credit(Base):
    """A code of store credit that we issued. `minor` is what it was worth then, as the platform counts it."""

    __tablename__ = "credits"
    __table_args__ = (UniqueConstraint("shop_id", "code", name="one_per_code"), Index("ix_credits_refund_id", "refund_id"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    refund_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("refunds.id"))
    code: Mapped[str]
    minor: Mapped[int]
    currency: Mapped[str]
    issued_at: Mapped[datetime]


class CreditUseRow(Base):
    """A code of ours in an order, and what became of it. `next_code` is kept for its rest before anybody is asked to make it.

    `seen_at` is the change of the order that was last looked into.
    """

    __tablename__ = "credit_uses"
    __table_args__ = (
        UniqueConstraint("credit_id", "order_ref", name="one_per_order"),
        UniqueConstraint("shop_id", "next_code", name="one_per_next_code"),
        Index("ix_credit_uses_of_order", "shop_id", "order_ref"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    credit_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("credits.id"))
    order_ref: Mapped[str]
    next_code: Mapped[str]
    use: Mapped[CreditUse] = mapped_column(ByValue(CreditUse), default=CreditUse.WAITING)
    seen_at: Mapped[datetime | None]
