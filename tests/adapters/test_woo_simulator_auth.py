"""Who may ask the simulated shop: keys over http and https, and the pages on which a merchant gives them away."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
import requests
import woocommerce

from adapters.simulators.woocommerce import PASSWORD, ShopSettings, WooShop
from tests.adapters.woo_simulator import Clock, sample

RIGHT = ("wp-json/wc/v3/orders", 200)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(clock: Clock) -> Iterator[WooShop]:
    shop = WooShop(clock=clock)
    with shop.serving():
        yield shop
    shop.close()


def official(shop: WooShop, key: tuple[str, str], clock: Clock) -> Any:
    """The official client; it signs with this machine's clock unless told otherwise."""
    api = woocommerce.API(url=shop.url, consumer_key=key[0], consumer_secret=key[1], timeout=10)
    stamp = int(clock.now.timestamp())
    return lambda path, **params: _signed(api, path, params, stamp)


def _signed(api: Any, path: str, params: dict[str, Any], stamp: int) -> requests.Response:
    """What API.get does, at the shop's time."""
    url = f"{api.url}/wp-json/wc/v3/{path}?{urlencode(params)}"
    signed = api._API__get_oauth_url(url, "GET", oauth_timestamp=stamp)
    return requests.get(signed, params=params, timeout=10)


def basic(shop: WooShop, key: tuple[str, str], path: str = "orders", method: str = "GET", **how: Any) -> requests.Response:
    return requests.request(method, f"{shop.url}/wp-json/wc/v3/{path}", auth=key, timeout=10, **how)


def genuine(place: int) -> tuple[int, Any]:
    answer = sample("api-errors")[place]["response"]
    return answer["status"], answer["body"]


def told(response: requests.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


# ── Over http: OAuth 1.0a or nobody ──


def test_over_http_basic_and_query_keys_are_ignored_as_if_nobody_had_shown_any(shop: WooShop) -> None:
    key = shop.add_key()
    in_query = {"consumer_key": key[0], "consumer_secret": key[1]}

    assert told(basic(shop, key)) == told(requests.get(f"{shop.url}/wp-json/wc/v3/orders", params=in_query, timeout=10)) == genuine(0)


def test_the_official_client_signs_as_the_shop_checks(shop: WooShop, clock: Clock) -> None:
    get = official(shop, shop.add_key(), clock)
    order = shop.place(name="Zoë Ünal")

    for params in (
        {},
        {"search": "Zoë", "per_page": 5},
        {"include": f"{order},7"},
        {"after": "2020-01-01T00:00:00"},
        {"x": "a+b~c*d"},
    ):
        answer = get("orders", **params)
        assert (answer.status_code, len(answer.json())) == (200, 1), params


@pytest.mark.parametrize("params", [{"search": "x/y"}, {"status": ["processing", "completed"]}])
def test_what_the_official_client_signs_wrongly_is_refused(shop: WooShop, clock: Clock, params: dict[str, Any]) -> None:
    answer = official(shop, shop.add_key(), clock)("orders", **params)

    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid signature - provided signature does not match.")


def test_the_official_client_works_at_todays_time() -> None:
    today = WooShop()
    with today.serving() as url:
        key = today.add_key()
        api = woocommerce.API(url=url, consumer_key=key[0], consumer_secret=key[1], timeout=10)
        made = api.post("orders", {"line_items": [{"name": "Shirt", "quantity": 1, "total": "1.00"}]})
        changed = api.put(f"orders/{made.json()['id']}", {"status": "completed"})
    today.close()

    assert (made.status_code, changed.json()["status"]) == (201, "completed")


def signed_url(shop: WooShop, key: tuple[str, str], stamp: int) -> str:
    api = woocommerce.API(url=shop.url, consumer_key=key[0], consumer_secret=key[1])
    url: str = api._API__get_oauth_url(f"{shop.url}/wp-json/wc/v3/orders", "GET", oauth_timestamp=stamp)
    return url


@pytest.mark.parametrize(("off", "status"), [(-901, 401), (-899, 200), (899, 200), (901, 401)])
def test_a_timestamp_counts_for_a_quarter_of_an_hour(shop: WooShop, clock: Clock, off: int, status: int) -> None:
    answer = requests.get(signed_url(shop, shop.add_key(), int(clock.now.timestamp()) + off), timeout=10)

    assert answer.status_code == status
    assert status == 200 or answer.json()["message"] == "Invalid timestamp."


def test_a_nonce_is_good_once(shop: WooShop, clock: Clock) -> None:
    url = signed_url(shop, shop.add_key(), int(clock.now.timestamp()))

    first, again = requests.get(url, timeout=10), requests.get(url, timeout=10)

    assert (first.status_code, again.status_code, again.json()["message"]) == (200, 401, "Invalid nonce - nonce has already been used.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("oauth_consumer_key=ck_", "oauth_consumer_key=ck_x"), "Consumer key is invalid."),
        (("HMAC-SHA256", "PLAINTEXT"), "Invalid signature - signature method is invalid."),
        (("oauth_nonce=", "oauth_nonce=0"), "Invalid signature - provided signature does not match."),
        (("oauth_nonce=", "other="), "Missing OAuth parameter oauth_nonce"),
    ],
)
def test_signatures_that_are_wrong_are_refused_in_words(shop: WooShop, clock: Clock, change: tuple[str, str], message: str) -> None:
    url = signed_url(shop, shop.add_key(), int(clock.now.timestamp())).replace(*change)

    answer = requests.get(url, timeout=10)

    assert (answer.status_code, answer.json()["message"]) == (401, message)


