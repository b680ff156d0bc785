"""From an order to a return in four steps, each the address of what was chosen so far: items, reasons, resolution, review."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, abort, request
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from connector import links
from connector.domain.orders import Order
from connector.domain.platform import Contact
from connector.domain.policy import Outcome
from connector.domain.quote import Quote
from connector.formats import LOCALE
from connector.secrets import BadLink
from connector.services import asking, pricing, returnable
from connector.services.asking import AmountChanged, Form, FormUsed, NotReturnable, OrderGone
from connector.services.policies import NoPolicy
from connector.services.pricing import Prospect
from connector.services.returnable import Shelf
from connector.web import forms_portal as forms
from connector.web import guards, sums
from connector.web.forms_portal import Choices
from connector.web.hosting import here
from connector.web.portal_pages import Visiting, page, visit_to, visiting, with_pictures, words

# What a shopper may say where the merchant's policy lists nothing.
REASONS: Final = ("too_small", "too_large", "changed_mind", "defective", "damaged", "wrong_item", "not_as_described", "late", "other")

log = logging.getLogger(__name__)
bp = Blueprint("steps", __name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A visit's order beside what was chosen of it; `prospect` what that gives, once there are reasons."""

    seen: Visiting
    shelf: Shelf
    choices: Choices
    prospect: Prospect | None = None

    @property
    def order(self) -> Order:
        return self.shelf.order

    @property
    def reasons(self) -> tuple[str, ...]:
        return self.shelf.policy.reasons or REASONS


@bp.get("/items")
def items(handle: str) -> Response:
    return _items(_stage(handle, request.args))


@bp.get("/reasons")
def reasons(handle: str) -> Response:
    stage = _stage(handle, request.args)
    return _unready(stage, "reasons") or _reasons(stage)


@bp.get("/resolution")
def resolution(handle: str) -> Response:
    stage = _stage(handle, request.args)
    return _unready(stage, "resolution") or _resolution(stage)


@bp.get("/review")
def review(handle: str) -> Response:
    stage = _stage(handle, request.args)
    return _unready(stage, "review") or _review(stage)


@bp.post("/submit")
def submit(handle: str) -> Response:
    guards.from_our_own_page()
    seen, sent, hosting = visiting(handle, request.form), forms.choices(request.form), here()
    said = forms.said(request.form)
    token = _opened(seen, request.form.get("form", ""))
    if token is None or token["of"] != _digest(sent) or sent.wanted is None:
        return _again(handle, said, notice="old")
    if len(said) > forms.LONGEST_SAID:
        return _again(handle, said, notice="long")
    total, bonus = (int(minor) for minor in token["shown"].split())
    form = Form(word=token["word"], claims=sent.claims, wanted=sent.wanted, shown=(total, bonus), said=said)
    try:
        with hosting.database.transaction() as session:
            now = hosting.database.now(session)
            contact = Contact(seen.visit.email, "", LOCALE)
            rma = asking.submit(session, seen.at.shop, seen.visit.order, form, contact, vault=hosting.vault, now=now)
    except AmountChanged as changed:
        return _again(handle, said, notice="amount", shown=sum(changed.shown))
    except NotReturnable:
        return _again(handle, said, notice="refused")
    except FormUsed:
        return _again(handle, said, notice="old")
    except (OrderGone, NoPolicy):
        return page(seen.at, "closed", 409)
    log.info("portal.submitted", extra={"shop": seen.at.shop.id.hex, "rma": rma.id.hex, "state": rma.state.value})
    return seen.at.door.redirect(f"/{rma.number}", visit=visit_to(seen.at, seen.visit.order, seen.visit.email))


# ── How far a visit is ──────────────────────────────────────────────────────────────────────────────────────────────


def _stage(handle: str, sent: MultiDict[str, str]) -> Stage:
    """The visit, its order as we keep it, and what it gives: no store is asked while a page waits."""
    seen, choices, hosting = visiting(handle, sent), forms.choices(sent), here()
    try:
        with hosting.database.reading() as session:
            now = hosting.database.now(session)
            shelf = returnable.look(session, seen.at.shop, seen.visit.order, now=now)
            if shelf is None:
                abort(page(seen.at, "closed", 409))
            stage = Stage(seen, shelf, choices.known(shelf.policy.reasons or REASONS))
            return _priced(session, stage)
    except NoPolicy:
        abort(page(seen.at, "closed", 409))


def _priced(session: Session, stage: Stage) -> Stage:
    if _of_items(stage) or any(not line.reason for line in stage.choices.lines):
        return stage
    now = here().database.now(session)
    prospect = pricing.prospect(session, stage.seen.at.shop, stage.order, stage.choices.claims, now=now)
    return Stage(stage.seen, stage.shelf, stage.choices, prospect)


