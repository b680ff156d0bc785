"""Money once: reserve, look up what is unsettled, mark, un-mark, refuse, park. Refund and credit alike.

One row is one call to a platform. The row exists, and holds the amount back, before anyone is asked to pay. A request is
written only by the attempt whose mark is the row's latest; every change is a compare-and-set on that attempt; a receipt
is evidence and is recorded whoever brings it. `jobs/money.py` walks these steps, with the platform's calls between them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from connector import db
from connector.domain import codec
from connector.domain.money import Money
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Attempt, CreditOrder, RefundOrder, Sighting
from connector.domain.rma import OPEN, MoneyMove, MoneyState, money_after
from connector.domain.standing import Ours, misfit
from connector.models import Kind, MoneyKind, Refund, Resolution
from connector.services import limits, orders, outbox, rmas, timeline
from connector.services.outbox import Later, NeedsAPerson
from connector.services.shops import ShopKeys, keys_of

WINDOW: Final = timedelta(seconds=10)  # from the mark to the request, by the clock of the machine that sends
MARGIN: Final = timedelta(seconds=60)
_AGAIN: Final = timedelta(seconds=2)
_ORDER_BUSY: Final = timedelta(seconds=10)  # each try reads the order from the platform
_LOOKS: Final = ((timedelta(seconds=30), timedelta(seconds=10)), (timedelta(minutes=2), timedelta(seconds=30)))


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A money row that is still to be worked, as one read saw it. `now` is the database's clock at that read."""

    id: uuid.UUID
    shop: ShopKeys = field(repr=False)
    rma_id: uuid.UUID
    order: OrderRef
    kind: MoneyKind
    told: RefundOrder | CreditOrder
    attempt: int
    marked_at: datetime | None
    asked_first_at: datetime | None
    quiet_until: datetime | None
    before: Mapping[str, str]
    now: datetime

    @property
    def may_have_left(self) -> bool:
        """Whether any attempt's request may have been written."""
        return self.asked_first_at is not None

    def last_attempt(self) -> Attempt:
        """The attempt to look for. Only where one may have left."""
        assert self.marked_at is not None  # noqa: S101 - the table's own constraint
        assert self.asked_first_at is not None  # noqa: S101 - likewise
        return Attempt(
            number=self.attempt,
            key=self.id.hex,
            marked_at=self.marked_at,
            not_after=self.marked_at + WINDOW,
            asked_first_at=self.asked_first_at,
            looked_at=self.now,
            before=self.before,
        )

    @property
    def quiet_in(self) -> timedelta:
        """How long until nothing can come of any attempt any more; zero or less: that time has passed."""
        return self.quiet_until - self.now if self.quiet_until is not None else timedelta(0)

    @property
    def next_look(self) -> timedelta:
        """10 s at first, then 30 s, then 2 min: a receipt is believed at once, so looking often costs little."""
        age = self.now - self.last_attempt().marked_at
        return next((wait for until, wait in _LOOKS if age < until), timedelta(minutes=2))


def add(
    session: Session,
    resolution: Resolution,
    told: RefundOrder | CreditOrder,
    *,
    row_id: uuid.UUID,
    rma: uuid.UUID,
    deducted: int,
    by_hand: bool,
    now: datetime,
    instead_of: uuid.UUID | None = None,
) -> None:
    """Insert the money row that reserves the amount, and its message. The caller holds the order's lock and checked the fit.

    `by_hand`: no machine can pay it back; it waits for a person from the start.
    """
    session.add(
        Refund(
            id=row_id,
            shop_id=resolution.shop_id,
            resolution_id=resolution.id,
            order_ref=resolution.order_ref,
            kind=resolution.kind,
            state=money_after(MoneyState.PENDING, MoneyMove.PARK) if by_hand else MoneyState.PENDING,
            parked_because="paid_by_hand" if by_hand else None,
            minor=told.amount.minor,
            deducted=deducted,
            currency=told.amount.currency,
            instruction=codec.write(told),
            reserved_at=now,
            made_again_from=instead_of,
        )
    )
    if not by_hand:
        outbox.put(session, Kind.SETTLE, row_id, shop=resolution.shop_id, now=now)
    facts = amount_facts(told.amount) | {"kind": resolution.kind.value, "row": row_id.hex, "by_hand": by_hand}
    timeline.record(session, "money.reserved", shop=resolution.shop_id, rma=rma, who=resolution.decided_by, at=now, facts=facts)


