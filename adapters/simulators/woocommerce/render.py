"""The shop's things as REST v3 shows them, key by key as genuine answers have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from adapters.simulators.woocommerce.amounts import fixed, number, raw
from adapters.simulators.woocommerce.refunds import shown_total
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site
from adapters.simulators.woocommerce.taxes import code

Body: TypeAlias = dict[str, Any]

_ALL: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_AMOUNTS: Final = ("discount_total", "discount_tax", "shipping_total", "shipping_tax", "cart_tax", "total", "total_tax")
_SYMBOLS: Final = {"EUR": "€", "GBP": "£", "USD": "$", "CAD": "$", "JPY": "¥", "KWD": "د.ك"}


def to_json(body: object) -> bytes:
    """As PHP writes it: slashes and everything beyond ASCII escaped."""
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def links(site: Site, path: str, ref: int | str, allow: Sequence[str] = _ALL, **more: object) -> Body:
    """`_links` of a thing: itself and its list."""
    base = f"{site.url}/wp-json/wc/v3/{path}"
    return {"self": [{"href": f"{base}/{ref}", "targetHints": {"allow": list(allow)}}], "collection": [{"href": base}], **more}


def order(site: Site, thing: Thing, refunds: Sequence[Thing], dp: int) -> Body:
    """`GET /orders/{id}`. The refunds come in no order (10.5, verified)."""
    api, ref = f"{site.url}/wp-json/wc/v3", thing["id"]
    more: Body = {"email_templates": [{"embeddable": True, "href": f"{api}/orders/{ref}/actions/email_templates"}]}
    if thing["customer_id"]:
        more["customer"] = [{"href": f"{api}/customers/{thing['customer_id']}"}]
    texts = ("payment_method", "payment_method_title", "transaction_id", "customer_ip_address", "customer_user_agent", "created_via")
    return {
        "id": ref,
        "parent_id": 0,
        **{key: thing[key] for key in ("status", "currency", "version", "prices_include_tax")},
        "date_created": site.local(thing["created"]),
        "date_modified": site.local(thing["modified"]),
        **{key: fixed(thing[key], dp) for key in _AMOUNTS},
        **{key: thing[key] for key in ("customer_id", "order_key", "billing", "shipping")},
        **{key: thing[key] for key in texts},
        "customer_note": thing["customer_note"],
        "date_completed": site.local(thing["completed"]),
        "date_paid": site.local(thing["paid"]),
        "cart_hash": thing["cart_hash"],
        "number": thing["number"],
        "meta_data": thing["meta_data"],
        **_lines(site, thing, dp),
        "coupon_lines": [_coupon_line(line) for line in thing["coupon_lines"]],
        "refunds": [_short(site, one, dp) for one in sorted(refunds, key=_unordered)],
        "payment_url": f"{site.url}/checkout/order-pay/{ref}/?pay_for_order=true&key={thing['order_key']}",
        "is_editable": thing["status"] in {"pending", "on-hold", "auto-draft"},
        "needs_payment": thing["status"] in {"pending", "failed"} and number(thing["total"]) > 0,
        "needs_processing": any(line["product_id"] for line in thing["line_items"]),
        **{f"date_{key}_gmt": thing[key] for key in ("created", "modified", "completed", "paid")},
        "currency_symbol": _SYMBOLS.get(thing["currency"], thing["currency"]),
        "_links": links(site, "orders", ref, **more),
    }


def refund(site: Site, thing: Thing, dp: int, *, alone: bool = False) -> Body:
    """A refund in its order's list; `alone` in the list of all, where it names its order."""
    path = f"orders/{thing['order']}/refunds"
    parent = {"parent_id": thing["order"]} if alone else {}
    lines = _lines(site, thing, dp)
    return {
        "id": thing["id"],
        **parent,
        "date_created": site.local(thing["created"]),
        "date_created_gmt": thing["created"],
        "amount": fixed(thing["amount"], dp) if thing["amount"] else "",
        "reason": thing["reason"],
        "refunded_by": thing["refunded_by"],
        "refunded_payment": thing["refunded_payment"],
        "meta_data": thing["meta_data"],
        **{key: lines[key] for key in ("line_items", "shipping_lines", "tax_lines", "fee_lines")},
        "_links": links(site, path, thing["id"], ["GET", "DELETE"], up=[{"href": f"{site.url}/wp-json/wc/v3/orders/{thing['order']}"}]),
    }


def coupon(site: Site, thing: Thing, dp: int) -> Body:
    keys = ("usage_count", "individual_use", "product_ids", "excluded_product_ids", "usage_limit", "usage_limit_per_user")
    more = ("limit_usage_to_x_items", "free_shipping", "product_categories", "excluded_product_categories", "exclude_sale_items")
    return {
        "id": thing["id"],
        "code": thing["code"],
        "amount": fixed(thing["amount"], dp),
        "status": thing["status"],
        "date_created": site.local(thing["created"]),
        "date_created_gmt": thing["created"],
        "date_modified": site.local(thing["modified"]),
        "date_modified_gmt": thing["modified"],
        "discount_type": thing["discount_type"],
        "description": thing["description"],
        "date_expires": site.local(thing["expires"]),
        "date_expires_gmt": thing["expires"],
        **{key: thing[key] for key in (*keys, *more)},
        "minimum_amount": fixed(thing["minimum"], dp),
        "maximum_amount": fixed(thing["maximum"], dp),
        "email_restrictions": thing["email_restrictions"],
        "used_by": thing["used_by"],
        "meta_data": thing["meta_data"],
        "_links": links(site, "coupons", thing["id"]),
    }


