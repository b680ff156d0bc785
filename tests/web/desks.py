"""A desk over a simulated WooCommerce shop: orders, returns brought as far as wanted, and members of staff with browsers of their own."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Final

from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from adapters.simulators.woocommerce import Bought, WooShop
from adapters.woocommerce.platform import WooPlatform
from connector import wiring
from connector.app import create_app
from connector.db import Database
from connector.domain.orders import LineRef, OrderRef
from connector.domain.platform import Contact, Store
from connector.domain.policy import Claim
from connector.domain.rma import Disposition, RmaState
from connector.domain.terms import Resolution as Wanted
from connector.models import Entry, Refund, Resolution, Rma, Role, Shop
from connector.secrets import Vault
from connector.services import desk, installs, outbox, policies, shopper, shops, staff
from connector.services.desk import Judged
from connector.services.shops import ShopKeys
from connector.services.staff import Member
from jobs import drain
from jobs.site import Site
from tests.web.conftest import BASE, Browser, settings_for
from tests.world import Clock

POLICY: Final = """
format = 1
reasons = ["too_small", "damaged"]
resolutions = ["refund", "store_credit"]

[window]
days = 30

[authorise]
automatic = false
"""
FAST: Final = {"LOOK_UP_FLOOR": 0}
_NOBODY: Final = "http://127.0.0.1:9"  # what is delivered there is lost


@dataclass(slots=True)
class Sitting:
    """Somebody at the desk, with their browser."""

    office: Office
    member: Member
    browser: Browser

    @property
    def page(self) -> str:
        return self.browser.page

    def get(self, path: str = "") -> TestResponse:
        return self.browser.get(f"{self.office.path}{path}")

    def post(self, path: str, values: Mapping[str, str | Sequence[str]] | None = None, **more: str) -> TestResponse:
        """Send a form of the page that is open: with its word, and with what it says of its return."""
        hidden = {name: found for name in ("word", "seen", "asked") if (found := value_of(self.browser.page, name))}
        return self.send(path, hidden | dict(values or {}) | more)

    def send(self, path: str, values: Mapping[str, str | Sequence[str]]) -> TestResponse:
        """Exactly these values."""
        answer = self.browser.client.post(f"{self.office.path}{path}", data=dict(values), base_url=self.browser.base)
        self.browser.page = answer.text
        return answer

    def twin(self) -> Sitting:
        """The same visit, for what is sent at the same time."""
        other = Browser(self.browser.app, self.browser.base)
        other.client._cookies = dict(self.browser.client._cookies or {})
        return Sitting(self.office, self.member, other)

    def text(self) -> str:
        """What a person reads."""
        return shown(self.browser.page)


@dataclass(slots=True)
class Office:
    """One shop and its desk."""

    db: Database
    woo: WooShop
    clock: Clock
    app: Flask
    vault: Vault = field(repr=False)
    site: Site = field(repr=False)
    shop: ShopKeys = field(repr=False)
    handle: str

    @property
    def path(self) -> str:
        return f"/desk/{self.handle}"

    def member(self, role: Role = Role.MONEY, email: str = "") -> tuple[Member, str]:
        """Somebody who was invited, and the secret of a link for them."""
        with self.db.transaction() as session:
            email = email or f"{uuid.uuid4().hex[:8]}@example.com"
            member = staff.invite(session, self.shop.id, email, role, by="operator", vault=self.vault, now=self.clock.now)
            return member, staff.link(session, member.id, vault=self.vault, now=self.clock.now)

    def seat(self, role: Role = Role.MONEY, email: str = "", browser: Browser | None = None) -> Sitting:
        """Somebody who signed in, through the page."""
        member, secret = self.member(role, email)
        browser = browser or Browser(self.app)
        browser.get(f"{self.path}/enter?link={secret}")
        answer = browser.post(f"{self.path}/enter", {"link": browser.hidden("link")})
        assert answer.status_code == 303, answer.text
        return Sitting(self, member, browser)

    def order(self, *bought: Bought, **how: object) -> int:
        """An order of the shop."""
        return self.woo.place(bought or (Bought("Wool scarf", 2, "60.00"),), **how)  # type: ignore[arg-type]  # a test names what it changes

    def asked(
        self,
        order: int,
        units: Sequence[int] = (1,),
        *,
        wanted: Wanted | None = Wanted.REFUND,
        said: str = "",
        contact: Contact | None = None,
    ) -> str:
        """A shopper asks for a return of so many units of each line. Its number."""
        found = self.site.open_store(self.shop).order(OrderRef(str(order)))
        with self.db.transaction() as session:
            claims = [Claim(line.id, count, "too_small", "opened") for line, count in zip(found.lines, units, strict=False) if count]
            made = shopper.request_return(
                session,
                self.shop,
                found,
                claims,
                read_began=self.clock.now,
                contact=contact or Contact("kim@example.com", "Kim de Vries", "en"),
                form_token=uuid.uuid4().hex,
                wanted=wanted,
                said=said,
                vault=self.vault,
                now=self.clock.now,
            )
            return made.number

    def authorised(self, order: int, units: Sequence[int] = (1,), **how: object) -> str:
        number = self.asked(order, units, **how)  # type: ignore[arg-type]
        if self.state(number) is RmaState.REQUESTED:  # the policy may have
            with self.db.transaction() as session:
                desk.authorise(session, self._id(session, number), who="policy", now=self.clock.now)
        return number

    def received(self, order: int, units: Sequence[int] = (1,), **how: object) -> str:
        number = self.authorised(order, units, **how)
        with self.db.transaction() as session:
            rma = self._id(session, number)
            desk.receive(session, rma, self._claimed(session, rma), who="dock", now=self.clock.now)
        return number

    def inspected(self, order: int, units: Sequence[int] = (1,), **how: object) -> str:
        number = self.received(order, units, **how)
        with self.db.transaction() as session:
            rma = self._id(session, number)
            fine = [Judged(ref, Disposition.RESTOCK, count) for ref, count in self._claimed(session, rma).items()]
            desk.inspect(session, rma, fine, who="dock", now=self.clock.now)
        return number

    def pay(self) -> None:
        """Work off what was decided, as workers do."""
        for _ in range(20):
            with self.db.transaction() as session:
                claimed = outbox.claim(session, kinds=["settle"], limit=9, now=self.clock.now)
            if not claimed:
                return
            for row in claimed:
                drain.work_one(self.site, row)
            self.clock.advance(timedelta(seconds=1))

    def state(self, number: str) -> RmaState:
        with self.db.reading() as session:
            return session.execute(select(Rma.state).where(Rma.shop_id == self.shop.id, Rma.number == number)).scalar_one()

    def rows(self) -> list[Refund]:
        with self.db.reading() as session:
            return list(session.execute(select(Refund).where(Refund.shop_id == self.shop.id).order_by(Refund.reserved_at)).scalars())

    def decided(self) -> list[Resolution]:
        with self.db.reading() as session:
            return list(session.execute(select(Resolution).where(Resolution.shop_id == self.shop.id)).scalars())

    def happened(self, what: str) -> list[Entry]:
        with self.db.reading() as session:
            query = select(Entry).where(Entry.shop_id == self.shop.id, Entry.what == what)
            return list(session.execute(query.order_by(Entry.happened_at)).scalars())

    def rma(self, number: str) -> uuid.UUID:
        with self.db.reading() as session:
            return self._id(session, number)

    def lines(self, number: str) -> list[LineRef]:
        with self.db.reading() as session:
            return list(self._claimed(session, self._id(session, number)))

    def _id(self, session: Session, number: str) -> uuid.UUID:
        return session.execute(select(Rma.id).where(Rma.shop_id == self.shop.id, Rma.number == number)).scalar_one()

    def _claimed(self, session: Session, rma: uuid.UUID) -> dict[LineRef, int]:
        from connector.services import rmas

        return {LineRef(line.line_ref): line.quantity for line in rmas.lines(session, rma)}


def value_of(page: str, name: str) -> str:
    """The value of the first hidden field of that name, or nothing."""
    found = re.search(rf'<input type="hidden" name="{re.escape(name)}" value="([^"]*)">', page)
    return unescape(found[1]) if found else ""


def shown(page: str) -> str:
    """What a person reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


