"""Genuine JSON of REST v3 back into what a shop stores, so that samples can be served again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.simulators.woocommerce import products
from adapters.simulators.woocommerce.amounts import half_up, number, plain
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site

_AMOUNTS = ("discount_total", "discount_tax", "shipping_total", "shipping_tax", "cart_tax", "total", "total_tax")
_AS_IT_IS = (
    *("id", "number", "status", "currency", "version", "prices_include_tax", "customer_id", "order_key", "billing", "shipping"),
    *("payment_method", "payment_method_title", "transaction_id", "customer_ip_address", "customer_user_agent", "created_via"),
    *("customer_note", "cart_hash", "meta_data"),
)
_LINES = ("line_items", "shipping_lines", "fee_lines", "tax_lines", "coupon_lines")


def keep(site: Site, body: Mapping[str, Any], refunds: Sequence[Mapping[str, Any]]) -> int:
    """Keep an order under its own id, with its refunds; articles that it names are made."""
    order: Thing = {key: body[key] for key in _AS_IT_IS}
    order |= {key: plain(number(body[key])) for key in _AMOUNTS}
    order |= {name: body[f"date_{name}_gmt"] for name in ("created", "modified", "completed", "paid")}
    order |= {"coupons_counted": True, "stock_reduced": True}
    order |= _lines(body)
    with site.shelves.change():
        site.shelves.put("order", order, name=order["number"])
        for one in refunds:
            _keep_refund(site, order["id"], one)
        for line in order["line_items"]:
            _keep_product(site, line)
        site.shelves.at_least("post", max([order["id"], *(one["id"] for one in refunds)]))
        items = [line["id"] for thing in (body, *refunds) for kind in _LINES for line in thing.get(kind, ())]
        metas = [meta["id"] for thing in (body, *refunds) for kind in _LINES for line in thing.get(kind, ()) for meta in line["meta_data"]]
        site.shelves.at_least("item", max(items, default=0))
        site.shelves.at_least("item_meta", max(metas, default=0))
    return int(order["id"])


def _keep_refund(site: Site, ref: int, body: Mapping[str, Any]) -> None:
    refund: Thing = {key: body[key] for key in ("id", "reason", "refunded_by", "refunded_payment", "meta_data")}
    refund |= {"order": ref, "created": body["date_created_gmt"], "amount": body["amount"], "left_before": "0"}
    refund |= {"total": plain(-number(body["amount"])), **_lines(body)}
    site.shelves.put("refund", refund, parent=ref)


def _keep_product(site: Site, line: Thing) -> None:
    for ref, parent in ((line["product_id"], 0), (line["variation_id"], line["product_id"])):
        if ref and products.known(site, ref) is None:
            products.make(site, line["name"], "0", {"sku": line["sku"] or "", "parent": parent}, ref=ref)
            site.shelves.at_least("post", ref)


def _lines(body: Mapping[str, Any]) -> Thing:
    found: Thing = {kind: [_line(line) for line in body.get(kind, ())] for kind in ("line_items", "shipping_lines", "fee_lines")}
    found["tax_lines"] = [_tax_line(line) for line in body.get("tax_lines", ())]
    found["coupon_lines"] = [_coupon_line(line) for line in body.get("coupon_lines", ())]
    return found


def _line(body: Mapping[str, Any]) -> Thing:
    line: Thing = {key: value for key, value in body.items() if key not in {"meta_data", "taxes", "price", "amount", "tax_class"}}
    amounts = [key for key in ("subtotal", "subtotal_tax", "total", "total_tax") if key in body]
    line |= {key: plain(number(body[key])) for key in amounts}
    if body.get("price"):
        line["total"] = _exact(body)
    line |= {"meta": body["meta_data"], "taxable": bool(body["taxes"])}
    line["taxes"] = {
        str(tax["id"]): {key: plain(number(tax[key])) for key in ("total", "subtotal") if tax.get(key)} for tax in body["taxes"]
    }
    return line


def _exact(body: Mapping[str, Any]) -> str:
    """A line's total to six places: `price` is an unrounded share of it."""
    total = number(str(body["price"])) * body["quantity"]
    return plain(total if half_up(total, 2) == number(body["total"]) else number(body["total"]))


def _tax_line(body: Mapping[str, Any]) -> Thing:
    line: Thing = {key: body[key] for key in ("id", "rate_id", "rate_code")}
    line |= {key: plain(number(body[key])) for key in ("tax_total", "shipping_tax_total")}
    return line | {"rate": [body["label"], str(body["rate_percent"]), body["compound"], ""], "meta": body["meta_data"]}


def _coupon_line(body: Mapping[str, Any]) -> Thing:
    meta = body["meta_data"][0]
    line: Thing = {key: body[key] for key in ("id", "code", "discount", "discount_tax", "discount_type", "free_shipping")}
    coupon = int(str(meta["value"]).lstrip("[").partition(",")[0])
    return line | {"meta_id": meta["id"], "coupon": coupon, "nominal": str(body["nominal_amount"])}
