"""What a return gives back, to the minor unit, and why: the arithmetic of `docs/amounts.md`.

`price` reads from top to bottom like that text. What one line, shipping or fee entry is worth (rules 1 to 3) lies in `parts`,
what is left of it and the cap (rules 2 and 5) in `refundable`, the checks before any arithmetic in `refusals`. All amounts
are minor units of the order's currency. Rule 7 needs no code: only what is asked for is ever priced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from connector.domain.money import half_up
from connector.domain.orders import NOTHING, Charge, ChargeRef, LineRef, Order, OrderLine
from connector.domain.parts import Part, PartKind, label, worth_of_charge_amount, worth_of_line_amount, worth_of_rest, worth_of_units
from connector.domain.platform import TenderPart
from connector.domain.refundable import Bounds, bounds, components, left, units_left
from connector.domain.refusals import Refusal, Unpriceable, first_refusal, known_charges, known_lines
from connector.domain.steps import Step, StepCode, step
from connector.domain.tenders import room, spread
from connector.domain.wanted import Payout, Wanted, WantedCharge, WantedLine

LineParts = tuple[Part[LineRef], ...]
ChargeParts = tuple[Part[ChargeRef], ...]
AnyPart = Part[LineRef] | Part[ChargeRef]


class DeductionKind(StrEnum):
    """What a merchant may withhold, in the order in which it comes off."""

    RESTOCKING = "restocking"
    RETURN_SHIPPING = "return_shipping"
    NO_RMA = "no_rma"


@dataclass(frozen=True, slots=True)
class Deduction:
    """What was really taken; `asked` is more where the refund was too small for it."""

    kind: DeductionKind
    minor: int
    asked: int


@dataclass(frozen=True, slots=True)
class Clamp:
    """Where less is given than its rule asked for: `line:shirt`, `shipping:post`, `fee:wrap`, `order`, `deduction:restocking`."""

    part: str
    asked: int
    given: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A priced return, fully itemised, in minor units. It promises nothing: the order may have changed when money moves.

    `gross` is the sum of the parts, with the order's rounding when the return closes the order; `total` is what moves;
    `bonus` comes on top of it as store credit; `remaining` is what the order may still give back later.
    """

    currency: str
    payout: Payout
    lines: LineParts
    shipping: ChargeParts
    fees: ChargeParts
    deductions: tuple[Deduction, ...]
    gross: int
    total: int
    bonus: int
    tenders: tuple[TenderPart, ...]
    clamped: tuple[Clamp, ...]
    remaining: int
    because: tuple[Step, ...]

    @property
    def parts(self) -> tuple[AnyPart, ...]:
        """Lines, shipping and fees, in this order."""
        return (*self.lines, *self.shipping, *self.fees)


def price(order: Order, wanted: Wanted) -> Quote | Unpriceable:
    """What `wanted` gives back of `order`, or the first reason why nothing does. Pure: the same answer for the same values."""
    if refused := first_refusal(order, wanted):
        return refused
    lines = tuple(_line(order, asked) for asked in wanted.lines)
    shipping = tuple(_charge(order, PartKind.SHIPPING, asked) for asked in wanted.shipping)
    fees = tuple(_charge(order, PartKind.FEE, asked) for asked in wanted.fees)
    parts: tuple[AnyPart, ...] = (*lines, *shipping, *fees)
    limits = bounds(order, wanted.payout)
    if refused := refused_by_parts(order, wanted, parts, limits.least):
        return refused

    gross, rounding = closing(order, wanted, parts)
    moving = min(gross, limits.least)
    asked_fees = deductions(wanted, moving, lines)
    total = moving - sum(fee.minor for fee in asked_fees)
    bonus = percentage(total, wanted.bonus_percent) if wanted.payout is Payout.STORE_CREDIT else 0
    tenders = spread(total, order.tenders, wanted.tender_order) if wanted.payout is Payout.ORIGINAL and order.tenders else ()
    return Quote(
        currency=order.currency,
        payout=wanted.payout,
        lines=lines,
        shipping=shipping,
        fees=fees,
        deductions=tuple(fee for fee in asked_fees if fee.minor),
        gross=gross,
        total=total,
        bonus=bonus,
        tenders=tenders,
        clamped=clamps(parts, gross, moving, asked_fees),
        remaining=left(order) - moving,
        because=(
            *(one for part in parts for one in part.because),
            *rounding,
            *_cap_steps(order, limits, gross, moving),
            *_deduction_steps(wanted, lines, moving, asked_fees),
            *_payout_steps(order, wanted, total, bonus, tenders),
            step(StepCode.REMAINING, rest=left(order), total=total, deductions=moving - total, remaining=left(order) - moving),
        ),
    )


