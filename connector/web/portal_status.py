"""How a return stands: for whoever holds its link or a visit to its order, and for nobody by its number alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, request
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from connector.domain import number as numbers
from connector.domain.rma import IllegalMove, Move
from connector.models import Rma
from connector.secrets import BadLink, ExpiredLink
from connector.services import casefile, desk, links, lookup
from connector.services.casefile import Casefile
from connector.web import forms_portal as forms
from connector.web import guards, sums
from connector.web.doors import Door
from connector.web.guards import Hosted
from connector.web.hosting import here
from connector.web.portal_pages import CodeMailed, arrive, code_page, page, printable, recognise, with_pictures, words

_FORM_LIVES: Final = timedelta(days=1)
_LONGEST_SECRET: Final = 100

log = logging.getLogger(__name__)
bp = Blueprint("status", __name__)


@dataclass(frozen=True, slots=True)
class Proof:
    """The return that a request may see, and the door whose addresses take the proof along. `stale`: why what it brought proves nothing."""

    rma: Rma | None
    door: Door
    stale: str = ""


@bp.get("/<number>")
def show(handle: str, number: str) -> Response:
    at, number = guards.hosted(handle), _number(number)
    with here().database.reading() as session:
        proof = _proof(session, at, number, request.args)
        if proof.rma is None:
            return page(at, "whose", number=number, notice=proof.stale)
        file = casefile.read(session, proof.rma)
    return _status(at, proof.door, file)


@bp.post("/<number>")
def prove(handle: str, number: str) -> Response:
    at, number = guards.hosted(handle), _number(number)
    guards.from_our_own_page()
    typed = forms.look(request.form)
    wish = lookup.asked(number, typed.email)
    with guards.floor():
        try:
            found = recognise(at, wish)
        except CodeMailed:
            return code_page(at, wish)
        if found is None or found.rma != number:
            return page(at, "whose", 422, number=number, notice="missed", email=printable(typed.email))
        return arrive(at, found, wish)


@bp.post("/<number>/cancel")
def cancel(handle: str, number: str) -> Response:
    at, number, hosting = guards.hosted(handle), _number(number), here()
    guards.from_our_own_page()
    try:
        with hosting.database.transaction() as session:
            proof = _proof(session, at, number, request.form)
            if proof.rma is None:
                return page(at, "whose", 403, number=number, notice=proof.stale)
            if not _signed(proof.rma, request.form.get("form", "")):
                return _status(at, proof.door, casefile.read(session, proof.rma), 422, notice="old")
            desk.close(session, proof.rma.id, Move.CANCEL, who="shopper", now=hosting.database.now(session))
    except IllegalMove:  # it was cancelled a moment ago, or it is too late for it: the page says which
        with hosting.database.reading() as session:
            proof = _proof(session, at, number, request.form)
            if proof.rma is None:
                abort(404)
            return _status(at, proof.door, casefile.read(session, proof.rma), 409, notice="late")
    log.info("portal.cancelled", extra={"shop": at.shop.id.hex, "rma": proof.rma.id.hex})
    return proof.door.redirect(f"/{number}")


def _number(text: str) -> str:
    """The number as it is kept; 404 for what was never one."""
    number = numbers.read(text)
    if number is None:
        abort(404)
    return number


def _proof(session: Session, at: Hosted, number: str, sent: MultiDict[str, str]) -> Proof:
    """Whether a visit or a link of the request opens this number. Which of them failed, and whether the number exists, is not told."""
    hosting = here()
    token, secret = sent.get("visit", ""), sent.get("link", "")
    if secret:
        fits = secret.isascii() and secret.isprintable() and len(secret) <= _LONGEST_SECRET
        rma = links.behind(session, at.shop.id, number, secret, vault=hosting.vault) if fits else None
        return Proof(rma, replace(at.door, carried={"link": secret}), "" if rma else "link")
    if not token:
        return Proof(None, at.door)
    try:
        visit = guards.visit(at, token)
    except ExpiredLink:
        return Proof(None, at.door, "ended")
    except BadLink:
        return Proof(None, at.door, "link")
    rma = casefile.of_number(session, at.shop.id, number)
    mine = rma if rma is not None and rma.order_ref == visit.order else None
    return Proof(mine, replace(at.door, carried={"visit": token}), "" if mine else "link")


def _signed(rma: Rma, token: str) -> bool:
    """Whether the form is ours, for this return (A37)."""
    try:
        return here().vault.read("cancel", token, _FORM_LIVES).get("rma") == rma.id.hex
    except BadLink:
        return False


def _status(at: Hosted, door: Door, file: Casefile, status: int = 200, *, notice: str = "") -> Response:
    quote = file.decided.quote if file.decided else file.promised
    form = here().vault.sign("cancel", {"rma": file.id.hex}) if file.may_cancel else ""
    amount = sums.of_quote(quote, file.order, file.decision) if quote else None
    told = words(ZoneInfo(at.shop.time_zone))
    answer = page(at, "status", status, door=door, file=file, sum=amount, form=form, notice=notice, **told)
    return with_pictures(answer, (item.product.image for item in file.items))
