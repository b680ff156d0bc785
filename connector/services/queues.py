"""What waits for a person, and for whom: queues of returns with true counts, read page by page.

A page has at most `PAGE` returns, and everything that it shows of them is read with a fixed number of queries: their lines, their
orders' snapshots, what was decided. Only an order that has money rows of ours costs two more. No store is asked.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from connector.domain import codec
from connector.domain.number import read as number_typed
from connector.domain.orders import LineRef, Order, OrderRef, Product
from connector.domain.policy import Decision, Finding, Outcome
from connector.domain.rma import Disposition, MoneyState, RmaState
from connector.domain.standing import as_it_stands
from connector.domain.terms import Resolution as Wanted
from connector.domain.wanted import Payout
from connector.models import OrderRow, Refund, Resolution, Rma, RmaLine, Units
from connector.services import alarms, casefile, orders, pricing

PAGE: Final = 25
_FEW: Final = 100  # orders of one number, at most: shops number them once
_LONGEST: Final = 64  # characters of a number


class Queue(StrEnum):
    """What a return waits for, in the order of its life."""

    DECIDE = "decide"
    PARCEL = "parcel"
    INSPECT = "inspect"
    RESOLVE = "resolve"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Place:
    """A return's place in its queue: a page begins behind one."""

    at: datetime
    id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Item:
    """So many units of an article."""

    product: Product
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A return in its queue. `minor` is what was decided, or what it would give today by our last look; None: nothing can be said."""

    id: uuid.UUID
    number: str
    order_number: str
    state: RmaState
    items: tuple[Item, ...]
    because: tuple[Finding, ...]
    wanted: Wanted | None
    minor: int | None
    currency: str
    decided: bool
    to_inspect: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some returns of a queue; `rest` is where the next page begins, None: there is none."""

    returns: tuple[Waiting, ...]
    rest: Place | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much waits where. `money` counts questions about payments, and alarms."""

    decide: int
    parcel: int
    inspect: int
    resolve: int
    money: int


def counts(session: Session, shop: uuid.UUID) -> Counts:
    """Counted, not estimated; closed returns, of which there are most, are not looked at."""
    states = {queue: _in(queue) for queue in (Queue.DECIDE, Queue.PARCEL, Queue.INSPECT, Queue.RESOLVE)}
    found = {queue: session.execute(select(func.count()).where(Rma.shop_id == shop, where)).scalar_one() for queue, where in states.items()}
    questions: int = session.execute(select(func.count()).where(Refund.shop_id == shop, asks_a_person())).scalar_one()
    waiting = {queue.value: number for queue, number in found.items()}
    return Counts(**waiting, money=questions + alarms.count(session, shop))


def asks_a_person() -> ColumnElement[bool]:
    """A money row that is parked, or was refused while another call of its decision stands and nothing took its place."""
    other = aliased(Refund)
    remade = exists().where(other.made_again_from == Refund.id).correlate(Refund)
    stands = exists().where(Resolution.id == Refund.resolution_id, Resolution.voided_at.is_(None)).correlate(Refund)
    return or_(Refund.state == MoneyState.PARKED, and_(Refund.state == MoneyState.REFUSED, stands, ~remade))


def page(session: Session, shop: uuid.UUID, queue: Queue, after: Place | None = None) -> Page:
    """A page of a queue: what waits longest first; of all returns the newest first."""
    query, newest = select(Rma).where(Rma.shop_id == shop, _in(queue)), queue is Queue.ALL
    if after is not None:
        earlier, same = (Rma.requested_at < after.at, Rma.id < after.id) if newest else (Rma.requested_at > after.at, Rma.id > after.id)
        query = query.where(or_(earlier, and_(Rma.requested_at == after.at, same)))
    order = (Rma.requested_at.desc(), Rma.id.desc()) if newest else (Rma.requested_at, Rma.id)
    found = session.execute(query.order_by(*order).limit(PAGE + 1)).scalars().all()
    shown = found[:PAGE]
    rest = Place(shown[-1].requested_at, shown[-1].id) if len(found) > PAGE else None
    return Page(_waiting(session, shop, shown), rest)


def search(session: Session, shop: uuid.UUID, text: str) -> Page:
    """The returns of exactly this number, or of the orders of exactly this number; newest first, at most one page."""
    typed = text.strip().removeprefix("#").strip() if len(text) <= _LONGEST * 2 else ""
    number = number_typed(text[: _LONGEST * 2])
    of_number = Rma.number == (number or "")
    if not typed or len(typed) > _LONGEST or not typed.isprintable():
        return Page(())
    forms = sorted({f"{sign}{case}" for sign in ("", "#") for case in (typed, typed.upper(), typed.lower())})
    refs = session.execute(select(OrderRow.ref).where(OrderRow.shop_id == shop, OrderRow.number.in_(forms)).limit(_FEW)).scalars().all()
    query = select(Rma).where(Rma.shop_id == shop, or_(of_number, Rma.order_ref.in_(refs)))
    found = session.execute(query.order_by(Rma.requested_at.desc(), Rma.id.desc()).limit(PAGE)).scalars().all()
    return Page(_waiting(session, shop, found))


def deciding(decision: Decision) -> tuple[Finding, ...]:
    """Why a person was asked, or why something was refused: the findings that were no plain yes, each once."""
    found = [*decision.because, *(finding for claim in decision.claims for finding in claim.because)]
    return tuple(dict.fromkeys(finding for finding in found if finding.outcome in {Outcome.PERSON, Outcome.REFUSE}))


def _in(queue: Queue) -> ColumnElement[bool]:
    counted = exists().where(RmaLine.rma_id == Rma.id, Units.rma_line_id == RmaLine.id, Units.disposition == Disposition.RECEIVED)
    match queue:
        case Queue.DECIDE:
            return Rma.state == RmaState.REQUESTED
        case Queue.PARCEL:
            return Rma.state == RmaState.AUTHORISED
        case Queue.INSPECT:
            return and_(Rma.state == RmaState.RECEIVED, counted)
        case Queue.RESOLVE:
            return and_(Rma.state == RmaState.RECEIVED, ~counted)
        case Queue.ALL:
            return Rma.state.in_(tuple(RmaState))


# ── What a row shows ────────────────────────────────────────────────────────────────────────────────────────────────


def _waiting(session: Session, shop: uuid.UUID, found: Sequence[Rma]) -> tuple[Waiting, ...]:
    ids, refs = [rma.id for rma in found], sorted({rma.order_ref for rma in found})
    if not ids:
        return ()
    bought = {OrderRef(ref): codec.read(kept, Order) for ref, kept in _snapshots(session, shop, refs) if kept is not None}
    lines: dict[uuid.UUID, list[RmaLine]] = {}
    for line in session.execute(select(RmaLine).where(RmaLine.rma_id.in_(ids)).order_by(RmaLine.line_ref)).scalars():
        lines.setdefault(line.rma_id, []).append(line)
    decided = {
        one.rma_id: one
        for one in session.execute(select(Resolution).where(Resolution.rma_id.in_(ids), Resolution.voided_at.is_(None))).scalars()
    }
    units = _units(session, ids)
    standing = _standing(session, shop, bought)
    return tuple(_one(rma, standing.get(OrderRef(rma.order_ref)), lines.get(rma.id, []), units, decided.get(rma.id)) for rma in found)


def _one(
    rma: Rma,
    order: Order | None,
    lines: Sequence[RmaLine],
    units: Mapping[uuid.UUID, Mapping[Disposition, int]],
    decided: Resolution | None,
) -> Waiting:
    decision = codec.read(rma.decision, Decision)
    known = {} if order is None else {line.id: line.product for line in order.lines}
    wanted = None if rma.wanted is None else Wanted(rma.wanted)
    minor, currency = (decided.total + decided.bonus, decided.currency) if decided else _worth(rma, order, lines, units, decision)
    return Waiting(
        id=rma.id,
        number=rma.number,
        order_number=order.number if order else "",
        state=rma.state,
        items=tuple(Item(known.get(LineRef(line.line_ref), Product()), line.quantity) for line in lines),
        because=deciding(decision),
        wanted=wanted,
        minor=minor,
        currency=currency,
        decided=decided is not None,
        to_inspect=any(units.get(line.id, {}).get(Disposition.RECEIVED) for line in lines),
        since=rma.requested_at,
    )


def _worth(
    rma: Rma, order: Order | None, lines: Sequence[RmaLine], units: Mapping[uuid.UUID, Mapping[Disposition, int]], decision: Decision
) -> tuple[int | None, str]:
    """What the shopper is promised by now, in whichever way they asked for; a refund where nobody said."""
    payout = pricing.PAYOUTS.get(Wanted(rma.wanted), Payout.ORIGINAL) if rma.wanted else Payout.ORIGINAL
    by_ref = {LineRef(line.line_ref): units.get(line.id, {}) for line in lines}
    quote = None if order is None else casefile.promised(rma.state, order, decision, by_ref, payout)
    return (None, "") if quote is None else (quote.total + quote.bonus, quote.currency)


def _standing(session: Session, shop: uuid.UUID, bought: Mapping[OrderRef, Order]) -> Mapping[OrderRef, Order]:
    """The orders as they stand: those that money of ours went from, or may go from, with it."""
    touched = select(Resolution.order_ref).where(Resolution.shop_id == shop, Resolution.order_ref.in_(bought)).distinct()
    ours = {OrderRef(ref) for ref in session.execute(touched).scalars()}
    return {ref: as_it_stands(order, orders.ours(session, shop, ref)) if ref in ours else order for ref, order in bought.items()}


def _units(session: Session, ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Mapping[Disposition, int]]:
    query = select(Units.rma_line_id, Units.disposition, Units.quantity).join(RmaLine, RmaLine.id == Units.rma_line_id)
    found: dict[uuid.UUID, dict[Disposition, int]] = {}
    for line, disposition, quantity in session.execute(query.where(RmaLine.rma_id.in_(ids))):
        found.setdefault(line, {})[disposition] = quantity
    return found


def _snapshots(session: Session, shop: uuid.UUID, refs: Sequence[str]) -> Sequence[tuple[str, bytes | None]]:
    query = select(OrderRow.ref, OrderRow.snapshot).where(OrderRow.shop_id == shop, OrderRow.ref.in_(refs))
    return [(ref, kept) for ref, kept in session.execute(query)]
