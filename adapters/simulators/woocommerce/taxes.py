"""Taxes as WC_Tax and the order items compute them: each rate to six places, a line's total tax from rounded rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

from adapters.simulators.woocommerce.amounts import PRECISION, half_down, half_up, number, plain
from adapters.simulators.woocommerce.settings import Rate, ShopSettings
from adapters.simulators.woocommerce.shelves import Thing

Taxes: TypeAlias = dict[str, Decimal]
_HUNDRED: Final = Decimal(100)


def exclusive(price: Decimal, rates: Sequence[Rate]) -> Taxes:
    """What comes on top of a net price. A compound rate is taken from the price with the taxes before it."""
    taxes = {str(ref): price * Decimal(rate.percent) / _HUNDRED for ref, rate in enumerate(rates, 1) if not rate.compound}
    for ref, rate in enumerate(rates, 1):
        if rate.compound:
            taxes[str(ref)] = (price + sum(taxes.values())) * Decimal(rate.percent) / _HUNDRED
    return {ref: half_up(tax, PRECISION) for ref, tax in taxes.items()}


def inclusive(price: Decimal, rates: Sequence[Rate]) -> Taxes:
    """What of a gross price is tax."""
    taxes: Taxes = {str(ref): Decimal(0) for ref in range(1, len(rates) + 1)}
    rest = price
    for ref, rate in reversed(list(enumerate(rates, 1))):
        if rate.compound:
            taxes[str(ref)] = rest - rest / (1 + Decimal(rate.percent) / _HUNDRED)
            rest -= taxes[str(ref)]
    whole = 1 + sum(Decimal(rate.percent) for rate in rates if not rate.compound) / _HUNDRED
    for ref, rate in enumerate(rates, 1):
        if not rate.compound:
            taxes[str(ref)] = rest * (Decimal(rate.percent) / _HUNDRED) / whole
    return {ref: half_up(tax, PRECISION) for ref, tax in taxes.items()}


def rounded(settings: ShopSettings, tax: Decimal) -> Decimal:
    """wc_round_tax_total: half down where prices include tax."""
    return (half_down if settings.prices_include_tax else half_up)(tax, settings.decimals)


def summed(settings: ShopSettings, taxes: Mapping[str, object]) -> Decimal:
    """A line's total tax: each rate rounded first, unless the shop rounds at subtotal."""
    values = [number(str(tax)) for tax in taxes.values()]
    return sum(values if settings.round_at_subtotal else [rounded(settings, tax) for tax in values], Decimal(0))


def put_on_line(settings: ShopSettings, line: Thing) -> None:
    """Compute a product line's taxes anew from its total and subtotal."""
    rates = settings.rates if line["taxable"] else ()
    total, subtotal = exclusive(number(line["total"]), rates), exclusive(number(line["subtotal"]), rates)
    line["taxes"] = {ref: {"total": plain(total[ref]), "subtotal": plain(subtotal[ref])} for ref in total}
    line["total_tax"] = plain(summed(settings, total))
    line["subtotal_tax"] = plain(summed(settings, subtotal))


def put_on_charge(settings: ShopSettings, charge: Thing, taxes: Taxes) -> None:
    """Write the taxes of shipping or of a fee, which have no subtotal."""
    charge["taxes"] = {ref: {"total": plain(tax)} for ref, tax in taxes.items()}
    charge["total_tax"] = plain(summed(settings, taxes))


def code(label: str, region: str, place: int) -> str:
    """CA-QC-GST-1."""
    return "-".join(part for part in (region, label or "TAX", str(place)) if part).upper()
