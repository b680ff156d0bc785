"""Mail: one row, one message and one Message-ID for each event."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from connector.models.base import Base, ByValue


class MailState(StrEnum):
    """Where a message stands."""

    WAITING = "waiting"
    MARKED = "marked"  # handed over, and the answer did not come (yet)
    HANDED = "handed"  # the mail server took it
    REFUSED = "refused"  # the mail server will never take it, or it was unanswered twice
    DROPPED = "dropped"  # there is nobody to write to any more


class Mail(Base):
    """One message. `once` names the event, so that it is written about once.

    `sealed` holds an address and a secret for messages that are not to an RMA's contact: ciphertext, gone once the message is.
    `subject_id` is what the event is about besides the RMA, such as a money row.
    """

    __tablename__ = "mails"
    __table_args__ = (
        UniqueConstraint("once", name="once"),
        UniqueConstraint("message_id", name="one_per_message_id"),
        CheckConstraint("rma_id IS NOT NULL OR sealed IS NOT NULL OR state IN ('handed', 'refused', 'dropped')", name="has_an_address"),
        Index("ix_mails_of_rma", "rma_id"),
        Index("ix_mails_made_at", "made_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    rma_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rmas.id"))
    subject_id: Mapped[uuid.UUID | None]
    event: Mapped[str]
    once: Mapped[str]
    message_id: Mapped[str]
    sealed: Mapped[bytes | None]
    state: Mapped[MailState] = mapped_column(ByValue(MailState), default=MailState.WAITING)
    attempt: Mapped[int] = mapped_column(default=0)
    made_at: Mapped[datetime]  # also the message's Date
    marked_at: Mapped[datetime | None]
    handed_at: Mapped[datetime | None]
    words: Mapped[str | None]  # the mail server's own, for the desk
