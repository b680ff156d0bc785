"""The desk's third door: a link by mail, good once. Finishing an installation opens nothing here."""

from __future__ import annotations

from flask import Blueprint, Response, request

from connector.models import Role
from connector.services import staff
from connector.web import desk_seat as seats
from connector.web import forms_desk as forms
from connector.web import guards
from connector.web.hosting import here

bp = Blueprint("enter", __name__)


@bp.post("")
@bp.post("/")
def ask(handle: str) -> Response:
    """Whoever asks, whatever they type, hears the same after the same time (A31)."""
    at, hosting = seats.desk(handle), here()
    guards.from_our_own_page()
    email = forms.email(request.form)
    if not staff.address(email):
        return seats.entrance(at, 422, problem="email", email=forms.printable(email))
    with guards.floor(guards.STAFF), hosting.database.transaction() as session:
        now = hosting.database.now(session)
        staff.ask(session, at.shop.id, email, guards.network(), vault=hosting.vault, now=now)
    return seats.entrance(at, notice="sent", email="")


@bp.get("/enter")
def show(handle: str) -> Response:
    """A button, and nothing else: scanners of mail follow links, and press nothing (A36)."""
    at = seats.desk(handle)
    return seats.entrance(at, notice="link", link=request.args.get("link", ""))


@bp.post("/enter")
def enter(handle: str) -> Response:
    at, hosting = seats.desk(handle), here()
    guards.from_our_own_page()
    secret = forms.secret(request.form)
    with hosting.database.transaction() as session:
        member = staff.redeem(session, at.shop.id, secret, vault=hosting.vault, now=hosting.database.now(session))
    if member is not None and member.visit is not None:
        return seats.remember(at, at.door.redirect(""), member.visit)
    if seats.visitor(at) is not None:  # the link's second tab
        return at.door.redirect("")
    return seats.entrance(at, 410, notice="old")


@bp.post("/leave")
def leave(handle: str) -> Response:
    seat, hosting = seats.acting(handle, Role.VIEW), here()
    assert seat.member.visit is not None  # noqa: S101 - typing only
    with hosting.database.transaction() as session:
        staff.leave(session, seat.member.visit, now=hosting.database.now(session))
    return seats.forget(seat.desk, seats.entrance(seat.desk, notice="left"))
