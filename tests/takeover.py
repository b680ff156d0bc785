"""One order, one return to pay, two workers: the first dies, sleeps or loses the database at a step, the second takes over.

The far side's books judge (`far_shops.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Generic, TypeVar

from sqlalchemy import func, select

from connector.domain.orders import OrderRef, RefundRef
from connector.domain.platform import Store
from connector.domain.rma import MoneyState
from connector.domain.wanted import Payout
from connector.models import Kind, MoneyKind, OutboxRow, Shop
from connector.secrets import Vault, new_key
from connector.services import mirroring, receipts
from connector.services.shops import ShopKeys
from jobs.site import Site
from tests.far_shops import BEHIND, Far, Moved
from tests.machinery import Stepped, Worker
from tests.world import START, Clock

F = TypeVar("F", bound=Far)
VAULT: Final = Vault.of([new_key()], new_key())


@dataclass(eq=False)
class Bench(Generic[F]):
    """One order, one RMA to pay, two workers: the second takes over from the first."""

    db: Stepped
    far: F
    payout: Payout
    rung: bool = True
    broken: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A received RMA, resolved: its money row is PENDING."""
        self.clock.advance(timedelta(minutes=10))
        self.world = self.far.open(self.db, VAULT)
        order = self.far.sell("1001")
        self.rma = self.world.received(order, {order.lines[0].id: 1})  # one of three: the shop would let a second payment pass
        self.world.resolve(self.rma, self.payout)
        self.workers = self._workers()

    def read(self, ref: OrderRef) -> None:
        """An order is read and kept, as after a delivery."""
        began, order = self.clock.now, self.world.read(ref)
        with self.db.transaction() as session:
            mirroring.apply_all(session, self.world.shop, [order], read_began=began, vault=VAULT, now=self.db.now(session))
        self.workers = self._workers()

    def _workers(self) -> list[Worker]:
        return [self._worker(name) for name in "ab"]

    def _worker(self, name: str) -> Worker:
        def store(keys: ShopKeys) -> Store:
            assert keys.id == self.world.shop.id, "the last test left work behind"
            return self.far.store(worker)

        worker = Worker(name, self, Site(self.db, store, stopwatch=lambda: self.clock.now - START))
        return worker

    @property
    def clock(self) -> Clock:
        """Everybody's, but for a skewed shop's."""
        return self.db.test_clock

    def note(self, what: str) -> None:
        """Nobody traces this."""

    def play(self, at: int = -1, fate: str = "", *, of: Kind = Kind.SETTLE) -> list[int]:
        """The first worker meets `fate` at its step number `at`; the second goes on whenever the first cannot.

        Returns the numbers of the steps that the first worker took with a row of this kind in hand.
        """
        first, second = self.workers
        steps, asleep_until, mine = 0, self.clock.now, []
        try:
            while not self._finished():
                if self.clock.now < asleep_until:  # the first sleeps: its lease runs out, and the second takes over
                    second.proceed()
                    if second.at == "idle":
                        self.clock.advance(timedelta(seconds=7))
                    continue
                if steps == at and not fate.startswith("asleep"):
                    first.fate = fate
                if first.row == of:
                    mine.append(steps)
                first.proceed()
                if steps == at and fate.startswith("asleep"):
                    nap = timedelta(seconds=float(fate.split()[1]))
                    asleep_until = self.clock.now + (min(nap, self.far.longest) if first.at in BEHIND else nap)
                steps += 1
                if second.at != "idle":
                    second.proceed()
                if first.at == second.at == "idle":
                    self._wait()
                assert steps < 2000, "it goes round in circles"
        finally:
            for worker in self.workers:
                worker.end()
        return mine

    def _wait(self) -> None:
        """Nobody can do anything before the next work is due, seven seconds later at least."""
        waits = select(func.min(OutboxRow.available_at), func.min(Shop.paused_until)).join(Shop, Shop.id == OutboxRow.shop_id)
        with self.db.reading() as session:
            due = session.execute(waits.where(OutboxRow.shop_id == self.world.shop.id, OutboxRow.done_at.is_(None))).one()
        self.clock.advance(max([timedelta(seconds=7), *(at - self.clock.now for at in due if at is not None)]))

    def _finished(self) -> bool:
        mine = (OutboxRow.shop_id == self.world.shop.id, OutboxRow.done_at.is_(None))
        with self.db.reading() as session:
            return (
                all(worker.at == "idle" for worker in self.workers) and session.execute(select(OutboxRow.id).where(*mine)).first() is None
            )

    def sleep_through_an_answer(self, at: int) -> None:
        """F57: the first worker sleeps at its step `at` until the row was parked and a person has answered; then it wakes."""
        first, second = self.workers
        for _ in range(at):
            first.proceed()
            if first.at == "idle":
                self._wait()
        if first.at in BEHIND and not self.far.can_tell(self._kind):
            self.play()  # the request has left: only the shop could keep it from paying, and this one cannot
            return
        until = self.clock.now + self.far.quiet + timedelta(minutes=3)
        while self.clock.now < until:
            second.proceed()
            if second.at == "idle":
                self._wait()
        self._answer_while_it_sleeps(second)
        self.play()

    def _answer_while_it_sleeps(self, second: Worker) -> None:
        """A person says that nothing was paid, which is true; what is decided anew the other worker pays."""
        for row in self.world.rows():
            if row.state is MoneyState.PARKED and not self.far.moved():
                with self.db.transaction() as session:
                    assert receipts.answer_unpaid(session, row.id, who="sam", now=self.db.now(session))
                self.world.resolve(self.rma, self.payout)
        for _ in range(100):
            second.proceed()
            if second.at == "idle":
                self.clock.advance(timedelta(seconds=1))
                if any(row.state is MoneyState.SETTLED for row in self.world.rows()):
                    return

    @property
    def _kind(self) -> MoneyKind:
        return MoneyKind.REFUND if self.payout is Payout.ORIGINAL else MoneyKind.CREDIT

    def judge(self) -> None:
        """The shop's books: paid once and recorded, or parked because nobody can tell."""
        assert not self.broken, self.broken
        (row,) = self.world.rows()
        paid = [moved for moved in self.far.moved() if moved.key == row.id.hex]
        assert len(paid) <= 1, "paid twice"
        if row.state is MoneyState.PARKED:
            assert not self.far.can_tell(row.kind), f"this shop can tell, nobody need be asked: {row.parked_because} {row.words}"
            assert row.asked_first_at is not None, f"parked although no request can have left: {row.parked_because} {row.words}"
            assert self.clock.now - row.asked_first_at >= self.far.quiet, "parked before the shop had fallen silent"
            self.parked.append(row.id.hex)
            self._answer(row.id, paid)
        else:
            assert row.state is MoneyState.SETTLED
            assert [(one.reference, one.minor) for one in paid] == [(row.platform_reference, row.minor)]
        assert self.far.torn(()) == []

    def _answer(self, row_id: uuid.UUID, paid: Sequence[Moved]) -> None:
        """A person looks into the books and says what is there; what was not paid is resolved anew, and then it is paid."""
        (row,) = [row for row in self.world.rows() if row.id == row_id]
        with self.db.transaction() as session:
            if paid:
                receipts.answer_paid(session, row.id, RefundRef(paid[0].reference), who="sam", now=self.db.now(session))
            else:
                receipts.answer_unpaid(session, row.id, who="sam", now=self.db.now(session))
        assert [row.state for row in self.world.rows()] == [MoneyState.SETTLED if paid else MoneyState.REFUSED]
        if not paid:
            self.far.heal()
            self.far.tidy(row.id.hex)
            self.world.resolve(self.rma, self.payout)
            self.workers = self._workers()
            self.play()
            assert {row.state for row in self.world.rows()} == {MoneyState.REFUSED, MoneyState.SETTLED}
            assert len(self.far.moved()) == 1
