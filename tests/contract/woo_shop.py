"""Who keeps a WooCommerce shop, simulated or genuine: over REST, with the official client.

What REST has no word for is the simulator's alone: losing an answer, and the gateway's own books.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import requests
from woocommerce import API

from adapters.simulators.woocommerce import Fault, Kind, ShopSettings, WooShop
from adapters.woocommerce import guard
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from connector.domain import money
from connector.domain.orders import OrderRef
from tests.contract.store_contract import Article, Subject

GENUINE: Final = ("WOO_URL", "WOO_KEY", "WOO_SECRET")
_ADDRESS: Final = {
    "first_name": "Kim",
    "last_name": "Example",
    "address_1": "Test 1",
    "city": "Utrecht",
    "postcode": "3511AB",
    "country": "NL",
}
_PATIENCE: Final = 120  # seconds: a refund waits for its gateway


@dataclass(eq=False)
class RestKeeper:
    """What a merchant does in wp-admin. Articles are made by their price, and go when the shop is left; orders stay."""

    api: API
    places: int
    gateway: str
    _articles: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, keys: tuple[str, str]) -> Self:
        """Raises `LookupError` where the shop has no means of payment that can pay back."""
        api = API(url, *keys, timeout=_PATIENCE)
        currency = _said(api.get("settings/general/woocommerce_currency"), 200)["value"]
        gateways = _said(api.get("payment_gateways"), 200)
        paying = [each["id"] for each in gateways if each["enabled"] and "refunds" in each["method_supports"]]
        if not paying:
            raise LookupError("the shop has no payment method in use that can pay back")
        return cls(api, money.decimals(currency), paying[0])

    def place(self, articles: Sequence[Article], *, email: str = "kim@example.com", code: str = "", pays: bool = True) -> OrderRef:
        body: dict[str, Any] = {
            "payment_method": self.gateway,
            "set_paid": pays,
            "billing": {**_ADDRESS, "email": email},
            "line_items": [
                {"product_id": self._article(article.price), "name": article.title, "quantity": article.quantity} for article in articles
            ],
        }
        if code:
            body["coupon_lines"] = [{"code": code}]
        return OrderRef(str(_said(self.api.post("orders", body), 201)["id"]))

    def cancel(self, ref: OrderRef) -> None:
        self._change(ref, {"status": "cancelled"})

    def restore(self, ref: OrderRef) -> None:
        self._change(ref, {"status": "processing"})

    def bin(self, ref: OrderRef) -> None:
        _said(self.api.delete(f"orders/{ref}"), 200)

    def delete(self, ref: OrderRef) -> None:
        _said(self.api.delete(f"orders/{ref}", params={"force": "true"}), 200)

    def refund(self, ref: OrderRef, minor: int) -> None:
        """By hand: no gateway is asked."""
        body = {"amount": money.show(minor, self.places), "reason": "by hand", "api_refund": False, "api_restock": False}
        _said(self.api.post(f"orders/{ref}/refunds", body), 201)

    def paid_back(self, ref: OrderRef) -> list[int]:
        """As far as REST says it: what a gateway confirmed."""
        listed = _said(self.api.get(f"orders/{ref}/refunds", params={"per_page": 100}), 200)
        paid = [each for each in listed if each["refunded_payment"]]
        return [money.parse(each["amount"], self.places) for each in sorted(paid, key=lambda each: int(each["id"]))]

    def leave(self) -> None:
        """Take the articles out of the shop again."""
        for product in self._articles.values():
            self.api.delete(f"products/{product}", params={"force": "true"})

    def _change(self, ref: OrderRef, body: Mapping[str, object]) -> None:
        _said(self.api.put(f"orders/{ref}", body), 200)

    def _article(self, price: int) -> int:
        if price not in self._articles:
            body = {"name": f"Article at {price}", "regular_price": money.show(price, self.places), "catalog_visibility": "hidden"}
            self._articles[price] = _said(self.api.post("products", body), 201)["id"]
        return self._articles[price]


@dataclass(eq=False)
class BooksKeeper(RestKeeper):
    """The same, where the gateway's own books can be read."""

    books: Callable[[OrderRef], list[int]] = lambda _ref: []

    def paid_back(self, ref: OrderRef) -> list[int]:
        return self.books(ref)


def _said(answer: requests.Response, status: int) -> Any:
    """The JSON of an answer that has to be this."""
    assert answer.status_code == status, f"{answer.request.method} {answer.status_code}: {answer.text[:300]}"
    return answer.json()


@contextmanager
def simulated(settings: ShopSettings) -> Iterator[Subject]:
    """The simulator, over HTTP."""
    shop = WooShop(settings=settings)
    with shop.serving() as url:
        keys = shop.add_key()
        keeper = BooksKeeper.of(url, keys)
        keeper.books = lambda ref: [money.parse(paid.amount, keeper.places) for paid in shop.payments(int(ref))]
        yield _subject(_store(url, keys), keeper, lambda: shop.fail_next("POST refunds", Fault(Kind.LOSE_ANSWER)))
    shop.close()


@contextmanager
def genuine() -> Iterator[Subject]:
    """The store that the environment names. Its means of payment has to pay back what nobody paid."""
    url, key, secret = (os.environ[name] for name in GENUINE)
    keeper = RestKeeper.of(url.rstrip("/"), (key, secret))
    try:
        yield _subject(_store(url, (key, secret)), keeper)
    finally:
        keeper.leave()


def _store(url: str, keys: tuple[str, str]) -> WooStore:
    """As an installation leaves it: probed. Only a store on this machine is served as in development."""
    at_home = guard.address(url, dev=True).is_loopback
    platform = WooPlatform(dev=at_home, roots=os.environ.get("REQUESTS_CA_BUNDLE"))
    credentials = {
        "url": url.rstrip("/"),
        "consumer_key": keys[0],
        "consumer_secret": keys[1],
        "permissions": "read_write",
        "door": "the-door-of-the-contract",
        "delivery_secret": "the-secret-of-the-contract",
    }
    store = platform.connect(platform.shop_at(url), credentials, {})
    store.probe()
    return store


def _subject(store: WooStore, keeper: RestKeeper, lose: Callable[[], None] | None = None) -> Subject:
    gone = keeper.place([Article("Gone")])
    keeper.delete(gone)
    return Subject(store, keeper, gone, lose)