@contextmanager
def office(database: Database, clock: Clock, directory: Path, *, policy: str = POLICY, **changes: object) -> Iterator[Office]:
    """A connected shop with a policy, and the application that its staff come to."""
    clock.now = datetime.now(UTC)  # the store's clock is a real one: who signs must not be fifteen minutes off
    woo = WooShop(":memory:")
    settings = settings_for(database, directory, **({"smtp_url": "smtp://127.0.0.1:9", "mail_from": "desk@example.com"} | changes))
    vault, platform = wiring.vault(settings), WooPlatform(dev=True)

    def store_for(keys: ShopKeys) -> Store:
        return platform.connect(keys.domain, shops.unseal(vault, keys), keys.facts)

    with woo.serving() as url:
        key, secret = woo.add_key()
        credentials = {"consumer_key": key, "consumer_secret": secret}
        domain = platform.shop_at(url)
        facts = platform.connect(domain, credentials, {}).probe()
        with database.transaction() as session:
            shop = installs.connect(session, "woocommerce", domain, credentials, facts, vault=vault, who="merchant", now=clock.now)
            for age in (timedelta(days=400), timedelta(0)):  # the second takes the place of the one that came with the shop
                policies.publish(session, shop, policy, effective_from=(clock.now - age).date(), who="merchant", now=clock.now)
            handle = session.get_one(Shop, shop).handle
            keys = shops.keys_of(session, shop)
        app = create_app(settings, database=database, platforms={platform.name: platform})
        app.config.update(FAST)
        yield Office(database, woo, clock, app, vault, Site(database, store_for, vault=vault, base_url=_NOBODY), keys, str(handle))
    woo.close()


__all__ = ["BASE", "POLICY", "Bought", "Office", "Sitting", "office", "shown", "value_of"]
