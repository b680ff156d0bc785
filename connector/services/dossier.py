"""One return as staff see it: the shopper's file, and beside it the whole decision, every call of money, who did what, and the order."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain import codec
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Contact, CreditOrder, RefundOrder
from connector.domain.rma import Disposition, MoneyState, RmaState
from connector.domain.standing import as_it_stands
from connector.domain.wanted import Payout
from connector.models import ContactRow, Entry, EntryText, MoneyKind, Refund, Resolution, Rma, Role, Seal
from connector.secrets import Unreadable, Vault
from connector.services import casefile, orders, rmas, staff, timeline
from connector.services.casefile import Casefile
from connector.services.staff import Member

_ASKED: Final = "limit.asked"  # somebody decided, and a second person has to confirm
_COUNTED: Final = "rma.receive"
_ENDS_ASKING: Final = frozenset({"rma.resolve", "rma.inspected"})
ASKED_LIVES: Final = timedelta(days=3)
_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class Shopper:
    """Who asked, and what they wrote. Empty where it was erased, or cannot be read any more."""

    name: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    said: str = field(default="", repr=False)
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened. `who`: `shopper`, `policy`, `machine`, `platform`, `operator`, or a member of staff by name."""

    what: str
    at: datetime
    who: str
    facts: Mapping[str, Any]
    seal: int | None  # its position in the shop's chain; None: not sealed yet
    erased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that gives money back, with what a person needs to know to answer for it."""

    id: uuid.UUID
    rma: str
    order_number: str
    kind: MoneyKind
    state: MoneyState
    minor: int
    currency: str
    bonus: int
    tenders: tuple[tuple[str, int], ...]  # title of the payment, and how much goes back to it
    why: str
    words: str
    reference: str
    attempt: int
    reserved_at: datetime
    asked_first_at: datetime | None
    asked_last_at: datetime | None
    quiet_until: datetime | None
    code: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision that waits for a second person's word. `expected` is the total that the first one saw."""

    id: uuid.UUID  # of its entry: a form says by it which decision its reader saw
    by: Member
    payout: Payout
    expected: int
    also: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Sibling:
    """Another return of the same order."""

    number: str
    state: RmaState
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Everything that the desk shows of one return. `stands` is the order with our own money counted in."""

    case: Casefile
    stamp: str
    shopper: Shopper
    stands: Order | None
    calls: tuple[Call, ...]
    told: tuple[Told, ...]
    siblings: tuple[Sibling, ...]
    asked: Asked | None
    requested_at: datetime
    platform_return: str | None

    def count(self, disposition: Disposition) -> int:
        """How many units are in it."""
        return sum(item.units.get(disposition, 0) for item in self.case.items)

    @property
    def accepted(self) -> int:
        """How many units the shopper is given something for."""
        given = (Disposition.RESTOCK, Disposition.DAMAGED, Disposition.REFURBISH, Disposition.DISPOSE, Disposition.KEPT)
        return sum(self.count(disposition) for disposition in given)


def read(session: Session, rma: Rma, *, vault: Vault, now: datetime) -> Dossier:
    """The return's dossier, as one read sees it."""
    case = casefile.read(session, rma)
    entries = _entries(session, rma.id)
    people = staff.named(session, rma.shop_id, [entry.who for entry, _, _ in entries], vault=vault)
    stands = None if case.order is None else as_it_stands(case.order, orders.ours(session, rma.shop_id, case.order_ref))
    mine = select(Refund).join(Resolution, Resolution.id == Refund.resolution_id).where(Resolution.rma_id == rma.id)
    rows = session.execute(mine.order_by(Refund.reserved_at, Refund.id)).scalars().all()
    return Dossier(
        case=case,
        stamp=stamp(session, rma),
        shopper=_shopper(session, rma.id, vault),
        stands=stands,
        calls=tuple(_call(row, rma.number, case.order) for row in rows),
        told=tuple(_told(entry, text, seal, people) for entry, text, seal in entries),
        siblings=_siblings(session, rma),
        asked=_asked(session, rma, entries, people, now=now),
        requested_at=rma.requested_at,
        platform_return=rma.platform_return_ref,
    )


def stamp(session: Session, rma: Rma) -> str:
    """What a form says about the return that it was made for: it changes with the state, the units and the money."""
    units = {ref: dict(sorted(by.items())) for ref, by in sorted(rmas.units(session, rma.id).items())}
    resolution = select(Resolution.id).where(Resolution.rma_id == rma.id, Resolution.voided_at.is_(None))
    standing = session.execute(resolution).scalar_one_or_none()
    return hashlib.sha256(json.dumps([rma.state, units, str(standing)]).encode()).hexdigest()[:16]


def locked(session: Session, shop: uuid.UUID, number: str) -> Rma | None:
    """The return, under its order's lock; None: the shop has none of this number."""
    rma = casefile.of_number(session, shop, number)
    if rma is not None:
        orders.lock(session, shop, OrderRef(rma.order_ref))
        session.refresh(rma)
    return rma


def waits_for_a_second(session: Session, rma: Rma, *, vault: Vault, now: datetime) -> Asked | None:
    """The decision that waits for a second person's word, as it is now: the one to go by under the order's lock."""
    entries = _entries(session, rma.id)
    people = staff.named(session, rma.shop_id, [entry.who for entry, _, _ in entries], vault=vault)
    return _asked(session, rma, entries, people, now=now)


