"""What staff do with a return that moves no money: authorise, decline, cancel, receive, inspect, let the shopper keep it.

A form says what the return looked like when it was made. Where that changed, nothing is done and the return is shown as it is: a
second click, or a colleague's, does nothing twice. The second click of who counted a parcel is told what the first one did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from flask import Blueprint, Response, abort, request
from sqlalchemy.orm import Session

from connector.domain.orders import LineRef
from connector.domain.rma import Disposition, IllegalMove, Move
from connector.models import Rma, Role
from connector.services import desk, dossier, returnless, rmas
from connector.services.rmas import NotEnoughUnits
from connector.web import desk_case
from connector.web import desk_seat as seats
from connector.web import forms_desk as forms
from connector.web.desk_seat import Seat
from connector.web.forms_desk import Wrong
from connector.web.hosting import here

bp = Blueprint("act", __name__)

Act: TypeAlias = Callable[[Session, Rma, str, datetime], None]


class Changed(Exception):
    """The return is not what it was when the form was made."""


class Repeated(Exception):
    """It is what this very form made of it."""


@bp.get("/<number>")
def show(handle: str, number: str) -> Response:
    seat = seats.seated(handle)
    return desk_case.show(seat, desk_case.number_of(number))


@bp.post("/<number>/<any(authorise, decline, cancel, receive, inspect, waive):act>")
def act(handle: str, number: str, act: str) -> Response:
    seat, hosting = seats.acting(handle, Role.HANDLE), here()
    number = desk_case.number_of(number)
    try:
        with hosting.database.transaction() as session:
            rma = _unchanged(session, seat, number, act)
            _ACTS[act](session, rma, seat.member.who, hosting.database.now(session))
    except Wrong as wrong:
        return desk_case.show(seat, number, 422, act=act, problems=wrong.problems)
    except (Changed, IllegalMove, NotEnoughUnits):
        return desk_case.show(seat, number, 409, notice="changed")
    except Repeated:
        return seat.desk.door.redirect(f"/{number}", done=_DONE[act])
    return seat.desk.door.redirect(f"/{number}", done=_DONE[act])


def _unchanged(session: Session, seat: Seat, number: str, act: str) -> Rma:
    """The return, locked, if it is what the form was made for. Raises `Changed`, `Repeated`; 404 where the shop has none of this number."""
    rma = dossier.locked(session, seat.desk.shop.id, number)
    if rma is None:
        abort(404)
    if dossier.stamp(session, rma) != request.form.get("seen", ""):
        raise Repeated if act == "receive" and dossier.counted_by(session, rma, _sent()) else Changed
    return rma


def _sent() -> str:
    """This very form, with all that was typed into it: its word makes it one of its kind."""
    return hashlib.sha256(json.dumps(sorted(request.form.items(multi=True))).encode()).hexdigest()[:32]


def _authorise(session: Session, rma: Rma, who: str, now: datetime) -> None:
    desk.authorise(session, rma.id, who=who, now=now)


def _decline(session: Session, rma: Rma, who: str, now: datetime) -> None:
    desk.close(session, rma.id, Move.DECLINE, who=who, now=now, why=forms.why(request.form))


def _cancel(session: Session, rma: Rma, who: str, now: datetime) -> None:
    desk.close(session, rma.id, Move.CANCEL, who=who, now=now)


def _receive(session: Session, rma: Rma, who: str, now: datetime) -> None:
    arrived = forms.arrived(request.form, _units(session, rma, Disposition.AWAITED))
    desk.receive(session, rma.id, arrived, who=who, now=now, form=_sent())


def _inspect(session: Session, rma: Rma, who: str, now: datetime) -> None:
    judged = forms.judged(request.form, _units(session, rma, Disposition.RECEIVED))
    desk.inspect(session, rma.id, judged, who=who, now=now)


def _waive(session: Session, rma: Rma, who: str, now: datetime) -> None:
    returnless.waive(session, rma.id, who=who, now=now)


def _units(session: Session, rma: Rma, disposition: Disposition) -> Mapping[LineRef, int]:
    return {ref: by.get(disposition, 0) for ref, by in rmas.units(session, rma.id).items()}


_ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {"authorise": _authorise, "decline": _decline, "cancel": _cancel, "receive": _receive, "inspect": _inspect, "waive": _waive}
)
_DONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "authorise": "authorised",
        "decline": "declined",
        "cancel": "cancelled",
        "receive": "received",
        "inspect": "inspected",
        "waive": "waived",
    }
)
