"""What a platform tells us about an order, in one shape for every platform.

All amounts of an order are `int` minor units of its presentment currency (`Order.currency`). They are what was *paid*,
after every discount, as the platform stored it: the stored tax is refunded, never a recomputed one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NewType

OrderRef = NewType("OrderRef", str)
LineRef = NewType("LineRef", str)
ChargeRef = NewType("ChargeRef", str)
TenderRef = NewType("TenderRef", str)
RefundRef = NewType("RefundRef", str)
RateRef = NewType("RateRef", str)
CustomerRef = NewType("CustomerRef", str)


class TenderKind(StrEnum):
    """One means of payment. The kind never changes an amount; it decides who can pay back, and what the shopper reads."""

    CARD = "card"
    GIFT_CARD = "gift_card"
    STORE_CREDIT = "store_credit"
    MANUAL = "manual"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Tax:
    """The tax of one rate, minor units."""

    rate: RateRef
    minor: int


@dataclass(frozen=True, slots=True)
class Worth:
    """What something is worth: net, and the tax of each rate in the platform's order. Minor units, all of one sign."""

    net: int
    tax: tuple[Tax, ...] = ()

    @property
    def gross(self) -> int:
        """Net and all taxes."""
        return self.net + sum(tax.minor for tax in self.tax)

    def of(self, rate: RateRef) -> int:
        """The tax of `rate`, zero where there is none."""
        return sum(tax.minor for tax in self.tax if tax.rate == rate)

    def plus(self, other: Worth) -> Worth:
        """The sum by component; rates that only `other` has come last."""
        mine = {tax.rate for tax in self.tax}
        added = tuple(Tax(tax.rate, tax.minor + other.of(tax.rate)) for tax in self.tax)
        return Worth(self.net + other.net, added + tuple(tax for tax in other.tax if tax.rate not in mine))


NOTHING = Worth(0)


@dataclass(frozen=True, slots=True)
class Product:
    """What policies ask about and pages show; nothing of it is about a person."""

    title: str = ""
    variant: str = ""
    sku: str = ""
    kind: str = ""
    vendor: str = ""
    tags: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    image: str = ""
    product_ref: str = ""
    variant_ref: str = ""


@dataclass(frozen=True, slots=True)
class OrderLine:
    """Units of one article, with what was paid for all of them together."""

    id: LineRef
    quantity: int
    worth: Worth
    refunded_quantity: int = 0
    refunded: Worth = NOTHING
    product: Product = Product()
    fulfilled_on: date | None = None
    delivered_on: date | None = None
    returnable: int | None = None  # units that the platform itself would take back; None: it does not say


@dataclass(frozen=True, slots=True)
class Charge:
    """Shipping, or a fee line of the order; a fee may be negative (a discount)."""

    id: ChargeRef
    worth: Worth
    refunded: Worth = NOTHING
    title: str = ""


@dataclass(frozen=True, slots=True)
class Tender:
    """One captured payment. `refunded` counts what went back to it."""

    id: TenderRef
    captured: int
    refunded: int = 0
    kind: TenderKind = TenderKind.OTHER
    title: str = ""
    pays_back: bool = True  # the platform can send money back through it; False: a person must


@dataclass(frozen=True, slots=True)
class RefundRecord:
    """One refund that the platform lists, whoever made it. Minor units."""

    ref: RefundRef
    moved: int  # what was given back, or given up as credit
    booked: int = 0  # gross of what it booked on lines, shipping and fees
    units: tuple[tuple[LineRef, int], ...] = ()
    made_at: datetime | None = None
    key: str = ""  # the money row that made it, where the record carries our marker
    doubtful: bool = False  # the platform cannot say what moved: `moved` is the most that it can have been


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who bought. Personal: never stored with a snapshot (keyed digests are), never logged, absent from `repr`."""

    email: str = field(default="", repr=False)
    postal_code: str = field(default="", repr=False)
    country: str = ""
    customer: CustomerRef | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One order as the platform stored it, read in one go.

    `total` is what the order says it cost, and rules where its parts add up to something else. `refunded` is everything
    given back so far, also what no line accounts for. `kept` is what earlier returns withheld as deductions.
    `tenders` are listed oldest first.
    """

    ref: OrderRef
    currency: str
    total: int
    number: str = ""
    prices_include_tax: bool = False
    refunded: int = 0
    kept: int = 0
    lines: tuple[OrderLine, ...] = ()
    shipping: tuple[Charge, ...] = ()
    fees: tuple[Charge, ...] = ()
    tenders: tuple[Tender, ...] = ()
    paid: bool = True
    cancelled: bool = False
    placed_at: datetime | None = None
    changed_at: datetime | None = None
    refunds: tuple[RefundRecord, ...] = ()
    discount_codes: tuple[str, ...] = ()
    channel: str = ""
    shop_currency: str = ""
    buyer: Buyer = Buyer()

    def line(self, ref: LineRef) -> OrderLine | None:
        """The line `ref`, or None."""
        return next((line for line in self.lines if line.id == ref), None)
