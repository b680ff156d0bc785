"""A shop with a returns page, and a shopper who visits it: follows what the pages offer, and sends what nobody should."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html import unescape
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from adapters.simulators.toy import Proof, ToyStore
from connector import links as addresses
from connector.db import Database
from connector.domain.orders import Order
from connector.links import Visit
from connector.models import Mail, Rma, Shop
from connector.secrets import Vault
from connector.services import links as status_links
from connector.services import lookup, mirroring
from connector.web.guards import FLOOR_SETTING
from connector.web.hosting import Hosting
from tests.web.conftest import BASE
from tests.world import Clock, World, an_order

KIM: Final = "kim@example.com"
POLICY: Final = """
format = 1
resolutions = ["refund", "store_credit"]
reasons = ["too_small", "defective", "other"]

[window]
days = 30

[store_credit]
bonus_percent = 10

[return_shipping_fee]
amount = { EUR = "5.00" }
free_for = ["defective"]

[authorise]
automatic = true
up_to = { EUR = "100.00" }
"""


def at_once_app(app: Flask) -> Flask:
    """The application without the floor of look-ups: most tests are about something else."""
    app.config[FLOOR_SETTING] = 0
    return app


def hosting_of(app: Flask) -> Hosting:
    found: Hosting = app.extensions["retour"]
    return found


@dataclass(slots=True)
class Front:
    """One shop's pages, with orders in its books."""

    app: Flask
    world: World
    handle: str

    @classmethod
    def open(cls, app: Flask, database: Database, clock: Clock, policy: str = POLICY) -> Front:
        vault = hosting_of(app).vault
        world = World(database, ToyStore(":memory:", Proof.REPLAY, clock=lambda: clock.now), clock, policy, vault)
        with database.reading() as session:
            handle = session.get_one(Shop, world.shop.id).handle
        assert handle is not None
        return cls(app, world, handle)

    @property
    def vault(self) -> Vault:
        return self.world.vault

    def keeps(self, order: Order) -> Order:
        """The order is known here."""
        with self.world.db.transaction() as session:
            now = self.world.clock.now
            mirroring.apply(session, self.world.shop, order, read_began=now, vault=self.vault, now=now)
        return order

    def path(self, rest: str = "") -> str:
        return addresses.portal(self.handle) + rest

    def visit(self, order: Order, email: str = KIM) -> str:
        return addresses.seal_visit(self.vault, self.world.shop.id, Visit(order.ref, email))

    def old_visit(self, order: Order) -> str:
        """A visit that began an hour ago."""
        settings = hosting_of(self.app).settings
        past = Vault.of(settings.secret_keys, settings.digest_key, clock=lambda: self.vault._clock() - timedelta(hours=1).total_seconds())
        return addresses.seal_visit(past, self.world.shop.id, Visit(order.ref, KIM))

    def link(self, rma: Rma) -> str:
        """The secret of a link to the RMA, as a mail carries it."""
        with self.world.db.transaction() as session:
            return status_links.mailed(session, rma.id, uuid.uuid4(), vault=self.vault, now=self.world.clock.now)

    def rmas(self) -> Sequence[Rma]:
        with self.world.db.reading() as session:
            return session.execute(select(Rma).where(Rma.shop_id == self.world.shop.id).order_by(Rma.requested_at, Rma.id)).scalars().all()

    def codes(self) -> list[tuple[str, str]]:
        """Who was mailed which code, oldest first."""
        with self.world.db.reading() as session:
            mails = session.execute(select(Mail).where(Mail.event == "code").order_by(Mail.made_at, Mail.id)).scalars().all()
        sealed = [json.loads(self.vault.decrypt("mail", mail.id.hex, mail.sealed)) for mail in mails if mail.sealed is not None]
        return [(values["email"], values["code"]) for values in sealed]


@dataclass(slots=True)
class Shopper:
    """A browser without scripts, and without cookies."""

    front: Front
    base: str = BASE
    network: str = "198.51.100.7"
    client: FlaskClient = field(init=False)
    page: str = ""

    def __post_init__(self) -> None:
        self.client = self.front.app.test_client(use_cookies=False)

    def elsewhere(self, network: str) -> Shopper:
        """Somebody else, on another network."""
        return Shopper(self.front, self.base, network)

    def get(self, rest: str, /, **query: str) -> TestResponse:
        return self._seen(self.client.get(self.front.path(rest), query_string=query, base_url=self.base))

    def open(self, location: str) -> TestResponse:
        """Follow an address that a page gave."""
        return self._seen(self.client.get(location, base_url=self.base))

    def post(self, rest: str, values: Mapping[str, object], headers: Mapping[str, str] | None = None) -> TestResponse:
        seen = {"REMOTE_ADDR": self.network}
        sent = self.client.post(
            self.front.path(rest), data=dict(values), base_url=self.base, headers=dict(headers or {}), environ_overrides=seen
        )
        return self._seen(sent)

    def find(self, number: str, email: str = KIM, **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.post("/find", {"number": number, "email": email}, named)

    def at(self, order: Order, step: str, /, **chosen: str) -> TestResponse:
        """A step of this order with these choices in its address."""
        return self.get(f"/{step}", order=order.number, visit=self.front.visit(order), **chosen)

    def fields(self) -> dict[str, str]:
        """The hidden fields of the page that is open."""
        found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', self.page)
        return {unescape(name): unescape(value) for name, value in found}

    def reviewing(
        self, order: Order, units: Mapping[str, int] | None = None, *, wanted: str = "refund", reason: str = "too_small"
    ) -> dict[str, str]:
        """The form of the last page, as it is sent."""
        chosen = choice(units or {"line-1": 1}, reason) | {"as": wanted}
        answer = self.at(order, "review", **chosen)
        assert answer.status_code == 200, answer.text
        return self.fields()

    def submits(self, order: Order, units: Mapping[str, int] | None = None, *, wanted: str = "refund", reason: str = "too_small") -> Rma:
        sent = self.post("/submit", self.reviewing(order, units, wanted=wanted, reason=reason))
        assert sent.status_code == 303, sent.text
        number = urlsplit(sent.location).path.rsplit("/", 1)[1]
        return next(rma for rma in self.front.rmas() if rma.number == number)

    def shown(self) -> str:
        """What a person reads."""
        return read(self.page)

    def _seen(self, answer: TestResponse) -> TestResponse:
        self.page = answer.text
        return answer


def choice(units: Mapping[str, int], reason: str = "too_small") -> dict[str, str]:
    """Items with their reason, as they travel in an address."""
    found = {f"n:{ref}": str(count) for ref, count in units.items()}
    return found | ({f"why:{ref}": reason for ref in units} if reason else {})


def read(page: str) -> str:
    """The text of a page."""
    body = page.partition("<body")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def query_of(location: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(location).query))


def numbered(number: str, **more: object) -> Order:
    """An order under this number, as a shop writes it."""
    ref = f"ref-{uuid.uuid4().hex[:8]}"
    return replace(an_order(ref), number=number, **more)  # type: ignore[arg-type]  # a test names what it changes


def spent_up(shopper: Shopper, number: str) -> None:
    """Somebody guesses until the number's budget is gone."""
    for guess in range(lookup.OF_A_NUMBER):
        assert shopper.find(number, f"guess{guess}@example.com").status_code == 422
