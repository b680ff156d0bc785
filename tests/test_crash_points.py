"""Every step of the money procedure: die there, sleep there, lose the database there, race there. The shop's books judge.

A run without trouble counts the steps (before and after every transaction, around the check, the payment and the answer).
Then the same run is played once for each step and each fate, with a second worker that takes over. F01, F02, F04, F05, F06,
F08-F10, F16-F18, F20, F21, F42, F47, F49-F51, F54-F58.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import select

from adapters.simulators.toy import Fault, Proof, ToyStore
from connector import migrate
from connector.domain.rma import MoneyState
from connector.domain.wanted import Payout
from connector.models import Kind, OutboxRow
from connector.secrets import Vault, new_key
from connector.services import receipts, refunds
from connector.services.shops import ShopKeys
from jobs import money
from jobs.site import Site
from tests.machinery import Stepped, Worker, step
from tests.world import START, Clock, World, an_order

FATES = ("killed", "killed before the commit", "database gone", "database gone before the commit", "asleep 5", "asleep 30", "asleep 300")
PAYOUTS = (Payout.ORIGINAL, Payout.STORE_CREDIT)
QUIET = timedelta(minutes=2)


@dataclass(eq=False)
class Bench:
    """One order, one RMA to pay, two workers: the second takes over from the first."""

    db: Stepped
    clock: Clock
    proof: Proof
    payout: Payout
    fault: Fault | None = None
    seconds: float = 9
    skew: timedelta = timedelta(0)
    rung: bool = True
    broken: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A received RMA, resolved: its money row is PENDING."""
        self.clock.advance(timedelta(minutes=10))
        self.toy = ToyStore(":memory:", self.proof, clock=lambda: self.clock.now + self.skew, step=step)
        self.world = World(self.db, self.toy, self.clock, vault=VAULT)
        order = an_order()
        self.toy.place(order)
        self.rma = self.world.received(order, {"line-1": 1})  # one of three: the shop would let a second payment pass
        self.world.resolve(self.rma, self.payout)
        if self.fault is not None:
            self.toy.fail_next("refund" if self.payout is Payout.ORIGINAL else "credit", self.fault, self.seconds)
        self.workers = self._workers()

    def _workers(self) -> list[Worker]:
        return [Worker(name, self, Site(self.db, self._store, stopwatch=lambda: self.clock.now - START)) for name in "ab"]

    def _store(self, keys: ShopKeys) -> ToyStore:
        assert keys.id == self.world.shop.id, "the last test left work behind"
        return self.toy

    def note(self, what: str) -> None:
        """Nobody traces this."""

    def play(self, at: int = -1, fate: str = "") -> list[int]:
        """The first worker meets `fate` at its step number `at`; the second goes on whenever the first cannot.

        Returns the numbers of the steps that the first worker took with the money row in hand.
        """
        first, second = self.workers
        steps, asleep_until, with_money = 0, self.clock.now, []
        try:
            while not self._finished():
                if self.clock.now < asleep_until:  # the first sleeps: its lease runs out, and the second takes over
                    second.proceed()
                    if second.at == "idle":
                        self.clock.advance(timedelta(seconds=7))
                    continue
                if steps == at and fate.startswith("asleep"):
                    asleep_until = self.clock.now + timedelta(seconds=float(fate.split()[1]))
                elif steps == at:
                    first.fate = fate
                if first.row == Kind.SETTLE:
                    with_money.append(steps)
                first.proceed()
                steps += 1
                if second.at != "idle":
                    second.proceed()
                if first.at == second.at == "idle":
                    self.clock.advance(timedelta(seconds=7))
                assert steps < 2000, "it goes round in circles"
        finally:
            for worker in self.workers:
                worker.end()
        return with_money

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
                self.clock.advance(timedelta(seconds=7))
        if self.proof is Proof.NONE and first.at == "before the payment":
            self.play()  # the request has left: only the shop could keep it from paying, and this one cannot
            return
        until = self.clock.now + timedelta(minutes=5)
        while self.clock.now < until:
            second.proceed()
            if second.at == "idle":
                self.clock.advance(timedelta(seconds=7))
        self._answer_while_it_sleeps(second)
        self.play()

    def _answer_while_it_sleeps(self, second: Worker) -> None:
        """A person says that nothing was paid, which is true; what is decided anew the other worker pays."""
        for row in self.world.rows():
            if row.state is MoneyState.PARKED and not self.toy.payments():
                with self.db.transaction() as session:
                    assert receipts.answer_unpaid(session, row.id, who="sam", now=self.db.now(session))
                self.world.resolve(self.rma, self.payout)
        for _ in range(100):
            second.proceed()
            if second.at == "idle":
                self.clock.advance(timedelta(seconds=1))
                if any(row.state is MoneyState.SETTLED for row in self.world.rows()):
                    return

    def judge(self) -> None:
        """The shop's books: paid once and recorded, or parked because nobody can tell."""
        assert not self.broken
        (row,) = self.world.rows()
        paid = [payment for payment in self.toy.payments() if payment.key == row.id.hex]
        assert len(paid) <= 1, "paid twice"
        if row.state is MoneyState.PARKED:
            assert self.proof is Proof.NONE, "this shop can tell, nobody need be asked"
            assert row.asked_first_at is not None, f"parked although no request can have left: {row.parked_because} {row.words}"
            assert self.clock.now - row.asked_first_at >= QUIET, "parked before the shop had fallen silent"
            self.parked.append(row.id.hex)
            self._answer(row.id, paid=bool(paid))
            return
        assert row.state is MoneyState.SETTLED
        assert [payment.reference for payment in paid] == [row.platform_reference]
        assert paid[0].told.amount.minor == row.minor

    def _answer(self, row_id: object, *, paid: bool) -> None:
        """A person looks into the books and says what is there; what was not paid is resolved anew, and then it is paid."""
        (row,) = [row for row in self.world.rows() if row.id == row_id]
        with self.db.transaction() as session:
            if paid:
                (payment,) = self.toy.payments()
                receipts.answer_paid(session, row.id, payment.reference, who="sam", now=self.db.now(session))
            else:
                receipts.answer_unpaid(session, row.id, who="sam", now=self.db.now(session))
        assert [row.state for row in self.world.rows()] == [MoneyState.SETTLED if paid else MoneyState.REFUSED]
        if not paid:
            self.world.resolve(self.rma, self.payout)
            self.workers = self._workers()
            self.toy.heal()
            self.play()
            assert {row.state for row in self.world.rows()} == {MoneyState.REFUSED, MoneyState.SETTLED}
            assert len(self.toy.payments()) == 1


