"""A small world for tests of the whole: a shop with a policy, orders in its books, and RMAs brought as far as wanted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

from sqlalchemy import select

from adapters.simulators.toy import ToyStore
from connector.db import Database
from connector.domain.orders import Buyer, LineRef, Order, OrderLine, OrderRef, Product, RateRef, Tax, Tender, TenderKind, TenderRef, Worth
from connector.domain.platform import Contact, ShopDomain, Store, Throttled
from connector.domain.policy import Claim
from connector.domain.rma import Disposition
from connector.domain.wanted import Payout
from connector.models import Refund, Resolution, Rma
from connector.secrets import Vault, new_key
from connector.services import desk, policies, shopper, shops
from connector.services.desk import Judged, Settlement
from connector.services.shops import ShopKeys, keys_of

POLICY = """
format = 1
resolutions = ["refund", "store_credit"]

[window]
days = 30

[authorise]
automatic = true
"""
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DELIVERED = START.date()
S = TypeVar("S", bound=Store)


@dataclass(slots=True)
class Clock:
    """A clock that tests move. The database's, for everything that reads it through `Database.now`."""

    now: datetime = START

    def advance(self, by: timedelta) -> None:
        """Only forward."""
        self.now += max(by, timedelta(0))


@dataclass(slots=True)
class WorldOf(Generic[S]):
    """One shop and its far side. `vault` and `policy` are whatever is cheapest that is real."""

    db: Database
    store: S
    clock: Clock
    policy: str = POLICY
    vault: Vault = field(default_factory=lambda: Vault.of([new_key()], new_key()))
    shop: ShopKeys = field(init=False)

    def __post_init__(self) -> None:
        """Install the shop and publish its policy."""
        with self.db.transaction() as session:
            now = self.db.now(session)
            platform, credentials = self.installed()
            domain = ShopDomain(f"{uuid.uuid4().hex}.example")
            shop = shops.connect(
                session, platform=platform, domain=domain, credentials=credentials, vault=self.vault, time_zone="UTC", now=now
            )
            policies.publish(session, shop, self.policy, effective_from=date(2026, 1, 1), who="owner", now=now)
            self.shop = keys_of(session, shop)

    def installed(self) -> tuple[str, Mapping[str, str]]:
        """The shop's platform, and the keys that it gave us."""
        raise NotImplementedError

    def requested(self, order: Order, units: Mapping[str, int]) -> uuid.UUID:
        """A shopper asks for a return of so many units of each line."""
        with self.db.reading() as session:
            began = self.db.now(session)
        fresh = self.read(order.ref)
        with self.db.transaction() as session:
            rma = shopper.request_return(
                session,
                self.shop,
                fresh,
                [Claim(LineRef(ref), count) for ref, count in units.items()],
                read_began=began,
                contact=Contact("kim@example.com", "Kim", "en"),
                form_token=uuid.uuid4().hex,
                vault=self.vault,
                now=self.db.now(session),
            )
        return rma.id

    def received(self, order: Order, units: Mapping[str, int]) -> uuid.UUID:
        """An RMA whose parcel came and was found to be fine."""
        rma = self.requested(order, units)
        arrived = {LineRef(ref): count for ref, count in units.items()}
        with self.db.transaction() as session:
            desk.receive(session, rma, arrived, who="dock", now=self.db.now(session))
            desk.inspect(
                session,
                rma,
                [Judged(ref, Disposition.RESTOCK, count) for ref, count in arrived.items()],
                who="dock",
                now=self.db.now(session),
            )
        return rma

    def resolve(self, rma: uuid.UUID, payout: Payout = Payout.ORIGINAL, *, who: str = "sam") -> uuid.UUID:
        """Staff look at what the RMA pays and say yes. Returns the resolution."""
        with self.db.reading() as session:
            began = self.db.now(session)
            ref = OrderRef(session.get_one(Rma, rma).order_ref)
        order = self.read(ref)
        with self.db.reading() as session:
            quote = desk.preview(session, rma, order, Settlement(payout=payout, expected=0, form_token=""))
        settlement = Settlement(payout=payout, expected=quote.total, form_token=uuid.uuid4().hex)
        with self.db.transaction() as session:
            made = desk.resolve(session, rma, order, settlement, read_began=began, vault=self.vault, who=who, now=self.db.now(session))
        return made.id

    def read(self, ref: OrderRef) -> Order:
        """The order as the shop shows it; where the shop is busy, people press the button again."""
        while True:
            try:
                return self.store.order(ref)
            except Throttled:
                continue

    def rows(self, rma: uuid.UUID | None = None) -> list[Refund]:
        """The shop's money rows, oldest first."""
        query = select(Refund).join(Resolution, Resolution.id == Refund.resolution_id).where(Refund.shop_id == self.shop.id)
        with self.db.reading() as session:
            found = session.execute(query.where(Resolution.rma_id == rma) if rma else query).scalars().all()
        return sorted(found, key=lambda row: row.reserved_at)


class World(WorldOf[ToyStore]):
    """A toy shop's."""

    @property
    def toy(self) -> ToyStore:
        """The shop itself: it is its own far side."""
        return self.store

    def installed(self) -> tuple[str, Mapping[str, str]]:
        """Its books, and what it can prove."""
        return "toy", {"books": str(self.toy.books), "proof": self.toy.proof.value}


def an_order(
    ref: str = "1001",
    *,
    units: int = 3,
    net: int = 3000,
    tax: int = 600,
    lines: int = 1,
    delivered: date = DELIVERED,
    tenders: Callable[[int], tuple[Tender, ...]] | None = None,
) -> Order:
    """An order of a few equal lines with one tax rate, paid by card. Minor units of EUR."""
    bought = tuple(
        OrderLine(
            LineRef(f"line-{n}"),
            units,
            Worth(net, (Tax(RateRef("vat"), tax),)),
            product=Product(title=f"Shirt {n}"),
            delivered_on=delivered,
        )
        for n in range(1, lines + 1)
    )
    total = sum(line.worth.gross for line in bought)
    paid = tenders(total) if tenders else (Tender(TenderRef("card"), total, kind=TenderKind.CARD, title="Visa 4242"),)
    return Order(
        OrderRef(ref), "EUR", total, number=ref, lines=bought, tenders=paid, placed_at=START, buyer=Buyer("kim@example.com", "1012", "NL")
    )
