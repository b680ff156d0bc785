"""Articles: enough of them to be sold, kept in stock and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from adapters.simulators.woocommerce.amounts import fixed
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import Site

_STOCK = 100


class Article(TypedDict, total=False):
    """What an article may have. With a `parent` it is a variation of that one, with `attributes` ("size": "S")."""

    sku: str
    stock: int | None  # None: nobody counts it
    parent: int
    taxed: bool
    attributes: Mapping[str, str]
    image: str  # a path of the shop


def make(site: Site, name: str, price: str, how: Article | None = None, *, ref: int | None = None) -> Thing:
    """A new article. `price` is as the shop shows prices: with tax where it includes tax."""
    how = how or {}
    ref = site.shelves.next("post") if ref is None else ref
    product: Thing = {"id": ref, "name": name, "sku": how.get("sku") or f"SKU-{ref}", "price": price, "stock": how.get("stock", _STOCK)}
    product |= {"parent": how.get("parent", 0), "taxable": how.get("taxed", True), "attributes": dict(how.get("attributes", {}))}
    product |= {"created": site.now(), "status": "publish", "image": how.get("image", "")}
    site.shelves.put("product", product, name=name, parent=product["parent"])
    return product


def known(site: Site, ref: int) -> Thing | None:
    return site.shelves.get("product", ref) if ref else None


def by_name(site: Site, name: str) -> Thing | None:
    return site.shelves.named("product", name)


def move_stock(site: Site, ref: int, by: int) -> tuple[int, int] | None:
    """Stock before and after, or None where nobody counts it."""
    with site.shelves.change():
        product = known(site, ref)
        if product is None or product["stock"] is None:
            return None
        before = product["stock"]
        product["stock"] = before + by
        site.shelves.put("product", product, name=product["name"], parent=product["parent"])
        return before, before + by


def shown(site: Site, product: Thing) -> Thing:
    """`GET /products/{id}`, abridged: the keys that say what it is, what it costs and how many are left."""
    price = fixed(product["price"], site.settings.decimals)
    path = f"{site.url}/wp-json/wc/v3/products"
    return {
        "id": product["id"],
        "name": product["name"],
        "date_created": site.local(product["created"]),
        "date_created_gmt": product["created"],
        "type": "variation" if product["parent"] else "simple",
        "status": "publish",
        "sku": product["sku"],
        "price": price,
        "regular_price": price,
        "tax_status": "taxable" if product["taxable"] else "none",
        "tax_class": "",
        "manage_stock": product["stock"] is not None,
        "stock_quantity": product["stock"],
        "stock_status": "outofstock" if product["stock"] is not None and product["stock"] < 1 else "instock",
        "parent_id": product["parent"],
        "meta_data": [],
        "_links": {
            "self": [{"href": f"{path}/{product['id']}", "targetHints": {"allow": ["GET", "POST", "PUT", "PATCH", "DELETE"]}}],
            "collection": [{"href": path}],
        },
    }
