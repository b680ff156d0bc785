"""What shoppers do: they buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from adapters.simulators.woocommerce import coupons, lines, orders, products
from adapters.simulators.woocommerce.amounts import number, plain
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site, written


@dataclass(frozen=True, slots=True)
class Bought:
    """What stands on a line of an order. `net` or `gross` is for all its units, before coupons.

    `product` None finds or makes an article by the title (100 in stock), 0 is an article that is no longer there.
    """

    title: str
    quantity: int = 1
    net: str = "10.00"
    gross: str = ""
    product: int | None = None
    variation: int = 0
    sku: str = ""
    tax: bool = True


class Checkout(TypedDict, total=False):
    """How something is bought. What is left out is an ordinary paid order of a guest in the Netherlands.

    `paid` puts the money down even where the status would not. `number` is what a numbering plugin would give.
    """

    shipping: str  # net
    fees: Sequence[tuple[str, str]]  # name, and net amount, which may be negative
    email: str
    name: str
    postcode: str
    country: str
    customer: int  # 0 is a guest
    number: str | None
    coupons: Sequence[str]
    gateway: str
    status: str
    paid: bool
    transaction: str
    at: datetime | None  # UTC; now


def place(site: Site, bought: Sequence[Bought], how: Checkout) -> Thing:
    """Put an order through the checkout. Raises `ValueError` where a coupon does not apply."""
    at, codes = how.get("at"), how.get("coupons", ())
    order = orders.blank(site, created=written(at) if at else None)
    _address(site, order, how)
    order["line_items"] = [_line(site, one) for one in bought]
    if how.get("shipping"):
        order["shipping_lines"] = [lines.shipping(site, how["shipping"])]
    order["fee_lines"] = [lines.fee(site, name, amount) for name, amount in how.get("fees", ())]
    orders.total_up(site, order)
    if codes:
        _apply(site, order, codes)
    with site.shelves.change():
        if how.get("paid", True):
            order |= {"paid": order["created"], "transaction_id": how.get("transaction") or f"txn_{order['id']}"}
        orders.set_status(site, order, how.get("status", "processing"), order["created"])
        if not how.get("paid", True):
            order["paid"] = None
        orders.created(site, order)
    return order


def _address(site: Site, order: Thing, how: Checkout) -> None:
    first, _, last = how.get("name", "Kim Example").partition(" ")
    there = {"first_name": first, "last_name": last, "address_1": "1 Test St", "city": "Utrecht"}
    there |= {"postcode": how.get("postcode", "3511 AB"), "country": how.get("country", "NL")}
    order["billing"] |= {**there, "email": how.get("email", "kim@example.com"), "phone": "555-0100"}
    order["shipping"] |= there
    gateway = how.get("gateway", "test_card")
    known = site.settings.gateway(gateway)
    order |= {"customer_id": how.get("customer", 0), "payment_method": gateway}
    order["payment_method_title"] = known.title if known else gateway
    order["number"] = how.get("number") or order["number"]


def _line(site: Site, one: Bought) -> Thing:
    net = lines.without_tax(site, number(one.gross)) if one.gross else number(one.net)
    product = one.product
    if product is None:
        found = products.by_name(site, one.title)
        found = found or products.make(site, one.title, plain(net / max(1, one.quantity)), {"sku": one.sku})
        product = int(found["id"])
    line = lines.article(site, one.title, one.quantity, net, product=product, variation=one.variation, taxed=one.tax)
    return line | {"sku": one.sku or line["sku"]}


def _apply(site: Site, order: Thing, codes: Sequence[str]) -> None:
    for code in codes:
        why = coupons.refusal(site, coupons.by_code(site, code), code, order["billing"]["email"], at_checkout=True)
        if why:
            raise ValueError(why)
    orders.total_up(site, order, [code.lower() for code in codes])