def webhook(site: Site, thing: Thing) -> Body:
    """The secret and the failures so far are not shown."""
    return {
        **{key: thing[key] for key in ("id", "name", "status", "topic", "resource", "event", "hooks", "delivery_url")},
        "date_created": site.local(thing["created"]),
        "date_created_gmt": thing["created"],
        "date_modified": site.local(thing["modified"]),
        "date_modified_gmt": thing["modified"],
        "_links": links(site, "webhooks", thing["id"]),
    }


def note(site: Site, thing: Thing, order_ref: int) -> Body:
    up = [{"href": f"{site.url}/wp-json/wc/v3/orders/{order_ref}"}]
    return {
        **{key: thing[key] for key in ("id", "author")},
        "date_created": site.local(thing["created"]),
        "date_created_gmt": thing["created"],
        **{key: thing[key] for key in ("note", "customer_note")},
        "_links": links(site, f"orders/{order_ref}/notes", thing["id"], ["GET", "DELETE"], up=up),
    }


def _short(site: Site, thing: Thing, dp: int) -> Body:
    """A refund in the order's own list, which tells its tax from 10.9 on."""
    shown = {"id": thing["id"], "reason": thing["reason"], "total": shown_total(thing, dp)}
    return shown | ({"total_tax": fixed(thing["total_tax"], dp)} if _version(site) >= (10, 9) else {})


def _version(site: Site) -> tuple[int, int]:
    major, minor = site.settings.version.split(".")[:2]
    return int(major), int(minor)


def _lines(site: Site, thing: Thing, dp: int) -> Body:
    """The tax of each rate has all its digits before 10 (9.4, verified)."""
    tax_dp = dp if _version(site) >= (10, 0) else None
    return {
        "line_items": [_article(line, dp, tax_dp) for line in thing["line_items"]],
        "tax_lines": [_tax_line(line, dp) for line in thing["tax_lines"]],
        "shipping_lines": [_shipping(line, dp, tax_dp) for line in thing["shipping_lines"]],
        "fee_lines": [_fee(line, dp, tax_dp) for line in thing["fee_lines"]],
    }


def _article(line: Thing, dp: int, tax_dp: int | None) -> Body:
    quantity = line["quantity"]
    return {
        **{key: line[key] for key in ("id", "name", "product_id", "variation_id", "quantity")},
        "tax_class": "",
        **{key: fixed(line[key], dp) for key in ("subtotal", "subtotal_tax", "total", "total_tax")},
        "taxes": _taxes(line, tax_dp),
        "meta_data": line["meta"],
        **{key: line[key] for key in ("sku", "global_unique_id")},
        "price": raw(number(line["total"]) / quantity) if quantity else 0,
        **{key: line[key] for key in ("image", "parent_name")},
    }


def _shipping(line: Thing, dp: int, tax_dp: int | None) -> Body:
    return {
        **{key: line[key] for key in ("id", "method_title", "method_id", "instance_id")},
        **{key: fixed(line[key], dp) for key in ("total", "total_tax")},
        "taxes": _taxes(line, tax_dp),
        "tax_status": line["tax_status"],
        "meta_data": line["meta"],
    }


def _fee(line: Thing, dp: int, tax_dp: int | None) -> Body:
    return {
        **{key: line[key] for key in ("id", "name")},
        "tax_class": "",
        "tax_status": line["tax_status"],
        "amount": "",
        **{key: fixed(line[key], dp) for key in ("total", "total_tax")},
        "taxes": _taxes(line, tax_dp),
        "meta_data": line["meta"],
    }


def _taxes(line: Thing, dp: int | None) -> list[Body]:
    def shown(amount: str) -> str:
        return amount if dp is None else fixed(amount, dp)

    return [
        {"id": int(ref), "total": shown(tax["total"]), "subtotal": shown(tax["subtotal"]) if "subtotal" in tax else ""}
        for ref, tax in line["taxes"].items()
    ]


def _tax_line(line: Thing, dp: int) -> Body:
    label, percent, compound, region = line["rate"]
    return {
        "id": line["id"],
        "rate_code": line.get("rate_code") or code(label, region, line["rate_id"]),
        "rate_id": line["rate_id"],
        "label": label,
        "compound": compound,
        "tax_total": fixed(line["tax_total"], dp),
        "shipping_tax_total": fixed(line["shipping_tax_total"], dp),
        "rate_percent": raw(Decimal(percent)),
        "meta_data": line["meta"],
    }


def _coupon_line(line: Thing) -> Body:
    """Its amounts are shown as they are stored, whatever decimals are asked for."""
    kind = None if line["discount_type"] == "fixed_cart" else line["discount_type"]
    info = to_json([line["coupon"], line["code"], kind, raw(number(line["nominal"]))]).decode()
    meta = {"id": line["meta_id"], "key": "coupon_info", "value": info, "display_key": "coupon_info", "display_value": info}
    return {
        **{key: line[key] for key in ("id", "code", "discount", "discount_tax")},
        "meta_data": [meta],
        "discount_type": line["discount_type"],
        "nominal_amount": raw(number(line["nominal"])),
        "free_shipping": line["free_shipping"],
    }


def _unordered(thing: Thing) -> int:
    return int(thing["id"]) * 7919 % 101
