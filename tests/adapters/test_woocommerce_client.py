"""One request to one store: what is written when, how long it may take, and what is true when it fails."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from adapters.woocommerce import answers, client, wire
from adapters.woocommerce.client import Client, Lines
from adapters.woocommerce.guard import Guard
from connector.domain.platform import OutcomeUnknown, PlatformError, Rejected, Revoked, ShopDomain, Throttled, Voided
from tests.adapters.far import Far, Say, Trust, close, http, serving

KEYS = {"consumer_key": "ck_" + "1" * 40, "consumer_secret": "cs_" + "2" * 40}
MADE = http('{"id": 7}', "201 Created")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines for tests."""
    monkeypatch.setattr(client, "READ", timedelta(milliseconds=400))
    monkeypatch.setattr(client, "WRITE", timedelta(milliseconds=400))


def at(port: int, *, scheme: str = "http", roots: str | None = None, host: str = "127.0.0.1", guard: Guard | None = None) -> Client:
    lines = Lines(guard or Guard(dev=True), roots=roots)
    return lines.to(ShopDomain("shop.example"), f"{scheme}://{host}:{port}", KEYS, auth="")


@contextmanager
def store(*says: Say) -> Iterator[tuple[Client, Far]]:
    with serving(*says) as far:
        yield at(far.port), far


def error(status: str, code: str, message: str = "Nein.", **more: object) -> Say:
    return http(json.dumps({"code": code, "message": message, "data": {"status": int(status[:3])}, **more}), status)


# ── What a request looks like ───────────────────────────────────────────────────────────────────────────────────────


def test_over_http_a_request_is_signed_and_names_its_parameters_once() -> None:
    with store(http("[]")) as (shop, far):
        shop.read("orders", {"search": "kim@example.com", "per_page": "5"})

    asked = parse_qs(urlsplit(far.lines[0].split()[1]).query, keep_blank_values=True)
    assert {name: len(values) for name, values in asked.items() if len(values) != 1} == {}
    assert asked["search"] == ["kim@example.com"]
    assert asked["oauth_signature_method"] == ["HMAC-SHA256"]
    assert b"cs_" not in far.requests[0]
    assert b"\r\nAuthorization:" not in far.requests[0]


def test_over_tls_the_keys_stand_in_the_header_and_not_in_the_address(trust: Trust) -> None:
    with serving(http("[]"), tls=trust.server) as far:
        at(far.port, scheme="https", roots=trust.roots).read("orders")

    assert b"\r\nAuthorization: Basic " in far.requests[0]
    assert "ck_" not in far.lines[0]
    assert b"\r\nUser-Agent: Retour/" in far.requests[0]


def test_each_read_has_an_address_of_its_own_so_that_no_cache_answers_it() -> None:
    with store(http("[]")) as (shop, far):
        shop.read("orders/1")
        shop.read("orders/1")

    assert len(set(far.lines)) == 2
    assert far.connections == 1


def test_the_callers_parameters_stay_as_they_are() -> None:
    params = {"status": "any"}
    with store(http("[]")) as (shop, _far):
        shop.read("orders", params)

    assert params == {"status": "any"}


