"""A simulated WooCommerce shop and a store object in front of it, for the tests of reading, probing and deliveries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from adapters.simulators.woocommerce import ShopSettings, WooShop
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from connector.domain.orders import OrderRef
from tests.adapters import far
from tests.adapters.woo_simulator import Clock

DOOR: Final = "the-door-of-this-shop"
SECRET: Final = "the-secret-of-this-shop"
NOW: Final = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # the time of orders that need one; the clock of the wire is the real one


@dataclass(eq=False)
class Read:
    """The shop, its clock, and its keys. `url` is where it is asked."""

    shop: WooShop
    clock: Clock
    keys: tuple[str, str]
    url: str
    roots: str | None = None

    def store(self, facts: Mapping[str, str] | None = None, **credentials: str) -> WooStore:
        """A store object of its own, as of another process."""
        platform = WooPlatform(dev=True, roots=self.roots)
        given = {"url": self.url, "consumer_key": self.keys[0], "consumer_secret": self.keys[1]}
        given |= {"door": DOOR, "delivery_secret": SECRET, **credentials}
        return platform.connect(platform.shop_at(self.url), given, facts or {})

    def place(self, count: int = 1, at: datetime | None = None, **how: str) -> list[OrderRef]:
        """Orders of one second; `at` is when they were made and changed last."""
        now, self.clock.now = self.clock.now, at or self.clock.now
        made = [OrderRef(str(self.shop.place(email=how.get("email", "kim@example.com"), number=how.get("number")))) for _ in range(count)]
        self.clock.now = now
        return made

    def asked(self, ending: str, method: str = "GET") -> list[dict[str, object]]:
        """The parameters of each such request."""
        return [each.params for each in self.shop.requests if each.method == method and each.path.endswith(ending)]


@contextmanager
def reading(settings: ShopSettings | None = None, *, workers: int = 8, **switches: bool) -> Iterator[Read]:
    """A shop on the network, over http: requests are signed."""
    clock = Clock(datetime.now(UTC).replace(microsecond=0))  # signatures are taken within a quarter of an hour
    shop = WooShop(clock=clock, settings=settings or ShopSettings())
    for name, on in switches.items():
        setattr(shop, name, on)
    with shop.serving(workers=workers) as url:
        yield Read(shop, clock, shop.add_key(), url)
    shop.close()


@contextmanager
def over_tls(trust: far.Trust, settings: ShopSettings | None = None, **switches: bool) -> Iterator[Read]:
    """A shop behind a server that ends TLS, and says so."""
    with reading(settings, **{"pretend_tls": True, **switches}) as read:
        port = int(read.shop.url.rsplit(":", 1)[1].partition("/")[0])
        with far.in_front_of(port, trust.server) as front:
            read.url = f"https://127.0.0.1:{front}{read.shop.settings.path}"
            read.shop.site.url = read.url
            read.roots = trust.roots
            yield read
