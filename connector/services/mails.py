"""Mail rows: one for each event, written in the transaction of the event, handed over by a job."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.models import Kind, Mail, MailState
from connector.secrets import Vault
from connector.services import outbox


class Event(StrEnum):
    """What a message is about."""

    REQUESTED = "requested"
    AUTHORISED = "authorised"
    DECLINED = "declined"
    RECEIVED = "received"
    REFUNDED = "refunded"
    CREDITED = "credited"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CODE = "code"  # to whoever looks for an order: prove that this mailbox is yours
    SIGN_IN = "sign_in"  # to a member of staff


def about(session: Session, event: Event, rma: uuid.UUID, *, shop: uuid.UUID, subject: uuid.UUID | None = None, now: datetime) -> None:
    """Write to the RMA's contact about an event, once for the RMA (and `subject`, such as a money row)."""
    once = ":".join(filter(None, (event.value, rma.hex, subject.hex if subject else "")))
    if session.execute(select(Mail.id).where(Mail.once == once)).first() is None:
        _put(session, Mail(id=uuid.uuid4(), shop_id=shop, rma_id=rma, subject_id=subject, event=event.value, once=once), now=now)


def to(session: Session, event: Event, values: Mapping[str, str], *, shop: uuid.UUID, vault: Vault, now: datetime) -> None:
    """Write to somebody who is no RMA's contact. `values`: `email`, and what the message needs (`secret`, `code`); gone once it is out."""
    mail = Mail(id=uuid.uuid4(), shop_id=shop, event=event.value)
    mail.once, mail.sealed = f"{event.value}:{mail.id.hex}", vault.encrypt("mail", mail.id.hex, json.dumps(dict(values)))
    _put(session, mail, now=now)


def _put(session: Session, mail: Mail, *, now: datetime) -> None:
    mail.state, mail.attempt, mail.made_at, mail.message_id = MailState.WAITING, 0, now, f"{mail.id.hex}@retour"
    session.add(mail)
    session.flush()
    outbox.put(session, Kind.MAIL, mail.id, shop=mail.shop_id, now=now)
