"""What a return asks for, in one shape for portal, desk and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from connector.domain.orders import ChargeRef, LineRef
from connector.domain.tenders import NEWEST_FIRST, TenderOrder


class ImpossibleWish(ValueError):
    """A return that contradicts itself: it can be answered neither with an amount nor with a refusal."""


class Payout(StrEnum):
    """How the money is given back: to what the shopper paid with, or as credit in the shop."""

    ORIGINAL = "original"
    STORE_CREDIT = "store_credit"


@dataclass(frozen=True, slots=True)
class WantedLine:
    """Units of a line, an explicit gross amount (minor units) on it, or an explicit amount for that many units.

    Raises:
        ImpossibleWish: neither is given.
    """

    id: LineRef
    quantity: int | None = None
    amount: int | None = None

    def __post_init__(self) -> None:
        """Refuse a line of which nothing is asked."""
        if self.quantity is None and self.amount is None:
            raise ImpossibleWish(f"lines: {self.id!r} has neither quantity nor amount")


@dataclass(frozen=True, slots=True)
class WantedCharge:
    """All that is left of a shipping or fee entry, or an explicit gross amount of it (negative for a negative fee)."""

    id: ChargeRef
    amount: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Everything that decides a quote besides the order. Amounts in minor units, percentages as `Fraction(10)` for 10 %.

    `amount` is an explicit gross amount for the order as a whole, beside no other part. The restocking fee is a percentage
    or an amount. `currency` is what the asker believes the order's currency to be; None: does not say.

    Raises:
        ImpossibleWish: a part is listed twice, a plain amount stands beside parts, a deduction or percentage is negative,
            or the restocking fee is both percentage and amount.
    """

    lines: tuple[WantedLine, ...] = ()
    shipping: tuple[WantedCharge, ...] = ()
    fees: tuple[WantedCharge, ...] = ()
    amount: int | None = None
    currency: str | None = None
    restocking_percent: Fraction = Fraction(0)
    restocking_fee: int = 0
    return_shipping_fee: int = 0
    no_rma_fee: int = 0
    payout: Payout = Payout.ORIGINAL
    bonus_percent: Fraction = Fraction(0)
    tender_order: TenderOrder = NEWEST_FIRST

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; keys are named as the case format names them."""
        _once("lines", (line.id for line in self.lines))
        _once("shipping", (charge.id for charge in self.shipping))
        _once("order_fees", (charge.id for charge in self.fees))
        if self.amount is not None and (self.lines or self.shipping or self.fees):
            raise ImpossibleWish("amount: stands alone, not beside lines, shipping or order_fees")
        if self.restocking_percent and self.restocking_fee:
            raise ImpossibleWish("restocking_fee: a percent or an amount, not both")
        for key, figure in (
            ("restocking_fee.percent", self.restocking_percent),
            ("restocking_fee.amount", self.restocking_fee),
            ("return_shipping_fee", self.return_shipping_fee),
            ("no_rma_fee", self.no_rma_fee),
            ("bonus.percent", self.bonus_percent),
        ):
            if figure < 0:
                raise ImpossibleWish(f"{key}: must not be negative")


def _once(key: str, ids: Iterable[str]) -> None:
    for found, times in Counter(ids).items():
        if times > 1:
            raise ImpossibleWish(f"{key}: {found!r} is listed twice")
