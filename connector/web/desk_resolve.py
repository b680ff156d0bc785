"""What a return pays: worked out on the order as the store shows it now, decided for exactly the total that was seen.

Above the shop's limits a decision waits in the return until a second person, with a fresh look of their own, confirms that same total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from flask import Blueprint, Response, abort, request
from sqlalchemy import select

from connector.domain.orders import Charge, ChargeRef, Order
from connector.domain.quote import Quote
from connector.domain.refundable import left_of
from connector.domain.refusals import Unpriceable
from connector.domain.rma import IllegalMove, Move, open_to
from connector.domain.standing import as_it_stands
from connector.domain.terms import Resolution as Wanted
from connector.domain.wanted import Payout, WantedCharge
from connector.models import Resolution, Role
from connector.services import desk, dossier, orders, receipts
from connector.services.desk import FormUsed, NotPriceable, OtherOrder, PaidBefore, QuoteChanged, Settlement
from connector.services.dossier import Asked, Dossier
from connector.services.limits import NeedsConfirmation
from connector.services.orders import StaleRead
from connector.web import desk_case, desk_fresh
from connector.web import desk_seat as seats
from connector.web import forms_desk as forms
from connector.web.desk_fresh import Fresh, NotFresh
from connector.web.desk_seat import Seat
from connector.web.forms_desk import Choice
from connector.web.hosting import here

bp = Blueprint("resolve", __name__)

_OF: Final = {Wanted.REFUND: Payout.ORIGINAL, Wanted.STORE_CREDIT: Payout.STORE_CREDIT}


class Overtaken(Exception):
    """The decision that a second person saw is not the one that waits any more."""


_TROUBLES: Final[Mapping[type[Exception], str]] = MappingProxyType(
    {StaleRead: "stale", FormUsed: "used", OtherOrder: "other_order", IllegalMove: "moved", Overtaken: "nothing_asked"}
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to give it back, with its whole arithmetic; `quote` says why not where nothing can be given."""

    payout: Payout
    quote: Quote | Unpriceable


@dataclass(frozen=True, slots=True)
class Extra:
    """Shipping or a fee of the order, which may go back as well: what is left of it, minor units."""

    id: ChargeRef
    title: str
    left: int
    shipping: bool


@bp.get("/<number>/resolve")
def show(handle: str, number: str) -> Response:
    """Asks the store for the order, and changes nothing: what is worked out is kept nowhere."""
    seat = seats.seated(handle)
    return _guarded(seat, desk_case.number_of(number), lambda found: _page(seat, found, also=forms.also(request.args)))


@bp.post("/<number>/resolve")
def resolve(handle: str, number: str) -> Response:
    seat = seats.acting(handle, Role.MONEY)
    number, choice = desk_case.number_of(number), forms.choice(request.form)
    if choice is None:
        return _guarded(seat, number, lambda found: _page(seat, found, 422, trouble="unchosen"))
    return _guarded(seat, number, lambda found: _decide(seat, found, choice))


@bp.post("/<number>/confirm")
def confirm(handle: str, number: str) -> Response:
    """The second person's word. What is confirmed stands in the return; the form says only which decision they saw."""
    seat = seats.acting(handle, Role.MONEY)

    def confirmed(found: Dossier) -> Response:
        asked = found.asked
        if asked is None or asked.by.id == seat.member.id or asked.id != forms.asked(request.form):
            return _page(seat, found, 409, trouble="nothing_asked")
        choice = Choice(asked.payout, asked.expected, tuple(ChargeRef(ref) for ref in asked.also))
        return _decide(seat, found, choice, asked)

    return _guarded(seat, desk_case.number_of(number), confirmed)


@bp.post("/<number>/book")
def book(handle: str, number: str) -> Response:
    """The order shows a refund of this return that somebody had closed as unpaid: it settles the old decision."""
    seat, hosting = seats.acting(handle, Role.MONEY), here()

    def booked(found: Dossier) -> Response:
        fresh = desk_fresh.fresh(seat, found.case.order_ref)
        with hosting.database.transaction() as session:
            rma = dossier.locked(session, seat.desk.shop.id, found.case.number)
            assert rma is not None  # noqa: S101 - just read
            receipts.book_what_came(session, rma.id, fresh.order, who=seat.member.who, now=hosting.database.now(session))
        return seat.desk.door.redirect(f"/{found.case.number}", done="booked")

    return _guarded(seat, desk_case.number_of(number), booked)