def test_another_method_or_path_needs_another_signature(shop: WooShop, clock: Clock) -> None:
    url = signed_url(shop, shop.add_key(), int(clock.now.timestamp()))

    assert requests.post(url, json={}, timeout=10).status_code == 401
    assert requests.get(url.replace("/orders?", "/coupons?"), timeout=10).status_code == 401


# ── As over https ──


def test_over_https_basic_counts_and_keys_in_the_query_before_it(shop: WooShop) -> None:
    key, other = shop.add_key(), shop.add_key()
    shop.pretend_tls = True
    in_query = {"consumer_key": key[0], "consumer_secret": key[1]}

    assert basic(shop, key).status_code == 200
    assert requests.get(f"{shop.url}/wp-json/wc/v3/orders", params=in_query, auth=(other[0], "cs_wrong"), timeout=10).status_code == 200


def test_a_wrong_secret_an_unknown_key_and_a_deleted_one_are_told_as_genuine_ones(shop: WooShop) -> None:
    shop.pretend_tls = True
    key = shop.add_key()

    assert told(basic(shop, (key[0], "cs_wrong"))) == genuine(1)
    assert told(basic(shop, ("ck_nobody", key[1]))) == genuine(0)
    shop.revoke(key[0])
    assert told(basic(shop, key)) == genuine(0)


def test_keys_for_reading_or_writing_alone_do_no_more(shop: WooShop) -> None:
    shop.pretend_tls = True

    assert told(basic(shop, shop.add_key("read"), method="POST", json={})) == genuine(2)
    assert told(basic(shop, shop.add_key("write"))) == genuine(3)


def test_who_lost_his_rights_is_known_and_refused(shop: WooShop) -> None:
    shop.pretend_tls = True
    key, manager = shop.add_key(), shop.add_key(user="manager")
    shop.demote("owner")
    shop.demote("manager", "shop_manager")

    answer = basic(shop, key, f"orders/{shop.place()}")

    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (
        403,
        "woocommerce_rest_cannot_view",
        "Sorry, you cannot view this resource.",
    )
    assert basic(shop, key, "webhooks", "POST", json={}).json()["code"] == "woocommerce_rest_cannot_create"
    assert basic(shop, manager, "system_status").status_code == 200


def test_a_stripped_header_looks_like_an_unknown_key_and_the_query_still_works(shop: WooShop) -> None:
    shop.pretend_tls = shop.strip_authorization = True
    key = shop.add_key()
    in_query = {"consumer_key": key[0], "consumer_secret": key[1]}

    assert told(basic(shop, key)) == genuine(0)
    assert requests.get(f"{shop.url}/wp-json/wc/v3/orders", params=in_query, timeout=10).status_code == 200


def test_tls_that_ends_at_a_proxy_is_http_to_wordpress(shop: WooShop) -> None:
    shop.pretend_tls = shop.tls_at_proxy = True

    assert told(basic(shop, shop.add_key())) == genuine(0)


def test_plain_permalinks_know_no_keys_at_all(shop: WooShop) -> None:
    shop.pretend_tls = shop.plain_permalinks = True
    key = shop.add_key()

    moved = requests.get(f"{shop.url}/wp-json/", timeout=10, allow_redirects=False)
    direct = requests.get(f"{shop.url}/wp-json/wc/v3/orders", auth=key, timeout=10)
    anonymous = requests.get(f"{shop.url}/", params={"rest_route": "/wc/v3/orders"}, auth=key, timeout=10)
    home = requests.get(shop.url, timeout=10)

    assert (moved.status_code, direct.status_code, direct.headers["Content-Type"]) == (404, 404, "text/html; charset=UTF-8")
    assert direct.history[0].status_code == 301
    assert told(anonymous) == genuine(0)
    assert home.headers["Link"] == f'<{shop.url}/index.php?rest_route=/>; rel="https://api.w.org/"'


