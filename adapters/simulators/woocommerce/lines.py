"""The lines of an order while they are made: articles, shipping and fees."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from adapters.simulators.woocommerce import products, taxes
from adapters.simulators.woocommerce.amounts import number, plain
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site


def article(site: Site, name: str, quantity: int, net: Decimal, *, product: int = 0, variation: int = 0, taxed: bool = True) -> Thing:
    """A product line; `net` is for all its units. Its taxes are computed later."""
    kept = products.known(site, variation or product)
    parent = products.known(site, product) if variation else None
    attributes = kept["attributes"] if kept else {}
    return {
        "id": site.shelves.next("item"),
        "name": name,
        "product_id": product,
        "variation_id": variation,
        "quantity": quantity,
        "subtotal": plain(net),
        "total": plain(net),
        "subtotal_tax": "0",
        "total_tax": "0",
        "taxes": {},
        "meta": [_meta(site, key, value) | {"display_key": key.capitalize()} for key, value in attributes.items()],
        "sku": kept["sku"] if kept else None,
        "global_unique_id": "" if kept else None,
        "image": _image(site, kept, variation),
        "parent_name": parent["name"] if parent else None,
        "taxable": taxed,
    }


def _image(site: Site, kept: Thing | None, variation: int) -> Thing:
    if kept is not None and kept.get("image"):
        return {"id": kept["id"], "src": f"{site.url}{kept['image']}"}
    return {"id": 0 if variation or kept is None else "", "src": ""}


def shipping(site: Site, net: str, title: str = "Flat rate", method: str = "flat_rate") -> Thing:
    line = {"id": site.shelves.next("item"), "method_title": title, "method_id": method, "instance_id": "", "tax_status": "taxable"}
    return line | {"total": plain(number(net)), "total_tax": "0", "taxes": {}, "meta": []}


def fee(site: Site, name: str, net: str, *, taxed: bool = True) -> Thing:
    line = {"id": site.shelves.next("item"), "name": name, "tax_status": "taxable" if taxed else "none"}
    return line | {"total": plain(number(net)), "total_tax": "0", "taxes": {}, "meta": []}


def without_tax(site: Site, price: Decimal) -> Decimal:
    """A price as the shop shows it, net."""
    if not site.settings.prices_include_tax:
        return price
    return price - sum(taxes.inclusive(price, site.settings.rates).values())


def add_meta(site: Site, line: Thing, key: str, value: object) -> None:
    """Set a meta entry of a line, as update_meta_data does."""
    for entry in line["meta"]:
        if entry["key"] == key:
            entry["value"] = entry["display_value"] = value
            return
    line["meta"].append(_meta(site, key, value))


def meta_of(line: Thing, key: str) -> Any:  # noqa: ANN401 - meta is any JSON
    return next((entry["value"] for entry in line["meta"] if entry["key"] == key), None)


def posted(site: Site, kind: str, body: Mapping[str, Any]) -> Thing:
    """A line of `POST /orders`: the article's own price, unless a total is given; a subtotal is never below the total."""
    if kind == "shipping_lines":
        return shipping(site, str(body.get("total", "0")), str(body.get("method_title", "")), str(body.get("method_id", "")))
    if kind == "fee_lines":
        return fee(site, str(body.get("name", "")), str(body.get("total", "0")), taxed=body.get("tax_status", "taxable") == "taxable")
    variation, quantity = int(body.get("variation_id") or 0), int(body.get("quantity", 1))
    product = products.known(site, variation or int(body.get("product_id") or 0))
    net = without_tax(site, number(product["price"]) * quantity) if product else Decimal(0)
    ref = product["parent"] if product and variation else int(body.get("product_id") or 0)
    name = body.get("name") or (product["name"] if product else "")
    line = article(site, name, quantity, net, product=ref, variation=variation, taxed=product["taxable"] if product else True)
    change(line, {key: body[key] for key in ("total", "subtotal") if key in body})
    return line


def change(line: Thing, body: Mapping[str, Any]) -> None:
    """Set what is given of quantity, total and subtotal, each for the whole line."""
    for key in ("subtotal", "total"):
        if key in body:
            line[key] = plain(number(str(body[key])))
    if "quantity" in body:
        line["quantity"] = int(body["quantity"])
    if "total" in body and "subtotal" in line and number(line["subtotal"]) < number(line["total"]):
        line["subtotal"] = line["total"]


def _meta(site: Site, key: str, value: object) -> Thing:
    return {"id": site.shelves.next("item_meta"), "key": key, "value": value, "display_key": key, "display_value": value}
