"""Who sits at a shop's desk: read anew at every request, from a cookie that names a visit and nothing else."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from flask import Response, abort, make_response, render_template, request

from connector import formats, links
from connector.domain import number as numbers
from connector.domain.money import decimals
from connector.domain.narrate import sentence
from connector.domain.steps import Step
from connector.models import Role, ShopStatus
from connector.secrets import BadLink
from connector.services import shops, staff
from connector.services.shops import ShopKeys, keys_of
from connector.services.staff import VISIT_LIVES, Member
from connector.web import guards
from connector.web.doors import Door
from connector.web.hosting import here
from connector.web.portal_pages import picture

_HANDLE: Final = re.compile(r"[a-z0-9-]{1,80}", re.ASCII)
_SIGNED_FOR: Final = VISIT_LIVES + timedelta(hours=1)  # the database's clock ends a visit; this only bounds the signature


@dataclass(frozen=True, slots=True)
class Desk:
    """A shop's desk, whoever comes to it."""

    shop: ShopKeys
    handle: str
    name: str
    status: ShopStatus
    door: Door

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.shop.time_zone)


@dataclass(frozen=True, slots=True)
class Seat:
    """A member of staff at their desk. `word` proves that a form is of this visit; it is also one form's own (A37)."""

    desk: Desk
    member: Member
    word: str = field(repr=False)

    def may(self, role: Role) -> bool:
        """Whether they may do what needs `role`. Nothing is done for a shop that left."""
        return self.member.role.may(role) and (self.desk.status is not ShopStatus.UNINSTALLED or role is Role.VIEW)


def desk(handle: str) -> Desk:
    """The desk at this address; 404 where there is none."""
    if not _HANDLE.fullmatch(handle):
        abort(404)
    with here().database.reading() as session:
        row = shops.at(session, handle)
        if row is None:
            abort(404)
        return Desk(keys_of(session, row.id), handle, shops.called(row), row.status, here().door.within(links.desk(handle)))


def seated(handle: str) -> Seat:
    """Who is here. Anybody else is sent to the entrance, which tells nothing about what they asked for."""
    at = desk(handle)
    member = visitor(at)
    if member is None:
        abort(at.door.redirect(""))
    return Seat(at, member, _word(member))


def acting(handle: str, role: Role) -> Seat:
    """Who sends this form: of their own visit, from a page of ours, and with the role that it needs; else 403, and nothing is done."""
    at = desk(handle)
    guards.from_our_own_page()
    member = visitor(at)
    if member is None:
        abort(entrance(at, 403, notice="gone"))
    if not _is_theirs(member, request.form.get("word", "")) or not Seat(at, member, "").may(role):
        abort(403)
    return Seat(at, member, _word(member))


def visitor(at: Desk) -> Member | None:
    """Who the cookie says, if the visit goes on and they still work here."""
    hosting = here()
    try:
        values = hosting.vault.read("desk", request.cookies.get(_cookie(at), ""), _SIGNED_FOR)
        visit = uuid.UUID(hex=values.get("visit", ""))
    except (BadLink, ValueError):
        return None
    with hosting.database.reading() as session:
        return staff.visiting(session, at.shop.id, visit, vault=hosting.vault, now=hosting.database.now(session))


def remember(at: Desk, answer: Response, visit: uuid.UUID) -> Response:
    """The answer, with the cookie of a visit that began."""
    token = here().vault.sign("desk", {"visit": visit.hex})
    secure = here().door.secure
    answer.set_cookie(_cookie(at), token, max_age=VISIT_LIVES, secure=secure, httponly=True, samesite="Lax", path="/")
    return answer


def forget(at: Desk, answer: Response) -> Response:
    """The answer, without it."""
    answer.delete_cookie(_cookie(at), secure=here().door.secure, httponly=True, samesite="Lax", path="/")
    return answer


def used_word() -> str:
    """The word of the form that was sent, which `acting` found to be ours: it makes a double click one."""
    return here().vault.read("desk-form", request.form.get("word", ""), _SIGNED_FOR)["form"]


def page(seat: Seat, name: str, status: int = 200, **values: object) -> Response:
    """A page of the desk for who sits there."""
    return make_response(render_template(f"desk/{name}.html", seat=seat, **shown(seat.desk), **values), status)


def entrance(at: Desk, status: int = 200, **values: object) -> Response:
    """The page that asks who comes."""
    more = {"notice": "", "email": "", "problem": ""} | values
    return make_response(render_template("desk/enter.html", seat=None, mails=bool(here().settings.smtp_url), **shown(at), **more), status)


def shown(at: Desk) -> dict[str, object]:
    """What every template of the desk speaks with."""
    return {
        "desk": at,
        "door": at.door,
        "money": formats.amount,
        "day": formats.day,
        "moment": partial(formats.moment, zone=at.zone),
        "number": numbers.show,
        "date": date.fromisoformat,
        "step": _step,
        "picture": picture,
        "Role": Role,
        "portal": here().door.within("").url(links.portal(at.handle)),
    }


def _step(one: Step, currency: str, names: Mapping[str, str]) -> str:
    """One step of the arithmetic, with what its parts are called."""
    facts = tuple((name, names.get(f"tender:{fact}" if name == "tender" else str(fact), fact)) for name, fact in one.facts)
    return sentence(replace(one, facts=facts), decimals(currency))


def _cookie(at: Desk) -> str:
    """One for each desk, so that a member of staff of two shops may sit at both."""
    return f"{'__Host-' if here().door.secure else ''}retour-desk-{at.handle}"


def _word(member: Member) -> str:
    assert member.visit is not None  # noqa: S101 - typing only
    return here().vault.sign("desk-form", {"visit": member.visit.hex, "form": secrets.token_urlsafe(16)})


def _is_theirs(member: Member, word: str) -> bool:
    try:
        visit = here().vault.read("desk-form", word, _SIGNED_FOR).get("visit", "")
    except BadLink:
        return False
    return member.visit is not None and secrets.compare_digest(visit, member.visit.hex)
