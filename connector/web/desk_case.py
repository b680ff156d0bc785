"""One return in full: the page that everything is done from, and that every act comes back to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from flask import Response, abort, request

from connector.domain import number as numbers
from connector.domain.policy import Decision, Finding, Outcome
from connector.domain.rma import Disposition, Move, RmaState, open_to
from connector.services import casefile, dossier, queues
from connector.services.dossier import Dossier
from connector.web import desk_seat as seats
from connector.web import forms_desk as forms
from connector.web.desk_seat import Seat
from connector.web.forms_desk import Typed
from connector.web.hosting import here
from connector.web.portal_pages import with_pictures

# What an act may say of itself, in the address of the page that it leads to, and the state that it leads to: a page that was opened from a
# bookmark, or that a colleague overtook, says nothing that is not so.
DONE: Final = MappingProxyType(
    {
        "authorised": RmaState.AUTHORISED,
        "declined": RmaState.DECLINED,
        "cancelled": RmaState.CANCELLED,
        "received": RmaState.RECEIVED,
        "inspected": RmaState.RECEIVED,
        "waived": RmaState.RECEIVED,
        "asked": RmaState.RECEIVED,
        "resolved": RmaState.RESOLVED,
        "booked": RmaState.RESOLVED,
    }
)


def number_of(text: str) -> str:
    """A return's number from an address; 404 where it is none."""
    found = numbers.read(text)
    if found is None:
        abort(404)
    return found


def find(seat: Seat, number: str) -> Dossier:
    """The return's dossier, of this shop alone (A35); 404 where it has none of this number."""
    hosting = here()
    with hosting.database.reading() as session:
        rma = casefile.of_number(session, seat.desk.shop.id, number)
        if rma is None:
            abort(404)
        return dossier.read(session, rma, vault=hosting.vault, now=hosting.database.now(session))


def show(
    seat: Seat, number: str, status: int = 200, *, act: str = "", problems: Mapping[str, str] | None = None, notice: str = ""
) -> Response:
    """The page of a return; after an act that came to nothing with what was typed, and why."""
    found = find(seat, number)
    case = found.case
    done = request.args.get("done", "")
    page = seats.page(
        seat,
        "case",
        status,
        found=found,
        case=case,
        moves={move.value for move in _offered(found)},
        deciding=queues.deciding(case.decision),
        checks=checks(case.decision),
        quote=case.decided.quote if case.decided else case.promised,
        queue=_queue(found),
        done=done if DONE.get(done) is case.state and not (act or notice) else "",
        act=act,
        problems=problems or {},
        notice=notice,
        typed=forms.typed(request.form) if act else Typed(),
        names=names(found),
        verdicts=forms.VERDICTS,
        Outcome=Outcome,
        Disposition=Disposition,
        RmaState=RmaState,
    )
    return with_pictures(page, [item.product.image for item in case.items])


def names(found: Dossier) -> Mapping[str, str]:
    """What the parts of a quote are called."""
    order = found.case.order
    if order is None:
        return {}
    lines = {f"line:{line.id}": ", ".join(filter(None, (line.product.title, line.product.variant))) for line in order.lines}
    charges = {f"shipping:{charge.id}": charge.title for charge in order.shipping} | {
        f"fee:{charge.id}": charge.title for charge in order.fees
    }
    return lines | charges | {f"tender:{tender.id}": tender.title or tender.kind.value for tender in order.tenders}


def checks(decision: Decision) -> tuple[tuple[str, tuple[Finding, ...]], ...]:
    """Everything that was checked: for each claimed line, then for all of them together."""
    lines = tuple((str(claim.claim.line), claim.because) for claim in decision.claims)
    return (*lines, ("", decision.because))


def _offered(found: Dossier) -> tuple[Move, ...]:
    """The moves of the state table that there is a form for."""
    offered = {Move.AUTHORISE, Move.DECLINE, Move.CANCEL, Move.RECEIVE, Move.WAIVE_RECEIPT, Move.RESOLVE}
    moves = [move for move in open_to(found.case.state) if move in offered]
    if found.case.state is RmaState.REQUESTED:  # declining says why, and frees the units just so
        moves.remove(Move.CANCEL)
    if not found.count(Disposition.AWAITED) and Move.RECEIVE in moves:
        moves.remove(Move.RECEIVE)
    if not found.accepted and Move.RESOLVE in moves:
        moves.remove(Move.RESOLVE)
    return tuple(moves)


def _queue(found: Dossier) -> str:
    """Where it waits, for the way back."""
    match found.case.state:
        case RmaState.REQUESTED:
            return "decide"
        case RmaState.AUTHORISED:
            return "parcel"
        case RmaState.RECEIVED:
            return "inspect" if found.count(Disposition.RECEIVED) else "resolve"
        case _:
            return "all"
