"""Why a return cannot be priced: the codes of `docs/amounts.md`, and the checks that need no arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from connector.domain.orders import Charge, Order, OrderLine
from connector.domain.parts import PartKind, label
from connector.domain.refundable import bounds, direction, left, left_of, units_left
from connector.domain.steps import Fact, Step, StepCode, step
from connector.domain.wanted import Wanted, WantedCharge, WantedLine


class Refusal(StrEnum):
    """Why a return cannot be priced, in the order in which the reasons are looked for."""

    CURRENCY_MISMATCH = "currency_mismatch"
    NOT_PAID = "not_paid"
    UNKNOWN_LINE = "unknown_line"
    UNKNOWN_SHIPPING = "unknown_shipping"
    UNKNOWN_FEE = "unknown_fee"
    NOT_POSITIVE = "not_positive"  # also near the end, when the parts cancel out
    NOTHING_TO_REFUND = "nothing_to_refund"  # also at the very end, when all parts came to zero
    QUANTITY_EXCEEDED = "quantity_exceeded"
    MORE_THAN_LINE = "more_than_line"
    NO_TENDER_LEFT = "no_tender_left"
    MORE_THAN_PAID = "more_than_paid"


@dataclass(frozen=True, slots=True)
class Unpriceable:
    """No quote, and why. `remaining` is what the order has left, minor units; negative where too much went back elsewhere."""

    refusal: Refusal
    because: Step
    remaining: int


Reason = tuple[Refusal, Step]
Check = Callable[[Order, Wanted], Reason | None]


def known_lines(order: Order) -> dict[str, OrderLine]:
    """The order's lines by reference."""
    return {line.id: line for line in order.lines}


def known_charges(order: Order, kind: PartKind) -> dict[str, Charge]:
    """The order's shipping or fee entries by reference."""
    return {charge.id: charge for charge in (order.shipping if kind is PartKind.SHIPPING else order.fees)}


def _asked(order: Order, wanted: Wanted) -> Iterator[tuple[PartKind, OrderLine | Charge, WantedLine | WantedCharge]]:
    """Every part of the order that is asked for; the unknown ones were refused before."""
    lines = known_lines(order)
    yield from ((PartKind.LINE, lines[line.id], line) for line in wanted.lines)
    for kind, charges in ((PartKind.SHIPPING, wanted.shipping), (PartKind.FEE, wanted.fees)):
        known = known_charges(order, kind)
        yield from ((kind, known[charge.id], charge) for charge in charges)


def currency_mismatch(order: Order, wanted: Wanted) -> Reason | None:
    """The return names another currency than the order's."""
    if wanted.currency is None or wanted.currency == order.currency:
        return None
    return Refusal.CURRENCY_MISMATCH, step(StepCode.OTHER_CURRENCY, {"asked": wanted.currency, "currency": order.currency})


def not_paid(order: Order, _: Wanted) -> Reason | None:
    """What was not paid cannot be given back."""
    return None if order.paid else (Refusal.NOT_PAID, step(StepCode.NOT_PAID))


def unknown_line(order: Order, wanted: Wanted) -> Reason | None:
    """A line that is not one of the order's."""
    known = known_lines(order)
    missing = next((line.id for line in wanted.lines if line.id not in known), None)
    return None if missing is None else (Refusal.UNKNOWN_LINE, step(StepCode.UNKNOWN_PART, {"part": label(PartKind.LINE, missing)}))


def unknown_shipping(order: Order, wanted: Wanted) -> Reason | None:
    """A shipping entry that is not one of the order's."""
    return _unknown_charge(order, PartKind.SHIPPING, wanted.shipping, Refusal.UNKNOWN_SHIPPING)


def unknown_fee(order: Order, wanted: Wanted) -> Reason | None:
    """A fee entry that is not one of the order's."""
    return _unknown_charge(order, PartKind.FEE, wanted.fees, Refusal.UNKNOWN_FEE)


def _unknown_charge(order: Order, kind: PartKind, charges: tuple[WantedCharge, ...], refusal: Refusal) -> Reason | None:
    known = known_charges(order, kind)
    missing = next((charge.id for charge in charges if charge.id not in known), None)
    return None if missing is None else (refusal, step(StepCode.UNKNOWN_PART, {"part": label(kind, missing)}))


def not_positive(order: Order, wanted: Wanted) -> Reason | None:
    """Something asked is zero, negative or of the wrong sign: an amount has the sign of its part."""
    for kind, part, asked in _asked(order, wanted):
        name = {"part": label(kind, part.id)}
        if isinstance(asked, WantedLine) and asked.quantity is not None and asked.quantity <= 0:
            return Refusal.NOT_POSITIVE, step(StepCode.ASKED_NOT_POSITIVE, {**name, "asked": asked.quantity})
        if asked.amount is not None and asked.amount * direction(part.worth) <= 0:
            return Refusal.NOT_POSITIVE, step(StepCode.ASKED_NOT_POSITIVE, name, asked=asked.amount)
    if wanted.amount is not None and wanted.amount <= 0:
        return Refusal.NOT_POSITIVE, step(StepCode.ASKED_NOT_POSITIVE, {"part": "order"}, asked=wanted.amount)
    return None


def nothing_to_refund(order: Order, wanted: Wanted) -> Reason | None:
    """Nothing is asked, or the order has no rest."""
    if not (wanted.lines or wanted.shipping or wanted.fees) and wanted.amount is None:
        return Refusal.NOTHING_TO_REFUND, step(StepCode.NOTHING_ASKED)
    if left(order) <= 0:
        figures = {"total": order.total, "refunded": order.refunded, "kept": order.kept, "rest": left(order)}
        return Refusal.NOTHING_TO_REFUND, step(StepCode.NO_REST, **figures)
    return None


def quantity_exceeded(order: Order, wanted: Wanted) -> Reason | None:
    """More units than are left; units are never clamped."""
    known = known_lines(order)
    for asked in wanted.lines:
        units = units_left(known[asked.id])
        if asked.quantity is not None and asked.quantity > units:
            facts: dict[str, Fact] = {"part": label(PartKind.LINE, asked.id), "asked": asked.quantity, "left": units}
            return Refusal.QUANTITY_EXCEEDED, step(StepCode.TOO_MANY_UNITS, facts)
    return None


def more_than_line(order: Order, wanted: Wanted) -> Reason | None:
    """An explicit amount beyond what is left of its line, shipping or fee entry."""
    for kind, part, asked in _asked(order, wanted):
        if asked.amount is not None and abs(asked.amount) > abs(left_of(part)):
            figures = {"amount": asked.amount, "left": left_of(part)}
            return Refusal.MORE_THAN_LINE, step(StepCode.BEYOND_PART, {"part": label(kind, part.id)}, **figures)
    return None


def no_tender_left(order: Order, wanted: Wanted) -> Reason | None:
    """The order has a rest (seen before), but of what its tenders brought nothing can go back."""
    return (Refusal.NO_TENDER_LEFT, step(StepCode.NO_TENDER_LEFT)) if bounds(order, wanted.payout).least <= 0 else None


CHECKS: tuple[Check, ...] = (
    currency_mismatch,
    not_paid,
    unknown_line,
    unknown_shipping,
    unknown_fee,
    not_positive,
    nothing_to_refund,
    quantity_exceeded,
    more_than_line,
    no_tender_left,
)


def first_refusal(order: Order, wanted: Wanted) -> Unpriceable | None:
    """The first reason, in the order of `CHECKS`, why no arithmetic is needed."""
    found = next((reason for check in CHECKS if (reason := check(order, wanted))), None)
    return None if found is None else Unpriceable(*found, left(order))
