"""Installations: connect, look up, pause, uninstall."""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain.connecting import Facts, Misfortune
from connector.domain.platform import ShopDomain
from connector.models import Kind, Shop, ShopStatus, Sync
from connector.secrets import Vault
from connector.services import outbox, timeline

REINSTALL_WITHIN: Final = timedelta(hours=48)  # of an uninstallation: its history is found whole
PROBE_IN_TROUBLE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ShopKeys:
    """What is needed to open a shop's store. `credentials` is ciphertext until `unseal`."""

    id: uuid.UUID
    platform: str
    domain: ShopDomain
    time_zone: str
    credentials: bytes = field(repr=False)
    facts: Facts = field(default_factory=dict, repr=False, compare=False)


def connect(
    session: Session,
    *,
    platform: str,
    domain: ShopDomain,
    credentials: Mapping[str, str],
    vault: Vault,
    time_zone: str,
    now: datetime,
    facts: Facts | None = None,
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
    shop.status, shop.paused_until, shop.time_zone, shop.facts = ShopStatus.ACTIVE, None, time_zone, dict(facts or {})
    shop.uninstalled_at = shop.trouble = shop.trouble_detail = None
    shop.handle = shop.handle or _free_handle(session, domain)
    session.flush()
    return shop.id


def keys_of(session: Session, shop: uuid.UUID) -> ShopKeys:
    """The keys of one shop. Raises `NoResultFound`."""
    row = session.get_one(Shop, shop)
    return ShopKeys(row.id, row.platform, ShopDomain(row.domain), row.time_zone, row.credentials, row.facts or {})


def at(session: Session, handle: str) -> Shop | None:
    """The shop whose pages lie under `handle`, whatever became of it; None: there is none."""
    return session.execute(select(Shop).where(Shop.handle == handle)).scalar_one_or_none()


def called(shop: Shop | ShopKeys) -> str:
    """What a shop calls itself, as its last probe found it, in one line of what can be printed; else its address."""
    line = " ".join((shop.facts or {}).get("name", "").split())
    return " ".join("".join(sign for sign in line if sign.isprintable()).split()) or shop.domain


def _free_handle(session: Session, domain: str) -> str:
    """The domain as it may stand in an address; told apart from another shop's where two come to the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", domain.lower().removeprefix("www.")).strip("-")[:60].strip("-") or "shop"
    return plain if at(session, plain) is None else f"{plain}-{secrets.token_hex(4)}"


def revoke(session: Session, shop: uuid.UUID, *, used_since: datetime) -> bool:
    """The platform refused our credentials: stop calling until it takes them again or the merchant connects again. Nothing is deleted.

    `used_since`: when the work began that met the refusal. False where the shop was connected anew meanwhile: it was the old
    credentials that were refused. A probe is due at once, which says why; a shop that was probed within the hour waits for its turn.
    """
    theirs = (Shop.id == shop, Shop.status == ShopStatus.ACTIVE, Shop.connected_at <= used_since)
    revoked = db.changed(session, update(Shop).where(*theirs).values(status=ShopStatus.REVOKED)) == 1
    sync = session.get(Sync, shop)
    if revoked and sync is not None and sync.probed_at is not None:
        sync.probe_at = min(sync.probe_at, sync.probed_at + PROBE_IN_TROUBLE)
    return revoked


def heal(session: Session, shop: uuid.UUID, facts: Facts, *, used_since: datetime, now: datetime) -> None:
    """A probe that began then came through: keep its facts, and work for the shop again where its keys had been refused.

    Nothing changes where the shop left or was connected anew meanwhile: it was of the old credentials.
    """
    row = locked(session, shop)
    if row.status is ShopStatus.UNINSTALLED or row.connected_at > used_since:
        return
    row.facts, row.time_zone = dict(facts), _zone(facts.get("time_zone", "")) or row.time_zone
    if row.status is ShopStatus.REVOKED or row.trouble is not None:
        timeline.record(session, "shop.healed", shop=shop, rma=None, who="machine", at=now)
        db.will_ring(session)  # what waited for it can start
    row.status, row.trouble, row.trouble_detail = ShopStatus.ACTIVE, None, None


def trouble(session: Session, shop: uuid.UUID, why: Misfortune, detail: str, *, used_since: datetime, now: datetime) -> None:
    """Likewise one that did not. The shop stays as it is, and only refused keys stop all calls. Told when the reason changes."""
    row = locked(session, shop)
    if row.status is ShopStatus.UNINSTALLED or row.connected_at > used_since:
        return
    if row.trouble != why.value:
        timeline.record(session, "shop.trouble", shop=shop, rma=None, who="machine", at=now, facts={"why": why.value})
    row.trouble, row.trouble_detail = why.value, detail.encode("utf-8", "replace").decode().replace("\0", "")[:200]
    if why is Misfortune.WRONG_KEYS:
        row.status = ShopStatus.REVOKED


def uninstall(session: Session, shop: uuid.UUID, *, who: str, now: datetime) -> bool:
    """All work for the shop ends and its credentials are gone. False where it was uninstalled before.

    Its history stays, so that a reinstall finds it; what came in and was not read yet is deleted at once, and its persons after
    `REINSTALL_WITHIN` (`services/privacy.py`). Its door stays too: whoever still delivers there is told that nobody lives here.
    """
    row = locked(session, shop)
    if row.status is ShopStatus.UNINSTALLED:
        return False
    row.status, row.uninstalled_at, row.credentials = ShopStatus.UNINSTALLED, now, b""
    row.paused_until = row.trouble = row.trouble_detail = None
    outbox.put(session, Kind.REDACT, shop, shop=shop, now=now)
    outbox.put(session, Kind.REDACT, shop, shop=shop, now=now, delay=REINSTALL_WITHIN)
    timeline.record(session, "shop.uninstalled", shop=shop, rma=None, who=who, at=now)
    return True


def locked(session: Session, shop: uuid.UUID) -> Shop:
    """The shop's row, locked until the transaction ends. Raises `NoResultFound`."""
    row: Shop = session.execute(
        db.for_update(session, select(Shop).where(Shop.id == shop)), execution_options={"populate_existing": True}
    ).scalar_one()
    return row


def seal(vault: Vault, shop: uuid.UUID, credentials: Mapping[str, str]) -> bytes:
    """Credentials as they are kept."""
    return vault.encrypt("credentials", shop.hex, json.dumps(dict(credentials), sort_keys=True))


def unseal(vault: Vault, keys: ShopKeys) -> dict[str, str]:
    """Credentials as an adapter needs them; none where the shop was uninstalled."""
    if not keys.credentials:
        return {}
    opened: dict[str, str] = json.loads(vault.decrypt("credentials", keys.id.hex, keys.credentials))
    return opened


def _zone(name: str) -> str:
    """`name` where it is a time zone that this machine knows, else nothing."""
    try:
        return ZoneInfo(name).key if name else ""
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the last: a directory of zones, such as Europe
        return ""
