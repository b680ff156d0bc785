"""An order's totals as WC_Abstract_Order::calculate_totals and update_taxes compute them."""

from __future__ import annotations

from decimal import Decimal

from adapters.simulators.woocommerce import taxes
from adapters.simulators.woocommerce.amounts import half_up, number, plain
from adapters.simulators.woocommerce.settings import Rate
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site


def calculate(site: Site, order: Thing) -> None:
    """Compute every tax and total of the order anew from its lines."""
    settings, places = site.settings, site.settings.decimals
    cart_subtotal, cart_total = _of_lines(site, order, "subtotal"), _of_lines(site, order, "total")
    shipping = sum((half_up(number(line["total"]), places) for line in order["shipping_lines"]), Decimal(0))
    fees = Decimal(0)
    for fee in order["fee_lines"]:
        most = -half_up(cart_total + fees + shipping, places)
        if number(fee["total"]) < most < 0:
            fee["total"] = plain(most)
        fees += number(fee["total"])
    for line in order["line_items"]:
        taxes.put_on_line(settings, line)
    for line in order["shipping_lines"]:
        taxes.put_on_charge(settings, line, taxes.exclusive(number(line["total"]), settings.rates))
    for fee in order["fee_lines"]:
        taxes.put_on_charge(settings, fee, _of_fee(site, order, fee))
    update_taxes(site, order)
    was, now = (
        sum((number(tax[which]) for line in order["line_items"] for tax in line["taxes"].values()), Decimal(0))
        for which in ("subtotal", "total")
    )
    order["shipping_total"] = plain(shipping)
    order["discount_total"] = plain(half_up(cart_subtotal - cart_total, places))
    order["discount_tax"] = plain(taxes.rounded(settings, was - now))
    order["total"] = plain(half_up(cart_total + fees + shipping + number(order["cart_tax"]) + number(order["shipping_tax"]), places))


def update_taxes(site: Site, order: Thing) -> None:
    """The order's tax lines and tax totals, from the taxes of its lines. Also for a refund, which is an order of its own kind."""
    settings = site.settings
    cart: taxes.Taxes = {}
    shipping: taxes.Taxes = {}
    for lines, found in ((order["line_items"] + order["fee_lines"], cart), (order["shipping_lines"], shipping)):
        for line in lines:
            for ref, tax in line["taxes"].items():
                amount = number(tax["total"])
                amount = amount if settings.round_at_subtotal else taxes.rounded(settings, amount)
                found[ref] = found.get(ref, Decimal(0)) + amount
    known = {str(line["rate_id"]): line for line in order["tax_lines"]}
    order["tax_lines"] = [
        {
            "id": known[ref]["id"] if ref in known else site.shelves.next("item"),
            "rate_id": int(ref),
            "rate": list(_rate(site, int(ref))),
            "tax_total": plain(cart.get(ref, Decimal(0))),
            "shipping_tax_total": plain(shipping.get(ref, Decimal(0))),
            "meta": [],
        }
        for ref in dict.fromkeys([*known, *cart, *shipping])
        if ref in cart or ref in shipping
    ]
    order["cart_tax"], order["shipping_tax"] = plain(sum(cart.values(), Decimal(0))), plain(sum(shipping.values(), Decimal(0)))
    order["total_tax"] = plain(half_up(number(order["cart_tax"]) + number(order["shipping_tax"]), settings.decimals))


def _rate(site: Site, ref: int) -> Rate:
    rates = site.settings.rates
    return rates[ref - 1] if 0 < ref <= len(rates) else Rate("Tax", "0")


def _of_lines(site: Site, order: Thing, which: str) -> Decimal:
    values = [number(line[which]) for line in order["line_items"]]
    return sum(values if site.settings.round_at_subtotal else [half_up(value, site.settings.decimals) for value in values], Decimal(0))


def _of_fee(site: Site, order: Thing, fee: Thing) -> taxes.Taxes:
    """A negative fee takes tax off in the proportion of what is taxed, whatever its own tax status says (10.5, verified)."""
    total = number(fee["total"])
    if total >= 0:
        return taxes.exclusive(total, site.settings.rates if fee["tax_status"] == "taxable" else ())
    positive = [one for one in order["fee_lines"] if number(one["total"]) > 0]
    costs = [(number(line["total"]), bool(line["taxable"])) for line in order["line_items"]]
    costs += [(number(line["total"]), line["tax_status"] == "taxable") for line in (*positive, *order["shipping_lines"])]
    whole = sum((cost for cost, _ in costs), Decimal(0))
    if not whole:
        return {}
    return taxes.exclusive(total * sum((cost for cost, taxed in costs if taxed), Decimal(0)) / whole, site.settings.rates)
