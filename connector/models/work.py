"""The outbox: the only queue and the only retry mechanism for our own work."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from connector.models.base import Base


class Kind(StrEnum):
    """What is to be done with a subject. The column is plain text: a worker leaves kinds alone that it does not know."""

    SETTLE = "settle"  # a money row: refund or credit
    MIRROR = "mirror"  # an RMA: show it on the platform
    REFRESH = "refresh"  # a shop: read again what deliveries hinted at
    POLL = "poll"  # a shop: find what deliveries lost
    PROBE = "probe"  # a shop: ask what it is and can do
    REISSUE = "reissue"  # a used store credit: give its rest a code of its own
    REDACT = "redact"  # an uninstalled shop: forget its persons
    IMPORT = "import"  # a shop: the next page of its history
    MAIL = "mail"  # a message


_OPEN = text("done_at IS NULL AND parked_at IS NULL")


class OutboxRow(Base):
    """One piece of work, committed with the fact that caused it.

    Open while `done_at` and `parked_at` are null. `fence` grows with every claim, and only who holds the current fence
    may say done, later or parked.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_due", "shop_id", "available_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_outbox_done", "done_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    kind: Mapped[str]
    subject_id: Mapped[uuid.UUID]
    put_at: Mapped[datetime]
    available_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    done_at: Mapped[datetime | None]
    parked_at: Mapped[datetime | None]
    parked_because: Mapped[str | None]