def of(session: Session, resolution: uuid.UUID) -> Sequence[Refund]:
    """The calls that a decision makes, oldest first."""
    return session.execute(select(Refund).where(Refund.resolution_id == resolution).order_by(Refund.reserved_at, Refund.id)).scalars().all()


def unsettled(session: Session, row_id: uuid.UUID, *, now: datetime) -> Unsettled | None:
    """The row while a machine may work it; None once it is settled, refused, or with a person."""
    row = session.get(Refund, row_id)
    if row is None or row.state not in OPEN:
        return None
    resolution = session.get_one(Resolution, row.resolution_id)
    return Unsettled(
        id=row.id,
        shop=keys_of(session, row.shop_id),
        rma_id=resolution.rma_id,
        order=OrderRef(row.order_ref),
        kind=row.kind,
        told=orders.instruction(row),
        attempt=row.attempt,
        marked_at=row.marked_at,
        asked_first_at=row.asked_first_at,
        quiet_until=row.quiet_until,
        before={} if row.before is None else codec.read(row.before, dict[str, str]),
        now=now,
    )


def mark(session: Session, seen: Unsettled, order: Order, sighting: Sighting | None, *, quiet_period: timedelta, now: datetime) -> Attempt:
    """Claim the next attempt for the caller, who alone may then write the request, within `WINDOW`.

    `order` was read just before: the row must still fit, and it is the pre-image. `sighting` is the proof, where an
    earlier attempt may have left. `quiet_period`: how long after this mark something may still come of it.

    Raises:
        Later: another attempt or another row of the order is under way, or the order shows our own refund already.
        NeedsAPerson: the instruction no longer fits the order (somebody gave money back elsewhere, or edited it), or the
            order shows our refund although nobody can say that it was paid.
    """
    orders.lock(session, seen.shop.id, seen.order)
    rows = session.execute(select(Refund).where(Refund.shop_id == seen.shop.id, Refund.order_ref == seen.order)).scalars().all()
    row = next(row for row in rows if row.id == seen.id)
    _may_go_on(seen, row, [other for other in rows if other.id != row.id], now=now)
    _still_fits(seen, order, orders.ours(session, seen.shop.id, seen.order, but=row.id), orders.as_ours(row))
    number, first, first_attempt, quiet_until = row.attempt + 1, now, row.attempt + 1, now + quiet_period
    if row.asked_first_at is not None and not (sighting and sighting.burned):  # an earlier one may have left, and may still act
        first, first_attempt = row.asked_first_at, row.asked_first_attempt or number
        quiet_until = max(quiet_until, row.quiet_until or quiet_until)
    values = {
        "state": money_after(row.state, MoneyMove.MARK),
        "attempt": number,
        "marked_at": now,
        "quiet_until": quiet_until,
        "asked_first_at": first,
        "asked_first_attempt": first_attempt,
        "before": codec.write(pre_image(order)),
    }
    if not _compare_and_set(session, seen.id, seen.attempt, **values):
        raise Later(_AGAIN, "money.lost_the_race")
    timeline.record(
        session, "money.asked", shop=seen.shop.id, rma=seen.rma_id, who="machine", at=now, facts={"row": seen.id.hex, "attempt": number}
    )
    return Attempt(
        number=number, key=seen.id.hex, marked_at=now, not_after=now + WINDOW, asked_first_at=first, looked_at=now, before=pre_image(order)
    )


def _may_go_on(seen: Unsettled, row: Refund, others: Sequence[Refund], *, now: datetime) -> None:
    """Whether what the caller saw still holds, and nothing else of the order is under way. Raises `Later`."""
    if now - seen.now > orders.STALE_AFTER:  # we slept between the look, the read and this: both may be wrong by now
        raise Later(timedelta(0), "money.slept")
    if row.attempt != seen.attempt or row.state not in OPEN:
        raise Later(_AGAIN, "money.lost_the_race")
    if any(other.state is MoneyState.SENT for other in others):
        raise Later(_ORDER_BUSY, "money.order_busy")


