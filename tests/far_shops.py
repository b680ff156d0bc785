"""The far sides of the tests that kill, pause and race the workers: a toy shop, and a simulated WooCommerce over HTTP.

Each says what really moved, whatever anybody was told, and hands over at every step that a request passes on its way.
"""

from __future__ import annotations

import base64
import json
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

import requests

from adapters.simulators.toy import Fault as ToyFault
from adapters.simulators.toy import Proof, ToyStore
from adapters.simulators.woocommerce import STEPS, Bought, Fault, Kind, Problem, Rate, ShopSettings, WooShop
from adapters.simulators.woocommerce.serving import serving
from adapters.simulators.woocommerce.site import GoesOn, PhpDied
from adapters.simulators.woocommerce.web import Environ, StartResponse
from adapters.woocommerce.answers import Answer
from adapters.woocommerce.guard import Guard
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.reading import LONGEST_RUN, QUIET
from adapters.woocommerce.store import WooStore
from adapters.woocommerce.wire import Call, Wire
from connector.domain import money
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Platform, Store
from connector.domain.wanted import Payout
from connector.models import MoneyKind
from connector.secrets import Vault
from tests.machinery import Stepped, Worker, far_step, on_behalf_of, step, working
from tests.world import World, WorldOf, an_order

SENT: Final = "before the payment"  # the near side's last step before the request is written
BEHIND: Final = frozenset({SENT, "in the gateway", *STEPS})  # from here on only the far side ends a request
_PATIENT: Final = 30  # PHP workers: none of them is waited for
_OURS: Final = re.compile(r"\[rma:([0-9a-f]{32})\]$")
_FACTS: Final = {"currency": "EUR", "decimals": "2", "gateways": "examplepay,test_card", "prices_include_tax": "no", "coupons": "yes"}


@dataclass(frozen=True, slots=True)
class Moved:
    """One payment, or one credit that can be spent. Minor units; `key` is its row's, and empty where it was not ours."""

    key: str
    reference: str
    minor: int


class Far(Protocol):
    """A far side.

    `quiet` is how long it is asked about what may have left, `longest` how long a request that left may be under way before nothing can
    be promised of it any more. `leaps`: how many seconds pass while nothing can be done. `pace`: its steps for each of a toy's.
    `workers`, `lines` and `payouts`: from which a schedule draws who works, what comes back of an order, and how it is paid.
    """

    quiet: timedelta
    longest: timedelta
    leaps: Sequence[float]
    pace: float
    workers: tuple[int, int]
    lines: tuple[int, int]
    payouts: Sequence[Payout]

    def open(self, db: Stepped, vault: Vault) -> WorldOf[Store]:
        """Installed, with a policy."""

    def sell(self, ref: str, *, units: int = 3, net: int = 3000, tax: int = 600, lines: int = 1) -> Order:
        """An order of equal lines that was paid and delivered."""

    def store(self, worker: Worker | None = None) -> Store:
        """As this worker's process holds it; None: as people do."""

    def platforms(self) -> Mapping[str, Platform]:
        """What reads its deliveries."""

    def moved(self) -> list[Moved]:
        """The books."""

    def torn(self, open_keys: Iterable[str]) -> list[str]:
        """What stands there half done, but for these keys; and what must never have happened there."""

    def tidy(self, key: str) -> bool:
        """Somebody in the shop's admin takes away what a request left half done. False: it left nothing."""

    def can_tell(self, kind: MoneyKind) -> bool:
        """Whether it can prove what became of a request."""

    def trouble(self, rng: random.Random) -> str:
        """Order something that goes wrong; gives its name."""

    def meanwhile(self, rng: random.Random, at: Collection[str]) -> tuple[str, Sequence[bytes]]:
        """Something that people over there do while workers are at these steps, and what the shop delivers of it."""

    def heal(self) -> None:
        """Nothing more goes wrong."""

    def close(self) -> None:
        """Go away."""


