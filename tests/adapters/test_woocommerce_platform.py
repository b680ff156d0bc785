"""WooCommerce as a platform, no store asked: addresses, the way through consent, whose a delivery is, and what it is about."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from adapters.woocommerce.platform import WooPlatform
from connector.domain.connecting import Hint, Misfortune, NotConnectable
from connector.domain.orders import OrderRef
from connector.domain.platform import BadSignature, HttpRequest, Malformed, ShopClaim, ShopDomain, Visit
from connector.services.refunds import MARGIN, WINDOW
from tests.adapters.woo_simulator import sample

PUBLIC: Final = WooPlatform()
DEV: Final = WooPlatform(dev=True)
KEY, SECRET = "ck_" + "1" * 40, "cs_" + "2" * 40
GRANT: Final[dict[str, object]] = {
    "key_id": 9,
    "user_id": "a-state-of-ours",
    "consumer_key": KEY,
    "consumer_secret": SECRET,
    "key_permissions": "read_write",
}


# ── Where a shop is ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("typed", "domain"),
    [
        ("Shop.Example", "shop.example"),
        (" https://www.shop.example/ ", "www.shop.example"),
        ("https://shop.example/winkel///", "shop.example/winkel"),
        ("https://shop.example/winkel/wp-admin/admin.php?page=wc-settings", "shop.example/winkel"),
        ("shop.example/wp-json/wc/v3/", "shop.example"),
        ("https://shop.example/wp-login.php", "shop.example"),
        ("http://BÜCHER.example/", "xn--bcher-kva.example"),
        ("https://[2606:4700:4700::1111]:443", "[2606:4700:4700::1111]"),
    ],
)
def test_a_shop_has_one_name_however_it_is_typed(typed: str, domain: str) -> None:
    assert PUBLIC.shop_at(typed) == domain
    assert PUBLIC.shop_at(PUBLIC.shop_at(typed)) == domain


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", Misfortune.BAD_ADDRESS),
        ("my shop.example", Misfortune.BAD_ADDRESS),
        ("file:///etc/passwd", Misfortune.BAD_ADDRESS),
        ("javascript:alert(1)", Misfortune.BAD_ADDRESS),
        ("javascript://shop.example/%0aalert(1)", Misfortune.BAD_ADDRESS),
        ("http://good.example@evil.example", Misfortune.BAD_ADDRESS),
        ("https://shop.example:8443", Misfortune.BAD_ADDRESS),
        ("https://2130706433/", Misfortune.BAD_ADDRESS),
        ("http://127.0.0.1/", Misfortune.PRIVATE_ADDRESS),
        ("http://169.254.169.254/latest/meta-data/", Misfortune.PRIVATE_ADDRESS),
        ("https://[::1]/", Misfortune.PRIVATE_ADDRESS),
        ("https://[::ffff:10.0.0.1]/", Misfortune.PRIVATE_ADDRESS),
        ("https://localhost", Misfortune.PRIVATE_ADDRESS),
    ],
)
def test_a60_what_is_no_public_shop_is_refused_without_a_word_of_what_was_typed(typed: str, why: Misfortune) -> None:
    with pytest.raises(NotConnectable) as refused:
        PUBLIC.shop_at(typed)

    assert (refused.value.why, refused.value.detail) == (why, "")


# ── Consent ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_of_consent_is_asked_with_exactly_the_five_parameters() -> None:
    back, call = "https://retour.example/connected?a=1&b=2", "https://retour.example/keys"

    url = urlsplit(PUBLIC.install_url(ShopDomain("shop.example/winkel"), state="a state & more", return_url=back, callback_url=call))

    assert (url.scheme, url.netloc, url.path) == ("https", "shop.example", "/winkel/wc-auth/v1/authorize")
    assert parse_qs(url.query, strict_parsing=True) == {
        "app_name": ["Retour"],
        "scope": ["read_write"],
        "user_id": ["a state & more"],
        "return_url": [back],
        "callback_url": [call],
    }


def test_the_page_of_consent_of_a_shop_on_this_machine_keeps_its_port() -> None:
    asked = DEV.install_url(ShopDomain("127.0.0.1:8089"), state="s" * 9, return_url="https://a.example/", callback_url="https://a.example/")

    assert asked.startswith("http://127.0.0.1:8089/wc-auth/v1/authorize?app_name=Retour&")


def posted(body: object, method: str = "POST") -> HttpRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpRequest(method, "https://retour.example/keys", (("content-type", "application/json;charset=UTF-8"),), raw)


def test_the_keys_that_a_genuine_store_posted_are_taken() -> None:
    genuine: dict[str, Any] = sample("wc-auth-callback")["callback"]

    grant = PUBLIC.finish_install(posted(genuine["body_raw"].encode()))

    said = json.loads(genuine["body_raw"])
    assert (grant.shop, grant.state, grant.expires_at) == ("", said["user_id"], None)
    assert grant.credentials == {
        "consumer_key": said["consumer_key"],
        "consumer_secret": said["consumer_secret"],
        "key_id": str(said["key_id"]),
        "permissions": "read_write",
    }
    assert said["consumer_secret"] not in repr(grant)
    assert said["user_id"] not in repr(grant)


@pytest.mark.parametrize("permissions", ["read", "write"])
def test_a59_keys_that_may_too_little_are_taken_as_what_they_are(permissions: str) -> None:
    assert PUBLIC.finish_install(posted({**GRANT, "key_permissions": permissions})).credentials["permissions"] == permissions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("key_id", each) for each in ("9", 9.0, True, 0, -1, 2**63, None, [9])),
        *(("user_id", each) for each in ("", "short", "a state", "x" * 501, "a-state\n", "é" * 20, 12345678, None, ["a-state-of-ours"])),
        *(
            ("consumer_key", each)
            for each in ("", SECRET, "ck_short", f"{KEY}\n", f" {KEY}", "ck_" + "1" * 200, "ck_'; --" + "1" * 30, None)
        ),
        *(("consumer_secret", each) for each in ("", KEY, f"{SECRET}\x00", 5, ["cs_"])),
        *(("key_permissions", each) for each in ("", "admin", "READ_WRITE", "read_write ", None, ["read_write"])),
    ],
)
def test_a59_a_callback_with_anything_else_in_it_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadSignature) as refused:
        PUBLIC.finish_install(posted({**GRANT, name: value}))

    assert "ck_" not in str(refused.value)
    assert "cs_" not in str(refused.value)


@pytest.mark.parametrize("name", GRANT)
def test_a59_a_callback_that_lacks_something_is_refused(name: str) -> None:
    with pytest.raises(BadSignature):
        PUBLIC.finish_install(posted({key: value for key, value in GRANT.items() if key != name}))


_RAW: Final = json.dumps(GRANT).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"consumer_key=ck_1&user_id=a-state-of-ours", id="a form"),
        pytest.param(_RAW[:-1], id="cut off"),
        pytest.param(b"[" + _RAW + b"]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(_RAW[:-1] + b', "user_id": "another-state"}', id="a key twice"),
        pytest.param(_RAW[:-1] + b', "more": {"a": 1, "a": 2}}', id="a key twice further in"),
        pytest.param(_RAW[:-1] + b', "more": 1e999}', id="infinity"),
        pytest.param(_RAW[:-1] + b', "more": NaN}', id="no number"),
        pytest.param(_RAW[:-1] + b', "more": ' + b"9" * 5000 + b"}", id="a huge number"),
        pytest.param(_RAW[:-1] + b', "more": ' + b"[" * 4000 + b"]" * 4000 + b"}", id="deep"),
        pytest.param(_RAW[:-1] + b', "more": "' + b"x" * 10_000 + b'"}', id="too large"),
        pytest.param(b"\xef\xbb\xbf" + _RAW, id="byte order mark"),
        pytest.param(_RAW.decode().encode("utf-16"), id="utf-16"),
        pytest.param(_RAW.replace(b"a-state", b"\xff-state"), id="not utf-8"),
    ],
)
def test_a15_a59_a_callback_that_is_not_such_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadSignature):
        PUBLIC.finish_install(posted(body))


def test_a64_a_callback_by_another_method_is_refused() -> None:
    with pytest.raises(BadSignature):
        PUBLIC.finish_install(posted(GRANT, "GET"))


# ── Whose a delivery is ─────────────────────────────────────────────────────────────────────────────────────────────


def claim(url: str, *headers: tuple[str, str]) -> ShopClaim:
    return PUBLIC.claimed_shop(HttpRequest("POST", url, headers, b""))


@pytest.mark.parametrize("base", ["https://retour.example", "https://retour.example/behind/a/proxy", "http://127.0.0.1:8000"])
def test_the_word_at_the_end_of_the_address_names_the_shop(base: str) -> None:
    assert claim(f"{base}/webhooks/woocommerce/Xy_-0123456789") == ShopClaim(path_token="Xy_-0123456789")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "short",
            "x" * 201,
            "a-door-of-ours/",
            "a-door-of-ours/more",
            "a%2Ddoor%2Dof%2Dours",
            "a-door-of-ours\u00e9",
            "a door of ours",
        ),
        *("../woocommerce", "a-door..of-ours", "?a-door-of-ours"),
    ],
)
def test_a63_no_other_word_names_one(path: str) -> None:
    assert claim(f"https://retour.example/webhooks/woocommerce/{path}") == ShopClaim()


@pytest.mark.parametrize("url", ["https://[/webhooks/woocommerce/a-door-of-ours", "https://a]/webhooks/woocommerce/a-door-of-ours", ""])
def test_an_address_that_is_none_names_nobody(url: str) -> None:
    assert claim(url) == ShopClaim()


def test_a10_what_a_header_says_of_the_source_is_not_read() -> None:
    source = ("x-wc-webhook-source", "https://another.example/")

    assert claim("https://retour.example/webhooks/woocommerce/a-door-of-ours", source) == ShopClaim(path_token="a-door-of-ours")
    assert claim("https://retour.example/", source) == ShopClaim()


# ── What it is about ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("webhook-order-created", Hint(OrderRef("218"))),
        ("webhook-order-updated-after-refund", Hint(OrderRef("218"))),
        ("webhook-action-refund-created", Hint(sweep=True)),
        ("webhook-error-payload", Hint(sweep=True, trouble="woocommerce_rest_cannot_view")),
    ],
)
def test_a_genuine_delivery_is_about_its_order_or_about_all_of_late(name: str, hint: Hint) -> None:
    found = sample(name)

    assert PUBLIC.hint(found["headers"]["X-WC-Webhook-Topic"], found["body_raw"].encode()) == hint


@pytest.mark.parametrize(
    ("topic", "body", "hint"),
    [
        ("order.deleted", b'{"id":201}', Hint(OrderRef("201"))),
        ("order.updated", b'{"id":201,"status":"checkout-draft"}', Hint()),
        ("order.created", b'{"id":201,"status":"some-plugins-own"}', Hint(OrderRef("201"))),
        ("product.updated", b'{"id":201,"status":"publish"}', Hint()),
        ("action.woocommerce_refund_created", b'{"id":201}', Hint()),
        ("order.updated", b'\xef\xbb\xbf{"id":201}', Hint(OrderRef("201"))),
        ("order.updated", b'<br />\n<b>Notice</b>: x\n{"id":201}', Hint(OrderRef("201"))),
        ("order.updated", b'{"id":9223372036854775807}', Hint(OrderRef("9223372036854775807"))),
        ("order.updated", b'{"id":201,"total":1e999,"meta_data":["\\ud800","\\u0000"]}', Hint(OrderRef("201"))),
        ("order.updated", b'{"id":200,"id":201}', Hint(OrderRef("201"))),  # as PHP reads it: a hint only
        (
            "order.updated",
            b'{"code":"woocommerce_rest_shop_order_invalid_id","message":"x","data":{"status":404}}',
            Hint(sweep=True, trouble="woocommerce_rest_shop_order_invalid_id"),
        ),
        ("order.updated", b'{"code":"<script>","action":"x"}', Hint(sweep=True)),
    ],
)
def test_a_delivery_is_a_hint_of_what_to_read_again(topic: str, body: bytes, hint: Hint) -> None:
    assert PUBLIC.hint(topic, body) == hint


@pytest.mark.parametrize(
    "body",
    [
        *(
            pytest.param(f'{{"id":{each}}}'.encode(), id=f"id {each[:12]}")
            for each in ('"201"', "201.0", "2e2", "1e999", "true", "null", "0")
        ),
        *(
            pytest.param(f'{{"id":{each}}}'.encode(), id=f"id {each[:12]}")
            for each in ("-201", str(2**63), "9" * 5000, "[201]", "{}", "NaN")
        ),
        pytest.param(b'{"id":201,"status":null}', id="no status"),
        pytest.param(b'{"id":201,"status":{"a":1}}', id="a status that is none"),
        pytest.param(b'{"id":201,"total":Infinity}', id="infinity"),
        pytest.param(b'{"id":201,"total":' + b"9" * 5000 + b"}", id="a huge number"),
        pytest.param(b'{"id":201,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep"),
        pytest.param(b"[" * 100_000, id="deep and open"),
        pytest.param(b"<p>" + b"[" * 100_000, id="a page and deep"),
        *(
            pytest.param(each, id=each.decode())
            for each in (b"", b"null", b"[]", b"[1]", b'"id"', b"201", b"{}", b"id=201", b'{"id":201', b"{'id':201}")
        ),
        pytest.param(b'{"code":5}', id="a code that is none"),
        pytest.param(b'{"code":"Not A Code","message":"x"}', id="a code with blanks"),
        pytest.param(b'{"action":7}', id="an action that is none"),
        pytest.param('{"id":201}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"id":201,"a":"\xff"}', id="not utf-8"),
    ],
)
def test_a15_a16_what_nobody_can_make_sense_of_is_malformed_and_not_quoted(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        PUBLIC.hint("order.updated", body)

    assert len(str(refused.value)) < 60


# ── Without the plugin ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_without_the_plugin_signs_no_visits_and_vouches_for_nobody() -> None:
    with pytest.raises(BadSignature):
        PUBLIC.read_visit(HttpRequest("GET", "https://retour.example/", (), b""), [b"key"])
    with pytest.raises(BadSignature):
        PUBLIC.staff(Visit(ShopDomain("shop.example"), staff="1"))


# ── Opening a store asks nobody ─────────────────────────────────────────────────────────────────────────────────────


def opened(facts: dict[str, str]) -> Any:
    return PUBLIC.connect(ShopDomain("shop.example"), {"consumer_key": KEY, "consumer_secret": SECRET}, facts)


def test_a_store_is_asked_where_its_last_probe_ended_else_where_its_keys_came_from_else_at_its_name() -> None:
    shop, keys = ShopDomain("shop.example"), {"consumer_key": KEY, "consumer_secret": SECRET}

    def url(credentials: dict[str, str], facts: dict[str, str]) -> str:
        return PUBLIC.connect(shop, credentials, facts)._orders.client.url

    assert url({**keys, "url": "https://two.example"}, {"url": "https://www.shop.example"}) == "https://www.shop.example"
    assert url({**keys, "url": "https://two.example"}, {}) == "https://two.example"
    assert url(keys, {}) == "https://shop.example"


def test_a71_what_is_opened_shows_no_keys() -> None:
    assert repr(opened({})) == "<shop.example>"


def test_what_a_store_can_do_is_what_its_last_probe_found() -> None:
    facts = {"gateways": "stripe,paypal", "currency": "EUR", "prices_include_tax": "yes", "time_zone": "Europe/Amsterdam"}

    can = opened({**facts, "clock_offset": "-95", "version": "10.5.0", "coupons": "no"}).capabilities()

    assert (can.refund_gateways, can.currency, can.prices_include_tax) == (frozenset({"stripe", "paypal"}), "EUR", True)
    assert (can.time_zone, can.clock_offset, can.version) == ("Europe/Amsterdam", timedelta(seconds=-95), "10.5.0")
    assert (can.store_credit, can.restocks_per_line, can.restocks_whole_refund) == (False, False, True)


def test_without_a_probe_a_store_claims_little() -> None:
    can = opened({"clock_offset": "much"}).capabilities()

    assert (can.refund_gateways, can.currency, can.prices_include_tax) == (None, "", False)
    assert (can.time_zone, can.clock_offset, can.store_credit) == ("UTC", timedelta(0), True)
    assert opened({"gateways": ""}).capabilities().refund_gateways == frozenset()


def test_a_store_is_quiet_only_when_nothing_of_ours_can_still_be_at_work_there() -> None:
    can = opened({}).capabilities()

    assert can.quiet_period >= WINDOW + can.request_deadline + can.longest_run + MARGIN
    assert (can.quiet_period, can.request_deadline, can.longest_run) == tuple(timedelta(seconds=each) for each in (900, 130, 600))


def test_keys_do_not_expire() -> None:
    assert opened({}).renew() is None