def counted_by(session: Session, rma: Rma, form: str) -> bool:
    """Whether a parcel was counted by this very form."""
    query = select(EntryText.text).join(Entry, Entry.id == EntryText.entry_id).where(Entry.rma_id == rma.id, Entry.what == _COUNTED)
    return any(json.loads(text).get("form") == form for text in session.execute(query).scalars())


def ask_for_a_second(
    session: Session, rma: Rma, payout: Payout, total: int, also: Sequence[str], *, who: str, now: datetime, **facts: str | int
) -> None:
    """Note what somebody decided and may not decide alone, so that a colleague finds it in the return."""
    noted: dict[str, timeline.Fact] = {"payout": payout.value, "total": total, "also": list(also), **facts}
    timeline.record(session, _ASKED, shop=rma.shop_id, rma=rma.id, who=who, at=now, facts=noted)


def questions(session: Session, shop: uuid.UUID, where: Any) -> tuple[Call, ...]:  # noqa: ANN401 - a condition
    """The calls of a shop for which `where` holds, oldest first."""
    query = select(Refund, Rma.number).join(Resolution, Resolution.id == Refund.resolution_id).join(Rma, Rma.id == Resolution.rma_id)
    rows = session.execute(query.where(Refund.shop_id == shop, where).order_by(Refund.reserved_at, Refund.id).limit(_MOST)).all()
    bought = {ref: orders.snapshot(session, shop, OrderRef(ref)) for ref in {row.order_ref for row, _ in rows}}
    return tuple(_call(row, number, bought[row.order_ref]) for row, number in rows)


def _call(row: Refund, number: str, order: Order | None) -> Call:
    told = orders.instruction(row)
    titles = {} if order is None else {tender.id: tender.title or tender.kind.value for tender in order.tenders}
    parts = told.parts if isinstance(told, RefundOrder) else ()
    return Call(
        id=row.id,
        rma=number,
        order_number=order.number if order else "",
        kind=row.kind,
        state=row.state,
        minor=row.minor,
        currency=row.currency,
        bonus=told.bonus.minor if isinstance(told, CreditOrder) else 0,
        tenders=tuple((titles.get(part.tender, str(part.tender)), part.minor) for part in parts),
        why=row.parked_because or "",
        words=row.words or "",
        reference=row.platform_reference or "",
        attempt=row.attempt,
        reserved_at=row.reserved_at,
        asked_first_at=row.asked_first_at,
        asked_last_at=row.marked_at,
        quiet_until=row.quiet_until,
        code=told.code if isinstance(told, CreditOrder) else "",
    )


def _shopper(session: Session, rma: uuid.UUID, vault: Vault) -> Shopper:
    row = session.get(ContactRow, rma)
    if row is None or row.erased_at is not None:
        return Shopper(erased=True)
    try:
        contact = None if row.sealed is None else codec.read(vault.decrypt("contact", rma.hex, row.sealed).encode(), Contact)
        said = "" if row.said is None else vault.decrypt("said", rma.hex, row.said)
    except Unreadable:
        return Shopper()
    return Shopper(said=said) if contact is None else Shopper(contact.name, contact.email, said)


def _entries(session: Session, rma: uuid.UUID) -> Sequence[tuple[Entry, str | None, int | None]]:
    query = select(Entry, EntryText.text, Seal.position).outerjoin(EntryText, EntryText.entry_id == Entry.id)
    query = query.outerjoin(Seal, Seal.entry_id == Entry.id).where(Entry.rma_id == rma)
    return [(entry, text, seal) for entry, text, seal in session.execute(query.order_by(Entry.happened_at, Entry.id))]


def _told(entry: Entry, text: str | None, seal: int | None, people: Mapping[str, Member]) -> Told:
    member = people.get(entry.who)
    return Told(
        what=entry.what,
        at=entry.happened_at,
        who=member.name if member else entry.who.partition(":")[0],
        facts=json.loads(text) if text else {},
        seal=seal,
        erased=text is None,
    )


def _siblings(session: Session, rma: Rma) -> tuple[Sibling, ...]:
    query = select(Rma).where(Rma.shop_id == rma.shop_id, Rma.order_ref == rma.order_ref, Rma.id != rma.id)
    rows = session.execute(query.order_by(Rma.requested_at.desc()).limit(_MOST)).scalars()
    return tuple(Sibling(row.number, row.state, row.requested_at) for row in rows)


def _asked(
    session: Session, rma: Rma, entries: Sequence[tuple[Entry, str | None, int | None]], people: Mapping[str, Member], *, now: datetime
) -> Asked | None:
    """The latest decision that waits for a second person, while it can still be made and the first one may still make it."""
    for entry, text, _ in reversed(entries):
        if entry.what in _ENDS_ASKING or rma.state is not RmaState.RECEIVED:
            return None
        if entry.what == _ASKED and text and now - entry.happened_at < ASKED_LIVES:
            facts, by = json.loads(text), people.get(entry.who)
            if by is None or not by.role.may(Role.MONEY) or not staff.works_here(session, by.id):
                return None
            return Asked(entry.id, by, Payout(facts["payout"]), int(facts["total"]), tuple(facts["also"]), entry.happened_at)
    return None