# ── The toy shop ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class ToyFar:
    """A toy shop, whose books are in this process."""

    proof: Proof
    clock: Callable[[], datetime]
    quiet: timedelta = timedelta(minutes=2)
    longest: timedelta = timedelta.max  # it keeps keys, or never resends
    leaps: Sequence[float] = (0.05, 0.3, 1, 5, 12, 31)
    pace: float = 1
    workers: tuple[int, int] = (1, 3)
    lines: tuple[int, int] = (1, 2)
    payouts: Sequence[Payout] = (Payout.ORIGINAL, Payout.STORE_CREDIT)
    toy: ToyStore = field(init=False)

    def __post_init__(self) -> None:
        self.toy = ToyStore(":memory:", self.proof, clock=self.clock, step=step)

    def open(self, db: Stepped, vault: Vault) -> WorldOf[Store]:
        return World(db, self.toy, db.test_clock, vault=vault)  # type: ignore[return-value]  # a store is only read from it

    def sell(self, ref: str, *, units: int = 3, net: int = 3000, tax: int = 600, lines: int = 1) -> Order:
        order = an_order(ref, units=units, net=net, tax=tax, lines=lines, delivered=self.clock().date())
        self.toy.place(order)
        return order

    def store(self, worker: Worker | None = None) -> ToyStore:
        return self.toy

    def platforms(self) -> Mapping[str, Platform]:
        return {}

    def moved(self) -> list[Moved]:
        return [Moved(paid.key, paid.reference, paid.told.amount.minor) for paid in self.toy.payments()]

    def torn(self, open_keys: Iterable[str]) -> list[str]:
        return []

    def tidy(self, key: str) -> bool:
        return False

    def can_tell(self, kind: MoneyKind) -> bool:
        return self.proof is not Proof.NONE

    def trouble(self, rng: random.Random) -> str:
        where = rng.choice(("refund", "credit", "refund", "credit", "look", "order", "mirror"))
        asked = (
            ToyFault.REFUSE,
            ToyFault.THROTTLE,
            ToyFault.LOSE_REQUEST,
            ToyFault.LATE,
            ToyFault.SLOW,
            ToyFault.LOSE_ANSWER,
            ToyFault.LOSE_ANSWER,
        )
        what = rng.choice(asked) if where in ("refund", "credit") else ToyFault.THROTTLE
        self.toy.fail_next(where, what, rng.choice((0.1, 3, 11, 29)))
        return f"{where} {what.value}"

    def meanwhile(self, rng: random.Random, at: Collection[str]) -> tuple[str, Sequence[bytes]]:
        return "", ()

    def heal(self) -> None:
        self.toy.heal()

    def close(self) -> None:
        self.toy.close()


# ── WooCommerce ─────────────────────────────────────────────────────────────────────────────────────────────────────


class SteppedWire(Wire):
    """The wire of one process, with a step around each request; it says whose request it is."""

    def send(self, request: requests.Request, call: Call) -> Answer:
        worker = working()
        if worker is None:
            return super().send(request, call)
        request.headers["X-Worker"] = worker.name
        step(f"before a {request.method}")
        if (asked := call.still_mine) is not None:
            call.still_mine = lambda: asked() and _passed(SENT)
        call.began = time.monotonic()  # its deadline is of real seconds, and ours are not
        answer = super().send(request, call)
        step(f"after a {request.method}")
        return answer


def _passed(name: str) -> bool:
    step(name)
    return True


class WooWorld(WorldOf[Store]):
    """A WooCommerce shop's."""

    def installed(self) -> tuple[str, Mapping[str, str]]:
        return "woocommerce", {}


