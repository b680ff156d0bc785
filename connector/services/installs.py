"""Installations under way: a one-time state, the keys that a platform posts under it, and the shop that they become.

Keys are believed only after the store that the merchant named was asked with them, which the caller does between two transactions:
`under_way`, then `Store.probe()`, then `finish`. A shop is called after the address where that probe ended (`Platform.shop_at` of the
facts' "url"), not after what was typed: a store is one shop, however it is spelled. To finish an installation gives nobody a seat at
the desk: whoever connects a shop and is not its merchant has gained nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain.connecting import Facts
from connector.domain.platform import Grant, ShopDomain
from connector.models import Install, Policy, Shop, ShopStatus
from connector.secrets import Unreadable, Vault
from connector.services import policies, shops, timeline
from connector.services.syncing import begin as begin_reading

APPROVE_WITHIN: Final = timedelta(minutes=30)  # from the beginning to the platform's word
CHECK_WITHIN: Final = timedelta(days=1)  # and to the check of the store: a wrong setting over there takes its time to be mended
_MARK: Final = 32  # characters of the browser's mark at the end of a state
_DRAWN: Final = ("door", "delivery_secret", "delivery_secret_before")  # ours, not the platform's: they outlive a new key
_NOT_GRANTED: Final = frozenset({*_DRAWN, "url"})  # nobody who posts keys says where they are to be tried


class NotUnderWay(LookupError):
    """No installation is under way here: never begun, begun too long ago, or not approved."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An installation that began. `credentials` are None until the platform posted them, `shop` until the installation is finished."""

    platform: str
    address: str  # as the merchant typed it: the only store that may be asked
    credentials: Mapping[str, str] | None = field(repr=False)
    shop: uuid.UUID | None


def start(session: Session, platform: str, address: str, *, browser: str, vault: Vault, now: datetime) -> str:
    """Begin an installation of the store at `address`. Returns its one-time state, 192 bits beside the mark of the browser that began."""
    nonce = secrets.token_urlsafe(24)
    state = nonce + _mark(vault, nonce, browser)
    session.add(Install(id=uuid.uuid4(), state_digest=_digest(vault, state), platform=platform, address=address, begun_at=now))
    session.flush()
    return state


def start_by_hand(
    session: Session, platform: str, address: str, credentials: Mapping[str, str], *, form: str, browser: str, vault: Vault, now: datetime
) -> str:
    """Begin an installation with keys that the merchant pasted. Sending the same form again is the same installation.

    `form` is the one-time word of the page that was filled in.
    """
    typed = json.dumps([form, address, dict(credentials)], sort_keys=True)
    nonce = vault.digest("install-form", typed)[:32]
    state = nonce + _mark(vault, nonce, browser)
    digest = _digest(vault, state)
    row = {
        "id": uuid.uuid4(),
        "state_digest": digest,
        "platform": platform,
        "address": address,
        "begun_at": now,
        "grant": _sealed(vault, digest, credentials),
        "granted_at": now,
    }
    session.execute(db.upsert(session, Install).values(row).on_conflict_do_nothing(index_elements=["state_digest"]))
    return state


def is_from(state: str, browser: str, *, vault: Vault) -> bool:
    """Whether this browser began the installation: nobody is lured into finishing a stranger's."""
    nonce, mark = state[:-_MARK], state[-_MARK:]
    return bool(nonce and browser) and hmac.compare_digest(mark.encode(), _mark(vault, nonce, browser).encode())


def granted(session: Session, platform: str, grant: Grant, *, vault: Vault, now: datetime) -> bool:
    """Keep what the platform posted under a state. It is believed by nobody yet: anybody can post (WooCommerce 10.5, unsigned).

    False where the state is unknown, too old, or was granted before: then nothing was kept.
    """
    digest = _digest(vault, grant.state)
    waiting = (
        Install.state_digest == digest,
        Install.platform == platform,
        Install.begun_at > now - APPROVE_WITHIN,
        Install.granted_at.is_(None),
        Install.finished_at.is_(None),
    )
    kept = update(Install).where(*waiting).values(grant=_sealed(vault, digest, grant.credentials), granted_at=now)
    return db.changed(session, kept) == 1


def under_way(session: Session, state: str, *, vault: Vault, now: datetime) -> UnderWay:
    """What is needed to ask the store, outside this transaction. Raises `NotUnderWay`."""
    row = session.execute(select(Install).where(*_in_time(vault, state, now))).scalar_one_or_none()
    if row is None:
        raise NotUnderWay
    return UnderWay(row.platform, row.address, _opened(vault, row), row.shop_id)