def _unready(stage: Stage, step: str) -> Response | None:
    """The first page at which something is missing for this step, saying what; None: the step may be shown."""
    if problems := _of_items(stage):
        return _items(stage, problems, 422)
    if step == "reasons":
        return None
    if missing := {str(line.line): "reason" for line in stage.choices.lines if not line.reason}:
        return _reasons(stage, missing, 422)
    if stage.prospect is None or stage.prospect.decision.outcome is Outcome.REFUSE:
        return _items(stage, {"": "refused"}, 422)
    if step == "review" and asking.chosen(stage.prospect, stage.choices.wanted) is None:
        return _resolution(stage, 422)
    return None


def _of_items(stage: Stage) -> Mapping[str, str]:
    """What is wrong with the chosen items, by line: a code; the empty name stands for the page."""
    shelf, chosen = stage.shelf, stage.choices
    found = {ref: "malformed" if any(each.line.id == ref for each in shelf.lines) else "strange" for ref in sorted(chosen.malformed)}
    for line in chosen.lines:
        there = shelf.line(line.line)
        if there is None:
            found[""] = "strange"
        elif line.quantity > there.free:
            found[line.line] = "more" if there.free else "gone"
    if strange := {ref for ref, code in found.items() if code == "strange"}:
        found = {ref: code for ref, code in found.items() if ref not in strange} | {"": "strange"}
    return found or ({} if chosen.lines else {"": "nothing"})


# ── The pages ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _items(stage: Stage, problems: Mapping[str, str] | None = None, status: int = 200) -> Response:
    lines = stage.shelf.lines
    kept = {str(line.line): line.quantity for line in stage.choices.lines}
    answer = _page(stage, "items", status, problems=problems or {}, kept=kept, any_free=any(line.free for line in lines))
    return with_pictures(answer, (line.line.product.image for line in lines))


def _reasons(stage: Stage, problems: Mapping[str, str] | None = None, status: int = 200) -> Response:
    answer = _page(stage, "reasons", status, problems=problems or {}, reasons=stage.reasons, conditions=forms.CONDITIONS)
    return with_pictures(answer, (line.line.product.image for line in stage.shelf.lines))


def _resolution(stage: Stage, status: int = 200) -> Response:
    prospect = _prospect(stage)
    offers = [(each, _sum(stage, each.quote) if isinstance(each.quote, Quote) else None) for each in prospect.offers]
    open_offers = [each.resolution for each, amount in offers if amount is not None]
    chosen = stage.choices.wanted if stage.choices.wanted in open_offers else None
    picked = chosen or (open_offers[0] if len(open_offers) == 1 else None)
    return _page(stage, "resolution", status, offers=offers, picked=picked, possible=bool(open_offers))


def _review(stage: Stage, status: int = 200, *, said: str = "", notice: str = "", shown: int = 0) -> Response:
    quote = asking.chosen(_prospect(stage), stage.choices.wanted)
    if quote is None:
        return _resolution(stage, 422)
    form = _form(stage, quote)
    answer = _page(stage, "review", status, sum=_sum(stage, quote), form=form, said=said, notice=notice, shown=shown)
    return with_pictures(answer, (line.line.product.image for line in stage.shelf.lines))


def _again(handle: str, said: str, *, notice: str, shown: int = 0) -> Response:
    """The review as it is now, after a submit that came to nothing; or the page before it at which something is missing by now."""
    stage = _stage(handle, request.form)
    return _unready(stage, "review") or _review(stage, 422, said=said, notice=notice, shown=shown)


def _page(stage: Stage, name: str, status: int, **values: object) -> Response:
    person = stage.prospect is not None and stage.prospect.decision.outcome is Outcome.PERSON
    zone = stage.seen.zone
    placed = stage.order.placed_at.astimezone(zone).date() if stage.order.placed_at else None
    told = {"shelf": stage.shelf, "order": stage.order, "choices": stage.choices, "placed": placed, "person": person}
    return page(stage.seen.at, name, status, door=stage.seen.door, **told, **words(zone), **values)


def _prospect(stage: Stage) -> Prospect:
    assert stage.prospect is not None  # noqa: S101 - `_unready` asked before
    return stage.prospect


def _sum(stage: Stage, quote: Quote) -> sums.Sum:
    return sums.of_quote(quote, stage.order, _prospect(stage).decision)


# ── The form of the last page ───────────────────────────────────────────────────────────────────────────────────────


def _form(stage: Stage, quote: Quote) -> str:
    """What makes a double click one return, holds the amount that is shown, and belongs to these choices alone (A37, A38)."""
    values = {
        "word": secrets.token_urlsafe(16),
        "order": stage.seen.visit.order,
        "of": _digest(stage.choices),
        "shown": f"{quote.total} {quote.bonus}",
    }
    return here().vault.seal("return-form", stage.seen.at.shop.id.hex, values)


def _opened(seen: Visiting, token: str) -> Mapping[str, str] | None:
    """The values of a form of ours for this visit's order; None: it is another's, or was open for too long."""
    try:
        values = here().vault.unseal("return-form", seen.at.shop.id.hex, token, links.VISIT_LIVES)
    except BadLink:
        return None
    return values if values["order"] == seen.visit.order else None


def _digest(choices: Choices) -> str:
    return here().vault.digest("choices", json.dumps(sorted(choices.query().items())))
