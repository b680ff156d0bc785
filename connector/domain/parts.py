"""What one line, shipping or fee entry gives back: rules 1, 2 and 3 of `docs/amounts.md`.

Amounts are minor units; those of a negative fee are negative throughout, and every rule holds for them mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, TypeVar

from connector.domain.money import half_up, portion
from connector.domain.orders import Charge, ChargeRef, LineRef, OrderLine, Tax, Worth
from connector.domain.refundable import Component, components, units_left
from connector.domain.steps import Fact, Step, StepCode, step

Ref = TypeVar("Ref", LineRef, ChargeRef)


class PartKind(StrEnum):
    """What a part of an order is, as labels such as `line:shirt` name it."""

    LINE = "line"
    SHIPPING = "shipping"
    FEE = "fee"


def label(kind: PartKind, ref: str) -> str:
    """A part's name in clamps, steps and refusals: `line:shirt`."""
    return f"{kind}:{ref}"


@dataclass(frozen=True, slots=True)
class Part(Generic[Ref]):
    """One priced line, shipping or fee entry: `worth` is given back of it, `asked` (gross) would have been its portion.

    `explicit`: somebody named the amount, so it may be refused but never lowered.
    """

    kind: PartKind
    id: Ref
    worth: Worth
    asked: int
    quantity: int = 0
    explicit: bool = False
    because: tuple[Step, ...] = ()

    @property
    def label(self) -> str:
        """`line:shirt`."""
        return label(self.kind, self.id)

    @property
    def clamped(self) -> bool:
        """Less is given than asked. A last unit that takes more than its portion is no clamp."""
        return abs(self.worth.gross) < abs(self.asked)


def worth_of_units(line: OrderLine, more: int) -> Part[LineRef]:
    """Rules 1 and 2: `more` further units of a line that has them left.

    A unit is worth its telescoping portion, counted on from the units refunded so far, in net and in each rate alone.
    """
    name = label(PartKind.LINE, line.id)
    before, after, of = line.refunded_quantity, line.refunded_quantity + more, line.quantity
    portions: list[int] = []
    given: list[int] = []
    because: list[Step] = []
    for component in components(line.worth, line.refunded):
        facts = _facts(name, component)
        fair = portion(component.paid, before, more, of)
        upto, sofar = portion(component.paid, 0, after, of), portion(component.paid, 0, before, of)
        units: dict[str, Fact] = {**facts, "first": before + 1, "before": before, "after": after, "of": of}
        because.append(step(StepCode.UNITS, units, whole=component.paid, upto=upto, sofar=sofar, portion=fair))
        minor, limit = _within_left(facts, component, fair, last=more == units_left(line), tolerance=before)
        because.extend(limit)
        portions.append(fair)
        given.append(minor)
    worth = _assemble(line.worth, given)
    because.append(_part_step(name, worth))
    part = Part(PartKind.LINE, line.id, worth, sum(portions), more, because=tuple(because))
    if not part.clamped:
        return part
    return replace(part, because=(*part.because, step(StepCode.PART_CLAMPED, {"part": name}, asked=part.asked, given=worth.gross)))


def _within_left(facts: dict[str, Fact], component: Component, fair: int, *, last: bool, tolerance: int) -> tuple[int, tuple[Step, ...]]:
    """Rule 2: a portion is capped by what is left, and only rounding goes to the last unit.

    `tolerance`: one minor unit per unit refunded before is another system's rounding; more was withheld on purpose.
    """
    apart = abs(component.left - fair)
    if not apart:
        return fair, ()
    if last and apart <= tolerance:
        taken = step(StepCode.LAST_UNIT, {**facts, "tolerance": tolerance}, left=component.left, portion=fair)
        return component.left, (*_left_steps(facts, component), taken)
    if abs(component.left) < abs(fair):
        limited = step(StepCode.LIMITED, facts, left=component.left, portion=fair)
        return component.left, (*_left_steps(facts, component), limited)
    if last:
        withheld = step(StepCode.WITHHELD, facts, left=component.left, portion=fair, withheld=component.left - fair)
        return fair, (*_left_steps(facts, component), withheld)
    return fair, ()


def worth_of_rest(kind: PartKind, charge: Charge) -> Part[ChargeRef]:
    """Rule 2: all that is left of a shipping or fee entry."""
    name = label(kind, charge.id)
    rest = components(charge.worth, charge.refunded)
    worth = _assemble(charge.worth, [component.left for component in rest])
    because = [one for component in rest for one in _left_steps(_facts(name, component), component)]
    return Part(kind, charge.id, worth, worth.gross, because=(*because, _part_step(name, worth)))


