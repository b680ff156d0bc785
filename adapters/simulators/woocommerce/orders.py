"""Orders: how they come about and change, with what WooCommerce does on each change of status."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from adapters.simulators.woocommerce import coupons, lines, products
from adapters.simulators.woocommerce.discounts import recalculate
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site
from adapters.simulators.woocommerce.totals import calculate

STATUSES: Final = ("pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "checkout-draft")
NOWHERE: Final = dict.fromkeys(("first_name", "last_name", "company", "address_1", "address_2", "city", "state", "postcode", "country"), "")
_REDUCES: Final = frozenset({"processing", "completed", "on-hold"})
_RAISES: Final = frozenset({"cancelled", "pending"})


def blank(site: Site, *, created: str | None = None, via: str = "checkout") -> Thing:
    """A new order with nothing in it, not saved yet."""
    ref, now = site.shelves.next("post"), created or site.now()
    nothing = dict.fromkeys(("discount_total", "discount_tax", "shipping_total", "shipping_tax", "cart_tax", "total", "total_tax"), "0")
    texts = ("payment_method", "payment_method_title", "transaction_id", "customer_ip_address", "customer_user_agent", "customer_note")
    return {
        "id": ref,
        "number": f"{site.settings.prefix}{ref}",
        "status": "pending",
        "currency": site.settings.currency,
        "version": site.settings.version,
        "prices_include_tax": site.settings.prices_include_tax,
        "created": now,
        "modified": now,
        "completed": None,
        "paid": None,
        "customer_id": 0,
        "order_key": f"wc_order_{secrets.token_hex(7)[:13]}",
        "billing": {**NOWHERE, "email": "", "phone": ""},
        "shipping": {**NOWHERE, "phone": ""},
        "created_via": via,
        "cart_hash": "",
        "meta_data": [],
        "line_items": [],
        "tax_lines": [],
        "shipping_lines": [],
        "fee_lines": [],
        "coupon_lines": [],
        "coupons_counted": False,
        "stock_reduced": False,
        **nothing,
        **dict.fromkeys(texts, ""),
    }


def save(site: Site, order: Thing) -> None:
    site.shelves.put("order", order, name=order["number"])


def get(site: Site, ref: int) -> Thing:
    """Raises `KeyError` where there is no such order."""
    order = site.shelves.get("order", ref)
    if order is None:
        raise KeyError(ref)
    return order


def change(site: Site, ref: int, how: Callable[[Thing], None]) -> Thing:
    """Change an order as one save of it does: its date moves and webhooks hear of it, unless it comes out of the bin by this (10.9)."""
    with site.shelves.change():
        order = get(site, ref)
        binned = order["status"] == "trash"
        how(order)
        if binned and order["status"] != "trash":
            order["modified"] = site.now()
            save(site, order)
        else:
            touch(site, order)
    return order


def touch(site: Site, order: Thing) -> None:
    """Save, with today's date."""
    order["modified"] = site.now()
    save(site, order)
    site.emit("order.updated", order["id"])


def created(site: Site, order: Thing) -> None:
    """Save for the first time: both webhooks fire, one after the other."""
    save(site, order)
    site.emit("order.created", order["id"])
    site.emit("order.updated", order["id"])


def set_status(site: Site, order: Thing, status: str, at: str | None = None) -> None:
    """Move an order on: dates, coupons and stock follow. The caller saves it; see `refunds.close` for what `refunded` books."""
    order["status"] = status
    now = at or site.now()
    paid_at = "completed" if order["payment_method"] == "cod" else "processing"
    if order["paid"] is None and status in {paid_at, "completed"}:
        order["paid"] = now
    if status == "completed":
        order["completed"] = now
    coupons.count(site, order)
    move_stock(site, order)


def pay(site: Site, order: Thing, transaction: str = "") -> None:
    """payment_complete."""
    order["transaction_id"] = transaction or order["transaction_id"]
    order["paid"] = order["paid"] or site.now()
    set_status(site, order, "processing")