def finish(session: Session, state: str, shop: ShopDomain, facts: Facts, *, vault: Vault, now: datetime) -> uuid.UUID:
    """The store answered to these keys and is the one that the merchant named: connect it, once. The state is used up.

    Raises:
        NotUnderWay: the state is unknown or too old, or nobody approved it.
    """
    mine = db.for_update(session, select(Install).where(*_in_time(vault, state, now)))
    row: Install | None = session.execute(mine).scalar_one_or_none()
    if row is None:
        raise NotUnderWay
    if row.shop_id is not None:  # a double click
        return row.shop_id
    credentials = _opened(vault, row)
    if credentials is None:
        raise NotUnderWay
    connected = connect(session, row.platform, shop, credentials, facts, vault=vault, who="merchant", now=now)
    row.finished_at, row.shop_id, row.grant = now, connected, None
    session.flush()
    return connected


def connect(
    session: Session,
    platform: str,
    shop: ShopDomain,
    credentials: Mapping[str, str],
    facts: Facts,
    *,
    vault: Vault,
    who: str,
    now: datetime,
) -> uuid.UUID:
    """Connect a store that was asked with these credentials, and answered with these facts. A new connection replaces an older one's keys.

    It is called directly where there was no state, such as by an operator. Everything that a shop needs to begin is put with it:
    the reading of its orders, and a policy.
    """
    time_zone, shop = _time_zone(facts), _known_as(session, platform, shop, facts)
    drawn = _drawn(session, platform, shop, vault)
    keys = {**credentials, **drawn}
    if facts.get("url"):
        keys["url"] = facts["url"]
    connected = shops.connect(
        session, platform=platform, domain=shop, credentials=keys, vault=vault, time_zone=time_zone, now=now, facts=facts
    )
    session.get_one(Shop, connected).door = vault.digest("door", drawn["door"])
    begin_reading(session, connected, now=now)
    if session.execute(select(Policy.id).where(Policy.shop_id == connected).limit(1)).scalar_one_or_none() is None:
        text = (files("connector") / "default_policy.toml").read_text(encoding="utf-8")
        policies.publish(session, connected, text, effective_from=now.astimezone(ZoneInfo(time_zone)).date(), who="machine", now=now)
    told = {name: facts[name] for name in ("version", "currency") if name in facts}
    timeline.record(session, "shop.connected", shop=connected, rma=None, who=who, at=now, facts=told)
    return connected


def _known_as(session: Session, platform: str, domain: ShopDomain, facts: Facts) -> ShopDomain:
    """The domain that the store is known by already: this one, or the same with or without `www.`, if that shop's probe ended here too.

    Both were asked with keys of their own and answered at one address, so they are one store: it changed what it calls itself.
    """
    other = domain.removeprefix("www.") if domain.startswith("www.") else f"www.{domain}"
    theirs = (Shop.platform == platform, Shop.domain.in_([domain, other]))
    rows = session.execute(select(Shop.domain, Shop.status, Shop.facts).where(*theirs)).all()
    same = [row for row in rows if row.domain == domain or (facts.get("url") and (row.facts or {}).get("url") == facts["url"])]
    best = min(same, key=lambda row: (row.status is ShopStatus.UNINSTALLED, row.domain != domain), default=None)
    return domain if best is None else ShopDomain(best.domain)


def _drawn(session: Session, platform: str, domain: ShopDomain, vault: Vault) -> dict[str, str]:
    """The words that are ours to draw, as an earlier connection drew them: deliveries that are still on their way find their door."""
    mine = select(Shop).where(Shop.platform == platform, Shop.domain == domain)
    earlier = session.execute(db.for_update(session, mine)).scalar_one_or_none()
    kept: dict[str, str] = {}
    if earlier is not None:
        with suppress(Unreadable):  # its key is gone, and to connect anew is the cure
            kept = shops.unseal(vault, shops.keys_of(session, earlier.id))
    words = {name: kept[name] for name in _DRAWN if kept.get(name)}
    return {"door": secrets.token_urlsafe(24), "delivery_secret": secrets.token_urlsafe(32), **words}


def _time_zone(facts: Facts) -> str:
    """An IANA name that this machine knows; UTC where the store names none."""
    name = facts.get("time_zone", "")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, empty, or no name at all: ZoneInfo looks for a file
        return "UTC"
    return name


def _in_time(vault: Vault, state: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Install.state_digest == _digest(vault, state), Install.begun_at > now - CHECK_WITHIN


def _digest(vault: Vault, state: str) -> str:
    return vault.digest("install", state)


def _mark(vault: Vault, nonce: str, browser: str) -> str:
    return vault.digest("install-browser", f"{nonce} {browser}")[:_MARK]


def _sealed(vault: Vault, digest: str, credentials: Mapping[str, str]) -> bytes:
    kept = {name: value for name, value in credentials.items() if name not in _NOT_GRANTED}
    return vault.encrypt("grant", digest, json.dumps(kept, sort_keys=True))


def _opened(vault: Vault, row: Install) -> dict[str, str] | None:
    if row.grant is None:
        return None
    opened: dict[str, str] = json.loads(vault.decrypt("grant", row.state_digest, row.grant))
    return opened