def test_the_index_is_open_to_everybody_and_shows_what_is_installed() -> None:
    shop = WooShop(settings=ShopSettings(path="/winkel", plugins=("wc-store-credits/v1",), time_zone="UTC+02:00"))
    with shop.serving() as url:
        index = requests.get(f"{url}/wp-json/", timeout=10).json()
        also = requests.get(f"{url}/index.php/wp-json/", timeout=10).json()
        outside = requests.get(url.removesuffix("/winkel"), timeout=10)
        shop.no_v3 = True
        without = requests.get(f"{url}/wp-json/", timeout=10).json()
    shop.close()

    assert (url.endswith("/winkel"), index["home"], also == index, outside.status_code) == (True, url, True, 404)
    assert ({"wc/v3", "wc-store-credits/v1"} <= set(index["namespaces"]), "wc/v3" in without["namespaces"]) == (True, False)
    assert (index["timezone_string"], index["gmt_offset"]) == ("", "2")


def test_settings_gateways_and_rates_are_told(shop: WooShop) -> None:
    shop.pretend_tls = True
    key = shop.add_key()

    def get(path: str) -> Any:
        return basic(shop, key, path).json()

    assert {one["id"]: one["value"] for one in get("settings/tax")}["woocommerce_prices_include_tax"] == "no"
    assert (get("settings/general/woocommerce_currency")["group_id"], get("settings/general/nope")["code"]) == (
        "general",
        "rest_setting_setting_invalid",
    )
    assert [one["id"] for one in get("payment_gateways") if one["enabled"] and "refunds" in one["method_supports"]] == [
        "test_card",
        "examplepay",
    ]
    assert (get("payment_gateways/cod")["method_supports"], get("payment_gateways/nope")["code"]) == (
        ["products"],
        "woocommerce_rest_payment_gateway_invalid",
    )
    assert [(one["name"], one["rate"]) for one in get("taxes")] == [("vat", "21.0000")]


# ── wc-auth ──


class Callback(HTTPServer):
    """Where a shop posts its keys."""

    def __init__(self) -> None:
        self.status, self.got = 200, list[tuple[dict[str, str], bytes]]()
        super().__init__(("127.0.0.1", 0), _Receiver)


class _Receiver(BaseHTTPRequestHandler):
    server: Callback

    def do_POST(self) -> None:
        self.server.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Callback]:
    with Callback() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def begun(shop: WooShop, callback: str, **more: str) -> str:
    params = {
        "app_name": "Retour",
        "scope": "read_write",
        "user_id": "st_1",
        "return_url": "https://retour.example/back?a=1",
        "callback_url": callback,
    }
    return f"{shop.url}/wc-auth/v1/authorize?{urlencode({**params, **more})}"


def approve_page(shop: WooShop, browser: requests.Session, address: str, user: str = "owner") -> requests.Response:
    """Sign in, as the page asks."""
    login = browser.get(address, timeout=10)
    assert urlsplit(login.url).path == "/wc-auth/v1/login/"
    assert 'name="username"' in login.text
    return browser.post(login.url, {"username": user, "password": PASSWORD, "login": "Login"}, timeout=10)


def link(page: requests.Response, name: str) -> str:
    found = re.search(rf'<a href="([^"]*)" class="[^"]*{name}"', page.text)
    assert found is not None
    return urljoin(page.url, unescape(found[1]))


def test_a_merchant_signs_in_approves_and_the_shop_posts_its_keys(shop: WooShop) -> None:
    shop.pretend_tls = True
    with receiving() as callback, requests.Session() as browser:
        page = approve_page(shop, browser, begun(shop, f"http://127.0.0.1:{callback.server_port}/cb"))
        back = browser.get(link(page, "wc-auth-approve"), timeout=10, allow_redirects=False)

    (headers, body), given = callback.got[0], json.loads(callback.got[0][1])
    ours = sample("wc-auth-callback")["callback"]
    assert (list(given), headers["Content-Type"]) == (list(json.loads(ours["body_raw"])), ours["headers"]["Content-Type"])
    assert (headers["User-Agent"], given["user_id"], given["key_permissions"]) == (f"WordPress/6.9.7; {shop.url}", "st_1", "read_write")
    assert body == json.dumps(given, separators=(",", ":")).encode()
    assert back.headers["Location"] == "https://retour.example/back?a=1&success=1&user_id=st_1"
    assert basic(shop, (given["consumer_key"], given["consumer_secret"])).status_code == 200