@dataclass(eq=False)
class WooFar:
    """A simulated WooCommerce on localhost, and a real store object for each worker, as in processes of their own."""

    clock: Callable[[], datetime]
    quiet: timedelta = QUIET
    longest: timedelta = LONGEST_RUN
    leaps: Sequence[float] = (0.05, 1, 12, 125, 400)
    pace: float = 4
    workers: tuple[int, int] = (2, 4)
    lines: tuple[int, int] = (1, 3)
    payouts: Sequence[Payout] = (Payout.ORIGINAL, Payout.ORIGINAL, Payout.STORE_CREDIT)
    shop: WooShop = field(init=False)
    orders: list[int] = field(default_factory=list)
    by_hand: int = 0  # what the merchant gave back; minor units
    lied: bool = False  # a gateway pays and says no: what the shop believes to be left is not
    _workers: dict[str, Worker] = field(default_factory=dict)
    _stores: dict[str, WooStore] = field(default_factory=dict)
    _until: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.shop = WooShop(clock=self.clock, settings=ShopSettings(rates=(Rate("vat", "20.0000"),), time_zone="UTC"))
        self.shop.passing = far_step
        self.shop.pretend_tls = True  # signatures are of real time, and this shop's is not
        self._keys = self.shop.add_key()
        self._basic = "Basic " + base64.b64encode(":".join(self._keys).encode()).decode()
        port = self._until.enter_context(serving(self._app, self.shop.app.arriving, _PATIENT, 0, lambda: self.clock().timestamp()))
        self.shop.site.url = f"http://127.0.0.1:{port}"

    def _app(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        environ["HTTP_AUTHORIZATION"] = self._basic
        with on_behalf_of(self._workers.get(environ.get("HTTP_X_WORKER", ""))):
            yield from self.shop.app(environ, start)

    def open(self, db: Stepped, vault: Vault) -> WorldOf[Store]:
        return WooWorld(db, self.store(), db.test_clock, vault=vault)

    def sell(self, ref: str, *, units: int = 3, net: int = 3000, tax: int = 600, lines: int = 1) -> Order:
        """The tax is the shop's own, and `ref` its matter."""
        bought = [Bought(f"Shirt {n}", units, money.show(net, 2)) for n in range(1, lines + 1)]
        number = self.shop.place(bought)
        self.shop.complete(number)
        self.orders.append(number)
        return self.store().order(OrderRef(str(number)))

    def store(self, worker: Worker | None = None) -> WooStore:
        name = worker.name if worker else ""
        if name not in self._stores:
            platform = WooPlatform(dev=True)
            platform._lines.wire = SteppedWire(Guard(dev=True))
            credentials = dict(zip(("consumer_key", "consumer_secret"), self._keys, strict=True)) | {"url": self.shop.url}
            self._stores[name] = platform.connect(platform.shop_at(self.shop.url), credentials, _FACTS)
        if worker:
            self._workers[name] = worker
        return self._stores[name]

    def platforms(self) -> Mapping[str, Platform]:
        return {"woocommerce": WooPlatform(dev=True)}

    # ── the books ──

    def moved(self) -> list[Moved]:
        """What the gateway sent back, and the codes that were made."""
        paid = [Moved(_key(paid.reason), str(paid.refund), _minor(paid.amount)) for paid in self.shop.payments()]
        records = {key: refund for key, refund in self._records() if not refund["refunded_payment"]}
        codes = [coupon for coupon in self.shop.coupons() if len(coupon["code"].split("-")) == 2]  # the rest of a code is no new credit
        made = [(key, records.get(key)) for coupon in codes if (key := _of(coupon))]
        return paid + [Moved(key, str(record["id"]) if record else "", _minor(record["amount"]) if record else 0) for key, record in made]

    def torn(self, open_keys: Iterable[str]) -> list[str]:
        """Records that nobody was paid for, a key that was booked twice, and two of our refunds in the gateway at once."""
        moved = [one.key for one in self.moved()]
        booked = [key for key, _ in self._records() if key]
        found = [f"{key} is booked, and nothing came of it" for key in booked if key not in moved and key not in open_keys]
        found += [f"{key} is booked twice" for key in sorted({key for key in booked if booked.count(key) > 1})]
        met = [pair for pair in self.shop.till.met if all(map(_key, pair))]
        found += [f"in the gateway at once: {pair}" for pair in met]
        found += [said for order in self.orders if not self.lied and (said := self._overdrawn(order))]
        return found

    def asked(self) -> int:
        """How many requests for a refund came in."""
        return sum(1 for asked in self.shop.requests if asked.method == "POST" and asked.path.endswith("/refunds"))

    def tidy(self, key: str) -> bool:
        left = [(order, refund["id"]) for order in self.orders for refund in self.shop.refunds(order) if _key(refund["reason"]) == key]
        for order, refund in left:
            self.shop.delete_refund(order, refund)
        return bool(left)

    def _overdrawn(self, order: int) -> str:
        """Where more went back than was paid: through the gateway, as credit, or by the merchant's hand."""
        payments, total = self.shop.payments(order), _minor(self.shop.order(order)["total"])
        known = {paid.refund for paid in payments}
        back = sum(_minor(paid.amount) for paid in payments)
        back += sum(_minor(refund["amount"]) for refund in self.shop.refunds(order) if refund["id"] not in known)
        return f"order {order}: {back} of {total} went back" if back > total else ""

    def spend(self, code: str, net: str) -> OrderRef:
        """The shopper buys something with a code."""
        return OrderRef(str(self.shop.place([Bought("Socks", 1, net)], coupons=[code], email="kim@example.com")))

    def worth(self) -> tuple[int, int]:
        """What can still be spent of all codes, and what living orders have spent. Minor units."""
        free = sum(_minor(one["amount"]) for one in self.shop.coupons() if one["usage_count"] < (one["usage_limit"] or 1))
        orders = [order for ref in self.shop.orders() if (order := self.shop.order(ref))["status"] not in ("cancelled", "trash")]
        return free, sum(_minor(line["discount"]) for order in orders for line in order["coupon_lines"])

    def _records(self) -> list[tuple[str, Mapping[str, object]]]:
        return [(_key(refund["reason"]), refund) for order in self.orders for refund in self.shop.refunds(order)]

    def can_tell(self, kind: MoneyKind) -> bool:
        return kind is MoneyKind.CREDIT

    # ── trouble ──

    def trouble(self, rng: random.Random) -> str:
        where = rng.choice(list(TROUBLE))
        fault = rng.choice(TROUBLE[where])
        if where == "a step":
            where = rng.choice(STEPS)
        self.fails(where, fault)
        return f"{where} {fault.kind.value}" + (f" {fault.status}" if fault.status else "")

    def meanwhile(self, rng: random.Random, at: Collection[str]) -> tuple[str, Sequence[bytes]]:
        """An order is delivered again, or the merchant gives something back, by hand or through the gateway."""
        order = rng.choice(self.orders)
        if rng.random() < 0.7 or "before record" in at:  # there WooCommerce itself lets two through, and nobody else can help it
            return "a delivery", self._deliveries([order])
        amount = rng.choice((1, 250, _minor(self.shop.order(order)["total"]) // 3))
        try:
            self.shop.refund_in_admin(order, money.show(amount, 2), through_gateway=rng.random() < 0.5)
        except Problem:
            return "a refund in the admin, refused", ()
        except PhpDied:
            return "a refund in the admin, broken off", ()
        except GoesOn as on:
            on.rest()
        self.by_hand += amount
        return "a refund in the admin", self._deliveries([order])

    def _deliveries(self, orders: Iterable[int]) -> Sequence[bytes]:
        return [json.dumps(self.shop.order(order)).encode() for order in orders]

    def fails(self, where: str, fault: Fault) -> None:
        """Order it for the next time."""
        self.lied = self.lied or fault.kind is Kind.PAY_AND_REFUSE
        self.shop.fail_next(where, fault)

    def heal(self) -> None:
        self.shop.heal()

    def close(self) -> None:
        self._until.close()
        self.shop.close()


def _key(reason: object) -> str:
    """The key in a reason that ends with our marker."""
    found = _OURS.search(str(reason))
    return found[1] if found else ""


def _of(coupon: Mapping[str, object]) -> str:
    entries = coupon["meta_data"]
    assert isinstance(entries, list)
    return next((str(entry["value"]) for entry in entries if entry["key"] == "_rma_ref"), "")


def _minor(amount: object) -> int:
    return int(Decimal(str(amount)) * 100)


def _dying(kind: Kind) -> list[Fault]:
    """WordPress could say so, an empty 200, and the web server in front."""
    return [Fault(kind, status=status) for status in (0, 200, 502)]


def _late() -> list[Fault]:
    """The client gives up, and the shop goes on, at most for its longest run."""
    return [Fault(Kind.GO_ON, seconds=seconds) for seconds in (3, 31, 95, 500)]


def _written() -> list[Fault]:
    """What may become of any write: it never came, it was done and nobody heard, and somebody in between said something else."""
    pages = [Fault(Kind.PAGE, status=status, effect=effect) for status in (200, 502, 504) for effect in (False, True)]
    lost = [Fault(kind) for kind in (Kind.DROP, Kind.LOSE_ANSWER, Kind.LOSE_ANSWER, Kind.TRUNCATE, Kind.WAF, Kind.MAINTENANCE)]
    busy = Fault(Kind.ANSWER, words="{}", status=429, retry_after="3", content_type="application/json")
    return [*pages, *lost, busy, Fault(Kind.REDIRECT, effect=True), Fault(Kind.REDIRECT), Fault(Kind.LOGIN_WALL), Fault(Kind.NOTICE)]


_GATEWAY: Final = (
    *(Fault(kind) for kind in (Kind.REFUSE, Kind.RETURN_FALSE, Kind.THROW, Kind.PAY_AND_REFUSE)),
    *_dying(Kind.DIE_BEFORE_PAYING),
    *_dying(Kind.DIE_AFTER_PAYING),
    *_late(),
)
_READ: Final = (
    *(Fault(kind) for kind in (Kind.DROP, Kind.TRUNCATE, Kind.MAINTENANCE, Kind.LOGIN_WALL, Kind.NOTICE, Kind.BOM)),
    Fault(Kind.PAGE, status=503),
    Fault(Kind.ANSWER, words="{}", status=429, retry_after="3", content_type="application/json"),
)
TROUBLE: Final[Mapping[str, Sequence[Fault]]] = {
    "gateway": _GATEWAY,
    "a step": _dying(Kind.DIE),
    "POST refunds": (*_written(), *_late()),
    "POST coupons": (*_written(), *_late()),
    "PUT coupon": _written(),
    "PUT order": _written(),
    "GET refunds": _READ,
    "GET order": _READ,
    "GET coupons": _READ,
}
