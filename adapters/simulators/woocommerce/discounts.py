"""Coupons on an order, as WC_Discounts spreads them: in cents, dearest article first, the odd cents last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from adapters.simulators.woocommerce import taxes
from adapters.simulators.woocommerce.amounts import half_down, half_up, number, plain
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site
from adapters.simulators.woocommerce.totals import calculate


@dataclass(slots=True)
class _Item:
    """A line while it is discounted. `price` is that of the whole line, in cents, with tax where the shop's prices have it."""

    line: Thing
    price: Decimal
    quantity: Decimal
    off: dict[str, Decimal] = field(default_factory=dict)

    def rest(self) -> Decimal:
        return abs(half_up(self.price - sum(self.off.values()), 0))

    def take(self, code: str, cents: Decimal) -> Decimal:
        self.off[code] = self.off.get(code, Decimal(0)) + cents
        return cents


def recalculate(site: Site, order: Thing, coupons: Sequence[Thing]) -> None:
    """Apply these coupons to the order, and no others, and compute its totals."""
    settings = site.settings
    unit = Decimal(10) ** settings.decimals
    items = []
    for line in order["line_items"]:
        line["total"] = line["subtotal"]
        gross = number(line["subtotal"]) + (number(line["subtotal_tax"]) if settings.prices_include_tax else 0)
        items.append(_Item(line, gross * unit, number(str(line["quantity"]))))
    items.sort(key=lambda item: item.price / item.quantity if item.quantity > 1 else item.price, reverse=True)
    for coupon in coupons:
        applicable = [item for item in items if item.rest() and item.quantity > 0]
        if coupon["discount_type"] == "percent":
            _percent(coupon, applicable)
        else:
            _fixed(coupon, applicable, number(coupon["amount"]) * unit)
    known = {line["code"]: line for line in order["coupon_lines"]}
    order["coupon_lines"] = [_coupon_line(site, coupon, items, unit, known.get(coupon["code"])) for coupon in coupons]
    for item in items:
        off = sum(item.off.values(), Decimal(0)) / unit
        if settings.prices_include_tax and item.line["taxable"]:
            off -= sum(taxes.inclusive(off, settings.rates).values())
        item.line["total"] = plain(max(Decimal(0), number(item.line["total"]) - off))
    calculate(site, order)


def _percent(coupon: Thing, items: Sequence[_Item]) -> None:
    share = number(coupon["amount"]) / 100
    given, whole = Decimal(0), Decimal(0)
    for item in items:
        price = half_up(item.price, 0)
        given += item.take(coupon["code"], min(item.rest(), (price * share).to_integral_value(ROUND_FLOOR)))
        whole += price
    owed = half_down(whole * share, 0)
    if given < owed:
        _remainder(coupon, items, owed - given)


def _fixed(coupon: Thing, items: Sequence[_Item], amount: Decimal) -> None:
    items = [item for item in items if item.rest()]
    count = sum((item.quantity for item in items), Decimal(0))
    if not count or amount <= 0:
        return
    each = (amount / count).to_integral_value(ROUND_FLOOR)
    if not each:
        _remainder(coupon, items, amount)
        return
    given = sum((item.take(coupon["code"], min(item.rest(), each * item.quantity)) for item in items), Decimal(0))
    if 0 < given < amount:
        _fixed(coupon, items, amount - given)


def _remainder(coupon: Thing, items: Sequence[_Item], amount: Decimal) -> None:
    given = Decimal(0)
    for item in items:
        for _ in range(int(item.quantity.to_integral_value(ROUND_CEILING))):
            given += item.take(coupon["code"], min(item.rest(), Decimal(1)))
            if given >= amount:
                return


def _coupon_line(site: Site, coupon: Thing, items: Sequence[_Item], unit: Decimal, known: Thing | None) -> Thing:
    """What the coupon took off: net, and the tax on it. Written unrounded, and shown so (3.458334)."""
    settings, code = site.settings, coupon["code"]
    amount, tax = Decimal(0), Decimal(0)
    for item in items:
        off = item.off.get(code, Decimal(0)) / unit
        amount += off
        if item.line["taxable"]:
            per_rate = (taxes.inclusive if settings.prices_include_tax else taxes.exclusive)(off, settings.rates)
            found = sum(per_rate.values(), Decimal(0))
            found = found if settings.round_at_subtotal else taxes.rounded(settings, found)
            tax += found
            amount -= found if settings.prices_include_tax else 0
    if known is None:
        known = {"id": site.shelves.next("item"), "code": code, "meta_id": site.shelves.next("item_meta")}
        known |= {"coupon": coupon["id"], "discount_type": coupon["discount_type"], "nominal": coupon["amount"]}
    return known | {"discount": plain(amount), "discount_tax": plain(tax), "free_shipping": coupon["free_shipping"]}
