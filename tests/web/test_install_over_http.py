"""Connecting the simulated WooCommerce shop, over real HTTP: its own wc-auth pages, its post of the keys, and our check of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import pytest
import requests
from sqlalchemy import select
from waitress import create_server

from adapters.simulators.woocommerce import PASSWORD, WooShop
from adapters.woocommerce.platform import WooPlatform
from connector.app import create_app
from connector.db import Database
from connector.domain.connecting import Misfortune
from connector.misfortunes import sentence
from connector.models import Install, Kind, OutboxRow, Shop, ShopStatus
from connector.web.hosting import Hosting
from tests.web.conftest import START, settings_for


@dataclass(slots=True)
class Merchant:
    """A browser on real sockets. It follows redirects, as browsers do, and looks for what to press."""

    base: str
    web: requests.Session = field(default_factory=requests.Session)
    page: requests.Response = field(default_factory=requests.Response)

    def begin(self, address: str) -> None:
        """Type the address, arrive at the store and sign in there."""
        self.open(f"{self.base}{START}")
        self.send(f"{self.base}{START}", token=self.hidden("token"), address=address)
        if "/wc-auth/" in self.page.url:
            self.send(self.page.url, username="owner", password=PASSWORD, login="Login")

    def press(self, kind: str) -> None:
        """Press Approve or Deny over there."""
        found = re.search(rf'<a href="([^"]+)" class="button wc-auth-{kind}"', self.page.text)
        assert found, self.page.text
        self.open(unescape(found[1]))

    def check(self) -> None:
        """Press the button that asks the store."""
        self.send(f"{self.base}{START}/check", install=self.hidden("install"))

    def hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page.text)
        assert found, self.page.text
        return unescape(found[1])

    def open(self, url: str) -> None:
        self.page = self.web.get(url, timeout=30)

    def send(self, url: str, **form: str) -> None:
        self.page = self.web.post(url, data=form, timeout=30)

    def reads(self) -> str:
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub(r"</?code>", "", self.page.text))).split())


@dataclass(slots=True)
class Place:
    """Our server and the world around it."""

    base: str
    database: Database
    hosting: Hosting

    def shops(self) -> list[Shop]:
        with self.database.reading() as session:
            return list(session.execute(select(Shop)).scalars())

    def installs(self) -> list[Install]:
        with self.database.reading() as session:
            return list(session.execute(select(Install)).scalars())


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Iterator[Place]:
    """Our application behind waitress, in development, with the real adapter."""
    served: list[Callable[..., object]] = []
    server = create_server(lambda environ, start: served[0](environ, start), host="127.0.0.1", port=0, threads=4)
    base = f"http://127.0.0.1:{server.effective_port}"  # type: ignore[union-attr]  # one socket
    app = create_app(
        settings_for(database, tmp_path, base_url=base, dev=True), database=database, platforms={"woocommerce": WooPlatform(dev=True)}
    )
    served.append(app.wsgi_app)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield Place(base, database, app.extensions["retour"])
    server.close()
    thread.join(5)


@pytest.fixture
def shop() -> Iterator[WooShop]:
    shop = WooShop(":memory:")
    shop.pretend_tls = True  # keys are posted to an http address of this machine
    with shop.serving():
        yield shop
    shop.close()


@pytest.fixture
def merchant(place: Place) -> Merchant:
    return Merchant(place.base)


def test_i2_a_merchant_approves_in_the_store_and_the_store_is_connected(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    assert "Approving will share credentials with 127.0.0.1" in merchant.reads()
    merchant.press("approve")
    assert "Approved. Now the check" in merchant.reads()
    assert place.shops() == []

    merchant.check()

    for told in ("Connected", "WooCommerce 10.5.0", "EUR", "without tax", "Europe/ Amsterdam", "1 payment method"):
        assert told in merchant.reads()
    (connected,) = place.shops()
    assert connected.status == ShopStatus.ACTIVE
    assert (connected.facts or {})["url"] == shop.url
    with place.database.reading() as session:
        kinds = session.execute(select(OutboxRow.kind)).scalars().all()
    assert {Kind.POLL, Kind.IMPORT} <= set(kinds)


def test_a_merchant_who_denies_is_back_without_a_word_of_keys(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    merchant.press("deny")

    assert "You did not approve Retour" in merchant.reads()
    assert [install.grant for install in place.installs()] == [None]
    assert place.shops() == []


def test_a57_approving_twice_leaves_one_key_and_connects_with_it(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    page = merchant.page
    merchant.press("approve")
    back = merchant.page
    merchant.page = page
    merchant.press("approve")  # the page was still open in another tab
    assert merchant.page.status_code == 401
    assert "Error" in merchant.reads()  # the store has taken its second key back

    merchant.page = back
    merchant.check()

    assert "Connected" in merchant.reads()
    assert len(place.shops()) == 1


def test_a59_keys_of_a_strangers_store_connect_nothing(place: Place, shop: WooShop, merchant: Merchant) -> None:
    stranger = WooShop(":memory:")
    with stranger.serving():
        key, secret = stranger.add_key()
        merchant.begin(shop.url)
        state = re.search(r"user_id=([A-Za-z0-9_-]+)", merchant.page.url)
        assert state
        forged = {"key_id": 1, "user_id": state[1], "consumer_key": key, "consumer_secret": secret, "key_permissions": "read_write"}
        assert requests.post(f"{place.base}{START}/callback", json=forged, timeout=30).status_code == 200  # believed by nobody
        merchant.open(f"{place.base}{START}/return?success=1&user_id={state[1]}")
        merchant.check()

        assert merchant.page.status_code == 422
        assert sentence(Misfortune.WRONG_KEYS) in merchant.reads()
        assert place.shops() == []
        assert stranger.requests == []  # it was never asked
    stranger.close()


def test_a_store_that_cannot_leave_its_keys_with_us_takes_them_back(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    state = re.search(r"user_id=([A-Za-z0-9_-]+)", merchant.page.url)
    assert state
    merchant.send(merchant.page.url)  # still its approve page
    with place.database.transaction() as session:
        session.execute(select(Install)).scalar_one().begun_at -= __import__("datetime").timedelta(hours=1)
    merchant.press("approve")

    assert merchant.page.status_code == 401
    merchant.open(f"{place.base}{START}/return?success=1&user_id={state[1]}")
    assert "has not sent its keys" in merchant.reads()


@pytest.mark.parametrize("permissions", ["read", "write"])
def test_a59_keys_that_may_not_do_both_are_told_apart(place: Place, shop: WooShop, merchant: Merchant, permissions: str) -> None:
    key, secret = shop.add_key(permissions=permissions)
    merchant.open(f"{place.base}{START}")
    merchant.send(f"{place.base}{START}", token=merchant.hidden("token"), address=shop.url, key=key, secret=secret)

    assert sentence(Misfortune.READ_ONLY_KEYS).replace("“", "").replace("”", "") in merchant.reads()
    assert place.shops() == []


def test_a_store_that_is_mended_meanwhile_connects_with_the_keys_that_it_gave(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    merchant.press("approve")
    shop.plain_permalinks = True
    merchant.check()
    assert sentence(Misfortune.PLAIN_PERMALINKS) in merchant.reads()

    shop.plain_permalinks = False
    merchant.check()

    assert "Connected" in merchant.reads()
    assert len(place.shops()) == 1


def test_a_shop_that_lost_its_keys_is_connected_again_with_its_history(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    merchant.press("approve")
    merchant.check()
    (before,) = place.shops()

    merchant.begin(shop.url)
    merchant.press("approve")
    merchant.check()

    (after,) = place.shops()
    assert "Connected" in merchant.reads()
    assert (after.id, after.door) == (before.id, before.door)
    assert after.credentials != before.credentials