def test_a71_nobody_reads_keys_in_what_is_shown_raised_or_logged(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(error("401 Unauthorized", "woocommerce_rest_cannot_view"), tls=trust.server) as far:
        shop = at(far.port, scheme="https", roots=trust.roots)
        with pytest.raises(Revoked) as refused:
            shop.read("orders")
    with pytest.raises(Throttled) as away:
        at(far.port, scheme="https", roots=trust.roots).read("orders")

    shown = f"{shop!r} {shop._api!r} {vars(shop)} {refused.value!r} {away.value!r} {away.value.__cause__!r} {caplog.text}"
    assert "consumer_secret=cs_" in far.lines[1]
    assert "cs_2" not in shown.replace(str(shop._keys), "")
    assert "ck_1" not in shown.replace(str(shop._keys), "")


# ── The deadline, and how much ──────────────────────────────────────────────────────────────────────────────────────


def _drip(conn: socket.socket, _request: bytes) -> None:
    """A byte, and a byte, and a byte."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Slow: " + b"y" * 1000:
        conn.sendall(bytes([byte]))
        time.sleep(0.02)


def _drip_body(conn: socket.socket, request: bytes) -> None:
    http("", content_length="100000")(conn, request)
    for _ in range(1000):
        conn.sendall(b" ")
        time.sleep(0.02)


def _silent(conn: socket.socket, _request: bytes) -> None:
    conn.recv(1)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("say", [_drip, _drip_body, _silent], ids=lambda say: say.__name__)
def test_a60_the_deadline_ends_an_answer_that_never_ends(say: Say) -> None:
    with store(say) as (shop, far):
        began = time.monotonic()
        with pytest.raises(Throttled, match="in time"):
            shop.read("orders")
        with pytest.raises(OutcomeUnknown, match="in time"):
            shop.write("POST", "orders/1/refunds", {})

    assert time.monotonic() - began < 5
    assert len(far.requests) == 2


@pytest.mark.usefixtures("hurry")
def test_a60_the_deadline_ends_a_handshake_that_never_ends(trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Throttled):
        at(listener.getsockname()[1], scheme="https", roots=trust.roots).write("POST", "orders/1/refunds", {})


def _endless(conn: socket.socket, request: bytes) -> None:
    http("", content_length="")(conn, request)
    while True:
        conn.sendall(b" " * 65536)


def test_a60_an_endless_answer_is_not_kept() -> None:
    with store(_endless) as (shop, _far), pytest.raises(Throttled, match="too large"):
        shop.read("orders")


def test_a60_an_answer_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    with store(http(bomb, content_encoding="gzip")) as (shop, _far):
        tracemalloc.start()
        with pytest.raises(Throttled, match="too large"):
            shop.read("orders")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert most < 3 * wire.LARGEST


def test_a_packed_answer_is_unpacked() -> None:
    with store(http(gzip.compress(b'[{"id": 1}]'), content_encoding="gzip")) as (shop, _far):
        assert shop.read("orders") == [{"id": 1}]


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress", "x"])
def test_what_is_packed_in_a_way_that_nobody_asked_for_is_not_read(encoding: str) -> None:
    with store(http(b"[]", content_encoding=encoding)) as (shop, _far), pytest.raises(Throttled):
        shop.read("orders")


@pytest.mark.parametrize("body", [gzip.compress(b"[1, 2, 3]", mtime=0)[:-9], b"not gzip at all"])
def test_f07_a_packed_answer_that_is_cut_off_is_none(body: bytes) -> None:
    with store(http(body, content_encoding="gzip")) as (shop, _far), pytest.raises(Throttled):
        shop.read("orders")


# ── Still mine? ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_f01_it_is_asked_once_the_connection_is_open_and_before_the_first_byte() -> None:
    seen: list[tuple[int, int]] = []
    with store(MADE) as (shop, far):

        def mine() -> bool:
            time.sleep(0.05)
            seen.append((far.connections, len(far.requests)))
            return True

        shop.write("POST", "orders/1/refunds", {}, still_mine=mine)

    assert seen == [(1, 0)]
    assert len(far.requests) == 1


def test_f57_what_is_not_ours_any_more_writes_no_byte() -> None:
    with store(http("[]"), MADE) as (shop, far):
        shop.read("orders")
        with pytest.raises(Voided):
            shop.write("POST", "orders/1/refunds", {}, still_mine=lambda: False)
        time.sleep(0.05)

    assert len(far.requests) == 1


def test_f57_over_tls_too(trust: Trust) -> None:
    with serving(MADE, tls=trust.server) as far:
        shop = at(far.port, scheme="https", roots=trust.roots)
        with pytest.raises(Voided):
            shop.write("POST", "orders/1/refunds", {}, still_mine=lambda: False)
        shop.write("POST", "orders/1/refunds", {}, still_mine=lambda: True)

    assert len(far.requests) == 1


def test_a_write_opens_a_connection_of_its_own() -> None:
    with store(http("[]"), MADE) as (shop, far):
        shop.read("orders")
        shop.write("POST", "orders/1/refunds", {})

    assert far.connections == 2


def test_f57_what_fails_while_it_is_asked_is_raised_and_nothing_is_written() -> None:
    class Away(Exception):
        pass

    def mine() -> bool:
        raise Away

    with store(MADE) as (shop, far), pytest.raises(Away):
        shop.write("POST", "orders/1/refunds", {}, still_mine=mine)

    assert far.requests == []


# ── Never twice ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_a_write_follows_no_redirect_and_says_that_nobody_knows(status: str) -> None:
    with store(http("", status, location="/wp-json/wc/v3/orders/1/refunds/", content_type="text/html"), MADE) as (shop, far):  # noqa: SIM117 - the far side outlives what is raised
        with pytest.raises(OutcomeUnknown):
            shop.write("POST", "orders/1/refunds", {})

    assert len(far.requests) == 1


def test_f06_a_write_whose_connection_breaks_is_not_repeated() -> None:
    with store(close) as (shop, far), pytest.raises(OutcomeUnknown):
        shop.write("POST", "orders/1/refunds", {})

    assert len(far.requests) == 1


def test_a_read_on_a_kept_connection_that_was_closed_is_asked_again_once() -> None:
    with store(http("[]"), close, http('[{"id": 1}]')) as (shop, far):
        shop.read("orders")
        assert shop.read("orders") == [{"id": 1}]

    assert len(far.requests) == 3


def test_a_read_whose_first_connection_breaks_is_not() -> None:
    with store(close) as (shop, far), pytest.raises(Throttled):
        shop.read("orders")

    assert len(far.requests) == 1


def test_a_read_follows_a_redirect_on_its_own_host_only() -> None:
    with store(http("", "301 Moved", location="/wp-json/wc/v3/orders/"), http('[{"id": 1}]')) as (shop, far):
        assert shop.read("orders") == [{"id": 1}]
    with serving(http("[]")) as other, store(http("", "301 Moved", location=f"http://127.0.0.1:{other.port}/")) as (shop, far):  # noqa: SIM117 - the far side outlives what is raised
        with pytest.raises(Throttled):
            shop.read("orders")

    assert len(far.requests) == 1
    assert other.requests == []


def test_a_read_does_not_run_in_circles() -> None:
    with store(http("", "302 Found", location="/again")) as (shop, far), pytest.raises(Throttled):
        shop.read("orders")

    assert len(far.requests) == 4


# ── What is true ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_nobody_listens_nothing_was_written() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    for ask in (lambda: at(port).read("orders"), lambda: at(port).write("POST", "orders/1/refunds", {})):
        with pytest.raises(Throttled, match="no connection"):
            ask()  # type: ignore[no-untyped-call]  # a lambda of this loop


def test_a60_a_name_that_leads_into_a_private_network_by_now_is_asked_nothing() -> None:
    with serving(MADE) as far:
        shop = at(far.port, host="shop.example", guard=Guard(look_up=lambda _host, _port: ["127.0.0.1"]))
        with pytest.raises(Throttled):
            shop.read("orders")
        with pytest.raises(Throttled):
            shop.write("POST", "orders/1/refunds", {})

    assert far.connections == 0


def test_a60_the_address_that_was_checked_is_the_one_that_is_connected_to(trust: Trust) -> None:
    asked: list[str] = []

    def look_up(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else []

    with serving(http("[]"), tls=trust.server) as far:
        at(far.port, scheme="https", roots=trust.roots, host="shop.example", guard=Guard(dev=True, look_up=look_up)).read("orders")

    assert asked == ["shop.example"]
    assert f"\r\nHost: shop.example:{far.port}\r\n".encode() in far.requests[0]


def test_a_certificate_for_another_name_or_of_a_stranger_is_refused_before_anything_is_written(trust: Trust) -> None:
    with serving(MADE, tls=trust.stranger) as stranger, serving(MADE, tls=trust.server) as other:
        wrong_name = at(other.port, scheme="https", roots=trust.roots, host="other.example", guard=_here())
        for shop in (at(stranger.port, scheme="https", roots=trust.roots), wrong_name):
            with pytest.raises(Throttled, match="certificate"):
                shop.write("POST", "orders/1/refunds", {})

    assert stranger.requests == other.requests == []


def _here() -> Guard:
    return Guard(dev=True, look_up=lambda _host, _port: ["127.0.0.1"])


ANSWERS: dict[str, tuple[Say, type[PlatformError] | None, type[PlatformError]]] = {
    "f08 a page of HTML": (http("<html>", content_type="text/html"), Throttled, OutcomeUnknown),  # F08
    "f07 cut off": (http('{"id": 7, "na', "201 Created"), Throttled, OutcomeUnknown),  # F07
    "f10 503 HTML": (http("<html>", "503 Service Unavailable", content_type="text/html"), Throttled, OutcomeUnknown),
    "f10 502 HTML": (http("<html>", "502 Bad Gateway", content_type="text/html"), Throttled, OutcomeUnknown),
    "a firewall": (http("<html>", "403 Forbidden", content_type="text/html"), Throttled, OutcomeUnknown),  # a firewall
    "401 HTML": (http("<html>", "401 Unauthorized", content_type="text/html"), Throttled, OutcomeUnknown),
    "f11 429": (http("{}", "429 Too Many Requests"), Throttled, Throttled),  # F11
    "f27 unknown key": (error("401 Unauthorized", "woocommerce_rest_cannot_view"), Revoked, Revoked),  # F27
    "wrong secret": (error("401 Unauthorized", "woocommerce_rest_authentication_error"), Revoked, Revoked),
    "f30 no right": (error("403 Forbidden", "woocommerce_rest_cannot_view"), Revoked, Revoked),  # F30
    "a security plugin": (error("403 Forbidden", "rest_forbidden"), Throttled, Throttled),
    "f29 no such route": (error("404 Not Found", "rest_no_route"), Throttled, Throttled),  # F29
    "no such order": (error("404 Not Found", "woocommerce_rest_shop_order_invalid_id"), Rejected, Rejected),
    "somebody else's 404": (error("404 Not Found", "somebody_elses"), Throttled, OutcomeUnknown),
    "a wrong parameter": (error("400 Bad Request", "rest_invalid_param"), Rejected, Rejected),
    "a 400 about the refund itself": (error("400 Bad Request", "woocommerce_rest_cannot_create_order_refund"), Rejected, OutcomeUnknown),
    "the gateway said no": (error("500 Internal Server Error", "woocommerce_rest_cannot_create_order_refund"), Throttled, OutcomeUnknown),
    "PHP died": (error("500 Internal Server Error", "internal_server_error"), Throttled, OutcomeUnknown),
    "a 500 that is a 404": (error("500 Internal Server Error", "woocommerce_rest_invalid_order_id", data=404), Rejected, OutcomeUnknown),
    "not called JSON": (http('{"id": 7}', "200 OK", content_type="text/plain"), Throttled, OutcomeUnknown),
    "an id that is a text": (http('{"id": "7"}', "201 Created"), Throttled, OutcomeUnknown),
    "a list": (http('[{"id": 7}]', "201 Created"), Throttled, OutcomeUnknown),
    "a 200": (http('{"id": 7}', "200 OK"), None, OutcomeUnknown),  # a list of refunds, after a redirect on the way
    "a15 NaN": (http('{"id": 7, "price": NaN}', "201 Created"), Throttled, OutcomeUnknown),  # A15
    "a15 too deep": (http("[" * 100_000, "201 Created"), Throttled, OutcomeUnknown),
    "a15 too long a number": (http('{"id": ' + "9" * 5000 + "}", "201 Created"), Throttled, OutcomeUnknown),
    "a15 UTF-16": (http(b"\xff\xfe[\x00]\x00", "200 OK"), Throttled, OutcomeUnknown),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_f09_f10_every_answer_says_what_is_now_true(name: str) -> None:
    say, read, write = ANSWERS[name]
    with store(say) as (shop, _far):
        if read is not None:
            with pytest.raises(read):
                shop.read("orders/7")
        with pytest.raises(write):
            shop.write("POST", "orders/7/refunds", {})


DIED = (
    '<!DOCTYPE html>\n<html lang="de-DE"><body id="error-page">\n\t<div class="wp-die-message"><p>Kritischer Fehler</p></div></body></html>'
)
POISON: dict[str, tuple[Say, type[PlatformError]]] = {
    "JSON": (error("500 Internal Server Error", "internal_server_error"), answers.Broken),
    "somebody's code": (error("500 Internal Server Error", "somebody_elses"), answers.Broken),
    "the page of a critical error": (http(DIED, "500 Internal Server Error", content_type="text/html"), answers.Broken),
    "a 404 in a 500": (error("500 Internal Server Error", "woocommerce_rest_invalid_order_id", data=404), Rejected),
    "the server in front": (http("<html><h1>500", "500 Internal Server Error", content_type="text/html"), Throttled),
    "nothing in it": (http("", "500 Internal Server Error", content_type="text/html"), Throttled),
    "cut off": (http('{"code": "internal_ser', "500 Internal Server Error"), Throttled),
    "maintenance": (http(DIED, "503 Service Unavailable", content_type="text/html"), Throttled),
    "another status": (error("502 Bad Gateway", "internal_server_error"), Throttled),
}


@pytest.mark.parametrize("name", POISON)
def test_f39_a_read_over_which_wordpress_fails_is_told_from_a_shop_that_fails(name: str) -> None:
    say, trouble = POISON[name]
    alone = trouble is answers.Broken
    told: list[type[Exception]] = []
    with store(say, error("404 Not Found", "rest_no_route") if alone else say, say) as (shop, far):
        for _ in range(2):
            with pytest.raises(PlatformError) as raised:
                shop.read("orders/7")
            told.append(raised.type)

    assert told == [trouble] * 2
    assert ["/data?" in line for line in far.lines] == ([False, True, False] if alone else [False, False])  # asked once in a while


@pytest.mark.parametrize(
    "says",
    [error("500 Internal Server Error", "internal_server_error"), http("<html>", content_type="text/html"), http("{}", "429 Slow"), close],
    ids=["500", "no JSON", "429", "nothing"],
)
def test_f10_a_shop_that_answers_nothing_else_either_is_asked_again_later(says: Say) -> None:
    with store(error("500 Internal Server Error", "internal_server_error"), says) as (shop, _far), pytest.raises(Throttled):
        shop.read("orders/7")


def test_f12_how_long_to_wait_is_read_in_every_form_and_bounded() -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=10)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for said, least, most in (
        ("120", 120, 120),
        (soon, 500, 600),
        ("-5", 1, 1),
        ("0", 1, 1),
        ("315360000", 3600, 3600),
        ("9" * 400, 3600, 3600),
        ("Fri, 01 Jan 1999 00:00:00 GMT", 1, 1),
        ("Mon, 01 Jan 9999 00:00:00 GMT", 3600, 3600),
        ("soon", 30, 30),
        ("1.5", 30, 30),
        ("", 30, 30),
    ):
        with store(http("{}", "429 Too Many Requests", retry_after=said)) as (shop, _far):
            for ask in (lambda shop=shop: shop.read("orders"), lambda shop=shop: shop.write("POST", "orders/1/refunds", {})):
                with pytest.raises(Throttled) as busy:
                    ask()  # type: ignore[no-untyped-call]  # a lambda of this loop
                assert least <= busy.value.retry_after.total_seconds() <= most, said


@pytest.mark.parametrize("front", [b"\xef\xbb\xbf", b"<br />\n<b>Notice</b>: Undefined index: [x] in <b>{y}</b>\n", b" \n"])
def test_a_byte_order_mark_and_a_notice_before_the_json_are_passed_over(front: bytes) -> None:
    with store(http(front + b'[{"id": 1, "price": 8.10}]')) as (shop, _far):
        assert shop.read("orders") == [{"id": 1, "price": "8.10"}]


def test_the_gateways_words_are_kept_without_markup_and_without_what_is_personal() -> None:
    said = "<b>Declined</b>: kim@example.com, card 4111 1111 1111 1111\u0000\n<script>x</script>" + "!" * 1000
    with store(error("500 Internal Server Error", "woocommerce_rest_cannot_create_order_refund", said)) as (shop, _far):  # noqa: SIM117 - the far side outlives what is raised
        with pytest.raises(OutcomeUnknown) as unknown:
            shop.write("POST", "orders/1/refunds", {})

    words = unknown.value.words
    assert "Declined" in words
    assert "HTTP 500" in words
    assert len(words) <= 300
    assert not any(part in words for part in ("kim", "4111", "<", "\n", "\x00"))


# ── Keys that do not arrive ─────────────────────────────────────────────────────────────────────────────────────────


def test_where_the_header_is_stripped_the_keys_go_into_the_address_and_that_is_remembered(trust: Trust) -> None:
    refuse = error("401 Unauthorized", "woocommerce_rest_cannot_view")
    with serving(refuse, http("[]"), http("[]"), MADE, tls=trust.server) as far:
        shop = at(far.port, scheme="https", roots=trust.roots)
        assert not shop.by_query
        shop.read("orders")
        shop.read("orders")
        shop.write("POST", "orders/1/refunds", {})

    assert ["consumer_secret=" in line for line in far.lines] == [False, True, True, True]
    assert [b"Authorization" in request for request in far.requests] == [True, False, False, False]
    assert shop.by_query


def test_keys_that_arrive_and_are_wrong_are_never_put_into_an_address(trust: Trust) -> None:
    with serving(error("401 Unauthorized", "woocommerce_rest_authentication_error"), tls=trust.server) as far, pytest.raises(Revoked):
        at(far.port, scheme="https", roots=trust.roots).read("orders")

    assert len(far.requests) == 1


def test_f27_keys_that_nobody_takes_are_tried_both_ways_once(trust: Trust) -> None:
    with serving(error("401 Unauthorized", "woocommerce_rest_cannot_view"), tls=trust.server) as far:
        shop = at(far.port, scheme="https", roots=trust.roots)
        with pytest.raises(Revoked):
            shop.read("orders")

    assert len(far.requests) == 2
    assert not shop.by_query


# ── Turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_calls_at_most_are_with_a_store_at_once() -> None:
    inside, most, mutex, go = [0], [0], threading.Lock(), threading.Event()

    def busy(conn: socket.socket, request: bytes) -> None:
        with mutex:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            if inside[0] == 2:
                go.set()
        go.wait(10)
        time.sleep(0.01)
        with mutex:
            inside[0] -= 1
        http("[]")(conn, request)

    with serving(busy) as far:
        lines = Lines(Guard(dev=True))
        threads = [threading.Thread(target=_read_as_anybody, args=(lines, far.port)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert (len(far.requests), most[0]) == (8, 2)


def _read_as_anybody(lines: Lines, port: int) -> None:
    lines.to(ShopDomain("shop.example"), f"http://127.0.0.1:{port}", KEYS, auth="").read("orders")


def test_who_waits_too_long_for_a_turn_comes_back_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_TURN", timedelta(milliseconds=50))
    begun, go = threading.Semaphore(0), threading.Event()

    def wait(conn: socket.socket, request: bytes) -> None:
        begun.release()
        go.wait(10)
        http("[]")(conn, request)

    with serving(wait) as far:
        lines = Lines(Guard(dev=True))
        threads = [threading.Thread(target=_read_as_anybody, args=(lines, far.port)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            begun.acquire()
        with pytest.raises(Throttled):
            _read_as_anybody(lines, far.port)
        go.set()
        for thread in threads:
            thread.join()


# ── Lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _page(ids: range, total: int | None = None) -> Say:
    return http(json.dumps([{"id": number} for number in ids]), x_wp_totalpages="" if total is None else str(total))


@pytest.mark.parametrize(
    ("pages", "ids", "reads"),
    [
        ([_page(range(3))], 3, 1),
        ([_page(range(100)), _page(range(100, 150))], 150, 2),
        ([_page(range(100)), _page(range(100, 100))], 100, 2),
        ([_page(range(40), 2), _page(range(40, 60), 2)], 60, 2),  # a host that lists fewer than were asked for
        ([_page(range(100)), _page(range(50, 120))], 120, 2),  # pages shifted meanwhile
        ([_page(range(100), 9999)], 100, 2),  # a store that does not know `page`
    ],
)
def test_a_list_is_read_to_its_end_and_each_item_once(pages: list[Say], ids: int, reads: int) -> None:
    with store(*pages) as (shop, far):
        found = [item.whole("id") for item in shop.pages("orders/1/refunds")]

    assert found == list(range(ids))
    assert len(far.requests) == reads


def test_no_proxy_no_password_file_and_no_cookie_reaches_a_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with store(http("[]", set_cookie="wordpress_logged_in=1; Path=/")) as (shop, far):
        shop.read("orders")
        shop.read("orders")

    assert not any(b"Cookie" in request or b"Authorization" in request for request in far.requests)


def test_many_threads_share_the_connections_of_a_process() -> None:
    def echo(conn: socket.socket, request: bytes) -> None:
        http(json.dumps([{"id": int(request.split(b"?", 1)[0].rsplit(b"/", 1)[1])}]))(conn, request)

    wrong: list[int] = []

    def ask(shop: Client, number: int) -> None:
        for _ in range(20):
            if shop.read(f"orders/{number}") != [{"id": number}]:
                wrong.append(number)  # noqa: PERF401 - one connection after the other

    with store(echo) as (shop, _far):
        threads = [threading.Thread(target=ask, args=(shop, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []
