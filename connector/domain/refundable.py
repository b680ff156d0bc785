"""What may still be given back, by order, by line and by unit. All amounts in minor units.

The rules are those of `docs/amounts.md`; each function names its rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from connector.domain.orders import Charge, Order, OrderLine, RateRef, Worth
from connector.domain.tenders import room
from connector.domain.wanted import Payout


def left(order: Order) -> int:
    """What the order says may still be given back; negative where more was refunded elsewhere than it cost."""
    return order.total - order.refunded - order.kept


def units_left(line: OrderLine) -> int:
    """Units that were not refunded yet; zero where more were refunded than bought."""
    return max(0, line.quantity - line.refunded_quantity)


def direction(worth: Worth) -> int:
    """-1 for what is worth less than nothing (a discount booked as a fee), else 1."""
    return -1 if worth.gross < 0 else 1


@dataclass(frozen=True, slots=True)
class Component:
    """Net (`rate` is None) or the tax of one rate: what was paid, what was refunded, and `left` of it.

    `lowered` is by how much other, over-refunded components lower this one. All figures have the sign of the part.
    """

    rate: RateRef | None
    paid: int
    refunded: int
    lowered: int
    left: int


def components(paid: Worth, refunded: Worth) -> tuple[Component, ...]:
    """Rule 2: what is left of net and of each rate, in this order.

    Never negative (for a negative fee: never positive). A component that was over-refunded elsewhere lowers the others,
    net first, then the rates as listed. A refund of the wrong sign, or of a rate that the part lacks, never adds anything.
    """
    way = direction(paid)
    figures = [(None, paid.net, refunded.net), *((tax.rate, tax.minor, refunded.of(tax.rate)) for tax in paid.tax)]
    rates = {tax.rate for tax in paid.tax}
    over = sum(max(0, way * tax.minor) for tax in refunded.tax if tax.rate not in rates)
    over += sum(max(0, max(0, way * back) - way * was) for _, was, back in figures)
    found: list[Component] = []
    for rate, was, back in figures:
        rest = max(0, way * was - max(0, way * back))
        lowered = min(rest, over)
        over -= lowered
        found.append(Component(rate, was, back, way * lowered, way * (rest - lowered)))
    return tuple(found)


def left_of(part: OrderLine | Charge) -> int:
    """Rule 2: gross that is left of a line, shipping or fee entry."""
    return sum(component.left for component in components(part.worth, part.refunded))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Rule 5: the bounds of what may move; `captured` and `tenders` are None where they do not apply."""

    rest: int
    captured: int | None
    tenders: int | None

    @property
    def least(self) -> int:
        """The cap."""
        return min(bound for bound in (self.rest, self.captured, self.tenders) if bound is not None)


def bounds(order: Order, payout: Payout) -> Bounds:
    """Rule 5: what the order has left, what was captured and is still there, and what the tenders can take back."""
    if not order.tenders:
        return Bounds(left(order), None, None)
    captured = sum(tender.captured for tender in order.tenders) - order.refunded - order.kept
    tenders = sum(room(tender) for tender in order.tenders) if payout is Payout.ORIGINAL else None
    return Bounds(left(order), captured, tenders)
