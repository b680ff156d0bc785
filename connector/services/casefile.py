"""One return as its shopper reads it: where it stands, what comes back, what was promised, what was paid, and what happened."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain import codec
from connector.domain.orders import LineRef, Order, OrderRef, Product
from connector.domain.platform import CreditOrder
from connector.domain.policy import Decision
from connector.domain.quote import Quote
from connector.domain.rma import ACCEPTED, Disposition, MoneyState, Move, RmaState, open_to
from connector.domain.standing import as_it_stands
from connector.domain.terms import Resolution as Wanted
from connector.domain.wanted import Payout
from connector.models import Entry, EntryText, MoneyKind, Refund, Resolution, Rma
from connector.services import orders, pricing, refunds, rmas

_LOST: Final = frozenset({Disposition.SENT_BACK, Disposition.MISSING})
_PROMISED: Final = frozenset({RmaState.REQUESTED, RmaState.AUTHORISED, RmaState.RECEIVED})


@dataclass(frozen=True, slots=True)
class Claimed:
    """Units of one line that come back, with the shopper's reason and what became of each unit."""

    line: LineRef
    product: Product
    quantity: int
    reason: str
    condition: str
    units: Mapping[Disposition, int]


@dataclass(frozen=True, slots=True)
class Share:
    """What one payment of the order takes back, minor units. `kind` and `title` are the payment's own."""

    title: str
    kind: str
    minor: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call that gives money back. `minor` is what it moves, `bonus` what a credit adds; paid is only what is settled."""

    minor: int
    bonus: int
    state: MoneyState
    by_hand: bool  # no machine can pay it: the shop does
    shares: tuple[Share, ...] = ()  # none: a credit, or the platform chooses


@dataclass(frozen=True, slots=True)
class Decided:
    """What staff decided, with its arithmetic, and how far its payment is."""

    kind: MoneyKind
    quote: Quote
    calls: tuple[Call, ...]

    @property
    def paid(self) -> bool:
        """Whether all of it has provably moved."""
        return bool(self.calls) and all(call.state is MoneyState.SETTLED for call in self.calls)

    def bonus_of(self, minor: int) -> int:
        """What a credit of so much adds as a bonus."""
        return next((call.bonus for call in self.calls if call.minor == minor), 0)

    @property
    def with_a_person(self) -> bool:
        """Whether some of it waits for somebody in the shop."""
        return any(call.state in {MoneyState.PARKED, MoneyState.REFUSED} for call in self.calls)


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened, as a code with its facts; none where they were erased."""

    what: str
    at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Casefile:
    """Everything that a status page says. `promised` is what it gives if the rest is as described; `decided` replaces it."""

    id: uuid.UUID
    number: str
    state: RmaState
    order_ref: OrderRef
    order: Order | None
    expires_on: date | None
    wanted: Wanted | None
    decision: Decision
    items: tuple[Claimed, ...]
    promised: Quote | None
    decided: Decided | None
    entries: tuple[Told, ...]

    @property
    def may_cancel(self) -> bool:
        """Whether the state table lets the shopper cancel."""
        return Move.CANCEL in open_to(self.state)


def of_number(session: Session, shop: uuid.UUID, number: str) -> Rma | None:
    """The RMA of this number. It proves nothing about who asks."""
    return session.execute(select(Rma).where(Rma.shop_id == shop, Rma.number == number)).scalar_one_or_none()


def read(session: Session, rma: Rma) -> Casefile:
    """The RMA's file, as one read sees it."""
    order = orders.snapshot(session, rma.shop_id, OrderRef(rma.order_ref))
    decision = codec.read(rma.decision, Decision)
    items = _items(session, rma, order)
    payout = None if rma.wanted is None else pricing.PAYOUTS.get(Wanted(rma.wanted))
    standing = None if order is None else as_it_stands(order, orders.ours(session, rma.shop_id, order.ref))
    units = {item.line: item.units for item in items}
    return Casefile(
        id=rma.id,
        number=rma.number,
        state=rma.state,
        order_ref=OrderRef(rma.order_ref),
        order=order,
        expires_on=rma.expires_on,
        wanted=None if rma.wanted is None else Wanted(rma.wanted),
        decision=decision,
        items=items,
        promised=None if standing is None or payout is None else promised(rma.state, standing, decision, units, payout),
        decided=_decided(session, rma.id, order),
        entries=_entries(session, rma.id),
    )


def promised(
    state: RmaState, standing: Order, decision: Decision, units: Mapping[LineRef, Mapping[Disposition, int]], payout: Payout
) -> Quote | None:
    """What a return gives under the fees of its decision, on the order as it stands, if what is not judged yet is as described.

    Once nothing waits to be judged it is what resolving would pay: the accepted units. Before, only what is refused or missing is off.
    """
    if state not in _PROMISED:
        return None
    judged = state is RmaState.RECEIVED and not any(by.get(Disposition.RECEIVED) for by in units.values())
    still = ACCEPTED if judged else frozenset(Disposition) - _LOST
    counts = {ref: sum(count for disposition, count in by.items() if disposition in still) for ref, by in units.items()}
    given = {ref: count for ref, count in counts.items() if count}
    quote = pricing.quote(decision, standing, given, payout) if given else None
    return quote if isinstance(quote, Quote) else None


def _items(session: Session, rma: Rma, order: Order | None) -> tuple[Claimed, ...]:
    known = {} if order is None else {line.id: line.product for line in order.lines}
    units = rmas.units(session, rma.id)
    return tuple(
        Claimed(ref, known.get(ref, Product()), line.quantity, line.reason, line.condition, units.get(ref, {}))
        for line in rmas.lines(session, rma.id)
        for ref in (LineRef(line.line_ref),)
    )


def _decided(session: Session, rma: uuid.UUID, order: Order | None) -> Decided | None:
    query = select(Resolution).where(Resolution.rma_id == rma, Resolution.voided_at.is_(None))
    resolution = session.execute(query).scalar_one_or_none()
    if resolution is None:
        return None
    rows = refunds.of(session, resolution.id)
    remade = {row.made_again_from for row in rows}
    calls = tuple(_call(row, order) for row in rows if row.id not in remade)
    return Decided(resolution.kind, codec.read(resolution.quote, Quote), calls)


def _call(row: Refund, order: Order | None) -> Call:
    told = orders.instruction(row)
    if isinstance(told, CreditOrder):
        return Call(row.minor, told.bonus.minor, row.state, by_hand=False)
    known = {} if order is None else {tender.id: tender for tender in order.tenders}
    paid = [(known[part.tender], part.minor) for part in told.parts if part.tender in known]
    shares = tuple(Share(tender.title, tender.kind.value, minor) for tender, minor in paid)
    return Call(row.minor, 0, row.state, by_hand=any(not tender.pays_back for tender, _ in paid), shares=shares)


def _entries(session: Session, rma: uuid.UUID) -> tuple[Told, ...]:
    query = select(Entry, EntryText.text).outerjoin(EntryText, EntryText.entry_id == Entry.id)
    rows = session.execute(query.where(Entry.rma_id == rma, Entry.for_shopper).order_by(Entry.happened_at, Entry.id)).all()
    return tuple(Told(entry.what, entry.happened_at, json.loads(text) if text else {}) for entry, text in rows)
