"""How an order stands once our own money rows are counted that its snapshot does not show yet.

A snapshot is always a little old: a refund of ours may be reserved, on its way, or settled a second ago. Counting those
rows as if the platform showed them is what keeps two resolutions of one order from paying the same cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from connector.domain.orders import Charge, Order, OrderLine, RefundRef, Tender
from connector.domain.platform import ReturnedLine, TenderPart
from connector.domain.refundable import left, left_of, units_left
from connector.domain.tenders import room


@dataclass(frozen=True, slots=True)
class Booked:
    """What a resolution books on an order, in full: lines with their units, and shipping and fees."""

    lines: tuple[ReturnedLine, ...] = ()
    charges: tuple[ReturnedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Ours:
    """One money row or resolution of ours that stands. `reference` is None until the platform has named its record.

    `minor` is what it gives back, `deducted` what it withheld; `lines` and `charges` are booked in full.
    """

    minor: int
    deducted: int
    reference: RefundRef | None = None
    key: str = ""
    parts: tuple[TenderPart, ...] = ()
    lines: tuple[ReturnedLine, ...] = ()
    charges: tuple[ReturnedLine, ...] = ()


def as_it_stands(order: Order, ours: Sequence[Ours]) -> Order:
    """`order` with every row of ours that its snapshot lacks folded in, and with what we kept counted exactly.

    `order.kept`, as adapters fill it, is the sum over its refund records of what they booked less what they moved; for a
    record of ours the deduction that we wrote down replaces that figure.
    """
    shown = {record.ref: record for record in order.refunds}
    shown_keys = {record.key: record for record in order.refunds if record.key}
    for row in ours:
        # By our key too: a reference that a person typed may be spelled otherwise than the platform spells it.
        record = (shown.get(row.reference) if row.reference is not None else None) or shown_keys.get(row.key)
        if record is not None:
            order = replace(order, kept=order.kept + row.deducted - max(0, record.booked - record.moved))
        else:
            order = _with(order, row)
    return order


def _with(order: Order, row: Ours) -> Order:
    """`order` as if the platform showed `row`."""
    parts = {part.tender: part.minor for part in row.parts}
    lines = {str(line.line): line for line in row.lines}
    charges = {str(charge.line): charge for charge in row.charges}
    return replace(
        order,
        refunded=order.refunded + row.minor,
        kept=order.kept + row.deducted,
        lines=tuple(_line(line, lines.get(line.id)) for line in order.lines),
        shipping=tuple(_charge(charge, charges.get(charge.id)) for charge in order.shipping),
        fees=tuple(_charge(charge, charges.get(charge.id)) for charge in order.fees),
        tenders=tuple(_tender(tender, parts.get(tender.id, 0)) for tender in order.tenders),
    )


def _line(line: OrderLine, booked: ReturnedLine | None) -> OrderLine:
    if booked is None:
        return line
    return replace(line, refunded_quantity=line.refunded_quantity + booked.quantity, refunded=line.refunded.plus(booked.worth))


def _charge(charge: Charge, booked: ReturnedLine | None) -> Charge:
    return charge if booked is None else replace(charge, refunded=charge.refunded.plus(booked.worth))


def _tender(tender: Tender, minor: int) -> Tender:
    return replace(tender, refunded=tender.refunded + minor) if minor else tender


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why an instruction no longer fits its order: what it asks, what there is. Minor units, or units of a line."""

    part: str
    asked: int
    there: int

    def __str__(self) -> str:
        """For staff: `line:shirt: 2 asked, 1 there`."""
        return f"{self.part}: {self.asked} asked, {self.there} there"


def misfit(order: Order, ours: Sequence[Ours], row: Ours) -> Misfit | None:
    """The first part of `row` that the order, as it stands with `ours` beside it, cannot bear any more; None: it fits."""
    now = as_it_stands(order, ours)
    return next((found for check in (_sum_misfit, _line_misfit, _charge_misfit, _tender_misfit) if (found := check(now, row))), None)


def _sum_misfit(now: Order, row: Ours) -> Misfit | None:
    """What the order has left, and what was captured for it at all."""
    asked, rest = row.minor + row.deducted, left(now)
    if asked > rest:
        return Misfit("order", asked, rest)
    captured = sum(tender.captured for tender in now.tenders) - now.refunded - now.kept
    return Misfit("captured", asked, captured) if now.tenders and asked > captured else None


def _line_misfit(now: Order, row: Ours) -> Misfit | None:
    """Units, or money of a line, that went back elsewhere, or a line that was removed from the order."""
    there = {line.id: line for line in now.lines}
    for one in row.lines:
        line = there.get(one.line)
        units, money = (units_left(line), left_of(line)) if line else (0, 0)
        if one.quantity > units or line is None:
            return Misfit(f"line:{one.line}", one.quantity, units)
        if abs(one.worth.gross) > abs(money):
            return Misfit(f"line:{one.line}", one.worth.gross, money)
    return None


def _charge_misfit(now: Order, row: Ours) -> Misfit | None:
    """Shipping or a fee that went back elsewhere: never twice (A26)."""
    there = {str(charge.id): left_of(charge) for charge in (*now.shipping, *now.fees)}
    asked = ((one.line, one.worth.gross, there.get(str(one.line), 0)) for one in row.charges)
    return next((Misfit(f"charge:{ref}", gross, rest) for ref, gross, rest in asked if abs(gross) > abs(rest)), None)


def _tender_misfit(now: Order, row: Ours) -> Misfit | None:
    """What a tender can still take."""
    there = {tender.id: room(tender) for tender in now.tenders}
    asked = ((part.tender, part.minor, there.get(part.tender, 0)) for part in row.parts)
    return next((Misfit(f"tender:{ref}", minor, rest) for ref, minor, rest in asked if minor > rest), None)
