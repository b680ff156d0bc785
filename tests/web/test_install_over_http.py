"""Connecting the simulated WooCommerce shop, over real HTTP: its own wc-auth pages, its post of the keys, and our check of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from flask import Flask
from sqlalchemy import select
from waitress import wasyncore
from waitress.server import TcpWSGIServer, create_server

from adapters.simulators.woocommerce import PASSWORD, WooShop
from adapters.woocommerce.platform import WooPlatform
from connector.app import create_app
from connector.db import Database
from connector.domain.connecting import Misfortune
from connector.misfortunes import sentence
from connector.models import Install, Kind, OutboxRow, Shop, ShopStatus
from tests.web.conftest import START, settings_for
from tests.world import Clock

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


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


def told(why: Misfortune) -> str:
    """A misfortune's sentence as a page shows it."""
    return sentence(why).replace("“", "").replace("”", "")


@dataclass(slots=True)
class Place:
    """Our server and the world around it."""

    base: str
    database: Database

    def shops(self) -> list[Shop]:
        with self.database.reading() as session:
            return list(session.execute(select(Shop)).scalars())

    def installs(self) -> list[Install]:
        with self.database.reading() as session:
            return list(session.execute(select(Install)).scalars())


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Iterator[Place]:
    """Our application behind waitress, in development, with the real adapter."""
    served: list[Flask] = []

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        return served[0](environ, start)  # made once the port is known

    open_sockets: dict[int, Any] = {}
    server = create_server(app, map=open_sockets, host="127.0.0.1", port=0, threads=4)
    assert isinstance(server, TcpWSGIServer)
    assert server.socket is not None
    base = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    settings = settings_for(database, tmp_path, base_url=base, dev=True)
    served.append(create_app(settings, database=database, platforms={"woocommerce": WooPlatform(dev=True)}))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            wasyncore.loop(timeout=0.5, use_poll=True, map=open_sockets, count=1)

    thread = threading.Thread(target=serve)
    thread.start()
    yield Place(base, database)
    stop.set()
    server.pull_trigger()
    thread.join()
    server.task_dispatcher.shutdown()
    wasyncore.close_all(open_sockets)


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

    for fact in ("Connected", "WooCommerce 10.5.0", "EUR", "without tax", "Europe/ Amsterdam", "2 payment methods"):
        assert fact in merchant.reads()
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
        assert told(Misfortune.WRONG_KEYS) in merchant.reads()
        assert place.shops() == []
        assert stranger.requests == []  # it was never asked
    stranger.close()


def test_a_store_that_cannot_leave_its_keys_with_us_takes_them_back(place: Place, shop: WooShop, merchant: Merchant, clock: Clock) -> None:
    merchant.begin(shop.url)
    state = re.search(r"user_id=([A-Za-z0-9_-]+)", merchant.page.url)
    assert state
    clock.advance(timedelta(minutes=30))  # the page was left open over lunch
    merchant.press("approve")

    assert merchant.page.status_code == 401
    merchant.open(f"{place.base}{START}/return?success=1&user_id={state[1]}")
    assert "has not sent its keys" in merchant.reads()


@pytest.mark.parametrize(("permissions", "why"), [("read", Misfortune.READ_ONLY_KEYS), ("write", Misfortune.WRONG_KEYS)])
def test_a59_keys_that_may_not_do_both_connect_nothing(
    place: Place, shop: WooShop, merchant: Merchant, permissions: str, why: Misfortune
) -> None:
    key, secret = shop.add_key(permissions=permissions)
    merchant.open(f"{place.base}{START}")
    merchant.send(f"{place.base}{START}", token=merchant.hidden("token"), address=shop.url, key=key, secret=secret)

    assert told(why) in merchant.reads()
    assert secret not in merchant.page.text
    assert place.shops() == []


def test_a_store_that_is_mended_meanwhile_connects_with_the_keys_that_it_gave(place: Place, shop: WooShop, merchant: Merchant) -> None:
    merchant.begin(shop.url)
    merchant.press("approve")
    shop.plain_permalinks = True
    merchant.check()
    assert told(Misfortune.PLAIN_PERMALINKS) in merchant.reads()

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
