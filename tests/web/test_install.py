"""The pages that connect a store: I2, A37, A43, A45, A46, A57, A59, A64; each step as a merchant's browser and a store take it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from connector.app import create_app
from connector.db import Database
from connector.domain.connecting import Misfortune, NotConnectable
from connector.misfortunes import sentence
from connector.models import Entry, Install, Shop
from connector.services import shops
from connector.web.hosting import Hosting
from tests.services.acts import everything
from tests.web.conftest import ADDRESS, BASE, KEY, SECRET, START, Browser, settings_for
from tests.web.tiny import TinyPlatform
from tests.world import Clock

PostKeys = Callable[..., TestResponse]


def connected_shops(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.execute(select(Shop.domain)).scalars())


def hosting(app: Flask) -> Hosting:
    found: Hosting = app.extensions["retour"]
    return found


def shown(page: str) -> str:
    """What a person reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.replace("<code>", "").replace("</code>", ""))).split())


# --- the way that most take


def test_i2_a_store_is_connected_by_its_merchants_approval(
    browser: Browser, post_keys: PostKeys, platform: TinyPlatform, database: Database
) -> None:
    state = browser.begin()
    assert post_keys(state).status_code == 200

    back = browser.get(f"{START}/return?success=1&user_id={state}")
    assert back.status_code == 200
    assert platform.asked == []  # a GET does nothing
    done = browser.post(f"{START}/check", {"install": browser.hidden("install")})

    assert done.status_code == 303
    page = browser.get(done.location)
    assert page.status_code == 200
    for told in (ADDRESS, "WooCommerce 10.5.0", "EUR", "without tax", "2 payment methods", "stripe", "Europe/ Amsterdam"):
        assert told in shown(page.text)
    assert platform.asked == [(ADDRESS, KEY)]
    assert connected_shops(database) == [ADDRESS]


def test_the_merchant_is_sent_to_the_store_with_addresses_of_ours_alone(app: Flask, browser: Browser) -> None:
    browser.get(START)
    token = browser.hidden("token")

    sent = browser.client.post(
        START,
        data={"token": token, "address": ADDRESS},
        base_url=BASE,
        headers={"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil"},
    )

    asked = {name: values[0] for name, values in parse_qs(urlsplit(sent.location).query).items()}
    assert sent.status_code == 303
    assert sent.location.startswith(f"https://{ADDRESS}/wc-auth/v1/authorize?")
    assert (asked["return_url"], asked["callback_url"]) == (f"{BASE}{START}/return", f"{BASE}{START}/callback")
    assert asked["scope"] == "read_write"


def test_a45_a_foreign_host_header_is_in_no_answer(app: Flask) -> None:
    stranger = Browser(app, base="https://evil.example")
    for path in (
        START,
        f"{START}/",
        "//install//woocommerce",
        "/install/woocommerce/../woocommerce",
        f"{START}/return?success=1&user_id=x",
    ):
        answer = stranger.get(path)
        assert "evil.example" not in answer.text + str(answer.headers), path

    stranger.get(START)
    sent = stranger.post(START, {"token": stranger.hidden("token"), "address": ADDRESS})
    assert "evil" not in sent.location


def test_the_form_may_lead_to_the_store_and_no_other_page_may_lead_out(browser: Browser) -> None:
    assert "form-action 'self' https:;" in browser.get(START).headers["Content-Security-Policy"]
    assert "form-action 'self';" in browser.get(f"{START}/return").headers["Content-Security-Policy"]


def test_a46_no_page_is_kept_by_a_cache(browser: Browser, post_keys: PostKeys) -> None:
    state = browser.begin()
    post_keys(state)
    pages = [
        browser.get(START),
        browser.get(f"{START}/return?success=1&user_id={state}"),
        browser.post(f"{START}/check", {"install": state}),
        browser.get(f"{START}/connected?install={state}"),
        browser.get(f"{START}/return?success=1&user_id=nobody"),
    ]

    assert [page.status_code for page in pages] == [200, 200, 303, 200, 403]
    assert {page.headers["Cache-Control"] for page in pages} == {"no-store"}


# --- what was typed


