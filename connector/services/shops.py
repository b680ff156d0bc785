"""Installations: connect, look up, pause, uninstall."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain.platform import ShopDomain
from connector.models import Shop, ShopStatus
from connector.secrets import Vault


@dataclass(frozen=True, slots=True)
class ShopKeys:
    """What is needed to open a shop's store. `credentials` is ciphertext until `unseal`."""

    id: uuid.UUID
    platform: str
    domain: ShopDomain
    time_zone: str
    credentials: bytes = field(repr=False)


def connect(
    session: Session, *, platform: str, domain: ShopDomain, credentials: Mapping[str, str], vault: Vault, time_zone: str, now: datetime
) -> uuid.UUID:
    """Install a shop, or give an installed one its new credentials: same row, same history, also where two do it at once.

    Raises:
        ZoneInfoNotFoundError, ValueError: there is no such time zone.
    """
    ZoneInfo(time_zone)  # now, rather than at every decision
    new = uuid.uuid4()
    values = {
        "id": new,
        "platform": platform,
        "domain": domain,
        "credentials": seal(vault, new, credentials),
        "status": ShopStatus.ACTIVE,
        "time_zone": time_zone,
        "installed_at": now,
        "connected_at": now,
    }
    session.execute(db.upsert(session, Shop).values(values).on_conflict_do_nothing(index_elements=["platform", "domain"]))
    mine = select(Shop).where(Shop.platform == platform, Shop.domain == domain)
    shop: Shop = session.execute(db.for_update(session, mine), execution_options={"populate_existing": True}).scalar_one()
    shop.credentials, shop.connected_at = seal(vault, shop.id, credentials), now
    shop.status, shop.paused_until, shop.time_zone = ShopStatus.ACTIVE, None, time_zone
    session.flush()
    return shop.id


def keys_of(session: Session, shop: uuid.UUID) -> ShopKeys:
    """The keys of one shop. Raises `NoResultFound`."""
    row = session.get_one(Shop, shop)
    return ShopKeys(row.id, row.platform, ShopDomain(row.domain), row.time_zone, row.credentials)


def revoke(session: Session, shop: uuid.UUID, *, used_since: datetime) -> bool:
    """The platform refused our credentials: stop calling until the merchant connects again. Nothing is deleted.

    `used_since`: when the work began that met the refusal. False where the shop was connected anew meanwhile: it was the old
    credentials that were refused.
    """
    theirs = (Shop.id == shop, Shop.status == ShopStatus.ACTIVE, Shop.connected_at <= used_since)
    return db.changed(session, update(Shop).where(*theirs).values(status=ShopStatus.REVOKED)) == 1


def seal(vault: Vault, shop: uuid.UUID, credentials: Mapping[str, str]) -> bytes:
    """Credentials as they are kept."""
    return vault.encrypt("credentials", shop.hex, json.dumps(dict(credentials), sort_keys=True))


def unseal(vault: Vault, keys: ShopKeys) -> dict[str, str]:
    """Credentials as an adapter needs them."""
    opened: dict[str, str] = json.loads(vault.decrypt("credentials", keys.id.hex, keys.credentials))
    return opened
