"""What staff do with a return: D2, D4, D5; A18-A21, A34, A35, A38, A39, A49, A61, F13. Every act through its page."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, update

from connector.db import Database
from connector.domain.orders import LineRef
from connector.domain.platform import Contact
from connector.domain.rma import Disposition, RmaState
from connector.models import ContactRow, Mail, Role, Shop, ShopStatus
from connector.services import casefile, queues, rmas
from tests.web.desks import Bought, Office, office, shown
from tests.world import Clock

TWO = (Bought("Scarf", 2, "60.00"), Bought("Mug", 3, "30.00"))


@pytest.fixture
def place(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Office]:
    with office(database, clock, tmp_path) as found:
        yield found


def units(place: Office, number: str) -> dict[LineRef, dict[Disposition, int]]:
    with place.db.reading() as session:
        return {ref: dict(by) for ref, by in rmas.units(session, place.rma(number)).items()}


def promised(place: Office, number: str) -> tuple[int | None, int | None]:
    """What the return's own pages say that it gives, and what its queue says."""
    with place.db.reading() as session:
        rma = casefile.of_number(session, place.shop.id, number)
        assert rma is not None
        quote = casefile.read(session, rma).promised
        (row,) = queues.search(session, place.shop.id, number).returns
        return (quote.total if quote else None, row.minor)


def mails(place: Office) -> list[str]:
    with place.db.reading() as session:
        return list(session.execute(select(Mail.event).order_by(Mail.made_at)).scalars())


def test_d4_a_return_goes_from_its_request_to_its_inspection_by_hand(place: Office) -> None:
    number = place.asked(place.order(*TWO), (2, 1), said="It itches.")
    sitting = place.seat(Role.HANDLE, email="sam@shop.example")
    page = shown(sitting.get(f"/{number}").text)
    for told in (
        "Will you take it back?",
        "Your policy has a person authorise every return.",
        "Scarf ×2",
        "It itches.",
        "Kim de Vries",
        "too small",
    ):
        assert told in page

    assert sitting.post(f"/{number}/authorise").location == f"{place.path}/{number}?done=authorised"
    assert "What was in the parcel?" in shown(sitting.get(f"/{number}?done=authorised").text)
    scarf, mug = place.lines(number)
    assert sitting.post(f"/{number}/receive", {f"n:{scarf}": "2"}).status_code == 303
    page = shown(sitting.get(f"/{number}").text)
    assert "Another parcel: 1 piece is still awaited" in page
    assert sitting.post(f"/{number}/receive", {"all": "1"}).status_code == 303
    sitting.get(f"/{number}")
    judged = {f"d:restock:{scarf}": "1", f"d:damaged:{scarf}": "1", f"d:sent_back:{mug}": "1"}
    assert sitting.post(f"/{number}/inspect", judged).status_code == 303

    assert units(place, number) == {scarf: {Disposition.RESTOCK: 1, Disposition.DAMAGED: 1}, mug: {Disposition.SENT_BACK: 1}}
    page = shown(sitting.get(f"/{number}").text)
    assert "2 pieces are accepted." in page
    assert "Counted 2 pieces in the parcel" in page
    assert "sam" in page
    assert "See what it pays" not in page  # another role does
    assert "A colleague who may decide money goes on from here." in page


def test_what_was_judged_is_promised_to_nobody_any_more(place: Office) -> None:
    number = place.received(place.order(Bought("Scarf", 3, "90.00")), (3,))
    (line,) = place.lines(number)
    sitting = place.seat(Role.HANDLE)
    promises = [promised(place, number)]
    for judged in ({f"d:sent_back:{line}": "1"}, {f"d:restock:{line}": "1", f"d:sent_back:{line}": "1"}):
        sitting.get(f"/{number}")
        assert sitting.post(f"/{number}/inspect", judged).status_code == 303
        promises.append(promised(place, number))

    assert promises == [(10890, 10890), (7260, 7260), (3630, 3630)]
    assert "€36.30" in shown(sitting.get("?queue=resolve").text)


def test_once_nothing_waits_to_be_judged_only_what_is_accepted_is_promised(place: Office) -> None:
    number = place.authorised(place.order(Bought("Scarf", 3, "90.00")), (3,))
    refused = place.received(place.order())
    (line,), (other,) = place.lines(number), place.lines(refused)
    sitting = place.seat(Role.HANDLE)
    for act, values in (("receive", {f"n:{line}": "1"}), ("inspect", {f"d:restock:{line}": "1"})):
        sitting.get(f"/{number}")
        assert sitting.post(f"/{number}/{act}", values).status_code == 303
    sitting.get(f"/{refused}")
    assert sitting.post(f"/{refused}/inspect", {f"d:sent_back:{other}": "1"}).status_code == 303

    assert promised(place, number) == (3630, 3630)
    assert promised(place, refused) == (None, None)