@pytest.mark.parametrize("status", [201, 204, 500])
def test_a_callback_that_is_not_answered_exactly_200_costs_the_key(shop: WooShop, status: int) -> None:
    shop.pretend_tls = True
    with receiving() as callback, requests.Session() as browser:
        callback.status = status
        page = approve_page(shop, browser, begun(shop, f"http://127.0.0.1:{callback.server_port}/cb"))
        refused = browser.get(link(page, "wc-auth-approve"), timeout=10, allow_redirects=False)

    given = json.loads(callback.got[0][1])
    assert (refused.status_code, "Error: An error occurred in the request" in refused.text) == (401, True)
    assert basic(shop, (given["consumer_key"], given["consumer_secret"])).status_code == 401


def test_a_callback_that_nobody_answers_costs_the_key_too(shop: WooShop) -> None:
    shop.pretend_tls = True
    with requests.Session() as browser:
        page = approve_page(shop, browser, begun(shop, "http://127.0.0.1:9/cb"))
        refused = browser.get(link(page, "wc-auth-approve"), timeout=10, allow_redirects=False)

    assert (refused.status_code, shop.site.shelves.all("key")) == (401, [])


def test_who_says_no_comes_back_with_no(shop: WooShop) -> None:
    with requests.Session() as browser:
        page = approve_page(shop, browser, begun(shop, "https://retour.example/cb"))

    assert link(page, "wc-auth-deny") == "https://retour.example/back?a=1&success=0&user_id=st_1"


def test_a_link_that_approves_works_only_from_the_page(shop: WooShop) -> None:
    shop.pretend_tls = True
    with receiving() as callback, requests.Session() as browser:
        page = approve_page(shop, browser, begun(shop, f"http://127.0.0.1:{callback.server_port}/cb"))
        forged = re.sub(r"wc_auth_nonce=\w+", "wc_auth_nonce=0", link(page, "wc-auth-approve"))
        refused = browser.get(forged, timeout=10)

    assert ("Invalid nonce verification" in refused.text, callback.got) == (True, [])


def test_a_wrong_password_a_customer_and_nobody_get_no_further(shop: WooShop) -> None:
    shop.add_user("klant", "customer")
    with requests.Session() as browser:
        address = begun(shop, "https://retour.example/cb")
        wrong = browser.post(browser.get(address, timeout=10).url, {"username": "owner", "password": "x"}, timeout=10)
        assert "incorrect" in wrong.text
        customer = approve_page(shop, browser, address, "klant")

    assert (customer.status_code, "You do not have permission to access this page" in customer.text) == (401, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user_id": ""}, "Error: Missing parameter user_id."),
        ({"scope": "rw"}, "Error: Invalid scope rw."),
        ({"callback_url": "http://127.0.0.1/cb"}, "Error: The callback_url needs to be over SSL."),
    ],
)
def test_what_is_wrong_with_the_address_is_said(shop: WooShop, change: dict[str, str], words: str) -> None:
    answer = requests.get(begun(shop, "https://retour.example/cb", **change), timeout=10)

    assert (answer.status_code, words in answer.text) == (401, True)


def test_signing_out_and_in_again(shop: WooShop) -> None:
    with requests.Session() as browser:
        page = approve_page(shop, browser, begun(shop, "https://retour.example/cb"))
        out = browser.get(link(page, "wc-auth-logout"), timeout=10)

    assert (urlsplit(out.url).path, parse_qs(urlsplit(out.url).query)["user_id"]) == ("/wc-auth/v1/login/", ["st_1"])


def test_a_shop_with_one_worker_waits_for_the_callback_and_lets_nobody_else_in() -> None:
    """Whoever probes the shop from inside the callback waits for himself."""
    shop = WooShop()
    shop.pretend_tls = True
    with shop.serving(workers=1) as url, receiving() as callback, requests.Session() as browser:
        page = approve_page(shop, browser, begun(shop, f"http://127.0.0.1:{callback.server_port}/cb"))
        seen: list[str] = []

        def probe(handler: _Receiver) -> None:
            try:
                requests.get(f"{url}/wp-json/", timeout=0.3)
                seen.append("answered")
            except requests.Timeout:
                seen.append("waited")
            handler.send_response(200)
            handler.end_headers()

        callback.RequestHandlerClass = type("Probing", (_Receiver,), {"do_POST": probe})
        browser.get(link(page, "wc-auth-approve"), timeout=10, allow_redirects=False)
    shop.close()

    assert seen == ["waited"]


def test_an_authorization_that_is_no_basic_is_nobody(shop: WooShop) -> None:
    shop.pretend_tls = True
    for value in ("Bearer x", "Basic ???", "Basic " + base64.b64encode(b"\xff:\xff").decode()):
        assert requests.get(f"{shop.url}/wp-json/wc/v3/orders", headers={"Authorization": value}, timeout=10).status_code == 401
