"""What staff may do with one RMA: authorise, decline, cancel, receive, inspect, see what it would pay, resolve, answer for money."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from connector.domain import codec
from connector.domain.money import Money
from connector.domain.orders import LineRef, Order, OrderRef
from connector.domain.platform import CreditOrder, Receipt, RefundOrder, ReturnedLine
from connector.domain.policy import Decision
from connector.domain.quote import Quote
from connector.domain.refusals import Unpriceable
from connector.domain.rma import Disposition, IllegalMove, Move, after
from connector.domain.standing import Booked, as_it_stands
from connector.domain.wanted import Payout, WantedCharge
from connector.models import Kind, MoneyKind, Resolution, Rma
from connector.secrets import Vault
from connector.services import (
    limits,
    mails,
    mirroring,
    orders,
    outbox,
    policies,
    pricing,
    receipts,
    refunds,
    rmas,
    shopper,
    store_credit,
    timeline,
)
from connector.services.mails import Event
from connector.services.shops import keys_of

_CLOSED: Final[Mapping[Move, Event]] = {Move.DECLINE: Event.DECLINED, Move.CANCEL: Event.CANCELLED, Move.EXPIRE: Event.EXPIRED}
CLOSING: Final = frozenset(_CLOSED)


class QuoteChanged(Exception):
    """The return is worth something else by now than what the member of staff saw."""

    def __init__(self, quote: Quote) -> None:
        """`quote` is what it is worth now."""
        super().__init__(f"now {quote.total}")
        self.quote = quote


class OtherOrder(ValueError):
    """The order is not the one that the case is about."""


class FormUsed(ValueError):
    """The form was sent before: what it decided came to nothing, or was for another case. Show a fresh one."""


class PaidBefore(Exception):
    """The order shows a refund of this RMA that a person had closed as unpaid: it would be paid twice.

    Book it (`receipts.book_what_came`): it settles the old decision, and the case is resolved by it.
    """

    def __init__(self, receipt: Receipt) -> None:
        """`receipt` is what the order shows."""
        super().__init__(receipt.reference)
        self.receipt = receipt


class NotPriceable(Exception):
    """Nothing can be given back, and why."""

    def __init__(self, refusal: Unpriceable) -> None:
        """`refusal` says which rule refused."""
        super().__init__(refusal.refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Judged:
    """So many units of a line were found to be this."""

    line: LineRef
    disposition: Disposition
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What staff decided: how the money goes back, and which shipping and fees of the order go with it.

    `expected` is the total that they saw (minor units); `confirmed_by` a second person, above the shop's limits.
    """

    payout: Payout = Payout.ORIGINAL
    shipping: tuple[WantedCharge, ...] = ()
    fees: tuple[WantedCharge, ...] = ()
    expected: int
    form_token: str
    confirmed_by: str | None = None


def authorise(session: Session, rma_id: uuid.UUID, *, who: str, now: datetime) -> None:
    """Give the return authorisation. Raises `IllegalMove`."""
    rma = _locked(session, rma_id)
    today = now.astimezone(ZoneInfo(keys_of(session, rma.shop_id).time_zone)).date()
    shopper.authorise(session, rma, who=who, today=today, now=now, expiry_days=policies.pinned(session, rma.policy_id).expiry_days)
    outbox.put(session, Kind.MIRROR, rma.id, shop=rma.shop_id, now=now)


def close(session: Session, rma_id: uuid.UUID, by: Move, *, who: str, now: datetime, why: str = "") -> None:
    """Decline, cancel, or let expire: its units are free again. Raises `IllegalMove`, also for every other move."""
    rma = _locked(session, rma_id)
    if by not in CLOSING:
        raise IllegalMove(rma.state, by)
    rmas.move(session, rma, by, who=who, now=now, why=why)
    mails.about(session, _CLOSED[by], rma.id, shop=rma.shop_id, now=now)
    outbox.put(session, Kind.MIRROR, rma.id, shop=rma.shop_id, now=now)


def receive(session: Session, rma_id: uuid.UUID, arrived: Mapping[LineRef, int], *, who: str, now: datetime, form: str = "") -> None:
    """Count what a parcel held. Units that are not in it stay awaited, for another parcel. `form`: which one said so.

    Raises:
        IllegalMove: the case is not waiting for a parcel.
        NotEnoughUnits: more arrived than was announced (extra items are another matter, and another act).
    """
    rma = _locked(session, rma_id)
    facts = {"form": form} if form else {}
    counted = {str(ref): count for ref, count in sorted(arrived.items())}
    rmas.move(session, rma, Move.RECEIVE, who=who, now=now, arrived=counted, **facts)
    _each(
        session, rma, [Judged(ref, Disposition.RECEIVED, count) for ref, count in sorted(arrived.items()) if count], was=Disposition.AWAITED
    )
    mails.about(session, Event.RECEIVED, rma.id, shop=rma.shop_id, now=now)


