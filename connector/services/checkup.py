"""How it stands with the work and the shops, for an operator. Reads only, and names no person."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from connector.domain.rma import RESERVES, MoneyState
from connector.models import Alarm, AlarmKind, Mail, MailState, OutboxRow, Refund, Shop, ShopStatus, Sync
from connector.secrets import Unreadable, Vault
from connector.services import inbox, outbox
from connector.services.inbox import Waiting
from connector.services.shops import keys_of, unseal


@dataclass(frozen=True, slots=True)
class Work:
    """The rows of one kind that are not done. `held`: of shops that may not be called now; `failing`: tried in vain at least once."""

    kind: str
    due: int
    later: int
    held: int
    failing: int
    parked: int
    oldest_due: datetime | None


@dataclass(frozen=True, slots=True)
class ShopStanding:
    """One shop. Times are the database's, but `imported_until`, which is the shop's own."""

    id: uuid.UUID
    platform: str
    domain: str
    status: ShopStatus
    time_zone: str
    trouble: str
    detail: str
    paused_until: datetime | None
    redacted_at: datetime | None
    sync: Sync | None
    inbox: Waiting
    alarms: int
    parked: int  # payments that a person must answer for
    opens: bool  # whether a key of this installation opens its credentials


def work(session: Session, *, now: datetime) -> Sequence[Work]:
    """The open work by kind, but for what waits for shops that have left."""
    left = and_(Shop.status == ShopStatus.UNINSTALLED, OutboxRow.kind.in_(sorted(outbox.CALLS_PLATFORM)))
    silent = or_(Shop.status != ShopStatus.ACTIVE, Shop.paused_until > now)
    held = and_(OutboxRow.kind.in_(sorted(outbox.CALLS_PLATFORM - outbox.HEALS)), silent)
    state = case((OutboxRow.parked_at.is_not(None), "parked"), (held, "held"), (OutboxRow.available_at > now, "later"), else_="due").label(
        "state"
    )
    open_rows = (
        select(OutboxRow.kind, state, OutboxRow.attempts, OutboxRow.available_at)
        .join(Shop, Shop.id == OutboxRow.shop_id)
        .where(OutboxRow.done_at.is_(None), ~left)
        .subquery()
    )
    counts = [func.count().filter(open_rows.c.state == name) for name in ("due", "later", "held")]
    failing = func.count().filter(open_rows.c.state != "parked", open_rows.c.attempts > 0)
    parked = func.count().filter(open_rows.c.state == "parked")
    oldest = func.min(open_rows.c.available_at).filter(open_rows.c.state == "due")
    query = select(open_rows.c.kind, *counts, failing, parked, oldest).group_by(open_rows.c.kind).order_by(open_rows.c.kind)
    return [Work(*row) for row in session.execute(query)]


def counts(session: Session) -> Mapping[str, Mapping[str, int]]:
    """How many rows there are of what an operator watches, by state: shops, open alarms, money and mail on its way, deliveries."""
    money = select(Refund.state, func.count()).where(Refund.state.in_(RESERVES)).group_by(Refund.state)
    mail = select(Mail.state, func.count()).where(Mail.state.in_((MailState.WAITING, MailState.MARKED))).group_by(Mail.state)
    alarms = select(Alarm.kind, func.count()).where(Alarm.cleared_at.is_(None)).group_by(Alarm.kind)
    stand = select(Shop.status, func.count()).group_by(Shop.status)
    waiting = inbox.waiting(session).values()
    return {
        "money": _filled(RESERVES, session.execute(money)),
        "mails": _filled((MailState.WAITING, MailState.MARKED), session.execute(mail)),
        "alarms": _filled(AlarmKind, session.execute(alarms)),
        "shops": _filled(ShopStatus, session.execute(stand)),
        "deliveries": {"waiting": sum(one.pending + one.taken for one in waiting), "poisoned": sum(one.poisoned for one in waiting)},
    }


def _filled(states: Iterable[StrEnum], found: Iterable[Any]) -> Mapping[str, int]:
    """Zero is said too."""
    return {state.value: 0 for state in sorted(states)} | {row[0].value: row[1] for row in found}


def shops(session: Session, vault: Vault) -> Sequence[ShopStanding]:
    """Every shop that is or was installed, by its address."""
    waiting, nothing = inbox.waiting(session), Waiting(0, 0, 0, None)
    raised = select(Alarm.shop_id, func.count()).where(Alarm.cleared_at.is_(None)).group_by(Alarm.shop_id)
    alarms = {row[0]: row[1] for row in session.execute(raised)}
    answers = select(Refund.shop_id, func.count()).where(Refund.state == MoneyState.PARKED).group_by(Refund.shop_id)
    parked = {row[0]: row[1] for row in session.execute(answers)}
    rows = session.execute(select(Shop, Sync).outerjoin(Sync, Sync.shop_id == Shop.id).order_by(Shop.domain, Shop.platform))
    return [
        ShopStanding(
            id=shop.id,
            platform=shop.platform,
            domain=shop.domain,
            status=shop.status,
            time_zone=shop.time_zone,
            trouble=shop.trouble or "",
            detail=shop.trouble_detail or "",
            paused_until=shop.paused_until,
            redacted_at=shop.redacted_at,
            sync=sync,
            inbox=waiting.get(shop.id, nothing),
            alarms=alarms.get(shop.id, 0),
            parked=parked.get(shop.id, 0),
            opens=_opens(session, vault, shop),
        )
        for shop, sync in rows
    ]


def _opens(session: Session, vault: Vault, shop: Shop) -> bool:
    if shop.status is ShopStatus.UNINSTALLED:
        return True  # there is nothing left to open
    try:
        unseal(vault, keys_of(session, shop.id))
    except Unreadable:
        return False
    return True
