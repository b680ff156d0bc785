"""The shop as tests and the demo hold it: the merchant's and the shoppers' hands, the gateway's books, and faults to order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

from adapters.simulators.woocommerce import coupons, genuine, keys, orders, products, refunds, render, webhooks
from adapters.simulators.woocommerce.answers import Answers
from adapters.simulators.woocommerce.app import App, Asked
from adapters.simulators.woocommerce.checkout import Bought, Checkout, place
from adapters.simulators.woocommerce.faults import Fault
from adapters.simulators.woocommerce.gateway import Paid, Till
from adapters.simulators.woocommerce.rest import Rest
from adapters.simulators.woocommerce.serving import serving
from adapters.simulators.woocommerce.settings import ShopSettings
from adapters.simulators.woocommerce.shelves import Shelves, Thing
from adapters.simulators.woocommerce.site import Site, Switches
from adapters.simulators.woocommerce.wc_auth import WcAuth


@dataclass(slots=True)
class WooShop(Switches):
    """A WooCommerce shop. `clock` is its own and may be off; the switches may be turned while it runs."""

    books: Path | str = ":memory:"
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), kw_only=True)
    settings: ShopSettings = field(default_factory=ShopSettings, kw_only=True)
    site: Site = field(init=False, repr=False)
    till: Till = field(init=False, repr=False)
    app: App = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Open the books."""
        self.site = Site(self.settings, Shelves(self.books), self.clock, self)
        self.till = Till(self.site)
        self.app = App(self.site, Rest(Answers(self.site, self.till)), WcAuth(self.site))
        keys.user(self.site, "owner")

    def close(self) -> None:
        """Close the books."""
        self.site.shelves.close()

    @contextmanager
    def serving(self, workers: int = 4, port: int = 0) -> Iterator[str]:
        """On the network, as long as the block runs; gives the shop's address. Requests beyond `workers` wait in line."""
        with serving(self.app, self.app.arriving, workers, port, lambda: self.clock().timestamp()) as bound:
            self.site.url = f"http://127.0.0.1:{bound}{self.settings.path}"
            yield self.site.url

    # ── who may ask ──

    def add_user(self, name: str, role: str = "administrator") -> int:
        """Somebody with a login; the password is `keys.PASSWORD`."""
        return int(keys.user(self.site, name, role)["id"])

    def add_key(self, permissions: str = "read_write", user: str = "owner") -> tuple[str, str]:
        """Consumer key and secret of a fresh key."""
        key = keys.add(self.site, keys.user(self.site, user), permissions, "by hand")
        return key["consumer_key"], key["consumer_secret"]

    def revoke(self, consumer_key: str) -> None:
        """Delete a key: it is answered 401 from now on, like one that never was."""
        key = self.site.shelves.named("key", consumer_key)
        if key is not None:
            self.site.shelves.drop("key", key["id"])

    def demote(self, user: str = "owner", role: str = "subscriber") -> None:
        """Take the rights from a user: his keys are answered 403, and his webhooks carry errors."""
        keys.set_role(self.site, user, role)

    # ── articles and orders ──

    def stock_up(self, name: str, price: str = "10.00", **how: Unpack[products.Article]) -> int:
        """A new article, of which there are 100. `price` is as the shop shows prices."""
        return int(products.make(self.site, name, price, how)["id"])

    def stock(self, product: int | str) -> int:
        """How many are left, by id or name."""
        found = products.known(self.site, product) if isinstance(product, int) else products.by_name(self.site, product)
        if found is None or found["stock"] is None:
            raise KeyError(product)
        return int(found["stock"])

    def place(self, lines: Sequence[Bought] = (Bought("Shirt"),), **how: Unpack[Checkout]) -> int:
        """An order from the checkout, see `Checkout`. Gives its id. Raises `ValueError` where a coupon does not apply."""
        return int(place(self.site, lines, how)["id"])

    def put(self, body: Mapping[str, Any], refunds: Sequence[Mapping[str, Any]] = ()) -> int:
        """Keep a genuine order, with its refunds, as REST shows them (with six decimals, if that is how they came)."""
        return genuine.keep(self.site, body, refunds)

    def complete(self, order: int) -> None:
        self._move(order, "completed")

    def cancel(self, order: int) -> None:
        """Uses of coupons and stock go back."""
        self._move(order, "cancelled")

    def reopen(self, order: int) -> None:
        """Back to processing."""
        self._move(order, "processing")

    def set_status(self, order: int, status: str) -> None:
        """By hand. `refunded` books the rest as refunded and pays nobody."""
        self._move(order, status)

    def trash(self, order: int) -> None:
        orders.trash(self.site, order)

    def untrash(self, order: int) -> None:
        orders.untrash(self.site, order)

    def delete(self, order: int) -> None:
        """For good; no webhook says so."""
        orders.delete(self.site, order)

    def edit_line(self, order: int, item: int, *, quantity: int | None = None, total: str | None = None) -> None:
        """Change a line in the admin; quantity 0 removes it. `total` is net, for the whole line."""
        body: dict[str, Any] = {"id": item}
        body |= {} if quantity is None else {"quantity": quantity}
        body |= {} if total is None else {"total": total}

        def change(found: Thing) -> None:
            orders.edit(self.site, found, "line_items", [body])
            orders.total_up(self.site, found)

        orders.change(self.site, order, change)

    # ── refunds by the merchant ──

    def refund_in_admin(
        self, order: int, amount: str, *, through_gateway: bool = False, lines: Sequence[Mapping[str, Any]] = (), reason: str = ""
    ) -> int:
        """The refund button. `lines` as in REST. Raises `Problem` where it is refused."""
        body = {"amount": amount, "reason": reason, "api_refund": through_gateway, "api_restock": bool(lines), "line_items": list(lines)}
        return int(refunds.post(self.site, self.till, order, body, 1)["id"])

    def delete_refund(self, order: int, refund: int) -> None:
        """The admin's button. The record goes; the order keeps its date and its status."""
        del order
        refunds.delete(self.site, refund)
        self.site.emit("action.woocommerce_refund_deleted", refund)

    # ── what is there ──

    def order(self, order: int) -> dict[str, Any]:
        """As REST shows it. Raises `KeyError`."""
        self.catch_up()
        refs = self.site.shelves.of("refund", order)
        return render.order(self.site, orders.get(self.site, order), refs, self.settings.decimals)

    def orders(self) -> list[int]:
        """The ids of all orders, the bin included."""
        return [order["id"] for order in self.site.shelves.all("order")]

    def refunds(self, order: int) -> list[dict[str, Any]]:
        """As REST shows them, oldest first."""
        self.catch_up()
        return [render.refund(self.site, one, self.settings.decimals) for one in self.site.shelves.of("refund", order)]

    def coupons(self) -> list[dict[str, Any]]:
        """As REST shows them."""
        self.catch_up()
        return [render.coupon(self.site, one, self.settings.decimals) for one in self.site.shelves.all("coupon")]

    def coupon(self, code: str) -> dict[str, Any] | None:
        """The one with this code."""
        return next((one for one in self.coupons() if one["code"] == code.lower()), None)

    def add_coupon(self, code: str, amount: str, **more: object) -> int:
        """A coupon of the merchant's own; `more` as in REST."""
        return int(coupons.create(self.site, {"code": code, "amount": amount, **more})["id"])

    def payments(self, order: int | None = None) -> list[Paid]:
        """The gateway's books: what really went back to shoppers. This judges everything."""
        self.catch_up()
        return [paid for paid in self.till.payments() if order in {None, paid.order}]

    def notes(self, order: int) -> list[str]:
        """What the order's notes say, oldest first."""
        return [note["note"] for note in self.site.shelves.of("note", order)]

    def webhooks(self) -> list[dict[str, Any]]:
        """Webhooks with what REST hides: secret, owner and failures."""
        return self.site.shelves.all("webhook")

    # ── faults ──

    def fail_next(self, where: str, fault: Fault, times: int | None = 1) -> None:
        """Order a fault for the next request of a route ("refunds", "POST refunds", "any"), for the gateway, or for a step of a refund.

        Routes: index, orders, order, refunds, refund, all_refunds, notes, coupons, coupon, webhooks, webhook,
        payment_gateways, settings, system_status, taxes, products, product, wc-auth, home. What only a gateway can do wrong
        goes to the gateway whatever `where` says. `times` None: until it is healed.
        """
        self.site.faults.order(where, fault, times)

    def heal(self) -> None:
        """Nothing more goes wrong."""
        self.site.faults.heal()

    def catch_up(self) -> None:
        """Do what is due of the work whose client gave up."""
        self.app.catch_up()

    @property
    def url(self) -> str:
        """The address, without a slash at the end. Whoever serves `app` otherwise sets `site.url`."""
        return self.site.url

    @property
    def requests(self) -> list[Asked]:
        """Every request so far."""
        return self.app.requests

    @property
    def max_concurrent(self) -> Mapping[str, int]:
        """The most at one time: by route, "any" (counted from the first byte), and "gateway" (refunds of one order inside it)."""
        return Counter({**self.app.most, "gateway": self.till.most})

    # ── webhooks ──

    def scheduler_tick(self) -> int:
        """One run of Action Scheduler: everything that is due is delivered. Gives how many."""
        self.catch_up()
        return webhooks.run(self.site)

    @contextmanager
    def background_scheduler(self, every: float = 1) -> Iterator[None]:
        """Deliver in the background, every so many seconds."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(every):
                self.scheduler_tick()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    # ── making ──

    def _move(self, ref: int, status: str) -> None:
        def change(order: Thing) -> None:
            orders.set_status(self.site, order, status)
            if status == "refunded":
                refunds.close(self.site, order)

        orders.change(self.site, ref, change)