def move_stock(site: Site, order: Thing) -> None:
    """Take the articles out of stock, or put what was taken back, once."""
    status = order["status"]
    if status in _REDUCES and not order["stock_reduced"]:
        for line in order["line_items"]:
            if line["quantity"] and products.move_stock(site, line["variation_id"] or line["product_id"], -line["quantity"]):
                lines.add_meta(site, line, "_reduced_stock", str(line["quantity"]))
        order["stock_reduced"] = True
    elif status in _RAISES and order["stock_reduced"]:
        for line in order["line_items"]:
            taken = lines.meta_of(line, "_reduced_stock")
            if taken:
                products.move_stock(site, line["variation_id"] or line["product_id"], int(taken))
                line["meta"] = [entry for entry in line["meta"] if entry["key"] != "_reduced_stock"]
        order["stock_reduced"] = False


def trash(site: Site, ref: int) -> None:
    """Into the bin: order.deleted, with the id as its whole body."""
    with site.shelves.change():
        order = get(site, ref)
        order["before_trash"] = order["status"]
        order["meta_data"] += [
            site.meta("_wp_trash_meta_status", f"wc-{order['status']}"),
            site.meta("_wp_trash_meta_time", str(int(site.clock().timestamp()))),
        ]
        order["status"] = "trash"
        order["modified"] = site.now()
        coupons.count(site, order)
        save(site, order)
        site.emit("order.deleted", ref)


def untrash(site: Site, ref: int) -> None:
    """Out of the bin again: order.restored."""
    with site.shelves.change():
        order = get(site, ref)
        order["status"] = order.pop("before_trash", "pending")
        order["meta_data"] = [entry for entry in order["meta_data"] if not entry["key"].startswith("_wp_trash_")]
        order["modified"] = site.now()
        coupons.count(site, order)
        save(site, order)
        site.emit("order.restored", ref)


def delete(site: Site, ref: int) -> None:
    """For good, with its refunds. No webhook says so (10.5, verified)."""
    with site.shelves.change():
        for kind in ("refund", "note"):
            for thing in site.shelves.of(kind, ref):
                site.shelves.drop(kind, thing["id"])
        site.shelves.drop("order", ref)


def note(site: Site, ref: int, text: str, *, customer: bool = False, author: str = "WooCommerce") -> Thing:
    """Add a note. The order's date does not move."""
    entry = {"id": site.shelves.next("comment"), "created": site.now(), "author": author, "note": text, "customer_note": customer}
    site.shelves.put("note", entry, parent=ref)
    return entry


def edit(site: Site, order: Thing, kind: str, bodies: Sequence[Mapping[str, Any]]) -> None:
    """Lines of a PUT: by id they are changed, or removed with quantity 0; without they are new."""
    for body in bodies:
        known = next((line for line in order[kind] if line["id"] == body.get("id")), None)
        if known is None:
            order[kind].append(lines.posted(site, kind, body))
        elif body.get("quantity") == 0:
            order[kind].remove(known)
        else:
            lines.change(known, body)


def set_meta(site: Site, thing: Thing, entries: Sequence[Mapping[str, Any]]) -> None:
    """update_meta_data: by id, else by key; the first of a key is kept, null removes."""
    for entry in entries:
        known = [one for one in thing["meta_data"] if one["id"] == entry.get("id") or one["key"] == entry.get("key")]
        if not known:
            thing["meta_data"].append(site.meta(str(entry["key"]), entry.get("value")))
            continue
        thing["meta_data"] = [one for one in thing["meta_data"] if one not in known[1:]]
        known[0]["value"] = entry.get("value")
    thing["meta_data"] = [one for one in thing["meta_data"] if one["value"] is not None]


def total_up(site: Site, order: Thing, codes: Sequence[str] | None = None) -> None:
    """Compute totals, with these coupons or those it has."""
    calculate(site, order)
    wanted = [line["code"] for line in order["coupon_lines"]] if codes is None else codes
    found = [coupon for code in wanted if (coupon := coupons.by_code(site, code))]
    if found or order["coupon_lines"]:
        recalculate(site, order, found)
