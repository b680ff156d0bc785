"""Coupons: unique codes, and uses that an order takes and gives back as its status goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from adapters.simulators.woocommerce.amounts import number, plain, stored
from adapters.simulators.woocommerce.problems import Problem
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site, read, written

TYPES: Final = ("percent", "fixed_cart", "fixed_product")
_INVALID: Final = frozenset({"cancelled", "failed", "trash"})
_HEARD: Final = frozenset({"pending", "completed", "processing", "on-hold", "cancelled", "failed", "trash"})
_PLAIN: Final[Mapping[str, Any]] = {
    "discount_type": "fixed_cart",
    "description": "",
    "individual_use": False,
    "product_ids": [],
    "excluded_product_ids": [],
    "usage_limit": None,
    "usage_limit_per_user": None,
    "limit_usage_to_x_items": None,
    "free_shipping": False,
    "product_categories": [],
    "excluded_product_categories": [],
    "exclude_sale_items": False,
    "email_restrictions": [],
}


def by_code(site: Site, code: str) -> Thing | None:
    """The one with this code that is not in the bin."""
    found = site.shelves.find("kind = 'coupon' AND name = ? AND status <> 'trash' ORDER BY id LIMIT 1", (code.lower(),))
    return found[0] if found else None


def save(site: Site, coupon: Thing) -> None:
    site.shelves.put("coupon", coupon, name=coupon["code"])


def create(site: Site, body: Mapping[str, Any]) -> Thing:
    """Codes are lower-cased and unique, which makes them idempotency keys. The bin does not keep a code (10.9, verified)."""
    code = str(body.get("code") or "").strip().lower()
    if not code:
        raise Problem(400, "woocommerce_rest_empty_coupon_code", "The coupon code cannot be empty.")
    with site.shelves.change():
        if by_code(site, code):
            raise Problem(400, "woocommerce_rest_coupon_code_already_exists", "The coupon code already exists")
        now = site.now()
        coupon = {"id": site.shelves.next("post"), "code": code, "amount": "0", "status": "publish", "created": now, "modified": now}
        coupon |= {**_PLAIN, "expires": None, "usage_count": 0, "used_by": [], "minimum": "0", "maximum": "0", "meta_data": []}
        change(site, coupon, body)
        save(site, coupon)
    return coupon


def change(site: Site, coupon: Thing, body: Mapping[str, Any]) -> None:
    """Set what is given. `date_expires` is a local time; `date_expires_gmt` is silently ignored (10.5, verified)."""
    for key in _PLAIN.keys() & body.keys():
        coupon[key] = body[key]
    if "amount" in body:
        amount = number(stored(str(body["amount"])))  # as loose as a refund's: "5,00" is 500 where the shop's point is a point
        if amount < 0:
            raise Problem(400, "coupon_invalid_amount", "Invalid discount amount.")
        coupon["amount"] = plain(amount)
    if "date_expires" in body:
        wanted = body["date_expires"]
        coupon["expires"] = written(site.from_local(datetime.fromisoformat(wanted))) if wanted else None
    coupon["email_restrictions"] = [str(email).strip().lower() for email in coupon["email_restrictions"]]


def refusal(site: Site, coupon: Thing | None, code: str, email: str = "", *, at_checkout: bool = False) -> str:
    """Why an order may not use it, or nothing. E-mail restrictions are held at the checkout."""
    if coupon is None:
        return f"Coupon &quot;{code}&quot; cannot be applied because it does not exist."
    if coupon["usage_limit"] and coupon["usage_count"] >= coupon["usage_limit"]:
        return f"Usage limit for coupon &quot;{code}&quot; has been reached."
    if coupon["expires"] and read(coupon["expires"]) + timedelta(seconds=1) <= site.clock():
        return f"Coupon &quot;{code}&quot; has expired."
    if at_checkout and coupon["email_restrictions"] and not any(_fits(email, one) for one in coupon["email_restrictions"]):
        return f"Please enter a valid email at checkout to use coupon code &quot;{code}&quot;."
    return ""


def count(site: Site, order: Thing) -> None:
    """Take the uses of the order's coupons, or give them back, once. `refunded` changes nothing (10.5, verified)."""
    status = order["status"]
    if status not in _HEARD or order["coupons_counted"] is (status not in _INVALID):
        return
    order["coupons_counted"] = status not in _INVALID
    used_by = str(order["customer_id"] or "") or order["billing"]["email"]
    for line in order["coupon_lines"]:
        coupon = by_code(site, line["code"])
        if coupon is None:
            continue
        coupon["usage_count"] = max(0, coupon["usage_count"] + (1 if order["coupons_counted"] else -1))
        if order["coupons_counted"]:
            coupon["used_by"].append(used_by)
        elif used_by in coupon["used_by"]:
            coupon["used_by"].remove(used_by)
        save(site, coupon)


def _fits(email: str, pattern: str) -> bool:
    email = email.strip().lower()
    return email.endswith(pattern[1:]) if pattern.startswith("*") else email == pattern
