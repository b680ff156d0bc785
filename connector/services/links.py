"""Links that open one RMA's status page for whoever holds them, until they are revoked. Only digests are kept."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connector import db
from connector.models import Link, Rma
from connector.secrets import Vault

_LENGTH: Final = 32  # hexadecimal: 128 bits


def mailed(session: Session, rma: uuid.UUID, mail: uuid.UUID, *, vault: Vault, now: datetime) -> str:
    """The secret of a message's one link: the same however often the message goes out, and not kept. One that was revoked stays so."""
    secret = vault.digest("mailed-link", mail.hex)[:_LENGTH]
    link = {"id": uuid.uuid4(), "rma_id": rma, "digest": vault.digest("link", secret), "made_at": now}
    session.execute(db.upsert(session, Link).values(link).on_conflict_do_nothing(index_elements=["digest"]))
    return secret


def behind(session: Session, shop: uuid.UUID, number: str, secret: str, *, vault: Vault) -> Rma | None:
    """The RMA that a link opens; None: no such link of this shop and number, or it was revoked."""
    query = select(Rma).join(Link, Link.rma_id == Rma.id).where(Link.digest == vault.digest("link", secret), Link.revoked_at.is_(None))
    return session.execute(query.where(Rma.shop_id == shop, Rma.number == number)).scalar_one_or_none()


def revoke(session: Session, rma: uuid.UUID, *, now: datetime) -> int:
    """No link that went out opens this RMA any more. How many there were."""
    open_links = update(Link).where(Link.rma_id == rma, Link.revoked_at.is_(None)).values(revoked_at=now)
    return db.changed(session, open_links.execution_options(synchronize_session=False))
