"""One return that is to be paid, and all that its money meets on the way: for the tests of `jobs/money.py`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.simulators.toy import Fault, Proof, ToyStore
from connector.db import Database
from connector.domain.orders import Order
from connector.domain.platform import Attempt, Capabilities, CreditOrder, RefundOrder, Sighting
from connector.domain.rma import MoneyState
from connector.domain.wanted import Payout
from connector.models import Alarm, ReceiptRow, Refund
from connector.services import outbox, refunds
from connector.services.outbox import Later
from connector.services.refunds import Unsettled
from jobs import drain, money
from jobs.site import Site
from tests.world import Clock, World

_REFUND, _CREDIT = Payout.ORIGINAL, Payout.STORE_CREDIT


@dataclass(slots=True)
class Shop(ToyStore):
    """A toy shop whose patience can be chosen, and where something may happen while it is looked at."""

    quiet: timedelta | None = None
    meanwhile: Callable[[], None] = lambda: None

    def capabilities(self) -> Capabilities:
        can = ToyStore.capabilities(self)
        return can if self.quiet is None else replace(can, quiet_period=self.quiet)

    def find_refund(self, refund: RefundOrder, attempt: Attempt) -> Sighting:
        return self._interrupted(ToyStore.find_refund(self, refund, attempt))

    def find_credit(self, credit: CreditOrder, attempt: Attempt) -> Sighting:
        return self._interrupted(ToyStore.find_credit(self, credit, attempt))

    def _interrupted(self, sighting: Sighting) -> Sighting:
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()
        return sighting


@dataclass(slots=True)
class Time:
    """The database's clock, and what happens when somebody asks it."""

    clock: Clock
    asked: Callable[[], None] = lambda: None

    def __call__(self, _session: Session) -> datetime:
        self.asked()
        return self.clock.now


@dataclass(slots=True)
class Till:
    """A shop with one resolved return of 12.00. `elapsed` is the machine's stopwatch."""

    world: World
    shop: Shop
    payout: Payout
    time: Time
    order: Order
    elapsed: timedelta = timedelta(0)
    rma: uuid.UUID = field(init=False)
    row_id: uuid.UUID = field(init=False)

    def __post_init__(self) -> None:
        self.shop.place(self.order)
        self.rma, self.row_id = self.resolved()

    @property
    def clock(self) -> Clock:
        return self.time.clock

    @property
    def db(self) -> Database:
        return self.world.db

    @property
    def site(self) -> Site:
        return Site(self.db, lambda _keys: self.shop, stopwatch=lambda: self.elapsed)

    @property
    def step(self) -> str:
        """What the shop calls its payment."""
        return "refund" if self.payout is _REFUND else "credit"

    def resolved(self) -> tuple[uuid.UUID, uuid.UUID]:
        """One more return of one unit, and its money row."""
        rma = self.world.received(self.order, {"line-1": 1})
        self.world.resolve(rma, self.payout)
        return rma, self.world.rows(rma)[-1].id

    def fails(self, *faults: Fault, seconds: float = 0) -> None:
        """What goes wrong with the next payments."""
        for fault in faults:
            self.shop.fail_next(self.step, fault, seconds)

    def settle(self, row_id: uuid.UUID | None = None) -> Exception | None:
        """One run of the job: what it raised, or None where it came to its end."""
        try:
            money.settle(self.site, row_id or self.row_id)
        except Exception as error:  # noqa: BLE001 - the test judges it
            return error
        return None

    def settle_at_last(self) -> list[str]:
        """Run after run, each when the one before said; why each came back."""
        reasons: list[str] = []
        for _ in range(50):
            outcome = self.settle()
            if outcome is None:
                return reasons
            assert isinstance(outcome, Later), outcome
            reasons.append(str(outcome))
            self.passes(outcome.delay)
        raise AssertionError(reasons)

    def drained(self) -> int:
        """Work off what is due for this row, as the drain does; how many claims that took."""
        for times in range(50):
            with self.db.transaction() as session:
                claimed = outbox.claim(session, kinds=["settle"], limit=1, now=self.db.now(session))
            if not claimed:
                return times
            drain.work_one(self.site, claimed[0])
        raise AssertionError("it goes round in circles")

    def passes(self, time: timedelta) -> None:
        """Time goes by, for everybody."""
        self.clock.advance(time)
        self.elapsed += time

    def row(self, row_id: uuid.UUID | None = None) -> Refund:
        with self.db.reading() as session:
            return session.get_one(Refund, row_id or self.row_id)

    def stands(self) -> tuple[MoneyState, int, int | None]:
        """State, attempt, and the first attempt that may have left."""
        row = self.row()
        assert (row.asked_first_at is None) == (row.asked_first_attempt is None)
        return row.state, row.attempt, row.asked_first_attempt

    def paid(self) -> list[str]:
        """The keys of all payments in the shop's books."""
        return [payment.key for payment in self.shop.payments()]

    def seen(self) -> Unsettled:
        """The row as a run reads it."""
        with self.db.reading() as session:
            found = refunds.unsettled(session, self.row_id, now=self.db.now(session))
        assert found is not None
        return found

    def marked(self) -> Attempt:
        """The mark of one more attempt, by another worker."""
        order, seen = self.shop.order(self.order.ref), self.seen()
        with self.db.transaction() as session:
            return refunds.mark(session, seen, order, None, quiet_period=self.shop.capabilities().quiet_period, now=self.db.now(session))

    def receipts(self) -> list[ReceiptRow]:
        with self.db.reading() as session:
            return list(session.execute(select(ReceiptRow).order_by(ReceiptRow.recorded_at, ReceiptRow.reference)).scalars())

    def alarms(self) -> list[str]:
        with self.db.reading() as session:
            return sorted(kind.value for kind in session.execute(select(Alarm.kind)).scalars())


def why(outcome: Exception | None) -> tuple[str, timedelta]:
    """The code and the delay of a `Later`."""
    assert isinstance(outcome, Later), outcome
    return str(outcome), outcome.delay


def _cases(payouts: Sequence[Payout], proofs: Sequence[Proof], *, postgresql: bool = True) -> list[object]:
    chosen = [(payout, proof, "sqlite") for proof in proofs for payout in payouts]
    chosen += [(payouts[-1], proofs[0], "postgresql")] if postgresql else []
    return [pytest.param(case, id="-".join(case)) for case in chosen]


EVERY: Final = pytest.mark.parametrize("till", _cases((_REFUND, _CREDIT), list(Proof)), indirect=True)
EACH_PROOF: Final = pytest.mark.parametrize("till", _cases((_REFUND,), list(Proof)), indirect=True)
BOTH: Final = pytest.mark.parametrize("till", _cases((_CREDIT, _REFUND), (Proof.REPLAY,)), indirect=True)
REPLAYS: Final = pytest.mark.parametrize("till", _cases((_REFUND,), (Proof.REPLAY,)), indirect=True)
FENCED: Final = pytest.mark.parametrize("till", _cases((_REFUND,), (Proof.FENCE,)), indirect=True)
PROVES_NOTHING: Final = pytest.mark.parametrize("till", _cases((_REFUND,), (Proof.NONE,)), indirect=True)