@pytest.mark.parametrize(
    ("typed", "field", "told"),
    [
        ({"address": " "}, "address", "Type the address of your store."),
        ({"address": "no store"}, "address", "not the address of a store"),
        ({"address": "127.0.0.1"}, "address", "private network"),
        ({"address": ADDRESS, "way": "keys"}, "key", "Paste the consumer key."),
        ({"address": ADDRESS, "key": KEY}, "secret", "Paste the consumer secret."),
        ({"address": ADDRESS, "key": SECRET, "secret": KEY}, "key", "This is the consumer secret."),
        ({"address": ADDRESS, "key": SECRET, "secret": KEY}, "secret", "This is the consumer key."),
        ({"address": ADDRESS, "key": KEY[:-30], "secret": SECRET}, "key", "has 43 characters"),
    ],
)
def test_bad_input_is_422_with_the_message_at_the_field(browser: Browser, typed: dict[str, str], field: str, told: str) -> None:
    browser.get(START)

    answer = browser.post(START, {"token": browser.hidden("token"), **typed})

    assert answer.status_code == 422
    message = re.search(rf'id="{field}-problem">(.*?)</p>', answer.text)
    assert message
    assert told in shown(message[1])
    assert re.search(rf'<input id="{field}"[^>]*aria-describedby="{field}-hint {field}-problem" aria-invalid="true">', answer.text)
    assert f'<a href="#{field}">' in answer.text
    assert "Error:" in re.search(r"<title>(.*?)</title>", answer.text)[1]  # type: ignore[index]


def test_what_was_typed_is_kept_but_the_secret(browser: Browser) -> None:
    browser.get(START)

    answer = browser.post(START, {"token": browser.hidden("token"), "address": "no store", "key": KEY, "secret": SECRET})

    assert 'value="no store"' in answer.text
    assert f'value="{KEY}"' in answer.text
    assert SECRET not in answer.text
    assert '<details class="fold" open>' in answer.text


def test_a39_what_was_typed_is_text(browser: Browser) -> None:
    browser.get(START)
    evil = '"><script>alert(1)</script>'

    pages = [
        browser.post(START, {"token": browser.hidden("token"), "address": evil, "key": evil}),
        browser.get(f"{START}?address=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"),
    ]

    assert all("<script" not in page.text for page in pages)
    assert all(page.text.count("&lt;script&gt;") for page in pages)


# --- keys by hand


def test_i2_pasted_keys_connect_after_the_same_check(browser: Browser, platform: TinyPlatform, database: Database) -> None:
    browser.get(START)

    done = browser.post(START, {"token": browser.hidden("token"), "address": f"https://{ADDRESS}/", "key": f" {KEY} ", "secret": SECRET})

    assert done.status_code == 303
    assert "WooCommerce 10.5.0" in shown(browser.get(done.location).text)
    assert connected_shops(database) == [ADDRESS]
    assert platform.asked == [(ADDRESS, KEY)]


def test_pasted_keys_survive_a_misfortune(browser: Browser, platform: TinyPlatform, database: Database) -> None:
    browser.get(START)
    platform.trouble = NotConnectable(Misfortune.PLAIN_PERMALINKS)
    failed = browser.post(START, {"token": browser.hidden("token"), "address": ADDRESS, "key": KEY, "secret": SECRET})
    assert failed.status_code == 422
    assert SECRET not in failed.text
    assert connected_shops(database) == []

    platform.trouble = None
    done = browser.post(f"{START}/check", {"install": browser.hidden("install")})

    assert done.status_code == 303
    with database.reading() as session:
        keys = shops.unseal(hosting(browser.app).vault, shops.keys_of(session, session.execute(select(Shop.id)).scalar_one()))
    assert (keys["consumer_key"], keys["consumer_secret"]) == (KEY, SECRET)


def test_a_double_click_on_pasted_keys_connects_once(browser: Browser, database: Database) -> None:
    browser.get(START)
    form = {"token": browser.hidden("token"), "address": ADDRESS, "key": KEY, "secret": SECRET}

    first, again = browser.post(START, form), browser.post(START, form)

    assert first.location == again.location
    with database.reading() as session:
        assert [entry.what for entry in session.execute(select(Entry)).scalars()] == ["shop.connected"]


