"""An order as its shopper sees it before they ask for a return: what of it may come back, until when, and why the rest may not."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain.money import portion
from connector.domain.orders import LineRef, Order, OrderLine, OrderRef
from connector.domain.policy import Claim, ClaimDecision, Refusal, RuleCode, decide
from connector.domain.rma import HOLDS_UNITS, RmaState
from connector.domain.terms import Policy
from connector.models import Rma
from connector.services import orders, policies, rmas
from connector.services.shops import ShopKeys

# What is said of a line that several rules refuse: first what cannot change, then what is over, then what is still to come.
_FIRST: Final = (
    Refusal.ORDER_CANCELLED,
    Refusal.NOT_PAID,
    Refusal.FINAL_SALE,
    Refusal.NOT_RETURNABLE,
    Refusal.UNITS_GONE,
    Refusal.OUTSIDE_WINDOW,
    Refusal.NOT_DELIVERED,
)


@dataclass(frozen=True, slots=True)
class Returnable:
    """One line. `each` is what was paid for one unit (minor units), `free` how many may still come back.

    `refusal` says why none may; `last_day` is the last that counts, where one is known. `held_by` are the numbers of this order's
    returns that hold units of it.
    """

    line: OrderLine
    each: int
    free: int
    refusal: Refusal | None
    last_day: date | None
    held_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shelf:
    """An order's lines beside its policy, and its returns so far, newest first: number and state."""

    order: Order
    policy: Policy
    lines: tuple[Returnable, ...]
    returns: tuple[tuple[str, RmaState], ...]

    def line(self, ref: LineRef) -> Returnable | None:
        """The line `ref`, or None."""
        return next((each for each in self.lines if each.line.id == ref), None)


def look(session: Session, shop: ShopKeys, ref: OrderRef, *, now: datetime) -> Shelf | None:
    """What may come back of the order today; None: it was never read. Raises `NoPolicy`."""
    order = orders.snapshot(session, shop.id, ref)
    if order is None:
        return None
    zone = ZoneInfo(shop.time_zone)
    today = now.astimezone(zone).date()
    _, policy = policies.in_force(session, shop.id, today)
    reason = next(iter(policy.reasons), "")
    claims = [Claim(line.id, 1, reason) for line in order.lines]
    decision = decide(policy, order, claims, taken=rmas.taken(session, shop.id, order), today=today, zone=zone)
    made = _returns(session, shop.id, ref)
    held = _held(session, made)
    lines = tuple(_returnable(line, judged, held) for line, judged in zip(order.lines, decision.claims, strict=True))
    return Shelf(order, policy, lines, tuple((rma.number, rma.state) for rma in made))


def _returnable(line: OrderLine, judged: ClaimDecision, held: Mapping[str, tuple[str, ...]]) -> Returnable:
    inputs = {finding.rule: dict(finding.inputs) for finding in judged.because}
    refusal = next((one for one in _FIRST if one in judged.refusals), next(iter(judged.refusals), None))
    last = inputs.get(RuleCode.WINDOW, {}).get("last_day")
    return Returnable(
        line=line,
        each=portion(line.worth.gross, 0, 1, line.quantity) if line.quantity > 0 else line.worth.gross,
        free=0 if refusal is not None else int(inputs[RuleCode.UNITS_LEFT]["free"]),
        refusal=refusal,
        last_day=date.fromisoformat(last) if last else None,
        held_by=held.get(line.id, ()),
    )


def _returns(session: Session, shop: uuid.UUID, ref: OrderRef) -> Sequence[Rma]:
    query = select(Rma).where(Rma.shop_id == shop, Rma.order_ref == ref).order_by(Rma.requested_at.desc(), Rma.id)
    return session.execute(query).scalars().all()


def _held(session: Session, made: Sequence[Rma]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for rma in made:
        for line in rmas.lines(session, rma.id) if rma.state in HOLDS_UNITS else ():
            found[line.line_ref] = (*found.get(line.line_ref, ()), rma.number)
    return found
