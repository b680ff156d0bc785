"""RMAs: the case, its lines, what became of its units, and who to write to."""

from __future__ import annotations

import uuid
from datetime import date, datetime

from sqlalchemy import CheckConstraint, Date, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from connector.domain.rma import Disposition, RmaState
from connector.models.base import Base, ByValue


class Rma(Base):
    """One case. Its number is unique in its shop and is never used again; the row outlives every person in it."""

    __tablename__ = "rmas"
    __table_args__ = (
        UniqueConstraint("shop_id", "number", name="one_per_number"),
        UniqueConstraint("shop_id", "form_token", name="one_per_form"),
        ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"]),
        Index("ix_rmas_of_order", "shop_id", "order_ref"),
        Index("ix_rmas_by_state", "shop_id", "state", "requested_at", "id"),
        Index("ix_rmas_by_age", "shop_id", "requested_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    order_ref: Mapped[str]
    number: Mapped[str]
    state: Mapped[RmaState] = mapped_column(ByValue(RmaState))
    policy_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("policies.id"))
    decision: Mapped[bytes]  # what the policy decided and why, as codes with inputs (JSON)
    form_token: Mapped[str]
    requested_at: Mapped[datetime]
    expires_on: Mapped[date | None] = mapped_column(Date)
    wanted: Mapped[str | None]  # the resolution that the shopper asked for
    platform_return_ref: Mapped[str | None]


class RmaLine(Base):
    """Units of one order line that a shopper claims."""

    __tablename__ = "rma_lines"
    __table_args__ = (UniqueConstraint("rma_id", "line_ref", name="one_per_line"), CheckConstraint("quantity > 0", name="positive"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    rma_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rmas.id"), index=True)
    line_ref: Mapped[str]
    quantity: Mapped[int]
    reason: Mapped[str]
    condition: Mapped[str]


class Units(Base):
    """How many units of a line are in one disposition. The quantities of a line always add up to what was claimed."""

    __tablename__ = "units"
    __table_args__ = (
        UniqueConstraint("rma_line_id", "disposition", name="one_per_disposition"),
        CheckConstraint("quantity > 0", name="positive"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    rma_line_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rma_lines.id"), index=True)
    disposition: Mapped[Disposition] = mapped_column(ByValue(Disposition))
    quantity: Mapped[int]


class ContactRow(Base):
    """The one place where an RMA keeps anything personal: ciphertext, erased by redaction and some days after the case closed.

    `said` is what the shopper wrote in their own words.
    """

    __tablename__ = "contacts"

    rma_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rmas.id"), primary_key=True)
    sealed: Mapped[bytes | None]
    said: Mapped[bytes | None]
    erased_at: Mapped[datetime | None]
