"""The timeline and its seals."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from connector.models.base import Base


class Entry(Base):
    """Something that happened: who, when, what. Append-only. `commitment` binds the text, which lies apart and can be erased."""

    __tablename__ = "timeline"
    __table_args__ = (Index("ix_timeline_of_rma", "rma_id", "happened_at"), Index("ix_timeline_of_shop", "shop_id", "happened_at"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    rma_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rmas.id"))
    happened_at: Mapped[datetime]
    who: Mapped[str]
    what: Mapped[str]
    for_shopper: Mapped[bool]
    commitment: Mapped[bytes]


class EntryText(Base):
    """Why and with which facts. Gone after redaction; the chain of seals stays whole without it."""

    __tablename__ = "timeline_texts"

    entry_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("timeline.id"), primary_key=True)
    salt: Mapped[bytes]
    text: Mapped[str]


class Unsealed(Base):
    """An entry that waits for its seal: what the clock looks through instead of the whole timeline."""

    __tablename__ = "unsealed"
    __table_args__ = (Index("ix_unsealed_of_shop", "shop_id"),)

    entry_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("timeline.id"), primary_key=True)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))


class Seal(Base):
    """One link of a shop's chain."""

    __tablename__ = "seals"
    __table_args__ = (PrimaryKeyConstraint("shop_id", "position"), UniqueConstraint("entry_id", name="sealed_once"))

    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    position: Mapped[int]
    entry_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("timeline.id"))
    hash: Mapped[bytes]