def inspect(session: Session, rma_id: uuid.UUID, judged: Sequence[Judged], *, who: str, now: datetime) -> None:
    """Say what becomes of received units.

    Raises:
        IllegalMove, NotEnoughUnits: those units are not there to be judged, or their money was decided already.
    """
    rma = _locked(session, rma_id)
    after(rma.state, Move.RESOLVE)  # what is judged later would count as given back, and no resolution would pay it
    _each(session, rma, judged, was=Disposition.RECEIVED)
    found = [f"{one.line}: {one.quantity} {one.disposition.value}" for one in judged]
    timeline.record(session, "rma.inspected", shop=rma.shop_id, rma=rma.id, who=who, at=now, facts={"units": found})


def preview(session: Session, rma_id: uuid.UUID, order: Order, settlement: Settlement) -> Quote:
    """What resolving would pay now, with its arithmetic. Promises nothing. Raises `NotPriceable`."""
    rma = session.get_one(Rma, rma_id)
    return _quote(session, rma, as_it_stands(order, orders.ours(session, rma.shop_id, order.ref)), settlement)


def resolve(
    session: Session,
    rma_id: uuid.UUID,
    order: Order,
    settlement: Settlement,
    *,
    read_began: datetime,
    vault: Vault,
    who: str,
    now: datetime,
) -> Resolution:
    """Decide what the accepted units pay, and reserve it: one transaction, under the order's lock.

    Raises:
        StaleRead: the order was read more than 30 s ago, by the database's clock, or before what is known of it.
        FormUsed: the form was sent before.
        OtherOrder: the order is not the case's.
        PaidBefore: the order shows a refund of this RMA that a person had closed as unpaid.
        IllegalMove, NotPriceable, QuoteChanged: the case, the order or the amount is not as the member of staff saw it.
        NeedsConfirmation: a limit of the shop is passed.
    """
    orders.fresh_enough(read_began, now=now)
    rma = _locked(session, rma_id)
    _may_decide(session, rma, order, settlement)
    if not mirroring.keep(session, rma.shop_id, order, read_began=read_began, vault=vault, now=now):
        raise orders.StaleRead("a later read of the order is known")
    if late := receipts.came_after_all(session, rma.id, order):
        raise PaidBefore(late)
    standing = as_it_stands(order, orders.ours(session, rma.shop_id, order.ref))
    quote = _quote(session, rma, standing, settlement)
    if quote.total != settlement.expected:
        raise QuoteChanged(quote)
    booked = _booked(quote, rmas.accepted(session, rma.id))
    resolution = _decision(rma, quote, booked, settlement, who=who, now=now)
    session.add(resolution)
    session.flush()
    _within_limits(session, rma, resolution, now=now)
    for row_id, told, deducted, by_hand in _instructions(rma, quote, booked, standing, vault):
        refunds.add(session, resolution, told, row_id=row_id, rma=rma.id, deducted=deducted, by_hand=by_hand, now=now)
    rmas.move(session, rma, Move.RESOLVE, who=who, now=now, total=quote.total, currency=quote.currency, resolution=resolution.kind.value)
    outbox.put(session, Kind.MIRROR, rma.id, shop=rma.shop_id, now=now)
    return resolution


def _may_decide(session: Session, rma: Rma, order: Order, settlement: Settlement) -> None:
    """Before any arithmetic, so that a double click says what it is. Raises `IllegalMove`, `OtherOrder`, `FormUsed`."""
    after(rma.state, Move.RESOLVE)
    if order.ref != rma.order_ref:
        raise OtherOrder(order.ref)
    sent_before = select(Resolution.id).where(Resolution.shop_id == rma.shop_id, Resolution.form_token == settlement.form_token)
    if session.execute(sent_before).first() is not None:
        raise FormUsed