def test_declining_says_why_and_the_shopper_is_told(place: Office) -> None:
    number = place.asked(place.order())
    sitting = place.seat(Role.HANDLE)
    sitting.get(f"/{number}")

    empty = sitting.post(f"/{number}/decline", why="   ")
    assert empty.status_code == 422
    assert 'aria-describedby="why-hint why-problem"' in empty.text
    assert sitting.post(f"/{number}/decline", why="x" * 1001).status_code == 422
    assert place.state(number) is RmaState.REQUESTED

    assert sitting.post(f"/{number}/decline", why="It was worn.\r\nSorry.").status_code == 303
    assert place.state(number) is RmaState.DECLINED
    assert mails(place)[-1] == "declined"
    assert "It was worn." in shown(sitting.get(f"/{number}").text)


@pytest.mark.parametrize("done", ["resolved", "booked", "received", "authorised", "nonsense"])
def test_an_address_claims_nothing_that_is_not_so(place: Office, done: str) -> None:
    number = place.asked(place.order())

    assert 'role="status"' not in place.seat(Role.VIEW).get(f"/{number}?done={done}").text


def test_nothing_needs_to_come_back_or_nothing_will(place: Office) -> None:
    kept, ended = place.authorised(place.order()), place.authorised(place.order())
    sitting = place.seat(Role.HANDLE)

    sitting.get(f"/{kept}")
    assert sitting.post(f"/{kept}/waive").status_code == 303
    sitting.get(f"/{ended}")
    assert sitting.post(f"/{ended}/cancel").status_code == 303

    assert list(units(place, kept).values()) == [{Disposition.KEPT: 1}]
    assert (place.state(kept), place.state(ended)) == (RmaState.RECEIVED, RmaState.CANCELLED)


@pytest.mark.parametrize("typed", ["-1", "1e1", "\uff11", "1.5", "0x1", "99999", "true", "3"])
def test_a18_a21_what_is_no_count_of_what_is_awaited_is_refused_beside_its_field(place: Office, typed: str) -> None:
    number = place.authorised(place.order(), (2,))
    (line,) = place.lines(number)
    sitting = place.seat(Role.HANDLE)
    sitting.get(f"/{number}")

    answer = sitting.post(f"/{number}/receive", {f"n:{line}": typed})

    assert answer.status_code == 422
    assert f'id="n:{line}-problem"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert f'value="{typed}"' in answer.text
    assert place.state(number) is RmaState.AUTHORISED


@pytest.mark.parametrize("typed", [{}, {"n:{line}": "0"}, {"n:{line}": ""}, {"n:nobody": "1"}])
def test_a28_counting_nothing_or_a_line_of_another_return_changes_nothing(place: Office, typed: dict[str, str]) -> None:
    number = place.authorised(place.order())
    (line,) = place.lines(number)
    sitting = place.seat(Role.HANDLE)
    sitting.get(f"/{number}")

    answer = sitting.post(f"/{number}/receive", {name.format(line=line): value for name, value in typed.items()})

    assert answer.status_code == 422
    assert place.state(number) is RmaState.AUTHORISED


@pytest.mark.parametrize(
    "typed",
    [
        {"d:restock:{line}": "2", "d:damaged:{line}": "1"},
        {"d:kept:{line}": "1"},
        {"d:nonsense:{line}": "1"},
        {"d:restock:nobody": "1"},
        {},
        {"d:restock:{line}": "-1"},
    ],
)
def test_a21_a38_no_more_is_judged_than_was_counted_and_only_what_there_is_a_column_for(place: Office, typed: dict[str, str]) -> None:
    number = place.received(place.order(), (2,))
    (line,) = place.lines(number)
    sitting = place.seat(Role.HANDLE)
    sitting.get(f"/{number}")

    answer = sitting.post(f"/{number}/inspect", {name.format(line=line): value for name, value in typed.items()})

    assert answer.status_code == 422
    assert units(place, number) == {line: {Disposition.RECEIVED: 2}}


