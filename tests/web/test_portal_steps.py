"""From an order to a return: P4, P5, P8, P9, F14, and the inputs A18 to A21, A27, A28, A35, A37 to A39, A49."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.datastructures import MultiDict

from connector.db import Database
from connector.domain.orders import LineRef, Order, OrderLine, Product, Tender, TenderKind, TenderRef, Worth
from connector.domain.rma import RmaState
from connector.domain.terms import Resolution
from connector.models import ContactRow, Rma, RmaLine
from connector.services import casefile
from connector.web import forms_portal as forms
from tests.services.acts import at_once, everything
from tests.web.conftest import BASE
from tests.web.shopping import Front, Shopper, at_once_app, choice, numbered
from tests.world import START, Clock, an_order

MARKUP = "<script>alert(1)</script>{{7*7}}\u202e"


@pytest.fixture
def front(app: Flask, database: Database, clock: Clock) -> Front:
    return Front.open(at_once_app(app), database, clock)


@pytest.fixture
def shopper(front: Front) -> Shopper:
    return Shopper(front)


def lines_of(front: Front, rma: Rma) -> Mapping[str, tuple[int, str, str]]:
    with front.world.db.reading() as session:
        rows = session.execute(select(RmaLine).where(RmaLine.rma_id == rma.id)).scalars()
        return {row.line_ref: (row.quantity, row.reason, row.condition) for row in rows}


def with_line(order: Order, **changes: object) -> Order:
    """The order, whose first line is otherwise."""
    first, *others = order.lines
    return replace(order, lines=(replace(first, **changes), *others))  # type: ignore[arg-type]  # a test names what it changes


# --- the whole way


def test_p9_a_return_is_made_by_following_the_pages(shopper: Shopper) -> None:
    shopper.front.keeps(an_order("1001", lines=2))
    shopper.open(shopper.find("1001").location)
    carried = shopper.fields()

    for step, chosen in (
        ("/reasons", {"n:line-1": "2", "n:line-2": "0"}),
        ("/resolution", {"n:line-1": "2", "why:line-1": "too_small", "is:line-1": "opened"}),
        ("/review", {"n:line-1": "2", "why:line-1": "too_small", "is:line-1": "opened", "as": "store_credit"}),
    ):
        assert shopper.get(step, **carried, **chosen).status_code == 200, shopper.page
    sent = shopper.post("/submit", {**shopper.fields(), "said": "The sleeves.\r\nBoth of them."})

    assert sent.status_code == 303
    assert shopper.open(sent.location).status_code == 200
    assert "Send your parcel by 1 April" in shopper.shown()
    (rma,) = shopper.front.rmas()
    assert (rma.state, rma.wanted) == (RmaState.AUTHORISED, Resolution.STORE_CREDIT)
    assert lines_of(shopper.front, rma) == {"line-1": (2, "too_small", "opened")}
    with shopper.front.world.db.reading() as session:
        contact = session.get_one(ContactRow, rma.id)
    assert contact.sealed is not None
    assert contact.said is not None
    assert shopper.front.vault.decrypt("said", rma.id.hex, contact.said) == "The sleeves.\nBoth of them."
    assert "kim@example.com" in shopper.front.vault.decrypt("contact", rma.id.hex, contact.sealed)


def test_p9_no_get_changes_anything(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    before = everything(shopper.front.world.db)

    for step in ("items", "reasons", "resolution", "review", "submit"):
        shopper.at(order, step, **choice({"line-1": 1}), **{"as": "refund"})

    assert everything(shopper.front.world.db) == before


def test_back_keeps_what_was_chosen(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    shopper.reviewing(order, {"line-1": 2}, wanted="store_credit")

    for step, kept in (
        ("items", 'value="2" selected'),
        ("reasons", 'value="too_small" checked'),
        ("resolution", 'aria-describedby="sum-1" checked'),
    ):
        back = re.search(rf'href="([^"]*/{step}\?[^"]*)"', shopper.page)
        assert back
        assert kept in shopper.open(back[1].replace("&amp;", "&")).text
        shopper.reviewing(order, {"line-1": 2}, wanted="store_credit")


# --- items


def test_p4_each_line_says_its_price_and_until_when_or_why_not(shopper: Shopper) -> None:
    shirt, *_ = an_order().lines
    lines = (
        replace(shirt, product=Product(title="Scarf", variant="Moss")),
        replace(shirt, id=LineRef("late"), delivered_on=(START - timedelta(days=31)).date()),
        replace(shirt, id=LineRef("gone"), refunded_quantity=3),
    )
    order = shopper.front.keeps(replace(an_order(), lines=lines))

    assert shopper.at(order, "items").status_code == 200

    for told in ("Scarf", "Moss", "€12.00 each", "Return it until 1 April 2026", "of 3"):
        assert told in shopper.shown()
    assert "The time for sending it back ended on 1 March 2026." in shopper.shown()
    assert "It was returned or refunded before." in shopper.shown()
    assert 'name="n:late"' not in shopper.page


@pytest.mark.parametrize(
    ("policy", "changes", "why"),
    [
        ("", {"cancelled": True}, "The order was cancelled."),
        ("", {"paid": False}, "The order has not been paid."),
        ('[final_sale]\ntags = ["sale"]\n', {}, "It was sold as final sale"),
        ('[not_returnable]\ntypes = ["gift card"]\n', {}, "The shop does not take this kind of item back."),
        ('[window]\nundated = "refuse"\nfrom = ["delivered"]\n', {}, "It has not been delivered yet."),
    ],
)
def test_p4_every_refusal_is_a_plain_sentence_and_the_page_says_what_else(
    front: Front, policy: str, changes: dict[str, bool], why: str
) -> None:
    front = Front.open(front.app, front.world.db, front.world.clock, f"format = 1\n{policy}")
    product, delivered = Product(kind="Gift card", tags=("sale",)), None if "window" in policy else START.date()
    order = front.keeps(replace(with_line(an_order(), product=product, delivered_on=delivered), **changes))  # type: ignore[arg-type]  # a test names what it changes
    shopper = Shopper(front)

    assert shopper.at(order, "items").status_code == 200

    assert why in shopper.shown()
    assert "Nothing of this order can come back right now" in shopper.shown()
    assert "What else you can do" in shopper.shown()
    assert "<button" not in shopper.page


def test_what_is_in_another_return_says_so_with_a_link_that_opens_it(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    rma = shopper.submits(order, {"line-1": 3}, reason="defective")

    shopper.at(order, "items")

    assert "It is part of your return" in shopper.shown()
    link = re.search(rf'href="([^"]*/{rma.number}\?[^"]*)"', shopper.page)
    assert link
    assert shopper.open(link[1].replace("&amp;", "&")).status_code == 200


WRONG = {
    "nothing": ({"n:line-1": "0"}, "Choose at least one item."),
    "not even a field": ({}, "Choose at least one item."),
    "too many": ({"n:line-1": "4"}, "Only 3 of these can still come back."),
    "very many": ({"n:line-1": "999999"}, "Only 3 of these can still come back."),
    **{
        repr(text): ({"n:line-1": text}, "Choose how many as a whole number.")
        for text in ("-1", "1e9", "1000000000", "\uff11", " 1 ", "1.5", "+1", "true", "", "1\0", "\u0663", "0x1")
    },
    "another order's line": ({"n:line-9": "1"}, "is not part of this order"),
    "another order's line, malformed": ({"n:line-9": "x"}, "is not part of this order"),
    "markup for a line": ({f"n:{MARKUP}": "1"}, "is not part of this order"),
    "a giant name": ({f"n:{'x' * 3000}": "1"}, "is not part of this order"),
    "many lines": ({f"n:{nth}": "1" for nth in range(600)}, "is not part of this order"),
}


@pytest.mark.parametrize(("sent", "told"), WRONG.values(), ids=WRONG.keys())
def test_a18_a21_a28_what_nobody_can_choose_is_told_and_made_nothing_of(shopper: Shopper, sent: dict[str, str], told: str) -> None:
    order = shopper.front.keeps(an_order("1001"))

    answer = shopper.at(order, "review", **sent)

    assert answer.status_code == 422
    assert told in shopper.shown()
    assert 'role="alert" tabindex="-1" autofocus' in answer.text
    assert "<script" not in answer.text
    assert "<title>Error:" in answer.text


@pytest.mark.parametrize("step", ["reasons", "resolution", "review"])
def test_no_step_is_reached_past_what_is_missing(shopper: Shopper, step: str) -> None:
    order = shopper.front.keeps(an_order("1001"))

    assert shopper.at(order, step, **choice({"line-1": 4})).status_code == 422
    assert "Only 3 of these can still come back." in shopper.shown()


def test_a27_a_line_that_comes_twice_is_not_guessed_at(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    query = {"visit": shopper.front.visit(order), "n:line-1": ["1", "2"]}

    answer = shopper.client.get(shopper.front.path("/reasons"), query_string=query, base_url=BASE)

    assert answer.status_code == 422
    assert forms.choices(MultiDict([("n:a", "1"), ("n:a", "1")])).malformed == {"a"}


# --- reasons


def test_p5_a_reason_is_asked_for_each_item_in_words(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001", lines=2))

    assert shopper.at(order, "reasons", **choice({"line-1": 1, "line-2": 1}, "")).status_code == 200
    for told in ("Too small", "It does not work", "Another reason", "Unopened"):
        assert told in shopper.shown()
    missing = shopper.at(order, "resolution", **choice({"line-1": 1, "line-2": 1}, ""), **{"why:line-1": "too_small"})

    assert missing.status_code == 422
    assert "Choose a reason for: Shirt 2" in shopper.shown()
    assert "Choose a reason for: Shirt 1" not in shopper.shown()


@pytest.mark.parametrize("reason", ["wearing", MARKUP, "x" * 300, "\0"])
def test_a_reason_that_is_not_offered_is_none(shopper: Shopper, reason: str) -> None:
    order = shopper.front.keeps(an_order("1001"))

    assert shopper.at(order, "resolution", **choice({"line-1": 1}, reason)).status_code == 422
    assert "<script" not in shopper.page


def test_p5_a_merchants_own_code_is_made_readable(app: Flask, database: Database, clock: Clock) -> None:
    front = Front.open(at_once_app(app), database, clock, 'format = 1\nreasons = ["smells_of_smoke"]\n')
    order = front.keeps(an_order())
    shopper = Shopper(front)

    shopper.at(order, "reasons", **choice({"line-1": 1}, ""))

    assert "Smells of smoke" in shopper.shown()


# --- resolution


def test_p8_every_way_shows_its_amount_and_the_arithmetic(shopper: Shopper) -> None:
    order = shopper.front.keeps(replace(an_order("1001"), prices_include_tax=True))

    assert shopper.at(order, "resolution", **choice({"line-1": 2})).status_code == 200

    for told in (
        *("Refund €19.00", "Back to Visa 4242", "Shirt 1 · 2 of 3 €24.00", "Return shipping: once for each parcel −€5.00"),
        *("You receive €19.00", "The items include tax of €4.00"),
        *("Store credit 10 % more €20.90", "10 % bonus on store credit €1.90", "You receive €20.90"),
    ):
        assert told in shopper.shown()
    assert "checked" not in shopper.page  # two ways: the choice is the shopper's


def test_p8_tax_that_was_added_is_a_line_of_its_own_and_a_fee_that_a_reason_lifts_says_so(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))

    shopper.at(order, "resolution", **choice({"line-1": 1}, "defective"))

    for told in ("Shirt 1 · 1 of 3 €10.00", "Tax, as you paid it €2.00", "Return shipping: free, because of your reason €0.00", "€12.00"):
        assert told in shopper.shown()


def test_p8_a_split_payment_shows_each_part_and_what_the_shop_pays_by_hand(shopper: Shopper) -> None:
    def tenders(total: int) -> tuple[Tender, ...]:
        cash = Tender(TenderRef("cash"), 1000, kind=TenderKind.MANUAL, title="Cash on delivery", pays_back=False)
        return (Tender(TenderRef("card"), total - 1000, kind=TenderKind.CARD, title="Visa 4242"), cash)

    order = shopper.front.keeps(an_order("1001", tenders=tenders))

    shopper.at(order, "resolution", **choice({"line-1": 2}))

    assert "Cash on delivery: the shop arranges it with you €10.00" in shopper.shown()
    assert "Back to Visa 4242 €9.00" in shopper.shown()


def test_p8_what_pays_nothing_says_so_before_it_is_chosen(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001", units=1, net=400, tax=0))

    shopper.at(order, "resolution", **choice({"line-1": 1}))

    assert "You would receive nothing this way" in shopper.shown()
    assert "(lowered to what is there) −€4.00" in shopper.shown()


def test_p8_what_has_no_worth_is_not_offered_and_the_page_leads_on(shopper: Shopper) -> None:
    gift = OrderLine(LineRef("gift"), 1, Worth(0), product=Product(title="Gift"), delivered_on=START.date())
    order = shopper.front.keeps(replace(an_order("1001"), lines=(*an_order().lines, gift)))

    shopper.at(order, "resolution", **choice({"gift": 1}))
    assert "We cannot work out an amount for this." in shopper.shown()
    assert "<button" not in shopper.page
    assert shopper.at(order, "review", **choice({"gift": 1}), **{"as": "refund"}).status_code == 422


@pytest.mark.parametrize("wanted", ["", "exchange", "keep_item", "money", MARKUP])
def test_p8_a_way_that_is_not_offered_is_not_taken(shopper: Shopper, wanted: str) -> None:
    order = shopper.front.keeps(an_order("1001"))

    assert shopper.at(order, "review", **choice({"line-1": 1}), **{"as": wanted}).status_code == 422
    assert "Choose how you want to be paid back." in shopper.shown()


def test_the_only_way_is_chosen_already(app: Flask, database: Database, clock: Clock) -> None:
    front = Front.open(at_once_app(app), database, clock, "format = 1\n")
    order = front.keeps(an_order())
    shopper = Shopper(front)

    shopper.at(order, "resolution", **choice({"line-1": 1}, "other"))

    assert shopper.page.count(" checked") == 1
    assert "A person at the shop looks at this request first." in shopper.shown()  # it authorises nothing by itself


# --- submit


def test_f14_a_reload_and_a_second_click_find_the_first_return(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    form = shopper.reviewing(order)

    first, second = shopper.post("/submit", form), shopper.post("/submit", form)

    assert first.status_code == second.status_code == 303
    assert first.location.partition("?")[0] == second.location.partition("?")[0]
    assert len(shopper.front.rmas()) == 1


def test_f14_two_clicks_at_the_same_instant_make_one_return(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    form = shopper.reviewing(order)

    came = at_once(*[lambda: Shopper(shopper.front).post("/submit", form).location.partition("?")[0] for _ in range(4)])

    assert len(set(map(str, came))) == 1, came
    assert len(shopper.front.rmas()) == 1


def test_f16_two_pages_that_want_the_last_units_make_one_return(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    forms_open = [shopper.reviewing(order, {"line-1": 2}) for _ in range(2)]

    came = at_once(*[lambda form=form: Shopper(shopper.front).post("/submit", form).status_code for form in forms_open])

    assert sorted(map(str, came)) == ["303", "422"]
    assert len(shopper.front.rmas()) == 1


def test_p9_an_amount_that_changed_is_shown_beside_the_old_one_and_nothing_is_submitted(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    form = shopper.reviewing(order, {"line-1": 1})
    shopper.front.world.clock.advance(timedelta(minutes=1))
    shopper.front.keeps(with_line(order, worth=Worth(2700, order.lines[0].worth.tax)))

    answer = shopper.post("/submit", form | {"said": "Keep this."})

    assert answer.status_code == 422
    assert "You saw €7.00; by now it is €6.00." in shopper.shown()
    assert "Keep this." in answer.text
    assert shopper.front.rmas() == []
    assert shopper.post("/submit", shopper.fields()).status_code == 303


@pytest.mark.parametrize(
    "changes",
    [
        {"n:line-1": "2"},
        {"why:line-1": "defective"},
        {"as": "store_credit"},
        {"form": ""},
        {"form": "x"},
        {"form": "é" * 50},
        {"form": "A" * 9000},
    ],
)
def test_a37_a38_a_form_belongs_to_what_it_showed(shopper: Shopper, changes: dict[str, str]) -> None:
    order = shopper.front.keeps(an_order("1001"))
    form = shopper.reviewing(order)

    assert shopper.post("/submit", form | changes).status_code == 422
    assert "Nothing was sent" in shopper.shown()
    assert shopper.front.rmas() == []


def test_a35_a_form_of_another_order_makes_nothing(shopper: Shopper) -> None:
    mine, other = shopper.front.keeps(an_order("1001")), shopper.front.keeps(numbered("1002"))
    form = shopper.reviewing(mine)

    assert shopper.post("/submit", form | {"visit": shopper.front.visit(other)}).status_code == 422
    assert shopper.post("/submit", {name: value for name, value in form.items() if name != "visit"}).status_code == 403
    assert shopper.front.rmas() == []


def test_a38_what_no_form_has_decides_nothing(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    extra = {
        "state": "resolved",
        "refund_amount": "99999",
        "shop_id": "x",
        "fee": "0",
        "shown": "999999 0",
        "wanted": "x",
        "policy_id": "1",
    }

    assert shopper.post("/submit", shopper.reviewing(order) | extra).status_code == 303

    (rma,) = shopper.front.rmas()
    assert rma.state is RmaState.AUTHORISED
    with shopper.front.world.db.reading() as session:
        promised = casefile.read(session, rma).promised
    assert promised is not None
    assert promised.total == 700


@pytest.mark.parametrize("said", ["x" * 1001, "x" * 20_000])
def test_a49_a_message_that_is_too_long_is_given_back_whole(shopper: Shopper, said: str) -> None:
    order = shopper.front.keeps(an_order("1001"))

    answer = shopper.post("/submit", shopper.reviewing(order) | {"said": said})

    assert answer.status_code == 422
    assert "at most 1,000 characters" in shopper.shown()
    assert said in answer.text
    assert shopper.front.rmas() == []


@pytest.mark.parametrize("said", [MARKUP, "Z̸a̵l̴g̶o̷" * 50, "🧣" * 900, "a\0b", "\ud800", "\r\nBcc: x@example.com"])
def test_a49_a_message_is_kept_as_text(shopper: Shopper, said: str) -> None:
    order = shopper.front.keeps(an_order("1001"))

    sent = shopper.post("/submit", shopper.reviewing(order) | {"said": said.encode("utf-8", "replace").decode()})

    assert sent.status_code == 303
    assert shopper.open(sent.location).status_code == 200


def test_a39_titles_of_products_are_text_and_pictures_come_from_https_alone(shopper: Shopper) -> None:
    product = Product(title=MARKUP, variant=f'"{MARKUP}', image="https://cdn.example.com/a.png?x=1&y=2")
    evil = Product(title="x", image="https://evil.example; script-src *")
    line, *_ = an_order().lines
    lines = [replace(line, product=product), replace(line, id=LineRef("line-2"), product=evil)]
    lines += [
        replace(line, id=LineRef(f"line-{nth}"), product=Product(image=image))
        for nth, image in enumerate(
            ("http://a.example/x", "javascript:x", "//b.example/x", "data:image/png,x", "https://u:p@c.example/x"), start=3
        )
    ]
    order = shopper.front.keeps(replace(an_order("1001"), lines=tuple(lines), total=99_999))

    for step in ("items", "reasons", "resolution", "review"):
        answer = shopper.at(order, step, **choice({"line-1": 1, "line-2": 1}), **{"as": "refund"})
        assert answer.status_code == 200
        assert "<script" not in answer.text
        assert "{{7*7}}" in answer.text
    assert shopper.at(order, "items").headers["Content-Security-Policy"].count("img-src 'self' https://cdn.example.com;") == 1
    assert re.findall(r'<img src="([^"]*)"', shopper.page) == ["https://cdn.example.com/a.png?x=1&amp;y=2"]


def test_a_replay_after_cancelling_makes_nothing_new(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    form = shopper.reviewing(order)
    shopper.open(shopper.post("/submit", form).location)
    (rma,) = shopper.front.rmas()
    assert shopper.post(f"/{rma.number}/cancel", shopper.fields()).status_code == 303

    replayed = shopper.post("/submit", form)

    assert replayed.status_code == 303
    assert [each.state for each in shopper.front.rmas()] == [RmaState.CANCELLED]
    assert shopper.submits(order).state is RmaState.AUTHORISED


def test_a_shop_without_a_policy_says_so_kindly(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001"))
    shopper.front.world.clock.now = START - timedelta(days=400)

    assert shopper.at(order, "items").status_code == 409
    assert "Not possible here right now" in shopper.shown()


def test_the_log_names_nobody(shopper: Shopper, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    shopper.front.keeps(an_order("1001"))
    shopper.find("1001", "CANARY@example.com")
    shopper.submits(shopper.front.keeps(numbered("1002")))

    assert "portal.submitted" in caplog.text
    for secret in ("kim@example.com", "CANARY", "visit="):
        assert secret not in caplog.text
