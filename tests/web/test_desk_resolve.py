"""Money decided at the desk, against a simulated WooCommerce shop: M6, M9; A22, A35, A37, A38, A61, F13, F15, F27."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from connector.db import Database
from connector.domain.rma import MoneyState, RmaState
from connector.domain.wanted import Payout
from connector.models import MoneyKind, Refund, Role, Shop, ShopStatus
from connector.services import dossier, receipts, staff
from connector.web.hosting import Hosting
from tests.web.desks import POLICY, Bought, Office, Sitting, office, shown, value_of
from tests.web.postbox import until
from tests.world import Clock

LIMITED = f'{POLICY}\n[limits]\nconfirm_above = {{ EUR = "50.00" }}\n'
COAT = Bought("Coat", 1, "100.00")


@pytest.fixture
def place(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Office]:
    with office(database, clock, tmp_path) as found:
        yield found


@pytest.fixture
def limited(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Office]:
    with office(database, clock, tmp_path, policy=LIMITED) as found:
        yield found


def look(sitting: Sitting, number: str, payout: str = "original") -> dict[str, str]:
    """The form that gives the money back, filled in."""
    answer = sitting.get(f"/{number}/resolve")
    assert answer.status_code == 200, sitting.text()
    expected = f"expected-{payout}"
    return {"word": sitting.browser.hidden("word"), "payout": payout, expected: value_of(sitting.page, expected)}


def test_d4_the_whole_job_from_the_request_to_the_money_in_the_shops_books(place: Office) -> None:
    order = place.order(Bought("Scarf", 2, "60.00"), shipping="5.00")
    number = place.asked(order, (2,))
    (line,) = place.lines(number)
    sitting = place.seat(Role.MONEY)
    for act, values in (("authorise", {}), ("receive", {"all": "1"}), ("inspect", {f"d:restock:{line}": "2"})):
        sitting.get(f"/{number}")
        assert sitting.post(f"/{number}/{act}", values).status_code == 303, sitting.text()

    form = look(sitting, number)
    assert "Scarf ×2 net €60.00 and tax €12.60, as charged €72.60" in sitting.text()
    assert sitting.send(f"/{number}/resolve", form).location == f"{place.path}/{number}?done=resolved"
    assert "about to be paid" in shown(sitting.get(f"/{number}").text)
    place.pay()

    page = shown(sitting.get(f"/{number}").text)
    assert "paid reference" in page
    assert [paid.amount for paid in place.woo.payments(order)] == ["72.60"]
    assert place.state(number) is RmaState.RESOLVED
    (made,) = place.decided()
    assert (made.kind, made.total, made.decided_by) == (MoneyKind.REFUND, 7260, sitting.member.who)


def test_shipping_goes_back_as_well_where_staff_say_so(place: Office) -> None:
    order = place.order(Bought("Scarf", 1, "60.00"), shipping="5.00")
    number = place.inspected(order)
    sitting = place.seat()
    sitting.get(f"/{number}/resolve")
    ref = sitting.page.partition('name="also" value="')[2].partition('"')[0]

    sitting.get(f"/{number}/resolve?also={ref}")
    assert value_of(sitting.page, "expected-original") == "7865"
    sent = {"word": sitting.browser.hidden("word"), "payout": "original", "expected-original": "7865", "also": ref}
    assert sitting.send(f"/{number}/resolve", sent).status_code == 303
    place.pay()

    assert [paid.amount for paid in place.woo.payments(order)] == ["78.65"]


def test_store_credit_is_given_as_a_coupon(place: Office) -> None:
    number = place.inspected(place.order(COAT))
    sitting = place.seat()

    assert sitting.send(f"/{number}/resolve", look(sitting, number, "store_credit")).status_code == 303
    place.pay()

    assert [made.kind for made in place.decided()] == [MoneyKind.CREDIT]
    assert len(place.woo.coupons()) == 1
    assert place.woo.payments() == []


def test_a_second_click_is_the_first_one_and_pays_once(place: Office) -> None:
    order = place.order(COAT)
    number = place.inspected(order)
    sitting = place.seat()
    form = look(sitting, number)

    first, second = (sitting.send(f"/{number}/resolve", form) for _ in range(2))
    place.pay()

    assert (first.status_code, second.status_code) == (303, 303)
    assert first.location == second.location
    assert len(place.woo.payments(order)) == 1


def test_two_clicks_of_one_form_at_the_same_instant_pay_once_and_blame_nobody(place: Office) -> None:
    order = place.order(COAT)
    number = place.inspected(order)
    sitting = place.seat()
    form, read = look(sitting, number), len(place.woo.requests)

    with ThreadPoolExecutor(2) as pool:
        with place.db.transaction() as session:
            dossier.locked(session, place.shop.id, number)
            clicks = [pool.submit(each.send, f"/{number}/resolve", form) for each in (sitting, sitting.twin())]
            until(lambda: len(place.woo.requests) >= read + 2)  # both saw an open return, and wait for the order
        answers = [click.result(30) for click in clicks]
    place.pay()

    assert [answer.location for answer in answers] == [f"{place.path}/{number}?done=resolved"] * 2
    assert len(place.woo.payments(order)) == 1


def test_f13_of_two_people_who_decide_at_once_one_does(place: Office) -> None:
    order = place.order(COAT)
    number = place.inspected(order)
    people = [place.seat() for _ in range(2)]
    forms = [look(each, number) for each in people]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda pair: pair[0].send(f"/{number}/resolve", pair[1]).status_code, zip(people, forms, strict=True)))
    place.pay()

    assert sorted(answers) == [303, 409]
    assert len(place.woo.payments(order)) == 1


def test_f15_an_amount_that_changed_meanwhile_is_shown_old_and_new_and_decided_by_nobody(place: Office) -> None:
    order = place.order(Bought("Coat", 2, "100.00"))
    number = place.inspected(order, (2,))
    sitting = place.seat()
    form = look(sitting, number)
    place.woo.refund_in_admin(order, "30.00")

    answer = sitting.send(f"/{number}/resolve", form)

    assert answer.status_code == 409
    assert "you saw €121.00, and now it is €91.00" in sitting.text()
    assert place.decided() == []
    fresh = {"word": sitting.browser.hidden("word"), "payout": "original", "expected-original": value_of(sitting.page, "expected-original")}
    assert sitting.send(f"/{number}/resolve", fresh).status_code == 303


@pytest.mark.parametrize(
    "change",
    [{"payout": ""}, {"payout": "nonsense"}, {"expected-original": "-1"}, {"expected-original": "1e9"}, {"expected-original": ""}],
    ids=str,
)
def test_a38_what_nobody_can_have_chosen_decides_nothing(place: Office, change: dict[str, str]) -> None:
    number = place.inspected(place.order(COAT))
    sitting = place.seat()

    assert sitting.send(f"/{number}/resolve", look(sitting, number) | change).status_code == 422
    assert place.decided() == []


def test_a22_a_total_that_was_typed_by_hand_is_not_believed(place: Office) -> None:
    number = place.inspected(place.order(COAT))
    sitting = place.seat()

    assert sitting.send(f"/{number}/resolve", look(sitting, number) | {"expected-original": "99999999"}).status_code == 409
    assert place.decided() == []


@pytest.mark.parametrize("role", [Role.VIEW, Role.HANDLE])
def test_a61_who_may_not_decide_money_neither_sees_nor_sends_it(place: Office, role: Role) -> None:
    number = place.inspected(place.order(COAT))
    form = look(place.seat(), number)
    sitting = place.seat(role)
    sitting.get(f"/{number}")

    assert "/resolve" not in sitting.page
    assert sitting.get(f"/{number}/resolve").status_code == 403
    sitting.get(f"/{number}")
    mine = form | {"word": sitting.browser.hidden("word")}
    for path in ("resolve", "confirm", "book"):
        assert sitting.send(f"/{number}/{path}", mine).status_code == 403
    assert place.decided() == []


def test_m9_above_the_limit_a_second_person_finds_the_decision_and_confirms_it(limited: Office) -> None:
    order = limited.order(COAT)
    number = limited.inspected(order)
    sam, nora = limited.seat(email="sam@shop.example"), limited.seat(email="nora@shop.example")
    form = look(sam, number)

    assert sam.send(f"/{number}/resolve", form).location == f"{limited.path}/{number}?done=asked"
    assert sam.send(f"/{number}/resolve", form).status_code == 303
    assert len(limited.happened("limit.asked")) == 1  # however often it is pressed
    assert limited.decided() == []
    sam.get(f"/{number}")
    assert sam.post(f"/{number}/confirm").status_code == 409  # the same person twice is one person

    assert "sam wants to give back €121.00." in shown(nora.get(f"/{number}").text)
    nora.get(f"/{number}/resolve")
    assert "Confirm €121.00 as the second person" in nora.text()
    assert nora.post(f"/{number}/confirm").status_code == 303
    limited.pay()

    (made,) = limited.decided()
    assert (made.decided_by, made.confirmed_by) == (sam.member.who, nora.member.who)
    assert len(limited.woo.payments(order)) == 1
    nora.get(f"/{number}")
    assert nora.post(f"/{number}/confirm").status_code == 409
    assert len(limited.decided()) == 1


def test_m9_two_clicks_at_the_same_instant_ask_for_a_second_person_once(limited: Office) -> None:
    number = limited.inspected(limited.order(COAT))
    sitting = limited.seat()
    form, read = look(sitting, number), len(limited.woo.requests)

    with ThreadPoolExecutor(2) as pool:
        with limited.db.transaction() as session:
            dossier.locked(session, limited.shop.id, number)
            clicks = [pool.submit(each.send, f"/{number}/resolve", form) for each in (sitting, sitting.twin())]
            until(lambda: len(limited.woo.requests) >= read + 2)  # neither saw what the other one will leave
        answers = [click.result(30) for click in clicks]

    assert [answer.location for answer in answers] == [f"{limited.path}/{number}?done=asked"] * 2
    assert len(limited.happened("limit.asked")) == 1


def test_m9_what_changed_since_the_first_person_saw_it_is_confirmed_by_nobody(limited: Office) -> None:
    order = limited.order(Bought("Coat", 2, "200.00"))
    number = limited.inspected(order, (2,))
    sam, nora = limited.seat(email="sam@shop.example"), limited.seat()
    sam.send(f"/{number}/resolve", look(sam, number))
    nora.get(f"/{number}/resolve")
    limited.woo.refund_in_admin(order, "30.00")

    answer = nora.post(f"/{number}/confirm")
    nora.get(f"/{number}/resolve")
    assert "Confirm €" not in nora.text()

    assert answer.status_code == 409
    assert limited.decided() == []


def test_m9_a61_the_word_of_somebody_who_was_removed_counts_for_nothing(limited: Office) -> None:
    number = limited.inspected(limited.order(COAT))
    sam, nora = limited.seat(email="sam@shop.example"), limited.seat()
    sam.send(f"/{number}/resolve", look(sam, number))
    nora.get(f"/{number}/resolve")
    with limited.db.transaction() as session:
        staff.remove(session, limited.shop.id, "sam@shop.example", by="operator", vault=limited.vault, now=limited.clock.now)

    assert nora.post(f"/{number}/confirm").status_code == 409
    assert limited.decided() == []


def test_m9_what_the_first_person_decided_otherwise_meanwhile_is_confirmed_only_by_who_saw_it(limited: Office) -> None:
    number = limited.inspected(limited.order(COAT, shipping="50.00"))
    sam, nora = limited.seat(email="sam@shop.example"), limited.seat()
    sam.send(f"/{number}/resolve", look(sam, number, "store_credit"))
    nora.get(f"/{number}/resolve")
    unseen = {"word": nora.browser.hidden("word")}
    sam.send(f"/{number}/resolve", look(sam, number))

    answer = nora.post(f"/{number}/confirm")

    assert answer.status_code == 409
    assert "nothing to confirm any more" in nora.text()
    assert nora.send(f"/{number}/confirm", unseen).status_code == 409  # a form that says of nothing that it was seen
    assert nora.send(f"/{number}/confirm", unseen | {"asked": "nonsense"}).status_code == 409
    assert limited.decided() == []
    nora.get(f"/{number}/resolve")
    assert nora.post(f"/{number}/confirm").status_code == 303
    assert [made.kind for made in limited.decided()] == [MoneyKind.REFUND]


def test_m9_f13_what_is_decided_otherwise_while_it_is_confirmed_is_not_confirmed(limited: Office) -> None:
    number = limited.inspected(limited.order(COAT))
    sam, nora = limited.seat(email="sam@shop.example"), limited.seat()
    sam.send(f"/{number}/resolve", look(sam, number, "store_credit"))
    nora.get(f"/{number}/resolve")
    read = len(limited.woo.requests)

    with ThreadPoolExecutor(1) as pool:
        with limited.db.transaction() as session:
            rma = dossier.locked(session, limited.shop.id, number)
            assert rma is not None
            confirming = pool.submit(nora.post, f"/{number}/confirm")
            until(lambda: len(limited.woo.requests) > read)  # it saw what waits, and waits itself for the order
            dossier.ask_for_a_second(session, rma, Payout.ORIGINAL, 12100, (), who=sam.member.who, now=limited.db.now(session))
        answer = confirming.result(30)

    assert answer.status_code == 409
    assert "nothing to confirm any more" in shown(answer.text)
    assert limited.decided() == []


def test_a_refund_that_was_closed_as_unpaid_and_shows_up_is_booked_and_not_paid_again(place: Office) -> None:
    order = place.order(COAT)
    number = place.inspected(order)
    sitting = place.seat()
    sitting.send(f"/{number}/resolve", look(sitting, number))
    place.pay()
    (row,) = place.rows()
    with place.db.transaction() as session:  # as if its receipt had been lost, and somebody had looked at the wrong place
        lost = {"state": MoneyState.PARKED, "platform_reference": None, "parked_because": "outcome_unknown"}
        session.execute(update(Refund).where(Refund.id == row.id).values(**lost, quiet_until=place.clock.now - timedelta(hours=1)))
    with place.db.transaction() as session:
        assert receipts.answer_unpaid(session, row.id, who="sam", now=place.clock.now)
    assert place.state(number) is RmaState.RECEIVED

    sitting.get(f"/{number}/resolve")
    choice = {"word": sitting.browser.hidden("word"), "payout": "original", "expected-original": "12100"}
    answer = sitting.send(f"/{number}/resolve", choice)
    assert answer.status_code == 409
    assert "It was paid before" in sitting.text()
    assert sitting.post(f"/{number}/book").location == f"{place.path}/{number}?done=booked"

    place.pay()
    assert place.state(number) is RmaState.RESOLVED
    assert len(place.woo.payments(order)) == 1
    assert [one.state for one in place.rows()] == [MoneyState.SETTLED]


def test_f27_a_store_that_lets_nobody_in_decides_nothing_and_says_so(place: Office) -> None:
    number = place.inspected(place.order(COAT))
    sitting = place.seat()
    form = look(sitting, number)
    with place.db.transaction() as session:
        session.execute(update(Shop).values(status=ShopStatus.REVOKED))

    answer = sitting.send(f"/{number}/resolve", form)

    assert answer.status_code == 409
    assert "connect it again first" in sitting.text()
    assert place.decided() == []


def test_an_order_that_is_gone_from_the_store_pays_nothing(place: Office) -> None:
    order = place.order(COAT)
    number = place.inspected(order)
    place.woo.delete(order)

    answer = place.seat().get(f"/{number}/resolve")

    assert answer.status_code in {409, 503}
    assert "Nothing was done" in shown(answer.text) or "does not know this order" in shown(answer.text)


def test_so_many_who_ask_the_store_leave_threads_for_everybody_else(place: Office) -> None:
    number = place.inspected(place.order(COAT))
    sitting = place.seat()
    hosting: Hosting = place.app.extensions["retour"]
    for _ in range(3):
        assert hosting.asking.acquire(blocking=False)

    answer = sitting.get(f"/{number}/resolve")

    assert answer.status_code == 503
    assert "try again in half a minute" in shown(answer.text)


def test_a_return_that_is_not_there_yet_is_not_resolved(place: Office) -> None:
    number = place.asked(place.order(COAT))
    answer = place.seat().get(f"/{number}/resolve")
    assert answer.status_code == 409
    assert place.decided() == []


def test_what_was_bought_by_bank_transfer_waits_for_a_hand(place: Office) -> None:
    order = place.order(COAT, gateway="bacs", status="processing", paid=True)
    number = place.inspected(order)
    sitting = place.seat()

    assert sitting.send(f"/{number}/resolve", look(sitting, number)).status_code == 303
    place.pay()

    assert place.woo.payments(order) == []
    assert [row.parked_because for row in place.rows()] == ["paid_by_hand"]
    assert "needs a person" in shown(sitting.get(f"/{number}").text)
