"""What the shopper's pages share: how one is made, who may see it, and what a look-up comes to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from flask import Response, abort, make_response, render_template
from werkzeug.datastructures import MultiDict

from connector import formats, links
from connector.domain import number as numbers
from connector.domain.orders import OrderRef
from connector.links import Visit
from connector.secrets import BadLink, ExpiredLink
from connector.services import budgets, lookup, shops
from connector.services.lookup import Asked, Found
from connector.web import doors, guards
from connector.web.doors import Door
from connector.web.guards import Hosted
from connector.web.hosting import here

LONGEST_TYPED: Final = 100  # characters of what is shown again
_MOST_SOURCES: Final = 8
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Visiting:
    """A guest whose visit is good, and the door whose addresses take it along."""

    at: Hosted
    visit: Visit
    door: Door

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.at.shop.time_zone)


def page(at: Hosted, name: str, status: int = 200, *, door: Door | None = None, **values: object) -> Response:
    """A page of this shop."""
    shown = {"shop": shops.called(at.shop), "home": at.door, "door": door or at.door}
    return make_response(render_template(f"portal/{name}.html", **shown, **values), status)


def with_pictures(answer: Response, images: Iterable[str]) -> Response:
    """The page, which may load these pictures from where the shop keeps them."""
    sources = dict.fromkeys(source for image in images if (source := _source(image)))
    return doors.loosened(answer, images=tuple(sources)[:_MOST_SOURCES])


def picture(image: str) -> str:
    """The address of a picture that a page may show; empty: none."""
    return image if _source(image) else ""


def words(zone: ZoneInfo | None = None) -> Mapping[str, Any]:
    """What templates say amounts, days and numbers with."""

    def moment(at: datetime) -> str:
        return formats.moment(at, zone or ZoneInfo("UTC"))

    return {"money": _money, "day": formats.day, "moment": moment, "short_day": short_day, "spaced": numbers.show, "picture": picture}


def short_day(on: date) -> str:
    """`2 December`: where the year goes without saying."""
    return formats.day(on).rsplit(" ", 1)[0]


def visiting(handle: str, sent: MultiDict[str, str]) -> Visiting:
    """Whose visit the request carries; else the page that says why not and leads back to the start, the number kept."""
    at = guards.hosted(handle)
    token, number = sent.get("visit", ""), printable(sent.get("order", ""))
    try:
        visit = guards.visit(at, token)
    except ExpiredLink:
        abort(page(at, "ended", 410, number=number, ended=True))
    except BadLink:
        abort(page(at, "ended", 403, number=number, ended=False))
    carried = {"order": number, "visit": token} if number else {"visit": token}
    return Visiting(at, visit, at.door.within(at.door.inside, **carried))


def printable(text: str) -> str:
    """What was typed, fit to be shown again."""
    return "".join(sign for sign in text if sign.isprintable()).strip()[:LONGEST_TYPED]


# ── Look-ups ────────────────────────────────────────────────────────────────────────────────────────────────────────


class CodeMailed(Exception):
    """A budget is used up: whatever was typed, a code went to the address that it belongs to, if there is one."""


def recognise(at: Hosted, wish: Asked) -> Found | None:
    """What was typed rightly. Only a miss costs anything. Raises `CodeMailed`."""
    hosting = here()
    limits = lookup.allowances(at.shop.id, wish, guards.network(), vault=hosting.vault)
    with hosting.database.reading() as session:
        limited = budgets.used_up(session, limits, now=hosting.database.now(session))
        found = lookup.find(session, at.shop.id, wish, vault=hosting.vault)
    if limited:
        with hosting.database.transaction() as session:  # also where there is nobody to write to: the answers are alike
            lookup.send_code(session, at.shop.id, wish, vault=hosting.vault, now=hosting.database.now(session))
        raise CodeMailed
    if found is None:
        with hosting.database.transaction() as session:
            budgets.spend(session, limits, now=hosting.database.now(session))
    return found


def arrive(at: Hosted, found: Found, wish: Asked) -> Response:
    """Where somebody goes who proved who they are: to their return, their order, or the choice between several of one number."""
    tokens = [(order, visit_to(at, order.ref, wish.email)) for order in found.orders]
    order, token = tokens[0]
    if found.rma is not None:
        return at.door.redirect(f"/{found.rma}", visit=token)
    if len(tokens) == 1:
        return at.door.redirect("/items", order=order.number, visit=token)
    zone = ZoneInfo(at.shop.time_zone)
    return page(at, "several", found=tokens, **words(zone))


def visit_to(at: Hosted, ref: OrderRef, email: str) -> str:
    """A fresh visit, good for half an hour."""
    return links.seal_visit(here().vault, at.shop.id, Visit(ref, email))


def code_page(at: Hosted, wish: Asked, status: int = 200, *, wrong: bool = False) -> Response:
    """Where the mailed code is typed. It looks the same whether one was mailed or not."""
    values = {"number": wish.number, "email": wish.email}
    return page(at, "code", status, asked=here().vault.seal("asked", at.shop.id.hex, values), wrong=wrong)


def _money(minor: int, currency: str) -> str:
    return formats.amount(minor, currency).replace("-", "−")


def _source(image: str) -> str:
    """Where a picture lies, as a source of the policy; empty: nowhere that a page may load from."""
    try:
        parts = urlsplit(image)
        fits = _HOST.fullmatch(parts.netloc) is not None and parts.port != 0
    except ValueError:
        return ""
    schemes = {"https", "http"} if here().settings.dev else {"https"}
    return f"{parts.scheme}://{parts.netloc}" if fits and parts.scheme in schemes else ""
