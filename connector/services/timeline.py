"""Write the timeline: who did what, when, and why. The clock seals the entries soon after (`services/seals.py`)."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.ids import ordered_id
from connector.models import Entry, EntryText, Unsealed

Fact: TypeAlias = "str | int | bool | Sequence[Fact] | Mapping[str, Fact] | None"


def record(
    session: Session,
    what: str,
    *,
    shop: uuid.UUID,
    rma: uuid.UUID | None,
    who: str,
    at: datetime,
    for_shopper: bool = False,
    facts: Mapping[str, Fact] | None = None,
) -> None:
    """Add an entry. `what` is a code such as `money.settled`, `who` an id; the facts may be erased later."""
    text = json.dumps(facts or {}, sort_keys=True)  # ASCII: a NUL or half a character from a far side must not stop the books (A15)
    salt = secrets.token_bytes(16)
    entry = ordered_id(at)
    session.add(
        Entry(
            id=entry,
            shop_id=shop,
            rma_id=rma,
            happened_at=at,
            who=who,
            what=what,
            for_shopper=for_shopper,
            commitment=commitment(salt, text),
        )
    )
    session.flush()
    session.add_all([EntryText(entry_id=entry, salt=salt, text=text), Unsealed(entry_id=entry, shop_id=shop)])


def entries(session: Session, shop: uuid.UUID, *, rma: uuid.UUID | None = None) -> Sequence[Entry]:
    """What happened in a shop, or to one RMA, in order."""
    query = select(Entry).where(Entry.shop_id == shop).order_by(Entry.happened_at, Entry.id)
    return session.execute(query if rma is None else query.where(Entry.rma_id == rma)).scalars().all()


def commitment(salt: bytes, text: str) -> bytes:
    """What binds a text that may be erased: its salted digest. The salt's length stands first, so that none of the text passes for salt."""
    return hashlib.sha256(len(salt).to_bytes(4, "big") + salt + text.encode()).digest()
