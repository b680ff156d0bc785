"""Money that needs a person: M4, M6; A35, A37, A61. Two honest answers, each with what it leads to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from connector.db import Database
from connector.domain.rma import MoneyState, RmaState
from connector.models import Alarm, AlarmKind, Refund, Role
from tests.web.desks import Bought, Office, Sitting, office, shown, value_of
from tests.world import Clock


@pytest.fixture
def place(database: Database, clock: Clock, tmp_path: Path) -> Iterator[Office]:
    with office(database, clock, tmp_path) as found:
        yield found


def decided(place: Office, sitting: Sitting, **how: object) -> tuple[str, Refund]:
    """A return whose money was decided, and its row."""
    number = place.inspected(place.order(Bought("Coat", 1, "100.00"), **how))
    sitting.get(f"/{number}/resolve")
    form = {"payout": "original", "expected-original": value_of(sitting.page, "expected-original")}
    assert sitting.post(f"/{number}/resolve", form).status_code == 303, sitting.text()
    return number, place.rows()[-1]


def by_hand(place: Office, sitting: Sitting) -> tuple[str, Refund]:
    return decided(place, sitting, gateway="bacs", status="processing", paid=True)


def in_doubt(place: Office, sitting: Sitting, *, quiet_in: timedelta) -> tuple[str, Refund]:
    """A row that was asked for, and nobody knows."""
    number, row = decided(place, sitting)
    now = place.clock.now
    with place.db.transaction() as session:
        asked = {"marked_at": now, "asked_first_at": now, "asked_first_attempt": 1, "attempt": 1, "quiet_until": now + quiet_in}
        parked = {"state": MoneyState.PARKED, "parked_because": "outcome_unknown", "words": "HTTP 504 <b>upstream</b>"}
        session.execute(update(Refund).where(Refund.id == row.id).values(**asked, **parked))
    return number, row


def state(place: Office, row: Refund) -> MoneyState:
    with place.db.reading() as session:
        return session.execute(select(Refund.state).where(Refund.id == row.id)).scalar_one()


def test_m4_money_that_came_in_by_hand_is_paid_by_hand_and_noted_with_its_reference(place: Office) -> None:
    sitting = place.seat()
    number, row = by_hand(place, sitting)
    page = shown(sitting.get("/money").text)
    assert "€121.00 to Direct bank transfer" in page
    assert "the money came in by hand, so it goes out by hand" in page

    assert sitting.post(f"/money/{row.id}/paid", {f"reference-{row.id.hex}": " SEPA-77 "}).location == f"{place.path}/money?done=paid"

    assert state(place, row) is MoneyState.SETTLED
    assert "Paid €121.00, reference SEPA-77" in shown(sitting.get(f"/{number}").text)
    assert "No payment needs you" in shown(sitting.get("/money").text)


def test_a_second_click_on_paid_says_what_the_first_one_did_and_another_reference_does_not(place: Office) -> None:
    sitting, colleague = place.seat(), place.seat()
    _, row = by_hand(place, sitting)
    colleague.get("/money")
    theirs = {"word": colleague.browser.hidden("word"), f"reference-{row.id.hex}": "SEPA-77"}
    sitting.get("/money")
    form = {"word": sitting.browser.hidden("word"), f"reference-{row.id.hex}": "SEPA-77"}

    first, second = (sitting.send(f"/money/{row.id}/paid", form) for _ in range(2))

    assert first.location == second.location == f"{place.path}/money?done=paid"
    assert sitting.send(f"/money/{row.id}/paid", form | {f"reference-{row.id.hex}": "SEPA-78"}).status_code == 409
    assert colleague.send(f"/money/{row.id}/paid", theirs).status_code == 409
    assert len(place.happened("money.settled")) == 1


def test_m6_a_payment_in_doubt_shows_what_is_known_and_takes_no_denial_too_early(place: Office) -> None:
    sitting = place.seat()
    number, row = in_doubt(place, sitting, quiet_in=timedelta(minutes=5))
    page = shown(sitting.get("/money").text)
    for told in (
        "nobody can tell whether it did",
        "HTTP 504 <b>upstream</b>",
        "a refund of €121.00 on order",
        "if it was paid after all, the shopper gets it twice",
    ):
        assert told in page
    assert "<b>upstream" not in sitting.page

    early = sitting.post(f"/money/{row.id}/unpaid")
    assert early.status_code == 409
    assert "It is too early to say" in sitting.text()
    assert state(place, row) is MoneyState.PARKED

    place.clock.advance(timedelta(minutes=5))
    sitting.get("/money")
    assert sitting.post(f"/money/{row.id}/unpaid").location == f"{place.path}/money?done=unpaid"
    assert state(place, row) is MoneyState.REFUSED
    assert place.state(number) is RmaState.RECEIVED


@pytest.mark.parametrize("typed", ["", "   ", "x" * 201, "a\nb"], ids=["nothing", "blanks", "too long", "two lines"])
def test_what_no_books_show_is_refused_beside_its_field(place: Office, typed: str) -> None:
    sitting = place.seat()
    _, row = by_hand(place, sitting)
    sitting.get("/money")

    answer = sitting.post(f"/money/{row.id}/paid", {f"reference-{row.id.hex}": typed})

    assert answer.status_code == 422
    assert f'id="reference-{row.id.hex}-problem"' in answer.text
    assert state(place, row) is MoneyState.PARKED


def test_two_colleagues_who_answer_at_once_leave_one_answer_and_no_alarm(place: Office) -> None:
    people = [place.seat() for _ in range(2)]
    _, row = by_hand(place, people[0])
    for each in people:
        each.get("/money")

    def answer(pair: tuple[int, Sitting]) -> int:
        return pair[1].post(f"/money/{row.id}/paid", {f"reference-{row.id.hex}": f"SEPA-{pair[0]}"}).status_code

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(answer, enumerate(people)))

    assert answers == [303, 409]
    with place.db.reading() as session:
        assert session.execute(select(Alarm)).first() is None


def test_a_reference_that_another_payment_has_is_told_and_settles_nothing(place: Office) -> None:
    sitting = place.seat()
    _, first = by_hand(place, sitting)
    _, second = by_hand(place, sitting)
    sitting.get("/money")
    assert sitting.post(f"/money/{first.id}/paid", {f"reference-{first.id.hex}": "SEPA-1"}).status_code == 303
    sitting.get("/money")

    answer = sitting.post(f"/money/{second.id}/paid", {f"reference-{second.id.hex}": "SEPA-1"})

    assert answer.location == f"{place.path}/money?done=taken"
    assert state(place, second) is MoneyState.PARKED
    assert "One reference, two payments" in shown(sitting.get("/money").text)


def test_a61_who_may_not_decide_money_reads_the_questions_and_answers_none(place: Office) -> None:
    _, row = by_hand(place, place.seat())
    sitting = place.seat(Role.HANDLE)
    assert "A colleague who may decide money answers this." in shown(sitting.get("/money").text)
    for act in ("paid", "unpaid", "again"):
        assert sitting.post(f"/money/{row.id}/{act}", {f"reference-{row.id.hex}": "SEPA-1"}).status_code == 403
    assert state(place, row) is MoneyState.PARKED


def test_a35_a_row_or_an_alarm_of_nobody_here_is_not_there(place: Office) -> None:
    sitting = place.seat()
    sitting.get("/money")
    nobody = uuid.uuid4()
    for act in ("paid", "unpaid", "again"):
        assert sitting.post(f"/money/{nobody}/{act}", {f"reference-{nobody.hex}": "SEPA-1"}).status_code == 404
        sitting.get("/money")
    assert sitting.post("/money/x/paid").status_code == 404


def test_an_alarm_stands_until_somebody_has_seen_to_it(place: Office) -> None:
    with place.db.transaction() as session:
        facts = b'{"state":"settled","settled_by":"412","also":"419"}'
        alarm = Alarm(
            id=uuid.uuid4(), shop_id=place.shop.id, kind=AlarmKind.PAID_TWICE, subject="x", facts=facts, raised_at=place.clock.now
        )
        session.add(alarm)
    sitting = place.seat()
    assert "Two receipts came for one payment: 412 and 419." in shown(sitting.get("/money").text)

    assert sitting.post(f"/money/alarms/{alarm.id}").status_code == 303

    assert "No payment needs you" in shown(sitting.get("/money").text)
    assert [entry.who for entry in place.happened("alarm.cleared")] == [sitting.member.who]


@pytest.mark.parametrize("kind", list(AlarmKind))
def test_every_alarm_says_what_to_do(place: Office, kind: AlarmKind) -> None:
    with place.db.transaction() as session:
        session.add(Alarm(id=uuid.uuid4(), shop_id=place.shop.id, kind=kind, subject="x", facts=b"{}", raised_at=place.clock.now))
    page = place.seat(Role.VIEW).get("/money")
    assert page.status_code == 200
    assert kind.value not in shown(page.text)


def test_a_refused_call_of_a_decision_that_stands_can_be_made_anew_once(place: Office) -> None:
    sitting = place.seat()
    number, row = decided(place, sitting)
    with place.db.transaction() as session:  # as if another call of the same decision had been paid
        session.execute(update(Refund).where(Refund.id == row.id).values(state=MoneyState.REFUSED))
    assert "while another one of the same decision stands" in shown(sitting.get("/money").text)

    assert sitting.post(f"/money/{row.id}/again").location == f"{place.path}/money?done=again"
    sitting.get("/money")
    assert sitting.post(f"/money/{row.id}/again").status_code == 409
    place.pay()

    assert len(place.woo.payments()) == 1
    assert place.state(number) is RmaState.RESOLVED
