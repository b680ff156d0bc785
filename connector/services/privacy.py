"""Forget persons: what an uninstalled shop leaves behind once it had its time to come back (I4, W6).

Kept are ids, amounts, countries, and keyed digests of e-mail addresses and postal codes. The timeline keeps its entries: what was said in
them goes, and the chain of seals stays whole without it (`services/seals.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from sqlalchemy import case, delete, not_, or_, select, update
from sqlalchemy.orm import Session

from connector import db
from connector.models import (
    ContactRow,
    Entry,
    EntryText,
    HintRow,
    Install,
    Link,
    Mail,
    MailState,
    Refund,
    Rma,
    ShopStatus,
    StaffLink,
    StaffMember,
)
from connector.services import shops, timeline
from connector.services.shops import REINSTALL_WITHIN

BATCH: Final = 100
# Entries whose facts are codes, ids and amounts of ours or the platform's. All others may quote somebody: a reason, a gateway's words.
_IMPERSONAL: Final = ("order.%", "shop.%", "credit.%", "alarm.%", "limit.%")
_IMPERSONAL_MONEY: Final = ("money.reserved", "money.asked", "money.settled", "money.again")

_Erase: TypeAlias = Callable[[Session, uuid.UUID, datetime], int]


def redact(session: Session, shop: uuid.UUID, *, now: datetime) -> bool:
    """Erase up to `BATCH` rows that an uninstalled shop left; True where more may be there. A shop that is back loses nothing.

    What was delivered and not read goes at once, persons once the time to reinstall is over.
    """
    row = shops.locked(session, shop)
    if row.status is not ShopStatus.UNINSTALLED or row.uninstalled_at is None:
        return False
    if _hints(session, shop):
        return True
    if row.uninstalled_at + REINSTALL_WITHIN > now:
        return False
    if any(erase(session, shop, now) for erase in _PERSONS):
        return True
    if row.redacted_at is None or row.redacted_at < row.uninstalled_at:
        row.redacted_at = now
        timeline.record(session, "shop.redacted", shop=shop, rma=None, who="machine", at=now)
    return False


def forget_installs(session: Session, *, before: datetime) -> int:
    """Delete at most `BATCH` installations that began before then: finished or given up, they may hold keys."""
    old = select(Install.id).where(Install.begun_at < before).order_by(Install.begun_at).limit(BATCH)
    return db.changed(session, delete(Install).where(Install.id.in_(old)).execution_options(synchronize_session=False))


def _hints(session: Session, shop: uuid.UUID) -> int:
    some = select(HintRow.id).where(HintRow.shop_id == shop).limit(BATCH)
    return db.changed(session, delete(HintRow).where(HintRow.id.in_(some)).execution_options(synchronize_session=False))


def _contacts(session: Session, shop: uuid.UUID, now: datetime) -> int:
    mine = select(ContactRow.rma_id).join(Rma, Rma.id == ContactRow.rma_id)
    some = mine.where(Rma.shop_id == shop, or_(ContactRow.sealed.is_not(None), ContactRow.said.is_not(None))).limit(BATCH)
    erased = update(ContactRow).where(ContactRow.rma_id.in_(some)).values(sealed=None, said=None, erased_at=now)
    return db.changed(session, erased.execution_options(synchronize_session=False))


def _texts(session: Session, shop: uuid.UUID, _now: datetime) -> int:
    impersonal = or_(Entry.what.in_(_IMPERSONAL_MONEY), *(Entry.what.like(code) for code in _IMPERSONAL))
    some = (
        select(EntryText.entry_id).join(Entry, Entry.id == EntryText.entry_id).where(Entry.shop_id == shop, not_(impersonal)).limit(BATCH)
    )
    return db.changed(session, delete(EntryText).where(EntryText.entry_id.in_(some)).execution_options(synchronize_session=False))


def _words(session: Session, shop: uuid.UUID, _now: datetime) -> int:
    """What gateways said about a payment."""
    some = select(Refund.id).where(Refund.shop_id == shop, Refund.words.is_not(None)).limit(BATCH)
    return db.changed(session, update(Refund).where(Refund.id.in_(some)).values(words=None).execution_options(synchronize_session=False))


def _letters(session: Session, shop: uuid.UUID, _now: datetime) -> int:
    """Whom a message was to, and what the mail server said; one that still waits has nobody to go to."""
    some = select(Mail.id).where(Mail.shop_id == shop, or_(Mail.sealed.is_not(None), Mail.words.is_not(None))).limit(BATCH)
    waiting = Mail.state.in_((MailState.WAITING, MailState.MARKED))
    values = {"sealed": None, "words": None, "state": case((waiting, MailState.DROPPED), else_=Mail.state)}
    return db.changed(session, update(Mail).where(Mail.id.in_(some)).values(values).execution_options(synchronize_session=False))


def _links(session: Session, shop: uuid.UUID, _now: datetime) -> int:
    """What opens a return's page for whoever kept the message."""
    some = select(Link.id).join(Rma, Rma.id == Link.rma_id).where(Rma.shop_id == shop).limit(BATCH)
    return db.changed(session, delete(Link).where(Link.id.in_(some)).execution_options(synchronize_session=False))


def _staff(session: Session, shop: uuid.UUID, _now: datetime) -> int:
    some = select(StaffMember.id).where(StaffMember.shop_id == shop).limit(BATCH)
    session.execute(delete(StaffLink).where(StaffLink.staff_id.in_(some)).execution_options(synchronize_session=False))
    return db.changed(session, delete(StaffMember).where(StaffMember.id.in_(some)).execution_options(synchronize_session=False))


_PERSONS: Final[Sequence[_Erase]] = (_contacts, _texts, _words, _letters, _links, _staff)
