"""Money that needs a person: what is known of each payment, and the two honest answers to it.

A machine that cannot know whether it paid does not guess, and neither does this page: it says what is known and since when nothing can
come any more, and takes a person's word for what the shop's books show.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from flask import Blueprint, Response, abort, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain.orders import OrderRef, RefundRef
from connector.domain.rma import MoneyState
from connector.models import ReceiptRow, Refund, Role
from connector.services import alarms, dossier, orders, queues, receipts, refunds
from connector.services.orders import StaleRead
from connector.services.outbox import NeedsAPerson
from connector.services.receipts import NoReference, TooEarly
from connector.web import desk_fresh
from connector.web import desk_seat as seats
from connector.web import forms_desk as forms
from connector.web.desk_fresh import NotFresh
from connector.web.desk_seat import Seat
from connector.web.forms_desk import Wrong
from connector.web.hosting import here

bp = Blueprint("money", __name__)

DONE = frozenset("paid taken unpaid again cleared".split())


@bp.get("/money")
def show(handle: str) -> Response:
    return _page(seats.seated(handle))


@bp.post("/money/<uuid:row>/paid")
def paid(handle: str, row: uuid.UUID) -> Response:
    seat, hosting = seats.acting(handle, Role.MONEY), here()
    name = f"reference-{row.hex}"
    try:
        reference = RefundRef(forms.reference(request.form, name))
        with hosting.database.transaction() as session:
            settled = _take(session, seat, row, reference, now=hosting.database.now(session))
    except NoReference:
        return _page(seat, 422, row=row, problems={name: "shape"})
    except Wrong as wrong:
        return _page(seat, 409 if "" in wrong.problems else 422, row=row, problems=wrong.problems)
    return seat.desk.door.redirect("/money", done="paid" if settled else "taken")


def _take(session: Session, seat: Seat, row: uuid.UUID, reference: RefundRef, *, now: datetime) -> bool:
    """Whether the reference settled the row; another row may have it. Raises `Wrong` where a colleague or the platform answered first."""
    found = _theirs(seat, session.get(Refund, row))
    orders.lock(session, found.shop_id, OrderRef(found.order_ref))
    session.refresh(found)
    if found.state is MoneyState.SETTLED and _said(session, found, reference, seat):
        return True  # the second click of two
    if found.state not in {MoneyState.PARKED, MoneyState.REFUSED}:
        raise Wrong({"": "answered"})
    receipts.answer_paid(session, row, reference, who=seat.member.who, now=now)
    session.flush()
    return session.get_one(Refund, row, populate_existing=True).state is MoneyState.SETTLED


def _said(session: Session, row: Refund, reference: RefundRef, seat: Seat) -> bool:
    """Whether the row is settled by this reference, and by the word of who sits here."""
    word = select(ReceiptRow.id).where(ReceiptRow.refund_id == row.id, ReceiptRow.reference == reference)
    said = session.execute(word.where(ReceiptRow.recorded_by == seat.member.who)).first()
    return row.platform_reference == reference and said is not None


@bp.post("/money/<uuid:row>/unpaid")
def unpaid(handle: str, row: uuid.UUID) -> Response:
    seat, hosting = seats.acting(handle, Role.MONEY), here()
    try:
        with hosting.database.transaction() as session:
            _theirs(seat, session.get(Refund, row))
            answered = receipts.answer_unpaid(session, row, who=seat.member.who, now=hosting.database.now(session))
    except TooEarly as early:
        return _page(seat, 409, row=row, problems={"": "early"}, until=early.until)
    return seat.desk.door.redirect("/money", done="unpaid") if answered else _page(seat, 409, row=row, problems={"": "answered"})


@bp.post("/money/<uuid:row>/again")
def again(handle: str, row: uuid.UUID) -> Response:
    """A call that came to nothing, while another one of its decision was paid: made anew, on the order as it is now."""
    seat, hosting = seats.acting(handle, Role.MONEY), here()
    with hosting.database.reading() as session:
        ref = OrderRef(_theirs(seat, session.get(Refund, row)).order_ref)
    try:
        fresh = desk_fresh.fresh(seat, ref)
        with hosting.database.transaction() as session:
            refunds.again(session, row, fresh.order, read_began=fresh.began, who=seat.member.who, now=hosting.database.now(session))
    except NotFresh as trouble:
        return _page(seat, 409 if trouble.why in {"gone", "refused", "left"} else 503, row=row, problems={"": trouble.why})
    except StaleRead:
        return _page(seat, 409, row=row, problems={"": "away"})
    except NeedsAPerson as question:
        return _page(seat, 409, row=row, problems={"": question.why})
    return seat.desk.door.redirect("/money", done="again")


@bp.post("/money/alarms/<uuid:alarm>")
def clear(handle: str, alarm: uuid.UUID) -> Response:
    seat, hosting = seats.acting(handle, Role.MONEY), here()
    with hosting.database.transaction() as session:
        alarms.clear(session, seat.desk.shop.id, alarm, who=seat.member.who, now=hosting.database.now(session))
    return seat.desk.door.redirect("/money", done="cleared")


def _theirs(seat: Seat, row: Refund | None) -> Refund:
    """The row, of this shop alone (A35)."""
    if row is None or row.shop_id != seat.desk.shop.id:
        abort(404)
    return row


def _page(
    seat: Seat, status: int = 200, *, row: uuid.UUID | None = None, problems: dict[str, str] | None = None, until: datetime | None = None
) -> Response:
    """Every question; beside the one that was answered in vain, why."""
    hosting, shop = here(), seat.desk.shop.id
    with hosting.database.reading() as session:
        now, counts = hosting.database.now(session), queues.counts(session, shop)
        asked = dossier.questions(session, shop, queues.asks_a_person())
        standing = [(alarm, alarms.facts(alarm)) for alarm in alarms.standing(session, shop)]
    done = request.args.get("done", "")
    return seats.page(
        seat,
        "money",
        status,
        calls=asked,
        alarms=standing,
        counts=counts,
        now=now,
        queue="money",
        row=row,
        problems=problems or {},
        until=until,
        typed=forms.typed(request.form),
        done=done if done in DONE and not problems else "",
        MoneyState=MoneyState,
    )