def test_a_second_click_judges_nothing_twice(place: Office) -> None:
    number = place.received(place.order(Bought("Sock", 5, "50.00")), (5,))
    (line,) = place.lines(number)
    sitting = place.seat(Role.HANDLE)
    sitting.get(f"/{number}")
    form = {"word": sitting.browser.hidden("word"), "seen": sitting.browser.hidden("seen"), f"d:restock:{line}": "2"}

    assert sitting.send(f"/{number}/inspect", form).status_code == 303
    again = sitting.send(f"/{number}/inspect", form)

    assert again.status_code == 409
    assert "Nothing was done this time" in shown(again.text)
    assert units(place, number) == {line: {Disposition.RECEIVED: 3, Disposition.RESTOCK: 2}}


def test_a_second_click_counts_a_parcel_once_and_blames_nobody(place: Office) -> None:
    number = place.authorised(place.order(Bought("Sock", 5, "50.00")), (5,))
    (line,) = place.lines(number)
    sitting, colleague = place.seat(Role.HANDLE), place.seat(Role.HANDLE)
    forms = []
    for each in (sitting, colleague):
        each.get(f"/{number}")
        forms.append({"word": each.browser.hidden("word"), "seen": each.browser.hidden("seen"), f"n:{line}": "2"})
    mine, theirs = forms

    first, second = (sitting.send(f"/{number}/receive", mine) for _ in range(2))

    assert first.location == second.location == f"{place.path}/{number}?done=received"
    assert sitting.send(f"/{number}/receive", mine | {f"n:{line}": "3"}).status_code == 409  # the same page, filled in otherwise
    assert sitting.send(f"/{number}/inspect", mine).status_code == 409
    assert colleague.send(f"/{number}/receive", theirs).status_code == 409
    assert units(place, number) == {line: {Disposition.AWAITED: 3, Disposition.RECEIVED: 2}}


def test_f13_of_two_colleagues_who_press_at_once_one_does_it(place: Office) -> None:
    number = place.asked(place.order())
    people = [place.seat(Role.HANDLE) for _ in range(2)]
    for each in people:
        each.get(f"/{number}")

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda each: each.post(f"/{number}/authorise").status_code, people))

    assert sorted(answers) == [303, 409]
    assert len(place.happened("rma.authorise")) == 1


@pytest.mark.parametrize("act", ["authorise", "decline", "cancel", "receive", "inspect", "waive"])
def test_a61_who_may_only_look_is_offered_nothing_and_does_nothing(place: Office, act: str) -> None:
    number = place.asked(place.order())
    sitting = place.seat(Role.VIEW)
    sitting.get(f"/{number}")
    for word in ('name="seen"', "/authorise", "/decline"):
        assert word not in sitting.page

    answer = sitting.post(f"/{number}/{act}", {"seen": "x", "why": "because"})

    assert answer.status_code == 403
    assert place.state(number) is RmaState.REQUESTED


@pytest.mark.parametrize("act", ["receive", "inspect", "waive", "cancel"])
def test_a38_a_move_that_the_table_does_not_have_is_not_made_by_typing_its_address(place: Office, act: str) -> None:
    number = place.asked(place.order())
    (line,) = place.lines(number)
    sitting = place.seat(Role.HANDLE)
    sitting.get(f"/{number}")
    if act == "cancel":
        number = place.received(place.order())
        sitting.get(f"/{number}")
    before = place.state(number)

    answer = sitting.post(f"/{number}/{act}", {f"n:{line}": "1", f"d:restock:{line}": "1", "state": "resolved", "all": "1"})

    assert answer.status_code in {409, 422}
    assert place.state(number) is before


def test_a35_a_return_of_another_shop_is_not_there(place: Office, clock: Clock) -> None:
    sitting = place.seat(Role.MONEY)
    for path in ("/23456789", "/2345-6789", "/nonsense", "/%00", "/money/x", "/ABCD-EFGH/resolve"):
        assert sitting.get(path).status_code == 404, path
    number = place.asked(place.order())
    sitting.get(f"/{number}")
    assert sitting.post("/ZZZZ2345/authorise").status_code == 404


def test_a34_a_number_is_found_however_it_is_written(place: Office) -> None:
    number = place.asked(place.order())
    sitting = place.seat()
    for spelled in (number, number.lower(), f"{number[:4]}-{number[4:]}", f"RMA {number}"):
        assert sitting.get(f"?q={spelled.replace(' ', '+')}").location == f"{place.path}/{number}"
    assert sitting.get(f"/{number.lower()}").status_code == 200
    assert "Nothing has the number" in shown(sitting.get("?q=<script>99").text)
    assert "<script>" not in sitting.page


