"""What each route of REST v3 answers, once it is known who asks and that he may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.simulators.woocommerce import about, coupons, listing, orders, products, refunds, render, webhooks
from adapters.simulators.woocommerce.asking import Answer, Asking
from adapters.simulators.woocommerce.gateway import Till
from adapters.simulators.woocommerce.problems import Problem, invalid_param
from adapters.simulators.woocommerce.shelves import Thing
from adapters.simulators.woocommerce.site import PhpDied, Site

_ADDRESS: Final = frozenset({*orders.NOWHERE, "email", "phone"})
_TEXTS: Final = ("customer_note", "transaction_id", "payment_method", "payment_method_title", "currency")
_LINES: Final = ("line_items", "shipping_lines", "fee_lines")


@dataclass(slots=True)
class Answers:
    """One method for each route and HTTP method."""

    site: Site
    till: Till

    def dp(self, asking: Asking) -> int:
        return asking.whole("dp", self.site.settings.decimals, 0, 20)

    def show(self, asking: Asking, order: Thing) -> render.Body:
        deadly = self.site.switches.deadly
        if order["id"] in deadly and (deadly[order["id"]] or asking.several("_fields") != ["id"]):
            raise PhpDied
        return render.order(self.site, order, self.site.shelves.of("refund", order["id"]), self.dp(asking))

    def order(self, ref: int) -> Thing:
        try:
            return orders.get(self.site, ref)
        except KeyError:
            raise Problem(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID.") from None

    # ── orders ──

    def orders(self, asking: Asking) -> Answer:
        return listing.page(self.site, asking, "order", lambda row: self.show(asking, row), old=self.site.switches.old)

    def one_order(self, asking: Asking) -> Answer:
        return Answer(self.show(asking, self.order(asking.ids[0])))

    def make_order(self, asking: Asking) -> Answer:
        """A coupon that does not apply leaves a `checkout-draft` order behind (10.5, verified)."""
        site, body = self.site, asking.body
        order = orders.blank(site, via=str(body.get("created_via") or "rest-api"))
        self._fill(order, body)
        orders.total_up(site, order)
        codes = [str(line.get("code", "")).lower() for line in body.get("coupon_lines") or ()]
        for code in codes:
            why = coupons.refusal(site, coupons.by_code(site, code), code, order["billing"]["email"], at_checkout=True)
            if why:
                order["status"] = "checkout-draft"
                orders.created(site, order)
                data = {"status": 400, "new_draft_order_id": order["id"]}
                raise Problem(400, "woocommerce_rest_invalid_coupon", why, data)
        if codes:
            orders.total_up(site, order, codes)
        with site.shelves.change():
            orders.set_status(site, order, self._status(asking) or "pending")
            if body.get("set_paid") is True:
                orders.pay(site, order, str(body.get("transaction_id") or ""))
            orders.created(site, order)
        return Answer(self.show(asking, order), 201, (self._location("orders", order["id"]),))

    def change_order(self, asking: Asking) -> Answer:
        site, body, status = self.site, asking.body, self._status(asking)
        self.order(asking.ids[0])

        def change(order: Thing) -> None:
            self._fill(order, body)
            if any(key in body for key in (*_LINES, "billing", "shipping", "coupon_lines")):
                codes = [str(line.get("code", "")).lower() for line in body["coupon_lines"]] if "coupon_lines" in body else None
                orders.total_up(site, order, codes)
            if status and status != order["status"]:
                orders.set_status(site, order, status)
                if status == "refunded":
                    refunds.close(site, order)
            if body.get("set_paid") is True and order["status"] in {"pending", "failed"}:
                orders.pay(site, order, str(body.get("transaction_id") or ""))

        return Answer(self.show(asking, orders.change(site, asking.ids[0], change)))

    def remove_order(self, asking: Asking) -> Answer:
        """Into the bin, or away with `force`. The answer shows the order as it was before."""
        order = self.order(asking.ids[0])
        before = self.show(asking, order)
        if asking.truth("force"):
            orders.delete(self.site, order["id"])
        elif order["status"] == "trash":
            raise Problem(410, "woocommerce_rest_already_trashed", "The shop_order has already been deleted.")
        else:
            orders.trash(self.site, order["id"])
        return Answer(before)

    def _fill(self, order: Thing, body: Mapping[str, Any]) -> None:
        for kind in ("billing", "shipping"):
            order[kind] |= {key: str(value) for key, value in (body.get(kind) or {}).items() if key in _ADDRESS}
        order |= {key: str(body[key]) for key in _TEXTS if key in body}
        if body.get("customer_id") is not None:
            order["customer_id"] = int(body["customer_id"])
        orders.set_meta(self.site, order, body.get("meta_data") or ())
        for kind in _LINES:
            orders.edit(self.site, order, kind, body.get(kind) or ())

    def _status(self, asking: Asking) -> str:
        known = ("auto-draft", *orders.STATUSES)
        return asking.one_of("status", "", known) if "status" in asking.body else ""

    # ── refunds ──

    def order_refunds(self, asking: Asking) -> Answer:
        """An unknown order has an empty list (10.5, verified)."""
        show = self._shown_refund(asking)
        return listing.page(self.site, asking, "refund", show, parent=asking.ids[0])

    def all_refunds(self, asking: Asking) -> Answer:
        return listing.page(self.site, asking, "refund", self._shown_refund(asking, alone=True), old=self.site.switches.old)

    def one_refund(self, asking: Asking) -> Answer:
        return Answer(self._shown_refund(asking)(self._refund(asking)))

    def make_refund(self, asking: Asking) -> Answer:
        _check_refund(asking.body)
        checked = {name: asking.truth(name, default=True) for name in ("api_refund", "api_restock")}
        dp = self.dp(asking)
        refund = refunds.post(self.site, self.till, asking.ids[0], {**asking.body, **checked}, asking.asker.user)
        # The header is broken in the real thing too: it holds the route's regular expression.
        place = f"{self.site.url}/wp-json/wc/v3/orders/(?P<order_id>[\\d]+)/refunds/{refund['id']}"
        return Answer(render.refund(self.site, refund, dp), 201, (("Location", place),))

    def remove_refund(self, asking: Asking) -> Answer:
        refund = self._refund(asking)
        refunds.delete(self.site, refund["id"])
        return Answer(self._shown_refund(asking)(refund))

    def _refund(self, asking: Asking) -> Thing:
        self.order(asking.ids[0])
        refund = self.site.shelves.get("refund", asking.ids[1])
        if refund is None or refund["order"] != asking.ids[0]:
            raise Problem(500, "woocommerce_rest_invalid_order_refund_id", "Invalid order refund ID.", 404)
        return refund

    def _shown_refund(self, asking: Asking, *, alone: bool = False) -> Callable[[Thing], render.Body]:
        dp = self.dp(asking)
        return lambda row: render.refund(self.site, row, dp, alone=alone)

    # ── notes, coupons, webhooks, articles ──

    def notes(self, asking: Asking) -> Answer:
        order = self.order(asking.ids[0])
        return Answer([render.note(self.site, row, order["id"]) for row in reversed(self.site.shelves.of("note", order["id"]))])

    def make_note(self, asking: Asking) -> Answer:
        order = self.order(asking.ids[0])
        customer = asking.truth("customer_note")
        note = orders.note(self.site, order["id"], asking.text("note"), customer=customer)
        return Answer(render.note(self.site, note, order["id"]), 201, (self._location(f"orders/{order['id']}/notes", note["id"]),))

    def coupons(self, asking: Asking) -> Answer:
        dp = self.dp(asking)
        return listing.page(self.site, asking, "coupon", lambda row: render.coupon(self.site, row, dp), old=self.site.switches.old)

    def one_coupon(self, asking: Asking) -> Answer:
        return Answer(render.coupon(self.site, self._coupon(asking), self.dp(asking)))

    def make_coupon(self, asking: Asking) -> Answer:
        self._check_coupon(asking)
        with self.site.shelves.change():
            coupon = coupons.create(self.site, asking.body)
            orders.set_meta(self.site, coupon, asking.body.get("meta_data") or ())
            coupons.save(self.site, coupon)
        return Answer(render.coupon(self.site, coupon, self.dp(asking)), 201, (self._location("coupons", coupon["id"]),))

    def change_coupon(self, asking: Asking) -> Answer:
        self._check_coupon(asking)
        with self.site.shelves.change():
            coupon = self._coupon(asking)
            coupons.change(self.site, coupon, asking.body)
            orders.set_meta(self.site, coupon, asking.body.get("meta_data") or ())
            coupon["modified"] = self.site.now()
            coupons.save(self.site, coupon)
        return Answer(render.coupon(self.site, coupon, self.dp(asking)))

    def remove_coupon(self, asking: Asking) -> Answer:
        coupon = self._coupon(asking)
        if asking.truth("force"):
            self.site.shelves.drop("coupon", coupon["id"])
        else:
            coupons.save(self.site, coupon | {"status": "trash"})
        return Answer(render.coupon(self.site, coupon, self.dp(asking)))

    def _coupon(self, asking: Asking) -> Thing:
        coupon = self.site.shelves.get("coupon", asking.ids[0])
        if coupon is None:
            raise Problem(404, "woocommerce_rest_shop_coupon_invalid_id", "Invalid ID.")
        return coupon

    def _check_coupon(self, asking: Asking) -> None:
        if "discount_type" in asking.body:
            asking.one_of("discount_type", "fixed_cart", coupons.TYPES)

    def webhooks(self, asking: Asking) -> Answer:
        wanted = asking.one_of("status", "all", ("all", "active", "paused", "disabled"))
        size, number = asking.whole("per_page", 10, 1, 100), asking.whole("page", 1, 1)
        found = [row for row in reversed(self.site.shelves.all("webhook")) if wanted in ("all", row["status"])]
        pages = -(-len(found) // size)
        counted = (("X-WP-Total", str(len(found))), ("X-WP-TotalPages", str(pages)))
        return Answer([render.webhook(self.site, row) for row in found[(number - 1) * size : number * size]], headers=counted)

    def one_webhook(self, asking: Asking) -> Answer:
        return Answer(render.webhook(self.site, self._webhook(asking, "ID is invalid.")))

    def make_webhook(self, asking: Asking) -> Answer:
        hook = webhooks.create(self.site, asking.body, asking.asker.user)
        webhooks.ping(self.site, hook)
        return Answer(render.webhook(self.site, hook), 201, (self._location("webhooks", hook["id"]),))

    def change_webhook(self, asking: Asking) -> Answer:
        return Answer(render.webhook(self.site, webhooks.change(self.site, asking.ids[0], asking.body)))

    def remove_webhook(self, asking: Asking) -> Answer:
        if not asking.truth("force"):
            raise Problem(501, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing.")
        hook = self._webhook(asking)
        self.site.shelves.drop("webhook", hook["id"])
        return Answer(render.webhook(self.site, hook))

    def _webhook(self, asking: Asking, sorry: str = "Invalid ID.") -> Thing:
        hook = self.site.shelves.get("webhook", asking.ids[0])
        if hook is None:
            raise Problem(404, "woocommerce_rest_shop_webhook_invalid_id", sorry)
        return hook

    def products(self, asking: Asking) -> Answer:
        return listing.page(self.site, asking, "product", lambda row: products.shown(self.site, row), old=self.site.switches.old)

    def one_product(self, asking: Asking) -> Answer:
        product = self.site.shelves.get("product", asking.ids[0])
        if product is None:
            raise Problem(404, "woocommerce_rest_product_invalid_id", "Invalid ID.")
        return Answer(products.shown(self.site, product))

    def make_product(self, asking: Asking) -> Answer:
        stock = asking.body.get("stock_quantity") if asking.body.get("manage_stock") else None
        how: products.Article = {"sku": asking.text("sku"), "stock": stock, "taxed": asking.text("tax_status", "taxable") == "taxable"}
        product = products.make(self.site, asking.text("name"), asking.text("regular_price", "0"), how)
        return Answer(products.shown(self.site, product), 201, (self._location("products", product["id"]),))

    def _location(self, path: str, ref: int) -> tuple[str, str]:
        return "Location", f"{self.site.url}/wp-json/wc/v3/{path}/{ref}"

    # ── about the shop ──

    def gateways(self, asking: Asking) -> Answer:
        del asking
        return Answer([about.gateway(self.site, one) for one in self.site.settings.gateways])

    def one_gateway(self, asking: Asking) -> Answer:
        found = self.site.settings.gateway(asking.path.rpartition("/")[2])
        if found is None:
            raise Problem(404, "woocommerce_rest_payment_gateway_invalid", "Resource does not exist.")
        return Answer(about.gateway(self.site, found))

    def setting(self, asking: Asking) -> Answer:
        _, group, *rest = asking.path.split("/")
        options = [about.option(self.site, group, name, value) for name, value in about.options(self.site, group).items()]
        if not options:
            raise Problem(404, "rest_setting_setting_group_invalid", "Invalid setting group.")
        if not rest:
            return Answer(options)
        found = next((option for option in options if option["id"] == rest[0]), None)
        if found is None:
            raise Problem(404, "rest_setting_setting_invalid", "Invalid setting.")
        return Answer(about.alone(found, group))

    def system_status(self, asking: Asking) -> Answer:
        del asking
        return Answer(about.system_status(self.site))

    def taxes(self, asking: Asking) -> Answer:
        del asking
        rates = [about.tax(self.site, place, rate) for place, rate in enumerate(self.site.settings.rates, 1)]
        return Answer(rates, headers=(("X-WP-Total", str(len(rates))), ("X-WP-TotalPages", "1")))


def _check_refund(body: Mapping[str, Any]) -> None:
    """What of the parameters is looked at: types, and not those of the lines."""
    for name in ("amount", "reason"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise invalid_param(name, f"{name} is not of type string.", "rest_invalid_type", {"param": name})
    meta = body.get("meta_data") or []
    for place, entry in enumerate(meta if isinstance(meta, list) else [meta]):
        if not isinstance(entry, Mapping):
            where = f"meta_data[{place}]"
            raise invalid_param("meta_data", f"{where} is not of type object.", "rest_invalid_type", {"param": where})
