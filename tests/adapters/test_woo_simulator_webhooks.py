"""Webhooks of the simulated shop: genuine headers and bodies, and the habits of Action Scheduler."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from adapters.simulators.woocommerce import Gateway, ShopSettings, WooShop
from tests.adapters.test_woo_simulator_shapes import CANADA, refund_of, tote_order
from tests.adapters.woo_simulator import FREE, Client, Clock, differences, sample

SECRET = "whsec_sample_0123456789abcdef"


class Inbox(HTTPServer):
    """Receives deliveries, and answers what it is told to."""

    def __init__(self) -> None:
        self.status, self.got = 200, list[tuple[dict[str, str], bytes]]()
        super().__init__(("127.0.0.1", 0), _Receiver)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/woo"

    def taken(self) -> list[tuple[str, Any]]:
        """Topics and bodies since the last time, pings left out."""
        found = [(headers["X-WC-Webhook-Topic"], json.loads(body)) for headers, body in self.got if "X-WC-Webhook-Topic" in headers]
        self.got.clear()
        return found

    def topics(self) -> list[str]:
        return [topic for topic, _ in self.taken()]


class _Receiver(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        self.server.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Inbox]:
    with Inbox() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with receiving() as server:
        yield server


@pytest.fixture
def client(clock: Clock, request: pytest.FixtureRequest) -> Iterator[Client]:
    shop = WooShop(clock=clock, settings=getattr(request, "param", ShopSettings(gateways=(Gateway("test_card", "Card", refunds=True),))))
    shop.pretend_tls = True
    with shop.serving() as url:
        yield Client(shop, url, shop.add_key())
    shop.close()


def subscribe(client: Client, inbox: Inbox, *topics: str) -> list[int]:
    found = []
    for topic in topics or ("order.created", "order.updated", "order.deleted", "order.restored", "action.woocommerce_refund_created"):
        made = client.post("webhooks", {"name": topic, "topic": topic, "delivery_url": inbox.url, "secret": SECRET})
        assert client.last.status_code == 201, made
        found.append(made["id"])
    return found


def test_making_one_sends_a_ping_without_signature_while_the_client_waits(client: Client, inbox: Inbox) -> None:
    genuine = sample("webhook-create-and-ping")["ping"]

    (ref,) = subscribe(client, inbox, "order.updated")

    ((headers, body),) = inbox.got
    assert body == genuine["body_raw"].replace("15", str(ref)).encode()
    assert {key: value for key, value in headers.items() if key not in {"Host", "Content-Length"}} == {
        key: value for key, value in genuine["headers"].items() if key != "Content-Length"
    }


@pytest.mark.parametrize("client", [CANADA], indirect=True)
def test_deliveries_are_genuine_in_headers_signature_and_body(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "order.created", "order.updated", "action.woocommerce_refund_created")
    order = tote_order(client)
    client.shop.scheduler_tick()
    created = next(one for one in inbox.got if one[0].get("X-WC-Webhook-Topic") == "order.created")
    inbox.got.clear()
    client.post(f"orders/{order['id']}/refunds", refund_of(order))
    client.shop.scheduler_tick()

    for name, (headers, body) in zip(
        ("webhook-order-created", "webhook-order-updated-after-refund", "webhook-action-refund-created"), (created, *inbox.got), strict=True
    ):
        genuine = sample(name)
        ours = {key: value for key, value in headers.items() if key != "Host"}
        free = {"Content-Length", "X-WC-Webhook-Source", "X-WC-Webhook-Signature", "X-WC-Webhook-ID", "X-WC-Webhook-Delivery-ID"}
        assert set(ours) == set(genuine["headers"])
        assert {key: value for key, value in ours.items() if key not in free} == {
            key: value for key, value in genuine["headers"].items() if key not in free
        }
        assert differences(json.loads(body), json.loads(genuine["body_raw"]), FREE | {"arg"}) == []
        signature = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
        assert (headers["X-WC-Webhook-Signature"], len(headers["X-WC-Webhook-Delivery-ID"])) == (signature, 32)
    assert (b"Zo\\u00eb" in created[1], b"door \\/ 2nd" in created[1], b": " in created[1].replace(b"&", b"")) == (True, True, False)


def test_the_bodies_are_written_exactly_as_php_writes_them(client: Client) -> None:
    from adapters.simulators.woocommerce.render import to_json

    for name in ("webhook-order-created", "webhook-order-updated-after-refund", "webhook-error-payload", "webhook-action-refund-created"):
        raw = sample(name)["body_raw"]
        assert to_json(json.loads(raw)) == raw.encode()
    del client


def test_each_act_sends_its_own_topics(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox)
    shop = client.shop
    order = shop.place()

    def heard() -> list[str]:
        shop.scheduler_tick()
        return inbox.topics()

    assert heard() == ["order.created", "order.updated"]
    shop.complete(order)
    assert heard() == ["order.updated"]
    client.post(f"orders/{order}/refunds", {"amount": "1.00"})
    assert heard() == ["order.updated", "action.woocommerce_refund_created"]
    shop.trash(order)
    shop.scheduler_tick()
    assert inbox.taken() == [("order.deleted", {"id": order})]
    shop.untrash(order)
    assert heard() == ["order.restored"]


def test_a_restore_by_status_sends_nothing_though_the_date_moves(client: Client, inbox: Inbox, clock: Clock) -> None:
    subscribe(client, inbox)
    order = client.shop.place()
    client.shop.trash(order)
    client.shop.scheduler_tick()
    inbox.got.clear()

    clock.advance(60)
    client.put(f"orders/{order}", {"status": "processing"})
    client.shop.scheduler_tick()

    assert (inbox.topics(), client.shop.order(order)["date_modified_gmt"]) == ([], "2026-11-21T19:30:52")


def test_permanent_deletion_refund_deletion_by_rest_and_notes_send_nothing(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "order.updated", "order.deleted", "action.woocommerce_refund_deleted")
    shop, (kept, gone) = client.shop, (client.shop.place(), client.shop.place())
    refund = shop.refund_in_admin(kept, "1.00")
    by_hand = shop.refund_in_admin(kept, "2.00")
    shop.scheduler_tick()
    inbox.got.clear()

    shop.delete(gone)
    client.ask("DELETE", f"orders/{kept}/refunds/{refund}", force="true")
    client.post(f"orders/{kept}/notes", {"note": "x"})
    assert shop.scheduler_tick() == 0

    shop.delete_refund(kept, by_hand)  # the admin's own button does
    shop.scheduler_tick()
    assert inbox.taken() == [("action.woocommerce_refund_deleted", {"action": "woocommerce_refund_deleted", "arg": by_hand})]


def test_redeeming_a_coupon_sends_no_coupon_webhook(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "coupon.updated")
    client.shop.add_coupon("c", "1.00")

    client.shop.cancel(client.shop.place(coupons=["c"]))

    assert client.shop.scheduler_tick() == 0


def test_three_quick_edits_are_one_delivery_of_the_last_state(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "order.updated")
    order = client.shop.place()
    for note in ("1", "2", "3"):
        client.put(f"orders/{order}", {"customer_note": note})

    client.shop.scheduler_tick()

    assert [body["customer_note"] for _, body in inbox.taken()] == ["3"]


def test_different_events_of_one_second_share_a_delivery_id(client: Client, inbox: Inbox, clock: Clock) -> None:
    subscribe(client, inbox, "order.created")
    for _ in range(3):
        client.shop.place()
    client.shop.scheduler_tick()
    clock.advance(1)
    client.shop.place()
    client.shop.scheduler_tick()

    found = [headers["X-WC-Webhook-Delivery-ID"] for headers, _ in inbox.got if "X-WC-Webhook-ID" in headers]
    assert (len(found), len(set(found)), len(set(found[:3]))) == (4, 2, 1)


@pytest.mark.parametrize("status", [303, 404, 500])
def test_the_seventh_failure_in_a_row_disables_and_nothing_is_repeated(client: Client, inbox: Inbox, status: int) -> None:
    (ref,) = subscribe(client, inbox, "order.created")
    inbox.status = status
    inbox.got.clear()
    states = []
    for _ in range(8):
        client.shop.place()
        client.shop.scheduler_tick()
        states.append(client.get(f"webhooks/{ref}")["status"])

    assert (states, len(inbox.got)) == (["active"] * 6 + ["disabled"] * 2, 7)
    inbox.status = 200
    client.put(f"webhooks/{ref}", {"status": "active"})
    assert (client.shop.webhooks()[0]["failures"], client.shop.scheduler_tick()) == (6, 0)  # what happened meanwhile is lost


def test_one_more_failure_after_activation_disables_again_and_a_success_forgets_them(client: Client, inbox: Inbox) -> None:
    (ref,) = subscribe(client, inbox, "order.created")
    for status, state in ((500, "disabled"), (500, "disabled"), (200, "active")):
        client.put(f"webhooks/{ref}", {"status": "active"})
        inbox.status = status
        for _ in range(7 if client.shop.webhooks()[0]["failures"] == 0 else 1):
            client.shop.place()
            client.shop.scheduler_tick()
        assert client.get(f"webhooks/{ref}")["status"] == state

    assert client.shop.webhooks()[0]["failures"] == 0


@pytest.mark.parametrize("status", [204, 301, 302])
def test_redirects_are_successes_and_are_not_followed(client: Client, inbox: Inbox, status: int) -> None:
    subscribe(client, inbox, "order.created")
    inbox.status = status
    for _ in range(8):
        client.shop.place()
    client.shop.scheduler_tick()

    assert (client.shop.webhooks()[0]["failures"], len(inbox.topics())) == (0, 8)


def test_a_receiver_that_is_away_is_a_failure(client: Client, inbox: Inbox) -> None:
    (ref,) = subscribe(client, inbox, "order.created")
    client.put(f"webhooks/{ref}", {"delivery_url": "http://127.0.0.1:9/"})
    client.shop.place()

    assert (client.shop.scheduler_tick(), client.shop.webhooks()[0]["failures"]) == (1, 1)


def test_who_lost_his_rights_signs_errors_and_so_does_a_deleted_order(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "order.updated")
    gone, kept = client.shop.place(), client.shop.place()
    client.shop.delete(gone)
    client.shop.scheduler_tick()
    (_, missing), _ = inbox.taken()
    client.shop.demote()
    client.shop.complete(kept)
    client.shop.scheduler_tick()

    ((headers, body),) = inbox.got
    genuine = sample("webhook-error-payload")
    assert missing == {"code": "woocommerce_rest_shop_order_invalid_id", "message": "Invalid ID.", "data": {"status": 404}}
    assert body == genuine["body_raw"].encode()
    assert headers["X-WC-Webhook-Signature"] == genuine["headers"]["X-WC-Webhook-Signature"]


def test_drafts_of_the_checkout_are_delivered(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "order.created")
    client.shop.place(status="checkout-draft", paid=False)
    client.shop.scheduler_tick()

    assert [body["status"] for _, body in inbox.taken()] == ["checkout-draft"]


def test_webhooks_are_listed_changed_and_deleted(client: Client, inbox: Inbox) -> None:
    refs = subscribe(client, inbox, "order.created", "order.updated", "action.wc_anything")
    changed = client.put(f"webhooks/{refs[0]}", {"status": "paused", "topic": "order.deleted", "name": "n", "secret": "s2"})

    assert (changed["status"], changed["topic"], changed["hooks"], changed["date_modified"] is not None) == (
        "paused",
        "order.deleted",
        ["wp_trash_post", "woocommerce_trash_order"],
        True,
    )
    assert [one["id"] for one in client.get("webhooks", per_page=2)] == [refs[2], refs[1]]
    assert client.last.headers["X-WP-TotalPages"] == "2"
    assert [one["id"] for one in client.get("webhooks", status="paused")] == [refs[0]]
    assert (client.ask("DELETE", f"webhooks/{refs[0]}")["code"], client.last.status_code) == ("woocommerce_rest_trash_not_supported", 501)
    client.ask("DELETE", f"webhooks/{refs[0]}", force="true")
    assert (client.get(f"webhooks/{refs[0]}")["code"], client.last.status_code) == ("woocommerce_rest_shop_webhook_invalid_id", 404)
    assert (client.put(f"webhooks/{refs[0]}", {})["code"], client.last.status_code) == ("woocommerce_rest_shop_webhook_invalid_id", 400)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"topic": "order.updated"}, "invalid_delivery_url"),
        ({"topic": "order.updated", "delivery_url": "ftp://x"}, "invalid_delivery_url"),
        ({"topic": "order.shipped", "delivery_url": "https://x.example"}, "invalid_topic"),
        ({"topic": "order.updated", "delivery_url": "https://x.example", "status": "on"}, "invalid_status"),
    ],
)
def test_webhooks_that_make_no_sense_are_refused(client: Client, body: dict[str, str], code: str) -> None:
    got = client.post("webhooks", body)

    assert (client.last.status_code, got["code"]) == (400, f"woocommerce_rest_shop_webhook_{code}")


def test_the_background_scheduler_delivers_while_it_runs(client: Client, inbox: Inbox) -> None:
    subscribe(client, inbox, "order.created")
    with client.shop.background_scheduler(every=0.01):
        client.shop.place()
        until = time.monotonic() + 10
        while len(inbox.got) < 2 and time.monotonic() < until:
            time.sleep(0.01)

    assert inbox.topics() == ["order.created"]
