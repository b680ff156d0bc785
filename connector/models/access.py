"""Who may see and do what: links to one return, budgets against guessing, mailed codes, staff and their one-time links.

Secrets of links and codes are kept as digests alone.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from connector.models.base import Base, ByValue


class Link(Base):
    """A link that opens the status page of one RMA, for whoever holds it, until it is revoked."""

    __tablename__ = "links"
    __table_args__ = (UniqueConstraint("digest", name="one_per_digest"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    rma_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("rmas.id"), index=True)
    digest: Mapped[str]
    made_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Budget(Base):
    """How often something was tried within a window of time. `subject` is a digest: of an address, an order, a shop."""

    __tablename__ = "budgets"
    __table_args__ = (
        PrimaryKeyConstraint("subject", "window_began_at"),
        CheckConstraint("spent > 0", name="positive"),
        Index("ix_budgets_window_began_at", "window_began_at"),
    )

    subject: Mapped[str]
    window_began_at: Mapped[datetime]
    spent: Mapped[int]


class MailedCode(Base):
    """A short code that went to the buyer's own address, where guessing had used up its budget."""

    __tablename__ = "mailed_codes"
    __table_args__ = (
        ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"]),
        Index("ix_mailed_codes_of_order", "shop_id", "order_ref"),
        Index("ix_mailed_codes_made_at", "made_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    order_ref: Mapped[str]
    digest: Mapped[str]
    made_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    used_at: Mapped[datetime | None]


class Role(StrEnum):
    """What a member of staff may do: each role may do what those before it may."""

    VIEW = "view"
    HANDLE = "handle"  # authorise, decline, receive, inspect
    MONEY = "money"  # resolve, and answer for parked money
    SETTINGS = "settings"  # and decide who else is staff

    def may(self, needed: Role) -> bool:
        """Whether this role includes `needed`."""
        return _LADDER.index(self) >= _LADDER.index(needed)


_LADDER: Final = tuple(Role)


class StaffMember(Base):
    """Somebody who was invited to a shop's desk. `email` is ciphertext."""

    __tablename__ = "staff"
    __table_args__ = (UniqueConstraint("shop_id", "email_digest", name="one_per_address"), Index("ix_staff_email_digest", "email_digest"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    email_digest: Mapped[str]
    email: Mapped[bytes]
    role: Mapped[Role] = mapped_column(ByValue(Role))
    invited_at: Mapped[datetime]
    invited_by: Mapped[str]
    removed_at: Mapped[datetime | None]


class StaffLink(Base):
    """A link that signs one member of staff in, once; used, it stands for the visit that it began, until that is over."""

    __tablename__ = "staff_links"
    __table_args__ = (UniqueConstraint("digest", name="one_per_digest"), Index("ix_staff_links_made_at", "made_at"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    staff_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("staff.id"), index=True)
    digest: Mapped[str]
    made_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]  # signed out, or removed