def _decision(rma: Rma, quote: Quote, booked: Booked, settlement: Settlement, *, who: str, now: datetime) -> Resolution:
    return Resolution(
        id=uuid.uuid4(),
        shop_id=rma.shop_id,
        rma_id=rma.id,
        order_ref=rma.order_ref,
        kind=MoneyKind.REFUND if settlement.payout is Payout.ORIGINAL else MoneyKind.CREDIT,
        currency=quote.currency,
        total=quote.total,
        deducted=_withheld(quote),
        bonus=quote.bonus,
        quote=codec.write(quote),
        booked=codec.write(booked),
        form_token=settlement.form_token,
        decided_by=who,
        decided_at=now,
        confirmed_by=settlement.confirmed_by,
    )


def _locked(session: Session, rma_id: uuid.UUID) -> Rma:
    """The RMA, under its order's lock: the order comes first everywhere."""
    rma = session.get_one(Rma, rma_id)
    orders.lock(session, rma.shop_id, OrderRef(rma.order_ref))
    session.refresh(rma)
    return rma


def _each(session: Session, rma: Rma, judged: Sequence[Judged], *, was: Disposition) -> None:
    by_ref = {line.line_ref: line for line in rmas.lines(session, rma.id)}
    for one in judged:
        if (line := by_ref.get(one.line)) is None:
            raise rmas.NotEnoughUnits(f"{one.line} is not part of this return")
        rmas.dispose(session, line, was, one.disposition, one.quantity)


def _quote(session: Session, rma: Rma, standing: Order, settlement: Settlement) -> Quote:
    """The accepted units under the fees of the decision that the RMA is pinned to."""
    units = {ref: sum(count for _, count in judged) for ref, judged in rmas.accepted(session, rma.id).items()}
    decision = codec.read(rma.decision, Decision)
    quote = pricing.quote(decision, standing, units, settlement.payout, shipping=settlement.shipping, fees=settlement.fees)
    if isinstance(quote, Unpriceable):
        raise NotPriceable(quote)
    return quote


def _booked(quote: Quote, accepted: Mapping[LineRef, tuple[tuple[Disposition, int], ...]]) -> Booked:
    lines = tuple(ReturnedLine(part.id, part.quantity, part.worth, accepted.get(part.id, ())) for part in quote.lines)
    return Booked(lines, tuple(ReturnedLine(LineRef(part.id), 0, part.worth) for part in (*quote.shipping, *quote.fees)))


def _within_limits(session: Session, rma: Rma, resolution: Resolution, *, now: datetime) -> None:
    policy = policies.pinned(session, rma.policy_id)
    passed = limits.spend(session, resolution, policy.limits, time_zone=keys_of(session, rma.shop_id).time_zone)
    if passed:
        passed_limits = [limit.value for limit in passed]
        who = resolution.confirmed_by or resolution.decided_by
        timeline.record(
            session,
            "limit.confirmed",
            shop=rma.shop_id,
            rma=rma.id,
            who=who,
            at=now,
            facts={"passed": passed_limits, "total": resolution.total},
        )


def _instructions(
    rma: Rma, quote: Quote, booked: Booked, order: Order, vault: Vault
) -> Sequence[tuple[uuid.UUID, RefundOrder | CreditOrder, int, bool]]:
    """The calls that the quote makes: id, instruction, what it withholds, and whether a person must pay it by hand.

    Money that went in by hand (cash on delivery, bank transfer) goes out by hand: a row of its own, never sent by a
    machine and never shown as paid before a person says so. The first row books the lines and bears the deductions.
    """
    if not quote.total:
        return ()
    if quote.payout is Payout.STORE_CREDIT:
        row_id = uuid.uuid4()
        credit = CreditOrder(
            row_id.hex,
            order.ref,
            rma.number,
            Money(quote.total, quote.currency),
            Money(quote.bonus, quote.currency),
            booked.lines,
            booked.charges,
            code=store_credit.code(vault, rma.number, row_id.hex),
        )
        return ((row_id, credit, _withheld(quote), False),)
    by_hand = {tender.id for tender in order.tenders if not tender.pays_back}
    calls: list[tuple[uuid.UUID, RefundOrder | CreditOrder, int, bool]] = []
    for hand in (False, True):
        parts = tuple(part for part in quote.tenders if (part.tender in by_hand) is hand)
        minor = sum(part.minor for part in parts) if quote.tenders else (0 if hand else quote.total)
        if minor:
            row_id = uuid.uuid4()
            books, withheld = (Booked(), 0) if calls else (booked, _withheld(quote))
            told = RefundOrder(row_id.hex, order.ref, rma.number, Money(minor, quote.currency), parts, books.lines, books.charges)
            calls.append((row_id, told, withheld, hand))
    return calls


def _withheld(quote: Quote) -> int:
    return sum(deduction.minor for deduction in quote.deductions)