def _still_fits(seen: Unsettled, order: Order, ours: Sequence[Ours], mine: Ours) -> None:
    """Whether the fresh order bears the instruction, and does not show it already. Raises `Later`, `NeedsAPerson`."""
    asked = seen.told.amount.currency
    if order.currency != asked:
        raise NeedsAPerson("no_longer_fits", f"currency: {asked} asked, {order.currency} there")
    if order.ref != seen.order or not order.paid:  # a cancelled order may well be owed its money
        raise NeedsAPerson(
            "no_longer_fits", "the shop shows another order" if order.ref != seen.order else "the order is not paid any more"
        )
    if any(record.key == seen.id.hex for record in order.refunds):
        if not seen.may_have_left:  # our books are older than the shop's: a restored backup, say
            raise NeedsAPerson("already_there", "the order shows this refund, and we never asked for it")
        if seen.kind is MoneyKind.CREDIT:
            return  # its record is booked and its code is not made yet: what it asks stands in the order already, and is finished
        if seen.quiet_in > timedelta(0):
            raise Later(min(seen.quiet_in, seen.next_look), "money.already_there")
        raise NeedsAPerson("already_there", "the order shows this refund, and the shop does not say that it was paid")
    if problem := misfit(order, ours, mine):
        raise NeedsAPerson("no_longer_fits", str(problem))


def still_mine(session: Session, row_id: uuid.UUID, attempt: Attempt, *, now: datetime) -> bool:
    """Whether this attempt is the row's latest and young enough, by the database's clock."""
    query = select(Refund.id).where(Refund.id == row_id, Refund.attempt == attempt.number, Refund.state == MoneyState.SENT)
    return now < attempt.not_after and session.execute(query).first() is not None


def unmark(session: Session, seen: Unsettled, attempt: int) -> None:
    """The attempt did nothing. Where it was the first that may have left, nothing has left at all.

    Otherwise an earlier one may have: the row stays in doubt, with this later mark, which only makes us more patient.
    """
    orders.lock(session, seen.shop.id, seen.order)
    values = {
        "state": money_after(MoneyState.SENT, MoneyMove.UNMARK),
        "marked_at": None,
        "quiet_until": None,
        "asked_first_at": None,
        "asked_first_attempt": None,
        "before": None,
    }
    _compare_and_set(session, seen.id, attempt, Refund.state == MoneyState.SENT, Refund.asked_first_attempt == attempt, **values)


def refuse(session: Session, seen: Unsettled, attempt: int, *, words: str, now: datetime) -> bool:
    """The platform said no to this attempt. Releases the reservation, but only if no other attempt may have left.

    False: look again, for an earlier attempt may have paid.
    """
    words = _storable(words)
    orders.lock(session, seen.shop.id, seen.order)
    mine = Refund.asked_first_attempt == attempt
    values = {"state": money_after(MoneyState.SENT, MoneyMove.REFUSE), "words": words}
    if not _compare_and_set(session, seen.id, attempt, Refund.state == MoneyState.SENT, mine, **values):
        return False
    came_to_nothing(session, seen.id, who="platform", why="rejected", words=words, now=now)
    return True


def note(session: Session, seen: Unsettled, attempt: int, *, words: str) -> None:
    """Keep what the far side said to an attempt whose outcome is unknown: a person may need it."""
    if words := _storable(words):
        _compare_and_set(session, seen.id, attempt, Refund.state == MoneyState.SENT, words=words)


def park(session: Session, seen: Unsettled, *, why: str, words: str, now: datetime) -> bool:
    """Ask a person. False where another attempt owns the row by now, or the one that may have left is proven not to have."""
    orders.lock(session, seen.shop.id, seen.order)
    row = session.get_one(Refund, seen.id, populate_existing=True)
    if row.state not in OPEN or row.asked_first_at != seen.asked_first_at:
        return False
    words = _storable("; ".join(dict.fromkeys(said for said in (row.words, words) if said)))  # to the attempt, and to the look
    values = {"state": money_after(row.state, MoneyMove.PARK), "parked_because": why, "words": words}
    if not _compare_and_set(session, seen.id, seen.attempt, **values):
        return False
    facts: dict[str, timeline.Fact] = {
        "row": seen.id.hex,
        "why": why,
        "words": words,
        "attempt": seen.attempt,
        "may_have_left": seen.may_have_left,
    }
    timeline.record(session, "money.parked", shop=seen.shop.id, rma=seen.rma_id, who="machine", at=now, facts=facts)
    return True


