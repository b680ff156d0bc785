"""Who speaks: deliveries as WooCommerce signs them, and every other way (A01-A17)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

import pytest

from adapters.woocommerce import signing
from adapters.woocommerce.platform import WooPlatform
from connector.domain.orders import OrderRef
from connector.domain.platform import BadSignature, HttpRequest, WebhookEvent
from tests.adapters.woo_simulator import sample

KEY: Final = b"whsec_sample_0123456789abcdef"
GENUINE: Final = ("webhook-order-created", "webhook-order-updated-after-refund", "webhook-action-refund-created", "webhook-error-payload")
BODY: Final = b'{"id":218,"note":"caf\\u00e9 \\/ 1.0"}'
PLATFORM: Final = WooPlatform(dev=True)
Headers = tuple[tuple[str, str], ...]


def delivery(body: bytes = BODY, signature: str | None = None, topic: str = "order.updated", more: Headers = ()) -> HttpRequest:
    signed = signing.sign(body, KEY).decode() if signature is None else signature
    headers = (("content-type", "application/json"), ("x-wc-webhook-topic", topic), ("x-wc-webhook-signature", signed), *more)
    return HttpRequest("POST", "https://retour.example/webhooks/woocommerce/a-door-of-ours", headers, body)


def without(request: HttpRequest, name: str) -> HttpRequest:
    return HttpRequest(request.method, request.url, tuple(each for each in request.headers if each[0] != name), request.body)


def read(request: HttpRequest, keys: Sequence[bytes] = (KEY,)) -> WebhookEvent:
    return PLATFORM.read_webhook(request, keys)


def genuine(name: str) -> HttpRequest:
    found: dict[str, Any] = sample(name)
    headers = tuple((header.lower(), value) for header, value in found["headers"].items())
    return HttpRequest(found["method"], "https://retour.example/webhooks/woocommerce/a-door-of-ours", headers, found["body_raw"].encode())


@pytest.mark.parametrize("name", GENUINE)
def test_what_a_genuine_store_signed_is_proven(name: str) -> None:
    request = genuine(name)

    event = read(request)

    assert event.topic == sample(name)["headers"]["X-WC-Webhook-Topic"]
    assert event.delivery is None  # its id is shared by different events of a second


@pytest.mark.parametrize("name", GENUINE)
def test_a03_a_body_that_differs_in_any_byte_is_refused(name: str) -> None:
    request = genuine(name)
    for place in (0, len(request.body) // 2, len(request.body) - 1):
        body = bytearray(request.body)
        body[place] ^= 1
        with pytest.raises(BadSignature):
            read(HttpRequest(request.method, request.url, request.headers, bytes(body)))
    for other in (request.body + b"\n", request.body[:-1], b""):
        with pytest.raises(BadSignature):
            read(HttpRequest(request.method, request.url, request.headers, other))


@pytest.mark.parametrize("name", GENUINE[:3])
def test_a06_the_same_document_written_again_is_refused(name: str) -> None:
    request = genuine(name)
    again = json.dumps(json.loads(request.body), separators=(",", ":")).encode()

    if again != request.body:  # the action's body holds nothing that could be written otherwise
        with pytest.raises(BadSignature):
            read(HttpRequest(request.method, request.url, request.headers, again))
    spaced = json.dumps(json.loads(request.body)).encode()
    with pytest.raises(BadSignature):
        read(HttpRequest(request.method, request.url, request.headers, spaced))


def test_a01_no_signature_is_refused() -> None:
    with pytest.raises(BadSignature):
        read(without(delivery(), "x-wc-webhook-signature"))


def test_a02_a12_another_shops_secret_is_refused() -> None:
    with pytest.raises(BadSignature):
        read(delivery(signature=signing.sign(BODY, b"another shop's").decode()))
    with pytest.raises(BadSignature):
        read(delivery(), (b"another shop's",))


_DIGEST: Final = hmac.digest(KEY, BODY, "sha256")
_RIGHT: Final = base64.b64encode(_DIGEST).decode()


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(_DIGEST.hex(), id="hex"),
        pytest.param(base64.b64encode(_DIGEST.hex().encode()).decode(), id="base64 of hex"),
        pytest.param(_RIGHT.rstrip("="), id="no padding"),
        pytest.param(f"{_RIGHT}=", id="more padding"),
        pytest.param(f"{_RIGHT}\n", id="newline"),
        pytest.param(f" {_RIGHT}", id="blank"),
        pytest.param(f"{_RIGHT}, {_RIGHT}", id="joined by a proxy"),
        pytest.param(_RIGHT[:-4], id="truncated"),
        pytest.param(_RIGHT.swapcase(), id="case"),
        pytest.param(f"sha256={_RIGHT}", id="prefix"),
        pytest.param("", id="empty"),
        pytest.param("A" * 10_000, id="10 kB"),
        pytest.param("é" * 44, id="latin"),
        pytest.param(f"{_RIGHT[:-1]}\u202e", id="bidi"),
        pytest.param("\udce9" * 44, id="surrogates of bytes"),
        pytest.param("\ud800" * 44, id="lone surrogates"),
        pytest.param("\x00" * 44, id="nul"),
        pytest.param(base64.b64encode(hashlib.sha256(KEY + BODY).digest()).decode(), id="no hmac"),
        pytest.param(base64.b64encode(hmac.digest(KEY, BODY, "sha1")).decode(), id="sha1"),
        pytest.param(base64.b64encode(hmac.digest(b"", BODY, "sha256")).decode(), id="empty key"),
        pytest.param(base64.b64encode(hmac.digest(KEY, b"", "sha256")).decode(), id="empty body"),
    ],
)
def test_a04_a_signature_in_any_other_form_is_refused(signature: str) -> None:
    with pytest.raises(BadSignature):
        read(delivery(signature=signature))


def test_a04_a_url_safe_signature_is_refused() -> None:
    body = next(b'{"id":%d}' % n for n in range(100) if set(b"+/") & set(signing.sign(b'{"id":%d}' % n, KEY)))
    safe = base64.urlsafe_b64encode(hmac.digest(KEY, body, "sha256")).decode()

    with pytest.raises(BadSignature):
        read(delivery(body, safe))


@pytest.mark.parametrize("second", [_RIGHT, "wrong", ""])
def test_a05_two_signature_headers_are_refused(second: str) -> None:
    for name in ("x-wc-webhook-signature", "X-WC-Webhook-Signature"):
        with pytest.raises(BadSignature):
            read(delivery(more=((name, second),)))


def test_a05_two_topics_are_refused() -> None:
    with pytest.raises(BadSignature):
        read(delivery(more=(("x-wc-webhook-topic", "order.deleted"),)))


def test_a05_headers_count_however_they_are_written() -> None:
    request = delivery()
    loud = tuple((name.upper(), value) for name, value in request.headers)

    assert read(HttpRequest(request.method, request.url, loud, request.body)) == read(request)


@pytest.mark.parametrize("keys", [(), (b"",), (b"", b"")])
def test_a12_no_key_proves_nothing(keys: tuple[bytes, ...]) -> None:
    empty = base64.b64encode(hmac.digest(b"", BODY, "sha256")).decode()

    with pytest.raises(BadSignature):
        read(delivery(signature=empty), keys)
    with pytest.raises(BadSignature):
        read(delivery(), keys)


@pytest.mark.parametrize("keys", [(KEY, b"before"), (b"after", KEY), (b"", KEY), (b"a", b"b", KEY)])
def test_a13_any_valid_key_proves_whatever_their_order(keys: tuple[bytes, ...]) -> None:
    assert read(delivery(), keys).topic == "order.updated"


@pytest.mark.parametrize(
    "topic", ["", "order", "order.", ".updated", "Order.Updated", "a b.c", "order.updated\n", f"order.{'x' * 200}", "é.é"]
)
def test_a11_a_topic_that_is_none_is_refused(topic: str) -> None:
    with pytest.raises(BadSignature):
        read(delivery(topic=topic))


def test_a11_a_missing_topic_is_refused() -> None:
    with pytest.raises(BadSignature):
        read(without(delivery(), "x-wc-webhook-topic"))


@pytest.mark.parametrize("topic", ["order.deleted", "customer.deleted", "action.woocommerce_refund_deleted", "app.uninstalled"])
def test_a11_a17_another_topic_over_the_same_body_asks_for_no_more_than_to_read_again(topic: str) -> None:
    assert PLATFORM.hint(read(delivery(topic=topic)).topic, BODY).order in (None, OrderRef("218"))


def test_the_unsigned_greeting_is_answered_and_forgotten() -> None:
    ping = sample("webhook-create-and-ping")
    headers = tuple((name.lower(), value) for name, value in ping["ping"]["headers"].items())
    request = HttpRequest("POST", "https://retour.example/webhooks/woocommerce/a-door-of-ours", headers, ping["ping"]["body_raw"].encode())

    assert read(request) == read(request, ()) == WebhookEvent(topic="")


@pytest.mark.parametrize(
    "body", [b"webhook_id=2&action=x", b"webhook_id=", b"webhook_id=-1", b"webhook_id=2\n", b"xwebhook_id=2", b"", b"{}"]
)
def test_a12_nothing_else_passes_for_the_greeting(body: bytes) -> None:
    with pytest.raises(BadSignature):
        read(HttpRequest("POST", "https://retour.example/", (), body))


@pytest.mark.parametrize("name", ["x-wc-webhook-topic", "X-WC-Webhook-Signature", "x-wc-webhook-id"])
def test_a12_a_greeting_with_a_header_of_a_delivery_has_to_be_signed(name: str) -> None:
    with pytest.raises(BadSignature):
        read(HttpRequest("POST", "https://retour.example/", ((name, "order.updated"),), b"webhook_id=2"))


def test_a08_signatures_are_compared_as_bytes_and_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    genuine_one = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return genuine_one(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    read(delivery(), (KEY, b"before", b""))

    assert len(compared) == 2  # each key, also after one fitted
    assert {type(each) for pair in compared for each in pair} == {bytes}