def _line(order: Order, asked: WantedLine) -> Part[LineRef]:
    """Rules 1 to 3: some units of a line, or an explicit amount of it."""
    line = known_lines(order)[asked.id]
    if asked.amount is not None:
        return worth_of_line_amount(line, asked.amount, asked.quantity or 0)
    return worth_of_units(line, asked.quantity or 0)


def _charge(order: Order, kind: PartKind, asked: WantedCharge) -> Part[ChargeRef]:
    """Rules 2 and 3: all that is left of a shipping or fee entry, or an explicit amount of it."""
    charge = known_charges(order, kind)[asked.id]
    return worth_of_rest(kind, charge) if asked.amount is None else worth_of_charge_amount(kind, charge, asked.amount)


def refused_by_parts(order: Order, wanted: Wanted, parts: Sequence[AnyPart], cap: int) -> Unpriceable | None:
    """Rule 5 for explicit parts, which must fit together; then parts that cancel out, and parts that are all zero."""
    explicit = (wanted.amount or 0) + sum(part.worth.gross for part in parts if part.explicit)
    if explicit > cap:
        return Unpriceable(Refusal.MORE_THAN_PAID, step(StepCode.BEYOND_CAP, amount=explicit, cap=cap), left(order))
    if wanted.amount is None and not any(part.worth.gross for part in parts):
        return Unpriceable(Refusal.NOTHING_TO_REFUND, step(StepCode.PARTS_ARE_ZERO), left(order))
    if (gross := _sum(wanted, parts)) <= 0:
        return Unpriceable(Refusal.NOT_POSITIVE, step(StepCode.PARTS_CANCEL_OUT, gross=gross), left(order))
    return None


def _sum(wanted: Wanted, parts: Sequence[AnyPart]) -> int:
    return (wanted.amount or 0) + sum(part.worth.gross for part in parts)


def closing(order: Order, wanted: Wanted, parts: Sequence[AnyPart]) -> tuple[int, tuple[Step, ...]]:
    """Rule 4: the gross of the return, which takes the order's rounding when the return closes the order; and why.

    The parts stay as they were computed. An order rounds by at most a minor unit per line, shipping and fee entry; what is
    further apart is no rounding, and the parts rule.
    """
    gross, rest = _sum(wanted, parts), left(order)
    if wanted.amount is not None:
        return gross, (step(StepCode.PLAIN_AMOUNT, gross=gross),)
    summed = step(StepCode.SUM, gross=gross)
    if any(part.explicit for part in parts) or not closes(order, parts):
        return gross, (summed,)
    entries = len(order.lines) + len(order.shipping) + len(order.fees)
    if rest == gross:
        return gross, (summed, step(StepCode.CLOSES, rest=rest))
    if abs(rest - gross) <= entries:
        return rest, (summed, step(StepCode.CLOSES_ROUNDED, {"entries": entries}, rest=rest, gross=gross))
    return gross, (summed, step(StepCode.CLOSES_APART, {"entries": entries}, rest=rest, gross=gross))


def closes(order: Order, parts: Sequence[AnyPart]) -> bool:
    """Rule 4: with these parts every line is back, by units or by money, and no money is left of shipping and fees."""
    given = {part.label: part for part in parts}

    def money_left(kind: PartKind, entry: OrderLine | Charge) -> bool:
        part = given.get(label(kind, entry.id))
        refunded = entry.refunded.plus(part.worth if part else NOTHING)
        return any(component.left for component in components(entry.worth, refunded))

    def units_out(line: OrderLine) -> bool:
        part = given.get(label(PartKind.LINE, line.id))
        return units_left(line) > (part.quantity if part else 0)

    return not (
        any(units_out(line) and money_left(PartKind.LINE, line) for line in order.lines)
        or any(money_left(PartKind.SHIPPING, charge) for charge in order.shipping)
        or any(money_left(PartKind.FEE, charge) for charge in order.fees)
    )


