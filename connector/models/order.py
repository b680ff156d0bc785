"""Order snapshots."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from connector.models.base import Base


class OrderRow(Base):
    """What we last read of an order, without its buyer: ids, amounts, articles, country, and keyed digests.

    The row exists before the order was ever read where somebody locked it. A snapshot replaces only one whose read
    began earlier, by the database's clock. `gone_at`: the platform does not know it any more.
    """

    __tablename__ = "orders"
    __table_args__ = (
        PrimaryKeyConstraint("shop_id", "ref"),
        Index("ix_orders_look_up", "shop_id", "number", "email_digest"),
    )

    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    ref: Mapped[str]
    lock_version: Mapped[int] = mapped_column(default=0)
    number: Mapped[str | None]
    snapshot: Mapped[bytes | None]
    read_began_at: Mapped[datetime | None]
    email_digest: Mapped[str | None]
    postal_digest: Mapped[str | None]
    gone_at: Mapped[datetime | None]