VAULT = Vault.of([new_key()], new_key())


@pytest.fixture
def db(database_url: str) -> Iterator[Stepped]:
    """The real database, with steps."""
    logging.disable(logging.CRITICAL)
    database = Stepped(database_url, Clock())
    migrate.to(database)
    yield database
    database.dispose()
    logging.disable(logging.NOTSET)


def bench(
    db: Stepped, proof: Proof, payout: Payout, fault: Fault | None = None, skew: timedelta = timedelta(0), *, seconds: float = 9
) -> Bench:
    """A fresh shop with one return to pay, in the same database."""
    return Bench(db, db.test_clock, proof, payout, fault, seconds, skew)


@pytest.mark.parametrize("payout", PAYOUTS)
@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.parametrize("fate", FATES)
def test_whatever_happens_at_any_step_money_moves_once(db: Stepped, proof: Proof, payout: Payout, fate: str) -> None:
    calm = bench(db, proof, payout)
    steps = calm.play()
    calm.judge()
    assert len(steps) > 10
    assert not calm.parked

    for at in steps:
        troubled = bench(db, proof, payout)
        troubled.play(at, fate)
        troubled.judge()


@pytest.mark.parametrize("proof", list(Proof))
def test_f57_a_worker_that_wakes_after_a_person_has_answered_does_not_pay(db: Stepped, proof: Proof) -> None:
    steps = bench(db, proof, Payout.ORIGINAL).play()

    for at in steps[:-1]:
        slept = bench(db, proof, Payout.ORIGINAL)
        slept.sleep_through_an_answer(at)
        assert len(slept.toy.payments()) == 1
        assert [row.state for row in slept.world.rows()].count(MoneyState.SETTLED) == 1


def test_the_judge_sees_a_procedure_that_never_looks(db: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage on purpose: a check that cannot fail proves nothing."""
    monkeypatch.setattr(refunds.Unsettled, "may_have_left", property(lambda _row: False))

    assert _somewhere_it_fails(db, lambda one, at: one.play(at, "killed"), Fault.LATE)


def test_the_judge_sees_a_procedure_that_sends_late(db: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: neither the database nor the stopwatch keeps a worker that slept from sending."""
    monkeypatch.setattr(refunds, "still_mine", lambda *_args, **_more: True)
    monkeypatch.setattr(money, "WINDOW", timedelta(days=1))

    assert _somewhere_it_fails(db, lambda one, at: one.sleep_through_an_answer(at))


def _somewhere_it_fails(db: Stepped, play: Callable[[Bench, int], object], fault: Fault | None = None) -> bool:
    """Whether the books show two payments for some step."""
    twice = False
    for at in bench(db, Proof.NONE, Payout.ORIGINAL).play()[:-1]:
        one = bench(db, Proof.NONE, Payout.ORIGINAL, fault, seconds=28)
        play(one, at)
        twice = twice or len(one.toy.payments()) > 1
    return twice


@pytest.mark.parametrize("payout", PAYOUTS)
@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LATE, Fault.SLOW, Fault.LOSE_ANSWER])
def test_an_answer_that_never_comes_and_a_worker_that_dies_on_top_of_it(db: Stepped, proof: Proof, payout: Payout, fault: Fault) -> None:
    """F04, F05, F06, F10: the payment happened, did not happen, or happens after we gave up; then the worker dies somewhere."""
    steps = bench(db, proof, payout, fault).play()

    for at in steps[::2]:
        troubled = bench(db, proof, payout, fault)
        troubled.play(at, "killed")
        troubled.judge()


@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.parametrize("minutes", [-10, 10])
def test_f42_a_shop_whose_clock_is_ten_minutes_off_pays_once(db: Stepped, proof: Proof, minutes: int) -> None:
    skewed = bench(db, proof, Payout.ORIGINAL, Fault.LOSE_ANSWER, timedelta(minutes=minutes))
    skewed.play(7, "asleep 30")

    skewed.judge()


def test_a_refused_payment_releases_its_reservation_wherever_the_worker_dies(db: Stepped) -> None:
    steps = bench(db, Proof.FENCE, Payout.ORIGINAL, Fault.REFUSE).play()

    for at in steps:
        troubled = bench(db, Proof.FENCE, Payout.ORIGINAL, Fault.REFUSE)
        troubled.play(at, "killed")
        (row,) = troubled.world.rows()
        paid = troubled.toy.payments()
        assert (row.state, len(paid)) in {
            (MoneyState.REFUSED, 0),
            (MoneyState.SETTLED, 1),
        }  # killed before the no was recorded: asked again
