"""Forged, replayed, malformed and huge deliveries, over real HTTP: A01-A17 as they concern WooCommerce."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from types import FrameType
from typing import Any, Final

import pytest
from sqlalchemy import update

from adapters.woocommerce.platform import WooPlatform
from connector.db import Database
from connector.domain.platform import BadSignature, HttpRequest
from connector.models import HintRow
from connector.secrets import Vault
from connector.web import intake, server
from tests.web.postbox import (
    PATH,
    SECRET,
    House,
    Sent,
    Watched,
    at_once,
    connected,
    genuine,
    house,
    of_order,
    reseal,
    said,
    signature,
    signed,
    status_of,
)  # fmt: skip

# ── who speaks ──


def test_a01_a_delivery_without_a_signature_is_refused(home: House) -> None:
    assert home.posted(genuine("order-created").but(signature=None)) == 401
    assert home.posted(genuine("order-created").but(signature="")) == 401
    assert home.hints() == []


def test_a02_a_delivery_signed_with_another_secret_is_refused(home: House) -> None:
    assert home.posted(signed(b'{"id":1}', secret="somebody else's")) == 401


def test_a03_the_signature_of_another_body_is_refused(home: House) -> None:
    assert home.posted(genuine("order-created").but(genuine("order-updated-after-refund").body)) == 401


BODY: Final = b'{"id":1}'
GOOD: Final = signature(BODY)
PLAIN: Final = base64.b64decode(GOOD)


@pytest.mark.parametrize(
    "claimed",
    [
        PLAIN.hex(),
        base64.urlsafe_b64encode(PLAIN).decode() + "=",
        GOOD.rstrip("="),
        GOOD.lower(),
        f"{GOOD}=",
        f"sha256={GOOD}",
        f"{GOOD} {GOOD}",
        "A" * 10_000,
        "ÿ" * 44,
        GOOD[:-2] + "é=",
    ],
)
def test_a04_a_signature_in_any_other_form_is_refused(home: House, claimed: str) -> None:
    assert home.posted(signed(BODY).but(signature=claimed)) == 401
    assert home.hints() == []


def test_a04_a_signature_that_a_line_ends_in_is_no_request(home: House) -> None:
    sent = signed(BODY).but(signature=f"{GOOD}\n")
    assert status_of(home.raw(said(sent, length=str(len(BODY))))) == 400


@pytest.mark.parametrize("second", [GOOD, "bm9uc2Vuc2U="])
def test_a05_two_signatures_are_refused_even_if_one_is_right(home: House, second: str) -> None:
    sent, more = signed(BODY), f"X-WC-Webhook-Signature: {second}\r\n"
    assert status_of(home.raw(said(sent, length=str(len(BODY)), more=more))) == 401


def test_a05_a_signature_by_another_spelling_is_none(home: House) -> None:
    sent, more = signed(BODY).but(signature=None), f"X_WC_Webhook_Signature: {GOOD}\r\n"
    assert status_of(home.raw(said(sent, length=str(len(BODY)), more=more))) == 401


def test_a06_only_the_raw_bytes_count(home: House) -> None:
    sent = genuine("order-created")
    again = json.dumps(json.loads(sent.body), separators=(",", ":"), ensure_ascii=False).encode()
    assert again != sent.body

    assert home.posted(sent.but(again)) == 401
    assert home.posted(sent.but(sent.body + b"\n")) == 401
    assert home.posted(sent) == 200


def test_a07_chunks_are_put_together(home: House, vault: Vault) -> None:
    sent = genuine("order-created")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (sent.body[:1000], sent.body[1000:])) + b"0\r\n\r\n"
    assert status_of(home.raw(said(Sent(sent.headers, chunks), more="Transfer-Encoding: chunked\r\n"))) == 200
    (hint,) = home.hints()
    assert hint.body is not None
    assert vault.decrypt_bytes("hint", hint.id.hex, hint.body) == sent.body


@pytest.mark.parametrize(
    ("length", "status"),
    [(None, 411), ("", 400), ("-1", 400), ("+8", 400), ("8, 8", 400), ("0x8", 400), ("8.0", 400), ("7", 401), ("٨", 400)],
)
def test_a07_a_length_that_is_none_or_wrong_is_refused(home: House, length: str | None, status: int) -> None:
    assert status_of(home.raw(said(signed(BODY), length=length))) == status
    assert home.hints() == []


def test_a07_a_body_that_ends_early_is_never_kept(home: House) -> None:
    assert home.raw(said(signed(BODY), length=str(len(BODY) + 1))) == b""
    assert home.hints() == []


def test_a07_two_ways_to_say_the_length_smuggle_nothing(home: House) -> None:
    smuggled = said(signed(b'{"id":2}'), length="8")
    outer = Sent(signed(b"another body").headers, b"0\r\n\r\n")
    answers = home.raw(said(outer, length=str(5 + len(smuggled)), more="Transfer-Encoding: chunked\r\n") + smuggled)
    assert (status_of(answers), answers.count(b"HTTP/1.1 ")) == (401, 1)
    assert home.hints() == []


def test_a07_a_compressed_body_is_the_bytes_that_it_is(home: House) -> None:
    packed = gzip.compress(BODY)
    assert home.posted(Sent({**signed(packed).headers, "Content-Encoding": "gzip"}, packed)) == 200
    assert home.posted(Sent({**signed(BODY).headers, "Content-Encoding": "gzip"}, packed)) == 401


def test_a08_every_key_is_compared_in_constant_time_whichever_fits() -> None:
    compared: list[str] = []

    def noticed(_frame: FrameType, what: str, function: Any) -> None:
        if what == "c_call" and function.__name__ == "compare_digest":
            compared.append(what)

    headers = tuple((name.lower(), value) for name, value in signed(BODY).headers.items())
    request = HttpRequest("POST", f"https://returns.example.com{PATH}", headers, BODY)
    for keys in ((SECRET.encode(), b"before"), (b"before", b"other")):
        sys.setprofile(noticed)
        try:
            WooPlatform().read_webhook(request, keys)
        except BadSignature:
            pass
        finally:
            sys.setprofile(None)

    assert len(compared) == 4


def test_a09_a_replay_under_a_fresh_delivery_id_is_no_second_hint_while_the_first_waits(home: House) -> None:
    sent = genuine("order-created")
    assert {home.posted(sent.but(delivery_id=f"{n:032x}")) for n in range(5)} == {200}
    assert len(home.hints()) == 1
    with home.db.transaction() as session:
        session.execute(update(HintRow).values(taken_at=home.db.now(session)))

    assert home.posted(sent) == 200
    assert len(home.hints()) == 2


def test_a10_a12_a_delivery_of_one_shop_is_none_of_another(home: House, vault: Vault) -> None:
    connected(home.db, vault, door="door-of-another", delivery_secret="another-secret")

    sent = genuine("order-created")
    assert home.posted(sent, "/webhooks/woocommerce/door-of-another") == 401
    assert home.posted(sent.but(source="https://door-of-another.example.com/"), "/webhooks/woocommerce/door-of-another") == 401
    assert home.posted(signed(BODY, secret="another-secret")) == 401
    assert home.hints() == []


def test_a11_another_topic_is_believed_no_more_than_the_body(home: House) -> None:
    sent = genuine("order-created")
    assert home.posted(sent.but(topic="order.deleted")) == 200
    assert home.posted(sent.but(topic=None)) == 401
    assert home.posted(sent.but(topic="no topic")) == 401
    assert [hint.topic for hint in home.hints()] == ["order.deleted"]  # that the order is gone is for the store to say


def test_a12_an_empty_secret_proves_nothing(database: Database, vault: Vault) -> None:
    connected(database, vault, delivery_secret="", delivery_secret_before="")
    with house(database, vault) as here:
        assert here.posted(signed(BODY, secret="")) == 401
        assert here.hints() == []


def test_a13_while_a_secret_changes_both_are_right_and_after_that_the_new_one(home: House, vault: Vault) -> None:
    assert home.posted(of_order(1)) == 200
    shop = home.hints()[0].shop_id
    reseal(home.db, vault, shop, delivery_secret="new-secret", delivery_secret_before=SECRET)

    assert home.posted(of_order(2, secret="new-secret")) == 200
    assert home.posted(of_order(3)) == 200
    reseal(home.db, vault, shop, delivery_secret_before="")
    with house(home.db, vault) as next_day:
        assert next_day.posted(of_order(4)) == 401
        assert next_day.posted(of_order(5, secret="new-secret")) == 200
    assert len(home.hints()) == 4


def test_a02_forgeries_do_not_keep_the_database_busy(database_url: str, database: Database, vault: Vault) -> None:
    connected(database, vault)
    watched = Watched(database_url)
    with house(watched, vault) as here:
        assert set(at_once([lambda: here.posted(signed(BODY, secret="forged"))] * 12)) == {401}
        asked = watched.reads
        assert {here.posted(signed(BODY, secret="forged")) for _ in range(20)} == {401}
        assert watched.reads <= asked + 20  # one a second at most
        assert here.posted(signed(BODY)) == 200
    watched.dispose()


# ── how much ──


def test_a14_a_delivery_of_a_megabyte_is_taken_and_one_byte_more_is_not(home: House) -> None:
    assert home.posted(signed(b"x" * intake.LARGEST)) == 200
    assert home.posted(signed(b"x" * (intake.LARGEST + 1))) == 413


@pytest.mark.parametrize("length", [5_000_000, 50_000_000, 10**12, 10**30])
def test_a14_a_body_that_is_far_too_large_is_refused_before_it_comes(home: House, length: int) -> None:
    assert status_of(home.raw(said(signed(BODY), length=str(length)))) == 413


def test_a14_chunks_without_end_are_cut_off(home: House) -> None:
    sent = signed(BODY)
    chunk = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    endless = chunk * (server.LARGEST_BODY // 0x40000 + 2)
    assert status_of(home.raw(said(Sent(sent.headers, endless), more="Transfer-Encoding: chunked\r\n"))) == 413
    assert home.posted(sent) == 200


BOMBS: Final = {
    "deep": b"[" * 100_000,
    "large number": b'{"id":' + b"9" * 900_000 + b"}",
    "twice": b'{"id":1,"id":2}',
    "no number": b'{"id":NaN}',
    "surrogate": rb'{"id":1,"status":"\ud800"}',
    "nul": rb'{"id":1,"status":"\u0000"}',
    "mark": b'\xef\xbb\xbf{"id":1}',
    "utf-16": '{"id":1}'.encode("utf-16"),
    "list": b"[1]",
    "text": b'"x"',
    "null": b"null",
    "types": b'{"id":[],"status":{}}',
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_a15_a16_a_signed_body_of_any_kind_is_kept_and_hurts_nobody(home: House, body: bytes) -> None:
    assert home.posted(signed(body)) == 200
    assert home.posted(genuine("order-created")) == 200
    assert len(home.hints()) == 2


@pytest.mark.parametrize("topic", ["customers/redact", "shop/redact", "customers/data_request", "app/uninstalled"])
def test_a17_requests_of_another_platform_are_none_here_signed_or_not(home: House, topic: str) -> None:
    assert home.posted(signed(b'{"shop_id":1}', topic=topic)) == 401
    assert home.posted(signed(b'{"shop_id":1}', topic=topic).but(signature=None)) == 401
    assert home.hints() == []
