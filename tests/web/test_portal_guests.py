"""Who is let in: A31 to A37, A39, A43 to A46, A62, A77; what a guess costs, and that nobody is locked out by one."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from flask import Flask

from connector.app import create_app
from connector.config import Settings
from connector.db import Busy, Database
from connector.domain.orders import Buyer
from connector.models import Shop, ShopStatus
from connector.services import lookup, shops
from connector.web import guards
from connector.web.guards import FLOOR_SETTING, network_of
from connector.web.server import Server
from tests.processes import Child, Link
from tests.services.acts import everything
from tests.web.conftest import BASE, settings_for
from tests.web.shopping import KIM, Front, Shopper, at_once_app, numbered, query_of, spent_up
from tests.world import START, Clock, an_order


@pytest.fixture
def front(app: Flask, database: Database, clock: Clock) -> Front:
    return Front.open(at_once_app(app), database, clock)


@pytest.fixture
def shopper(front: Front) -> Shopper:
    return Shopper(front)


# --- the first page


def test_p2_the_first_page_names_the_shop_and_asks_for_number_and_address(shopper: Shopper) -> None:
    for rest in ("", "/"):
        answer = shopper.get(rest)
        assert answer.status_code == 200
        for told in (shopper.front.world.shop.domain, "Order number", "E-mail address", "Where is my order number?"):
            assert told in shopper.shown()
        assert "Set-Cookie" not in answer.headers
        assert not re.search(r"<script|<style| style=| on[a-z]+=", answer.text)


def test_a_shop_that_left_or_never_was_has_no_page(shopper: Shopper) -> None:
    front = shopper.front
    for handle in ("nobody", "x" * 200, "A\0", "%00", "..", "' OR 1=1"):
        assert shopper.client.get(f"/returns/{handle}", base_url=BASE).status_code == 404
    with front.world.db.transaction() as session:
        shops.uninstall(session, front.world.shop.id, who="owner", now=START)

    for answer in (shopper.get(""), shopper.get("/items", visit="x"), shopper.find("1001"), shopper.get("/2345678A")):
        assert answer.status_code == 404


def test_a_shop_whose_keys_were_refused_still_takes_returns(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order())
    with shopper.front.world.db.transaction() as session:
        session.get_one(Shop, shopper.front.world.shop.id).status = ShopStatus.REVOKED

    assert shopper.submits(order).number


def test_p2_who_knows_both_sees_the_order(shopper: Shopper) -> None:
    order = shopper.front.keeps(numbered("#1042"))

    sent = shopper.find(" 1042 ", " KIM@example.com")

    assert sent.status_code == 303
    assert sent.location.startswith(shopper.front.path("/items?"))
    assert KIM not in sent.location
    assert shopper.open(sent.location).status_code == 200
    assert f"Order {order.number}" in shopper.shown()


def test_several_orders_of_one_number_are_offered_newest_first(shopper: Shopper) -> None:
    for days in (9, 2):
        shopper.front.keeps(numbered("7", placed_at=START - timedelta(days=days)))
    shopper.front.keeps(numbered("7", buyer=Buyer("noor@example.com")))

    assert shopper.find("7").status_code == 200

    links = re.findall(r'href="([^"]*/items[^"]*)"', shopper.page)
    assert len(links) == 2
    assert shopper.shown().index("28 February 2026") < shopper.shown().index("21 February 2026")
    assert shopper.open(links[0].replace("&amp;", "&")).status_code == 200


# --- guesses


GUESSES = {
    "a wrong number": ("1002", KIM),
    "a wrong address": ("1001", "noor@example.com"),
    "no number": ("", KIM),
    "nothing": ("", ""),
    "no address": ("1001", "kim"),
    "a giant": ("9" * 9000, "a" * 9000),
    "a NUL": ("1001\0", KIM),
    "markup": ("<b>1001</b>", KIM),
    "a new line": ("10\r\n01", KIM),
}


@pytest.mark.parametrize("guess", GUESSES.values(), ids=GUESSES.keys())
def test_a31_every_miss_is_answered_with_the_same_bytes_whether_or_not_there_is_such_an_order(
    shopper: Shopper, guess: tuple[str, str]
) -> None:
    before = shopper.find(*guess)
    shopper.front.keeps(an_order("1001"))
    after = shopper.find(*guess)

    assert before.status_code == after.status_code == 422
    assert before.data == after.data
    assert dict(before.headers) == dict(after.headers)


def test_a31_misses_differ_in_what_was_typed_alone(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))

    pages = {re.sub(r'value="[^"]*"', "", shopper.find(*guess).text) for guess in list(GUESSES.values())[:5]}

    assert len(pages) == 1
    assert "We find no order" in shopper.shown()


def test_a31_no_answer_comes_before_the_floor_not_even_a_hit(front: Front) -> None:
    front.app.config[FLOOR_SETTING] = 0.2
    shopper, order = Shopper(front), front.keeps(an_order("1001"))

    def lasts(number: str, email: str) -> float:
        began = time.monotonic()
        shopper.find(number, email)
        return time.monotonic() - began

    times = [lasts(order.number, KIM), lasts("1002", KIM), lasts("1001", "noor@example.com"), lasts("", "")]
    spent_up(shopper, "77")
    times += [lasts("77", KIM)]

    assert min(times) >= 0.2


def test_a31_after_so_many_misses_the_answer_is_a_code_for_everybody(shopper: Shopper) -> None:
    front, order = shopper.front, shopper.front.keeps(an_order("1001"))
    spent_up(shopper, "1001")
    spent_up(shopper.elsewhere("203.0.113.9"), "1002")

    answers = [shopper.find(*wish) for wish in (("1001", KIM), ("1001", "noor@example.com"), ("1002", KIM))]

    assert {answer.status_code for answer in answers} == {200}
    assert len({re.sub(r'name="asked" value="[^"]*"', "", answer.text) for answer in answers}) == 1
    assert [email for email, _ in front.codes()] == [KIM]
    assert order.number not in answers[0].text


def test_p2_the_code_lets_its_owner_in_although_a_stranger_guessed(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))
    spent_up(shopper.elsewhere("203.0.113.9"), "1001")

    shopper.find("1001")
    asked, (_, code) = shopper.fields()["asked"], shopper.front.codes()[0]
    wrong = shopper.post("/code", {"asked": asked, "code": "000000" if code != "000000" else "111111"})
    right = shopper.post("/code", {"asked": asked, "code": code})
    again = shopper.post("/code", {"asked": asked, "code": code})

    assert (wrong.status_code, right.status_code, again.status_code) == (422, 303, 422)
    assert shopper.open(right.location).status_code == 200
    assert wrong.text.count("This code does not fit") == 1


def test_a31_a_code_of_nobody_is_refused_as_a_wrong_one_is(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))
    spent_up(shopper, "1001")
    pages = []
    for email in (KIM, "noor@example.com"):
        shopper.find("1001", email)
        pages.append(shopper.post("/code", {"asked": shopper.fields()["asked"], "code": "12"}))

    assert {page.status_code for page in pages} == {422}
    assert len({re.sub(r'name="asked" value="[^"]*"', "", page.text) for page in pages}) == 1


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 9000])
def test_a_forged_request_for_a_code_leads_back_to_the_start(shopper: Shopper, token: str) -> None:
    assert shopper.post("/code", {"asked": token, "code": "123456"}).status_code == 422
    assert "Look for your order again" in shopper.shown()


def test_a32_a_network_has_a_budget_over_many_numbers_and_a_forged_header_does_not_reset_it(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))
    for guess in range(lookup.OF_A_NETWORK):
        forged = {"X_Forwarded_For": f"192.0.2.{guess}", "Forwarded": f"for=192.0.2.{guess}", "X_Real_IP": f"192.0.2.{guess}"}
        assert shopper.find(f"9{guess:03}", **forged).status_code == 422

    assert shopper.find("1001", X_Forwarded_For="192.0.2.200").status_code == 200
    assert shopper.elsewhere("203.0.113.9").find("1001").status_code == 303


def test_a32_a_number_has_a_budget_over_many_networks(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))
    for guess in range(lookup.OF_A_NUMBER):
        shopper.elsewhere(f"203.0.113.{guess}").find("1001", "noor@example.com")

    assert shopper.elsewhere("203.0.113.99").find("#1001").status_code == 200
    shopper.front.world.clock.advance(timedelta(minutes=15))
    assert shopper.elsewhere("203.0.113.99").find("#1001").status_code == 303


def test_a_hit_spends_nothing(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))

    for _ in range(lookup.OF_A_NETWORK + 1):
        assert shopper.find("1001").status_code == 303

    assert everything(shopper.front.world.db)["budgets"] == []


def test_a32_guesses_at_the_same_instant_are_all_counted(front: Front) -> None:
    front.keeps(an_order("1001"))

    def guess(nth: int) -> int:
        return Shopper(front, network=f"203.0.113.{nth}").find("1001", f"guess{nth}@example.com").status_code

    with ThreadPoolExecutor(6) as threads:
        came = list(threads.map(guess, range(6)))

    assert set(came) <= {200, 422}
    assert Shopper(front).find("1001").status_code == 200


def test_a32_with_proxies_of_ours_the_address_is_what_they_wrote(database: Database, clock: Clock, tmp_path: Path) -> None:
    app = at_once_app(create_app(settings_for(database, tmp_path, proxies=1), database=database, platforms={}))
    front = Front.open(app, database, clock)
    shopper = Shopper(front, network="10.0.0.1")
    front.keeps(an_order("1001"))
    for guess in range(lookup.OF_A_NETWORK):
        shopper.find(f"9{guess:03}", X_Forwarded_For=f"192.0.2.{guess}, 198.51.100.7")

    assert shopper.find("1001", X_Forwarded_For="192.0.2.77, 198.51.100.7").status_code == 200
    assert shopper.find("1001", X_Forwarded_For="192.0.2.77, 198.51.100.8").status_code == 303


def _serves(link: Link, settings: Settings) -> None:
    """The web process: the server that we ship, with the pages."""
    server = Server(at_once_app(create_app(settings, platforms={})), "127.0.0.1", 0, threads=2)
    link.say(server.port)
    server.run(lambda: False)


def test_a32_behind_the_server_that_we_ship_the_proxys_word_arrives_and_a_forged_one_does_not(
    database: Database, clock: Clock, tmp_path: Path
) -> None:
    settings = settings_for(database, tmp_path, proxies=1)
    front = Front.open(create_app(settings, database=database, platforms={}), database, clock)
    front.keeps(an_order("1001"))
    child = Child(_serves, settings)
    try:
        there = f"http://127.0.0.1:{child.hear()}{front.path('/find')}"

        def find(number: str, written: str) -> int:
            form, headers = {"number": number, "email": KIM}, {"X-Forwarded-For": written}
            return requests.post(there, data=form, headers=headers, timeout=60, allow_redirects=False).status_code

        for guess in range(lookup.OF_A_NETWORK):
            assert find(f"9{guess:03}", f"192.0.2.{guess}, 198.51.100.7") == 422
        assert find("1001", "192.0.2.77, 198.51.100.7") == 200
        assert find("1001", "198.51.100.8") == 303
    finally:
        child.close()


def test_look_ups_leave_threads_for_everybody_else(shopper: Shopper) -> None:
    with ExitStack() as crowd:
        for number in range(8):
            crowd.enter_context(guards.SHOPPERS.place(f"192.0.2.{number}"))
        assert shopper.find("1001").status_code == 503
        assert shopper.get("").status_code == 200
    assert shopper.find("1001").status_code == 422


def test_a31_one_network_shuts_nobody_else_out() -> None:
    line = guards.Line(8)
    with line.place("192.0.2.1"), line.place("192.0.2.1"):
        with pytest.raises(Busy), line.place("192.0.2.1"):
            pass
        with line.place("192.0.2.2"):
            pass
    with line.place("192.0.2.1"):
        pass


@pytest.mark.parametrize(
    ("socket", "written", "proxies", "counted"),
    [
        ("198.51.100.7", "192.0.2.1", 0, "198.51.100.7"),
        ("10.0.0.1", "192.0.2.1", 1, "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", 1, "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2", 2, "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1", 2, "10.0.0.1"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("10.0.0.1", "nonsense", 1, "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1:4711", 1, "192.0.2.1"),
        ("10.0.0.1", "[2001:db8:1:2:3::4]:4711", 1, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:aaaa::1", "", 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "", 0, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", 0, "fe80::/64"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("", "", 0, "unknown"),
    ],
)
def test_a32_a_network_is_the_address_that_nobody_can_forge(socket: str, written: str, proxies: int, counted: str) -> None:
    assert network_of(socket, written.split(","), proxies) == counted


# --- forms from elsewhere, and frames


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Sec-Fetch-Site": "none"}, {"Origin": BASE}, {"Origin": "null"}]
)
def test_a_form_of_our_own_page_is_taken_as_every_browser_sends_it(shopper: Shopper, headers: dict[str, str]) -> None:
    assert shopper.post("/find", {"number": "1", "email": KIM}, headers).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": f"{BASE}.evil.example"},
    ],
)
@pytest.mark.parametrize("rest", ["/find", "/code", "/submit", "/{}", "/{}/cancel"])
def test_a37_a_form_from_another_site_is_refused(shopper: Shopper, rest: str, headers: dict[str, str]) -> None:
    rma = shopper.submits(shopper.front.keeps(an_order("1001")))
    proof = {"link": shopper.front.link(rma)}
    before = everything(shopper.front.world.db)

    answer = shopper.post(rest.format(rma.number), {"number": "1001", "email": KIM, **proof}, headers)

    assert answer.status_code == 403
    assert "This request was not accepted" in shopper.shown()
    assert everything(shopper.front.world.db) == before


def test_a44_a46_pages_are_framed_by_nobody_and_kept_by_no_cache(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order())
    answers = [shopper.get(""), shopper.find("1001"), shopper.find("no"), shopper.at(order, "items"), shopper.get("/items", visit="x")]

    for answer in answers:
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in answer.headers


def test_a43_a45_no_address_leads_elsewhere(front: Front) -> None:
    stranger = Shopper(front, base="https://evil.example")
    front.keeps(an_order("1001"))

    sent = stranger.post("/find", {"number": "1001", "email": KIM, "next": "//evil.example", "return_to": "https://evil.example"})

    assert sent.location.startswith("/returns/")
    for answer in (sent, stranger.get(""), stranger.get("/"), stranger.get("//"), stranger.get("", order="//evil.example")):
        assert "https://evil" not in answer.text + str(answer.headers)


def test_a39_what_was_typed_comes_back_as_text(shopper: Shopper) -> None:
    shopper.find('"><script>alert(1)</script>', '"><img src=x onerror=alert(1)>')
    assert "<script" not in shopper.page
    assert "<img" not in shopper.page

    shopper.get("", order="'\"><script>alert(1)</script>{{7*7}}")
    assert "<script" not in shopper.page
    assert "{{7*7}}" in shopper.page


def test_a_giant_form_is_refused_before_anybody_reads_it(shopper: Shopper) -> None:
    assert shopper.find("1" * 100_000).status_code == 413


def test_a_field_that_comes_twice_counts_as_none(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001"))
    sent = shopper.client.post(
        shopper.front.path("/find"), data={"number": ["1001", "1002"], "email": KIM}, base_url=BASE, headers={"Origin": BASE}
    )
    assert sent.status_code == 422


# --- visits


def test_a36_a_visit_that_is_over_leads_kindly_back_with_the_number(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))

    for step in ("items", "reasons", "resolution", "review"):
        answer = shopper.get(f"/{step}", order=order.number, visit=shopper.front.old_visit(order))
        assert answer.status_code == 410
        assert "You were away for a while" in shopper.shown()
        assert f'href="{shopper.front.path("?order=1001")}"' in answer.text
    assert shopper.post("/submit", {"visit": shopper.front.old_visit(order), "order": "1001"}).status_code == 410


@pytest.mark.parametrize("token", ["", "x", "é", "\0", "A" * 9000])
def test_a35_what_is_no_visit_opens_nothing(shopper: Shopper, token: str) -> None:
    shopper.front.keeps(an_order("1001"))

    assert shopper.get("/items", visit=token).status_code == 403
    assert shopper.get("/review", visit=token).status_code == 403


def test_a35_a_visit_of_another_shop_opens_nothing(front: Front, database: Database, clock: Clock) -> None:
    there = Front.open(front.app, database, clock)
    order = front.keeps(an_order("1001"))
    there.keeps(order)

    assert Shopper(front).get("/items", visit=there.visit(order)).status_code == 403


def test_a_visit_tells_nobody_the_address(shopper: Shopper) -> None:
    order = shopper.front.keeps(replace(an_order("1001")))
    sent = shopper.find(order.number)

    assert set(query_of(sent.location)) == {"order", "visit"}
    assert "kim" not in sent.location


@pytest.mark.parametrize("path", ["/find", "/code", "/submit"])
def test_the_address_of_a_form_leads_to_the_start(shopper: Shopper, path: str) -> None:
    answer = shopper.get(path)

    assert (answer.status_code, answer.location) == (303, shopper.front.path(""))
