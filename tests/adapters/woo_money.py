"""A simulated WooCommerce shop with a store object in front of it, for the tests of money. The gateway's books are the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Unpack

from adapters.simulators.woocommerce import Bought, Checkout, Paid, ShopSettings, WooShop
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from connector.domain.money import Money
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Attempt, PlatformError, Receipt, RefundOrder, TenderPart
from tests.adapters.woo_simulator import Clock

PAYS_BACK: Final = "examplepay,test_card"
THREE: Final = (Bought("Shirt", 3, net="30.00"),)  # with 21 % 36.30, and 12.10 for one


@dataclass(eq=False)
class Subject:
    """The shop, and who asks it. `clock` is the shop's, a little before ours at most."""

    shop: WooShop
    clock: Clock
    keys: tuple[str, str]

    def store(self, facts: Mapping[str, str] | None = None) -> WooStore:
        """A store object of its own, as of another process, with the facts that a probe would have found."""
        settings = self.shop.settings
        found = {"currency": settings.currency, "decimals": str(settings.decimals), "gateways": PAYS_BACK}
        found["prices_include_tax"] = "yes" if settings.prices_include_tax else "no"
        platform, url = WooPlatform(dev=True), self.shop.url
        credentials = {"url": url, "consumer_key": self.keys[0], "consumer_secret": self.keys[1]}
        return platform.connect(platform.shop_at(url), credentials, {**found, **(facts or {})})

    def place(self, lines: Sequence[Bought] = THREE, **how: Unpack[Checkout]) -> OrderRef:
        return OrderRef(str(self.shop.place(lines, **how)))

    def order(self, lines: Sequence[Bought] = THREE, **how: Unpack[Checkout]) -> Order:
        """A fresh order, as the store reads it."""
        return self.store().order(self.place(lines, **how))

    def asked(self, method: str, ending: str = "/refunds") -> int:
        """How many such requests came in."""
        return len([each for each in self.shop.requests if each.method == method and each.path.endswith(ending)])

    def paid(self, key: str = "") -> list[str]:
        """What the gateway sent back, for this key."""
        return [paid.amount for paid in self.shop.payments() if f"[rma:{key}" in paid.reason]

    @property
    def books(self) -> list[Paid]:
        return self.shop.payments()

    def later(self, seconds: float) -> None:
        """The shop's clock goes on, and so does what it left undone."""
        self.clock.advance(seconds)
        self.shop.catch_up()


@contextmanager
def selling(settings: ShopSettings | None = None, *, workers: int = 8) -> Iterator[Subject]:
    """A shop on the network."""
    clock = Clock(datetime.now(UTC))  # signed requests are taken within a quarter of an hour
    shop = WooShop(clock=clock, settings=settings or ShopSettings())
    with shop.serving(workers=workers) as url:
        assert url
        yield Subject(shop, clock, shop.add_key())
    shop.close()


def attempt(key: str, *, still_mine: Callable[[], bool] = lambda: True, age: float = 0) -> Attempt:
    """A mark of some seconds ago."""
    now = datetime.now(UTC)
    marked = now - timedelta(seconds=age)
    return Attempt(1, key, marked, marked + timedelta(seconds=10), marked, now, {}, still_mine=still_mine)


def of_amount(order: Order, minor: int, key: str = "ours") -> RefundOrder:
    """An amount without lines."""
    return RefundOrder(key, order.ref, "2222222X", Money(minor, order.currency), (TenderPart(order.tenders[0].id, minor),))


def outcome(act: Callable[[], Receipt]) -> Receipt | PlatformError:
    """What was said, good or bad."""
    try:
        return act()
    except PlatformError as error:
        return error