def _guarded(seat: Seat, number: str, go_on: Callable[[Dossier], Response]) -> Response:
    """What may be done with a return that is to be resolved, by who may; else the return, which says how it stands."""
    if not seat.may(Role.MONEY):
        abort(403)
    found = desk_case.find(seat, number)
    if Move.RESOLVE not in open_to(found.case.state):
        mine = request.method == "POST" and _made(found, seats.used_word())
        return seat.desk.door.redirect(f"/{number}", done="resolved") if mine else desk_case.show(seat, number, 409, notice="changed")
    try:
        return go_on(found)
    except NotFresh as trouble:
        return desk_case.show(seat, number, 409 if trouble.why in {"gone", "refused", "left"} else 503, notice=trouble.why)


def _made(found: Dossier, word: str) -> bool:
    """Whether what stands was decided by this very form: the second click of two."""
    with here().database.reading() as session:
        mine = select(Resolution.id).where(Resolution.rma_id == found.case.id, Resolution.form_token == word)
        return session.execute(mine.where(Resolution.voided_at.is_(None))).first() is not None


def _decide(seat: Seat, found: Dossier, choice: Choice, asked: Asked | None = None) -> Response:
    """Read the order anew, and decide for exactly what was seen. What came between says so, and shows it afresh."""
    fresh = desk_fresh.fresh(seat, found.case.order_ref)
    settlement = _settlement(found, choice, form_token=seats.used_word(), confirmed_by=seat.member.who if asked else None)
    try:
        try:
            _resolve(seat, found, fresh, settlement, asked)
        except StaleRead:  # somebody read it after us: once more, and then it is said
            fresh = desk_fresh.fresh(seat, found.case.order_ref)
            _resolve(seat, found, fresh, settlement, asked)
    except QuoteChanged as changed:
        return _page(
            seat, found, 409, trouble="amount", old=choice.expected, new=changed.quote.total, also=choice.also, chosen=choice.payout
        )
    except NeedsConfirmation as needed:
        if not _note(seat, found, choice, needed):
            return _page(seat, found, 409, trouble="moved", also=choice.also)
        return seat.desk.door.redirect(f"/{found.case.number}", done="asked")
    except PaidBefore as paid:
        return _page(seat, found, 409, trouble="paid_before", reference=paid.receipt.reference, also=choice.also)
    except NotPriceable:
        return _page(seat, found, 409, trouble="unpriceable", also=choice.also)
    except (StaleRead, FormUsed, OtherOrder, IllegalMove, Overtaken) as other:
        if not _made(found, settlement.form_token):
            return _page(seat, found, 409, trouble=_TROUBLES[type(other)], also=choice.also)
    return seat.desk.door.redirect(f"/{found.case.number}", done="resolved")


def _resolve(seat: Seat, found: Dossier, fresh: Fresh, settlement: Settlement, asked: Asked | None) -> None:
    """Raises `Overtaken`, and what `desk.resolve` does."""
    hosting = here()
    with hosting.database.transaction() as session:
        now = hosting.database.now(session)
        if asked is not None:
            rma = dossier.locked(session, seat.desk.shop.id, found.case.number)
            waits = None if rma is None else dossier.waits_for_a_second(session, rma, vault=hosting.vault, now=now)
            if waits is None or waits.id != asked.id:
                raise Overtaken
        desk.resolve(
            session,
            found.case.id,
            fresh.order,
            settlement,
            read_began=fresh.began,
            vault=hosting.vault,
            who=asked.by.who if asked else seat.member.who,
            now=now,
        )


def _settlement(found: Dossier, choice: Choice, *, form_token: str, confirmed_by: str | None = None) -> Settlement:
    shipping = {charge.id for charge in found.case.order.shipping} if found.case.order else set()
    return Settlement(
        payout=choice.payout,
        shipping=tuple(WantedCharge(ref) for ref in choice.also if ref in shipping),
        fees=tuple(WantedCharge(ref) for ref in choice.also if ref not in shipping),
        expected=choice.expected,
        form_token=form_token,
        confirmed_by=confirmed_by,
    )


