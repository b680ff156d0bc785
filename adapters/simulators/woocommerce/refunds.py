"""Refunds, as loose as they are and in the order of their effects.

The record is saved first, then the gateway is called, then the record is marked paid, goods are put back into stock, the
order is closed or touched, webhooks are queued, and the client's meta is saved last. A process that dies leaves what it had
done so far. There is no lock and no key: two requests are two refunds (10.5, verified).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from adapters.simulators.woocommerce import lines, orders, products
from adapters.simulators.woocommerce.amounts import Loose, fixed, greater, is_numeric, number, plain, stored
from adapters.simulators.woocommerce.gateway import Declined, Till
from adapters.simulators.woocommerce.problems import Problem
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site
from adapters.simulators.woocommerce.taxes import summed
from adapters.simulators.woocommerce.totals import update_taxes

Wanted: TypeAlias = dict[int, Thing]  # by the order's item: qty, refund_total, refund_tax by rate


def remaining(site: Site, order: Thing) -> str:
    """get_remaining_refund_amount. HPOS sums the refunds' totals, the older storage their amounts."""
    key = "total" if site.settings.hpos else "amount"
    back = sum((abs(number(refund[key])) for refund in site.shelves.of("refund", order["id"])), Decimal(0))
    return plain(number(order["total"]) - back)


def post(site: Site, till: Till, order_ref: int, body: Mapping[str, Any], by: int) -> Thing:
    """`POST /orders/{id}/refunds`, whose parameters were checked for type only. Returns the record."""
    order = site.shelves.get("order", order_ref)
    if order is None:
        raise Problem(500, "woocommerce_rest_invalid_order_id", "Invalid order ID.", 404)
    wanted = _wanted(body.get("line_items"))
    amount = body.get("amount")
    amount = _from_lines(wanted) if amount is None else str(amount)
    if amount is not None and greater("0", amount):  # by letters also "" and "-1,50"
        raise Problem(500, "woocommerce_rest_invalid_order_refund", "Refund amount must be greater than zero.", 400)
    pays, restocks = body.get("api_refund", True) is not False, body.get("api_restock", True) is not False
    entries = [entry for entry in body.get("meta_data") or () if isinstance(entry, Mapping) and "key" in entry]

    try:
        refund = record(site, order, amount, reason=str(body.get("reason") or ""), wanted=wanted, by=by)
    except Declined as said:
        raise _not_created(said) from said

    def end(*, paid: bool) -> None:
        finish(site, refund, wanted, paid=paid, restocks=restocks)
        site.step("before meta")
        orders.set_meta(site, refund, entries)
        site.shelves.put("refund", refund, parent=order_ref)
        site.step("after meta")

    if pays:
        site.step("before gateway")
        try:
            till.refund(order, refund, lambda: end(paid=True))
        except Declined as said:
            site.shelves.drop("refund", refund["id"])
            raise _not_created(said) from said
        site.step("after gateway")
    end(paid=pays)
    return refund


def _not_created(said: Declined) -> Problem:
    return Problem(500, "woocommerce_rest_cannot_create_order_refund", str(said), 500)


def record(site: Site, order: Thing, amount: str | None, *, reason: str, wanted: Wanted, by: int) -> Thing:
    """Save the record. Only that the amount is not above the rest is looked at, and loosely. Raises `Declined`."""
    left = remaining(site, order)
    if amount is not None and ((is_numeric(amount) and number(amount) < 0) or greater(amount, left)):
        raise Declined("Invalid refund amount.")
    site.step("before record")
    refund: Thing = {
        "id": site.shelves.next("post"),
        "order": order["id"],
        "created": site.now(),
        "amount": stored(amount),
        "total": plain(-number(amount)),
        "reason": reason,
        "refunded_by": by,
        "refunded_payment": False,
        "meta_data": [],
        "left_before": left,
        "tax_lines": [],
    }
    for kind in ("line_items", "shipping_lines", "fee_lines"):
        refund[kind] = [taken for line in order[kind] if (taken := _taken(site, line, wanted.get(line["id"])))]
    update_taxes(site, refund)
    site.shelves.put("refund", refund, parent=order["id"])
    return refund


def finish(site: Site, refund: Thing, wanted: Wanted, *, paid: bool, restocks: bool) -> None:
    """Everything between the gateway and the client's own meta."""
    ref = refund["order"]
    if paid:
        refund["refunded_payment"] = True
        site.shelves.put("refund", refund, parent=ref)
    site.step("before restock")
    with site.shelves.change():
        order = orders.get(site, ref)
        if restocks:
            _restock(site, order, wanted)
        full = _is_full(site, order, refund, wanted)
        refund["meta_data"].append(site.meta("_refund_type", "full" if full else "partial"))
        site.shelves.put("refund", refund, parent=ref)
        orders.save(site, order)
    site.step("before touch")

    with site.shelves.change():
        order = orders.get(site, ref)
        if full:
            orders.set_status(site, order, "refunded")
        order["modified"] = site.now()
        orders.save(site, order)
    site.step("before hooks")
    site.emit("order.updated", ref)
    site.emit("action.woocommerce_refund_created", refund["id"])