def deductions(wanted: Wanted, moving: int, lines: LineParts) -> tuple[Deduction, ...]:
    """Rule 6: what comes off, gross, in this order, each at most what the ones before it have left of the refund."""
    taken: list[Deduction] = []
    for kind, asked in (
        (DeductionKind.RESTOCKING, wanted.restocking_fee + percentage(_returned(lines), wanted.restocking_percent)),
        (DeductionKind.RETURN_SHIPPING, wanted.return_shipping_fee),
        (DeductionKind.NO_RMA, wanted.no_rma_fee),
    ):
        if asked:
            taken.append(Deduction(kind, min(asked, moving), asked))
            moving -= taken[-1].minor
    return tuple(taken)


def _returned(lines: LineParts) -> int:
    """Rule 6: the returned lines' gross as shown, which the restocking percentage is of."""
    return max(0, sum(part.worth.gross for part in lines))


def percentage(minor: int, percent: Fraction) -> int:
    """Rule 6: `percent` (10 for 10 %) of an amount, halves up to the minor unit."""
    return half_up(minor * percent.numerator, 100 * percent.denominator)


def clamps(parts: Sequence[AnyPart], gross: int, moving: int, fees: Sequence[Deduction]) -> tuple[Clamp, ...]:
    """Everything that gave way; an order's rounding is no clamp."""
    found = [Clamp(part.label, part.asked, part.worth.gross) for part in parts if part.clamped]
    found += [Clamp("order", gross, moving)] if moving < gross else []
    found += [Clamp(f"deduction:{fee.kind}", fee.asked, fee.minor) for fee in fees if fee.minor < fee.asked]
    return tuple(found)


def _cap_steps(order: Order, limits: Bounds, gross: int, moving: int) -> list[Step]:
    """Rule 5, as steps: the bounds, and what they do to the gross."""
    figures = {"refunded": order.refunded, "kept": order.kept}
    steps = [step(StepCode.REST, total=order.total, **figures, rest=limits.rest)]
    if limits.captured is not None:
        captured = sum(tender.captured for tender in order.tenders)
        steps.append(step(StepCode.CAPTURED_REST, captured=captured, **figures, rest=limits.captured))
    if limits.tenders is not None:
        steps.append(step(StepCode.OPEN_TENDERS, open=limits.tenders))
    if moving < gross:
        steps.append(step(StepCode.CAPPED, gross=gross, cap=moving))
    return steps


def _deduction_steps(wanted: Wanted, lines: LineParts, moving: int, fees: Sequence[Deduction]) -> list[Step]:
    """Rule 6, as steps."""
    steps = []
    if wanted.restocking_percent:
        fee = percentage(_returned(lines), wanted.restocking_percent)
        steps.append(step(StepCode.RESTOCKING, {"percent": wanted.restocking_percent}, lines=_returned(lines), fee=fee))
    rest = moving
    for one in fees:
        code = StepCode.DEDUCTED if one.minor == one.asked else StepCode.DEDUCTION_LIMITED
        steps.append(step(code, {"kind": one.kind}, asked=one.asked, before=rest, taken=one.minor, after=rest - one.minor))
        rest -= one.minor
    steps.append(step(StepCode.TOTAL, moving=moving, deductions=moving - rest, total=rest))
    return steps


def _payout_steps(order: Order, wanted: Wanted, total: int, bonus: int, parts: Sequence[TenderPart]) -> list[Step]:
    """Where the total goes, as steps."""
    if wanted.payout is Payout.STORE_CREDIT:
        percent = {"percent": wanted.bonus_percent}
        plus = [step(StepCode.BONUS, percent, total=total, bonus=bonus)] if wanted.bonus_percent else []
        return [step(StepCode.CREDIT, total=total), *plus]
    tenders = {tender.id: tender for tender in order.tenders}
    steps, rest = [], total
    for part in parts:
        tender = tenders[part.tender]
        figures = {"captured": tender.captured, "refunded": tender.refunded, "room": room(tender)}
        steps.append(step(StepCode.TENDER, {"tender": part.tender}, **figures, minor=part.minor, rest=rest - part.minor))
        rest -= part.minor
    return steps


if __name__ == "__main__":
    from connector.domain.cases import main

    raise SystemExit(main())
