"""Seal the timeline: a keyed hash chain per shop, made soon after the entries, so that a change of what is sealed is seen.

Whoever can write to the database can cut the chain's end off and let the clock seal another; the last seal therefore goes into
the log too, and `retour verify --expect` holds the chain against it.

Entries are inserted unchained (a chain in their own transactions would serialise a shop's work). One pass numbers what
has no seal yet: hash = HMAC(key, previous ‖ position ‖ shop ‖ who ‖ when ‖ what ‖ commitment). Texts can be erased; the
chain stays whole without them.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, TypeAlias

from sqlalchemy import delete, exists, func, not_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from connector import db
from connector.models import Entry, EntryText, Seal, Shop, Unsealed
from connector.services.timeline import commitment

BATCH: Final = 100
_WALKED: Final = 500  # positions read at a time
_START: Final = bytes(32)


def waiting(session: Session) -> Sequence[uuid.UUID]:
    """The shops that have entries without a seal."""
    return session.execute(select(Unsealed.shop_id).distinct().order_by(Unsealed.shop_id)).scalars().all()


def seal(session: Session, shop: uuid.UUID, key: bytes) -> int:
    """Seal at most `BATCH` entries of a shop, oldest first; returns how many. Zero too where somebody else is at it."""
    if not db.advisory(session, f"seal:{shop.hex}"):
        return 0
    query = select(Entry).join(Unsealed, Unsealed.entry_id == Entry.id).where(Unsealed.shop_id == shop)
    entries = session.execute(query.order_by(Entry.happened_at, Entry.id).limit(BATCH)).scalars().all()
    end = last(session, shop)
    position, previous = (end.position, end.hash) if end else (0, _START)
    for entry in entries:
        position += 1
        previous = link(key, previous, position, entry)
        session.add(Seal(shop_id=shop, position=position, entry_id=entry.id, hash=previous))
    session.flush()
    session.execute(delete(Unsealed).where(Unsealed.entry_id.in_([entry.id for entry in entries])))
    return len(entries)


def stands(session: Session, position: int, mark: bytes) -> bool:
    """Whether some shop's chain has this seal at this position, as a log once told."""
    return session.execute(select(Seal.entry_id).where(Seal.position == position, Seal.hash == mark).limit(1)).first() is not None


def last(session: Session, shop: uuid.UUID) -> Seal | None:
    """The end of a shop's chain."""
    return session.execute(select(Seal).where(Seal.shop_id == shop).order_by(Seal.position.desc()).limit(1)).scalar_one_or_none()


def link(key: bytes, previous: bytes, position: int, entry: Entry) -> bytes:
    """The hash that seals `entry` at `position`. Every field is preceded by its length, so that no two entries read alike."""
    when = entry.happened_at.astimezone(UTC).isoformat(timespec="microseconds")
    rma = entry.rma_id.hex if entry.rma_id else ""
    fields = (
        previous,
        str(position).encode(),
        entry.shop_id.bytes,
        entry.id.bytes,
        rma.encode(),
        entry.who.encode(),
        when.encode(),
        entry.what.encode(),
        entry.commitment,
    )
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in (*fields, b"1" if entry.for_shopper else b"0"))
    return hmac.new(key, framed, hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk along one shop's chain found. `faults` name positions and entries; none: nothing was changed."""

    shop: uuid.UUID
    domain: str
    sealed: int
    unsealed: int
    erased: int
    last: str
    faults: tuple[str, ...]


def verify(session: Session, key: bytes) -> Iterator[Verdict]:
    """Walk every shop's chain from its start. Reads only."""
    for shop, domain in session.execute(select(Shop.id, Shop.domain).order_by(Shop.domain)).all():
        yield verify_one(session, shop, key, domain=domain)


_Link: TypeAlias = tuple[Seal, Entry | None, EntryText | None]
_UNREADABLE: Final = (ValueError, TypeError, AttributeError, OperationalError)  # what a row raises that was written past us


def _chain(session: Session, shop: uuid.UUID) -> Iterator[tuple[int, _Link | None]]:
    """Every position of the chain with its seal, entry and text; None where a row cannot be read."""
    links = (
        select(Seal, Entry, EntryText).outerjoin(Entry, Entry.id == Seal.entry_id).outerjoin(EntryText, EntryText.entry_id == Seal.entry_id)
    )
    positions = session.execute(select(Seal.position).where(Seal.shop_id == shop).order_by(Seal.position)).scalars().all()
    for start in range(0, len(positions), _WALKED):
        some = positions[start : start + _WALKED]
        mine = links.where(Seal.shop_id == shop)
        try:
            read = {row[0].position: _link_of(row) for row in session.execute(mine.where(Seal.position.in_(some)))}
        except _UNREADABLE:
            read = {at: row for at in some if (row := _one(session, mine.where(Seal.position == at))) is not None}
        yield from ((at, read.get(at)) for at in some)
        session.expunge_all()  # a long chain is walked, not kept


def _one(session: Session, query: Any) -> _Link | None:  # noqa: ANN401 - a SELECT of three rows
    try:
        return _link_of(session.execute(query).one())
    except _UNREADABLE:
        return None


def _link_of(row: Any) -> _Link:  # noqa: ANN401 - a row of three
    return row[0], row[1], row[2]


def verify_one(session: Session, shop: uuid.UUID, key: bytes, *, domain: str = "") -> Verdict:
    """Walk one shop's chain from its start."""
    faults: list[str] = []
    position, previous, erased = 0, _START, 0
    for at, row in _chain(session, shop):
        position += 1
        if at != position:
            faults.append(f"position {position} is missing")
            position = at
        if row is None or not isinstance(row[0].hash, bytes):
            faults.append(f"position {position} cannot be read: somebody wrote what we never write")
            previous = _START
            continue
        found, entry, text = row
        if entry is None:
            faults.append(f"position {position}: its entry is gone")
        else:
            if link(key, previous, position, entry) != found.hash:
                faults.append(f"position {position}: entry {entry.id} was changed, or the chain before it")
            if text is not None and commitment(text.salt, text.text) != entry.commitment:
                faults.append(f"position {position}: the text of entry {entry.id} was changed")
        erased += text is None
        previous = found.hash
    unsealed = session.execute(select(func.count()).select_from(Unsealed).where(Unsealed.shop_id == shop)).scalar_one()
    known = (exists().where(Seal.entry_id == Entry.id), exists().where(Unsealed.entry_id == Entry.id))
    hidden = session.execute(
        select(func.count()).select_from(Entry).where(Entry.shop_id == shop, *(not_(either) for either in known))
    ).scalar_one()
    if hidden:
        faults.append(f"{hidden} entries are neither sealed nor waiting for their seal")
    return Verdict(shop, domain, position, unsealed, erased, previous.hex() if position else "", tuple(faults))