def again(session: Session, row_id: uuid.UUID, order: Order, *, read_began: datetime, who: str, now: datetime) -> uuid.UUID:
    """A new row for a refused call whose decision stands (another call of it was paid). The old row is never sent again.

    Raises:
        StaleRead: the order was read more than 30 s ago, by the database's clock.
        NeedsAPerson: the row was not refused, was made anew already, or no longer fits the order.
    """
    orders.fresh_enough(read_began, now=now)
    row = session.get_one(Refund, row_id)
    orders.lock(session, row.shop_id, OrderRef(row.order_ref))
    session.refresh(row)
    resolution = session.get_one(Resolution, row.resolution_id)
    if row.state is not MoneyState.REFUSED or resolution.voided_at is not None:
        raise NeedsAPerson("not_refused", row.state.value)
    if session.execute(select(Refund.id).where(Refund.made_again_from == row.id)).first() is not None:
        raise NeedsAPerson("made_already")
    if any(record.key == row.id.hex for record in order.refunds):
        raise NeedsAPerson("paid_before", "the order shows this very refund")
    if problem := misfit(order, orders.ours(session, row.shop_id, order.ref, but=row.id), orders.as_ours(row)):
        raise NeedsAPerson("no_longer_fits", str(problem))
    fresh = uuid.uuid4()
    told = replace(orders.instruction(row), key=fresh.hex)
    add(
        session,
        resolution,
        told,
        row_id=fresh,
        rma=resolution.rma_id,
        deducted=row.deducted,
        by_hand=_by_hand(told, order),
        now=now,
        instead_of=row.id,
    )
    timeline.record(
        session, "money.again", shop=row.shop_id, rma=resolution.rma_id, who=who, at=now, facts={"row": fresh.hex, "instead_of": row.id.hex}
    )
    return fresh


def _by_hand(told: RefundOrder | CreditOrder, order: Order) -> bool:
    """Whether it goes to a tender through which no platform can pay: cash on delivery, a bank transfer."""
    manual = {tender.id for tender in order.tenders if not tender.pays_back}
    return isinstance(told, RefundOrder) and any(part.tender in manual for part in told.parts)


def pre_image(order: Order) -> dict[str, str]:
    """What the order showed before an attempt: enough for an adapter to tell later whether anything changed."""
    image = {"refunded": str(order.refunded), "refunds": " ".join(sorted(record.ref for record in order.refunds))}
    return image | {f"line:{line.id}": str(line.refunded_quantity) for line in order.lines}


def came_to_nothing(session: Session, row_id: uuid.UUID, *, who: str, why: str, words: str, now: datetime) -> None:
    """This call did not come about. Where none of the decision's calls did: void it, give the day its allowance back, open the RMA.

    Where another call of the same decision stands, the decision stands too: `again` makes the missing one anew.
    """
    row = session.get_one(Refund, row_id, populate_existing=True)
    resolution = session.get_one(Resolution, row.resolution_id)
    timeline.record(
        session,
        "money.refused",
        shop=row.shop_id,
        rma=resolution.rma_id,
        who=who,
        at=now,
        facts={"row": row.id.hex, "why": why, "words": words},
    )
    standing = select(Refund.id).where(Refund.resolution_id == resolution.id, Refund.state != MoneyState.REFUSED)
    if session.execute(standing).first() is None:
        resolution.voided_at = now
        limits.release(session, resolution)
        outbox.put(session, Kind.MIRROR, resolution.rma_id, shop=row.shop_id, now=now)
        rmas.reopen(session, resolution.rma_id, who=who, now=now)


def _storable(words: str) -> str:
    """The far side's words as both databases take them: no NUL, no half characters, no novel (A15)."""
    return words.encode("utf-8", "replace").decode().replace("\0", "")[:500]


def _compare_and_set(session: Session, row_id: uuid.UUID, attempt: int, /, *more: Any, **values: Any) -> bool:  # noqa: ANN401 - columns
    """Change the row if `attempt` is still its latest and it is open. False changes nothing: another attempt owns the row."""
    statement = update(Refund).where(Refund.id == row_id, Refund.attempt == attempt, Refund.state.in_(OPEN), *more).values(**values)
    return db.changed(session, statement.execution_options(synchronize_session=False)) == 1


def amount_facts(amount: Money) -> dict[str, str | int]:
    """An amount as the timeline keeps it."""
    return {"minor": amount.minor, "currency": amount.currency}
