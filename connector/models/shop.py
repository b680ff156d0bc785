"""Installations."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Date, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from connector.models.base import Base, ByValue


class ShopStatus(StrEnum):
    """Whether we may work for a shop."""

    ACTIVE = "active"
    REVOKED = "revoked"  # needs to be connected again; nothing is deleted
    UNINSTALLED = "uninstalled"


def _since_installed(row: Any) -> datetime:  # noqa: ANN401 - SQLAlchemy's context, which has no annotations here
    installed_at: datetime = row.get_current_parameters()["installed_at"]
    return installed_at


class Shop(Base):
    """One installation. `credentials` is ciphertext; `paused_until` holds back every row that calls the platform.

    `handle` stands in the addresses of its pages. `door` is the digest of the opaque word in the address that its deliveries come to.
    `facts` are what the last probe found, `trouble` what it could not get past.
    """

    __tablename__ = "shops"
    __table_args__ = (
        UniqueConstraint("platform", "domain", name="one_per_domain"),
        Index("uq_shops_door", "door", unique=True),
        Index("uq_shops_handle", "handle", unique=True),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    platform: Mapped[str]
    domain: Mapped[str]
    status: Mapped[ShopStatus] = mapped_column(ByValue(ShopStatus), default=ShopStatus.ACTIVE)
    credentials: Mapped[bytes]
    connected_at: Mapped[datetime] = mapped_column(default=_since_installed)  # since when it has these credentials
    time_zone: Mapped[str] = mapped_column(default="UTC")
    paused_until: Mapped[datetime | None]
    installed_at: Mapped[datetime]
    uninstalled_at: Mapped[datetime | None]
    redacted_at: Mapped[datetime | None]
    door: Mapped[str | None]
    handle: Mapped[str | None]
    facts: Mapped[dict[str, str] | None] = mapped_column(JSON)
    trouble: Mapped[str | None]
    trouble_detail: Mapped[str | None]


class Install(Base):
    """An installation that somebody began, found again by the digest of its one-time state.

    `grant` is what the platform posted under that state: ciphertext, believed by nobody before a probe of the store at `address`.
    """

    __tablename__ = "installs"
    __table_args__ = (UniqueConstraint("state_digest", name="one_per_state"), Index("ix_installs_begun_at", "begun_at"))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    state_digest: Mapped[str]
    platform: Mapped[str]
    address: Mapped[str]
    begun_at: Mapped[datetime]
    grant: Mapped[bytes | None]
    granted_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    shop_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("shops.id"))


class Policy(Base):
    """One published version of a shop's policy text. Never changed: an RMA is pinned to the version that judged it."""

    __tablename__ = "policies"
    __table_args__ = (
        UniqueConstraint("shop_id", "version", name="one_per_version"),
        Index("ix_policies_in_force", "shop_id", "effective_from", "version"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    version: Mapped[int]
    text: Mapped[str]
    effective_from: Mapped[date] = mapped_column(Date)
    published_at: Mapped[datetime]
    published_by: Mapped[str]


class Spending(Base):
    """What a shop has reserved on one day in one currency, minor units: the row that the daily cap locks."""

    __tablename__ = "spending"
    __table_args__ = (PrimaryKeyConstraint("shop_id", "day", "currency"), CheckConstraint("minor >= 0", name="not_negative"))

    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shops.id"))
    day: Mapped[date] = mapped_column(Date)
    currency: Mapped[str]
    minor: Mapped[int]
