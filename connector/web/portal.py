"""The shopper's pages: find an order, choose what comes back, see what it gives, and how a return stands.

Nothing is kept about a visit: who was recognised, and everything that they chose, travels in the address of the next page.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from connector.secrets import BadLink
from connector.services import lookup
from connector.services.lookup import CODE_LIVES, Asked
from connector.web import forms_portal as forms
from connector.web import guards, portal_status, portal_steps
from connector.web.hosting import here
from connector.web.portal_pages import CodeMailed, arrive, code_page, page, printable, recognise, words

bp = Blueprint("portal", __name__, url_prefix="/returns/<handle>")
bp.register_blueprint(portal_steps.bp)
bp.register_blueprint(portal_status.bp)


@bp.context_processor
def _words() -> dict[str, Any]:
    return dict(words())


@bp.get("")
@bp.get("/")
def start(handle: str) -> Response:
    return page(guards.hosted(handle), "find", number=printable(request.args.get("order", "")), email="")


@bp.get("/find")
@bp.get("/code")
@bp.get("/submit")
def again(handle: str) -> Response:
    """The addresses of forms, opened from a bookmark or by a restored browser."""
    return guards.hosted(handle).door.redirect("")


@bp.post("/find")
def find(handle: str) -> Response:
    at = guards.hosted(handle)
    guards.from_our_own_page()
    typed = forms.look(request.form)
    wish = lookup.asked(typed.number, typed.email)
    with guards.floor():
        try:
            found = recognise(at, wish)
        except CodeMailed:
            return code_page(at, wish)
        if found is None:
            return page(at, "find", 422, number=printable(typed.number), email=printable(typed.email), missed=True)
        return arrive(at, found, wish)


@bp.post("/code")
def code(handle: str) -> Response:
    at, hosting = guards.hosted(handle), here()
    guards.from_our_own_page()
    typed = forms.look(request.form)
    with guards.floor():
        try:
            values = hosting.vault.unseal("asked", at.shop.id.hex, request.form.get("asked", ""), CODE_LIVES)
        except BadLink:
            return page(at, "find", 422, number="", email="", late=True)
        wish = Asked(values["number"], values["email"])
        with hosting.database.transaction() as session:
            now = hosting.database.now(session)
            found = lookup.redeem(session, at.shop.id, wish, typed.code, vault=hosting.vault, now=now)
        return code_page(at, wish, 422, wrong=True) if found is None else arrive(at, found, wish)