def test_a39_what_others_wrote_is_shown_and_never_run(place: Office) -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    order = place.order(Bought(evil, 1, "10.00", sku="<b>"))
    number = place.asked(order, said=f"{evil} {{{{7*7}}}}", contact=Contact("kim@example.com", evil, "en"))
    sitting = place.seat()

    for path in ("", "?queue=all", f"/{number}"):
        page = sitting.get(path).text
        assert "<script" not in page
        assert "<img src=x" not in page
    assert "{{7*7}}" in sitting.page
    sitting.post(f"/{number}/decline", why=evil)
    assert "<script" not in sitting.get(f"/{number}").text


def test_pictures_come_from_where_the_shop_keeps_them_and_from_nowhere_else(place: Office) -> None:
    sitting = place.seat()
    number = place.asked(place.order())
    assert "img-src 'self';" in sitting.get(f"/{number}").headers["Content-Security-Policy"]


def test_an_erased_shopper_is_said_to_be_erased(place: Office) -> None:
    number = place.asked(place.order(), said="Call me.")
    with place.db.transaction() as session:
        session.execute(update(ContactRow).values(sealed=None, said=None, erased_at=place.clock.now))
    page = shown(place.seat().get(f"/{number}").text)
    assert "Name and address were erased" in page
    assert "Call me." not in page


def test_other_returns_of_the_order_are_shown(place: Office) -> None:
    order = place.order(Bought("Sock", 3, "30.00"))
    first, second = place.asked(order), place.asked(order)
    page = place.seat().get(f"/{second}").text
    assert f"{place.path}/{first}" in page


@pytest.mark.parametrize(("status", "told"), [(ShopStatus.REVOKED, "does not let us in"), (ShopStatus.UNINSTALLED, "was disconnected")])
def test_a_shop_in_trouble_says_what_still_works(place: Office, status: ShopStatus, told: str) -> None:
    number = place.asked(place.order())
    sitting = place.seat(Role.MONEY)
    with place.db.transaction() as session:
        session.execute(update(Shop).values(status=status))

    page = sitting.get(f"/{number}")
    assert told in shown(page.text)
    answer = sitting.post(f"/{number}/authorise", {"seen": sitting.browser.hidden("seen")} if status is ShopStatus.REVOKED else {})
    assert answer.status_code == (303 if status is ShopStatus.REVOKED else 403)


@pytest.mark.parametrize(
    ("queue", "told"),
    [
        ("decide", "Nothing to decide"),
        ("parcel", "No parcel is on its way"),
        ("inspect", "Nothing to inspect"),
        ("resolve", "Nothing to resolve"),
    ],
)
def test_an_empty_queue_says_what_will_come_here(place: Office, queue: str, told: str) -> None:
    assert told in shown(place.seat(Role.VIEW).get(f"?queue={queue}").text)


@pytest.mark.parametrize(
    "asked",
    [
        "queue=nonsense",
        "after=x",
        "after=2026-01-01T00:00:00_00",
        "after=%00",
        "queue=all&after=2026-01-01_zz",
        f"queue=all&after=0001-01-01T00:00:00%2B23:59_{'0' * 32}",
        f"queue=all&after=9999-12-31T23:59:59-23:59_{'0' * 32}",
        f"queue=decide&after=0001-01-01T00:00:00%2B00:00_{'0' * 32}",
        f"queue=all&after=9999-12-31T23:59:59%2B00:00_{'0' * 32}",
    ],
)
def test_a68_a_forged_address_of_a_queue_is_an_ordinary_one(place: Office, asked: str) -> None:
    number = place.asked(place.order())
    assert f"{place.path}/{number}" in place.seat(Role.VIEW).get(f"?{asked}").text


def test_the_second_page_of_a_queue_goes_on_where_the_first_ended(place: Office) -> None:
    order = place.order(Bought("Sock", 30, "300.00"))
    made = []
    for _ in range(26):
        made.append(place.asked(order))
        place.clock.advance(place.clock.now.resolution)
    sitting = place.seat(Role.VIEW)
    first = sitting.get().text
    assert "To decide 26" in shown(first)
    link = first.rpartition('class="btn quiet slim" href="')[2].partition('"')[0].replace("&amp;", "&")

    second = sitting.browser.get(link).text

    assert [number for number in made if f"/{number}" in first] == made[:25]
    assert [number for number in made if f"/{number}" in second] == made[25:]
