"""REST v3: which route answers what, who may ask, and how answers are trimmed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from adapters.simulators.woocommerce.answers import Answers
from adapters.simulators.woocommerce.asking import Answer, Asking
from adapters.simulators.woocommerce.problems import Problem

_Handler: TypeAlias = Callable[[Answers, Asking], Answer]
_WRITES: Final = {"GET": "view", "POST": "create", "PUT": "edit", "PATCH": "edit", "DELETE": "delete"}
_SORRY: Final = {
    "view": "Sorry, you cannot view this resource.",
    "list": "Sorry, you cannot list resources.",
    "create": "Sorry, you are not allowed to create resources.",
    "edit": "Sorry, you are not allowed to edit this resource.",
    "delete": "Sorry, you are not allowed to delete this resource.",
}


@dataclass(frozen=True, slots=True)
class Route:
    """A path of REST; `name` is what faults are ordered for."""

    name: str
    pattern: str
    methods: Mapping[str, _Handler]


@dataclass(slots=True)
class Rest:
    """The API of one shop."""

    answers: Answers

    def route(self, path: str) -> Route | None:
        return next((route for route in ROUTES if re.fullmatch(route.pattern, path)), None)

    def answer(self, asking: Asking) -> Answer:
        """Do what is asked. Raises `Problem`, and what a refund may raise."""
        route = self.route(asking.path)
        method = "GET" if asking.method == "HEAD" else "PUT" if asking.method == "PATCH" else asking.method
        if route is not None and method == "POST" and "POST" not in route.methods:
            method = "PUT"  # WordPress takes POST, PUT and PATCH for a change alike
        if route is None or method not in route.methods:
            raise Problem(404, "rest_no_route", "No route was found matching the URL and request method.")
        found = re.fullmatch(route.pattern, asking.path)
        ids = tuple(int(part) for part in (found.groups() if found else ()) if part and part.isdecimal())
        _may(asking, method, alone=bool(ids))
        answered = route.methods[method](self.answers, replace(asking, ids=ids))
        return replace(_trimmed(answered, asking), headers=(*answered.headers, *self.allow(route)))

    def allow(self, route: Route) -> tuple[tuple[str, str], ...]:
        """What the route takes."""
        named = [name for method in route.methods for name in (("POST", "PUT", "PATCH") if method == "PUT" else (method,))]
        return (("Allow", ", ".join(named)),)


ROUTES: Final = (
    Route("orders", r"orders", {"GET": Answers.orders, "POST": Answers.make_order}),
    Route("order", r"orders/(\d+)", {"GET": Answers.one_order, "PUT": Answers.change_order, "DELETE": Answers.remove_order}),
    Route("refunds", r"orders/(\d+)/refunds", {"GET": Answers.order_refunds, "POST": Answers.make_refund}),
    Route("refund", r"orders/(\d+)/refunds/(\d+)", {"GET": Answers.one_refund, "DELETE": Answers.remove_refund}),
    Route("all_refunds", r"refunds", {"GET": Answers.all_refunds}),
    Route("notes", r"orders/(\d+)/notes", {"GET": Answers.notes, "POST": Answers.make_note}),
    Route("coupons", r"coupons", {"GET": Answers.coupons, "POST": Answers.make_coupon}),
    Route("coupon", r"coupons/(\d+)", {"GET": Answers.one_coupon, "PUT": Answers.change_coupon, "DELETE": Answers.remove_coupon}),
    Route("webhooks", r"webhooks", {"GET": Answers.webhooks, "POST": Answers.make_webhook}),
    Route("webhook", r"webhooks/(\d+)", {"GET": Answers.one_webhook, "PUT": Answers.change_webhook, "DELETE": Answers.remove_webhook}),
    Route("payment_gateways", r"payment_gateways", {"GET": Answers.gateways}),
    Route("payment_gateways", r"payment_gateways/[\w-]+", {"GET": Answers.one_gateway}),
    Route("settings", r"settings/\w+(?:/\w+)?", {"GET": Answers.setting}),
    Route("system_status", r"system_status", {"GET": Answers.system_status}),
    Route("taxes", r"taxes", {"GET": Answers.taxes}),
    Route("products", r"products", {"GET": Answers.products, "POST": Answers.make_product}),
    Route("product", r"products/(\d+)", {"GET": Answers.one_product}),
)


def _may(asking: Asking, method: str, *, alone: bool) -> None:
    """Nobody is 401; somebody who may not is 403."""
    if asking.asker.manages:
        return
    what = _WRITES[method]
    sorry = _SORRY["list" if what == "view" and not alone else what]
    raise Problem(403 if asking.asker.user else 401, f"woocommerce_rest_cannot_{what}", sorry)


def _trimmed(answer: Answer, asking: Asking) -> Answer:
    """`_fields`: these keys, and always `_links` (10.5, verified)."""
    wanted = [field.split(".") for field in asking.several("_fields")]
    if not wanted:
        return answer
    wanted.append(["_links"])
    rows = answer.body if isinstance(answer.body, list) else [answer.body]
    kept = [_kept(row, wanted) for row in rows]
    return replace(answer, body=kept if isinstance(answer.body, list) else kept[0])


def _kept(row: Any, wanted: Sequence[Sequence[str]]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(row, list):
        return [_kept(one, wanted) for one in row]
    if not isinstance(row, dict):
        return row
    found = {}
    for key, value in row.items():
        inner = [path[1:] for path in wanted if path[0] == key]
        if inner:
            found[key] = value if [] in [list(path) for path in inner] else _kept(value, inner)
    return found