def close(site: Site, order: Thing) -> None:
    """wc_order_fully_refunded: who sets the status by hand books the rest as refunded, and nobody is paid (10.5, verified)."""
    left = remaining(site, order)
    if number(left) > 0:
        refund = record(site, order, left, reason="Order fully refunded.", wanted={}, by=1)
        refund["meta_data"].append(site.meta("_refund_type", "full"))
        site.shelves.put("refund", refund, parent=order["id"])
        site.emit("action.woocommerce_refund_created", refund["id"])


def delete(site: Site, ref: int) -> None:
    """The record only: money, stock, the order's status and date stay, and no webhook is sent (10.5, verified)."""
    site.shelves.drop("refund", ref)


def _wanted(given: Any) -> Wanted:  # noqa: ANN401 - whatever was posted
    """adjust_line_items_for_create_refund_request: by item id; anything without an id makes PHP take nothing of it."""
    if not isinstance(given, list) or not all(isinstance(line, Mapping) and "id" in line for line in given):
        return {}
    found: Wanted = {}
    for line in given:
        taxes = line.get("refund_tax") or []
        per_rate = {str(tax["id"]): tax.get("refund_total", 0) for tax in taxes if isinstance(tax, Mapping) and "id" in tax}
        one: Thing = {"qty": line.get("quantity", 0), "refund_tax": per_rate}
        if "refund_total" in line:
            one["refund_total"] = line["refund_total"]
        found[int(number(str(line["id"])))] = one
    return found


def _from_lines(wanted: Wanted) -> str | None:
    """The amount, where every line is priced; else none, and the gateway is called with an empty one."""
    if not wanted:
        return None
    values = [line.get("refund_total") for line in wanted.values()]
    values += [tax for line in wanted.values() for tax in line["refund_tax"].values()]
    if not all(value is not None and is_numeric(str(value)) for value in values):
        return None
    return plain(sum((number(str(value)) for value in values), Decimal(0)))


def _taken(site: Site, line: Thing, wanted: Thing | None) -> Thing | None:
    """A line of the record: the order's own, negative. Quantity and amounts are believed."""
    if wanted is None:
        return None
    quantity, total = int(number(str(wanted["qty"]))), number(_text(wanted.get("refund_total")))
    taxes = {ref: number(str(tax)) for ref, tax in wanted["refund_tax"].items() if number(str(tax))}
    if not (quantity or total or taxes):
        return None
    meta = {"id": site.shelves.next("item_meta"), "key": "_refunded_item_id", "value": str(line["id"])}
    taken = {**line, "id": site.shelves.next("item"), "total": plain(-total), "meta": [meta | _displayed(meta)]}
    taken["taxes"] = {ref: {"total": plain(-tax)} for ref, tax in taxes.items()}
    taken["total_tax"] = plain(summed(site.settings, {ref: -tax for ref, tax in taxes.items()}))
    if "quantity" in line:
        taken |= {"quantity": -quantity, "subtotal": taken["total"], "subtotal_tax": taken["total_tax"]}
        taken["taxes"] = {ref: {"total": plain(-tax), "subtotal": plain(-tax)} for ref, tax in taxes.items()}
    return taken


def _displayed(meta: Thing) -> Thing:
    return {"display_key": meta["key"], "display_value": meta["value"]}


def _text(value: object) -> Loose:
    return None if value is None else str(value)


def _restock(site: Site, order: Thing, wanted: Wanted) -> None:
    """Back into stock: per line with a quantity, if stock was reduced for it and the article is counted."""
    for line in order["line_items"]:
        quantity = int(number(str(wanted.get(line["id"], {}).get("qty", 0))))
        reduced = lines.meta_of(line, "_reduced_stock")
        product = line["variation_id"] or line["product_id"]
        if not reduced or reduced == "0" or not quantity or (moved := products.move_stock(site, product, quantity)) is None:
            continue
        lines.add_meta(site, line, "_reduced_stock", str(int(reduced) - quantity))
        before = int(lines.meta_of(line, "_restock_refunded_items") or 0)
        lines.add_meta(site, line, "_restock_refunded_items", str(before + quantity))
        orders.note(site, order["id"], f"Item #{product} stock increased from {moved[0]} to {moved[1]}.")


def _is_full(site: Site, order: Thing, refund: Thing, wanted: Wanted) -> bool:
    """Whether nothing is left: of the money, and of the articles where one of them was free."""
    if number(refund["left_before"]) + number(refund["total"]) > 0:
        return False
    free = any(not number(line["total"]) for line in order["line_items"])
    back = [line for one in site.shelves.of("refund", order["id"]) for line in one["line_items"]]
    units = sum(line["quantity"] for line in order["line_items"]) + sum(line["quantity"] for line in back)
    return not (wanted and free and units > 0)


def shown_total(refund: Thing, places: int) -> str:
    """How the order's own list shows it: "-24.82", or "-" where there was no amount."""
    return f"-{fixed(refund['amount'], places) if refund['amount'] else ''}"