def _note(seat: Seat, found: Dossier, choice: Choice, needed: NeedsConfirmation) -> bool:
    """Leave the decision in the return, for a colleague; once, however often the button is pressed. False: it was decided meanwhile."""
    hosting, shop = here(), seat.desk.shop.id
    with hosting.database.transaction() as session:
        rma, now = dossier.locked(session, shop, found.case.number), hosting.database.now(session)
        if rma is None or Move.RESOLVE not in open_to(rma.state):
            return False
        waits = dossier.waits_for_a_second(session, rma, vault=hosting.vault, now=now)
        same = (seat.member.id, choice.payout, choice.expected, tuple(str(ref) for ref in choice.also))
        if waits is None or (waits.by.id, waits.payout, waits.expected, waits.also) != same:
            facts = {"currency": needed.amount.currency, "passed": " ".join(needed.passed)}
            dossier.ask_for_a_second(session, rma, choice.payout, choice.expected, choice.also, who=seat.member.who, now=now, **facts)
    return True


def _page(
    seat: Seat, found: Dossier, status: int = 200, *, also: tuple[ChargeRef, ...] = (), chosen: Payout | None = None, **said: object
) -> Response:
    """Each way to give it back, worked out on the order as the store shows it now. Raises `NotFresh`."""
    asked = found.asked if found.asked is not None and found.asked.by.id != seat.member.id else None
    also = tuple(ChargeRef(ref) for ref in asked.also) if asked else also
    fresh, hosting = desk_fresh.fresh(seat, found.case.order_ref), here()
    with hosting.database.reading() as session:
        stands = as_it_stands(fresh.order, orders.ours(session, seat.desk.shop.id, fresh.order.ref))
    extras = _extras(stands)
    also = tuple(ref for ref in also if ref in {extra.id for extra in extras})
    ways = tuple(_way(found, fresh.order, Choice(payout, 0, also)) for payout in _payouts(seat, found))
    wanted = None if found.case.wanted is None else _OF.get(found.case.wanted)
    return seats.page(
        seat,
        "resolve",
        status,
        found=found,
        case=found.case,
        order=fresh.order,
        stands=stands,
        ways=ways,
        payable=[way for way in ways if isinstance(way.quote, Quote)],
        chosen=chosen or (asked.payout if asked else wanted) or Payout.ORIGINAL,
        extras=extras,
        also=also,
        asked=asked,
        names=desk_case.names(found),
        Payout=Payout,
        **({"trouble": "", "old": 0, "new": 0, "reference": ""} | said),
    )


def _way(found: Dossier, order: Order, choice: Choice) -> Way:
    with here().database.reading() as session:
        try:
            return Way(choice.payout, desk.preview(session, found.case.id, order, _settlement(found, choice, form_token="")))
        except NotPriceable as no:
            return Way(choice.payout, no.refusal)


def _payouts(seat: Seat, found: Dossier) -> tuple[Payout, ...]:
    """What the policy offers; what the shopper asked for comes first. Credit only where the shop can give any."""
    offered = [_OF[way] for way in found.case.decision.resolutions if way in _OF]
    wanted = None if found.case.wanted is None else _OF.get(found.case.wanted)
    kinds = dict.fromkeys([*([wanted] if wanted else []), Payout.ORIGINAL, *offered])
    return tuple(kind for kind in kinds if kind is Payout.ORIGINAL or seat.desk.shop.facts.get("coupons") != "no")


def _extras(stands: Order) -> tuple[Extra, ...]:
    """What the order has besides its lines that something is left of. A negative fee was a discount: nobody gives that back."""

    def extra(charge: Charge, *, shipping: bool) -> Extra:
        return Extra(charge.id, charge.title, left_of(charge), shipping)

    found = [extra(charge, shipping=True) for charge in stands.shipping] + [extra(charge, shipping=False) for charge in stands.fees]
    return tuple(each for each in found if each.left > 0)
