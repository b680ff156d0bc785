"""The desk's entrance: A31, A35, A36, A37, A44, A46, A61, A62, A63, A77. Who comes in, for how long, and who does not."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from connector.db import Database
from connector.domain.platform import ShopDomain
from connector.models import Mail, Role
from connector.services import shops, staff
from tests.web.conftest import BASE, Browser
from tests.web.desks import Office, office, shown
from tests.world import Clock

KIM = "kim@shop.example"


@pytest.fixture
def place(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Office]:
    with office(database, clock, tmp_path) as found:
        yield found


def mailed(place: Office) -> int:
    with place.db.reading() as session:
        return session.execute(select(func.count()).select_from(Mail).where(Mail.event == "sign_in")).scalar_one()


def cookie_of(browser: Browser, place: Office) -> str:
    found = browser.client.get_cookie(f"__Host-retour-desk-{place.handle}", domain="returns.example.com")
    return found.value if found else ""


def test_d1_an_invited_address_is_mailed_a_link_and_everybody_hears_the_same(place: Office) -> None:
    place.member(email=KIM)
    browser = Browser(place.app)
    assert browser.get(place.path).status_code == 200

    invited = browser.post(place.path, {"email": " KIM@shop.example "})
    stranger = browser.post(place.path, {"email": "mallory@shop.example"})

    assert (invited.status_code, invited.text) == (stranger.status_code, stranger.text)
    assert "If this address is invited here" in shown(invited.text)
    assert mailed(place) == 1


def test_a31_the_answer_to_an_invited_address_takes_no_longer_than_to_any_other(place: Office) -> None:
    """The floor is what hides the difference: the view passes through it (`guards.floor` has tests of its own)."""
    place.app.config["LOOK_UP_FLOOR"] = 0.05
    began = time.monotonic()
    Browser(place.app).post(place.path, {"email": "mallory@shop.example"})
    assert time.monotonic() - began >= 0.05


def test_a77_a_mailbox_is_not_bombed_and_the_page_does_not_say_so(place: Office) -> None:
    place.member(email=KIM)
    browser = Browser(place.app)

    pages = {browser.post(place.path, {"email": KIM}).text for _ in range(6)}

    assert len(pages) == 1
    assert mailed(place) == 3


def test_what_is_no_address_is_said_beside_its_field(place: Office) -> None:
    answer = Browser(place.app).post(place.path, {"email": "<script>kim"})

    assert answer.status_code == 422
    assert 'aria-describedby="email-hint email-problem"' in answer.text
    assert "<script>" not in answer.text
    assert mailed(place) == 0


def test_a36_a_scanner_that_follows_the_link_burns_nothing(place: Office) -> None:
    _, secret = place.member()
    scanner, browser = Browser(place.app), Browser(place.app)

    for _ in range(3):
        assert scanner.get(f"{place.path}/enter?link={secret}").status_code == 200
    assert not cookie_of(scanner, place)

    browser.get(f"{place.path}/enter?link={secret}")
    assert browser.post(f"{place.path}/enter", {"link": browser.hidden("link")}).status_code == 303
    assert "To decide" in shown(browser.get(place.path).text)


def test_a36_a_replayed_link_opens_nothing_and_its_second_tab_leads_in(place: Office) -> None:
    _, secret = place.member()
    first, thief = Browser(place.app), Browser(place.app)
    assert first.post(f"{place.path}/enter", {"link": secret}).status_code == 303

    again = first.post(f"{place.path}/enter", {"link": secret})  # the other tab of the same browser
    stolen = thief.post(f"{place.path}/enter", {"link": secret})

    assert (again.status_code, stolen.status_code) == (303, 410)
    assert "does not work any more" in stolen.text
    assert not cookie_of(thief, place)


def test_a36_a_link_that_is_too_old_opens_nothing(place: Office) -> None:
    _, secret = place.member()
    place.clock.advance(timedelta(minutes=31))
    assert Browser(place.app).post(f"{place.path}/enter", {"link": secret}).status_code == 410


@pytest.mark.parametrize("secret", ["", "x", "é", "a" * 5000, "../../etc", "\0"])
def test_a_guessed_link_opens_nothing(place: Office, secret: str) -> None:
    assert Browser(place.app).post(f"{place.path}/enter", {"link": secret}).status_code == 410


def test_a62_the_cookie_is_the_browsers_own_and_the_hosts_alone(place: Office) -> None:
    _, secret = place.member()
    answer = Browser(place.app).post(f"{place.path}/enter", {"link": secret})

    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith(f"__Host-retour-desk-{place.handle}=")
    for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Domain" not in cookie


def test_a62_a_visit_ends_after_twelve_hours(place: Office) -> None:
    sitting = place.seat()
    place.clock.advance(timedelta(hours=12))
    assert "Mail me a link" in shown(sitting.get().text)
    assert sitting.get("/money").status_code == 303


def test_signing_out_ends_the_visit_for_a_copied_cookie_too(place: Office) -> None:
    sitting, copy = place.seat(), Browser(place.app)
    copy.client.set_cookie(
        f"__Host-retour-desk-{place.handle}", cookie_of(sitting.browser, place), domain="returns.example.com", secure=True
    )
    assert "To decide" in shown(copy.get(place.path).text)

    sitting.get()
    assert sitting.post("/leave").status_code == 200

    assert "Mail me a link" in shown(copy.get(place.path).text)
    assert "Mail me a link" in shown(sitting.get().text)


def test_a61_who_is_removed_is_out_at_once_and_their_open_form_does_nothing(place: Office) -> None:
    sitting = place.seat(email=KIM)
    number = place.asked(place.order())
    sitting.get(f"/{number}")
    with place.db.transaction() as session:
        staff.remove(session, place.shop.id, KIM, by="operator", vault=place.vault, now=place.clock.now)

    answer = sitting.post(f"/{number}/authorise")

    assert answer.status_code == 403
    assert "nothing was done" in shown(answer.text)
    assert place.state(number).value == "requested"


@pytest.mark.parametrize("tail", ["A", "", "x" * 3000, "."])
def test_a61_a_tampered_cookie_is_nobodys(place: Office, tail: str) -> None:
    sitting = place.seat()
    cookie = cookie_of(sitting.browser, place)
    tampered = cookie[: len(cookie) // 2] + tail + cookie[len(cookie) // 2 + 1 :]
    sitting.browser.client.set_cookie(f"__Host-retour-desk-{place.handle}", tampered, domain="returns.example.com", secure=True)
    assert "Mail me a link" in shown(sitting.get().text)


def test_a35_a_visit_at_one_shop_is_none_at_another(place: Office, database: Database, clock: Clock, tmp_path: Path) -> None:
    sitting = place.seat()
    with place.db.transaction() as session:
        other = ShopDomain("other.example")
        shops.connect(session, platform="toy", domain=other, credentials={}, vault=place.vault, time_zone="UTC", now=clock.now)
    name = f"__Host-retour-desk-{place.handle}"
    token = cookie_of(sitting.browser, place)
    sitting.browser.client.set_cookie(name.replace(place.handle, "other-example"), token, domain="returns.example.com", secure=True)

    answer = sitting.browser.get("/desk/other-example")

    assert answer.status_code == 200
    assert "Mail me a link" in shown(answer.text)
    assert sitting.browser.get("/desk/other-example/money").status_code == 303


@pytest.mark.parametrize("path", ["/money", "/23456789", "/23456789/resolve", "?queue=all", "?q=1001"])
def test_a_stranger_reads_nothing(place: Office, path: str) -> None:
    answer = Browser(place.app).get(f"{place.path}{path}")
    assert answer.status_code in {200, 303}
    if answer.status_code == 200:
        assert "Mail me a link" in shown(answer.text)
    else:
        assert answer.location == place.path


@pytest.mark.parametrize("handle", ["nobody", "UPPER", "a" * 200, "..;", "%2e%2e"])
def test_a63_there_is_no_other_desk(place: Office, handle: str) -> None:
    assert Browser(place.app).get(f"/desk/{handle}").status_code == 404


def test_a37_a_form_without_its_word_or_of_another_visit_does_nothing(place: Office) -> None:
    sitting, other = place.seat(), place.seat()
    number = place.asked(place.order())
    sitting.get(f"/{number}")
    seen = sitting.browser.hidden("seen")
    other.get(f"/{number}")
    theirs = other.browser.hidden("word")

    for word in ("", "x", theirs):
        assert sitting.send(f"/{number}/authorise", {"word": word, "seen": seen}).status_code == 403
    assert place.state(number).value == "requested"


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}])
def test_a37_a_form_that_another_site_sends_does_nothing(place: Office, headers: dict[str, str]) -> None:
    sitting = place.seat()
    number = place.asked(place.order())
    sitting.get(f"/{number}")
    values = {name: sitting.browser.hidden(name) for name in ("word", "seen")}

    answer = sitting.browser.client.post(f"{place.path}/{number}/authorise", data=values, base_url=BASE, headers=headers)

    assert answer.status_code == 403
    assert place.state(number).value == "requested"


def test_a44_a46_no_page_lies_in_a_frame_or_in_a_cache_and_none_runs_anything(place: Office) -> None:
    sitting = place.seat()
    number = place.asked(place.order())
    for path in ("", "/money", f"/{number}"):
        answer = sitting.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<script|\son[a-z]+=|\sstyle=|javascript:", answer.text)


def test_a_shop_without_a_mail_server_says_who_can_help(database: Database, clock: Clock, tmp_path: Path) -> None:
    with office(database, clock, tmp_path, smtp_url="", mail_from="") as place:
        page = Browser(place.app).get(place.path)
    assert "retour staff invite" in page.text
    assert 'name="email"' not in page.text


def test_a_member_of_two_roles_is_what_the_row_says_now(place: Office) -> None:
    sitting = place.seat(Role.MONEY, email=KIM)
    number = place.inspected(place.order())
    assert "See what it pays" in shown(sitting.get(f"/{number}").text)
    place.member(Role.VIEW, email=KIM)

    assert "See what it pays" not in shown(sitting.get(f"/{number}").text)
    assert sitting.get(f"/{number}/resolve").status_code == 403
