"""What comes to the door for deliveries and how it is answered, over real HTTP: W1-W3, A01-A17, F34-F36, F40.

The real server, the real adapter, and deliveries that a WooCommerce 10.5 signed and sent.
"""

from __future__ import annotations

from typing import Final

import pytest

from connector.db import Database
from connector.models import Kind
from connector.secrets import Vault
from connector.services import inbox, shops
from tests.services.acts import work
from tests.web.postbox import (
    DOOR,
    PATH,
    House,
    Sent,
    Watched,
    at_once,
    connected,
    genuine,
    house,
    of_order,
    signed,
)  # fmt: skip

GENUINE: Final = ("order-created", "order-updated-after-refund", "action-refund-created", "error-payload")
NO_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "WooCommerce/10.5.0 Hookshot (WordPress/6.9.7)"}


# ── what is kept ──


@pytest.mark.parametrize("name", GENUINE)
def test_w1_w3_a_genuine_delivery_is_kept_encrypted_and_answered_with_an_empty_200(home: House, vault: Vault, name: str) -> None:
    sent = genuine(name)

    answer = home.post(sent)

    assert (answer.status, answer.body) == (200, b"")
    (hint,) = home.hints()
    assert hint.body is not None
    assert b"zoe@example.com" not in hint.body
    assert vault.decrypt_bytes("hint", hint.id.hex, hint.body) == sent.body
    assert hint.topic == sent.headers["X-WC-Webhook-Topic"]
    assert (hint.ref, hint.taken_at, hint.delivery) == (None, None, None)


def test_w1_a_refresh_will_come_two_seconds_later_and_one_serves_many(home: House) -> None:
    for ref in range(1, 6):
        assert home.posted(of_order(ref)) == 200

    (row,) = work(home.db, Kind.REFRESH.value)
    assert row.available_at == home.hints()[0].received_at + inbox.REFRESH_AFTER


def test_w1_nothing_of_a_body_is_looked_into(home: House) -> None:
    assert home.posted(signed(b"\xff\x00 no JSON at all")) == 200
    assert len(home.hints()) == 1


def test_w3_different_events_that_share_a_delivery_id_are_all_kept(home: House) -> None:
    """WooCommerce 10.5: the id is a hash of webhook and second (verified)."""
    sent = [of_order(ref).but(delivery_id="68b56c99c851dc0f4c070be519912cf7") for ref in range(1, 11)]

    assert {home.posted(each) for each in sent} == {200}
    assert len(home.hints()) == 10


def test_w3_a12_the_unsigned_greeting_is_answered_and_forgotten(home: House) -> None:
    answer = home.post(Sent(NO_HEADERS, b"webhook_id=2"))

    assert (answer.status, answer.body) == (200, b"")
    assert home.hints() == []


@pytest.mark.parametrize("body", [b"webhook_id=2&id=1", b"webhook_id=", b"webhook_id=two", b"", b'{"id":1}'])
def test_w3_a12_what_only_resembles_a_greeting_is_refused(home: House, body: bytes) -> None:
    assert home.posted(Sent(NO_HEADERS, body)) == 401


def test_w3_a_greeting_that_calls_itself_a_delivery_is_refused(home: House) -> None:
    assert home.posted(genuine("order-created").but(b"webhook_id=2", signature=None)) == 401


@pytest.mark.parametrize("topic", ["order.deleted", "order.restored", "order.updated", "customer.created", "action.woocommerce_x"])
def test_w3_every_signed_topic_is_kept(home: House, topic: str) -> None:
    assert home.posted(signed(b'{"id":218}', topic=topic)) == 200
    assert [hint.topic for hint in home.hints()] == [topic]


def test_f34_the_same_delivery_a_hundred_times_in_parallel_is_one_hint(home: House) -> None:
    sent = genuine("order-created")

    assert set(at_once([lambda: home.posted(sent)] * 100)) == {200}
    assert len(home.hints()) == 1
    assert len(work(home.db, Kind.REFRESH.value)) == 1


def test_f35_f36_order_and_age_of_deliveries_mean_nothing(home: House) -> None:
    for name in reversed(GENUINE):  # signed a long time ago
        assert home.posted(genuine(name)) == 200
    assert len(home.hints()) == len(GENUINE)


def test_f40_a_burst_is_kept_to_the_last_one(home: House) -> None:
    def deliver(first: int) -> set[int]:
        return {home.posted(of_order(ref % 150, seen=ref // 300)) for ref in range(first, 600, 8)}

    assert at_once([lambda first=first: deliver(first) for first in range(8)]) == [{200}] * 8  # type: ignore[misc]  # a default
    assert len(home.hints()) == 300


# ── whom we know ──


def test_a_door_that_nobody_lives_behind_is_not_found_and_costs_one_look(database_url: str, database: Database, vault: Vault) -> None:
    connected(database, vault)
    watched = Watched(database_url)
    with house(watched, vault) as here:
        assert {here.posted(genuine("order-created"), "/webhooks/woocommerce/nobody-lives-here") for _ in range(20)} == {404}
        assert watched.reads == 1
        assert here.posted(genuine("order-created")) == 200
    watched.dispose()


def test_a_shop_that_uninstalled_is_gone(database: Database, vault: Vault) -> None:
    shop = connected(database, vault)
    with database.transaction() as session:
        shops.uninstall(session, shop, who="sam", now=database.now(session))
    with house(database, vault) as here:
        assert here.posted(genuine("order-created")) == 410
        assert here.posted(signed(b"{}", secret="")) == 410
        assert here.hints() == []


def test_what_comes_for_a_shop_that_uninstalled_a_moment_ago_is_dropped(home: House, vault: Vault) -> None:
    assert home.posted(of_order(1)) == 200
    with home.db.transaction() as session:
        shops.uninstall(session, home.hints()[0].shop_id, who="sam", now=home.db.now(session))

    assert home.posted(of_order(2)) == 200
    assert len(home.hints()) == 1


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}/",
        f"{PATH}//",
        "/webhooks/woocommerce/",
        "/webhooks/woocommerce",
        f"/webhooks/shopify/{DOOR}",
        f"/webhooks/WooCommerce/{DOOR}",
        f"/webhooks/woocommerce/x/../{DOOR}",
        f"{PATH}%00",
        f"{PATH}%2f",
        "/webhooks/woocommerce/short",
        f"/webhooks/woocommerce/{'x' * 300}",
    ],
)
def test_no_address_leads_to_another_one(home: House, path: str) -> None:
    """WooCommerce takes a redirect for success and does not follow it (10.5, verified)."""
    assert home.posted(genuine("order-created"), path) == 404
    assert home.hints() == []


def test_slashes_before_an_address_are_one(home: House) -> None:
    assert home.posted(genuine("order-created"), f"/{PATH}") == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_the_door_takes_what_is_posted_and_nothing_else(home: House, method: str) -> None:
    assert home.post(genuine("order-created"), method=method).status == 404
    assert home.beyond == [PATH]
