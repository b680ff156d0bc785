"""What can go wrong on the way to the simulated shop, how many it serves at a time, and what it saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from adapters.simulators.woocommerce import Fault, Kind, WooShop
from tests.adapters.woo_simulator import Client, Clock, sample


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[Client]:
    shop = WooShop(clock=clock)
    shop.pretend_tls = True
    with shop.serving() as url:
        yield Client(shop, url, shop.add_key())
    shop.close()


def get(client: Client, path: str = "orders", **how: object) -> requests.Response:
    whole = f"{client.url}/wp-json/wc/v3/{path}"
    return requests.request("GET", whole, auth=client.key, timeout=10, allow_redirects=False, stream=bool(how.get("stream")))


def test_a_fault_is_met_once_by_the_route_and_method_that_it_was_ordered_for(client: Client) -> None:
    order = client.shop.place()
    client.shop.fail_next("POST orders", Fault(Kind.WAF))
    client.shop.fail_next("order", Fault(Kind.PAGE, status=502), times=2)

    assert [get(client).status_code, get(client, "coupons").status_code] == [200, 200]
    assert [get(client, f"orders/{order}").status_code for _ in range(3)] == [502, 502, 200]
    assert requests.post(f"{client.url}/wp-json/wc/v3/orders", json={}, auth=client.key, timeout=10).status_code == 403


def test_a_fault_stays_until_it_is_healed(client: Client) -> None:
    client.shop.fail_next("any", Fault(Kind.MAINTENANCE), times=None)
    seen = [get(client).status_code for _ in range(3)]
    client.shop.heal()

    assert (seen, get(client).status_code) == ([503] * 3, 200)


def test_maintenance_and_the_firewall_answer_html_as_genuine_ones(client: Client) -> None:
    genuine = sample("api-errors")[-1]["response"]
    client.shop.fail_next("any", Fault(Kind.MAINTENANCE))
    client.shop.fail_next("any", Fault(Kind.WAF))

    down, wall = get(client), get(client)

    assert (down.status_code, {name: down.headers[name] for name in genuine["headers"]}) == (503, genuine["headers"])
    assert "<title>Maintenance</title>" in down.text
    assert (wall.status_code, "CF-RAY" in wall.headers, "<title>Attention Required!" in wall.text) == (403, True, True)


@pytest.mark.parametrize("told", ["120", "Sat, 21 Nov 2026 20:00:00 GMT", "-5", "315360000", "soon", None])
def test_too_many_requests_say_when_to_come_back_in_every_odd_way(client: Client, told: str | None) -> None:
    client.shop.fail_next("orders", Fault(Kind.PAGE, status=429, retry_after=told))

    answer = get(client)

    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, told)


@pytest.mark.parametrize("effect", [False, True])
def test_a_page_where_json_was_expected_comes_with_or_without_effect(client: Client, effect: bool) -> None:
    client.shop.fail_next("POST orders", Fault(Kind.PAGE, status=504, effect=effect))

    answer = requests.post(f"{client.url}/wp-json/wc/v3/orders", json={}, auth=client.key, timeout=10)

    assert (answer.status_code, "<html>" in answer.text, len(client.shop.orders())) == (504, True, int(effect))


def test_a_login_wall_is_a_200_in_html(client: Client) -> None:
    client.shop.fail_next("any", Fault(Kind.LOGIN_WALL))

    assert (get(client).status_code, get(client).headers["Content-Type"]) == (200, "application/json; charset=UTF-8")


def test_a_redirect_goes_where_it_is_told(client: Client) -> None:
    client.shop.fail_next("orders", Fault(Kind.REDIRECT))
    client.shop.fail_next("orders", Fault(Kind.REDIRECT, words="https://www.shop.example/x", status=302))

    first, second = get(client), get(client)

    assert (first.status_code, first.headers["Location"]) == (301, "/wp-json/wc/v3/orders/")
    assert (second.status_code, second.headers["Location"]) == (302, "https://www.shop.example/x")


def test_a_notice_and_a_bom_stand_before_the_json(client: Client) -> None:
    client.shop.fail_next("any", Fault(Kind.NOTICE))
    client.shop.fail_next("any", Fault(Kind.BOM))

    assert get(client).text.startswith("<br />\n<b>Notice</b>")
    assert get(client).content == b"\xef\xbb\xbf[]"


def test_any_answer_can_be_put_into_its_mouth(client: Client) -> None:
    client.shop.fail_next("orders", Fault(Kind.ANSWER, words='[{"id":NaN}]', content_type="application/json", status=200))

    assert get(client).text == '[{"id":NaN}]'


def test_a_cached_get_shows_what_was_there_before(client: Client) -> None:
    before = get(client).json()
    client.shop.place()
    client.shop.fail_next("orders", Fault(Kind.CACHED))

    assert (get(client).json(), len(get(client).json())) == (before, 1)


def test_an_answer_breaks_off_in_the_middle(client: Client) -> None:
    client.shop.place()
    client.shop.fail_next("orders", Fault(Kind.TRUNCATE))

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(client)


def test_an_answer_drips_and_another_never_ends(client: Client) -> None:
    client.shop.fail_next("orders", Fault(Kind.DRIP, 0.02))
    began = time.monotonic()
    assert get(client).json() == []
    assert time.monotonic() - began > 0.015  # one pause between its two bytes
    client.shop.fail_next("orders", Fault(Kind.ENDLESS))

    with get(client, stream=True) as answer:
        assert sum(len(chunk) for chunk, _ in zip(answer.iter_content(65536), range(40), strict=False)) > 2_000_000


def test_a_slow_shop_begins_late_or_answers_late(client: Client) -> None:
    for kind, made in ((Kind.SLOW, 0), (Kind.SLOW_ANSWER, 1)):
        shop = WooShop()
        shop.pretend_tls = True
        shop.fail_next("POST orders", Fault(kind, 0.5))
        with shop.serving() as url:
            key = shop.add_key()
            sent = threading.Thread(
                target=requests.post, args=(f"{url}/wp-json/wc/v3/orders",), kwargs={"json": {}, "auth": key, "timeout": 10}
            )
            sent.start()
            while not shop.requests:
                time.sleep(0.005)
            time.sleep(0.1)
            seen = len(shop.orders())
            sent.join()
        assert (seen, len(shop.orders())) == (made, 1)
        shop.close()
    del client


def test_a_client_that_goes_away_does_not_stop_the_work(client: Client) -> None:
    client.shop.fail_next("POST orders", Fault(Kind.SLOW, 0.3))
    with pytest.raises(requests.Timeout):
        requests.post(f"{client.url}/wp-json/wc/v3/orders", json={}, auth=client.key, timeout=0.1)

    until = time.monotonic() + 10
    while not client.shop.orders() and time.monotonic() < until:
        time.sleep(0.01)
    assert len(client.shop.orders()) == 1


# ── How it serves ──


def test_two_workers_let_the_third_wait_in_line() -> None:
    shop = WooShop()
    shop.pretend_tls = True
    shop.fail_next("orders", Fault(Kind.SLOW, 0.2), times=None)
    with shop.serving(workers=2) as url, ThreadPoolExecutor(4) as pool:
        key = shop.add_key()
        codes = list(pool.map(lambda _: requests.get(f"{url}/wp-json/wc/v3/orders", auth=key, timeout=10).status_code, range(4)))
    shop.close()

    assert (codes, shop.max_concurrent["orders"], shop.max_concurrent["any"]) == ([200] * 4, 2, 4)


def test_connections_are_kept_open(client: Client) -> None:
    with requests.Session() as session:
        for _ in range(2):
            answer = session.get(f"{client.url}/wp-json/", timeout=10)
            assert "Connection" not in answer.headers
        pools = session.get_adapter(client.url).poolmanager.pools  # type: ignore[attr-defined]
        (pool,) = [pools[key] for key in pools.keys()]  # noqa: SIM118 - urllib3's container is no mapping to walk

    assert (pool.num_connections, pool.num_requests) == (1, 2)


def test_what_came_in_is_remembered_without_what_proved_it(client: Client) -> None:
    client.get("orders", per_page=2)
    requests.get(f"{client.url}/wp-json/wc/v3/orders?consumer_key=ck_x&consumer_secret=cs_x&oauth_nonce=1&page=2", timeout=10)

    assert client.shop.requests == [
        ("GET", "/wp-json/wc/v3/orders", {"per_page": "2"}),
        ("GET", "/wp-json/wc/v3/orders", {"page": "2"}),
    ]


def test_head_counts_without_a_body(client: Client) -> None:
    client.shop.place()

    answer = requests.head(f"{client.url}/wp-json/wc/v3/orders", auth=client.key, timeout=10)

    assert (answer.status_code, answer.headers["X-WP-Total"], answer.content) == (200, "1", b"")


def test_the_date_header_is_the_shops_clock(client: Client, clock: Clock) -> None:
    clock.advance(3600)

    assert get(client).headers["Date"] == "Sat, 21 Nov 2026 20:29:52 GMT"


def test_any_other_wsgi_server_can_serve_the_shop() -> None:
    shop = WooShop()
    said: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/wp-json/", "QUERY_STRING": "", "wsgi.input": None, "wsgi.url_scheme": "https"}

    body = b"".join(shop.app(environ, lambda status, _headers: said.append(status)))
    shop.close()

    assert (said, body.startswith(b'{"name":"Simulated shop"')) == (["200 OK"], True)