@pytest.mark.parametrize("home", [ADDRESS, f"www.{ADDRESS}"])
def test_a_store_is_one_shop_with_and_without_www(browser: Browser, platform: TinyPlatform, database: Database, home: str) -> None:
    platform.stores[f"www.{ADDRESS}"] = KEY
    platform.facts = {**platform.facts, "url": f"https://{home}"}

    for typed in (ADDRESS, f"www.{ADDRESS}"):
        browser.get(START)
        done = browser.post(START, {"token": browser.hidden("token"), "address": typed, "key": KEY, "secret": SECRET})
        assert home in shown(browser.get(done.location).text)

    assert platform.asked == [(ADDRESS, KEY), (f"www.{ADDRESS}", KEY)]
    assert connected_shops(database) == [home]


# --- what is not believed


def test_a59_a_forged_callback_for_an_unknown_state_stores_nothing(post_keys: PostKeys, browser: Browser, database: Database) -> None:
    browser.begin()
    before = everything(database)

    for state in ("", "unknown", "x" * 64):
        assert post_keys(state).status_code == 403
    assert everything(database) == before


def test_a57_a_state_is_used_once(browser: Browser, post_keys: PostKeys) -> None:
    state = browser.begin()

    assert post_keys(state).status_code == 200
    assert post_keys(state).status_code == 403
    browser.post(f"{START}/check", {"install": state})
    assert post_keys(state).status_code == 403


def test_a_late_callback_is_refused(browser: Browser, post_keys: PostKeys, clock: Clock) -> None:
    state = browser.begin()
    clock.advance(timedelta(minutes=30))

    assert post_keys(state).status_code == 403


def test_a59_keys_of_another_store_connect_nothing(
    browser: Browser, post_keys: PostKeys, platform: TinyPlatform, database: Database
) -> None:
    platform.stores["evil.example"] = f"ck_{'e' * 40}"
    state = browser.begin()
    post_keys(state, key=platform.stores["evil.example"])

    answer = browser.post(f"{START}/check", {"install": state})

    assert answer.status_code == 422
    assert platform.asked == [(ADDRESS, platform.stores["evil.example"])]  # the store that was typed, and no other
    assert connected_shops(database) == []


