"""Two reads of one order: what happened between them, and what the earlier one knew that a brief one cannot say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from connector.domain.orders import Charge, LineRef, Order, OrderLine, RefundRecord


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new in the later of two reads. `fewer`: lines with fewer units than before, and how many they have now."""

    appeared: tuple[RefundRecord, ...] = ()
    vanished: tuple[RefundRecord, ...] = ()
    cancelled: bool = False
    reopened: bool = False
    fewer: Mapping[LineRef, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.appeared or self.vanished or self.cancelled or self.reopened or self.fewer)


def between(before: Order, after: Order) -> Changes:
    """What happened to the order from one read to the next, as far as both can say."""
    known, shown = {record.ref for record in before.refunds}, {record.ref for record in after.refunds}
    there = {line.id: line.quantity for line in after.lines}
    return Changes(
        appeared=tuple(record for record in after.refunds if record.ref not in known),
        vanished=tuple(record for record in before.refunds if record.ref not in shown),
        cancelled=after.cancelled and not before.cancelled,
        reopened=before.cancelled and not after.cancelled,
        fewer={line.id: there.get(line.id, 0) for line in before.lines if there.get(line.id, 0) < line.quantity},
    )


def remembering(before: Order, after: Order) -> Order:
    """`after` with what `before` knew of its refunds, where `after` is a brief order: those list refunds without their lines.

    Platforms never change a refund that is made, so what was once read of one stays true. A full order comes back as it is.
    """
    known = {record.ref: record for record in before.refunds}
    refunds = tuple(_recalled(record, known.get(record.ref)) for record in after.refunds)
    if refunds == after.refunds:
        return after
    whole = known.keys() <= {record.ref for record in refunds}  # else nobody can say what of a line's money is still given back
    units: dict[LineRef, int] = {}
    for record in refunds:
        for line, count in record.units:
            units[line] = units.get(line, 0) + count
    charges = {charge.id: charge for charge in (*before.shipping, *before.fees)} if whole else {}
    return replace(
        after,
        refunds=refunds,
        kept=sum(max(0, record.booked - record.moved) for record in refunds),
        lines=tuple(_line(line, before.line(line.id) if whole else None, units.get(line.id, 0)) for line in after.lines),
        shipping=tuple(_charge(charge, charges.get(charge.id)) for charge in after.shipping),
        fees=tuple(_charge(charge, charges.get(charge.id)) for charge in after.fees),
    )


def _recalled(record: RefundRecord, earlier: RefundRecord | None) -> RefundRecord:
    """The record, with its lines where only the earlier read had them."""
    if earlier is None or _is_full(record) or not _is_full(earlier) or record.moved != earlier.moved:
        return record
    return replace(record, booked=earlier.booked, units=earlier.units, made_at=earlier.made_at)


def _is_full(record: RefundRecord) -> bool:
    """A brief order's list of refunds has neither times nor lines."""
    return record.made_at is not None or bool(record.units)


def _line(line: OrderLine, earlier: OrderLine | None, units: int) -> OrderLine:
    return replace(line, refunded_quantity=units, refunded=line.refunded if earlier is None else earlier.refunded)


def _charge(charge: Charge, earlier: Charge | None) -> Charge:
    return charge if earlier is None else replace(charge, refunded=earlier.refunded)
