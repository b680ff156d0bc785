"""How a return stands, and for whom: P10, A35 to A37, A39, A44, M4; money is never shown as paid before it is."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from connector.db import Database
from connector.domain import number as numbers
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, Product, RefundRef, Tender, TenderKind, TenderRef
from connector.domain.platform import Receipt
from connector.domain.rma import Disposition, Move, RmaState
from connector.domain.wanted import Payout
from connector.models import Entry, EntryText, Link, Refund, Resolution, Rma
from connector.services import desk, receipts
from connector.services import links as status_links
from connector.services.desk import Judged, Settlement
from tests.services.acts import at_once, everything
from tests.web.conftest import BASE
from tests.web.shopping import KIM, Front, Shopper, at_once_app, numbered, spent_up
from tests.world import Clock, an_order

NOBODYS = numbers.draw(lambda _below: 7)


@pytest.fixture
def front(app: Flask, database: Database, clock: Clock) -> Front:
    return Front.open(at_once_app(app), database, clock)


@pytest.fixture
def shopper(front: Front) -> Shopper:
    return Shopper(front)


@pytest.fixture
def order(front: Front) -> Order:
    return front.keeps(an_order("1001"))


def received(front: Front, rma: Rma, units: int = 1, line: str = "line-1") -> None:
    with front.world.db.transaction() as session:
        now = front.world.clock.now
        desk.receive(session, rma.id, {LineRef(line): units}, who="dock", now=now)
        desk.inspect(session, rma.id, [Judged(LineRef(line), Disposition.RESTOCK, units)], who="dock", now=now)


def resolved(front: Front, rma: Rma, order: Order, payout: Payout = Payout.ORIGINAL) -> None:
    db, now = front.world.db, front.world.clock.now
    with db.reading() as session:
        total = desk.preview(session, rma.id, order, Settlement(payout=payout, expected=0, form_token="")).total
    choice = Settlement(payout=payout, expected=total, form_token=uuid.uuid4().hex)
    with db.transaction() as session:
        desk.resolve(session, rma.id, order, choice, read_began=now, vault=front.vault, who="sam", now=now)


def settled(front: Front, rma: Rma) -> None:
    with front.world.db.transaction() as session:
        rows = session.execute(select(Refund).join(Resolution, Resolution.id == Refund.resolution_id).where(Resolution.rma_id == rma.id))
        for row in rows.scalars().all():
            if row.parked_because is None:
                receipt = Receipt(RefundRef(f"r-{row.id.hex}"), Money(row.minor, row.currency))
                receipts.settle(session, row.id, receipt, attempt=1, who="machine", now=front.world.clock.now)


def closed(front: Front, rma: Rma, by: Move, why: str = "") -> None:
    with front.world.db.transaction() as session:
        desk.close(session, rma.id, by, who="sam", now=front.world.clock.now, why=why)


def states(front: Front) -> list[RmaState]:
    return [rma.state for rma in front.rmas()]


# --- who may see it


def test_p10_a_visit_a_link_and_the_address_of_the_order_open_it(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)

    assert shopper.get(f"/{rma.number}", visit=shopper.front.visit(order)).status_code == 200
    assert numbers.show(rma.number) in shopper.shown()
    assert shopper.get(f"/{numbers.show(rma.number).lower()}", link=shopper.front.link(rma)).status_code == 200
    assert numbers.show(rma.number) in shopper.shown()
    sent = shopper.post(f"/{rma.number}", {"email": " KIM@example.com"})
    assert sent.status_code == 303
    assert shopper.open(sent.location).status_code == 200
    assert "What comes back" in shopper.shown()


def test_p2_a_return_number_and_the_address_on_the_first_page_lead_to_it(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)

    sent = shopper.find(f"rma {numbers.show(rma.number)}")

    assert sent.location.startswith(shopper.front.path(f"/{rma.number}?visit="))


def test_a35_the_number_alone_shows_nothing_and_does_not_tell_whether_it_exists(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    proofs: list[dict[str, str]] = [
        {},
        {"link": "x"},
        {"link": "é"},
        {"link": "\0"},
        {"link": "x" * 5000},
        {"visit": "x"},
        {"visit": "A" * 5000},
    ]
    proofs.append({"visit": shopper.front.old_visit(order)})

    for proof in proofs:
        mine, nobodys = (shopper.get(f"/{number}", **proof) for number in (rma.number, NOBODYS))
        assert mine.status_code == nobodys.status_code == 200
        assert "Is this return yours?" in mine.text
        assert mine.text.replace(rma.number, "N").replace(numbers.show(rma.number), "S") == nobodys.text.replace(NOBODYS, "N").replace(
            numbers.show(NOBODYS), "S"
        )


def test_a31_a_wrong_address_and_an_unknown_number_are_answered_alike(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)

    mine, nobodys = (shopper.post(f"/{number}", {"email": "noor@example.com"}) for number in (rma.number, NOBODYS))

    assert mine.status_code == nobodys.status_code == 422
    assert mine.text.replace(rma.number, "N").replace(numbers.show(rma.number), "S") == nobodys.text.replace(NOBODYS, "N").replace(
        numbers.show(NOBODYS), "S"
    )


def test_a31_the_status_form_has_the_same_budgets_and_the_same_way_out(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    spent_up(shopper, numbers.show(rma.number).replace("-", ""))

    mailed = shopper.post(f"/{rma.number}", {"email": KIM})
    asked, (_, code) = shopper.fields()["asked"], shopper.front.codes()[0]
    nobodys = shopper.post(f"/{NOBODYS}", {"email": KIM})
    sent = shopper.post("/code", {"asked": asked, "code": code})

    assert (mailed.status_code, nobodys.status_code) == (200, 422)
    assert sent.location.startswith(shopper.front.path(f"/{rma.number}?visit="))


@pytest.mark.parametrize("number", ["favicon.ico", "23456789", "O0I1L000", "../../etc/passwd", "x" * 500, "%00"])
def test_what_was_never_a_number_is_no_page(shopper: Shopper, number: str) -> None:
    assert shopper.client.get(shopper.front.path(f"/{number}"), base_url=BASE).status_code == 404


def test_a35_a_visit_to_another_order_or_shop_and_a_link_to_another_return_open_nothing(
    shopper: Shopper, order: Order, database: Database, clock: Clock
) -> None:
    front = shopper.front
    other_order = front.keeps(numbered("1002"))
    rma, other = shopper.submits(order), shopper.submits(other_order)
    there = Front.open(front.app, database, clock)
    there.keeps(order)

    for proof in ({"visit": front.visit(other_order)}, {"link": front.link(other)}, {"visit": there.visit(order)}):
        shopper.get(f"/{rma.number}", **proof)
        assert "Is this return yours?" in shopper.shown()
        assert shopper.post(f"/{rma.number}/cancel", proof).status_code == 403
    Shopper(there).get(f"/{rma.number}", link=front.link(rma))
    assert states(front) == [RmaState.AUTHORISED] * 2


def test_a36_a_revoked_link_opens_nothing_and_says_why(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    link = shopper.front.link(rma)
    with shopper.front.world.db.transaction() as session:
        status_links.revoke(session, rma.id, now=shopper.front.world.clock.now)

    shopper.get(f"/{rma.number}", link=link)

    assert "This link does not open a return any more" in shopper.shown()


def test_a36_a_link_is_not_burnt_by_who_looks_ahead_and_is_kept_as_a_digest(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    link = shopper.front.link(rma)
    before = everything(shopper.front.world.db)

    for _ in range(3):
        answer = shopper.get(f"/{rma.number}", link=link)
        assert "What comes back" in shopper.shown()
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"

    assert everything(shopper.front.world.db) == before
    with shopper.front.world.db.reading() as session:
        assert link not in [row.digest for row in session.execute(select(Link)).scalars()]


# --- what it says


def test_p10_each_state_says_what_is_next(shopper: Shopper, order: Order) -> None:
    front = shopper.front
    rma = shopper.submits(order, {"line-1": 2})

    def shown() -> str:
        shopper.get(f"/{rma.number}", visit=front.visit(order))
        return shopper.shown()

    page = shown()
    for told in ("Send your parcel by 1 April", "Shirt 1 ×2", "Too small", "You asked for this return", "by 1 April 2026", "Order 1001"):
        assert told in page
    assert "What you receive if all is as you said Refund €19.00" in page
    received(front, rma, 2)
    assert "Your parcel is here, and is being checked" in shown()
    resolved(front, rma, order)
    page = shown()
    assert "Your refund is on its way" in page
    assert "Back to Visa 4242 On its way €19.00" in page
    assert "Confirmed" not in page
    settled(front, rma)
    page = shown()
    assert "Your refund has been made" in page
    assert "Confirmed: €19.00" in page
    assert "You receive €19.00" in page


def test_a_credit_is_shown_with_its_bonus_and_its_code_is_not(shopper: Shopper, order: Order) -> None:
    front = shopper.front
    rma = shopper.submits(order, {"line-1": 2}, wanted="store_credit")
    received(front, rma, 2)
    resolved(front, rma, order, Payout.STORE_CREDIT)
    settled(front, rma)

    shopper.get(f"/{rma.number}", link=front.link(rma))

    assert "Your store credit is ready" in shopper.shown()
    assert "Confirmed: €20.90" in shopper.shown()
    with front.world.db.reading() as session:
        instruction = session.execute(select(Refund.instruction)).scalar_one().decode()
    code = re.search(r'"code":"([^"]+)"', instruction)
    assert code
    assert code[1] not in shopper.page


def test_m4_what_a_person_pays_is_never_shown_as_paid(shopper: Shopper) -> None:
    def tenders(total: int) -> tuple[Tender, ...]:
        cash = Tender(TenderRef("cash"), 1000, kind=TenderKind.MANUAL, title="Cash on delivery", pays_back=False)
        return (Tender(TenderRef("card"), total - 1000, kind=TenderKind.CARD, title="Visa 4242"), cash)

    front, order = shopper.front, shopper.front.keeps(an_order("1001", tenders=tenders))
    rma = shopper.submits(order, {"line-1": 2})
    received(front, rma, 2)
    resolved(front, rma, order)
    settled(front, rma)

    shopper.get(f"/{rma.number}", link=front.link(rma))

    assert "The shop is arranging your payment" in shopper.shown()
    assert "Cash on delivery The shop pays this itself €10.00" in shopper.shown()
    assert "Back to Visa 4242 Confirmed €9.00" in shopper.shown()
    assert "has been made" not in shopper.shown()


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda front, rma: closed(front, rma, Move.CANCEL), "This return was cancelled"),
        (lambda front, rma: closed(front, rma, Move.EXPIRE), "This return has expired"),
    ],
)
def test_p10_what_is_over_says_so_and_offers_nothing(shopper: Shopper, order: Order, act: Callable[[Front, Rma], None], told: str) -> None:
    rma = shopper.submits(order)
    act(shopper.front, rma)

    shopper.get(f"/{rma.number}", link=shopper.front.link(rma))

    assert told in shopper.shown()
    assert "Cancel this return" not in shopper.shown()
    assert "(still to come)" not in shopper.shown()
    assert "What you receive" not in shopper.shown()


def test_a39_a_declined_return_says_why_as_text(shopper: Shopper) -> None:
    order = shopper.front.keeps(an_order("1001", net=30_000))
    rma = shopper.submits(order, {"line-1": 3})
    assert rma.state is RmaState.REQUESTED
    shopper.get(f"/{rma.number}", link=shopper.front.link(rma))
    assert "We are looking at your request" in shopper.shown()
    closed(shopper.front, rma, Move.DECLINE, "Not <b>ours</b>")

    shopper.get(f"/{rma.number}", link=shopper.front.link(rma))

    assert "The shop cannot take this return" in shopper.shown()
    assert "Not &lt;b&gt;ours&lt;/b&gt;" in shopper.page


def test_an_erased_timeline_still_reads_well(shopper: Shopper, order: Order) -> None:
    front = shopper.front
    rma = shopper.submits(order, {"line-1": 2})
    received(front, rma, 2)
    resolved(front, rma, order)
    settled(front, rma)
    with front.world.db.transaction() as session:
        for text in session.execute(select(EntryText).join(Entry, Entry.id == EntryText.entry_id).where(Entry.rma_id == rma.id)).scalars():
            session.delete(text)

    assert shopper.get(f"/{rma.number}", link=front.link(rma)).status_code == 200
    assert "Payment confirmed" in shopper.shown()


def test_staffs_own_entries_are_not_shown(shopper: Shopper, order: Order) -> None:
    front = shopper.front
    rma = shopper.submits(order, {"line-1": 1})
    received(front, rma)

    shopper.get(f"/{rma.number}", link=front.link(rma))

    for hidden in ("dock", "inspected", "policy", "sam"):
        assert hidden not in shopper.shown()


# --- cancelling


def cancels(shopper: Shopper, rma: Rma, form: dict[str, str]) -> int:
    return shopper.post(f"/{rma.number}/cancel", form).status_code


def test_p10_a_shopper_cancels_by_visit_or_by_link(shopper: Shopper, order: Order) -> None:
    front = shopper.front
    proofs: list[Callable[[Rma], dict[str, str]]] = [lambda _rma: {"visit": front.visit(order)}, lambda rma: {"link": front.link(rma)}]
    for proof in proofs:
        rma = shopper.submits(order)
        shopper.get(f"/{rma.number}", **proof(rma))
        sent = shopper.post(f"/{rma.number}/cancel", shopper.fields())
        assert sent.status_code == 303
        assert "This return was cancelled" in shopper.open(sent.location).text
    assert states(front) == [RmaState.CANCELLED] * 2


def test_a37_cancelling_needs_the_proof_and_a_form_of_ours_for_this_return(shopper: Shopper, order: Order) -> None:
    front = shopper.front
    rma, other = shopper.submits(order), shopper.submits(order)
    shopper.get(f"/{other.number}", link=front.link(other))
    others = shopper.fields()["form"]
    shopper.get(f"/{rma.number}", link=front.link(rma))
    form = shopper.fields()

    assert cancels(shopper, rma, {"form": form["form"]}) == 403
    for word in ("", "x", "é", others):
        assert cancels(shopper, rma, form | {"form": word}) == 422
    assert shopper.client.get(front.path(f"/{rma.number}/cancel"), query_string=form, base_url=BASE).status_code == 405
    assert states(front) == [RmaState.AUTHORISED] * 2
    assert cancels(shopper, rma, form) == 303


def test_a_return_that_went_on_meanwhile_is_not_cancelled_and_the_page_says_how_it_stands(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    shopper.get(f"/{rma.number}", link=shopper.front.link(rma))
    form = shopper.fields()
    received(shopper.front, rma)

    assert cancels(shopper, rma, form) == 409
    assert "It could not be cancelled" in shopper.shown()
    assert "Your parcel is here" in shopper.shown()


def test_f14_two_cancellations_at_the_same_instant_are_one(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    shopper.get(f"/{rma.number}", link=shopper.front.link(rma))
    form = shopper.fields()

    came = at_once(*[lambda: cancels(Shopper(shopper.front), rma, form) for _ in range(3)])

    assert sorted(map(str, came)) == ["303", "409", "409"]
    cancelled = [entry for entry in everything(shopper.front.world.db)["timeline"] if entry["what"] == "rma.cancel"]
    assert len(cancelled) == 1


def test_a_visit_that_ended_is_asked_for_the_address_again(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)

    shopper.get(f"/{rma.number}", visit=shopper.front.old_visit(order))

    assert "For your safety a visit ends after half an hour." in shopper.shown()


def test_a_promise_survives_that_its_order_changed(shopper: Shopper, order: Order) -> None:
    rma = shopper.submits(order)
    shopper.front.world.clock.advance(timedelta(minutes=1))
    line = replace(order.lines[0], product=Product(), refunded_quantity=3)
    shopper.front.keeps(replace(order, lines=(line,), refunded=order.total))

    assert shopper.get(f"/{rma.number}", link=shopper.front.link(rma)).status_code == 200
    assert "An item of your order" in shopper.shown()