def test_a59_a_strangers_browser_neither_sees_nor_finishes_an_installation(
    app: Flask, browser: Browser, post_keys: PostKeys, platform: TinyPlatform, database: Database
) -> None:
    state = browser.begin()
    post_keys(state)
    stranger = Browser(app)
    stranger.get(START)  # a cookie of its own

    answers = [
        stranger.get(f"{START}/return?success=1&user_id={state}"),
        stranger.post(f"{START}/check", {"install": state}),
        stranger.get(f"{START}/connected?install={state}"),
        Browser(app).post(f"{START}/check", {"install": state}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4
    assert all(ADDRESS not in answer.text for answer in answers)
    assert platform.asked == []
    assert connected_shops(database) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"user_id": 1}', b"\xff\xfe", b"null"])
def test_a_callback_that_is_none_is_a_4xx(browser: Browser, body: bytes) -> None:
    answer = browser.client.post(f"{START}/callback", data=body, content_type="application/json", base_url=BASE)

    assert answer.status_code == 400


def test_a_callback_is_read_up_to_a_bound(browser: Browser) -> None:
    answer = browser.client.post(f"{START}/callback", data=b"{" + b" " * 20_000, content_type="application/json", base_url=BASE)

    assert answer.status_code == 413


def test_the_callback_answers_200_and_nothing_else(browser: Browser, post_keys: PostKeys, platform: TinyPlatform) -> None:
    answer = post_keys(browser.begin())

    assert (answer.status, answer.data) == ("200 OK", b"")
    assert platform.asked == []  # the store waits for this answer with one of its few workers


# --- coming back


def test_a_refusal_is_met_kindly(browser: Browser, platform: TinyPlatform) -> None:
    state = browser.begin()

    answer = browser.get(f"{START}/return?success=0&user_id={state}")

    assert answer.status_code == 200
    assert "You did not approve Retour" in answer.text
    assert f'href="{START}?address={ADDRESS}"' in answer.text


def test_whoever_is_back_before_the_keys_waits_for_them(browser: Browser, post_keys: PostKeys) -> None:
    state = browser.begin()
    assert "has not sent its keys" in browser.get(f"{START}/return?success=1&user_id={state}").text
    assert browser.post(f"{START}/check", {"install": state}).status_code == 409

    post_keys(state)

    assert browser.post(f"{START}/check", {"install": state}).status_code == 303


def test_looking_changes_nothing(browser: Browser, post_keys: PostKeys, database: Database) -> None:
    state = browser.begin()
    post_keys(state)
    before = everything(database)

    for path in (START, f"{START}/return?success=1&user_id={state}", f"{START}/return?success=0&user_id={state}"):
        browser.get(path)
    browser.get(f"{START}/connected?install={state}")

    assert everything(database) == before


def test_whoever_is_back_again_sees_the_result(browser: Browser, post_keys: PostKeys) -> None:
    state = browser.begin()
    post_keys(state)
    browser.post(f"{START}/check", {"install": state})

    assert browser.get(f"{START}/return?success=1&user_id={state}").location == f"{START}/connected?install={state}"


def test_an_installation_of_yesterday_says_so(browser: Browser, post_keys: PostKeys, clock: Clock) -> None:
    state = browser.begin()
    post_keys(state)
    clock.advance(timedelta(days=1))

    for answer in (browser.get(f"{START}/return?success=1&user_id={state}"), browser.post(f"{START}/check", {"install": state})):
        assert answer.status_code == 410
        assert "begun too long ago" in answer.text


# --- misfortunes


@pytest.mark.parametrize("why", Misfortune)
def test_a_misfortune_is_told_in_its_sentence_and_can_be_tried_again(
    browser: Browser, post_keys: PostKeys, platform: TinyPlatform, database: Database, why: Misfortune
) -> None:
    state = browser.begin()
    post_keys(state)
    platform.trouble = NotConnectable(why, "7.1<b>")

    failed = browser.post(f"{START}/check", {"install": state})

    assert failed.status_code == 422
    assert sentence(why, "7.1<b>").replace("“", "").replace("”", "") in shown(failed.text)
    assert "<b>" not in failed.text
    assert f'href="{START}?address={ADDRESS}"' in failed.text
    assert connected_shops(database) == []
    platform.trouble = None
    assert browser.post(f"{START}/check", {"install": browser.hidden("install")}).status_code == 303


def test_a_double_click_on_the_check_connects_once(
    app: Flask, browser: Browser, post_keys: PostKeys, platform: TinyPlatform, database: Database
) -> None:
    state = browser.begin()
    post_keys(state)
    platform.open_when = threading.Event()
    clones = [Browser(app), Browser(app)]
    for clone in clones:
        clone.client._cookies = browser.client._cookies

    with ThreadPoolExecutor(2) as threads:
        clicks = [threads.submit(clone.post, f"{START}/check", {"install": state}) for clone in clones]
        wait_for(lambda: len(platform.asked) == 2)
        platform.open_when.set()
        answers = [click.result() for click in clicks]

    assert [answer.status_code for answer in answers] == [303, 303]
    with database.reading() as session:
        assert [entry.what for entry in session.execute(select(Entry)).scalars()] == ["shop.connected"]
        assert len(session.execute(select(Install)).scalars().all()) == 1


def wait_for(true: Callable[[], bool]) -> None:
    """Returns as soon as it is so."""
    gate = threading.Event()
    for _ in range(2000):
        if true():
            return
        gate.wait(0.01)
    pytest.fail("it never came")


def test_slow_stores_leave_threads_for_everybody_else(app: Flask, browser: Browser, post_keys: PostKeys, platform: TinyPlatform) -> None:
    state = browser.begin()
    post_keys(state)
    asking = hosting(app).asking
    for _ in range(3):
        assert asking.acquire(blocking=False)

    crowded = browser.post(f"{START}/check", {"install": state})

    assert crowded.status_code == 503
    assert "Many stores are being checked" in crowded.text
    assert platform.asked == []
    asking.release(3)
    platform.trouble = NotConnectable(Misfortune.SLOW)
    assert [browser.post(f"{START}/check", {"install": state}).status_code for _ in range(5)] == [422] * 5  # a place is given back
    platform.trouble = None
    assert browser.post(f"{START}/check", {"install": browser.hidden("install")}).status_code == 303


# --- forms and cookies


def test_a37_a_form_of_another_site_or_another_browser_does_nothing(app: Flask, browser: Browser, database: Database) -> None:
    other = Browser(app)
    other.get(START)
    browser.get(START)
    vault = hosting(app).vault
    tokens = ["", "x", other.hidden("token"), vault.sign("browser", {"browser": "x", "word": "y"}), "é", "a" * 10_000]

    answers = [browser.post(START, {"token": token, "address": ADDRESS}) for token in tokens]

    assert [answer.status_code for answer in answers] == [422] * len(tokens)
    assert all(f'value="{ADDRESS}"' in answer.text for answer in answers)
    assert not everything(database).get("installs")


def test_a_browser_without_cookies_is_told(app: Flask, browser: Browser) -> None:
    browser.get(START)
    token = browser.hidden("token")

    answer = Browser(app).post(START, {"token": token, "address": ADDRESS})

    assert answer.status_code == 422
    assert "Allow cookies" in answer.text


def test_the_fresh_form_of_an_old_page_goes_through(browser: Browser) -> None:
    browser.get(START)
    browser.post(START, {"token": "old", "address": ADDRESS})

    assert browser.post(START, {"token": browser.hidden("token"), "address": ADDRESS}).status_code == 303


def test_a62_the_cookie_is_bound_to_this_host_and_closed_to_scripts(browser: Browser) -> None:
    cookie = browser.get(START).headers["Set-Cookie"]

    assert cookie.startswith("__Host-retour=")
    for part in ("; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"):
        assert part in cookie
    assert "Domain" not in cookie


def test_two_tabs_do_not_stand_in_each_others_way(browser: Browser, post_keys: PostKeys) -> None:
    one, two = browser.begin(), browser.begin()
    post_keys(one)

    assert browser.get(f"{START}/return?success=1&user_id={one}").status_code == 200
    assert browser.get(f"{START}/return?success=1&user_id={two}").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a64_other_verbs_are_refused(browser: Browser, method: str) -> None:
    for path in (START, f"{START}/callback", f"{START}/check", f"{START}/return"):
        answer = browser.client.open(path, method=method, base_url=BASE)
        assert answer.status_code == 405, path
        assert "Allow" in answer.headers
    assert browser.get(f"{START}/check").status_code == 405
    assert browser.get(f"{START}/callback").status_code == 405


# --- development, and hosts without https


def test_in_development_the_form_may_lead_to_an_http_store(database: Database, platform: TinyPlatform, tmp_path: Path) -> None:
    settings = settings_for(database, tmp_path, base_url="http://127.0.0.1:8000", dev=True)
    browser = Browser(create_app(settings, database=database, platforms={platform.name: platform}), base="http://127.0.0.1:8000")

    answer = browser.get(START)

    assert "form-action 'self' https: http:;" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Set-Cookie"].startswith("retour-dev=")
    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "Strict-Transport-Security" not in answer.headers
    assert browser.begin()


def test_a_host_without_https_offers_keys_by_hand_alone(database: Database, platform: TinyPlatform, tmp_path: Path) -> None:
    settings = settings_for(database, tmp_path, base_url="http://127.0.0.1:8000")
    browser = Browser(create_app(settings, database=database, platforms={platform.name: platform}), base="http://127.0.0.1:8000")

    page = browser.get(START).text

    assert "Continue to your store" not in page
    assert '<details class="fold" open>' in page


def test_a_platform_that_is_not_served_has_no_pages_to_post_to(database: Database, tmp_path: Path) -> None:
    browser = Browser(create_app(settings_for(database, tmp_path), database=database, platforms={}))
    browser.get(START)

    assert browser.post(START, {"token": browser.hidden("token"), "address": ADDRESS}).status_code == 404


# --- what is told of a store


def test_what_deserves_a_look_is_noted(browser: Browser, post_keys: PostKeys, platform: TinyPlatform) -> None:
    platform.facts = {
        "gateways": "",
        "coupons": "no",
        "clock_offset": "-720",
        "wp_cron": "no",
        "auth": "query",
        "prices_include_tax": "yes",
    }
    state = browser.begin()
    post_keys(state)
    browser.post(f"{START}/check", {"install": state})

    page = shown(browser.get(f"{START}/connected?install={state}").text)

    for told in (
        "no payment method",
        "Enable the use of coupon codes",
        "by 12 minutes",
        "DISABLE_WP_CRON",
        "%{HTTP:Authorization}",
        "include tax",
    ):
        assert told in page


def test_a_store_that_says_nothing_still_has_a_page(browser: Browser, post_keys: PostKeys, platform: TinyPlatform) -> None:
    platform.facts = {}
    state = browser.begin()
    post_keys(state)

    assert browser.post(f"{START}/check", {"install": state}).status_code == 303
    assert browser.get(f"{START}/connected?install={state}").status_code == 200