def worth_of_line_amount(line: OrderLine, amount: int, units: int) -> Part[LineRef]:
    """Rule 3: an explicit gross amount of a line, which counts `units` as back."""
    name = label(PartKind.LINE, line.id)
    worth, because = _split(name, line.worth, line.refunded, amount)
    return Part(PartKind.LINE, line.id, worth, amount, units, explicit=True, because=because)


def worth_of_charge_amount(kind: PartKind, charge: Charge, amount: int) -> Part[ChargeRef]:
    """Rule 3: an explicit gross amount of a shipping or fee entry."""
    name = label(kind, charge.id)
    worth, because = _split(name, charge.worth, charge.refunded, amount)
    return Part(kind, charge.id, worth, amount, explicit=True, because=because)


def _split(name: str, paid: Worth, refunded: Worth, amount: int) -> tuple[Worth, tuple[Step, ...]]:
    """Rule 3: an explicit gross amount, no more than is left of the part, split into net and taxes cumulatively.

    A rate takes what it should have had after this amount less what it should have had before it; net takes the rest.
    """
    before, after, whole = refunded.gross, refunded.gross + amount, paid.gross
    net, *rates = components(paid, refunded)
    because = [one for component in (net, *rates) for one in _left_steps(_facts(name, component), component)]
    taxes: list[int] = []
    for rate in rates:
        upto, sofar = half_up(rate.paid * after, whole), half_up(rate.paid * before, whole)
        share, tax = upto - sofar, _clamp(upto - sofar, rate.left)
        figures = {"paid": rate.paid, "whole": whole, "before": before, "after": after, "upto": upto, "sofar": sofar}
        because.append(step(StepCode.SHARE, _facts(name, rate), **figures, share=share))
        if tax != share:
            because.append(step(StepCode.SHARE_LIMITED, _facts(name, rate), share=share, left=rate.left, tax=tax))
        taxes.append(tax)
    because.append(step(StepCode.NET_SHARE, {"part": name}, amount=amount, taxes=sum(taxes), net=amount - sum(taxes)))
    because.extend(_even_out(name, amount, net, rates, taxes))
    worth = _assemble(paid, [amount - sum(taxes), *taxes])
    return worth, (*because, _part_step(name, worth))


def _even_out(name: str, amount: int, net: Component, rates: Sequence[Component], taxes: list[int]) -> Iterator[Step]:
    """Rule 3: where net is above its rest, `taxes` (changed in place) take the difference; where it is below zero, they give it.

    The largest stored tax comes first, ties as listed.
    """
    excess = amount - sum(taxes) - _clamp(amount - sum(taxes), net.left)
    for place in sorted(range(len(rates)), key=lambda place: -abs(rates[place].paid)):
        moved = _clamp(taxes[place] + excess, rates[place].left) - taxes[place]
        if moved:
            taxes[place] += moved
            excess -= moved
            figures = {"moved": moved, "tax": taxes[place], "net": amount - sum(taxes), "left": net.left}
            yield step(StepCode.EVENED, _facts(name, rates[place]), **figures)


def _clamp(value: int, bound: int) -> int:
    """The number nearest to `value` that lies between zero and `bound`, which may be negative."""
    return max(min(value, max(0, bound)), min(0, bound))


def _assemble(like: Worth, minors: Sequence[int]) -> Worth:
    """Net and taxes in the order of `like`."""
    net, *taxes = minors
    return Worth(net, tuple(Tax(tax.rate, minor) for tax, minor in zip(like.tax, taxes, strict=True)))


def _facts(name: str, component: Component) -> dict[str, Fact]:
    """Which component of which part a step speaks of."""
    return {"part": name, "component": "net"} if component.rate is None else {"part": name, "component": "tax", "rate": component.rate}


def _left_steps(facts: dict[str, Fact], component: Component) -> tuple[Step, ...]:
    """How what is left of a component came about."""
    paid, refunded = component.paid, component.refunded
    if abs(refunded) > abs(paid):
        return (step(StepCode.OVER_REFUNDED, facts, paid=paid, refunded=refunded, over=refunded - paid),)
    if component.lowered:
        lowered = component.lowered
        return (step(StepCode.LOWERED, facts, paid=paid, refunded=refunded, lowered=lowered, left=component.left),)
    return (step(StepCode.LEFT, facts, paid=paid, refunded=refunded, left=component.left),)


def _part_step(name: str, worth: Worth) -> Step:
    return step(StepCode.PART, {"part": name}, net=worth.net, taxes=worth.gross - worth.net, gross=worth.gross)
